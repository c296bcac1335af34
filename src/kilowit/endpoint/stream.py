"""Server-sent events of one request: what happens to it, what it has taken so far, each summary, the bill.

``progress`` comes a few times a second: a document's joules so far are an equal share of the running batch's, until the
batch is over and they are shared out by tokens. ``summary`` comes once a document, ``done`` is the whole answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from kilowit.endpoint.desk import Desk, abandon, awaitable
from kilowit.endpoint.job import Answer, Job, Refused

PROGRESS_SECOND: Final = 0.25


async def events(
    desk: Desk, jobs: list[Job], summarized: Callable[[list[Answer]], dict[str, Any]]
) -> AsyncIterator[str]:
    """Yield the events of a request that waits.

    Args:
        summarized: makes the whole answer.
    """
    desk.engine.num_watchers += 1
    try:
        yield _event("accepted", {"request_id": jobs[0].request_id, "model": jobs[0].model, "num_documents": len(jobs)})
        places = {awaitable(job): place for place, job in enumerate(jobs)}
        waiting = set(places)
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=PROGRESS_SECOND, return_when=asyncio.FIRST_COMPLETED)
            for error in [future.exception() for future in done]:
                if error is not None:
                    raise error
            for future in sorted(done, key=lambda f: places[f]):
                yield _event("summary", {"index": places[future], "text": future.result().text})
            if waiting and not done:
                yield _event("progress", await _progress(desk, jobs))
        answers = [job.future.result() for job in jobs]
        content = summarized(answers)
        desk.remember_answers(jobs[0].request_id, answers)
        yield _event("done", content)
    except Refused as error:
        desk.note_refusal(jobs, error)
        told = {"error": error.message, "hint": error.hint, "retry_after_second": error.retry_after_second}
        yield _event("error", told)
    finally:
        desk.engine.num_watchers -= 1
        abandon(jobs)


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
