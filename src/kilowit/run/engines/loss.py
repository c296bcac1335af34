"""The true token loss, in training and in validation, whatever the engine and the layout of its batches.

It is a sum over target tokens, to be divided by their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from kilowit.parts.flop import forward_flop
from kilowit.parts.fused_loss import fused_loss_sum
from kilowit.run.batches import IGNORED
from kilowit.run.engines import sharding
from kilowit.run.engines.job import TrainJob


def token_loss_sum(model: Any, inputs: dict[str, Any], label_smoothing: float) -> tuple[Any, Any]:
    """Return the summed cross entropy of all target tokens, a 0-d tensor, and the model's outputs.

    A model that predicts several tokens at once (ProphetNet) trains on the mean of its streams, as its authors do, and
    is validated on the next token.
    """
    inputs = dict(inputs)
    labels_BT = inputs.pop("labels")
    outputs = model(**inputs, use_cache=False)
    streams = [outputs.logits]
    if model.training and getattr(outputs, "logits_ngram", None) is not None:
        streams += outputs.logits_ngram.unbind(1)
    total = sum(
        cross_entropy(
            logits_BTV.flatten(0, 1).float(), labels_BT.flatten(),
            ignore_index=IGNORED, reduction="sum", label_smoothing=label_smoothing,
        )
        for logits_BTV in streams
    )  # fmt: skip
    return total / len(streams), outputs


class ChunkedOutputs(NamedTuple):
    """What the model returned where no logits were kept."""

    num_chunks: int
    largest_chunk_tokens: int


def chunked_loss_sum(
    model: Any, inputs: dict[str, Any], label_smoothing: float, chunk_tokens: int
) -> tuple[Any, ChunkedOutputs]:
    """Return what `token_loss_sum` returns, in chunks, without logits; for BART, mBART, PEGASUS and T5."""
    inputs = dict(inputs)
    labels_BT = inputs.pop("labels")
    head, bias = model.get_output_embeddings(), getattr(model, "final_logits_bias", None)
    hidden_BTD = _decoder_states(model, inputs)
    # A packed row has next to nothing to leave out, and what is recorded must not ask the device for a number.
    chosen_BT = slice(0, None) if "target_bounds" in inputs else labels_BT != IGNORED
    hidden_ND, labels_N = hidden_BTD[chosen_BT].flatten(0, -2), labels_BT[chosen_BT].flatten()
    total = fused_loss_sum(
        hidden_ND, head.weight, labels_N, bias_V=bias, label_smoothing=label_smoothing, num_rows=chunk_tokens
    )
    return total, ChunkedOutputs(math.ceil(len(labels_N) / chunk_tokens), min(len(labels_N), chunk_tokens))


def _decoder_states(model: Any, inputs: dict[str, Any]) -> Any:
    """Return what the vocabulary head reads, [B, T, D], as the model's own `forward` computes it."""
    if hasattr(model, "model"):
        return model.model(**inputs, use_cache=False).last_hidden_state
    given = dict(inputs)
    source = {name: given.pop(name) for name in ("input_ids", "attention_mask") if name in given}
    target_ids = given.pop("decoder_input_ids")
    states = model.encoder(**source, **given).last_hidden_state
    decoded = model.decoder(
        input_ids=target_ids,
        encoder_hidden_states=states,
        encoder_attention_mask=source.get("attention_mask"),
        use_cache=False,
        **given,
    ).last_hidden_state
    return decoded * model.model_dim**-0.5 if model.config.scale_decoder_outputs else decoded


def validation_loss(
    job: TrainJob, collate: Callable[[Sequence[int]], Any], loss_sum: Callable[[Any], Any], phase: Any
) -> float:
    """Return the token mean over the whole validation split, of all ranks together, and count it on the phase.

    Args:
        collate: indices of the validation split -> a batch.
        loss_sum: a batch -> its summed loss, with the model in evaluation mode.
    """
    split, batch_size = job.data.validation, job.settings.train.batch_size
    order = sorted(range(len(split)), key=lambda i: (split.source_lengths[i], split.target_lengths[i]))
    total = torch.zeros((), device=job.device)
    with torch.no_grad():
        for start in range(0, len(order), batch_size):
            total += loss_sum(collate(order[start : start + batch_size]))
    sharding.sum_over_ranks(total)
    num_source_tokens, num_target_tokens = sum(split.source_lengths), sum(split.target_lengths)
    pairs = zip(split.source_lengths, split.target_lengths, strict=True)
    phase.count(
        num_examples=len(split),
        num_input_tokens=num_source_tokens,
        num_output_tokens=num_target_tokens,
        flop_total=sum(forward_flop(job.dimensions, source, target) for source, target in pairs),
    )
    return float(total.item() / num_target_tokens)
