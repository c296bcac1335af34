"""What a study asks of runtimes, checked against what they take: a pair that does not go together is found now."""

from __future__ import annotations

from collections.abc import Iterable

from kilowit.cell import Cell, model_name
from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.method import plan_settings
from kilowit.parts.runtime_support import check_runtime
from kilowit.settings import MaintenanceSettings, RuntimeSettings, ServeSettings, Settings
from kilowit.study_parts import Reading
from kilowit.study_yaml import DocumentPath


def check_runtimes(reading: Reading, cells: Iterable[Cell]) -> None:
    """Note a problem for every runtime that cannot run a cell's model as far as this machine can tell."""
    met: set[tuple[str, str]] = set()
    for cell in cells:
        name = model_name(cell.model)
        if not cell.settings.runtimes or (name, cell.recipe) in met:
            continue
        met.add((name, cell.recipe))
        if cell.is_baseline:
            reading.note(f"{name} is training-free: no runtime serves it")
            continue
        size = catalogue.resolve_dimensions(cell.model)
        family = None if size is None else size.family.name
        settings = plan_settings(cell.settings, cell.methods, family)
        for path, chosen in _named(settings):
            try:
                _check(chosen, cell, family)
            except PartError as error:
                way_out = f" Or exclude {{model: {name}}}." if family is not None and family in error.message else ""
                reading.fault(path, f"{error.message}. {error.hint}{way_out}")


def check_maintenance(reading: Reading, asked: MaintenanceSettings | None, served: ServeSettings | None) -> None:
    """Note a problem where a working life is to be priced by a runtime or a scenario that is not served."""
    if asked is None:
        return
    if served is None:
        if asked.runtime is not None:
            hint = f"Add serve: {{runtimes: [{asked.runtime.name}]}}, or leave the runtime out."
            reading.fault(("maintenance", "runtime"), f"nothing is served, so no runtime has figures. {hint}")
        return
    if asked.runtime is not None and asked.runtime not in served.runtimes:
        known = ", ".join(chosen.label for chosen in served.runtimes)
        message = f'"{asked.runtime.label}" is not among serve.runtimes ({known}). Take one of them, as it is there.'
        reading.fault(("maintenance", "runtime"), message)
    if asked.scenario not in served.scenarios:
        message = f'"{asked.scenario}" is not among serve.scenarios. Add it there, or take one of them.'
        at_key = "scenario" in (reading.document.value.get("maintenance") or {})
        reading.fault(("maintenance", "scenario") if at_key else ("maintenance",), message)


def _named(settings: Settings) -> list[tuple[DocumentPath, RuntimeSettings]]:
    """Return every runtime with its place in the study."""
    predicting = settings.predict.runtime
    named: list[tuple[DocumentPath, RuntimeSettings]] = []
    if predicting is not None:
        named.append((("predict", "runtime"), predicting))
    serving = [] if settings.serve is None else settings.serve.runtimes
    return named + [(("serve", "runtimes", i), chosen) for i, chosen in enumerate(serving)]


def _check(chosen: RuntimeSettings, cell: Cell, family: str | None) -> None:
    check_runtime(chosen.name, family=family, precision=chosen.precision)
    for call in cell.methods:
        if hasattr(call.module, "num_members") and call.module.num_members(call.parsed_options) > 1:
            raise PartError(
                f'recipe "{cell.recipe}" answers by several models, and a runtime takes one',
                hint=f"Leave out the runtimes, or exclude {{recipe: {cell.recipe}}}.",
            )
