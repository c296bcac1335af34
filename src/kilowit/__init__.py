"""kilowit tells what a text summarizer costs, and which efficiency method is worth it.

The public API, and nothing else. Names are loaded when they are first used, so that ``import kilowit`` is instant.

    >>> import kilowit
    >>> study = kilowit.Study.load("study.yaml")  # doctest: +SKIP
    >>> kilowit.plan_study(study, kilowit.Store("runs"))  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kilowit.dataset import describe_dataset, load_dataset
    from kilowit.endpoint import StartedEndpoint, start_endpoint
    from kilowit.endpoint.folder import ServingFolder, read_serving_folder
    from kilowit.evaluation import Evaluation, evaluate
    from kilowit.exchange import export_records, import_runs
    from kilowit.meter import Meter, MeterResult
    from kilowit.mirror import mirror_runs
    from kilowit.plan import plan_study
    from kilowit.record import Record
    from kilowit.report.compare import compare
    from kilowit.report.life_cycles import Drawing, draw_life_cycles, life_cycles
    from kilowit.report.recommend import recommend
    from kilowit.report.searches import searches
    from kilowit.report.write import write_report, write_serving_report
    from kilowit.run.coordinator import run_study
    from kilowit.serving import Bill, Summaries, Summarizer, export_model, export_pyfunc, load_summarizer, summarize
    from kilowit.store import Store
    from kilowit.study import Study

__version__ = "0.1.0"
__all__ = [
    "Bill",
    "Drawing",
    "Evaluation",
    "Meter",
    "MeterResult",
    "Record",
    "ServingFolder",
    "StartedEndpoint",
    "Store",
    "Study",
    "Summaries",
    "Summarizer",
    "compare",
    "describe_dataset",
    "draw_life_cycles",
    "evaluate",
    "export_model",
    "export_pyfunc",
    "export_records",
    "import_runs",
    "life_cycles",
    "load_dataset",
    "load_summarizer",
    "mirror_runs",
    "plan_study",
    "read_serving_folder",
    "recommend",
    "run_study",
    "searches",
    "start_endpoint",
    "summarize",
    "write_report",
    "write_serving_report",
]

_MODULES = {
    "Bill": "kilowit.serving",
    "Drawing": "kilowit.report.life_cycles",
    "Evaluation": "kilowit.evaluation",
    "Meter": "kilowit.meter",
    "MeterResult": "kilowit.meter",
    "Record": "kilowit.record",
    "StartedEndpoint": "kilowit.endpoint",
    "ServingFolder": "kilowit.endpoint.folder",
    "Store": "kilowit.store",
    "Study": "kilowit.study",
    "Summaries": "kilowit.serving",
    "Summarizer": "kilowit.serving",
    "compare": "kilowit.report.compare",
    "describe_dataset": "kilowit.dataset",
    "draw_life_cycles": "kilowit.report.life_cycles",
    "evaluate": "kilowit.evaluation",
    "export_model": "kilowit.serving",
    "export_pyfunc": "kilowit.serving",
    "export_records": "kilowit.exchange",
    "import_runs": "kilowit.exchange",
    "life_cycles": "kilowit.report.life_cycles",
    "load_dataset": "kilowit.dataset",
    "load_summarizer": "kilowit.serving",
    "mirror_runs": "kilowit.mirror",
    "plan_study": "kilowit.plan",
    "read_serving_folder": "kilowit.endpoint.folder",
    "recommend": "kilowit.report.recommend",
    "run_study": "kilowit.run.coordinator",
    "searches": "kilowit.report.searches",
    "start_endpoint": "kilowit.endpoint",
    "summarize": "kilowit.serving",
    "write_report": "kilowit.report.write",
    "write_serving_report": "kilowit.report.write",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'kilowit' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
