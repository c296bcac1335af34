"""Benchmark results of every choice, and every run one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kilowit.record import PhaseFigures
from kilowit.report.effects import METRIC_LABELS
from kilowit.report.evidence import EvidenceBook
from kilowit.report.pricing import Priced, Pricing
from kilowit.report.quantity import Kind
from kilowit.report.runs import Choice, Run
from kilowit.report.table import Column, Entry, Table
from kilowit.report.tables.bill import NO_ENERGY
from kilowit.statistics.interval import Interval
from kilowit.statistics.means import mean_interval
from kilowit.wording import counted

_NUM: Final = Column("num_repeats", "n", "count")
NO_GPU: Final = "no GPU was metered"
NO_TRAINING: Final = "training-free"
_INTERVALS: Final = (
    "[a, b]: 95 % interval. Scores: seeds and test examples together; with fewer than 3 seeds test examples alone, "
    "which says nothing of another seed. Other figures: t interval over seeds, none with fewer than 3."
)


def metrics_of(choices: Sequence[Choice]) -> list[str]:
    """The metrics that any run was scored with; the ROUGE family first, in its usual order."""
    found = {score.metric for choice in choices for run in choice.runs for score in run.record.scores}
    return [m for m in METRIC_LABELS if m in found] + sorted(found - METRIC_LABELS.keys())


def quality_table(choices: Sequence[Choice], metrics: Sequence[str], book: EvidenceBook) -> Table:
    """Return scores and losses by choice."""
    columns = (
        Column("choice", "Choice"),
        _NUM,
        *(Column(m, METRIC_LABELS.get(m, m), "score") for m in metrics),
        Column("predict.output_tokens_mean", "Length, tokens", "plain"),
        Column("train.loss_last", "Loss, training", "loss"),
        Column("validate.loss_last", "Loss, validation", "loss"),
    )
    rows = []
    for choice in (c for c in choices if c.finished):
        scores = [_of_interval(book.quality(choice, m), "not scored with it") for m in metrics]
        reason = NO_TRAINING if choice.is_baseline else "not taken"
        losses = [_of_interval(choice.interval(f"{p}.loss_last"), reason) for p in ("train", "validate")]
        lengths = [v for run in choice.finished if (v := _output_tokens(run.record.phase("predict"))) is not None]
        length = _of_values(lengths, "no tokenizer counted it")
        rows.append((Entry(choice.label), Entry(len(choice.finished)), *scores, length, *losses))
    signatures = {
        score.signature for c in choices for run in c.finished for score in run.record.scores if score.metric in metrics
    }
    notes = (_INTERVALS, *(f"Metric: {signature}" for signature in sorted(signatures)))
    return Table("benchmark_quality", "Quality", columns, tuple(rows), notes if rows else ())


_RESOURCE_FIGURES: Final[tuple[tuple[str, str, Kind, str], ...]] = (
    ("train.wall_second", "Training", "time", NO_TRAINING),
    ("predict.wall_second", "Prediction", "time", "not reached"),
    ("run.wall_second", "Run", "time", "not recorded"),
    ("train.examples_per_second", "Training samples", "rate", NO_TRAINING),
    ("predict.examples_per_second", "Prediction samples", "rate", "not recorded"),
    ("train.tokens_per_second", "Training tokens", "rate", NO_TRAINING),
    ("predict.tokens_per_second", "Prediction tokens", "rate", "not recorded"),
    ("run.memory_host_max_byte", "RAM, peak", "byte", "not recorded"),
    ("run.memory_gpu_max_byte", "VRAM, peak", "byte", NO_GPU),
    ("run.disk_written_byte", "Disk written", "byte", "not recorded"),
    ("run.disk_kept_byte", "Disk kept", "byte", "nothing was kept or recorded"),
    ("train.utilization_gpu_mean_fraction", "GPU used, training", "fraction", NO_GPU),
    ("train.utilization_cpu_mean_fraction", "CPU used, training", "fraction", "not recorded"),
)


def resource_table(choices: Sequence[Choice]) -> Table:
    """Return time, throughput, memory, disk and utilisation by choice."""
    columns = (Column("choice", "Choice"), _NUM, *(Column(f, label, kind) for f, label, kind, _ in _RESOURCE_FIGURES))
    rows = tuple(
        (
            Entry(choice.label),
            Entry(len(choice.finished)),
            *(_of_interval(choice.interval(f), reason, brief=True) for f, _, _, reason in _RESOURCE_FIGURES),
        )
        for choice in choices
        if choice.finished
    )
    notes = (
        "Means over seeds; intervals are in the CSV file. Run: all phases but the idle baseline and downloads.",
        "CPU used is of the whole machine.",
    )
    return Table("benchmark_resources", "Time, throughput and memory", columns, rows, notes if rows else ())


_ENERGY_COLUMNS: Final = (
    Column("choice", "Choice"),
    _NUM,
    Column("run.energy_total_kwh", "Energy of a run", "energy_wh"),
    Column("run.energy_total_kwh_warranted", "Sensor interval", "energy_wh"),
    Column("train.energy_total_kwh", "Training", "energy_wh"),
    Column("predict.energy_per_example_joule", "Per summary", "energy"),
    Column("run.power_mean_watt", "Mean power", "power"),
    Column("run.flop_total", "Computed", "flop"),
    Column("run.co2e_operational_kg", "CO2e", "mass"),
    Column("run.co2e_operational_lb", "CO2e", "mass_lb"),
    Column("run.co2e_embodied_kg", "Embodied CO2e", "mass"),
    Column("run.cost_usd_on_demand", "On demand", "money"),
    Column("run.cost_usd_spot", "Spot", "money"),
)


def energy_table(choices: Sequence[Choice], pricing: Pricing) -> Table:
    """Return energy, power, FLOPs, CO2e and dollars of a mean run by choice."""
    rows = tuple(_energy_row(choice, pricing) for choice in choices if choice.finished)
    notes = (
        "Of one run, mean over seeds, without the idle baseline and downloads (the bill has them). [a, b]: 95 % t "
        "interval over seeds; sensor interval: how wrong sensors and device models may be, alike in every run.",
    )
    return Table("benchmark_energy", "Energy, CO2e and cost of a run", _ENERGY_COLUMNS, rows, notes if rows else ())


def _energy_row(choice: Choice, pricing: Pricing) -> tuple[Entry, ...]:
    runs = choice.finished
    priced = pricing.price_runs(runs, "run")
    train_reason = NO_TRAINING if choice.is_baseline else NO_ENERGY
    return (
        Entry(choice.label),
        Entry(len(runs)),
        _of_interval(choice.interval("run.energy_total_joule"), NO_ENERGY),
        _warranted(choice),
        _of_interval(choice.interval("train.energy_total_joule"), train_reason),
        _of_values([v for run in runs if (v := _per_example(run.record.phase("predict"))) is not None], NO_ENERGY),
        _of_values([v for run in runs if (v := _mean_power(run.merit)) is not None], NO_ENERGY),
        _of_interval(choice.interval("run.flop_total"), "not counted", brief=True),
        *_per_run(priced, len(runs)),
    )


def _warranted(choice: Choice) -> Entry:
    """The interval of the sensors themselves as a text entry would not scale: keep it as low and high."""
    low, high = choice.interval("run.energy_total_joule_low"), choice.interval("run.energy_total_joule_high")
    middle = choice.interval("run.energy_total_joule")
    if low is None or high is None or middle is None:
        return Entry.unknown("the sensors give no interval")
    return Entry(middle.value, low.value, high.value, is_interval_only=True)


def _per_run(priced: Priced, num_runs: int) -> tuple[Entry, ...]:
    def entry(value: float | None, reason: str) -> Entry:
        return Entry(None if value is None else value / num_runs, reason=reason)

    carbon = entry(priced.co2e_operational_kg, priced.reason_co2e)
    return (
        carbon,
        carbon,
        entry(priced.co2e_embodied_kg, priced.reason_embodied),
        entry(priced.cost_usd_on_demand, priced.reason_cost),
        entry(priced.cost_usd_spot, priced.reason_spot),
    )


def run_table(choices: Sequence[Choice], metrics: Sequence[str], max_rows: int) -> Table:
    """Return every run with a result or without, one a row, oldest first within its choice."""
    columns = (
        Column("choice", "Choice"),
        Column("seed", "Seed", "count"),
        Column("status", "Status"),
        *(Column(m, METRIC_LABELS.get(m, m), "score") for m in metrics),
        Column("run.energy_total_kwh", "Energy", "energy_wh"),
        Column("run.wall_second", "Time", "time"),
        Column("run_id", "Run"),
    )
    pairs = [(choice, run) for choice in choices for run in choice.runs]
    rows = tuple(_run_row(choice, run, metrics) for choice, run in pairs)
    return Table("runs", "Every run", columns, rows, shown_rows=max_rows if len(rows) > max_rows else None)


def _run_row(choice: Choice, run: Run, metrics: Sequence[str]) -> tuple[Entry, ...]:
    record, reason = run.record, "no result: see what failed"
    status = record.status if record.error_kind is None else f"{record.status}: {record.error_kind}"
    return (
        Entry(choice.label),
        Entry(run.seed),
        Entry(status),
        *(Entry(None if (s := record.score(m)) is None else s.value, reason=reason) for m in metrics),
        Entry(run.merit.energy_total_joule, reason=NO_ENERGY),
        Entry(run.merit.wall_second),
        Entry(record.run_id),
    )


def signatures_of(choices: Sequence[Choice], pricing: Pricing) -> tuple[str, ...]:
    """The measurement signatures of the runs, most frequent first, each with the factors that priced it."""
    counts: dict[str, int] = {}
    for choice in choices:
        for run in choice.runs:
            line = pricing.signature(run.record)
            counts[line] = counts.get(line, 0) + 1
    return tuple(_numbered(counts))


def _numbered(counts: Mapping[str, int]) -> list[str]:
    ordered = sorted(counts, key=lambda line: -counts[line])
    if len(ordered) == 1:
        return ordered
    return [f"{line}  ({counted(counts[line], 'run')})" for line in ordered]


def _per_example(row: PhaseFigures | None) -> float | None:
    if row is None or row.energy_total_joule is None or not row.num_examples:
        return None
    return row.energy_total_joule / row.num_examples


def _output_tokens(row: PhaseFigures | None) -> float | None:
    """Return the mean length of a summary: ROUGE moves with it, so it stands beside the scores."""
    if row is None or row.num_output_tokens is None or not row.num_examples:
        return None
    return row.num_output_tokens / row.num_examples


def _mean_power(row: PhaseFigures) -> float | None:
    return None if row.energy_total_joule is None or not row.wall_second else row.energy_total_joule / row.wall_second


def _of_values(values: Sequence[float], reason: str) -> Entry:
    return _of_interval(mean_interval(values) if values else None, reason, brief=True)


def _of_interval(interval: Interval | None, reason: str, *, brief: bool = False) -> Entry:
    if interval is None:
        return Entry.unknown(reason)
    return Entry(interval.value, interval.low, interval.high, is_interval_hidden=brief)
