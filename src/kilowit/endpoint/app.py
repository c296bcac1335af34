"""The HTTP interface of a server. Every error is JSON with one field ``error``, and, where it helps, ``hint``."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from kilowit import __version__
from kilowit.endpoint.account import Sum
from kilowit.endpoint.answers import EVENT, BillAnswer, ReadyAnswer, SummarizeAnswer, TotalsAnswer, responses
from kilowit.endpoint.bill import bill, cost_headers
from kilowit.endpoint.books import IDLE
from kilowit.endpoint.desk import Asked, Desk
from kilowit.endpoint.engine import Engine
from kilowit.endpoint.guard import Guard
from kilowit.endpoint.inference_protocol import add_inference_protocol
from kilowit.endpoint.job import Answer, Cost, Job, Refused, sum_costs
from kilowit.endpoint.observe import Observe, Watcher
from kilowit.endpoint.schema import CarbonBody, SummarizeBody
from kilowit.endpoint.settings import EndpointSettings
from kilowit.endpoint.stream import events
from kilowit.endpoint.telemetry import CONTENT_TYPE, Telemetry
from kilowit.errors import KilowitError
from kilowit.factors import carbon, kwh_to_joule, pue, smartphone_charge
from kilowit.factors.carbon import regions
from kilowit.settings import FactorSettings

PAGE_FILES: Final = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
_MEDIA: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_SEARCH: Final = ("num_beams", "max_new_tokens", "min_new_tokens", "length_penalty", "no_repeat_ngram_size")


def create_app(
    engine: Engine, settings: EndpointSettings, *, token: str | None = None, watchers: Sequence[Watcher] = ()
) -> FastAPI:
    """Return the app of a server.

    Args:
        engine: has been started; whoever started it closes it.
        token: what every request but probes and the page must bear; None = anyone may ask.
        watchers: told of each request once it is over.
    """
    app = FastAPI(
        title="kilowit", version=__version__, docs_url=None, redoc_url=None,
        strict_content_type=False,  # tritonclient sends none
    )  # fmt: skip
    desk, telemetry = Desk(engine, settings), Telemetry(engine, settings.factors)
    app.add_middleware(Guard, settings=settings, token=token)
    app.add_middleware(Observe, watchers=[telemetry, *watchers])  # the last is the outermost
    _add_errors(app)
    _add_summarize(app, desk, settings.factors)
    _add_books(app, desk, settings.factors)
    _add_probes(app, engine, telemetry)
    _add_page(app)
    add_inference_protocol(app, desk, settings.factors)
    return app


def request_id_of(request: Request) -> str:
    """Return the name that the guard gave to a request."""
    return str(request.state.request_id)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        headers = {} if error.retry_after_second is None else {"Retry-After": str(error.retry_after_second)}
        return _error(error.status, error.message, error.hint, headers)

    @app.exception_handler(KilowitError)
    async def wrong(request: Request, error: KilowitError) -> JSONResponse:
        return _error(422, error.message, error.hint)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]  # without what was sent: it may be anything
        place = ".".join(str(step) for step in first["loc"] if isinstance(step, int) or step.isidentifier())
        return _error(400 if request.url.path.startswith("/v2") else 422, f"{place}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail), headers=dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> JSONResponse:
        return _error(500, "an error of the server; its log says which")


def _error(status: int, text: str, hint: str | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    content = {"error": _printable(text)} | ({"hint": _printable(hint)} if hint else {})
    return JSONResponse(content, status, headers)


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _add_summarize(app: FastAPI, desk: Desk, factors: FactorSettings) -> None:
    stream = {"text/event-stream": {"schema": EVENT}}

    @app.post("/v1/summarize", responses=responses(SummarizeAnswer, 404, 422, 429, 503, content=stream))
    async def summarize(body: SummarizeBody, request: Request) -> Response:
        """Summarize documents; the answer says what each took."""
        began_second = time.monotonic()
        asked = Asked(
            request_id=request_id_of(request),
            texts=[body.text] if isinstance(body.text, str) else body.text,
            model=body.model,
            client=body.client or "",
            deadline_second=body.deadline_second,
            search={option: getattr(body, option) for option in _SEARCH},
            is_streamed=body.stream,
        )
        jobs = await desk.submit(asked)
        if body.stream:
            return StreamingResponse(
                _streamed(desk, jobs, factors, began_second),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            )
        answers = await desk.answers(jobs, request.is_disconnected)
        content_json = _summarized(jobs, answers, factors, began_second)
        return JSONResponse(content_json, headers=cost_headers(content_json["bill"]))


def _streamed(desk: Desk, jobs: list[Job], factors: FactorSettings, began_second: float) -> AsyncIterator[str]:
    """Yield the events of a request."""

    def summarized(answers: list[Answer], first_second: float | None) -> dict[str, Any]:
        wait_second = None if first_second is None else first_second - began_second
        return _summarized(jobs, answers, factors, began_second, wait_second)

    return events(desk, jobs, summarized)


def _summarized(
    jobs: list[Job],
    answers: list[Answer],
    factors: FactorSettings,
    began_second: float,
    first_token_second: float | None = None,
) -> dict[str, Any]:
    """Return the answer to a request as JSON.

    Args:
        first_token_second: from the request until text of a summary was sent; None = it was not streamed.
    """
    cost = sum_costs([answer.cost for answer in answers])
    return {
        "request_id": jobs[0].request_id,
        "model": jobs[0].model,
        "summaries": [summary(answer, factors) for answer in answers],
        "bill": bill(cost, factors, num_documents=len(answers)),
        "latency_second": round(time.monotonic() - began_second, 6),
        "time_to_first_token_second": None if first_token_second is None else round(first_token_second, 6),
    }


def summary(answer: Answer, factors: FactorSettings) -> dict[str, Any]:
    """Return one document's answer as JSON."""
    return {
        "text": answer.text,
        "num_input_tokens": answer.num_input_tokens,
        "num_output_tokens": answer.num_output_tokens,
        "batch_size": answer.batch_size,
        "wait_second": round(answer.wait_second, 6),
        "compute_second": round(answer.compute_second, 6),
        "bill": bill(answer.cost, factors),
    }


def _add_books(app: FastAPI, desk: Desk, factors: FactorSettings) -> None:
    @app.post("/v1/carbon", responses=responses(BillAnswer, 404, 422))
    async def reprice(body: CarbonBody) -> dict[str, Any]:
        """Price something anew for another region, PUE or machine: nothing is run again."""
        placed = FactorSettings(region=body.region, pue=body.pue, machine=body.machine)
        if body.request_id is not None:
            return bill(desk.recall(body.request_id), placed)
        if body.energy_joule is not None:
            given = {"low": body.energy_joule_low, "high": body.energy_joule_high}
            ends = {f"joule_{end}": body.energy_joule if value is None else value for end, value in given.items()}
            cost = Cost(second=body.machine_second, joule=body.energy_joule, source="given", **ends)
            return bill(cost, placed)
        today = _sum(list(desk.engine.books.sums(hours=_today()).values()))
        return bill(_cost(today, desk.engine), placed, num_documents=today.num_documents)

    @app.get("/v1/regions", responses=responses(None))
    async def known_regions() -> dict[str, float]:
        """Return what `POST /v1/carbon` knows: regions, and grams of CO2e per kWh of their grids."""
        return _grids()

    @app.get("/v1/totals", responses=responses(TotalsAnswer))
    async def totals() -> dict[str, Any]:
        """Say what the server has used today and since its books began, by model; idling apart."""
        books, engine, phone = desk.engine.books, desk.engine, smartphone_charge()
        return {
            "today": _totals(books.sums(hours=_today()), engine, factors),
            "ever": _totals(books.sums(), engine, factors),
            "by_client": {
                name: vars(amount)
                for name, amount in books.sums(of=lambda account: account.client or "(none)").items()
                if amount.num_documents or amount.num_refused
            },
            "models": {name: _told(engine, name, factors) for name in engine.summarizers},
            "idle_power_watt": engine.idle_power_watt,
            "power_watt": engine.last_cost.watt,
            "num_waiting": len(engine.queue),
            "grid_gram_per_kwh": carbon(factors.region).value,
            "region": factors.region,
            "pue": pue(factors.region, factors.pue).value,
            "everyday": {
                "name": "charging a smartphone once",
                "joule": kwh_to_joule(phone.value),
                "source": phone.source,
            },
        }


@functools.cache
def _grids() -> dict[str, float]:
    return {name: carbon(name).value for name in regions()}


def _told(engine: Engine, name: str, factors: FactorSettings) -> dict[str, Any]:
    summarizer = engine.summarizers[name]
    made = engine.making.get(name)
    served = engine.books.sums().get(name, Sum())
    each_joule = served.joule / served.num_documents if served.num_documents else None
    return {
        "runtime": summarizer.label,
        "device": summarizer.device,
        "max_source_tokens": summarizer.codec.manifest.max_source_tokens,
        "source": summarizer.codec.manifest.source,
        "making": None if made is None else bill(made, factors, num_documents=0),
        # served so often, the model has taken as much as it took to have it; None = nobody knows yet
        "break_even_summaries": math.ceil(made.joule / each_joule) if made and made.joule and each_joule else None,
    }


def _totals(sums: dict[str, Sum], engine: Engine, factors: FactorSettings) -> dict[str, Any]:
    asked = {name: amount for name, amount in sums.items() if amount.num_documents or amount.num_refused}
    whole = _sum(list(asked.values()))
    return {
        "requests": bill(_cost(whole, engine), factors, num_documents=whole.num_documents) | vars(whole),
        "idle": vars(sums.get(IDLE, Sum())),
        "by_model": {
            name: bill(_cost(amount, engine), factors, num_documents=amount.num_documents) | vars(amount)
            for name, amount in asked.items()
        },
        "other": {name: vars(amount) for name, amount in sums.items() if name not in asked and name != IDLE},
    }


def _sum(parts: list[Sum]) -> Sum:
    whole = Sum()
    for part in parts:
        whole.add(part)
    return whole


def _cost(amount: Sum, engine: Engine) -> Cost:
    return Cost(
        second=amount.second, joule=amount.joule, joule_low=amount.joule_low, joule_high=amount.joule_high,
        source=engine.last_cost.source, measured_fraction=engine.last_cost.measured_fraction,
    )  # fmt: skip


def _today() -> str:
    return time.strftime("%Y-%m-%dT", time.gmtime())


def _add_probes(app: FastAPI, engine: Engine, telemetry: Telemetry) -> None:
    @app.get("/healthz", responses={**responses(ReadyAnswer), 503: {"model": ReadyAnswer}})
    async def healthz() -> JSONResponse:
        """Say whether requests are answered."""
        return JSONResponse({"ready": engine.is_alive}, 200 if engine.is_alive else 503)

    plain = {"text/plain": {"schema": {"type": "string"}}}

    @app.get("/metrics", response_class=Response, responses=responses(None, content=plain))
    async def metrics() -> Response:
        """Return all counters for Prometheus."""
        return Response(telemetry.text(), media_type=CONTENT_TYPE)


def _add_page(app: FastAPI) -> None:
    folder = files("kilowit.endpoint") / "page"
    for path, name in PAGE_FILES.items():
        route = _file_route((folder / name).read_bytes(), _MEDIA[name.rpartition(".")[2]])
        app.add_route(path, route, methods=["GET"], include_in_schema=False)


def _file_route(content: bytes, media: str) -> Callable[[Request], Awaitable[Response]]:
    async def route(request: Request) -> Response:
        return Response(content, media_type=media, headers=_PAGE_HEADERS)

    return route
