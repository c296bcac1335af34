"""Server-sent events of one request: what happens to it, its summaries as they grow, what it has taken, the bill.

``text`` brings the next piece of a document's summary: all its pieces, put together, are the text of its ``summary``,
which comes once the document is finished. ``progress`` comes a few times a second: a document's joules so far are an
equal share of the running batch's, until the batch is over and they are shared out by tokens. ``done`` is the whole
answer. A client that goes away is written for no further.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from kilowit.endpoint.desk import Desk, abandon, bell_of
from kilowit.endpoint.job import Answer, Job, Refused
from kilowit.serving.text_stream import TextStream

PROGRESS_SECOND: Final = 0.25

Summarized = Callable[[list[Answer], float | None], dict[str, Any]]


async def events(desk: Desk, jobs: list[Job], summarized: Summarized) -> AsyncIterator[str]:
    """Yield the events of a request that waits.

    Args:
        summarized: makes the whole answer, told when the first piece of text was sent, by the monotonic clock; None =
            there was none.
    """
    desk.engine.num_watchers += 1
    try:
        yield _event("accepted", {"request_id": jobs[0].request_id, "model": jobs[0].model, "num_documents": len(jobs)})
        growing, bell = _Growing(desk, jobs), bell_of(jobs)
        told_second = time.monotonic()
        while growing.open:
            await bell.wait(max(0.0, told_second + PROGRESS_SECOND - time.monotonic()))
            for event in growing.news():
                yield event
            if growing.open and time.monotonic() - told_second >= PROGRESS_SECOND:
                yield _event("progress", await _progress(desk, jobs))
                told_second = time.monotonic()
        answers = [job.future.result() for job in jobs]
        content = summarized(answers, growing.first_second)
        desk.remember_answers(jobs[0].request_id, answers)
        yield _event("done", content)
    except Refused as error:
        desk.note_refusal(jobs, error)
        told = {"error": error.message, "hint": error.hint, "retry_after_second": error.retry_after_second}
        yield _event("error", told)
    finally:
        desk.engine.num_watchers -= 1
        abandon(jobs)


class _Growing:
    """The summaries of a request, as far as they have come.

    Attributes:
        open: places of documents that are not finished.
        first_second: when the first piece of text was there to be sent; None = there has been none.
    """

    def __init__(self, desk: Desk, jobs: list[Job]) -> None:
        codec = desk.engine.summarizers[jobs[0].model].codec
        self._jobs = jobs
        self._texts = [TextStream(codec) for _ in jobs]
        self.open = list(range(len(jobs)))
        self.first_second: float | None = None

    def news(self) -> Iterator[str]:
        """Yield the events since the last call.

        Raises:
            Refused: a document was given up.
        """
        for place in list(self.open):
            job, text = self._jobs[place], self._texts[place]
            is_done = job.future.done()  # asked first: what it says is finished has put all its tokens
            assert job.tokens is not None
            yield from self._piece(place, text.add(job.tokens.take()))
            if is_done:
                self.open.remove(place)
                whole = job.future.result().text
                yield from self._piece(place, text.finish(whole))
                yield _event("summary", {"index": place, "text": whole})

    def _piece(self, place: int, piece: str) -> Iterator[str]:
        if piece:
            self.first_second = self.first_second or time.monotonic()
            yield _event("text", {"index": place, "text": piece})


async def _progress(desk: Desk, jobs: list[Job]) -> dict[str, Any]:
    is_running = any(job.future.running() for job in jobs)
    so_far = await asyncio.to_thread(desk.engine.progress) if is_running else None
    return {
        "status": "computing" if is_running else "waiting",
        "num_waiting": len(desk.engine.queue),
        "energy_joule": None if so_far is None else so_far.joule,
        "elapsed_second": round(desk.engine.queue.clock() - jobs[0].arrived_second, 3),
    }


def _event(name: str, content: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False, allow_nan=False)}\n\n"
