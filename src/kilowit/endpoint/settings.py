"""What a server can be told: where it listens, how much it takes on, where its figures are priced."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kilowit.settings import Block, Count, FactorSettings, Positive


class EndpointSettings(Block):
    """Limits and places of one server. The defaults suit one small machine."""

    host: str = Field("127.0.0.1", description="address to listen on; another than loopback needs a token")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0 = any free port")
    max_batch_size: Count = Field(8, description="most documents computed at once")
    batch_wait_second: Annotated[float, Field(ge=0, le=10)] = Field(
        0.005, description="how long the first document of a batch waits for others"
    )
    max_waiting: Count = Field(256, description="documents that may wait; beyond that, 429")
    deadline_second: Positive = Field(30.0, description="longest time from request to answer; a request may ask less")
    max_documents: Count = Field(64, description="documents in one request")
    max_new_tokens: Count = Field(256, description="longest summary that a request may ask for")
    max_beams: Count = Field(8, description="most beams that a request may ask for")
    max_body_byte: Count = Field(1_000_000, description="longest body; beyond that, 413")
    body_second: Positive = Field(10.0, description="longest time that a body may take to arrive; beyond that, 408")
    otel_endpoint: str | None = Field(
        None, description="OTLP/HTTP collector that is told of each request; None = as OTEL_EXPORTER_OTLP_* say"
    )
    factors: FactorSettings = Field(default_factory=FactorSettings, description="region, machine and PUE")
