"""What a record says of serving: each runtime, each pattern of requests, and whether it says the same.

Part of the schema of `kilowit.record`, whose rules of naming hold here too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kilowit.wording import counted


@dataclass(frozen=True, kw_only=True)
class ServedScenario:
    """One pattern of requests to one runtime. Its warm-up is apart: neither in its figures nor in its energy."""

    scenario: str  # single_stream | fixed_batch | random_arrivals | offline
    num_examples: int  # summaries written
    num_unserved: int  # requests that had come, or were still to be made, when max_second was over
    batch_size: int  # most documents computed at once
    rate_per_second: float | None = None  # asked for, of random_arrivals
    wall_second: float
    energy_total_joule: float | None = None
    energy_total_joule_low: float | None = None
    energy_total_joule_high: float | None = None
    energy_total_source: str = "none:not_read"
    energy_idle_joule: float | None = None  # idle power x wall_second, contained in the total
    num_input_tokens: int
    num_output_tokens: int
    examples_per_second: float | None = None
    output_tokens_per_second: float | None = None
    latency_p50_second: float | None = None  # from request to summary, waiting included; None: offline has no requests
    latency_p95_second: float | None = None
    latency_p99_second: float | None = None
    wait_p95_second: float | None = None  # from request to the start of its batch
    warmup_second: float = 0.0
    warmup_joule: float | None = None


@dataclass(frozen=True, kw_only=True)
class ScoreDifference:
    """A runtime's score less that of the reference on the same documents, paired."""

    metric: str
    value: float  # of the runtime
    difference: float
    ci95_low: float | None
    ci95_high: float | None
    p_holm: float | None  # two-sided, by sign flips, corrected for the metrics that are shown together
    verdict: str  # better | worse | not distinguishable


@dataclass(frozen=True, kw_only=True)
class ServedAgreement:
    """What a runtime wrote, against PyTorch in fp32 on the same documents."""

    num_examples: int
    identical_fraction: float  # summaries that are the same, token by token
    token_match_fraction: float  # places with the same token, of the places of the longer summary
    differences: list[ScoreDifference] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ServedRuntime:
    """A runtime that served the trained model: what getting it ready took, and what it did."""

    runtime: str
    precision: str
    num_threads: int | None = None  # None: the runtime's own choice
    device: str  # cpu | cuda
    error_message: str | None = None  # why it could not go on
    disk_byte: int | None = None  # of the folder that it runs from
    export_second: float | None = None
    export_joule: float | None = None
    load_second: float | None = None
    load_joule: float | None = None
    scenarios: list[ServedScenario] = field(default_factory=list)
    agreement: ServedAgreement | None = None

    @property
    def label(self) -> str:
        """Name, precision and threads, as a reader tells runtimes apart."""
        threads = "" if self.num_threads is None else f", {counted(self.num_threads, 'thread')}"
        return f"{self.runtime} {self.precision}{threads}"
