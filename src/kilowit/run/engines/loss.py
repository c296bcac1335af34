"""The true token loss, in training and in validation, whatever the engine and the layout of its batches.

It is a sum over target tokens, to be divided by their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from kilowit.parts.flop import forward_flop
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
