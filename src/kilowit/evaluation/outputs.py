"""`kilowit evaluate`: scores of one system's outputs, metered, and a paired comparison with another's."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kilowit.evaluation.scoring import DEFAULT_METRICS, DESCRIPTIVE, PHASE, Scored, check_metrics, score_texts
from kilowit.evaluation.texts import Texts, aligned, read_texts
from kilowit.meter import Meter, MeterResult
from kilowit.parts.metric import Written
from kilowit.parts.words import words
from kilowit.record import PhaseFigures, Score
from kilowit.statistics.contrast import Contrast, contrast_of_outputs, judged


@dataclass(frozen=True)
class Evaluation:
    """All that was found out about one system's outputs; what it took to find out is `metered`."""

    name: str
    num_examples: int
    num_empty: int
    words_mean: float  # of the predictions: ROUGE moves with length
    reference_words_mean: float
    fingerprint: str  # sha256 of predictions and references
    scores: tuple[Score, ...]
    per_example: dict[str, list[float]] = field(repr=False)
    metered: MeterResult = field(repr=False)
    compared_with: str | None = None
    comparison: Mapping[str, Contrast] = field(default_factory=dict)  # by score: this system less the other
    verdicts: Mapping[str, str] = field(default_factory=dict)
    costs: Mapping[str, PhaseFigures] = field(default_factory=dict)  # by metric: what scoring this system took

    def to_dict(self) -> dict[str, Any]:
        """Return what machines read: everything but the values per example."""
        total = self.metered.total
        return {
            "name": self.name,
            "num_examples": self.num_examples,
            "num_empty": self.num_empty,
            "words_mean": self.words_mean,
            "reference_words_mean": self.reference_words_mean,
            "fingerprint": self.fingerprint,
            "scores": [vars(score) for score in self.scores],
            "compared_with": self.compared_with,
            "comparison": [
                {
                    "metric": name,
                    "difference": contrast.difference.value,
                    "ci95_low": contrast.difference.low,
                    "ci95_high": contrast.difference.high,
                    "p": contrast.p_outputs,
                    "p_holm": contrast.p_outputs_holm,
                    "num_wins": contrast.num_wins,
                    "num_ties": contrast.num_ties,
                    "num_losses": contrast.num_losses,
                    "verdict": self.verdicts[name],
                }
                for name, contrast in self.comparison.items()
            ],
            "costs": [
                {
                    "metric": name,
                    "wall_second": cost.wall_second,
                    "energy_total_joule": cost.energy_total_joule,
                    "energy_total_source": cost.energy_total_source,
                }
                for name, cost in self.costs.items()
            ],
            "wall_second": total.wall_second,
            "energy_total_joule": total.energy_total_joule,
            "energy_total_joule_low": total.energy_total_joule_low,
            "energy_total_joule_high": total.energy_total_joule_high,
            "energy_total_source": total.energy_total_source,
            "measurement_signature": self.metered.signature,
        }


def evaluate(
    predictions: str | Path | Sequence[str],
    references: Sequence[str] | None = None,
    *,
    sources: Sequence[str] | None = None,
    metrics: Sequence[Written] = DEFAULT_METRICS,
    compare: str | Path | Sequence[str] | None = None,
) -> Evaluation:
    """Score summaries of any system with any metrics, under the meter.

    Args:
        predictions: a jsonl or csv file (see `kilowit.evaluation.texts`), or the texts themselves.
        references: one per prediction; only with texts.
        sources: the whole documents, for metrics that read them; only with texts.
        metrics: as in a study: names, or ``{name: {option: value}}``.
        compare: another system's file or texts on the same examples. Each score is then compared: difference with a
            paired bootstrap interval, approximate randomisation, Holm's correction over all scores, wins.

    Raises:
        DataError: the texts or a file are not as they should be; says file and line.
        StudyError: no such metric.
        PartError: an option of a metric is wrong, or what it needs is not installed.

    Example:
        >>> evaluate(["a cat sat"], ["the cat sat"]).scores[0].metric
        'rouge1'
    """
    calls = check_metrics(metrics)
    meter = Meter()
    with meter, meter.phase(PHASE) as phase:
        texts = _texts(predictions, references, sources, "predictions")
        scored = score_texts(texts, calls, meter)
        other = None if compare is None else _ordered_like(texts, _texts(compare, references, sources, "compare"))
        scored_other = None if other is None else score_texts(other, calls, meter)
        contrasts = {} if scored_other is None else _contrasts(scored, scored_other)
        phase.count(num_examples=len(texts) * (1 if other is None else 2))
    lengths = [len(words(text)) for text in texts.predictions]
    return Evaluation(
        name=texts.name,
        num_examples=len(texts),
        num_empty=sum(not text.strip() for text in texts.predictions),
        words_mean=statistics.fmean(lengths),
        reference_words_mean=statistics.fmean(len(words(text)) for text in texts.references),
        fingerprint=texts.fingerprint,
        scores=scored.scores,
        per_example=scored.per_example,
        metered=meter.stop(),
        compared_with=None if other is None else other.name,
        comparison=contrasts,
        verdicts={name: _verdict(contrast, scored.metric_of[name]) for name, contrast in contrasts.items()},
        costs=scored.costs,
    )


def _texts(
    given: str | Path | Sequence[str], references: Sequence[str] | None, sources: Sequence[str] | None, name: str
) -> Texts:
    if isinstance(given, str | Path):
        return read_texts(Path(given))
    return Texts(name, list(given), list(references or ()), None if sources is None else list(sources))


def _ordered_like(one: Texts, other: Texts) -> Texts:
    order = aligned(one, other)
    return Texts(
        other.name,
        [other.predictions[row] for row in order],
        one.references,
        one.sources if other.sources is None else [other.sources[row] for row in order],
        one.ids,
    )


def _contrasts(scored: Scored, other: Scored) -> dict[str, Contrast]:
    """Compare every score over its examples; all of them are one family."""
    contrasts = {}
    for name, alone in scored.per_example.items():
        sides = [side.contributions.get(name, side.per_example[name]) for side in (scored, other)]
        contrasts[name] = contrast_of_outputs(*sides, alone=(alone, other.per_example[name]))
    return dict(zip(contrasts, judged(list(contrasts.values())), strict=True))


def _verdict(contrast: Contrast, metric: str) -> str:
    """Return better or worse for a measure of quality, higher or lower for what only describes."""
    word = contrast.verdict_on_outputs
    return {"better": "higher", "worse": "lower"}.get(word, word) if metric in DESCRIPTIVE else word
