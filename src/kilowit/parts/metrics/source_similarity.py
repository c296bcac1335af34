"""source_similarity: how near a summary stays to its document, to an encoder of sentences. No reference is needed.

What it is     source_similarity: cosine of the encoder's vectors of the summary and of the whole document.
               source_sentence_similarity: mean over the summary's sentences of the highest cosine with a sentence of
               the document. Both in [-1, 1], mean over examples.
Settings       The encoder's own pooling and normalisation; float32. A document beyond the encoder's limit (256 tokens
               for the packaged MiniLM) is read whole, in windows whose vectors are averaged by length. Sentences by
               rule (kilowit.parts.sentences).
Needs          the sources; torch and transformers (extra encoder), and an encoder: by default the packaged MiniLM.
Limits         Copying scores highest: a sentence of the document is its own nearest. Near is not true: a wrong name or
               number changes little. Follows human ratings of consistency on extractive news, hardly on abstractive
               news (docs/how-to/evaluate.md). An empty text scores 0.
Source         In the manner of SUPERT (Gao, Zhao and Eger 2020, arXiv 2005.03724), with sentences of the document in
               place of its pseudo-reference; ours, not a published figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

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
from kilowit.parts.sentences import split_sentences
from kilowit.parts.words import check_lengths

NEEDS_SOURCE: Final = True
PACKAGES: Final = ("torch", "transformers")
EXTRA: Final = "encoder"
NAMES: Final = ("source_similarity", "source_sentence_similarity")
VERSION: Final = 1  # raise it when the same inputs begin to give other values
PAIRS_AT_ONCE: Final = 64  # documents whose sentences are read together, for batches of like length

Options = EncoderOptions
check, needs_fetch, fetch = check_encoder, is_on_hub, fetch_encoder


def second_per_pair(options: Options) -> float | None:
    """Return the seconds of a pair of CNN/DailyMail on one CPU core (benchmarks/encoder_speed.py, 2026-11)."""
    return of_default_encoder(0.71, options)


def signature(names: Sequence[str] = NAMES, *, options: Options, encoder: str | None = None) -> str:
    """Return what the values depend on, in one line; `encoder` is what was loaded, if it was."""
    return (
        f"source_similarity|l:{'+'.join(names)}|enc:{encoder or identity(options)}|long:windows|split:rules|agg:mean"
        f"|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"
    )


def score(
    predictions: Sequence[str],
    references: Sequence[str] | None = None,
    *,
    sources: Sequence[str],
    options: Options,
) -> MetricResult:
    """Compare each prediction with its source. Cost: 0.7 s of CPU for an article of 670 words.

    Raises:
        DataError: not one source per prediction, or none at all.
        PartError: the encoder cannot be loaded.
        CellFailure: the hub cannot be reached.
    """
    check_lengths(predictions, sources=sources)
    from kilowit.parts.encoder import load_encoder

    encoder = load_encoder(fetch_encoder(options))
    per_example: dict[str, list[float]] = {name: [] for name in NAMES}
    for start in range(0, len(predictions), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        whole_2ND = encoder.text_vectors([*predictions[some], *sources[some]]).reshape(2, len(predictions[some]), -1)
        split = [split_sentences(text) or [""] for text in (*predictions[some], *sources[some])]
        vectors = encoder.text_vectors([sentence for sentences in split for sentence in sentences])
        by_text = vectors.split([len(sentences) for sentences in split])
        middle = len(by_text) // 2
        nearest = [_mean_of_nearest(*pair) for pair in zip(by_text[:middle], by_text[middle:], strict=True)]
        whole = (whole_2ND[0] * whole_2ND[1]).sum(dim=1).tolist()
        for name, values in zip(NAMES, (whole, nearest), strict=True):
            per_example[name] += [round(value, DECIMALS) for value in values]
    return MetricResult(
        scores_of_means(per_example, lambda name: signature([name], options=options, encoder=encoder.identity)),
        per_example,
    )


def _mean_of_nearest(summary_SD: Any, document_MD: Any) -> float:
    """Return the mean over the summary's sentences of the cosine with the nearest sentence of the document."""
    return float((summary_SD @ document_MD.T).amax(dim=1).mean())
