"""Write summaries with an encoder-decoder: beam search over batches of similar length."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from kilowit.parts.flop import generate_flop
from kilowit.parts.model import Dimensions, num_members_of
from kilowit.parts.stock_generate import write_batches
from kilowit.run.summaries import Generated, OnBatch
from kilowit.settings import Precision, PredictSettings


def generation_config(model: Any, settings: PredictSettings) -> Any:
    """Return the family's generation settings with those of the study in their place.

    Where the study wants summaries shorter than the family's minimum, the minimum gives way.
    """
    config = copy.deepcopy(model.generation_config)
    config.update(**settings.model_dump(exclude={"batch_size", "runtime"}, exclude_none=True))
    if settings.min_new_tokens is None and config.min_new_tokens is not None:
        config.min_new_tokens = min(config.min_new_tokens, config.max_new_tokens)
    return config


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which forward passes compute in `precision`."""
    if precision in ("fp32", "tf32"):
        return nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    context: AbstractContextManager[Any] = torch.autocast(device.type, dtype=dtype)
    return context


def generate_summaries(
    model: Any,
    tokenizer: Any,
    sources: Sequence[array[int]],
    *,
    config: Any,
    batch_size: int,
    precision: Precision,
    dimensions: Dimensions,
    synchronize: Callable[[], None],
    on_batch: OnBatch,
) -> Generated:
    """Summarize tokenized sources, longest first: what does not fit fails at once.

    Args:
        model: an encoder-decoder on its device; left in evaluation mode.
        config: `transformers.GenerationConfig`.
        synchronize: waits for the device, so that a batch's wall time is its own.
    """
    model.eval()
    num_documents, num_done = len(sources), 0
    texts, num_tokens, latencies = [""] * num_documents, [0] * num_documents, [0.0] * num_documents
    pad_token_id = tokenizer.pad_token_id
    with torch.no_grad(), autocast(precision, model.device):
        for batch in write_batches(
            model, sources, config=config, batch_size=batch_size, pad_token_id=pad_token_id, synchronize=synchronize
        ):
            decoded = tokenizer.batch_decode(batch.tokens, skip_special_tokens=True)
            for place, text, tokens in zip(batch.places, decoded, batch.tokens, strict=True):
                texts[place], num_tokens[place], latencies[place] = text.strip(), len(tokens), batch.wall_second
            num_done += len(batch.places)
            on_batch(num_done)
    flop = sum(generate_flop(dimensions, len(s), n, config.num_beams) for s, n in zip(sources, num_tokens, strict=True))
    return Generated(texts, num_tokens, latencies, flop * num_members_of(model))
