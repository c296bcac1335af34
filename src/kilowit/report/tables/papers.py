"""Runs beside the published scores of the same dataset and model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kilowit.report.effects import METRIC_LABELS
from kilowit.report.evidence import EvidenceBook
from kilowit.report.papers import COLUMNS, Beside, Published, beside
from kilowit.report.runs import Choice
from kilowit.report.table import Column, Entry, Table

_COLUMNS: Final = (
    Column("dataset", "Dataset"),
    Column("choice", "Choice, or model of a paper"),
    *(Column(metric, METRIC_LABELS[metric], "score") for metric in COLUMNS),
    Column("source", "From"),
)
_NOTE: Final = (
    "Published scores have no interval and mostly one run. ROUGE-L is of whole texts, ROUGE-Lsum of sentences: "
    "papers print "
    "either as ROUGE-L, and they lie up to 13 points apart, so each stands in its own column only. Dataset "
    "versions and stemming must agree too."
)


def paper_table(choices: Sequence[Choice], book: EvidenceBook) -> Table:
    """Return each choice that papers have, followed by their rows; what was refused is said below."""
    found = [(choice, beside(choice)) for choice in choices if choice.finished]
    found = [(choice, rows) for choice, rows in found if rows.comparable or rows.refused]
    rows: list[tuple[Entry, ...]] = []
    printed: set[int] = set()
    for choice, around in found:
        rows.append(_own_row(choice, around, book))
        rows += [_paper_row(row) for row in around.comparable if id(row) not in printed]
        printed |= {id(row) for row in around.comparable}
    refusals = _refusals(found)
    return Table("papers", "Beside published scores", _COLUMNS, tuple(rows), (_NOTE, *refusals) if rows else ())


def _own_row(choice: Choice, around: Beside, book: EvidenceBook) -> tuple[Entry, ...]:
    scores = []
    for metric in COLUMNS:
        score, reason = book.quality(choice, metric), around.own_reasons.get(metric)
        if score is None or reason is not None:
            scores.append(Entry.unknown(reason or "not scored with it"))
        else:
            scores.append(Entry(score.value, score.low, score.high))
    num = len(choice.finished)
    return (Entry(choice.dataset), Entry(choice.label), *scores, Entry(f"this study, {num} run{'s' * (num > 1)}"))


def _paper_row(row: Published) -> tuple[Entry, ...]:
    name = f"{row.model} ({row.checkpoint})" if row.checkpoint else row.model
    seen = "" if row.read_in == "the source" else f"; read in {row.read_in}"
    seen += "; stemming not stated" if row.stemmer == "not stated" else ""
    source = row.source + seen + (f"; {row.note}" if row.note else "")
    return (Entry(row.dataset), Entry(name), *(_paper_entry(row, metric) for metric in COLUMNS), Entry(source))


def _paper_entry(row: Published, metric: str) -> Entry:
    value = row.scores[metric]
    other = {"rougeL": "rougeLsum", "rougeLsum": "rougeL"}.get(metric)
    if value is None and other is not None and row.scores[other] is not None:
        return Entry.unknown(f"its RL is {METRIC_LABELS[other]}, another figure")
    return Entry(value, reason="not given")


def _refusals(found: Iterable[tuple[Choice, Beside]]) -> list[str]:
    """Say which published rows were left out, one sentence a reason."""
    by_reason: dict[tuple[str, str], dict[str, None]] = {}
    for choice, around in found:
        for row, reason in around.refused:
            by_reason.setdefault((choice.dataset, reason), {})[f"{row.model} ({row.source})"] = None
    return [
        f"Left out on {dataset}: {'; '.join(rows)}. Why: {reason}." for (dataset, reason), rows in by_reason.items()
    ]
