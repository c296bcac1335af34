"""The datasets: counts and lengths, what summaries take from their sources, and what each maximum length would cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.parts.text_lengths import MAX_SOURCES, MAX_TARGETS
from kilowit.record import DatasetFacts, LengthFacts, SplitFacts
from kilowit.report.runs import Choice
from kilowit.report.table import Column, Entry, Table

OWN_MARK: Final = " ◂"
_NO_TOKENS, _NO_LIMIT, _NOT_COUNTED = "no tokenizer read this dataset", "no length limit applies", "not recorded"


@dataclass(frozen=True)
class Card:
    """The facts of one dataset as one tokenizer read it; `label` tells it from the others."""

    facts: DatasetFacts
    models: tuple[str, ...]
    label: str


def cards_of(choices: Sequence[Choice]) -> list[Card]:
    """Return a card per dataset, and per tokenizer where the lengths in tokens differ."""
    found: dict[str, list[tuple[DatasetFacts, dict[str, None]]]] = {}
    for choice in choices:
        for run in choice.runs:
            if (facts := run.record.dataset) is not None:
                alike = found.setdefault(facts.fingerprint, [])
                models = next((models for known, models in alike if known == facts), None)
                if models is None:
                    alike.append((facts, models := {}))
                models[choice.model] = None
    kept = _without_untokenized([card for alike in found.values() for card in alike])
    names = [facts.name for facts, _ in kept]
    return [
        Card(
            facts,
            tuple(models),
            f"{facts.name} (as {', '.join(models)} reads it)" if names.count(facts.name) > 1 else facts.name,
        )
        for facts, models in kept
    ]


def _without_untokenized(
    found: Sequence[tuple[DatasetFacts, dict[str, None]]],
) -> list[tuple[DatasetFacts, dict[str, None]]]:
    """Leave out the facts that a training-free baseline noted where a tokenizer counted the same data."""
    tokenized = {facts.fingerprint for facts, _ in found if _is_tokenized(facts)}
    return [(facts, models) for facts, models in found if facts.fingerprint not in tokenized or _is_tokenized(facts)]


def _is_tokenized(facts: DatasetFacts) -> bool:
    return any(split.source_tokens_mean is not None for split in facts.splits)


def dataset_tables(cards: Sequence[Card]) -> tuple[Table, ...]:
    """Return the tables of the datasets; those that no run has the figures for are empty."""
    return (
        size_table(cards),
        borrowing_table(cards),
        truncation_table(cards, "source", MAX_SOURCES),
        truncation_table(cards, "target", MAX_TARGETS),
    )


_SIZES: Final = (
    Column("dataset", "Dataset"),
    Column("split", "Split"),
    Column("num_examples", "Examples", "count"),
    Column("source_words_mean", "Source words", "plain"),
    Column("target_words_mean", "Target words", "plain"),
    Column("source_tokens_mean", "Source tokens", "plain"),
    Column("target_tokens_mean", "Target tokens", "plain"),
    Column("source_truncated_fraction", "Source cut", "fraction"),
    Column("target_truncated_fraction", "Target cut", "fraction"),
)


def size_table(cards: Sequence[Card]) -> Table:
    """Return counts and mean lengths, one row a split, with where each dataset came from below."""
    rows = tuple(
        (
            *_heads(card, split),
            Entry(split.num_examples),
            Entry(split.source_words_mean),
            Entry(split.target_words_mean),
            Entry(split.source_tokens_mean, reason=_NO_TOKENS),
            Entry(split.target_tokens_mean, reason=_NO_TOKENS),
            Entry(split.source_truncated_fraction, reason=_NO_LIMIT),
            Entry(split.target_truncated_fraction, reason=_NO_LIMIT),
        )
        for card in cards
        for split in card.facts.splits
    )
    notes = (
        *sorted({_provenance(card.facts) for card in cards}),
        *dict.fromkeys(f"{card.facts.name}: {note}." for card in cards for note in card.facts.notes),
        "Means per example. Cut: share of examples longer than the model was given.",
    )
    return Table("datasets", "Datasets", _SIZES, rows, notes if rows else ())


def _provenance(facts: DatasetFacts) -> str:
    version = f"version {facts.version}; " if facts.version else ""
    return (
        f"{facts.name}: {facts.source}; {version}licence {facts.licence}; {facts.document_column} to "
        f"{facts.summary_column}; fingerprint {facts.fingerprint[:12]}."
    )


_BORROWING: Final = (
    Column("dataset", "Dataset"),
    Column("split", "Split"),
    Column("num_measured", "Measured", "count"),
    Column("coverage_mean", "Coverage", "fraction"),
    Column("density_mean", "Density (words)", "plain"),
    Column("compression_mean", "Compression", "ratio"),
    Column("novel_1gram_fraction", "Novel words", "fraction"),
    Column("novel_2gram_fraction", "Novel 2-grams", "fraction"),
    Column("novel_3gram_fraction", "Novel 3-grams", "fraction"),
    Column("novel_4gram_fraction", "Novel 4-grams", "fraction"),
)
_BORROWING_NOTE: Final = (
    "What the reference summaries take from their sources, by the metrics extractiveness and novelty: a model's "
    "figures can be held against them. Means over the measured examples. Coverage: share of the summary's words in "
    "fragments shared with the source. Density: words of the fragment that a word stands in. Compression: source words "
    "over summary words. Novel: share of the summary's distinct n-grams that the source does not have."
)


def borrowing_table(cards: Sequence[Card]) -> Table:
    """Return what the references take from their sources; splits of earlier records are left out."""
    rows = tuple(
        (*_heads(card, split), *(Entry(getattr(split, column.key)) for column in _BORROWING[2:]))
        for card in cards
        for split in card.facts.splits
        if split.coverage_mean is not None
    )
    title = "What the summaries take from their sources"
    return Table("dataset_borrowing", title, _BORROWING, rows, (_BORROWING_NOTE,) if rows else ())


def truncation_table(cards: Sequence[Card], side: str, limits: Sequence[int]) -> Table:
    """Return the share of one side's texts that each maximum length cuts, the study's own marked.

    Args:
        side: ``source`` or ``target``.
    """
    columns = (
        Column("dataset", "Dataset"),
        Column("split", "Split"),
        Column("unit", "Unit"),
        Column("num_texts", "Counted", "count"),
        Column("length_median", "Median", "count"),
        Column("length_max", "Longest", "count"),
        Column("maximum", "Study's maximum", "count"),
        Column("truncated_fraction", "Cut there", "fraction"),
        *(Column(f"truncated_{limit}_fraction", f"Over {limit:,}", "fraction") for limit in limits),
    )
    rows = tuple(
        (*_heads(card, split), *_truncation(facts, limits))
        for card in cards
        for split in card.facts.splits
        if (facts := getattr(split, f"{side}_length")) is not None
    )
    note = (
        f"Share of the {side}s that are longer than each maximum length, and would be cut. {OWN_MARK.strip()}: the "
        "study's own maximum. Tokens are the model's, with special ones and prefix; words stand between white space."
    )
    title = f"{side.capitalize()}s cut at each maximum length"
    return Table(f"dataset_{side}_cut", title, columns, rows, (note,) if rows else ())


def _truncation(facts: LengthFacts, limits: Sequence[int]) -> tuple[Entry, ...]:
    own = facts.maximum
    return (
        Entry(f"{facts.unit}s"),
        Entry(facts.num_texts),
        Entry(facts.percentiles.get("50")),
        Entry(facts.percentiles.get("100")),
        Entry(own, reason=_NO_LIMIT),
        Entry(None if own is None else facts.truncated_fraction.get(str(own)), reason=_NO_LIMIT),
        *(
            Entry(facts.truncated_fraction.get(str(limit)), reason=_NOT_COUNTED, note=OWN_MARK if limit == own else "")
            for limit in limits
        ),
    )


def _heads(card: Card, split: SplitFacts) -> tuple[Entry, Entry]:
    return Entry(card.label), Entry(split.split)
