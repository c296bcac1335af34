"""A server for as long as a block lasts; what it answers is tried by the sample (tests/e2e/test_sample.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.endpoint import StartedEndpoint, start_endpoint
from kilowit.errors import ExecutorError
from kilowit.settings import RuntimeSettings


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ExecutorError, match=r"did not start: .*nothing-here"),
        start_endpoint({"a": tmp_path / "nothing-here"}, store=tmp_path / "books"),
    ):
        raise AssertionError("it must not be entered")


def test_an_address_where_nobody_answers_is_one_clear_error() -> None:
    with pytest.raises(ExecutorError, match="no answer"):
        StartedEndpoint("http://127.0.0.1:9").totals()


def test_a_runtime_is_read_with_and_without_its_precision() -> None:
    assert RuntimeSettings.parse("onnxruntime:int8") == RuntimeSettings(name="onnxruntime", precision="int8")
    assert RuntimeSettings.parse("torch") == RuntimeSettings(name="torch")
