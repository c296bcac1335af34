"""What is checked before a server listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.endpoint.server import models_to_serve, read_token
from kilowit.endpoint.settings import EndpointSettings
from kilowit.errors import ExecutorError, PartError, StudyError

TOKEN = "a-token-of-some-length"


def test_others_than_this_machine_are_asked_for_a_token(tmp_path: Path) -> None:
    assert read_token(None, {}, "127.0.0.1") is None
    assert read_token(None, {}, "::1") is None
    with pytest.raises(StudyError, match=r"0\.0\.0\.0 can be reached by others"):
        read_token(None, {}, "0.0.0.0")
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert read_token(path, {}, "0.0.0.0") == TOKEN
    assert read_token(None, {"KILOWIT_SERVE_TOKEN": TOKEN}, "0.0.0.0") == TOKEN


def test_a_token_that_is_guessed_too_easily_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="16 printable"):
        read_token(None, {"KILOWIT_SERVE_TOKEN": "short"}, "127.0.0.1")
    with pytest.raises(StudyError, match="cannot be read"):
        read_token(tmp_path / "nothing", {}, "127.0.0.1")


def test_every_model_is_served_on_every_runtime_by_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    model = str(tmp_path / "my model")
    served = models_to_serve([model], ["onnxruntime:fp32", "onnxruntime:int8"])
    assert [one.name for one in served] == ["my-model-onnxruntime-fp32", "my-model-onnxruntime-int8"]
    assert [one.name for one in models_to_serve([f"news={model}", model], [])] == ["news", "my-model"]
    with pytest.raises(StudyError, match='named "my-model"'):
        models_to_serve([model, model], [])
    with pytest.raises(PartError, match="no such folder"):
        models_to_serve([str(tmp_path / "nothing")], [])


def test_an_address_that_is_taken_is_one_clear_error() -> None:
    import socket

    pytest.importorskip("uvicorn")
    from kilowit.endpoint import serve

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ExecutorError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve([], EndpointSettings(port=port))
