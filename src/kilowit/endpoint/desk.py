"""The front desk: checks what is asked, lets it wait, and hands the answers out."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kilowit.endpoint.engine import Engine
from kilowit.endpoint.job import Answer, Cost, Job, Refused, sum_costs
from kilowit.endpoint.observe import CURRENT
from kilowit.endpoint.settings import EndpointSettings
from kilowit.endpoint.token_queue import Bell, TokenQueue
from kilowit.errors import PartError
from kilowit.parts.runtime import GenerateOptions
from kilowit.parts.runtime_request import check_request

NUM_REMEMBERED: Final = 1000  # requests whose cost can still be asked for
LOOK_SECOND: Final = 0.5  # how often a waiting request looks whether its client is still there
CLIENT_GONE: Final = 499  # as nginx logs it; nobody reads the answer


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it came, whatever the protocol."""

    request_id: str
    texts: Sequence[str]
    model: str | None = None
    client: str = ""
    deadline_second: float | None = None
    search: Mapping[str, Any] = field(default_factory=dict)  # of `GenerateOptions`, what was said of it
    is_streamed: bool = False  # whether its summaries are wanted as they grow


class Desk:
    """Takes requests in and gives answers out, on the event loop.

    Args:
        engine: has been started.
    """

    def __init__(self, engine: Engine, settings: EndpointSettings) -> None:
        self.engine, self.settings = engine, settings
        self._remembered: OrderedDict[str, Cost] = OrderedDict()

    def model_name(self, name: str | None) -> str:
        """Return the name of a model that is served; None = the first.

        Raises:
            Refused: 404.
        """
        names = list(self.engine.summarizers)
        if name is None and names:
            return names[0]
        if name not in names:
            raise Refused(404, "no such model", hint=f"Served here: {', '.join(names)}.")
        return name

    async def submit(self, asked: Asked) -> list[Job]:
        """Check a request and let it wait: one job per document.

        Raises:
            Refused: it is wrong, too large, or cannot be taken on now.
        """
        model = self.model_name(asked.model)
        exchange = CURRENT.get()
        if exchange is not None:
            exchange.model = model
        client = asked.client or (exchange.client if exchange is not None else "")
        if len(asked.texts) > self.settings.max_documents:
            raise Refused(422, f"{len(asked.texts)} documents; a request may have {self.settings.max_documents}")
        manifest = self.engine.summarizers[model].codec.manifest
        options = self._options(self.engine.summarizers[model].options, asked.search)
        try:
            sources = await asyncio.to_thread(self.engine.summarizers[model].codec.encode, list(asked.texts))
            check_request(sources, options, manifest.positions, manifest.vocabulary_size)
        except PartError as error:
            where = f"{error.place}: " if error.place else ""
            raise Refused(422, f"{where}{error.message}", hint=error.hint) from error
        now_second = self.engine.queue.clock()
        allowed_second = min(asked.deadline_second or self.settings.deadline_second, self.settings.deadline_second)
        bell = Bell(1 if asked.is_streamed else len(sources))
        jobs = [
            Job(
                request_id=asked.request_id,
                model=model,
                client=client,
                source=source,
                options=options,
                arrived_second=now_second,
                deadline_second=now_second + allowed_second,
                bell=bell,
                tokens=TokenQueue(bell) if asked.is_streamed else None,
            )
            for source in sources
        ]
        if exchange is not None:
            exchange.jobs = jobs
        try:
            self.engine.queue.put(jobs)
        except Refused as error:
            self.note_refusal(jobs, error)
            raise
        return jobs

    async def answers(self, jobs: Sequence[Job], is_gone: Callable[[], Awaitable[bool]]) -> list[Answer]:
        """Wait for all documents of a request.

        Raises:
            Refused: one of them was given up; those that still wait are taken out. Or the client has gone.
        """
        bell, answers = bell_of(jobs), list[Answer]()
        try:
            while len(answers) < len(jobs):
                await bell.wait(LOOK_SECOND)
                answers = [job.future.result() for job in jobs if job.future.done()]
                if len(answers) < len(jobs) and await is_gone():
                    raise Refused(CLIENT_GONE, "the client has gone")
        except Refused as error:
            self.note_refusal(jobs, error)
            raise
        finally:
            abandon(jobs)
        self.remember_answers(jobs[0].request_id, answers)
        return answers

    def note_refusal(self, jobs: Sequence[Job], error: Refused) -> None:
        """Count a request that was not taken on, or given up; not one whose client has gone."""
        if error.status != CLIENT_GONE:
            self.engine.books.count_refusal(jobs[0].model, jobs[0].client)
        exchange = CURRENT.get()
        if exchange is not None:
            exchange.refused = error

    def remember_answers(self, request_id: str, answers: Sequence[Answer]) -> None:
        """Keep what a request took, for `recall` and for those who watch."""
        exchange = CURRENT.get()
        if exchange is not None:
            exchange.answers = answers
        self._remembered[request_id] = sum_costs([answer.cost for answer in answers])
        while len(self._remembered) > NUM_REMEMBERED:
            self._remembered.popitem(last=False)

    def recall(self, request_id: str) -> Cost:
        """Return what a request took.

        Raises:
            Refused: 404, none of that name was answered lately.
        """
        if request_id not in self._remembered:
            raise Refused(404, f"not among the last {NUM_REMEMBERED} requests")
        return self._remembered[request_id]

    def _options(self, own: GenerateOptions, search: Mapping[str, Any]) -> GenerateOptions:
        said = {name: value for name, value in search.items() if value is not None}
        try:
            options = replace(own, **said)
        except TypeError as error:
            raise Refused(422, "an option of the search that there is none of") from error
        for name, most in (("max_new_tokens", self.settings.max_new_tokens), ("num_beams", self.settings.max_beams)):
            if name in said and said[name] > most:
                raise Refused(422, f"{name} is {said[name]}; a request may ask for {most}")
        if "min_new_tokens" not in said:
            options = replace(options, min_new_tokens=min(options.min_new_tokens, options.max_new_tokens))
        return options


def bell_of(jobs: Sequence[Job]) -> Bell:
    """Return the bell that `Desk.submit` gave to all jobs of a request."""
    bell = jobs[0].bell
    assert bell is not None, "not a request of a desk"
    return bell


def abandon(jobs: Sequence[Job]) -> None:
    """Take the documents out that still wait, and let those that stream end where they are."""
    for job in jobs:
        job.is_gone = True
        job.future.cancel()
