"""Every verb: what it shows, where, and the exit code. Nothing here runs a cell."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kilowit.cli import main
from kilowit.store import Store
from kilowit.study import Study
from report_records import study_records

STUDY = "name: a\nmodels: [{scratch: bart-tiny}, lead]\ndatasets: [docstrings]\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kilowit(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one verb in an empty folder; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture
def study(tmp_path: Path) -> str:
    (tmp_path / "study.yaml").write_text(STUDY)
    return "study.yaml"


@pytest.fixture
def runs(tmp_path: Path) -> str:
    """A store of one finished study, written as workers write it."""
    store = Store(tmp_path / "runs")
    for record in study_records(num_seeds=2):
        folder = store.create(record.cell, label="x", cell_key=record.cell_key, attempt=record.attempt)
        folder.write_record(dataclasses.replace(record, run_id=folder.run_id))
    return "runs"


def test_init_writes_a_study_that_check_finds_right(kilowit: Run) -> None:
    code, out, err = kilowit("init", "new/study.yaml")
    assert (code, out) == (0, "new/study.yaml\n")
    assert "kilowit check new/study.yaml" in err
    code, out, err = kilowit("check", "new/study.yaml")
    assert code == 0
    assert out.splitlines()[0] == "cell\tkey"
    assert err == "new/study.yaml: 3 cells, nothing wrong\n"


def test_init_overwrites_only_when_forced(kilowit: Run) -> None:
    assert kilowit("init")[0] == 0
    code, out, err = kilowit("init")
    assert (code, out, err) == (2, "", "study.yaml  is there already\n  Name another file, or add --force.\n")
    assert kilowit("init", "--force")[0] == 0


def test_check_says_what_is_wrong_on_stderr_with_exit_code_2(kilowit: Run, study: str) -> None:
    code, out, err = kilowit("check", study, "--set", "recipes={a: [bf17]}", "--set", "train.num_epoch=1")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        '--set recipes  recipes.a[0]: no method "bf17". Did you mean "bf16"?',
        '--set train.num_epoch  train: no key "num_epoch". Did you mean "num_epochs"?',
    ]


def test_check_as_json_holds_every_cell(kilowit: Run, study: str) -> None:
    code, out, _ = kilowit("check", study, "--json")
    found = json.loads(out)
    assert code == 0
    assert [cell["label"] for cell in found["cells"]] == ["bart-tiny_docstrings_full_s0", "lead_docstrings_s0"]
    assert len(found["cells"][0]["cell_key"]) == 64


def test_plan_gives_each_cell_and_the_sum(kilowit: Run, study: str) -> None:
    code, out, err = kilowit("plan", study, "--gpu", "T4")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split("\t")[:3] == ["cell", "basis", "time"]
    assert lines[-1].startswith("all that is left")
    assert len(lines) == 4
    assert "T4 16GB" in err
    found = json.loads(kilowit("plan", study, "--json")[1])
    assert found["num_cells"] == 2
    assert found["total"]["time_second"]["low"] <= found["total"]["time_second"]["high"]


def test_plan_shows_and_draws_the_working_life(kilowit: Run, study: str, tmp_path: Path) -> None:
    life = tmp_path / "life.svg"
    asked = ("--gpu", "T4", "--set", "maintenance.summaries_per_day=9")
    code, out, err = kilowit("plan", study, *asked, "--figure", str(life))
    assert code == 0
    heads = ["choice", "served by", "train", "retrain", "drift check", "serve", "idle", "all", "CO2e", "cost"]
    assert heads in [line.split("\t") for line in out.splitlines()]
    assert "9 summaries a day" in err
    assert life.read_text(encoding="utf-8").startswith("<svg")
    assert json.loads(kilowit("plan", study, *asked, "--json")[1])["life_cycles"][0]["num_summaries"] == 9 * 365


def test_a_report_prices_a_life_that_no_study_asked_for(kilowit: Run, runs: str) -> None:
    assert kilowit("report", runs, "--maintenance", "summaries_per_day=9")[0] == 0
    assert "A working life" in (Path(runs) / "report" / "index.md").read_text(encoding="utf-8")
    code, _, err = kilowit("report", runs, "--maintenance", "summaries_per_day")
    assert code == 2
    assert "Example: --maintenance" in err


def test_plan_over_budget_is_refused_with_exit_code_3(kilowit: Run, study: str) -> None:
    code, _, err = kilowit("plan", study, "--set", "budget.energy_kwh=1e-9")
    assert code == 3
    assert "energy_kwh" in err


def test_status_counts_runs(kilowit: Run, runs: str) -> None:
    code, out, _ = kilowit("status")
    header, line = out.splitlines()
    shown = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert code == 0
    assert shown["study"] == "samsum-green"
    records = study_records(num_seeds=2)
    assert int(shown["finished"]) == sum(record.status == "finished" for record in records)
    assert json.loads(kilowit("status", "--json")[1])[0]["num_failed"] == int(shown["failed"])


def test_status_of_no_store_says_so_and_is_no_error(kilowit: Run) -> None:
    code, out, err = kilowit("status", "--store", "none")
    assert (code, out) == (0, "")
    assert err.startswith("none holds no runs.")


def test_show_prints_a_run_for_people_and_its_record_for_machines(kilowit: Run, runs: str) -> None:
    run_id = next(record.run_id for record in Store(runs).records() if record.scores)
    code, out, err = kilowit("show", run_id)
    assert code == 0
    assert out.startswith(f"run       {run_id}")
    assert "\nrouge2\t" in out
    assert "energy|" in err
    assert json.loads(kilowit("show", run_id, "--json")[1])["run_id"] == run_id
    code, _, err = kilowit("show", "nothing-like-it")
    assert code == 4
    assert 'no run "nothing-like-it"' in err


def test_query_answers_in_tabs_or_json(kilowit: Run, runs: str) -> None:
    sql = "select status, count(*) as number from run group by status order by status"
    code, out, _ = kilowit("query", sql)
    assert code == 0
    assert out.splitlines()[0] == "status\tnumber"
    assert json.loads(kilowit("query", sql, "--json")[1])[0].keys() == {"status", "number"}
    assert kilowit("query", "drop table run")[0] == 2


def test_a_corrupt_run_is_skipped_and_named(kilowit: Run, runs: str) -> None:
    folder = Store(runs).folders()[0]
    folder.record_path.write_text("{")
    code, _, err = kilowit("query", "select count(*) from run")
    assert code == 0
    assert f"skipped: {folder.path}" in err
    assert kilowit("show", folder.run_id)[0] == 4


def test_report_shows_the_answer_and_the_path(kilowit: Run, runs: str, tmp_path: Path) -> None:
    code, out, _ = kilowit("report", runs, "--region", "azure/swedencentral", "--machine", "Standard_NC40ads_H100_v5")
    assert code == 0
    assert out.splitlines()[-1] == "runs/report/index.html"
    assert (tmp_path / "runs" / "report" / "index.html").is_file()
    found = json.loads(kilowit("report", runs, "--out", "elsewhere", "--json")[1])
    assert found["html"] == "elsewhere/index.html"
    assert found["answer"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("report", "none"), 4, "no finished or failed run here"),
        (("report", "runs", "--study", "samsum-gren"), 2, 'Did you mean "samsum-green"?'),
        (("report", "runs", "--region", "azure/westus22"), 2, 'Did you mean "azure/westus2"?'),
        (("report", "runs", "--pue", "0.5"), 2, "--pue"),
    ],
)
def test_report_refuses_what_it_cannot_do(
    kilowit: Run, runs: str, arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, out, err = kilowit(*arguments)
    assert (found, out) == (code, "")
    assert message in err


def test_compare_fails_only_when_a_rule_holds(kilowit: Run, runs: str) -> None:
    sides = ("compare", "recipe=full", "recipe=bf16")
    code, out, _ = kilowit(*sides, "--fail-if", "train.energy_total_joule>+5%")
    assert code == 0
    assert out.splitlines()[0].startswith("figure\ta\tb\teffect")
    code, _, err = kilowit(*sides, "--fail-if", "train.energy_total_joule<-5%")
    assert code == 1
    assert "violated: train.energy_total_joule<-5%" in err
    assert json.loads(kilowit(*sides, "--json")[1])["num_pairs"] > 0
    assert kilowit(*sides, "--fail-if", "train.energy>+5%")[0] == 2


def test_merge_says_how_many_runs_came(kilowit: Run, runs: str) -> None:
    number = len(Store(runs).records())
    assert kilowit("merge", "all", runs)[2] == f"all: {number} runs new or completed\n"
    assert kilowit("merge", "all", runs)[2] == "all: 0 runs new or completed\n"


def test_invalidate_takes_a_run_out_and_says_why(kilowit: Run, runs: str) -> None:
    run_id = next(record.run_id for record in Store(runs).records() if record.status == "finished")
    assert kilowit("invalidate", run_id, "--reason", "another job", "--who", "me")[0] == 0
    message = next(r.error_message for r in Store(runs).records() if r.run_id == run_id)
    assert message is not None
    assert message.endswith("by me: another job")


def test_parts_lists_kinds_names_and_cards(kilowit: Run) -> None:
    code, out, _ = kilowit("parts")
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()[1:]] == [
        "models", "datasets", "methods", "recipes", "metrics", "sensors", "runtimes", "searches", "executors",
        "factors",
    ]  # fmt: skip
    assert "sortish\tbatches of examples of similar length" in kilowit("parts", "methods")[1]
    assert kilowit("parts", "methods", "sortish")[1].startswith("sortish: ")
    assert kilowit("parts", "models", "bart-tiny")[1].startswith("BART: ")
    assert "azure/westus2" in kilowit("parts", "factors")[1].splitlines()


def test_parts_factors_prints_value_basis_year_and_source(kilowit: Run) -> None:
    out = kilowit("parts", "factors", "azure/westus2")[1]
    assert "g CO2e/kWh" in out
    assert all(word in out for word in ("value", "basis", "2023", "source"))
    assert json.loads(kilowit("parts", "factors", "azure/westus2", "--json")[1])[0]["unit"] == "g CO2e/kWh"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("parts", "method"), 'Did you mean "methods"?'),
        (("parts", "methods", "sortich"), 'Did you mean "sortish"?'),
        (("parts", "factors", "azure/westus22"), 'Did you mean "azure/westus2"?'),
    ],
)
def test_parts_suggests_the_nearest_name(kilowit: Run, arguments: tuple[str, ...], hint: str) -> None:
    code, out, err = kilowit(*arguments)
    assert (code, out) == (2, "")
    assert hint in err


def test_doctor_says_what_can_be_metered(kilowit: Run) -> None:
    code, out, _ = kilowit("doctor")
    assert code == 0
    assert "sensor nvml" in out
    found = json.loads(kilowit("doctor", "--json")[1])
    assert {"python", "training", "memory", "lock", "store"} <= {row["what"] for row in found}
    assert all(row["remedy"] for row in found if row["state"] == "missing")


def test_meter_passes_on_the_exit_code_and_what_was_printed(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["meter", "--out", "kept", "--region", "country/FR", sys.executable, "-c", "print(7); exit(3)"])
    out, err = capfd.readouterr()
    assert (code, out) == (3, "7\n")
    assert "time " in err
    assert "energy|" in err
    assert Path("kept/ledger.jsonl").is_file()
    code = main(["meter", "--json", "--", sys.executable, "-c", "print(7)"])
    out, err = capfd.readouterr()
    assert (code, err) == (0, "7\n")
    assert json.loads(out)["metered"]["total"]["wall_second"] > 0


def test_meter_refuses_what_cannot_be_started_or_priced(kilowit: Run) -> None:
    assert kilowit("meter", "no-such-program")[0] == 2
    assert kilowit("meter", "--region", "nowhere", "true")[0] == 2


@pytest.mark.parametrize(
    "arguments", [("check",), ("chekc",), ("run", "a", "--retry"), ("check", "none.yaml"), ("worker", "none")]
)
def test_a_wrong_call_is_one_message_and_a_documented_code(kilowit: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = kilowit(*arguments)
    assert code in (1, 2, 4)
    assert out == ""
    assert err


def test_version_and_help_need_nothing(kilowit: Run) -> None:
    from kilowit import __version__

    assert kilowit("--version")[:2] == (0, f"kilowit {__version__}\n")
    assert "kilowit demo" in kilowit("--help")[1]


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, kilowit.cli as c; c.main(['--help']); print(sorted(m for m in sys.modules if m in {HEAVY}))"
    heavy = "('torch', 'numpy', 'pydantic', 'yaml', 'psutil', 'transformers', 'sqlite3')"
    script = code.replace("{HEAVY}", heavy)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


WITHOUT_TRAINING_STACK = """
import sys
ABSENT = {"torch", "transformers", "datasets", "accelerate", "numpy", "pyarrow", "rouge_score", "sentencepiece"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from kilowit.cli import main
codes = [main(line.split()) for line in sys.argv[1:]]
sys.exit(str(codes) if any(codes) else 0)
"""


def test_a_base_installation_checks_plans_reports_compares_and_meters(runs: str, study: str, tmp_path: Path) -> None:
    lines = [
        f"check {study}", f"plan {study} --gpu A100", "report runs", "compare recipe=full recipe=bf16", "doctor",
        "parts", "status", "parts datasets", "parts methods bf16", "meter true",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRAINING_STACK, *lines],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_public_api_is_lazy_and_complete() -> None:
    code = """
import kilowit, sys
assert not {'pydantic', 'yaml', 'psutil'} & set(sys.modules)
print(all(getattr(kilowit, name) for name in kilowit.__all__))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_recipes_that_the_readme_compares_are_those_of_the_study_that_init_writes(repository: Path) -> None:
    compared = re.findall(r"recipe=(\w+)", (repository / "README.md").read_text(encoding="utf-8"))
    written = Study.load(repository / "src" / "kilowit" / "templates" / "study.yaml")
    assert compared
    assert set(compared) == {cell.recipe for cell in written.cells if not cell.is_baseline}


def test_the_packaged_quickstart_is_the_one_in_the_repository(repository: Path) -> None:
    packaged = repository / "src" / "kilowit" / "templates" / "quickstart.yaml"
    assert packaged.read_bytes() == (repository / "studies" / "quickstart.yaml").read_bytes()


def test_the_quickstart_is_right(kilowit: Run, repository: Path) -> None:
    assert kilowit("check", str(repository / "studies" / "quickstart.yaml"))[0] == 0


def test_every_study_in_the_repository_is_right(
    kilowit: Run, repository: Path, shared_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(shared_dir / "data" / "corpora" / "samsum", tmp_path / "data" / "samsum")
    shutil.copytree(shared_dir / "data" / "tokenizers" / "bart", tmp_path / "data" / "tokenizers" / "bart")
    for study in sorted((repository / "studies").glob("*.yaml")):
        copy = shutil.copy(study, tmp_path)
        assert kilowit("check", str(copy))[0] == 0, study
