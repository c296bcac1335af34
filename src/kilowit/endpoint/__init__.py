"""An endpoint that shows what each summary costs, while it happens: `kilowit serve`.

Stands right of `kilowit.serving`, whose summarizers it puts behind a queue, and of the meter, which bills each batch.
Importing this imports no web framework: `serve` and `create_app` do.
"""

from __future__ import annotations

from kilowit.endpoint.engine import Engine
from kilowit.endpoint.job import Answer, Cost, Refused
from kilowit.endpoint.server import Served, models_to_serve, serve
from kilowit.endpoint.settings import EndpointSettings
from kilowit.endpoint.started import StartedEndpoint, start_endpoint

__all__ = [
    "Answer",
    "Cost",
    "EndpointSettings",
    "Engine",
    "Refused",
    "Served",
    "StartedEndpoint",
    "models_to_serve",
    "serve",
    "start_endpoint",
]
