"""A summarizer as a model of NVIDIA Triton's Python backend: text in; summary, tokens and, under a meter, joules out.

This file is copied into model repositories as ``model.py``, beside the exported summarizer that it runs; there it needs
what that folder's ``requirements.txt`` names, in Triton's Python or in a folder ``packages`` beside it. Triton gathers
requests into batches; those that search in one way are computed together. A request that is wrong is refused alone.

Source: github.com/triton-inference-server/python_backend, README, 24.10.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import triton_python_backend_utils as triton

FOLDER: Final = Path(__file__).parent
sys.path.append(str(FOLDER / "packages"))

from kilowit.errors import PartError  # noqa: E402
from kilowit.parts.runtime import GenerateOptions  # noqa: E402
from kilowit.parts.runtime_request import check_request  # noqa: E402
from kilowit.parts.summarize_alone import load  # noqa: E402
from kilowit.parts.triton_meter import BatchMeter, Row, Taken  # noqa: E402

WARM_UP_TEXT: Final = "The first request of a process pays for what is touched for the first time."
SEARCH: Final = {
    "num_beams": int, "max_new_tokens": int, "min_new_tokens": int, "length_penalty": float,
    "no_repeat_ngram_size": int,
}  # fmt: skip
LIMITED: Final = ("num_beams", "max_new_tokens")  # a request may ask for as much as the configuration says
STEEPEST: Final = 10.0  # length_penalty, either way: beyond, scores overflow
CLIENT: Final = "client"
CLIENT_TAG: Final = re.compile(r"[A-Za-z0-9._:@-]{0,64}")
OUTPUTS: Final = {
    "summary": np.object_, "num_input_tokens": np.int32, "num_output_tokens": np.int32, "batch_size": np.int32,
    "energy_joules": np.float64, "co2e_grams": np.float64,
}  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """A request that was understood: its documents as tokens."""

    place: int  # among the requests that Triton gave
    request_id: str
    client: str
    sources: list[list[int]]
    options: GenerateOptions


class TritonPythonModel:
    """What Triton's Python backend looks for in this file."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the summarizer, connect to the meter if there is one, and write one short summary."""
        config = json.loads(args["model_config"])
        told = {name: value["string_value"] for name, value in config["parameters"].items()}
        self.summarizer = load(FOLDER, int(told["num_threads"]) or None)
        self.options = replace(self.summarizer.codec.manifest.generate, batch_size=config["max_batch_size"])
        self.limits = {name: max(int(told[name]), getattr(self.options, name)) for name in LIMITED}
        self.meter = BatchMeter.connect(args["model_name"])
        self.counters = _counters(args["model_name"]) if self.meter.is_connected else []
        self.summarizer.summarize([WARM_UP_TEXT])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response per request."""
        responses: list[Any] = [None] * len(requests)
        alike: dict[GenerateOptions, list[_Asked]] = {}
        for place, request in enumerate(requests):
            try:
                asked = self._understood(place, request)
            except PartError as error:
                responses[place] = _refusal(_sentences(error), triton.TritonError.INVALID_ARG)
            else:
                alike.setdefault(asked.options, []).append(asked)
        for options, group in alike.items():
            self._answer(group, options, responses)
        return responses

    def _understood(self, place: int, request: Any) -> _Asked:
        codec = self.summarizer.codec
        texts = triton.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)
        told = json.loads(request.parameters() or "{}")
        options = self._options(told)
        sources = codec.encode([_text(number, content) for number, content in enumerate(texts, start=1)])
        check_request(sources, options, codec.manifest.positions, codec.manifest.vocabulary_size)
        client = told.get(CLIENT, "")
        if not isinstance(client, str) or CLIENT_TAG.fullmatch(client) is None:
            raise PartError("client must be a tag of at most 64 letters, digits and ._:@-")
        return _Asked(place, request.request_id(), client, sources, options)

    def _options(self, told: Mapping[str, Any]) -> GenerateOptions:
        """Return the model's own options with what a request's parameters say in their place."""
        said = {name: _number(name, value) for name, value in told.items() if name != CLIENT}
        for name, most in self.limits.items():
            if said.get(name, 0) > most:
                raise PartError(f"{name} is {said[name]}; a request may ask for {most}")
        options = replace(self.options, **said)
        if "min_new_tokens" not in said:
            options = replace(options, min_new_tokens=min(options.min_new_tokens, options.max_new_tokens))
        return options

    def _answer(self, group: Sequence[_Asked], options: GenerateOptions, responses: list[Any]) -> None:
        """Compute the documents of some requests together and put the responses into their places."""
        sources = [source for asked in group for source in asked.sources]
        self.meter.begin()
        try:
            rows = self.summarizer.generator.generate(sources, options)
            texts = self.summarizer.codec.decode(rows)
        except Exception as failure:  # a runtime's own; those who wait must be told, and the server goes on
            self.meter.fail(f"{type(failure).__name__}: {failure}")
            for asked in group:
                text = "the runtime failed on the batch that held this document"
                responses[asked.place] = _refusal(text, triton.TritonError.UNAVAILABLE)
            return
        owners = [asked for asked in group for _ in asked.sources]
        counts = [(len(source), len(row)) for source, row in zip(sources, rows, strict=True)]
        taken = self.meter.end(
            options.num_beams, [Row(own.request_id, own.client, *n) for own, n in zip(owners, counts, strict=True)]
        )
        self._count(taken)
        values = [
            (text.encode(), *count, len(sources), cost.joule, cost.gram)
            for text, count, cost in zip(texts, counts, taken, strict=True)
        ]
        first = 0
        for asked in group:
            responses[asked.place] = _response(values[first : first + len(asked.sources)])
            first += len(asked.sources)

    def _count(self, taken: Sequence[Taken]) -> None:
        for counter, name, _ in self.counters:
            counter.increment(sum(max(0.0, getattr(cost, name)) for cost in taken))

    def finalize(self) -> None:
        """Close the connection to the meter."""
        self.meter.close()


def _counters(model: str) -> list[tuple[Any, str, Any]]:
    """Return counters for Triton's own ``/metrics``, where each one's growth is found in `Taken`, and its family.

    A counter whose family has been let go of fails.
    """
    told = {
        "joule": ("kilowit_energy_joules_total", "Energy of the batches of a model"),
        "gram": ("kilowit_co2e_grams_total", "Operational CO2e of the batches"),
    }
    found = []
    for field, (name, description) in told.items():
        family = triton.MetricFamily(name=name, description=description, kind=triton.MetricFamily.COUNTER)
        found.append((family.Metric(labels={"model": model}), field, family))
    return found


def _number(name: str, value: Any) -> Any:
    """Return the value of a parameter of the search."""
    kind = SEARCH.get(name)
    if kind is None:
        raise PartError(
            f"a parameter that there is none of: {name:.40}", hint=f"Known: {', '.join([*SEARCH, CLIENT])}."
        )
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (kind is int and value != int(value)):
        raise PartError(f"{name} must be a {'whole number' if kind is int else 'number'}")
    if kind is float and abs(value) > STEEPEST:
        raise PartError(f"{name} is {value}; it may be from {-STEEPEST:g} to {STEEPEST:g}")
    return kind(value)


def _text(number: int, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PartError(f"not UTF-8 ({error.reason})", place=f"document {number}", hint="Send UTF-8.") from error


def _response(values: Sequence[tuple[Any, ...]]) -> Any:
    """Return the outputs of one request, each [documents, 1]."""
    columns = zip(*values, strict=True)
    return triton.InferenceResponse(
        [
            triton.Tensor(name, np.array(column, dtype=kind).reshape(-1, 1))
            for (name, kind), column in zip(OUTPUTS.items(), columns, strict=True)
        ]
    )


def _sentences(error: PartError) -> str:
    where = f"{error.place}: " if error.place else ""
    return f"{where}{error.message}" + (f". {error.hint}" if error.hint else "")


def _refusal(text: str, code: Any) -> Any:
    return triton.InferenceResponse(error=triton.TritonError(text, code))
