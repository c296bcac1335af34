"""What passes through a server: a document that waits, what became of it, and a refusal that says when to come back."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field

from kilowit.endpoint.token_queue import Bell, TokenQueue
from kilowit.errors import KilowitError
from kilowit.parts.runtime import GenerateOptions


class Refused(KilowitError):  # noqa: N818 - said to a client, no fault of ours
    """A request that is not taken on, or given up.

    Args:
        status: of HTTP; 429 and 503 come with `retry_after_second`.
        retry_after_second: when it may be taken.
    """

    def __init__(
        self, status: int, message: str, *, retry_after_second: float | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after_second = None if retry_after_second is None else max(1, math.ceil(retry_after_second))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What something took. Joules are None where no sensor read them, for the reason that `source` gives.

    Attributes:
        second: of the machine: a share of a batch's wall time.
        measured_fraction: how much of the joules was measured rather than modelled.
    """

    second: float = 0.0
    joule: float | None = None
    joule_low: float | None = None
    joule_high: float | None = None
    source: str = "none:not_read"
    measured_fraction: float | None = None

    @property
    def basis(self) -> str:
        """Where the joules come from, in one word: measured | modelled | mixed | unknown."""
        if self.joule is None or self.measured_fraction is None:
            return "unknown"
        return {1.0: "measured", 0.0: "modelled"}.get(self.measured_fraction, "mixed")

    @property
    def watt(self) -> float | None:
        """Mean power; None where it is unknown."""
        return None if self.joule is None or self.second <= 0 else self.joule / self.second

    def share(self, fraction: float) -> Cost:
        """Return a part of it."""

        def part(joule: float | None) -> float | None:
            return None if joule is None else joule * fraction

        return Cost(
            second=self.second * fraction,
            joule=part(self.joule),
            joule_low=part(self.joule_low),
            joule_high=part(self.joule_high),
            source=self.source,
            measured_fraction=self.measured_fraction,
        )


def sum_costs(costs: list[Cost]) -> Cost:
    """Add costs; joules that are unknown for one are unknown for the sum.

    >>> sum_costs([Cost(joule=1.0, source="rapl"), Cost(joule=2.0, source="rapl")]).joule
    3.0
    """
    if not costs:
        return Cost()

    def total(name: str) -> float | None:
        values = [getattr(cost, name) for cost in costs]
        return None if None in values else math.fsum(values)

    joule = total("joule")
    measured = [(c.joule or 0.0) * c.measured_fraction for c in costs if c.measured_fraction is not None]
    known_fraction = joule is not None and joule > 0 and len(measured) == len(costs)
    fraction = math.fsum(measured) / joule if known_fraction and joule else costs[0].measured_fraction
    return Cost(
        second=math.fsum(cost.second for cost in costs),
        joule=joule,
        joule_low=total("joule_low"),
        joule_high=total("joule_high"),
        source="+".join(dict.fromkeys(cost.source for cost in costs)),
        measured_fraction=None if fraction is None else round(fraction, 9),
    )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A summary and what it took."""

    text: str
    num_input_tokens: int
    num_output_tokens: int
    cost: Cost
    wait_second: float  # from arrival to the start of its batch
    compute_second: float  # of its batch
    batch_size: int


@dataclass(eq=False, kw_only=True)
class Job:
    """One document that waits for its summary.

    Attributes:
        source: its tokens.
        deadline_second: by the queue's clock.
        bell: rung when it is finished, or has more tokens; None = nobody listens.
        tokens: where they are put as they are written; None = nobody looks at them.
        future: set to the answer, or to a `Refused`; cancelling it while the job waits takes the job out.
        is_gone: nobody waits for it any more; what streams stops writing it.
    """

    request_id: str
    model: str
    client: str
    source: list[int]
    options: GenerateOptions
    arrived_second: float
    deadline_second: float
    bell: Bell | None = None
    tokens: TokenQueue | None = None
    is_gone: bool = False

    def __post_init__(self) -> None:
        if self.bell is not None:
            self.future.add_done_callback(self.bell.finish)

    future: Future[Answer] = field(default_factory=Future)
