"""What a server answers, as its OpenAPI page tells it. Routes write the answers; a fuzzer holds them to this."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

Fields = dict[str, Any]


class ErrorAnswer(BaseModel):
    """Every answer that is no success."""

    error: str
    hint: str | None = None


class BillAnswer(BaseModel):
    """What something took. null = unknown; notes say why."""

    energy_joule: float | None
    energy_joule_low: float | None
    energy_joule_high: float | None
    energy_source: str
    energy_basis: str = Field(description="measured, modelled, mixed or unknown")
    energy_wh_per_1000: float | None
    co2e_gram: float | None
    co2e_gram_low: float | None
    co2e_gram_high: float | None
    co2e_embodied_gram: float | None
    cost_usd: float | None
    machine_second: float
    factors: list[str]
    notes: list[str]


class SummaryAnswer(BaseModel):
    """One document's summary."""

    text: str
    num_input_tokens: int
    num_output_tokens: int
    batch_size: int
    wait_second: float
    compute_second: float
    bill: BillAnswer


class SummarizeAnswer(BaseModel):
    """Summaries in the order of the documents, and the bill of the request."""

    request_id: str
    model: str
    summaries: list[SummaryAnswer]
    bill: BillAnswer
    latency_second: float
    time_to_first_token_second: float | None = Field(None, description="where the answer is a stream")


class TotalsAnswer(BaseModel):
    """What the server has used."""

    today: Fields
    ever: Fields
    by_client: dict[str, Fields]
    models: dict[str, Fields]
    idle_power_watt: float | None
    power_watt: float | None
    num_waiting: int
    grid_gram_per_kwh: float
    region: str | None
    pue: float
    everyday: Fields


class ReadyAnswer(BaseModel):
    """Whether requests are answered."""

    ready: bool


class LiveAnswer(BaseModel):
    """Whether the process answers at all."""

    live: bool


class ModelReadyAnswer(ReadyAnswer):
    """Whether requests to a model are answered."""

    name: str


class ServerAnswer(BaseModel):
    """Metadata of the server, Open Inference Protocol."""

    name: str
    version: str
    extensions: list[str]


class TensorFacts(BaseModel):
    """Name, datatype and shape of a tensor; -1 = any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelAnswer(BaseModel):
    """Metadata of a model, Open Inference Protocol."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class OutputTensor(TensorFacts):
    """An output, row by row."""

    data: list[str] | list[float]


class InferAnswer(BaseModel):
    """Outputs, Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, str | float] = Field(description="the bill of the request")
    outputs: list[OutputTensor]


EVENT: Final = {  # one event of a stream; its data is JSON
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}

Responses = dict[int | str, dict[str, Any]]
_WHY: Final = {
    400: "the request cannot be read",
    401: "no token, or a wrong one",
    403: "asked by a page of another origin",
    404: "no such model, version or request",
    408: "the body came too slowly",
    413: "the body is too long",
    422: "a field is not as it should be",
    429: "too many documents wait; Retry-After says when to come back",
    503: "the deadline could not be kept, or the server stops; Retry-After says when to come back",
}
_GUARD: Final = (400, 401, 403, 408, 413)


def responses(model: type[BaseModel] | None, *statuses: int, **more: Any) -> Responses:
    """Return what a route may answer: its success, what the guard refuses, and these.

    Args:
        model: of status 200; None = no JSON.
        statuses: of its own errors.
        more: of status 200, e.g. ``content``.
    """
    success: dict[str, Any] = more if model is None else {"model": model, **more}
    found: Responses = {200: success}
    for status in sorted({*_GUARD, *statuses}):
        found[status] = {"model": ErrorAnswer, "description": _WHY[status]}
    return found
