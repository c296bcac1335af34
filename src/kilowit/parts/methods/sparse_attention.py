"""sparse_attention: the encoder's tokens see a window around them and a few global tokens.

What it does   In every encoder layer a token attends to `window` tokens on each side and to the first
               `num_global_tokens`, which see all and are seen by all. Exact under that mask, block by block, never
               building it: time and memory grow with the length, not with its square. Weights, decoder and
               cross-attention stay. Prediction reads the same way.
When to use    Sources of several thousand tokens, with a window far below their length.
When not       Sources of up to about 1,000 tokens: torch's fused dense attention is as fast. To save memory with BART
               and PEGASUS: fused attention keeps no scores, while the blocks keep keys and values three times. Texts
               shorter than the window: nothing is left out, and the run fails.
Trade-off      train.wall_second x0.3-1.3 | train.memory_gpu_max_byte x0.45-1.3 | rouge2 -0.03..+0.005; the gain grows
               with length / window, and is largest with T5, whose bias of S x S is never built
Options        window (256 tokens on each side), num_global_tokens (1)
Works with     all others, in bf16 too, in both engines.   Conflicts with  compile, ctranslate2_int8, fp16_export,
               int8_dynamic, int8_static, packing.
               A kept model's folder holds the weights alone: other programs load it with dense attention.
Source         Beltagy et al. 2020, arXiv 2004.05150, sections 3.1 and 4.1: window and global tokens; blocks as in its
               chunked implementation. Ours, 2026-11, benchmarks/sparse_attention.py, one thread of a busy CPU, torch
               2.13, two encoder layers of width 256, window 128, window over dense: CPU seconds of BART x1.05, 0.84,
               0.63, 0.43 at 512, 1024, 2048, 4096 tokens, of T5 x0.67, 0.28 at 1024, 2048; memory of BART x1.2 at all
               four, of T5 x0.55, 0.48. Not run on a GPU yet.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.settings import Block, Count

CONFLICTS_WITH: Final = ("compile", "ctranslate2_int8", "fp16_export", "int8_dynamic", "int8_static", "packing")
FAMILIES: Final = ("bart", "pegasus", "t5")
ENGINES: Final = ("trainer", "loop")
_OURS: Final = "ours: benchmarks/sparse_attention.py on a CPU; an estimate for whole models on a GPU"
EXPECTS: Final = (
    Expectation("train.wall_second", 0.3, 1.3, source=_OURS),
    Expectation("train.memory_gpu_max_byte", 0.45, 1.3, source=_OURS),
    Expectation("rouge2", -0.03, 0.005, kind="difference", source="ours: an estimate for pretrained models"),
)


class Options(Block):
    """What a token sees."""

    window: Count = Field(256, description="tokens on each side")
    num_global_tokens: Count = Field(1, description="first tokens, which see all and are seen by all")


def on_model(model: Any, options: Options, facts: dict[str, Any]) -> Any:
    """Give the encoder its window; the model's configuration notes it, and FLOPs are counted by it."""
    from kilowit.parts.window_attention import Window, use_window

    window = Window(options.window, options.num_global_tokens)
    facts["window"] = window
    facts["num_layers"] = use_window(model, window)
    model.config.max_encoder_keys = window.num_keys
    return model


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the share of the pairs of positions that training computed with."""
    window = run.facts["window"]
    numbers = {
        "num_layers": run.facts["num_layers"],
        "num_calls": window.num_calls,
        "mask_density": window.num_pairs / window.num_dense_pairs if window.num_dense_pairs else None,
    }
    is_sparse = 0 < window.num_pairs < window.num_dense_pairs
    return Evidence(is_sparse and run.facts["num_layers"] == run.model.config.num_hidden_layers, numbers)
