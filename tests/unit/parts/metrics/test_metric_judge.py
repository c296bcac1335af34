from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import kilowit
import worker_cells
from kilowit.cli import main
from kilowit.errors import DataError, KilowitError, PartError, StudyError
from kilowit.evaluation import judge as meta_judge
from kilowit.parts.metric import MetricCall
from kilowit.parts.metrics import judge
from kilowit.parts.sensors import host
from kilowit.study import Study

PREDICTIONS = ["the cat sat", "a dog ran", "no words in common"]
REFERENCES = ["a cat sat", "the dog ran", "others"]
SOURCES = ["the cat sat on the mat", "a dog ran home", "something else"]

HEAD = "import json, sys\nrows = [json.loads(line) for line in sys.stdin]\n"
# The share of a summary's words that its source has: graded in reverse order, which a judge may do.
HONEST = (
    HEAD
    + """
print("loading", file=sys.stderr)
for row in reversed(rows):
    words = row["prediction"].split()
    share = sum(word in row["source"].split() for word in words) / max(1, len(words))
    print(json.dumps({"id": row["id"], "scores": {"consistency": share, "unasked": 3}}))
"""
)


def options(tmp_path: Path, program: str, **others: Any) -> dict[str, Any]:
    """What a study would write of a judge that runs `program`."""
    script = tmp_path / "judge.py"
    script.write_text(program)
    named = {"name": "fake", "command": [sys.executable, "-S", str(script)], "scores": ["consistency"], "version": "1"}
    return named | others


def scored(tmp_path: Path, program: str, **others: Any) -> Any:
    call = MetricCall("judge", options(tmp_path, program, **others))
    return call.score(PREDICTIONS, REFERENCES, SOURCES)


def answers(line: str) -> str:
    """Return a judge that answers each row with a line, a format string of its id."""
    return f"{HEAD}for row in rows:\n    print({line!r} % row['id'])\n"


def test_a_judge_in_its_own_process_grades_every_pair_whatever_the_order_of_its_answers(tmp_path: Path) -> None:
    result = scored(tmp_path, HONEST)
    assert result.per_example == {"fake_consistency": [1.0, 1.0, 0.0]}
    (score,) = result.scores
    assert score.value == pytest.approx(2 / 3)
    assert score.ci95_low is not None
    assert "|version:1|" in score.signature
    assert "unasked" not in score.signature


def test_the_signature_has_the_version_and_no_path(tmp_path: Path) -> None:
    one, other = (MetricCall("judge", options(tmp_path, HONEST, version=v)).signature() for v in ("1", "2"))
    assert one != other
    assert str(tmp_path) not in one


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (answers('{"id": "%s", "scores": {"other": 1}}'), 'line 1.*no score "consistency"'),
        (answers('{"id": "%s", "scores": {"consistency": NaN}}'), 'line 1.*score "consistency" is nan'),
        (answers('{"id": "%s", "scores": {"consistency": true}}'), 'score "consistency" is True'),
        (answers('{"id": "%s"}'), 'no object with "id" and "scores"'),
        (answers("graded %s"), "not JSON"),
        (answers('{"id": "x%s", "scores": {"consistency": 1}}'), "unknown id 'x0'"),
        (answers('{"id": "9%s", "scores": {"consistency": 1}}'), "unknown id '90'"),
        (HEAD + "for row in rows[:2] * 2:\n    print(json.dumps({'id': row['id'], 'scores': {'consistency': 1}}))",
         'line 3.*id "0" stands at line 1 too'),
        (HEAD + "for row in rows[1:]:\n    print(json.dumps({'id': row['id'], 'scores': {'consistency': 1}}))",
         'answered 2 of 3 rows; the first without is id "0"'),
        (HEAD + "sys.stdout.buffer.write(bytes([0xff, 0x0a]))", "not UTF-8"),
    ],
    ids=["name", "nan", "bool", "no scores", "not json", "text id", "id too high", "twice", "missing", "not utf-8"],
)  # fmt: skip
def test_answers_that_are_not_as_they_should_be_are_refused_with_their_line(
    tmp_path: Path, program: str, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        scored(tmp_path, program)
    assert re.search(message, str(caught.value))
    assert caught.value.hint


def test_a_judge_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(PartError) as caught:
        scored(tmp_path, HEAD + "raise RuntimeError('no checkpoint')")
    assert 'judge "fake" ended with status 1' in caught.value.message
    assert caught.value.message.endswith("RuntimeError: no checkpoint")


def test_a_judge_that_reads_nothing_may_still_fail_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="ended with status 3; it said nothing"):
        scored(tmp_path, "raise SystemExit(3)")


def test_a_program_that_is_not_there_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    wrong = options(tmp_path, HONEST, command=["./no-such-python", "judge.py"])
    with pytest.raises(PartError, match=r'judge "fake": no program "\./no-such-python"'):
        kilowit.evaluate(PREDICTIONS, REFERENCES, sources=SOURCES, metrics=[{"judge": wrong}])


def test_a_judge_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    program = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(started)!r}).write_text(str(child.pid))\n"
        "print('still loading', file=sys.stderr, flush=True)\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(PartError, match=r"longer than 1.5 s.*\n.*still loading"):
        scored(tmp_path, program, timeout_second=1.5)
    assert is_gone(int(started.read_text()))


def is_gone(pid: int) -> bool:
    """Whether a process ends within a second; one that nobody has reaped yet is gone."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.01)
    return False


def test_ctrl_c_ends_the_judge_too(tmp_path: Path) -> None:
    written = tmp_path / "pid"
    program = (
        f"import os, pathlib, signal, time\npathlib.Path({str(written)!r}).write_text(str(os.getpid()))\n"
        f"os.kill({os.getpid()}, signal.SIGINT)\ntime.sleep(60)\n"
    )
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path, program)
    assert is_gone(int(written.read_text()))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_judge_has_its_own_variables_and_not_our_path_to_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = HEAD + (
        "import os\nassert 'PYTHONPATH' not in os.environ\nassert 'source' not in rows[0]\n"
        "for row in rows:\n"
        "    print(json.dumps({'id': row['id'], 'scores': {'consistency': int(os.environ['GRADE'])}}))"
    )
    result = scored(tmp_path, program, env={"GRADE": "7"}, needs_source=False)
    assert result.per_example == {"fake_consistency": [7.0] * 3}


def test_odd_texts_reach_the_judge_whole(tmp_path: Path) -> None:
    odd = ["line\u2028end", "\ud800 alone", 'quote " and\nnewline']
    program = HEAD + (
        "for row in rows:\n    n = len(row['prediction'])\n"
        "    print(json.dumps({'id': row['id'], 'scores': {'consistency': n}}))"
    )
    result = MetricCall("judge", options(tmp_path, program)).score(odd, REFERENCES, SOURCES)
    assert result.per_example["fake_consistency"] == [float(len(text)) for text in odd]


def test_two_judges_stand_side_by_side_and_each_has_its_own_bill(tmp_path: Path) -> None:
    pair = [{"judge": options(tmp_path, HONEST, name=name)} for name in ("one", "other")]
    found = kilowit.evaluate(PREDICTIONS, REFERENCES, sources=SOURCES, metrics=["rouge", *pair], compare=PREDICTIONS)
    assert set(found.costs) == {"rouge", "judge:one", "judge:other"}
    assert found.verdicts["one_consistency"] == "not distinguishable"
    assert [phase.phase for phase in found.metered.phases if phase.phase == "score"] == ["score"]
    booked = next(phase.wall_second for phase in found.metered.phases if phase.phase == "score")
    assert sum(cost.wall_second for cost in found.costs.values()) <= booked
    with pytest.raises(StudyError, match='two metrics give "one_consistency"'):
        newer = {"judge": options(tmp_path, HONEST, name="one", version="2")}
        kilowit.evaluate(PREDICTIONS, REFERENCES, metrics=[pair[0], newer])


def test_the_hosts_model_counts_the_seconds_of_a_judge(tmp_path: Path) -> None:
    """Its joules follow the busy seconds of the whole machine, children included; other work can only add to them."""
    busy = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
    before_second = host.backend().read_busy_cpu_second()
    scored(tmp_path, busy + HONEST)
    assert host.backend().read_busy_cpu_second() - before_second >= 0.45


def test_the_command_line_takes_a_judge_as_a_study_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.jsonl"
    rows = zip(PREDICTIONS, REFERENCES, SOURCES, strict=True)
    path.write_text("".join(json.dumps({"prediction": p, "reference": r, "source": s}) + "\n" for p, r, s in rows))
    written = json.dumps({"judge": options(tmp_path, HONEST)})
    assert main(["evaluate", str(path), "--metrics", f"rouge, {written}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["metric"] for s in found["scores"]][-1] == "fake_consistency"
    assert found["costs"][-1]["metric"] == "judge:fake"
    assert main(["evaluate", str(path), "--metrics", "{judge: {name: fake}}"]) == 2
    assert 'metric "judge": command: Field required' in capsys.readouterr().err


def test_a_judge_is_held_against_people_like_any_metric(tmp_path: Path) -> None:
    rows = [
        {"source": s, "reference": r, "system_output": p, "scores": {"consistency": i / 3}}
        for i, (p, r, s) in enumerate(zip(PREDICTIONS, REFERENCES, SOURCES, strict=True))
    ]
    path = tmp_path / "human.json"
    path.write_text(json.dumps(rows))
    (found,) = meta_judge([path], [{"judge": options(tmp_path, HONEST)}])
    assert found.metric == "fake_consistency"
    assert found.pearson is not None
    assert found.scoring_second is not None and found.scoring_second > 0


def test_a_study_takes_a_judge_with_paths_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    written = {"command": ["./python", "-S", "./judge.py"], "name": "fake", "scores": ["consistency"], "version": "1"}
    (tmp_path / "judge.py").write_text(HONEST)
    text = json.dumps({"name": "a", "models": ["lead"], "datasets": ["docstrings"], "metrics": [{"judge": written}]})
    (cell,) = Study.parse(text, folder=tmp_path).cells
    (call,) = cell.metric_calls
    assert call.options["command"] == [str(tmp_path / "python"), "-S", str(tmp_path / "judge.py")]
    assert call.score(PREDICTIONS, REFERENCES, SOURCES).per_example == {"fake_consistency": [1.0, 1.0, 0.0]}
    assert cell.metric_signatures == (call.signature(),)
    moved = Study.parse(text.replace('"version": "1"', '"version": "2"'), folder=tmp_path).cells[0]
    assert moved.key != cell.key
    with pytest.raises(StudyError, match=r"metrics\[0\].*no program"):
        Study.parse(text.replace("./python", "./gone"), folder=tmp_path)
    with pytest.raises(KilowitError, match='the key "version" is missing'):
        Study.parse(text.replace('"version": "1"', '"timeout_second": 3.0'), folder=tmp_path)


def test_a_cell_books_its_judge_on_the_phase_score_and_notes_what_it_took(tmp_path: Path) -> None:
    written = json.dumps([{"judge": options(tmp_path, HONEST)}, "rouge"])
    record = worker_cells.run(tmp_path / "cell", model="lead", overrides=[f"metrics={written}"])
    assert record.status == "finished"
    assert record.scores[0].metric == "fake_consistency"
    assert [phase.phase for phase in record.phases].count("score") == 1
    (folder,) = (tmp_path / "cell" / "runs").glob("*/predictions.jsonl")
    assert all("fake_consistency" in json.loads(line)["scores"] for line in folder.read_text().splitlines())
    lines = [json.loads(line) for line in (folder.parent / "ledger.jsonl").read_text().splitlines()]
    noted = {line["facts"]["metric"]: line["facts"] for line in lines if line.get("kind") == "metric"}
    assert set(noted) == {"judge:fake", "rouge"}
    assert noted["judge:fake"]["wall_second"] > 0


def test_a_judge_gives_no_score_without_options() -> None:
    assert judge.NAMES == ()
    with pytest.raises(PartError, match="name: Field required"):
        MetricCall("judge").signature()


ALIGNSCORE = """
class AlignScore:
    def __init__(self, model, batch_size, device, ckpt_path, evaluation_mode):
        assert (model, device, ckpt_path, evaluation_mode) == ("roberta-base", "cpu", "a.ckpt", "nli_sp")
        print("loading, on standard output as libraries do")
    def score(self, contexts, claims):
        return [sum(w in c.split() for w in s.split()) / len(s.split()) for c, s in zip(contexts, claims)]
"""


def test_the_adapter_for_alignscore_keeps_to_the_protocol(tmp_path: Path, repository: Path) -> None:
    """With a stand-in for its package, which has other versions of everything."""
    (tmp_path / "alignscore.py").write_text(ALIGNSCORE)
    (tmp_path / "torch.py").write_text("")
    adapter = repository / "studies" / "judges" / "alignscore_judge.py"
    command = [sys.executable, str(adapter), "--checkpoint", "a.ckpt", "--device", "cpu"]
    written = {"name": "alignscore", "command": command, "scores": ["consistency"], "version": "stand-in"}
    call = MetricCall("judge", written | {"env": {"PYTHONPATH": str(tmp_path)}})
    found = call.score([*PREDICTIONS, " "], [*REFERENCES, "x"], [*SOURCES, "y"]).per_example
    assert found == {"alignscore_consistency": [1.0, 1.0, 0.0, 0.0]}
