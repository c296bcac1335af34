"""The report as a value: sections in their order, each with text, figures and tables. HTML and Markdown render it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import kilowit
from kilowit.plan.life_cycle import PARTS
from kilowit.record import Record
from kilowit.report.comparisons import Comparisons
from kilowit.report.effects import DEFAULT_METRIC, METRIC_LABELS
from kilowit.report.evidence import EvidenceBook
from kilowit.report.examples import ExampleScores
from kilowit.report.figure_bill import bars_of, bill_svg, stretches_in
from kilowit.report.figure_lengths import lengths_svg, panels_of
from kilowit.report.figure_pareto import NARROW, WIDE, pareto_svg, points_of
from kilowit.report.figure_search import curves_of, search_svg
from kilowit.report.findings import NO_ANSWER, ONLY_IMPORTED, DatasetAnswer, answer_for
from kilowit.report.frontier import Frontier
from kilowit.report.life_cycles import (
    Changes,
    bars_of_lives,
    life_cycle_sentences,
    life_cycle_svg,
    life_cycles_of,
)
from kilowit.report.markup import Markup
from kilowit.report.pricing import Pricing
from kilowit.report.repeat import Repeat, repeats_of
from kilowit.report.runs import Choice, Run, choices_of
from kilowit.report.searches import SearchGroup, is_trial, search_groups
from kilowit.report.serving import frugal_sentences
from kilowit.report.table import Column, Entry, Table
from kilowit.report.tables.benchmark import (
    energy_table,
    metrics_of,
    quality_table,
    resource_table,
    run_table,
    signatures_of,
)
from kilowit.report.tables.bill import bill_table
from kilowit.report.tables.cards import environment_table, model_table
from kilowit.report.tables.datasets import cards_of, dataset_tables
from kilowit.report.tables.failures import factor_table, failure_table, warning_table
from kilowit.report.tables.frontier import comparison_table, frontier_table
from kilowit.report.tables.imported import contradiction_table, imported_table, stated_table
from kilowit.report.tables.life_cycle import life_cycle_table
from kilowit.report.tables.opinions import opinion_sentences, opinion_table
from kilowit.report.tables.papers import paper_table
from kilowit.report.tables.searches import expected_best_table, search_table
from kilowit.report.tables.serving import agreement_table, break_even_table, serving_table, setup_table
from kilowit.report.tables.tradeoffs import tradeoff_table, tradeoffs_of

MAX_ROWS: Final = 200  # of a table on the page; the CSV file beside it has all
MAX_POINTS_FOR_ALL_METRICS: Final = 200
MAX_SIGNATURES: Final = 5
MAX_LENGTH_FIGURES: Final = 8
NUM_EXAMPLES: Final = 3


@dataclass(frozen=True)
class Figure:
    """One figure in a wide and a narrow drawing; `option` names it where a reader can choose between several."""

    name: str
    caption: str
    wide: Markup
    narrow: Markup
    option: str = ""
    legend: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """One chapter of the report."""

    anchor: str
    title: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    repeats: tuple[Repeat, ...] = ()


@dataclass(frozen=True)
class Contents:
    """All that the report says."""

    title: str
    subtitle: str
    answers: tuple[DatasetAnswer, ...]
    sections: tuple[Section, ...]
    signatures: tuple[str, ...]

    @property
    def tables(self) -> list[Table]:
        """Every table, in order."""
        return [table for section in self.sections for table in section.tables]


def contents_of(
    records: Sequence[Record],
    *,
    region: str | None = None,
    machine: str | None = None,
    pue: float | None = None,
    title: str | None = None,
    predictions: Mapping[str, Path] | None = None,
    generated_at: datetime | None = None,
    maintenance: Changes = None,
) -> Contents:
    """Compute the whole report from records.

    Raises:
        PartError: the region or machine asked for is unknown.
        StudyError: a key or value that `maintenance:` does not take.
    """
    foreign = [record for record in records if record.imported is not None]
    records = [record for record in records if record.imported is None]
    pricing = Pricing(records, region=region, machine=machine, pue=pue)
    priced_there = Pricing(foreign, region=region, machine=machine, pue=pue)
    choices = choices_of(records)
    examples = ExampleScores(predictions) if predictions else None
    groups = _by_dataset(choices)
    metrics = metrics_of(choices)
    metric = DEFAULT_METRIC if DEFAULT_METRIC in metrics or not metrics else metrics[0]
    signatures = signatures_of(choices, pricing)
    book = EvidenceBook(groups, examples)
    compared = [Comparisons(book.of(group[0], metric)) for group in groups]
    measured = _Sections(
        choices, groups, metrics, pricing, signatures[:MAX_SIGNATURES], examples, book, compared, maintenance
    )
    answers = tuple(answer_for(c, group) for c, group in zip(compared, groups, strict=True))
    return Contents(
        title=title or _title(records or foreign),
        subtitle=_subtitle(records, choices, len(foreign), generated_at or datetime.now(UTC)),
        answers=answers or (ONLY_IMPORTED if foreign else NO_ANSWER,),
        sections=(*(measured.all(records) if records else ()), *_imported(foreign, priced_there)),
        signatures=signatures,
    )


@dataclass(frozen=True)
class _Sections:
    """Builds the sections; holds what they share."""

    choices: Sequence[Choice]
    groups: Sequence[Sequence[Choice]]
    metrics: Sequence[str]
    pricing: Pricing
    signatures: tuple[str, ...]
    examples: ExampleScores | None
    book: EvidenceBook
    compared: Sequence[Comparisons]
    maintenance: Changes

    def all(self, records: Sequence[Record]) -> tuple[Section, ...]:
        sections = (
            Section(
                "quality-energy",
                "Quality against energy",
                figures=self.pareto_figures(),
                tables=self.cut(*self.signed(frontier_table([Frontier(c, self.pricing) for c in self.compared]))),
            ),
            Section(
                "bill",
                "The bill",
                figures=self.bill_figures(),
                tables=self.signed(bill_table(self.choices, self.pricing, [Run(r) for r in records if is_trial(r)])),
            ),
            Section("searches", "Searches", *self.searches(records)),
            Section("environment", "Environment", tables=(environment_table(records),)),
            Section("opinions", "Second opinions", opinion_sentences(records), tables=self.opinions(records)),
            self.datasets(),
            Section("models", "Models", tables=self.cut(model_table(self.choices))),
            Section("tradeoffs", "Trade-offs of the methods", *self.tradeoffs()),
            Section("benchmark", "Benchmark results", tables=self.benchmark()),
            Section("serving", "Serving", frugal_sentences(self.choices, self.pricing), tables=self.serving()),
            Section("life-cycle", "A working life", *self.life_cycle()),
            Section("failures", "What did not fit or failed", *self.failures()),
            Section("factors", "Factors used", tables=(factor_table(self.pricing),)),
            Section("examples", "What was written", tables=self.example_tables()),
            Section("repeat", "How to repeat", repeats=tuple(repeats_of(records)) if records else ()),
        )
        return tuple(s for s in sections if s.paragraphs or s.figures or s.repeats or any(t.rows for t in s.tables))

    def pareto_figures(self) -> tuple[Figure, ...]:
        figures = []
        for group in self.groups:
            several = len(self.groups) > 1
            metrics = self.metrics if len(group) <= MAX_POINTS_FOR_ALL_METRICS else [DEFAULT_METRIC]
            ordered = sorted(metrics, key=lambda m: m != DEFAULT_METRIC)
            for metric in ordered:
                points = points_of(group, metric, self.book)
                if points:
                    wide, narrow = (pareto_svg(points, metric, canvas) for canvas in (WIDE, NARROW))
                    name = f"pareto_{group[0].dataset}_{metric}" if several else f"pareto_{metric}"
                    caption = f"{group[0].dataset}. {_PARETO_CAPTION}"
                    figures.append(Figure(name, caption, wide, narrow, METRIC_LABELS.get(metric, metric)))
        return tuple(figures)

    def bill_figures(self) -> tuple[Figure, ...]:
        bars = bars_of(self.choices)
        if not bars:
            return ()
        wide, narrow = (bill_svg(bars, canvas) for canvas in (WIDE, NARROW))
        caption = "Energy of all runs of a choice together, longest first. Set-up: download, prepare, load, warm-up."
        return (Figure("bill", caption, wide, narrow, legend=tuple(stretches_in(bars))),)

    def datasets(self) -> Section:
        cards = cards_of(self.choices)
        figures = []
        for number, card in enumerate(cards[:MAX_LENGTH_FIGURES], start=1):
            panels = panels_of(card.facts)
            if panels:
                wide, narrow = (lengths_svg(panels, card.label, canvas) for canvas in (WIDE, NARROW))
                figures.append(Figure(f"lengths_{number}", f"{card.label}. {_LENGTHS_CAPTION}", wide, narrow))
        return Section("datasets", "Datasets", figures=tuple(figures), tables=dataset_tables(cards))

    def searches(self, records: Sequence[Record]) -> tuple[tuple[str, ...], tuple[Figure, ...], tuple[Table, ...]]:
        groups = search_groups(records)
        arenas: dict[str, list[SearchGroup]] = {}
        for group in groups:
            arenas.setdefault(group.arena, []).append(group)
        figures = []
        for place, own in enumerate(arenas.values()):
            if curves := curves_of(own):
                wide, narrow = (search_svg(curves, own[0].objective, canvas) for canvas in (WIDE, NARROW))
                name = f"searches_{place}" if len(arenas) > 1 else "searches"
                figures.append(Figure(name, _SEARCH_CAPTION, wide, narrow, own[0].objective))
        metric = DEFAULT_METRIC if DEFAULT_METRIC in self.metrics or not self.metrics else self.metrics[0]
        return (), tuple(figures), self.cut(*self.signed(search_table(groups, metric), expected_best_table(groups)))

    def tradeoffs(self) -> tuple[tuple[str, ...], tuple[Figure, ...], tuple[Table, ...]]:
        table = tradeoff_table([t for group in self.groups for t in tradeoffs_of(group, self.book)])
        if not table.rows:
            return (
                ("No recipe with a method has a partner without it, so nothing can be set beside the cards.",),
                (),
                (),
            )
        return (), (), self.cut(*self.signed(table))

    def failures(self) -> tuple[tuple[str, ...], tuple[Figure, ...], tuple[Table, ...]]:
        failed = failure_table(self.choices, self.pricing, MAX_ROWS)
        tables = tuple(t for t in (*self.signed(failed), warning_table(self.choices, MAX_ROWS)) if t.rows)
        return (("Every run that was started has a result.",) if not failed.rows else ()), (), tables

    def benchmark(self) -> tuple[Table, ...]:
        return self.cut(
            *self.signed(
                quality_table(self.choices, self.metrics, self.book),
                comparison_table(self.compared),
                paper_table(self.choices, self.book),
                energy_table(self.choices, self.pricing),
                resource_table(self.choices),
                run_table(self.choices, self.metrics, MAX_ROWS),
            )
        )

    def serving(self) -> tuple[Table, ...]:
        return self.cut(
            *self.signed(serving_table(self.choices, self.pricing), break_even_table(self.choices, self.pricing)),
            agreement_table(self.choices),
            *self.signed(setup_table(self.choices)),
        )

    def opinions(self, records: Sequence[Record]) -> tuple[Table, ...]:
        return self.cut(*self.signed(opinion_table(records)))

    def life_cycle(self) -> tuple[tuple[str, ...], tuple[Figure, ...], tuple[Table, ...]]:
        cycles = life_cycles_of(self.choices, self.pricing, self.maintenance)
        bars = bars_of_lives(cycles)
        figures: tuple[Figure, ...] = ()
        if bars:
            wide, narrow = (life_cycle_svg(bars, canvas) for canvas in (WIDE, NARROW))
            legend = tuple(name for name in PARTS if any(bar.joules.get(name, 0) > 0 for bar in bars))
            figures = (Figure("life_cycle", _LIFE_CAPTION, wide, narrow, legend=legend),)
        tables = self.cut(*self.signed(life_cycle_table(cycles, self.pricing)))
        return life_cycle_sentences(cycles), figures, tables

    def example_tables(self) -> tuple[Table, ...]:
        if self.examples is None:
            return ()
        rows = [
            (Entry(p.example_id), Entry(choice.label), Entry(p.text or None, reason="an empty summary"))
            for choice in self.choices[:MAX_ROWS]
            for run in choice.finished[:1]
            for p in self.examples.first(run, NUM_EXAMPLES)
        ]
        order = {example_id: i for i, example_id in enumerate(dict.fromkeys(str(row[0].value) for row in rows))}
        rows.sort(key=lambda row: order[str(row[0].value)])
        columns = (Column("id", "Example"), Column("choice", "Choice"), Column("prediction", "Summary"))
        return (Table("examples", f"The first {NUM_EXAMPLES} test examples", columns, tuple(rows)),)

    def signed(self, *tables: Table) -> tuple[Table, ...]:
        return tuple(replace(table, signatures=self.signatures) for table in tables)

    def cut(self, *tables: Table) -> tuple[Table, ...]:
        return tuple(replace(t, shown_rows=MAX_ROWS) if len(t.rows) > MAX_ROWS else t for t in tables)


_PARETO_CAPTION: Final = (
    "Up and left is better. The stepped line is the front: no choice beats those on it in both. "
    "Whiskers are 95 % intervals (energy: over seeds; score: seeds and test examples). "
    "Energy of a run is all of it but the idle baseline and downloads."
)


_LENGTHS_CAPTION: Final = (
    "How long the texts are; the area of a bar is its share of the training split, the line is the test split. "
    "A vertical line is the length that the study cuts at."
)
_LIFE_CAPTION: Final = (
    "Energy of a working life by part, likely; the line below a bar is the interval of its total. "
    "What was assumed is below the table."
)
_SEARCH_CAPTION: Final = (
    "The best trial so far, by the objective on the validation split, against all that the search had spent by then. "
    "Lines are means over the repeats, from where each has a value; bands are 95 % intervals (3 repeats or more)."
)


def _by_dataset(choices: Sequence[Choice]) -> list[list[Choice]]:
    groups: dict[str, list[Choice]] = {}
    for choice in choices:
        groups.setdefault(choice.dataset_key, []).append(choice)
    return list(groups.values())


def _title(records: Sequence[Record]) -> str:
    names = list(dict.fromkeys(record.study_name for record in records))
    if not names:
        return "No runs yet"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} other studies" if len(names) > 3 else "")


def _imported(records: Sequence[Record], pricing: Pricing) -> tuple[Section, ...]:
    """The runs of other tools, by themselves."""
    if not records:
        return ()
    tables = (imported_table(records, pricing), contradiction_table(records, MAX_ROWS), stated_table(records, MAX_ROWS))
    return (Section("imported", "Imported runs", tables=tuple(table for table in tables if table.rows)),)


def _subtitle(records: Sequence[Record], choices: Sequence[Choice], num_imported: int, now: datetime) -> str:
    num_finished = sum(record.status == "finished" for record in records)
    runs = f"{len(records):,} run{'s' if len(records) != 1 else ''}, {num_finished:,} with a result"
    span = ""
    if records:
        first, last = min(r.started_at_utc for r in records)[:10], max(r.ended_at_utc for r in records)[:10]
        span = f", measured {first}" + (f" to {last}" if last != first else "")
    plural = "s" if len(choices) != 1 else ""
    apart = f"; {num_imported:,} imported, by themselves" if num_imported else ""
    counted = f"{len(choices):,} choice{plural}, {runs}{span}{apart}"
    return f"{counted}. Written {now:%Y-%m-%d} by kilowit {kilowit.__version__}."
