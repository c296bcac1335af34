"""token_matching: each word piece looks for its nearest in the other text, in the manner of BERTScore.

What it is     token_matching_precision: mean over the prediction's tokens of the highest cosine with a token of the
               reference; token_matching_recall: the same from the reference; token_matching_f1: their harmonic mean.
               Vectors are contextual, of one layer of the encoder. Mean over examples.
Settings       Layer: the last, unless `layer` says; special tokens left out; no weights by rarity; no rescaling with a
               baseline, so values crowd together near the top. Texts beyond the encoder's limit are read in windows.
Needs          torch and transformers (extra encoder), and an encoder: by default the packaged MiniLM, offline.
Limits         Not the BERTScore of the paper or of any table: that has other encoders, tuned layers and a baseline.
               The encoder and the layer are in the signature, and values of two of them do not compare. Nearest is not
               right: a wrong name finds the right one near. An empty text scores 0.
Source         The matching: Zhang et al. 2020, arXiv 1904.09675, section 3; correlations with people:
               docs/how-to/evaluate.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from kilowit.errors import PartError
from kilowit.parts.encoder_files import (
    DECIMALS,
    EncoderOptions,
    check_encoder,
    fetch_encoder,
    identity,
    is_on_hub,
    of_default_encoder,
)
from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import NUM_RESAMPLES, scores_of_means
from kilowit.parts.words import check_lengths

NEEDS_SOURCE: Final = False
PACKAGES: Final = ("torch", "transformers")
EXTRA: Final = "encoder"
NAMES: Final = ("token_matching_precision", "token_matching_recall", "token_matching_f1")
VERSION: Final = 1  # raise it when the same inputs begin to give other values
PAIRS_AT_ONCE: Final = 256  # their token vectors are in memory together: 60 MB at 75 tokens a text and a width of 384


class Options(EncoderOptions):
    """Which encoder, and which of its layers."""

    layer: Annotated[int, Field(ge=0)] | None = Field(None, description="0 = embeddings; None = the last")


check, needs_fetch, fetch = check_encoder, is_on_hub, fetch_encoder


def second_per_pair(options: Options) -> float | None:
    """Return the seconds of a pair of CNN/DailyMail on one CPU core (benchmarks/encoder_speed.py, 2026-11)."""
    return of_default_encoder(0.052, options)


def signature(names: Sequence[str] = NAMES, *, options: Options, encoder: str | None = None) -> str:
    """Return what the values depend on, in one line; `encoder` is what was loaded, if it was."""
    layer = "last" if options.layer is None else options.layer
    return (
        f"token_matching|l:{'+'.join(names)}|enc:{encoder or identity(options)}|layer:{layer}|idf:no|rescale:no"
        f"|long:windows|agg:mean|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"
    )


def score(predictions: Sequence[str], references: Sequence[str], *, options: Options) -> MetricResult:
    """Match the tokens of each prediction with those of its reference. Cost: 0.05 s of CPU for texts of 50 words.

    Raises:
        DataError: not one reference per prediction, or none at all.
        PartError: the encoder cannot be loaded, or has no such layer.
        CellFailure: the hub cannot be reached.
    """
    check_lengths(predictions, references=references)
    from kilowit.parts.encoder import load_encoder

    encoder = load_encoder(fetch_encoder(options))
    layer = encoder.num_layers if options.layer is None else options.layer
    if layer > encoder.num_layers:
        raise PartError(f"the encoder has {encoder.num_layers} layers, not {layer}", hint="Lower the option layer.")
    pairs = list(zip(predictions, references, strict=True))
    order = sorted(range(len(pairs)), key=lambda place: -sum(map(len, pairs[place])))
    values: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * len(pairs)
    for start in range(0, len(order), PAIRS_AT_ONCE):
        places = order[start : start + PAIRS_AT_ONCE]
        vectors = encoder.token_vectors([text for side in (0, 1) for text in (pairs[p][side] for p in places)], layer)
        for place, of_prediction, of_reference in zip(
            places, vectors[: len(places)], vectors[len(places) :], strict=True
        ):
            values[place] = _matched(of_prediction, of_reference)
    per_example = {name: [round(row[column], DECIMALS) for row in values] for column, name in enumerate(NAMES)}
    return MetricResult(
        scores_of_means(per_example, lambda name: signature([name], options=options, encoder=encoder.identity)),
        per_example,
    )


def _matched(predicted_PD: Any, referred_RD: Any) -> tuple[float, float, float]:
    """Return precision, recall and F1 of two texts' token vectors, each of length 1."""
    if not len(predicted_PD) or not len(referred_RD):
        return 0.0, 0.0, 0.0
    cosine_PR = predicted_PD @ referred_RD.T
    precision, recall = float(cosine_PR.amax(dim=1).mean()), float(cosine_PR.amax(dim=0).mean())
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total > 0 else 0.0
