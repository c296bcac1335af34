"""Clients of a Triton: many at once over HTTP, with the unmodified tritonclient; and Triton's own protobuf."""

from __future__ import annotations

import concurrent.futures
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NUM_CLIENTS = 8


def model_config_message() -> Any:
    """Triton's message ModelConfig. It lies beside the client for gRPC, which need not be installed for it."""
    pytest.importorskip("google.protobuf")
    found = importlib.util.find_spec("tritonclient")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("needs the package tritonclient, which brings Triton's protobuf")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig


def parsed_config(text: str) -> Any:
    """Read a config.pbtxt as Triton does: an unknown field is an error."""
    from google.protobuf import text_format

    return text_format.Parse(text, model_config_message()())


def infer(url: str, model: str, texts: Sequence[str], **parameters: Any) -> dict[str, Any]:
    """Ask once, with binary tensors as the client sends them of itself; return the outputs by name, one a document."""
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(url.removeprefix("http://")) as client:
        text = http.InferInput("text", [len(texts), 1], "BYTES")
        text.set_data_from_numpy(np.array([[one.encode()] for one in texts], dtype=object))
        told = client.infer(model, [text], request_id="r", parameters=parameters or None)
        names = [output["name"] for output in told.get_response()["outputs"]]
        return {name: told.as_numpy(name).reshape(-1).tolist() for name in names}


def infer_at_once(url: str, model: str, documents: Sequence[str]) -> list[dict[str, Any]]:
    """Ask for each document in a request of its own, from eight clients."""
    with concurrent.futures.ThreadPoolExecutor(NUM_CLIENTS) as pool:
        return list(pool.map(lambda document: infer(url, model, [document]), documents))
