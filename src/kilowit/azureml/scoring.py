"""The scoring script of the managed endpoint: `init` loads the summarizer, `run` answers a request with its bill.

Azure's inference server calls both, in one process, one request at a time. A request is JSON:
``{"documents": ["..."], "num_beams": 4}``; settings are those of `kilowit summarize`, none is needed.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilowit.errors import KilowitError, StoreError
from kilowit.meter import Meter
from kilowit.serving.source import generate_options, predict_settings
from kilowit.serving.summarizer import Summarizer, load_summarizer, synchronize

MODEL_VARIABLE: Final = "AZUREML_MODEL_DIR"
SERVER: Final = "azureml_inference_server_http"  # the package that calls these functions on Azure
MAX_DOCUMENTS: Final = 256


@dataclass
class _Loaded:
    summarizer: Summarizer | None = None


_loaded: Final = _Loaded()


def init() -> None:
    """Load the summarizer that `kilowit azureml compress` left, from where Azure has put it.

    Raises:
        StoreError: no such folder, or no summarizer in it.
        PartError: its runtime is not installed.
    """
    root = os.environ.get(MODEL_VARIABLE)
    if not root:
        raise StoreError(f"{MODEL_VARIABLE} is not set", hint="Azure sets it; here name the folder of the model.")
    found = sorted(Path(root).rglob("summarizer.json"))
    if len(found) != 1:
        raise StoreError(
            f"{len(found)} summarizers below it, not one", place=root, hint="Deploy the output `model` of the pipeline."
        )
    if _loaded.summarizer is not None:
        _loaded.summarizer.close()
    _loaded.summarizer = load_summarizer(found[0].parent)


def run(raw_data: str) -> Any:
    """Summarize the documents of one request and say what that took; a wrong request says what is wrong with it.

    Returns:
        ``summaries`` in order and ``bill`` (seconds, joules with interval and source, tokens), or ``error`` and
        ``hint``; within Azure's inference server these are an answer of status 400.
    """
    if _loaded.summarizer is None:
        return _error("no model is loaded", "Call init() first.")
    try:
        documents, asked = _read(raw_data)
        predict = predict_settings(asked)
        summarizer = _loaded.summarizer
        meter = Meter(period_second=0.2, synchronize=synchronize)
        with meter, meter.phase("serve"):
            written = summarizer.write(documents, generate_options(summarizer.options, predict))
        total = meter.stop().total
    except KilowitError as error:
        return _error(error.message, error.hint)
    return {
        "summaries": [one.text for one in written],
        "bill": {
            "wall_second": total.wall_second,
            "energy_total_joule": total.energy_total_joule,
            "energy_total_joule_low": total.energy_total_joule_low,
            "energy_total_joule_high": total.energy_total_joule_high,
            "energy_total_source": total.energy_total_source,
            "num_input_tokens": sum(one.num_input_tokens for one in written),
            "num_output_tokens": sum(len(one.tokens) for one in written),
        },
    }


def _read(raw_data: str) -> tuple[list[str], dict[str, Any]]:
    """Return the documents and the settings of a request.

    Raises:
        StoreError: not JSON, or not what a request is.
    """
    try:
        asked = json.loads(raw_data)
    except ValueError as error:
        raise StoreError(f"the request is not JSON ({error})", hint=_EXAMPLE) from error
    documents = asked.pop("documents", None) if isinstance(asked, dict) else None
    if not isinstance(documents, list) or not all(isinstance(text, str) for text in documents):
        raise StoreError("the request has no list of texts `documents`", hint=_EXAMPLE)
    if not 0 < len(documents) <= MAX_DOCUMENTS:
        raise StoreError(f"{len(documents)} documents, not 1 to {MAX_DOCUMENTS}", hint="Ask several times.")
    return documents, asked


def _error(message: str, hint: str | None) -> Any:
    refusal = {"error": message, "hint": hint}
    if SERVER not in sys.modules:
        return refusal
    from azureml_inference_server_http.api.aml_response import AMLResponse

    return AMLResponse(refusal, 400, json_str=True)


_EXAMPLE: Final = 'Example: {"documents": ["A long text."], "num_beams": 4}'
