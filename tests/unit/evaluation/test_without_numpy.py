"""A base installation has no numpy: files are scored, compared and judged there too, with the same figures."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "sacrebleu", "torch", "scipy", "pandas"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
if sys.argv.pop(1) == "base":
    sys.meta_path.insert(0, Blocked())
    for name in ("numpy", "sacrebleu", "torch", "scipy", "pandas"):
        sys.modules[name] = None
from kilowit.cli import main
sys.exit(main(sys.argv[1:]))
"""
WORDS = ["alpha", "beta", "gamma", "delta", "running", "cats", "walked", "houses"]


def kilowit(installed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, installed, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))


def figures(installed: str, *arguments: str) -> Any:
    done = kilowit(installed, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {key: found[key] for key in ("scores", "comparison")} if isinstance(found, dict) else [
        {key: value for key, value in row.items() if not key.startswith("scoring_")} for row in found
    ]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    generator = random.Random(0)
    text = lambda num: " ".join(generator.choices(WORDS, k=num))  # noqa: E731
    references, sources = [text(9) for _ in range(25)], [text(40) for _ in range(25)]
    paths = {}
    for name in ("mine", "theirs"):
        rows = [{"prediction": text(8), "reference": r, "source": s} for r, s in zip(references, sources, strict=True)]
        paths[name] = str(tmp_path / f"{name}.jsonl")
        Path(paths[name]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    human = [
        {"source": s, "reference": r, "system_output": text(8), "scores": {"consistency": generator.random()}}
        for r, s in zip(references, sources, strict=True)
    ]
    paths["human"] = str(tmp_path / "human.json")
    Path(paths["human"]).write_text(json.dumps(human))
    return paths


def test_evaluate_gives_the_same_figures_without_numpy(files: dict[str, str]) -> None:
    asked = ["evaluate", files["mine"], "--compare", files["theirs"]]
    asked += ["--metrics", "rouge,cider,meteor,extractiveness,novelty,repetition,length"]
    assert figures("base", *asked) == figures("all", *asked)


def test_metrics_judge_gives_the_same_figures_without_numpy_and_says_what_it_leaves_out(files: dict[str, str]) -> None:
    asked = ["metrics", "judge", files["human"]]
    assert figures("base", *asked) == figures("all", *asked, "--metrics", "rouge,extractiveness")
    done = kilowit("base", *asked)
    assert "left out: metric \"chrf\" needs the package sacrebleu. Install it: pip install 'kilowit[metrics]'." in (
        done.stderr
    )


@pytest.mark.parametrize(("metric", "extra"), [("bleu", "metrics"), ("sentence_similarity", "encoder")])
def test_a_metric_that_needs_more_says_which_extra_before_anything_is_scored(
    files: dict[str, str], metric: str, extra: str
) -> None:
    done = kilowit("base", "evaluate", files["mine"], "--metrics", f"rouge,{metric}")
    assert done.returncode == 2
    assert f"kilowit[{extra}]" in done.stderr
