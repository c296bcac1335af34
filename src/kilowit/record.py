"""The record: all that one run leaves, facts first. What is derived (CO2e, cost) is computed on reading.

Names end in their unit; counts begin with ``num_``; SI throughout. ``None`` means unknown, and a ``*_source``
beside it says why: it is never written as 0. `Record.to_json` and `Record.from_json` are exact inverses.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal

from kilowit.errors import ErrorKind, StoreError, near_name_hint
from kilowit.imported import ImportFacts
from kilowit.opinion import SecondOpinion
from kilowit.served import ServedRuntime

SCHEMA_VERSION: Final = 2

Status = Literal["finished", "failed", "interrupted"]
PHASES: Final = (
    "idle", "download", "prepare", "load", "warmup", "train", "validate", "compress", "predict", "score", "save",
    "serve", "serve_export", "serve_load", "serve_warmup", "serve_reference", "unsplit", "gap",
)  # fmt: skip
# What it takes to have a model: all that a cell does before it predicts, but the idle baseline and downloads.
MAKING: Final = ("prepare", "load", "warmup", "compress", "train", "validate", "save")
# The trial of the runtimes, which has tables of its own.
SERVING: Final = ("serve", "serve_export", "serve_load", "serve_warmup", "serve_reference")
# The meter's own baseline, what is paid once a machine rather than once a run, and that trial. Billed, but no merit of
# what was run.
NOT_OF_A_RUN: Final = frozenset({"idle", "download", *SERVING})
DEVICES: Final = ("gpu", "cpu", "dram", "other")


@dataclass(frozen=True, kw_only=True)
class PhaseFigures:
    """What one phase took. Figures of a record's phases are exclusive: they add up to its total.

    A phase that encloses another (train around validate) is booked without it. ``gap`` is the time that no
    phase claimed, ``unsplit`` what another tool measured as one stretch. Energies carry ``_low`` and ``_high``: the
    interval that the source warrants.
    """

    phase: str
    wall_second: float

    energy_gpu_joule: float | None = None
    energy_gpu_joule_low: float | None = None
    energy_gpu_joule_high: float | None = None
    energy_gpu_source: str = "none:not_read"
    energy_cpu_joule: float | None = None
    energy_cpu_joule_low: float | None = None
    energy_cpu_joule_high: float | None = None
    energy_cpu_source: str = "none:not_read"
    energy_dram_joule: float | None = None
    energy_dram_joule_low: float | None = None
    energy_dram_joule_high: float | None = None
    energy_dram_source: str = "none:not_read"
    energy_other_joule: float | None = None
    energy_other_joule_low: float | None = None
    energy_other_joule_high: float | None = None
    energy_other_source: str = "none:not_read"
    energy_total_joule: float | None = None
    energy_total_joule_low: float | None = None
    energy_total_joule_high: float | None = None
    energy_total_source: str = "none:not_read"
    energy_idle_joule: float | None = None  # idle power x wall_second, contained in the total
    energy_measured_fraction: float | None = None  # share of the total that a counter or a power sensor saw

    power_gpu_mean_watt: float | None = None
    power_gpu_max_watt: float | None = None
    memory_gpu_max_byte: int | None = None
    memory_host_max_byte: int | None = None  # resident set of the worker and its children
    disk_read_byte: int | None = None
    disk_written_byte: int | None = None
    disk_kept_byte: int | None = None  # what the phase left in the run folder
    network_received_byte: int | None = None  # of the whole machine
    network_sent_byte: int | None = None
    utilization_gpu_mean_fraction: float | None = None
    utilization_cpu_mean_fraction: float | None = None  # of the whole machine

    flop_total: float | None = None
    flop_source: str | None = None  # formula | counter x steps
    mfu_fraction: float | None = None  # flop_total / wall_second / device peak

    num_examples: int | None = None
    num_input_tokens: int | None = None
    num_output_tokens: int | None = None
    num_steps: int | None = None
    examples_per_second: float | None = None
    tokens_per_second: float | None = None
    latency_p50_second: float | None = None
    latency_p95_second: float | None = None
    latency_p99_second: float | None = None
    loss_first: float | None = None
    loss_last: float | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one run over its test split, with the interval of resampling the examples."""

    metric: str  # rouge1, rouge2, rougeL, rougeLsum, ...
    value: float  # in [0, 1] for ROUGE
    ci95_low: float | None
    ci95_high: float | None
    num_examples: int
    signature: str  # computed from the metric's own settings


@dataclass(frozen=True, kw_only=True)
class LengthFacts:
    """How long the texts of one column of a split are, and what each maximum length would cut."""

    unit: Literal["token", "word"]  # tokens of the model's tokenizer with special ones and prefix; words by white space
    num_texts: int  # that were counted
    percentiles: dict[str, int]  # by percentage of the texts: the length that so many do not exceed; "0": shortest
    num_texts_by_length: dict[str, int]  # by the longest length of a bin; bins are quarter octaves, empty ones left out
    truncated_fraction: dict[str, float]  # by maximum length: share of the texts that are longer
    maximum: int | None = None  # the study's own


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """Counts, lengths and what the summaries take from their sources, of one split, computed from its texts.

    Means are over examples. Coverage, density, compression and novelty are those of the metrics ``extractiveness``
    and ``novelty``, of the reference against its source.
    """

    split: str
    num_examples: int
    num_measured: int | None = None  # examples that words, coverage, density, compression and novelty are of
    source_words_mean: float | None = None
    target_words_mean: float | None = None
    source_tokens_mean: float | None = None
    target_tokens_mean: float | None = None
    source_truncated_fraction: float | None = None  # longer than source_length.maximum
    target_truncated_fraction: float | None = None
    coverage_mean: float | None = None  # share of the summary's words in fragments shared with the source
    density_mean: float | None = None  # words of the fragment that a word of the summary stands in
    compression_mean: float | None = None  # source words / summary words
    novel_1gram_fraction: float | None = None  # of the summary's distinct words those that the source has not
    novel_2gram_fraction: float | None = None
    novel_3gram_fraction: float | None = None
    novel_4gram_fraction: float | None = None
    source_length: LengthFacts | None = None
    target_length: LengthFacts | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """The dataset card: what was read, from where, and what it is like."""

    name: str
    source: str
    licence: str
    fingerprint: str  # sha256 over ids and texts of the splits used
    document_column: str
    summary_column: str
    splits: list[SplitFacts]
    notes: list[str] = field(default_factory=list)  # what was left out, what was sampled
    version: str | None = None  # as its publishers number or name it: 3.0.0, cased; None = it has one only
    revision: str | None = None  # commit on the hub, or hash of what it was made of; None = local files


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The model card: size, and what one token costs by the family's formula."""

    name: str
    family: str
    source: str  # hub:<id>@<revision> | folder | scratch:<size> | baseline
    num_parameters: int | None = None
    num_trainable_parameters: int | None = None
    model_disk_byte: int | None = None
    dtype: str | None = None
    vocabulary_size: int | None = None
    flop_per_input_token: float | None = None  # forward
    flop_per_output_token: float | None = None  # forward


@dataclass(frozen=True, kw_only=True)
class MethodEvidence:
    """What a method showed for having taken effect, and what its card led us to expect."""

    method: str
    options: dict[str, Any]
    applied: bool
    evidence: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class NodeFigures:
    """What one node of a cell took that ran on several; the phases of the record are the sum over its nodes."""

    node: int  # 0: the first, which kept the books
    host: str | None
    phases: list[PhaseFigures]
    measurement_signature: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """All that one run leaves; ``record.json``."""

    run_id: str
    cell_key: str
    study_name: str
    attempt: int
    status: Status
    started_at_utc: str  # ISO 8601, e.g. 2026-11-23T10:15:30Z
    ended_at_utc: str
    cell: dict[str, Any]  # what was asked: the content of cell.json
    environment: dict[str, Any]  # what it ran on: the content of environment.json
    error_kind: ErrorKind | None = None
    error_message: str | None = None
    error_phase: str | None = None
    model: ModelFacts | None = None
    dataset: DatasetFacts | None = None
    phases: list[PhaseFigures] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    methods: list[MethodEvidence] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    measurement_signature: str = ""  # energy|gpu:...|cpu:...|dram:...|idle:kept|period:1000ms|v:1
    idle_power_watt: float | None = None
    serving: list[ServedRuntime] = field(default_factory=list)  # empty: not asked for, or not reached
    imported: ImportFacts | None = None  # None: measured by kilowit
    second_opinions: list[SecondOpinion] = field(default_factory=list)  # of other meters; on no bill
    nodes: list[NodeFigures] = field(default_factory=list)  # of a cell on several nodes, apart; empty: it had one
    schema_version: int = SCHEMA_VERSION

    @property
    def num_nodes(self) -> int:
        """Machines that were taken for as long as the run took."""
        return max(1, len(self.nodes))

    def phase(self, name: str) -> PhaseFigures | None:
        """Return the figures of the phase `name`, or None if the run never reached it."""
        for figures in self.phases:  # a report of 10,000 records asks 250,000 times: no generator
            if figures.phase == name:
                return figures
        return None

    def score(self, metric: str) -> Score | None:
        """Return the score named `metric`, or None."""
        return next((s for s in self.scores if s.metric == metric), None)

    def to_json(self) -> str:
        """Serialise to one JSON document; inverse of `from_json`. NaN and infinity are refused."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, allow_nan=False, indent=1)

    @classmethod
    def from_json(cls, text: str, *, place: str = "record.json") -> Record:
        """Read a record of this or an earlier schema.

        Raises:
            StoreError: not JSON, a missing or unknown field, a wrong type, or a newer schema.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise StoreError(f"record is not JSON ({error})", place=place, hint=_CORRUPT_HINT) from error
        if not isinstance(value, dict):
            raise StoreError("record is not a JSON object", place=place, hint=_CORRUPT_HINT)
        version = value.get("schema_version")
        if version == 1:
            value = _from_schema_1(value)
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"record has schema {version!r}, this kilowit reads 1 to {SCHEMA_VERSION}",
                place=place,
                hint="Upgrade kilowit, or leave this run out.",
            )
        record = decode(cls, value, place)
        assert isinstance(record, Record)
        return record


_CORRUPT_HINT: Final = "Remove the folder, or `kilowit run` the study again to repeat the cell."
_POOLED: Final = {
    "compression_ratio": "compression {:.3g}",
    "novel_unigram_fraction": "novel words {:.1%}",
    "novel_bigram_fraction": "novel bigrams {:.1%}",
}


def _from_schema_1(value: dict[str, Any]) -> dict[str, Any]:
    """Bring a record of schema 1 to this one.

    It knew no serving, which is then empty. It counted a dataset's compression and novelty over all words of a split
    together, which is another figure than the mean over examples: they become a note of the dataset rather than values
    of the new names.
    """
    migrated = {**value, "schema_version": SCHEMA_VERSION}
    dataset = value.get("dataset")
    if not isinstance(dataset, dict) or not isinstance(dataset.get("splits"), list):
        return migrated  # absent, or a fault that decoding will name
    splits, notes = [], list(dataset.get("notes") or [])
    for split in dataset["splits"]:
        old = {name: split[name] for name in _POOLED if isinstance(split, dict) and name in split}
        splits.append({name: item for name, item in split.items() if name not in old} if old else split)
        figures = [_POOLED[name].format(figure) for name, figure in old.items() if isinstance(figure, int | float)]
        if figures:
            notes.append(f"{split.get('split')}: {', '.join(figures)}, over all words together (schema 1)")
    return {**migrated, "dataset": {**dataset, "splits": splits, "notes": notes}}


def decode(kind: Any, value: Any, place: str) -> Any:
    """Build a value of the annotated type `kind` from plain JSON, checking every field on the way.

    Raises:
        StoreError: naming the field that is missing, unknown or of another type.
    """
    origin, arguments = _shape(kind)
    if origin is _DATACLASS:
        return _decode_dataclass(kind, value, place)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return decode(arguments[0], value, place)
    if origin is list and isinstance(value, list):
        return [decode(arguments[0], item, f"{place}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        if arguments[1] is Any:
            return value
        plain = _plain_types(arguments[1])
        return {
            key: item if type(item) in plain else decode(arguments[1], item, f"{place}:{key}")
            for key, item in value.items()
        }
    if origin is Literal and value in arguments:
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise StoreError(f"expected {kind}, found {value!r:.80}", place=place, hint=_CORRUPT_HINT)


def _decode_dataclass(kind: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise StoreError(f"expected an object, found {value!r:.80}", place=place, hint=_CORRUPT_HINT)
    hints, plain, required = _fields(kind)
    if not value.keys() <= hints.keys():
        name = next(name for name in value if name not in hints)
        raise StoreError(f'unknown field "{name}"', place=place, hint=near_name_hint(name, hints))
    if not required <= value.keys():
        missing = sorted(required - value.keys())
        raise StoreError(f"missing field {', '.join(missing)}", place=place, hint=_CORRUPT_HINT)
    return kind(
        **{
            name: item if type(item) in plain[name] else decode(hints[name], item, f"{place}:{name}")
            for name, item in value.items()
        }
    )


_DATACLASS: Final = object()


@cache
def _shape(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the origin and arguments of an annotation; of ``X | None``, X comes first."""
    if dataclasses.is_dataclass(kind):
        return _DATACLASS, ()
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        arguments = tuple(sorted(arguments, key=lambda a: a is type(None)))
    return origin, arguments


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], dict[str, frozenset[Any]], frozenset[str]]:
    """Return, of a dataclass, the annotations, the types that need no decoding, and the names without a default.

    The second is for speed alone: it makes reading 10,000 records three times faster.
    """
    hints = typing.get_type_hints(kind)
    required = frozenset(
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    return hints, {name: _plain_types(hint) for name, hint in hints.items()}, required


@cache
def _plain_types(hint: Any) -> frozenset[Any]:
    origin, arguments = _shape(hint)
    if origin is dict and arguments[1] is not Any:
        return frozenset()
    accepted = arguments if origin in (types.UnionType, typing.Union) else (origin or hint,)
    return frozenset({bool, int, float, str, dict, type(None)}.intersection(accepted))
