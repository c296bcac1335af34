"""The ONNX graphs and the numpy search write the tokens of transformers' generate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilowit.errors import PartError
from kilowit.parts.onnx_graph import Graph, Precision
from kilowit.parts.runtime import GenerateOptions, RuntimeOptions
from kilowit.parts.runtimes import onnxruntime, openvino
from kilowit.parts.text_codec import Manifest
from tiny_summarizers import random_sources, save, sharp_model, written_by_generate
from tiny_training import EOS

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ONE_THREAD = RuntimeOptions(num_threads=1)
SETTINGS = (
    GenerateOptions(max_new_tokens=20),
    GenerateOptions(max_new_tokens=20, min_new_tokens=8, no_repeat_ngram_size=2),
    GenerateOptions(4, 20),
    GenerateOptions(4, 20, 5, 2.0, 3, early_stopping=True),
    GenerateOptions(6, 25, 0, 0.6, 2, early_stopping=False),
    GenerateOptions(4, 24, 0, -1.0, 1, early_stopping=False, batch_size=5),
    GenerateOptions(3, 1),
)
FAMILIES = ("bart", "pegasus", "t5", "bigbird_pegasus")


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model = sharp_model(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    onnxruntime.export(save(model, folder / "model"), folder / "onnx", "fp32")
    return model, folder / "onnx"


def test_tokens_equal_those_of_generate_whatever_the_settings_and_the_batch(exported: tuple[Any, Path]) -> None:
    model, folder = exported
    generator, sources = onnxruntime.load(folder, ONE_THREAD), random_sources()
    for options in SETTINGS:
        done: list[int] = []
        assert generator.generate(sources, options, done.extend) == written_by_generate(model, sources, options)
        assert sorted(done) == list(range(len(sources)))


def test_openvino_reads_the_same_graphs(exported: tuple[Any, Path]) -> None:
    pytest.importorskip("openvino")
    model, folder = exported
    generator, sources = openvino.load(folder, ONE_THREAD), random_sources(6)
    for options in (SETTINGS[0], SETTINGS[2]):
        assert generator.generate(sources, options) == written_by_generate(model, sources, options)


def test_onnx_runtime_gets_fused_nodes_and_openvino_plain_ones(exported: tuple[Any, Path], tmp_path: Path) -> None:
    import onnx

    from kilowit.parts.onnx_seq2seq import decoder_graph, encoder_graph
    from kilowit.parts.seq2seq_weights import read_weights

    model, folder = exported
    kinds = {node.op_type for node in onnx.load(folder / "encoder.onnx", load_external_data=False).graph.node}
    assert "MultiHeadAttention" in kinds
    assert any(kind.startswith("Skip") for kind in kinds)
    for build in (encoder_graph, decoder_graph):
        build(read_weights(model), "fp32").save(tmp_path / "plain.onnx")
        plain = onnx.load(tmp_path / "plain.onnx", load_external_data=False)
        assert {node.domain for node in plain.graph.node} == {""}


def test_an_openvino_export_is_checked_by_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    from kilowit.parts import engine_openvino

    def off(compiled: Any, feed: dict[str, Any]) -> dict[str, Any]:
        return {name: 1.01 * value for name, value in infer(compiled, feed).items()}

    infer = engine_openvino._infer
    monkeypatch.setattr(engine_openvino, "_infer", off)
    with pytest.raises(PartError, match="the export is wrong"):
        openvino.export(save(sharp_model("t5"), tmp_path / "model"), tmp_path / "openvino", "fp32")


def test_a_forced_first_token_comes_first(tmp_path: Path) -> None:
    model = sharp_model("bart")
    model.generation_config.forced_bos_token_id = 7
    onnxruntime.export(save(model, tmp_path / "model"), tmp_path / "onnx", "fp32")
    generator, sources = onnxruntime.load(tmp_path / "onnx", ONE_THREAD), random_sources(4)
    for options in (SETTINGS[1], SETTINGS[3]):
        written = generator.generate(sources, options)
        assert written == written_by_generate(model, sources, options)
        assert {row[0] for row in written} == {7}


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_smaller_formats_are_smaller_and_write_nearly_the_same(tmp_path: Path, precision: str) -> None:
    model = sharp_model("t5")
    onnxruntime.export(save(model, tmp_path / "model"), tmp_path / "small", precision)
    sources, options = random_sources(), SETTINGS[0]
    small = onnxruntime.load(tmp_path / "small", ONE_THREAD).generate(sources, options)
    pairs = list(zip(small, written_by_generate(model, sources, options), strict=True))
    assert np.mean([mine[0] == theirs[0] for mine, theirs in pairs]) > 0.7
    assert Manifest.read(tmp_path / "small").precision == precision


@pytest.mark.parametrize("family", ["bart", "pegasus", "t5"])
def test_in_8_bits_what_else_is_in_the_batch_moves_nothing(tmp_path: Path, family: str) -> None:
    model = sharp_model(family)
    onnxruntime.export(save(model, tmp_path / "model"), tmp_path / "small", "int8")
    generator: Any = onnxruntime.load(tmp_path / "small", ONE_THREAD)
    ids = np.array(random_sources(6)[:1])
    mask: Any = np.ones_like(ids)
    other = np.roll(ids, 3, axis=1)
    parents, start = np.arange(2), generator.manifest.special_ids.decoder_start
    together = generator.encode(np.concatenate([ids, other]), np.concatenate([mask, mask]))
    alone = generator.encode(ids, mask)
    mine = together.step(np.full((2, 1), start), parents)[:1]
    np.testing.assert_allclose(mine, alone.step(np.full((1, 1), start), parents[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", None])
@pytest.mark.parametrize("precision", ["int8", "int8_block"])
def test_a_layer_in_8_bits_is_near_the_layer(tmp_path: Path, activation: str | None, precision: Precision) -> None:
    import onnxruntime as ort

    draw = np.random.default_rng(0)
    size = np.logspace(-3, 2, 12)[:, None]  # a scale for all rows would leave nothing of the small ones
    rows = (draw.standard_normal((12, 200)) * size).astype(np.float32)  # 200: not a whole number of blocks
    rows[3] = 0
    weight, bias = draw.standard_normal((2, 30, 200)).astype(np.float32)[0], draw.standard_normal(30)
    found = {}
    for kind in ("fp32", precision):
        graph = Graph(kind, is_contrib=True)
        x = graph.input("x", "float32", ["rows", 200])
        active = x if activation is None else graph.activation(x, activation)
        graph.output(graph.linear(active, "layer", weight, bias), "y", ["rows", 30])
        graph.save(tmp_path / f"{kind}.onnx")
        session = ort.InferenceSession(tmp_path / f"{kind}.onnx", providers=["CPUExecutionProvider"])
        (found[kind],) = session.run(None, {"x": rows})
    error = np.abs(found[precision] - found["fp32"]).mean(axis=1)
    share = 0.1 if activation in ("gelu", "gelu_new") else 0.02  # coarse for rows that are small altogether
    assert (error <= share * np.abs(found["fp32"] - bias).mean(axis=1) + 1e-6).all()
    np.testing.assert_allclose(found[precision][3], bias, rtol=1e-5)


def test_an_export_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kilowit.parts import onnx_export
    from kilowit.parts.seq2seq_weights import read_weights

    def wrong(model: Any) -> Any:
        weights = read_weights(model)
        return replace(weights, norms_first=not weights.norms_first)

    monkeypatch.setattr(onnx_export, "read_weights", wrong)
    with pytest.raises(PartError, match="the export is wrong: at step 0"):
        onnxruntime.export(save(sharp_model("bart"), tmp_path / "model"), tmp_path / "onnx", "fp32")


def test_sparse_attention_is_refused(tmp_path: Path) -> None:
    model = sharp_model("bart")
    model.config.max_encoder_keys = 8
    with pytest.raises(PartError, match="sparse attention"):
        onnxruntime.export(save(model, tmp_path / "model"), tmp_path / "onnx", "fp32")


def test_bad_requests_are_one_clear_error(exported: tuple[Any, Path]) -> None:
    generator = onnxruntime.load(exported[1], ONE_THREAD)
    for sources, options, said in (
        ([[]], GenerateOptions(), "no tokens"),
        ([[99, EOS]], GenerateOptions(), "not among"),
        ([[5, EOS]], GenerateOptions(num_beams=0), "num_beams is 0"),
        ([[5, EOS]], GenerateOptions(max_new_tokens=4, min_new_tokens=9), "min_new_tokens"),
    ):
        with pytest.raises(PartError, match=said):
            generator.generate(sources, options)
    assert generator.generate([], GenerateOptions()) == []


def test_a_folder_that_is_not_whole_is_one_clear_error(exported: tuple[Any, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(exported[1], tmp_path / "cut")
    (tmp_path / "cut" / "decoder.onnx").write_bytes(b"no graph")
    with pytest.raises(PartError, match="cannot load the graph"):
        onnxruntime.load(tmp_path / "cut", ONE_THREAD)
    with pytest.raises(PartError, match="in fp32, not in int8"):
        onnxruntime.load(exported[1], RuntimeOptions(precision="int8"))
    with pytest.raises(PartError, match="no such folder"):
        onnxruntime.load(tmp_path / "none", ONE_THREAD)
