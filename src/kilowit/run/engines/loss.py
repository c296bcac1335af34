"""The loss that all training here is counted in: a sum over target tokens, to be divided by their number."""

from __future__ import annotations

from typing import Any

from torch.nn.functional import cross_entropy

from kilowit.run.batches import IGNORED


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
