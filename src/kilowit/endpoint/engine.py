"""The engine of a server: one thread that computes batch after batch, each in a phase of the meter of its own.

One batch at a time, whatever the number of models: on one machine two at once would only slow each other, and whose
joules were whose could not be told. Everything that the thread does is in a phase, so that what is booked on requests,
on idling and on loading adds up to what the meter saw.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kilowit.endpoint.books import IDLE, Books, Share, cost_of, token_fractions
from kilowit.endpoint.freed import give_back_freed_memory
from kilowit.endpoint.job import Answer, Cost, Job, Refused
from kilowit.endpoint.keeper import REST_SECOND, Keeper
from kilowit.endpoint.queue import RequestQueue
from kilowit.endpoint.settings import EndpointSettings
from kilowit.meter import Meter, MeterResult
from kilowit.parts.runtime import OnTokens
from kilowit.serving.summarizer import Summarizer, synchronize

RESTS_PER_TRIM: Final = 10  # of the books, between which the C library keeps what was freed
IDLE_SLICES: Final = 5  # of a second: how long one phase of idling lasts
MIN_IDLE_SECOND: Final = 0.5  # shorter stretches hold too few ticks of a counter to tell a power
WARM_UP_TEXT: Final = "The first request of a process pays for what is touched for the first time."

OnBatch = Callable[[str, Cost, Sequence[Answer]], None]


@dataclass
class _Running:
    """The batch that is computed now."""

    began_second: float
    began_joule: float | None
    num_documents: int


class Engine:
    """Models behind a queue, under a meter.

    Args:
        models: loads each of the models that are served, by name.
        settings: the limits.
        folder: where the ledger and the books are kept; None = in memory alone.
        meter: not started; None = one that reads all sensors once a second.
    """

    def __init__(
        self,
        models: Mapping[str, Callable[[], Summarizer]],
        settings: EndpointSettings,
        *,
        folder: Path | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.settings = settings
        self.books = Books(folder, is_kept=True)
        self.meter = meter or Meter(folder, synchronize=synchronize)
        self._keeper = Keeper(self.meter, self.books)
        self.queue = RequestQueue(
            max_waiting=settings.max_waiting,
            max_batch_size=settings.max_batch_size,
            batch_wait_second=settings.batch_wait_second,
        )
        self.summarizers: dict[str, Summarizer] = {}
        self.on_batch: list[OnBatch] = []  # told of each batch, from the engine's thread
        self.idle_power_watt: float | None = None
        self.last_cost = Cost()  # of the last batch, or stretch of idling
        self.making: dict[str, Cost] = {}  # what it took to have each model, where its run tells
        self.num_watchers = 0  # how many requests want to see what the running batch takes
        self._loaders = models
        self._is_closed = False
        self._is_over = threading.Event()
        self._running: _Running | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Load the models, write one summary with each, and begin to answer.

        Raises:
            KilowitError: a model cannot be loaded; what had been loaded is let go of.
        """
        self.meter.start()
        try:
            for name, load in self._loaders.items():
                with self.meter.phase(f"load {name}") as phase:
                    self.summarizers[name] = load()
                    self._warm_up(name)
                if phase.result is not None:
                    self._keeper.book(f"load {name}", cost_of(phase.result))
        except BaseException:
            self._let_go()
            raise
        self.books.book_session(self._session())
        self._thread = threading.Thread(target=self._run, name="kilowit-engine", daemon=True)
        self._thread.start()
        threading.Thread(target=self._keep_books, name="kilowit-books", daemon=True).start()

    def close(self) -> MeterResult:
        """Answer what waits, then stop; return what the meter saw. Calling it again returns the same."""
        self.queue.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self._let_go()

    @property
    def is_alive(self) -> bool:
        """Whether requests are answered."""
        return self._thread is not None and self._thread.is_alive() and not self.queue.is_closed

    def progress(self) -> Cost | None:
        """Return what one document of the running batch has taken so far, shared out equally; None if none runs."""
        running, total = self._running, self.meter.total_so_far()
        if running is None or total is None:
            return None
        second = time.monotonic() - running.began_second
        joule = None
        if total.energy_total_joule is not None and running.began_joule is not None:
            joule = max(0.0, total.energy_total_joule - running.began_joule)
        return Cost(second=second, joule=joule, source=total.energy_total_source).share(1 / running.num_documents)

    def _run(self) -> None:
        while True:
            batch = self.queue.take()
            if batch:
                self._compute(batch)
            elif self.queue.is_closed:
                return
            else:
                self._idle()
            if self._keeper.is_due:  # under load too: a kill may come at any time
                self._keeper.rest(self.last_cost)

    def _idle(self) -> None:
        with self.meter.phase(IDLE) as phase:
            for _ in range(IDLE_SLICES):
                if self.queue.wait(REST_SECOND):
                    break
                self._keeper.rest(self.last_cost)
        assert phase.result is not None
        cost = cost_of(phase.result)
        if cost.watt is not None and cost.second >= MIN_IDLE_SECOND:
            self.idle_power_watt = cost.watt
        self.last_cost = cost

    def _keep_books(self) -> None:
        """Bring the books to the disk once a second, beside the engine: a slow disk holds no batch up."""
        for num_rests in itertools.count(1):
            if self._is_over.wait(REST_SECOND):
                return
            self.books.sync()
            if num_rests % RESTS_PER_TRIM == 0:
                give_back_freed_memory()

    def _session(self) -> dict[str, Any]:
        """Return what the books say of a start."""
        factors = self.settings.factors
        models = {
            name: {
                "runtime": summarizer.label,
                "device": summarizer.device,
                "source": summarizer.codec.manifest.source,
                "making_joule": made.joule if (made := self.making.get(name)) is not None else None,
            }
            for name, summarizer in self.summarizers.items()
        }
        return {"models": models, "region": factors.region, "machine": factors.machine, "pue": factors.pue}

    def _compute(self, batch: list[Job]) -> None:
        first, began_second = batch[0], self.queue.clock()
        total = self.meter.total_so_far() if self.num_watchers else None  # reading all sensors takes a moment
        self._running = _Running(began_second, None if total is None else total.energy_total_joule, len(batch))
        error: Exception | None = None
        rows: list[list[int]] = []
        texts: list[str] = []
        with self.meter.phase(f"serve {first.model}") as phase:
            try:
                summarizer = self.summarizers[first.model]
                options = replace(first.options, batch_size=self.settings.max_batch_size)
                sources = [job.source for job in batch]
                rows = summarizer.generator.generate(sources, options, on_tokens=_telling(batch))
                texts = summarizer.codec.decode(rows)
                phase.count(
                    num_examples=len(batch),
                    num_input_tokens=sum(len(job.source) for job in batch),
                    num_output_tokens=sum(len(row) for row in rows),
                )
            except Exception as failure:  # a runtime's own; those who wait must be told, and the server goes on
                error = failure
        self._running = None
        assert phase.result is not None
        cost = cost_of(phase.result)
        self.last_cost = cost
        self.queue.learn(first.model, cost.second, len(batch))
        if error is None:
            self._answer(batch, texts, rows, cost, began_second)
        else:
            self._fail(batch, cost, error)

    def _answer(
        self, batch: list[Job], texts: list[str], rows: list[list[int]], cost: Cost, began_second: float
    ) -> None:
        num_in, num_out = [len(job.source) for job in batch], [len(row) for row in rows]
        fractions = token_fractions(num_in, num_out, batch[0].options.num_beams)
        answers = [
            Answer(
                text=text,
                num_input_tokens=n_in,
                num_output_tokens=n_out,
                cost=cost.share(fraction),
                wait_second=began_second - job.arrived_second,
                compute_second=cost.second,
                batch_size=min(len(batch), self.settings.max_batch_size),
            )
            for job, text, n_in, n_out, fraction in zip(batch, texts, num_in, num_out, fractions, strict=True)
        ]
        shares = [
            Share(job.request_id, job.client, n_in, n_out, fraction, round(began_second - job.arrived_second, 6))
            for job, n_in, n_out, fraction in zip(batch, num_in, num_out, fractions, strict=True)
        ]
        self._keeper.book(batch[0].model, cost, shares)
        for tell in self.on_batch:
            tell(batch[0].model, cost, answers)
        for job, answer in zip(batch, answers, strict=True):
            job.future.set_result(answer)

    def _fail(self, batch: list[Job], cost: Cost, error: Exception) -> None:
        self._keeper.book(f"failed {batch[0].model}", cost)
        self.meter.note("warning", f"serve {batch[0].model}: {type(error).__name__}: {error}")
        for job in batch:
            refused = Refused(503, "the runtime failed on the batch that held this document", retry_after_second=1)
            job.future.set_exception(refused)

    def _warm_up(self, name: str) -> None:
        """Write one short summary, so that all is in place and the queue knows how long it takes."""
        summarizer = self.summarizers[name]
        sources = summarizer.codec.encode([WARM_UP_TEXT])
        began_second = self.queue.clock()
        summarizer.generator.generate(sources, summarizer.options)
        self.queue.learn(name, self.queue.clock() - began_second, 1)

    def _let_go(self) -> MeterResult:
        result = self.meter.stop()
        if not self._is_closed:
            self._is_closed = True
            self._is_over.set()
            self._keeper.book_rest(result.total, cost_of(result.total))
            self.books.close()
        for summarizer in self.summarizers.values():
            summarizer.close()
        self.summarizers.clear()
        return result


def _telling(batch: Sequence[Job]) -> OnTokens | None:
    """Return what takes the tokens of a batch to those who stream; None if nobody does: looking at each step costs."""
    if all(job.tokens is None for job in batch):
        return None

    def tell(place: int, tokens: Sequence[int]) -> bool:
        job = batch[place]
        if job.tokens is not None:
            job.tokens.put(tokens)
        return not job.is_gone

    return tell
