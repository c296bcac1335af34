"""The sample notebook runs from a fresh clone, and what it prints is what its runs say."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import kilowit
from kilowit.plan.life_cycle import PARTS
from kilowit.report.quantity import measure
from sample_notebook import printed, run_notebook

NOTEBOOK = "docs/sample/summarizer.py"
NEEDED = ("jupytext", "nbclient", "ipykernel", "torch", "transformers", "onnx", "onnxruntime", "fastapi", "uvicorn")


@dataclass
class Sample:
    """The executed notebook and the runs that it left."""

    notebook: Any
    runs: kilowit.Store

    def printed(self, heading: str) -> str:
        return printed(self.notebook, heading)


@pytest.fixture(scope="module")
def sample(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    for package in NEEDED:
        pytest.importorskip(package)
    clone, folder = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("sample")
    fresh_clone(repository, clone)
    environment = {"PYTHONPATH": str(clone / "src"), "KILOWIT_LOCK": str(folder / "lock")}
    notebook = run_notebook(clone / NOTEBOOK, folder, {"fast": True, "folder": "runs"}, environment)
    yield Sample(notebook, kilowit.Store(folder / "runs"))


def fresh_clone(repository: Path, folder: Path) -> None:
    """Copy what git would give to whoever clones: tracked files, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what a clone holds is not known")
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, folder / name)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_sample_goes_from_a_corpus_to_a_decision(sample: Sample) -> None:
    """Three cells, two trials with their winner, and the compressed model: seven runs with a result."""
    records = sample.runs.records()
    assert [record.status for record in records] == ["finished"] * 7
    assert "3 run now, 0 done before, 0 failed" in sample.printed("4. Run")
    assert all(
        cell.outputs or "study" in cell.source or "import" in cell.source or "=" in cell.source
        for cell in sample.notebook.cells
        if cell.cell_type == "code"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_plan_of_the_sample_holds_what_was_measured(sample: Sample) -> None:
    text = sample.printed("3. Plan")
    for record in sample.runs.records():
        assert record.study_name != "sample" or record.run_id.split("_", 1)[1].rsplit("_", 1)[0] in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tuned_learning_rate_is_that_of_the_best_trial(sample: Sample) -> None:
    (search,) = kilowit.searches(sample.runs)
    best = max(search.values)
    assert search.winner is not None
    assert search.value(search.trials[search.winner.cell["search"]["trial"]]) == best
    text = sample.printed("6. Tune")
    assert f"{search.parameters['train.learning_rate']:.1e}" in text
    assert measure(search.energy_joule, "energy") in text
    assert search.energy_joule > search.energy_of_winner(search.winner)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_bits_are_smaller_and_were_served(sample: Sample) -> None:
    (record,) = (record for record in sample.runs.records() if record.serving)
    whole, small = record.serving
    assert small.label == "onnxruntime int8"
    assert small.disk_byte < 0.8 * whole.disk_byte  # type: ignore[operator]
    assert sample.printed("7. Compress").count("a summary") == 2
    exported = sample.runs.path / "exported"
    assert (exported / "README.md").is_file()
    assert {"encoder.onnx", "decoder.onnx", "tokenizer.json"} <= {path.name for path in exported.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_endpoint_answered_with_its_bill_and_its_page(sample: Sample) -> None:
    text = sample.printed("9. Serve")
    assert "the page: kilowit: what a summary costs" in text
    assert "summary: " in text
    assert "it counts today: 1 summary" in text
    assert (sample.runs.path / "serving").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_month_of_the_sample_adds_up(sample: Sample) -> None:
    (month,) = kilowit.life_cycles(sample.runs)
    text = sample.printed("10. What would a month")
    energies = {part.name: part.energy_total_joule for part in month.parts}
    total = month.total.energy_total_joule
    assert total is not None
    assert sum(energy.likely for energy in energies.values() if energy) == pytest.approx(total.likely)
    for name in PARTS:
        assert f"{name:12} {measure(energies[name].likely, 'energy_wh'):>9}" in text  # type: ignore[union-attr]
    assert month.num_summaries == 30 * 20_000
    drawn = [out for cell in sample.notebook.cells for out in cell.get("outputs", []) if "data" in out]
    assert any("image/svg+xml" in out.data for out in drawn)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_decision_is_the_recommendation_of_the_runs(sample: Sample) -> None:
    found = kilowit.recommend(sample.runs, at_most={"latency_p95_second": 0.5}, weigh_next_runs=False)[0]
    assert found.answer is not None
    text = sample.printed("11. Decide")
    assert found.sentences[0] in text
    assert (sample.runs.path / "report" / "index.html").is_file()
