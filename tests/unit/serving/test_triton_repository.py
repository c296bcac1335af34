"""A model repository has what Triton looks for, and its graphs are what their configurations say."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kilowit
from kilowit.errors import PartError
from kilowit.parts.standalone import NEEDS
from kilowit.settings import RuntimeSettings
from triton_clients import parsed_config

ONNX = RuntimeSettings(name="onnxruntime")
TYPES = {8: np.int32, 9: np.int64, 11: np.float32}  # of Triton's DataType


@pytest.fixture(scope="module")
def exported(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    out = tmp_path_factory.mktemp("triton") / "out"
    return kilowit.export_model(model_folder, out, ONNX, target="triton").folder


def test_every_configuration_is_read_by_tritons_protobuf(exported: Path) -> None:
    found = {path.parent.name: parsed_config(path.read_text()) for path in exported.glob("*/config.pbtxt")}
    assert {config.name: config.backend for config in found.values()} == {
        "bart-tiny": "python", "bart-tiny_encoder": "onnxruntime", "bart-tiny_decoder": "onnxruntime",
    }  # fmt: skip
    assert all(config.name == folder for folder, config in found.items())
    assert [tensor.name for tensor in found["bart-tiny"].input] == ["text"]


def test_the_readme_says_how_it_is_started_and_what_the_model_is(exported: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    assert "tritonserver --model-repository /models" in text and "kilowit serve THIS_FOLDER --engine triton" in text
    assert "## Licence" in text and "## What it cost" in text
    assert "bart-tiny_encoder" in text


def sample(tensor: Any, sizes: dict[str, list[int]], is_gathered: bool) -> Any:
    """Return values for an input, of the type and shape that its configuration says."""
    shape = sizes[tensor.name.partition(".")[0]]
    said = [-1] * is_gathered + list(tensor.dims)
    assert len(said) == len(shape) and all(size in (-1, real) for size, real in zip(said, shape, strict=True))
    return np.ones(shape, TYPES[tensor.data_type])


def test_the_graphs_run_with_the_names_types_and_shapes_of_their_configurations(exported: Path) -> None:
    import onnxruntime

    sources, beams, length, heads, width = 3, 2, 7, 4, 32
    sizes = {
        "input_ids": [sources, length], "attention_mask": [sources, length],
        "cross_key": [sources, heads, width, length], "cross_value": [sources, heads, length, width],
    }  # fmt: skip
    steps = {
        "input_ids": [sources, beams], "parents": [sources * beams],
        "past_key": [sources * beams, heads, 5, width], "past_value": [sources * beams, heads, 5, width],
    }  # fmt: skip
    for graph, shapes in (("encoder", sizes), ("decoder", sizes | steps)):
        folder = exported / f"bart-tiny_{graph}"
        config = parsed_config((folder / "config.pbtxt").read_text())
        is_gathered = config.max_batch_size > 0
        session = onnxruntime.InferenceSession(folder / "1" / config.default_model_filename)
        feed = {tensor.name: sample(tensor, shapes, is_gathered) for tensor in config.input}
        given = session.run([tensor.name for tensor in config.output], feed)
        for tensor, value in zip(config.output, given, strict=True):
            said = [-1] * is_gathered + list(tensor.dims)
            assert value.dtype == TYPES[tensor.data_type]
            assert len(said) == value.ndim
            assert all(size in (-1, real) for size, real in zip(said, value.shape, strict=True))


def test_the_graphs_take_their_place_on_the_disk_once(exported: Path) -> None:
    weights = "encoder.onnx.data"
    assert (exported / "bart-tiny" / "1" / weights).samefile(exported / "bart-tiny_encoder" / "1" / weights)


def test_what_is_copied_imports_nothing_of_ours(exported: Path) -> None:
    folder = exported / "bart-tiny" / "1"
    allowed = {*sys.stdlib_module_names, *NEEDS["onnxruntime"], "summarizer", "triton_python_backend_utils"}
    for path in [folder / "model.py", *(folder / "summarizer").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.partition(".")[0] for name in names} <= allowed, path.name
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("summarizer."):
                assert (folder / "summarizer" / f"{str(node.module).partition('.')[2]}.py").is_file()


def test_an_exported_summarizer_becomes_a_repository_and_stays_as_it_is(exported: Path, tmp_path: Path) -> None:
    folder = exported / "bart-tiny" / "1"
    before = (folder / "summarizer.json").read_text()
    again = kilowit.export_model(folder, tmp_path / "again", ONNX, target="triton").folder
    assert (
        (again / "bart-tiny" / "1" / "summarizer.json").read_text()
        == before
        == (folder / "summarizer.json").read_text()
    )
    names = {path.relative_to(folder) for path in folder.rglob("*.*")}
    assert names == {path.relative_to(again / "bart-tiny" / "1") for path in (again / "bart-tiny" / "1").rglob("*.*")}
    shared = {str(name) for name in names if (folder / name).samefile(again / "bart-tiny" / "1" / name)}
    assert "encoder.onnx.data" in shared and not {name for name in shared if name.endswith((".py", "summarizer.json"))}
    with pytest.raises(PartError, match="was exported for onnxruntime fp32"):
        kilowit.export_model(folder, tmp_path / "int8", RuntimeSettings(name="ctranslate2"), target="triton")


def test_ctranslate2_is_one_model_without_graphs(model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    chosen = RuntimeSettings(name="ctranslate2", precision="int8")
    out = kilowit.export_model(model_folder, tmp_path / "out", chosen, target="triton").folder
    assert [path.name for path in sorted(out.iterdir())] == ["README.md", "bart-tiny"]
    assert "_encoder" not in (out / "README.md").read_text(encoding="utf-8")


def test_a_runtime_that_triton_cannot_run_is_refused_before_anything_is_written(
    model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(PartError, match="does not run inside Triton"):
        kilowit.export_model(model_folder, tmp_path / "out", RuntimeSettings(name="torch"), target="triton")
    assert not list(tmp_path.iterdir())
