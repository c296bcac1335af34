"""A trained model leaves as an MLflow model, and MLflow's own server answers with what kilowit writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import kilowit
from kilowit.cli import main
from kilowit.errors import StoreError
from kilowit.settings import RuntimeSettings
from tiny_summarizer import tiny_corpus, write_model

for package in ("torch", "onnxruntime", "mlflow.pyfunc", "pandas"):
    pytest.importorskip(package, reason="needs 'kilowit[train,onnx,pyfunc]'")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "bart-tiny")


@pytest.fixture(scope="module")
def folder(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as another machine has it: copied, the original gone."""
    out = tmp_path_factory.mktemp("pyfunc")
    assert main(["export", str(model), str(out / "made"), "--runtime", "onnxruntime", "--target", "pyfunc"]) == 0
    assert [path.name for path in out.iterdir()] == ["made"]
    return Path(shutil.move(out / "made", out / "moved"))


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    binaries = Path(sys.executable).parent
    command = [str(binaries / "mlflow"), "models", "serve", "--model-uri", str(folder), "--env-manager", "local",
               "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]  # fmt: skip
    own = {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "DO_NOT_TRACK": "true",
           "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}  # fmt: skip
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env={**os.environ, **own}, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        end = time.monotonic() + 150
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(uri, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(server: str, documents: list[str], **params: Any) -> list[str]:
    question = {"dataframe_split": {"columns": ["document"], "data": [[d] for d in documents]}, "params": params}
    request = urllib.request.Request(
        f"{server}/invocations", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [row["summary"] for row in json.load(answer)["predictions"]]


@pytest.mark.slow
def test_the_server_writes_what_kilowit_writes(server: str, folder: Path) -> None:
    documents = list(tiny_corpus().test.documents[:6])
    with kilowit.load_summarizer(folder / "artifacts" / "summarizer") as summarizer:
        expected = summarizer.summarize(documents)
    assert ask(server, documents) == expected
    shorter = ask(server, documents, max_new_tokens=2, num_beams=1)
    assert shorter != expected and max(len(s) for s in shorter) <= max(len(s) for s in expected)


@pytest.mark.slow
def test_what_the_signature_does_not_know_and_empty_documents_are_refused_and_the_server_lives(server: str) -> None:
    for documents, params in ((["w", "  "], {}), (["w"], {"num_beams": "many"})):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(server, documents, **params)
        assert refused.value.code == 400
    assert len(ask(server, ["still here"])) == 1


def test_the_folder_states_its_signature_pins_and_nothing_of_this_machine(folder: Path, model: Path) -> None:
    text = (folder / "MLmodel").read_text()
    described = yaml.safe_load(text)
    assert str(model.parent) not in text and str(folder.parent) not in text and "site-packages" not in text
    assert "/src/kilowit" not in text
    inputs, params = (json.loads(described["signature"][name]) for name in ("inputs", "params"))
    assert [column["name"] for column in inputs] == ["document"]
    defaults = {param["name"]: param["default"] for param in params}
    assert (defaults["num_beams"], defaults["max_new_tokens"]) == (2, 8)  # as the model says
    pins = (folder / "requirements.txt").read_text().split()
    names = [pin.partition("==")[0] for pin in pins]
    assert names == ["mlflow", "pandas", "onnxruntime", "numpy", "tokenizers"]  # no kilowit, no torch
    assert all("==" in pin and "+" not in pin for pin in pins)
    assert (folder / "input_example.json").is_file()
    card = (folder / "artifacts" / "summarizer" / "README.md").read_text()
    assert card.startswith("---") and "summarization" in card


def test_a_torch_model_is_run_by_kilowit_itself(model: Path, tmp_path: Path) -> None:
    import mlflow.pyfunc
    import pandas

    exported = kilowit.export_pyfunc(model, tmp_path / "out", RuntimeSettings(name="torch_fast"))
    assert "kilowit==" in (exported.folder / "requirements.txt").read_text()
    documents = list(tiny_corpus().test.documents[:3])
    served = mlflow.pyfunc.load_model(str(exported.folder)).predict(pandas.DataFrame({"document": documents}))
    with kilowit.load_summarizer(model, runtime="torch_fast") as summarizer:
        assert list(served["summary"]) == summarizer.summarize(documents)
    with pytest.raises(StoreError, match="is there already"):
        kilowit.export_pyfunc(model, tmp_path / "out", RuntimeSettings(name="torch_fast"))
