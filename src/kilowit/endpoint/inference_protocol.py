"""The Open Inference Protocol v2 (KServe), as an unmodified `tritonclient` speaks it: JSON tensors, no binary ones.

One input, ``text``; outputs ``summary``, ``energy_joules`` and ``co2e_grams`` with the ends of their intervals, one
value per document. The parameters of an answer say the same of the whole request, and where the joules come from.
Source: https://github.com/kserve/open-inference-protocol, REST specification, 2026-08.
"""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from kilowit import __version__
from kilowit.endpoint.answers import (
    InferAnswer,
    LiveAnswer,
    ModelAnswer,
    ModelReadyAnswer,
    ReadyAnswer,
    ServerAnswer,
    responses,
)
from kilowit.endpoint.bill import bill, cost_headers
from kilowit.endpoint.desk import Asked, Desk
from kilowit.endpoint.job import Answer, Refused, sum_costs
from kilowit.endpoint.schema import TAG, InferBody
from kilowit.settings import FactorSettings

MOST: Final = 100_000  # of any parameter; what a request may ask for is less
VERSION: Final = "1"  # of every model: another one is another name
# Figures by their names in a bill.
FIGURES: Final = {
    f"{name}{end}": f"{billed}{end}"
    for name, billed in (("energy_joules", "energy_joule"), ("co2e_grams", "co2e_gram"))
    for end in ("", "_low", "_high")
}
OUTPUTS: Final = {"summary": "BYTES"} | dict.fromkeys(FIGURES, "FP64")
_SEARCH: Final = {
    "num_beams": int, "max_new_tokens": int, "min_new_tokens": int, "length_penalty": float,
    "no_repeat_ngram_size": int,
}  # fmt: skip
_NOT_OF_SEARCH: Final = frozenset({
    "client", "deadline_second",
    "binary_data_output",  # tritonclient's wish where no output is named; it reads JSON as well
})  # fmt: skip


def add_inference_protocol(app: FastAPI, desk: Desk, factors: FactorSettings) -> None:
    """Give an app the routes of the protocol."""

    @app.get("/v2", responses=responses(ServerAnswer))
    async def server() -> dict[str, Any]:
        return {"name": "kilowit", "version": __version__, "extensions": []}

    @app.get("/v2/health/live", responses=responses(LiveAnswer))
    async def live() -> dict[str, Any]:
        return {"live": True}

    @app.get("/v2/health/ready", responses={**responses(ReadyAnswer), 503: {"model": ReadyAnswer}})
    async def ready() -> JSONResponse:
        is_alive = desk.engine.is_alive
        return JSONResponse({"ready": is_alive}, 200 if is_alive else 503)

    _add_models(app, desk)
    _add_infer(app, desk, factors)


def _add_models(app: FastAPI, desk: Desk) -> None:
    @app.get("/v2/models/{model}", responses=responses(ModelAnswer, 404))
    @app.get("/v2/models/{model}/versions/{version}", responses=responses(ModelAnswer, 404))
    async def metadata(model: str, version: str = VERSION) -> dict[str, Any]:
        name = _checked(desk, model, version)
        return {
            "name": name,
            "versions": [VERSION],
            "platform": desk.engine.summarizers[name].label,
            "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": output, "datatype": kind, "shape": [-1]} for output, kind in OUTPUTS.items()],
        }

    @app.get("/v2/models/{model}/ready", responses=responses(ModelReadyAnswer, 404))
    @app.get("/v2/models/{model}/versions/{version}/ready", responses=responses(ModelReadyAnswer, 404))
    async def model_ready(model: str, version: str = VERSION) -> dict[str, Any]:
        return {"name": _checked(desk, model, version), "ready": desk.engine.is_alive}


def _add_infer(app: FastAPI, desk: Desk, factors: FactorSettings) -> None:
    @app.post("/v2/models/{model}/infer", responses=responses(InferAnswer, 404, 422, 429, 503))
    @app.post("/v2/models/{model}/versions/{version}/infer", responses=responses(InferAnswer, 404, 422, 429, 503))
    async def infer(model: str, body: InferBody, request: Request, version: str = VERSION) -> Response:
        name = _checked(desk, model, version)
        asked = Asked(
            request_id=str(request.state.request_id),
            texts=_texts(body),
            model=name,
            client=_client(body),
            deadline_second=_deadline_second(body),
            search=_search(body),
        )
        wanted = _wanted(body)
        jobs = await desk.submit(asked)
        answers = await desk.answers(jobs, request.is_disconnected)
        content: dict[str, Any] = {"model_name": name, "model_version": VERSION}
        billed = bill(sum_costs([answer.cost for answer in answers]), factors)
        content["parameters"] = _parameters(billed)
        if body.id is not None:
            content["id"] = body.id
        content["outputs"] = _outputs(answers, wanted, body.inputs[0].shape, factors)
        return JSONResponse(content, headers=cost_headers(billed))


def _checked(desk: Desk, model: str, version: str) -> str:
    if version != VERSION:
        raise Refused(404, f"no such version; every model has version {VERSION} alone")
    return desk.model_name(model)


def _texts(body: InferBody) -> list[str]:
    """Return the documents of the one input.

    Raises:
        Refused: 400.
    """
    if [tensor.name for tensor in body.inputs] != ["text"]:
        raise Refused(400, "exactly one input is taken, text", hint='Name it "text", with datatype BYTES.')
    tensor = body.inputs[0]
    if tensor.data is None:
        hint = "Send JSON: with tritonclient, set_data_from_numpy(..., binary_data=False)."
        raise Refused(400, "the input text has no data; binary tensors are not taken", hint=hint)
    if tensor.datatype != "BYTES":
        raise Refused(400, "the input text must have datatype BYTES")
    flat: list[Any] = []
    for item in tensor.data:
        flat.extend(item if isinstance(item, list) else [item])
    if not flat or not all(isinstance(item, str) for item in flat):
        raise Refused(400, "the data of the input text must be strings, at least one")
    num_places = 1
    for size in tensor.shape:
        num_places *= size
    if num_places != len(flat):
        raise Refused(400, f"the shape has {num_places} places, the data {len(flat)} strings")
    return flat


def _search(body: InferBody) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in body.parameters.items():
        if name in _NOT_OF_SEARCH:
            continue
        kind = _SEARCH.get(name)
        if kind is None:
            raise Refused(400, "a parameter that there is none of", hint=f"Known: {', '.join(_SEARCH)}.")
        number = _number(value, -MOST, MOST)
        if number is None or (kind is int and not isinstance(number, int)):
            raise Refused(400, f"{name} must be {'a whole number' if kind is int else 'a number'} in range")
        found[name] = kind(number)
    return found


def _client(body: InferBody) -> str:
    tag = body.parameters.get("client", "")
    if tag != "" and (not isinstance(tag, str) or re.fullmatch(TAG, tag) is None):
        raise Refused(400, "client must be a tag of at most 64 letters, digits and ._:@-")
    return str(tag)


def _deadline_second(body: InferBody) -> float | None:
    if "deadline_second" not in body.parameters:
        return None
    second = _number(body.parameters["deadline_second"], 0, MOST)
    if not second:
        raise Refused(400, "deadline_second must be a number above 0")
    return second


def _number(value: object, least: float, most: float) -> int | float | None:
    """Return a value that is a number in a range; else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and least <= value <= most else None  # type: ignore[operator,return-value]


def _wanted(body: InferBody) -> list[str]:
    for output in body.outputs:
        if output.name not in OUTPUTS:
            raise Refused(400, "no such output", hint=f"Known: {', '.join(OUTPUTS)}.")
        if output.parameters.get("binary_data"):
            hint = "With tritonclient: InferRequestedOutput(..., binary_data=False)."
            raise Refused(400, "binary outputs are not given", hint=hint)
    return [output.name for output in body.outputs] or list(OUTPUTS)


def _outputs(
    answers: list[Answer], wanted: list[str], shape: list[int], factors: FactorSettings
) -> list[dict[str, Any]]:
    """Return the output tensors, in the shape of the input."""
    bills = [bill(answer.cost, factors) for answer in answers]
    values: dict[str, list[Any]] = {"summary": [answer.text for answer in answers]}
    for name, billed in FIGURES.items():
        values[name] = [_known(one[billed]) for one in bills]
    return [{"name": n, "datatype": OUTPUTS[n], "shape": shape, "data": values[n]} for n in wanted]


def _parameters(whole: dict[str, Any]) -> dict[str, str | float]:
    """Return a bill as parameters of the protocol, which are neither lists nor null: what is unknown is left out."""
    known = {name: whole[billed] for name, billed in FIGURES.items() if whole[billed] is not None}
    words = {name: whole[name] for name in ("energy_source", "energy_basis")}
    return {**known, **words, "factors": ", ".join(whole["factors"])}


def _known(value: float | None) -> float:
    """Return a figure, or -1 where it is unknown: FP64 in JSON has no word for that."""
    return -1.0 if value is None else value
