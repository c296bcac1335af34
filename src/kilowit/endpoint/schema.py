"""What may be sent to a server: pydantic at the border, unknown fields refused."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

TAG: Final = r"[A-Za-z0-9._:@-]{1,64}"
Tag = Annotated[StrictStr, Field(pattern=f"^{TAG}$")]
Amount = Annotated[float, Field(strict=True, ge=0, le=1e15, allow_inf_nan=False)]


def _sendable(text: str) -> str:
    """Return a text that an answer can hold: half of a surrogate pair is no UTF-8.

    Raises:
        ValueError: it is none.
    """
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("is no Unicode text: it holds half of a surrogate pair")
    return text


class Body(BaseModel):
    """A body of ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SummarizeBody(Body):
    """Documents, and how their summaries are to be searched for; what is left out is the model's own."""

    text: StrictStr | Annotated[list[StrictStr], Field(min_length=1)] = Field(description="a document, or several")
    model: StrictStr | None = Field(None, description="which of the models; None = the first")
    client: Tag | None = Field(None, description="whom the cost is booked on in the bill")
    stream: StrictBool = Field(False, description="answer with server-sent events")
    deadline_second: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    num_beams: Annotated[StrictInt, Field(ge=1)] | None = None
    max_new_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    min_new_tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    length_penalty: Annotated[float, Field(strict=True, ge=-10, le=10, allow_inf_nan=False)] | None = None
    no_repeat_ngram_size: Annotated[StrictInt, Field(ge=0, le=1000)] | None = None


class CarbonBody(Body):
    """What to price anew: a request that was answered lately, or plain joules; else all of today."""

    region: StrictStr | None = Field(None, description="grid region, e.g. country/FR; None = unknown")
    pue: Annotated[float, Field(strict=True, ge=1, le=5, allow_inf_nan=False)] | None = None
    machine: StrictStr | None = None
    request_id: StrictStr | None = None
    energy_joule: Amount | None = None
    energy_joule_low: Amount | None = None
    energy_joule_high: Amount | None = None
    machine_second: Amount = 0.0


class Tensor(BaseModel):
    """An input of the Open Inference Protocol, in JSON."""

    name: StrictStr
    shape: list[Annotated[StrictInt, Field(ge=0)]]
    datatype: StrictStr
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class WantedOutput(BaseModel):
    """An output that a client of the Open Inference Protocol asks for."""

    name: StrictStr
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferBody(BaseModel):
    """A request of the Open Inference Protocol v2."""

    id: Annotated[StrictStr, AfterValidator(_sendable)] | None = None  # given back in the answer
    parameters: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default_factory=dict)
    inputs: list[Tensor]
    outputs: list[WantedOutput] = Field(default_factory=list)
