"""What is missing for Triton is said before anything is started, with what to do."""

from __future__ import annotations

import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from kilowit.endpoint import EndpointSettings
from kilowit.endpoint.triton_environment import find_triton
from kilowit.endpoint.triton_server import serve_triton, triton_models
from kilowit.errors import KilowitError, PartError, StudyError

ONNX = frozenset({"onnxruntime"})


def test_nobody_said_where_triton_is() -> None:
    with pytest.raises(PartError, match="needs an environment") as told:
        find_triton(None, ONNX)
    assert told.value.hint is not None and "nvidia-pytriton" in told.value.hint and "KILOWIT_TRITON" in told.value.hint


def test_a_folder_that_is_no_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="not a virtual environment") as told:
        find_triton(tmp_path / "none", ONNX)
    assert told.value.place == str(tmp_path / "none")


def test_an_environment_without_triton_is_named(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    with pytest.raises(PartError, match="nvidia-pytriton is not installed"):
        find_triton(tmp_path / "bare", ONNX)


def test_an_environment_without_the_runtime_is_named(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    binary = tmp_path / "bare" / "lib" / version / "site-packages" / "pytriton" / "tritonserver" / "bin"
    binary.mkdir(parents=True)
    (binary / "tritonserver").touch()
    with pytest.raises(PartError, match="lacks what the models need: numpy, onnxruntime, tokenizers"):
        find_triton(tmp_path / "bare", ONNX)


def test_an_address_that_others_can_reach_is_refused() -> None:
    with pytest.raises(StudyError, match="Triton asks for no token"):
        serve_triton([], EndpointSettings(host="0.0.0.0"), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--token-file", "x"], "ask nobody for the token"),
        (["--device", "cuda"], "no device cuda"),
        (["--runtime", "torch"], "was exported for onnxruntime"),
        ([], "needs an environment"),
    ],
)
def test_what_triton_cannot_do_is_one_clear_error(
    exported: Path, options: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from kilowit.cli import main

    monkeypatch.delenv("KILOWIT_TRITON", raising=False)
    assert main(["serve", str(exported), "--engine", "triton", *options]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.out == ""


def test_a_runtime_that_triton_cannot_run_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(KilowitError, match="does not run inside Triton"):
        triton_models([str(exported.parent / "model")], ["torch"])
    assert [model.runtime.name for model in triton_models([str(exported.parent / "model")], [])] == ["onnxruntime"]
