"""The runtimes on torch: folders in and out, number formats, what they refuse, how torch_fast shares out work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fast_models import generators, loaded_model
from kilowit import parts
from kilowit.errors import PartError
from kilowit.parts.fast_generate import FastGenerator
from kilowit.parts.model import LoadedModel
from kilowit.parts.runtime import GenerateOptions, RuntimeOptions
from kilowit.parts.stock_generate import StockGenerator
from tiny_summarizers import save, word_tokenizer
from tiny_training import VOCABULARY_SIZE

SOURCES = [[5, 6, 7, 8, 2], [9, 2], [11, 12, 13, 2]]
BEAMS = GenerateOptions(4, 6, batch_size=2)
TORCH_RUNTIMES = ("torch", "torch_fast")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(loaded_model("bart").model, tmp_path_factory.mktemp("bart"))


@pytest.mark.parametrize("name", TORCH_RUNTIMES)
def test_a_saved_model_writes_what_it_wrote_in_memory(name: str, folder: Path) -> None:
    expected = generators("bart")[0].generate(SOURCES, BEAMS)
    assert parts.load("runtimes", name).load(folder, RuntimeOptions()).generate(SOURCES, BEAMS) == expected


@pytest.mark.parametrize("name", TORCH_RUNTIMES)
def test_an_export_in_half_precision_takes_half_the_room_and_is_loaded_as_it_is(
    name: str, folder: Path, tmp_path: Path
) -> None:
    module = parts.load("runtimes", name)
    module.export(folder, tmp_path / "out", "bf16")
    sizes = [(path / "model.safetensors").stat().st_size for path in (tmp_path / "out", folder)]
    assert sizes[0] < 0.6 * sizes[1]
    loaded = module.load(tmp_path / "out", RuntimeOptions())
    model = loaded.model if name == "torch_fast" else loaded.loaded.model
    assert model.dtype is torch.bfloat16
    assert all(len(tokens) <= 6 for tokens in loaded.generate(SOURCES, BEAMS))


def test_fp16_is_refused_for_a_family_that_overflows_in_it(tmp_path: Path) -> None:
    folder = save(loaded_model("t5").model, tmp_path)
    with pytest.raises(PartError, match="t5 overflows in fp16") as raised:
        parts.load("runtimes", "torch_fast").load(folder, RuntimeOptions(precision="fp16"))
    assert "bf16" in str(raised.value.hint)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(PartError, match="no NVIDIA GPU"):
        parts.load("runtimes", "torch").load(folder, RuntimeOptions(device="cuda"))


@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        ([[5, 2], []], BEAMS, "source 1 has no tokens"),
        ([[5] * 65], BEAMS, "source 0 has 65 tokens, the model has positions for 64"),
        ([[VOCABULARY_SIZE]], BEAMS, "not among the model's 64"),
        ([[5, 2]], GenerateOptions(4, 65), "max_new_tokens is 65"),
        ([[5, 2]], GenerateOptions(0, 5), "num_beams is 0"),
        ([[5, 2]], GenerateOptions(1, 5, 6), "min_new_tokens 6 is above"),
    ],
)
def test_what_cannot_be_written_is_one_error_before_anything_is_computed(
    is_fast: bool, sources: list[list[int]], options: GenerateOptions, message: str
) -> None:
    with pytest.raises(PartError, match=message) as raised:
        generators("bart")[is_fast].generate(sources, options)
    assert raised.value.hint


@pytest.mark.parametrize("is_fast", [False, True])
def test_no_source_is_no_summary_and_one_token_is_a_source(is_fast: bool) -> None:
    generator = generators("bart")[is_fast]
    assert generator.generate([], BEAMS) == []
    assert len(generator.generate([[5]], BEAMS)) == 1


@pytest.mark.parametrize("is_fast", [False, True])
def test_every_source_is_reported_once_as_it_is_done(is_fast: bool) -> None:
    told: list[int] = []
    generators("pegasus")[is_fast].generate(SOURCES, BEAMS, on_done=told.extend)
    assert sorted(told) == [0, 1, 2]


def test_a_checkpoints_own_minimum_length_is_not_added_to_the_call() -> None:
    stock, fast = generators("bart", min_length=6, no_repeat_ngram_size=1, num_beams=2)
    assert (
        stock.generate(SOURCES, BEAMS)
        == fast.generate(SOURCES, BEAMS)
        == generators("bart")[0].generate(SOURCES, BEAMS)
    )
    assert stock.loaded.model.generation_config.min_length == 6


def test_little_memory_makes_small_batches_and_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = generators("bart")[1]
    options = GenerateOptions(4, 6, batch_size=3)
    whole = list(fast.plan_batches(SOURCES, options)), fast.generate(SOURCES, options)
    monkeypatch.setattr(fast, "_budget_byte", lambda: 1.0)
    assert whole[0] == [[0, 2, 1]]  # longest first
    assert list(fast.plan_batches(SOURCES, options)) == [[0], [2], [1]]
    assert fast.generate(SOURCES, options) == whole[1]


def test_an_adapter_is_refused_with_a_way_out() -> None:
    class Adapted(torch.nn.Linear):  # type: ignore[misc]
        """Stands for a layer that adds something to its product."""

    loaded = loaded_model("bart")
    layer = loaded.model.get_decoder().layers[0].self_attn
    layer.q_proj = Adapted(16, 16)
    with pytest.raises(PartError, match="plain matrices, this model has Adapted") as raised:
        FastGenerator(loaded)
    assert "runtime torch" in str(raised.value.hint)


@pytest.mark.parametrize("family", ["led", "prophetnet"])
def test_families_without_a_fast_path_write_through_the_stock_one(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    from kilowit.parts.model import Family

    described: Family = parts.load("models", family).FAMILY
    size = {**next(iter(described.sizes.values())), "vocab_size": VOCABULARY_SIZE}
    ids = {"bos_token_id": 2, "pad_token_id": 0, "eos_token_id": 2}
    model = AutoModelForSeq2SeqLM.from_config(described.build_config({**size, **ids}, 64))
    model.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    generator = parts.load("runtimes", "torch").load(tmp_path, RuntimeOptions())
    written = generator.generate(SOURCES, GenerateOptions(2, 5, batch_size=2))
    assert [1 <= len(tokens) <= 5 for tokens in written] == [True] * 3
    with pytest.raises(PartError, match="does not decode"):
        FastGenerator(LoadedModel(model, None, described, "", ""))


def test_a_folder_that_was_not_compiled_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(PartError, match=r"no encoder\.pt2 in the folder") as raised:
        parts.load("runtimes", "torch_compile").load(folder, RuntimeOptions())
    assert "Export" in str(raised.value.hint)


def test_compiling_without_a_compiler_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(PartError, match=r"no C\+\+ compiler"):
        parts.load("runtimes", "torch_compile").export(tmp_path, tmp_path / "out", "fp32")


@pytest.mark.slow
def test_a_compiled_model_writes_the_tokens_of_the_model(tmp_path: Path) -> None:
    loaded, module = loaded_model("bart"), parts.load("runtimes", "torch_compile")
    for stack in (loaded.model.get_encoder(), loaded.model.get_decoder()):
        stack.layers = stack.layers[:1]  # one layer is compiled in half the time
    loaded.model.config.encoder_layers = loaded.model.config.decoder_layers = 1
    module.export(save(loaded.model, tmp_path / "in"), tmp_path / "out", "fp32")
    written = module.load(tmp_path / "out", RuntimeOptions()).generate(SOURCES, BEAMS)
    assert written == StockGenerator(loaded).generate(SOURCES, BEAMS)
