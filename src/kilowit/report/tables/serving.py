"""Serving: every runtime under every pattern of requests, whether it says the same, and when it outweighs training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kilowit.report.effects import METRIC_LABELS
from kilowit.report.pricing import Pricing
from kilowit.report.runs import Choice, Run
from kilowit.report.serving import ServedRow, break_even, by_runtime, served_rows
from kilowit.report.table import Column, Entry, Table
from kilowit.report.tables.bill import NO_ENERGY
from kilowit.served import ScoreDifference, ServedAgreement, ServedRuntime, ServedScenario
from kilowit.statistics.interval import Interval
from kilowit.statistics.means import mean_interval

PER: Final = 1000  # summaries that CO2e and dollars are of
_WHO: Final = (Column("choice", "Choice"), Column("runtime", "Runtime"))
_COLUMNS: Final = (
    *_WHO,
    Column("scenario", "Scenario"),
    Column("num_examples", "Summaries", "count"),
    Column("num_unserved", "Left over", "count"),
    Column("examples_per_second", "Summaries", "rate"),
    Column("output_tokens_per_second", "Tokens", "rate"),
    Column("latency_p50_second", "Latency, p50", "time"),
    Column("latency_p95_second", "p95", "time"),
    Column("latency_p99_second", "p99", "time"),
    Column("wait_p95_second", "Wait, p95", "time"),
    Column("energy_per_example_joule", "Energy a summary", "energy"),
    Column("energy_idle_per_example_joule", "of it idle", "energy"),
    Column("co2e_operational_kg_per_1000", "CO2e of 1,000", "mass"),
    Column("cost_usd_on_demand_per_1000", "1,000 on demand", "money"),
)


def serving_table(choices: Sequence[Choice], pricing: Pricing) -> Table:
    """Return speed, latency, energy, CO2e and dollars by choice, runtime and scenario."""
    rows = tuple(_row(row, pricing) for row in served_rows(choices))
    notes = (
        "single_stream: one document after another; fixed_batch: a batch at a time; random_arrivals: as a Poisson "
        "process brings them, in real time; offline: all at once. Latency is from request to text, waiting and "
        "tokenizing included. Left over: requests that were not taken up within max_second.",
        "Energy a summary is all that the machine took meanwhile, [a, b] as far as its sensors may be wrong; idle is "
        "the part that it would have taken anyway. CO2e and dollars of 1,000 summaries; dollars are machine time.",
    )
    return Table("serving", "Serving", _COLUMNS, rows, notes if rows else ())


def _row(row: ServedRow, pricing: Pricing) -> tuple[Entry, ...]:
    priced, n, num_runs = row.priced(pricing), row.num_examples, len(row.runs)
    no_wait = "nobody waits for a single summary"
    joule = row.joule_per_summary()
    per = PER / n if n else 0.0
    return (
        Entry(row.choice.label),
        Entry(row.runtime),
        Entry(row.scenario),
        Entry(n / num_runs),
        Entry(sum(served.num_unserved for _, served in row.runs) / num_runs),
        *(
            _mean(row, name, reason)
            for name, reason in (
                ("examples_per_second", "not recorded"),
                ("output_tokens_per_second", "not recorded"),
                ("latency_p50_second", no_wait),
                ("latency_p95_second", no_wait),
                ("latency_p99_second", no_wait),
                ("wait_p95_second", no_wait),
            )
        ),
        Entry.unknown(NO_ENERGY) if joule is None else Entry(joule.value, joule.low, joule.high),
        _of(row.mean(_idle_per_example), "no idle baseline was taken"),
        Entry(_times(priced.co2e_operational_kg, per), reason=priced.reason_co2e),
        Entry(_times(priced.cost_usd_on_demand, per), reason=priced.reason_cost),
    )


def _mean(row: ServedRow, name: str, reason: str) -> Entry:
    return _of(row.mean(lambda served: getattr(served, name)), reason)


def _idle_per_example(served: ServedScenario) -> float | None:
    known = served.energy_idle_joule is not None and served.num_examples
    return served.energy_idle_joule / served.num_examples if known and served.energy_idle_joule is not None else None


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None or not factor else value * factor


def _of(interval: Interval | None, reason: str) -> Entry:
    if interval is None:
        return Entry.unknown(reason)
    return Entry(interval.value, interval.low, interval.high, is_interval_hidden=True)


_SETUP: Final = (
    *_WHO,
    Column("device", "Device"),
    Column("disk_byte", "Disk", "byte"),
    Column("export_second", "Export", "time"),
    Column("export_joule", "Export", "energy"),
    Column("load_second", "Load", "time"),
    Column("load_joule", "Load", "energy"),
    Column("warmup_joule", "Warm-ups", "energy"),
    Column("outcome", "Outcome"),
)


def setup_table(choices: Sequence[Choice]) -> Table:
    """Return what getting each runtime ready took, and which of them failed."""
    rows = []
    for choice in choices:
        for label, served in by_runtime(choice).items():
            failures = list(dict.fromkeys(s.error_message for _, s in served if s.error_message))
            rows.append(
                (
                    Entry(choice.label),
                    Entry(label),
                    Entry(", ".join(dict.fromkeys(s.device for _, s in served))),
                    *(
                        _mean_of(served, lambda s, name=name: getattr(s, name))  # type: ignore[misc]
                        for name in ("disk_byte", "export_second", "export_joule", "load_second", "load_joule")
                    ),
                    _mean_of(served, _warmup_joule),
                    Entry("; ".join(failures) or "served"),
                )
            )
    notes = ("Means over runs. None of it is in the figures of serving; all of it is on the bill.",)
    return Table("serving_setup", "Getting the runtimes ready", _SETUP, tuple(rows), notes if rows else ())


def _mean_of(served: Sequence[tuple[Run, ServedRuntime]], read: Callable[[ServedRuntime], float | None]) -> Entry:
    values = [value for _, s in served if (value := read(s)) is not None]
    return _of(mean_interval(values) if values else None, "not reached")


def _warmup_joule(served: ServedRuntime) -> float | None:
    known = [s.warmup_joule for s in served.scenarios if s.warmup_joule is not None]
    return sum(known) if known else None


def agreement_table(choices: Sequence[Choice]) -> Table:
    """Return how far each runtime writes what PyTorch does in fp32, token by token and by ROUGE."""
    found = [
        (choice, label, [a for _, s in served if (a := s.agreement) is not None])
        for choice in choices
        for label, served in by_runtime(choice).items()
    ]
    found = [(choice, label, agreements) for choice, label, agreements in found if agreements]
    names = {d.metric for _, _, agreements in found for a in agreements for d in a.differences}
    metrics = [m for m in METRIC_LABELS if m in names] + sorted(names - METRIC_LABELS.keys())
    columns = (
        *_WHO,
        Column("num_examples", "Summaries", "count"),
        Column("identical_fraction", "Identical", "fraction"),
        Column("token_match_fraction", "Tokens alike", "fraction"),
        *(Column(f"{m}_difference", f"Δ {METRIC_LABELS.get(m, m)}", "score") for m in metrics),
        Column("verdict", "Verdict"),
    )
    rows = tuple(_agreement_row(choice, label, agreements, metrics) for choice, label, agreements in found)
    notes = (
        "Against PyTorch in fp32 on the same documents. Identical: summaries that are the same token by token. Tokens "
        "alike: places with the same token, of the places of the longer summary. Δ: ROUGE less that of PyTorch, "
        "paired by document, with its 95 % interval (one run) or the interval over seeds.",
    )
    return Table("serving_agreement", "Do the runtimes say the same?", columns, rows, notes if rows else ())


def _agreement_row(
    choice: Choice, label: str, agreements: Sequence[ServedAgreement], metrics: Sequence[str]
) -> tuple[Entry, ...]:
    differences = {m: [d for a in agreements for d in a.differences if d.metric == m] for m in metrics}
    words = {
        f"{METRIC_LABELS.get(d.metric, d.metric)} {d.verdict}"
        for ds in differences.values()
        for d in ds
        if d.verdict in ("better", "worse")
    }
    verdict = ", ".join(sorted(words)) or "not distinguishable"
    is_same = all(a.identical_fraction == 1.0 for a in agreements)
    return (
        Entry(choice.label),
        Entry(label),
        Entry(sum(a.num_examples for a in agreements)),
        _of(mean_interval([a.identical_fraction for a in agreements]), ""),
        _of(mean_interval([a.token_match_fraction for a in agreements]), ""),
        *(_difference(differences[m]) for m in metrics),
        Entry("the same" if is_same else verdict),
    )


def _difference(differences: Sequence[ScoreDifference]) -> Entry:
    if not differences:
        return Entry.unknown("not scored")
    if len(differences) == 1:
        return Entry(differences[0].difference, differences[0].ci95_low, differences[0].ci95_high)
    interval = mean_interval([d.difference for d in differences])
    return Entry(interval.value, interval.low, interval.high)


_BREAK_EVEN: Final = (
    *_WHO,
    Column("scenario", "Scenario"),
    Column("training_joule", "Making the model", "energy"),
    Column("energy_per_example_joule", "A summary", "energy"),
    Column("break_even_energy_num_examples", "Break-even by energy", "plain"),
    Column("break_even_co2e_num_examples", "by CO2e", "plain"),
    Column("break_even_time_num_examples", "by cost", "plain"),
)


def break_even_table(choices: Sequence[Choice], pricing: Pricing) -> Table:
    """Return after how many summaries serving has taken as much as making the model did."""
    rows = tuple(_break_even_row(row, pricing) for row in served_rows(choices) if row.num_examples)
    notes = (
        "Break-even: the number of summaries after which serving has taken as much as making the model did (prepare, "
        "load, warm-up, compress, train, validate, save; not prediction, scoring, idling and downloads). [a, b]: the "
        "low end of one sensor interval over the high end of the other, wide on purpose. Cost goes with machine time.",
    )
    return Table("break_even", "When serving outweighs training", _BREAK_EVEN, rows, notes if rows else ())


def _break_even_row(row: ServedRow, pricing: Pricing) -> tuple[Entry, ...]:
    found, joule = break_even(row, pricing), row.joule_per_summary()

    def entry(interval: Interval | None) -> Entry:
        return Entry.unknown(found.reason) if interval is None else Entry(interval.value, interval.low, interval.high)

    return (
        Entry(row.choice.label),
        Entry(row.runtime),
        Entry(row.scenario),
        entry(found.training_joule),
        entry(joule),
        entry(found.by_energy),
        entry(found.by_carbon),
        Entry(found.by_cost, reason=found.reason),
    )
