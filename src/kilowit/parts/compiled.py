"""The runtime torch_compile: encoder and decoding step compiled ahead of time (AOTInductor), one file each.

What is compiled is the step of `fast_decoder`, its weights packed for the machine; the search is that of torch_fast.

Tensors: B sources, K beams, S source positions, T target positions, H heads, W head width.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch

from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.fast_decoder import FastDecoder, Segment, SelfCache
from kilowit.parts.fast_generate import BatchGenerator, FastGenerator, special_tokens
from kilowit.parts.fast_weights import read_decoder
from kilowit.parts.model import LoadedModel
from kilowit.parts.pretrained import load_folder
from kilowit.parts.runtime import GenerateOptions, RuntimeOptions

ENCODER, STEP, SHAPES = "encoder.pt2", "step.pt2", "shapes.json"
MAX_BIASED_POSITIONS: Final = 512  # T5's bias of written positions is laid down for this many
CHECKED: Final = GenerateOptions(num_beams=3, max_new_tokens=9, batch_size=3)  # what an export must write as before


class _Encoder(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, model: Any, decoder: FastDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = model.get_encoder(), decoder

    def forward(self, input_ids: Any, attention_mask: Any) -> tuple[Any, ...]:
        """Return the keys and values [2, B, H, S, W] of every layer."""
        states_BSD = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        return tuple(self.decoder.key_values(states_BSD))


class _Step(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, decoder: FastDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.bias_HTT = decoder.position_bias(MAX_BIASED_POSITIONS)

    def forward(self, tokens_BK: Any, step: Any, ancestors_BKT: Any, mask: Any, written: Any, sources: Any) -> Any:
        """Return logits; the written keys and values are added to in place."""
        bias_HT = None
        if self.bias_HTT is not None:
            bias_HT = self.bias_HTT.index_select(1, step)[:, 0, : ancestors_BKT.shape[2]]
        self_mask = self.decoder.self_mask(ancestors_BKT, bias_HT)
        cache = SelfCache(written)
        return self.decoder.step(tokens_BK, step, None, cache, [Segment(sources, mask)], self_mask)


class CompiledDecoder:
    """A step that was compiled: of `FastDecoder`'s kind, but for all positions at once and sources of one length."""

    reads_all_positions = True

    def __init__(self, folder: Path) -> None:
        shapes = json.loads((folder / SHAPES).read_text(encoding="utf-8"))
        self.vocabulary_size: int = shapes["vocabulary_size"]
        self._heads: list[tuple[int, int]] = [tuple(pair) for pair in shapes["heads"]]
        self._run = torch._inductor.aoti_load_package(str(folder / STEP))

    def empty_cache(self, num_sources: int, num_beams: int, num_positions: int) -> SelfCache:
        """Make room for what will be written."""
        sizes = ((2, num_sources, heads, num_positions, num_beams, width) for heads, width in self._heads)
        return SelfCache([torch.zeros(size) for size in sizes])

    def position_bias(self, num_positions: int) -> None:
        """Return nothing: the bias is compiled in."""

    def self_mask(self, ancestors_BKT: Any, bias_HT: Any) -> Any:
        """Return the table as it is: the mask is made in the compiled step."""
        return ancestors_BKT

    def step(
        self, tokens_BK: Any, step: Any, place: int | None, cache: SelfCache, segments: list[Segment], mask: Any
    ) -> Any:
        """Feed one token of each beam; return the logits of the next."""
        (segment,) = segments
        return self._run(tokens_BK, step, mask, segment.mask, cache.layers, segment.key_values)


class CompiledGenerator(BatchGenerator):
    """The runtime ``torch_compile``."""

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        """Load what `export_compiled` left.

        Raises:
            PartError: the folder is not one of these.
        """
        for name in (ENCODER, STEP, SHAPES):
            if not (folder / name).is_file():
                raise PartError(
                    f"no {name} in the folder", place=str(folder), hint="Export the model with runtime torch_compile."
                )
        if options.num_threads is not None:
            torch.set_num_threads(options.num_threads)
        config = catalogue.read_config(folder)
        limits = catalogue.family_of(config, place=str(folder)).position_limits(config)
        generation = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
        described = SimpleNamespace(config=SimpleNamespace(**config), generation_config=SimpleNamespace(**generation))
        super().__init__(CompiledDecoder(folder), special_tokens(described), limits, torch.device("cpu"))
        self._encode = torch._inductor.aoti_load_package(str(folder / ENCODER))

    def split(self, sources: Any) -> Any:
        """Yield all sources: the compiled step reads one segment."""
        yield sources

    def read(self, input_ids: Any, attention_mask: Any) -> Segment:
        """Encode sources [B, S] and compute their keys and values."""
        mask_BS = torch.zeros(attention_mask.shape).masked_fill_(attention_mask == 0, -torch.inf)
        return Segment(list(self._encode(input_ids, attention_mask)), mask_BS[:, None, None, :])


def export_compiled(model: Path, folder: Path) -> None:
    """Compile a model folder for this CPU and check what it then writes; takes a compiler, and about a minute.

    Raises:
        PartError: the model cannot be loaded or is not one of `read_decoder`'s, there is no C++ compiler, or the
            compiled model writes something else.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "c++", "clang++")):
        raise PartError(
            "no C++ compiler on this machine", hint="Install g++, or take torch_fast, which compiles nothing."
        )
    loaded = load_folder(model)
    loaded.model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        _compile(loaded, folder)
    loaded.model.config.save_pretrained(folder)
    loaded.model.generation_config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    _check(loaded, folder)


def _compile(loaded: LoadedModel, folder: Path) -> None:
    decoder = FastDecoder(read_decoder(loaded.model))
    layers = decoder.weights.layers
    num_sources, num_beams, length, num_positions = 3, 4, 24, 10  # unlike each other: none is taken for another
    auto = torch.export.Dim.AUTO
    ids_BS = torch.full((num_sources, length), 3)
    _package(
        _Encoder(loaded.model, decoder), (ids_BS, torch.ones_like(ids_BS)), ({0: auto, 1: auto},) * 2, folder / ENCODER
    )
    written = decoder.empty_cache(num_sources, num_beams, num_positions).layers
    sources = [torch.zeros(2, num_sources, layer.num_heads, length, layer.head_width) for layer in layers]
    inputs = (
        torch.full((num_sources, num_beams), 3),
        torch.tensor([1]),
        torch.zeros(num_sources, num_beams, num_positions, dtype=torch.int8),
        torch.zeros(num_sources, 1, 1, length),
        written,
        sources,
    )
    dynamic = (
        {0: auto, 1: auto}, None, {0: auto, 1: auto, 2: auto}, {0: auto, 3: auto},
        [{1: auto, 3: auto, 4: auto} for _ in layers], [{1: auto, 3: auto} for _ in layers],
    )  # fmt: skip
    _package(_Step(decoder), inputs, dynamic, folder / STEP)
    heads = [(layer.num_heads, layer.head_width) for layer in layers]
    shapes = {"vocabulary_size": decoder.vocabulary_size, "heads": heads}
    (folder / SHAPES).write_text(json.dumps(shapes), encoding="utf-8")


def _package(module: Any, inputs: Any, dynamic: Any, path: Path) -> None:
    program = torch.export.export(
        module, inputs, dynamic_shapes=dynamic, prefer_deferred_runtime_asserts_over_guards=True
    )
    # freezing packs the weights for the CPU's matrix products: without it little is won
    torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs={"freezing": True})


def _check(loaded: LoadedModel, folder: Path) -> None:
    size = loaded.model.config.vocab_size
    sources = [[(7 * i + j) % (size - 4) + 4 for j in range(3 + 4 * i)] for i in range(4)]
    compiled, fast = CompiledGenerator(folder, RuntimeOptions()), FastGenerator(loaded)
    for options in (CHECKED, replace(CHECKED, num_beams=1, batch_size=1)):
        if compiled.generate(sources, options) != fast.generate(sources, options):
            raise PartError("the compiled model writes other tokens than the model", hint="Take torch_fast.")
