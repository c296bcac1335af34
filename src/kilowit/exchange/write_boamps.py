"""BoAmps reports: one JSON a run and stage (making the model, and predicting with it), energies in kWh.

Source: Boavizta/BoAmps, ``model/report_schema.json`` of commit 01f4c8e with its algorithm, dataset and hardware schemas
(its example reports and codecarbon 3.3.2 call that format version 0.1). BoAmps asks that stages be measured apart, so
that each has a report of its own. A stage whose energy is unknown has none: the format has no word for unknown. PUE is
in none of its energies. Who publishes is for the publisher to add.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kilowit import __version__, factors
from kilowit.errors import StoreError
from kilowit.exchange.foreign import JOULE_PER_KWH
from kilowit.exchange.priced import PricedRun, priced_run
from kilowit.record import PhaseFigures, Record
from kilowit.settings import FactorSettings

FORMAT_VERSION: Final = "0.1"
SPECIFICATION: Final = "https://github.com/Boavizta/BoAmps/tree/main/model"
_QUALITIES: Final = ((0.10, "high"), (0.25, "medium"))  # largest error of the energy; beyond: low
_CLOUDS: Final = ("azure", "aws", "gcp")


def boamps_files(records: Sequence[Record], asked: FactorSettings) -> Mapping[str, bytes]:
    """Return one report for each stage of each run whose energy is known.

    Raises:
        StoreError: no stage of any run has an energy.
    """
    files = {}
    for record in records:
        run = priced_run(record, asked)
        for stage, figures in _stages(run):
            report = _report(run, stage, figures)
            files[f"{record.run_id}_{stage}.json"] = json.dumps(report, ensure_ascii=False, indent=1).encode()
    if not files:
        raise StoreError("no stage of these runs has an energy", hint="BoAmps has no word for an unknown energy.")
    return files


def _stages(run: PricedRun) -> list[tuple[str, PhaseFigures]]:
    record, stages = run.record, []
    if record.phase("train") is not None:
        stage = "training" if record.model is not None and record.model.source.startswith("scratch:") else "finetuning"
        stages.append((stage, run.making))
    predict = record.phase("predict")
    if predict is not None:
        stages.append(("inference", predict))
    return [(stage, figures) for stage, figures in stages if figures.energy_total_joule is not None]


def _report(run: PricedRun, stage: str, figures: PhaseFigures) -> dict[str, Any]:
    record, system = run.record, run.record.environment.get("os") or {}
    # The same run gives the same report: its id is a name in BoAmps' own space, not drawn.
    report_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{SPECIFICATION}#{record.run_id}/{stage}")
    report = {
        "header": {
            "formatVersion": FORMAT_VERSION,
            "formatVersionSpecificationUri": SPECIFICATION,
            "reportId": str(report_id),
            "reportDatetime": _datetime(record.ended_at_utc),
            "reportStatus": "final" if record.status == "finished" else "other",
        },
        "task": _task(record, stage, figures),
        "measures": [_measure(record, figures)],
        "system": {"os": system.get("system") or "unknown", "distribution": system.get("distribution")},
        "software": {"language": "python", "version": record.environment.get("python")},
        "infrastructure": _infrastructure(run),
        "environment": _environment(run),
        "quality": _quality(figures),
    }
    known: dict[str, Any] = _known(report)
    return known


def _task(record: Record, stage: str, figures: PhaseFigures) -> dict[str, Any]:
    model, dataset = record.model, record.dataset
    parameters = None if model is None or model.num_parameters is None else model.num_parameters / 1e9
    algorithm = {
        "trainingType": None if stage == "inference" else "supervisedLearning",
        "algorithmType": "neural network" if parameters is not None else "nlp",
        "foundationModelName": None if model is None else model.name,
        "parametersNumber": parameters,
        "framework": "transformers" if parameters is not None else None,
        "frameworkVersion": (record.environment.get("packages") or {}).get("transformers"),
        "quantization": None if model is None else model.dtype,
    }
    split = None
    if dataset is not None:
        wanted = "test" if stage == "inference" else "train"
        split = next((s.num_examples for s in dataset.splits if s.split == wanted), None)
    texts = {
        "dataUsage": "input",
        "dataType": "text",
        "dataQuantity": figures.num_examples or split,
        "source": "public" if dataset is not None and dataset.source.startswith("hub:") else None,
    }
    return {
        "taskStage": stage,
        "taskFamily": "summarization",
        "nbRequest": figures.num_examples if stage == "inference" else None,
        "algorithms": [algorithm],
        "dataset": [texts],
        "taskDescription": f"run {record.run_id} of {record.study_name}" + (f" on {dataset.name}" if dataset else ""),
    }


def _measure(record: Record, figures: PhaseFigures) -> dict[str, Any]:
    assert figures.energy_total_joule is not None
    return {
        "measurementMethod": "kilowit",
        "version": __version__,
        "cpuTrackingMode": figures.energy_cpu_source if figures.energy_cpu_joule is not None else None,
        "gpuTrackingMode": figures.energy_gpu_source if figures.energy_gpu_joule is not None else None,
        "averageUtilizationCpu": figures.utilization_cpu_mean_fraction,
        "averageUtilizationGpu": figures.utilization_gpu_mean_fraction,
        "powerConsumption": figures.energy_total_joule / JOULE_PER_KWH,
        "measurementDuration": figures.wall_second,
        "measurementDateTime": _datetime(record.started_at_utc),
    }


def _infrastructure(run: PricedRun) -> dict[str, Any]:
    environment = run.record.environment
    provider = (run.factors.region or "").partition("/")[0]
    cpu, gpus, memory = environment.get("cpu") or {}, environment.get("gpus") or [], environment.get("memory_byte")
    cores = cpu.get("num_physical_cores") or cpu.get("num_logical_cores")  # the reports of BoAmps count cores
    components = [{"componentType": "cpu", "componentName": cpu.get("model"), "nbComponent": cores}] if cores else []
    if gpus:
        each = gpus[0].get("memory_byte")
        board = {"componentType": "gpu", "componentName": gpus[0].get("name"), "nbComponent": len(gpus)}
        components.append({**board, "memorySize": None if each is None else round(each / 1024**3)})
    if memory is not None:
        components.append({"componentType": "ram", "nbComponent": 1, "memorySize": round(memory / 1024**3)})
    is_cloud = provider in _CLOUDS
    return {
        "infraType": "publicCloud" if is_cloud else "other",
        "cloudProvider": provider if is_cloud else None,
        "cloudInstance": run.factors.machine,
        "components": components,
    }


def _environment(run: PricedRun) -> dict[str, Any] | None:
    """Return the place: the format asks for a country, so that a cloud region is not enough."""
    provider, _, name = (run.factors.region or "").partition("/")
    if provider != "country":
        return None
    return {"country": name, "powerSourceCarbonIntensity": factors.carbon(run.factors.region).value}


def _quality(figures: PhaseFigures) -> str | None:
    joule, low, high = (getattr(figures, f"energy_total_joule{end}") for end in ("", "_low", "_high"))
    if not joule or low is None or high is None:
        return None
    error = max(high - joule, joule - low) / joule
    return next((name for limit, name in _QUALITIES if error <= limit), "low")


def _datetime(text: str) -> str:
    return text.removesuffix("Z").replace("T", " ")


def _known(value: Any) -> Any:
    """Leave out what is unknown: the format has no null."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items() if item is not None}
    return [_known(item) for item in value] if isinstance(value, list) else value
