"""The environment: plain JSON, no guesses, no network."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from kilowit.run import environment
from kilowit.run.predictions import add_scores, write_predictions


def test_environment_is_plain_json_and_knows_this_machine() -> None:
    found = environment.describe_environment()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["torch"]
    assert found["cpu"]["num_usable_cores"] >= 1
    assert found["memory_byte"] > 2**28
    assert {row["sensor"] for row in found["sensors"]} >= {"nvml", "host"}
    assert isinstance(found["gpus"], list)


def test_environment_opens_no_network_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("network used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    environment.describe_environment()


def test_machine_without_firmware_tables_or_git_gives_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "_DMI", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = environment.describe_environment()
    assert found["cloud"] == {"provider": None, "vendor": None, "product": None}
    assert found["git"] is None


def test_scores_stand_beside_their_summaries_whatever_characters_those_hold(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    texts = ["plain", "line\nbreak", "separator\u2028here", "\x85"]
    write_predictions(path, [{"id": str(i), "prediction": text, "scores": {}} for i, text in enumerate(texts)])
    assert add_scores(path, {"rouge1": [0.1, 0.2, 0.3, 1 / 3]}) == 4
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    assert [row["prediction"] for row in rows] == texts
    assert [row["scores"]["rouge1"] for row in rows] == [0.1, 0.2, 0.3, 0.333333]
    assert list(tmp_path.iterdir()) == [path]
