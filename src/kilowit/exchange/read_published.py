"""A table of figures that somebody published: one a line, with the run that it is of and the document it stands in.

Columns: ``figure value unit run``, and where they are known ``id`` (the document), ``where``, ``flaw_or_check`` (a
remark). Each run that is named becomes one record; a figure whose time is not written down is kept as stated. What
contradicts what is worked out from the values (`kilowit.exchange.published_checks`); remarks are carried over beside.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kilowit.exchange.foreign import ForeignRun, Reading, energies, read_rows
from kilowit.exchange.published_checks import contradictions_of
from kilowit.exchange.published_claim import Claim, claims_of
from kilowit.exchange.read_hugging_face import run_of_metrics
from kilowit.record import PhaseFigures

REQUIRED: Final = ("figure", "value", "unit", "run")
_DATE: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?: (\d{2}:\d{2}) UTC)?")
_DEVICES: Final = re.compile(r"\b(\d+) ([A-Z]{1,2}\d{1,3}S?)\b")
_METRIC: Final = re.compile(r"(train|eval|predict)_(\w+)|total_flops")


def is_published(path: Path, head: str) -> bool:
    """Whether the first line of a file has the columns."""
    return path.suffix == ".csv" and set(REQUIRED) <= set(head.partition("\n")[0].strip().split(","))


def read_published(path: Path, region: str | None = None) -> Reading:
    """Read one table.

    Raises:
        DataError: a column is missing.
    """
    claims = claims_of(read_rows(path, REQUIRED), str(path))
    by_run: dict[str, list[Claim]] = {}
    for claim in claims:
        if claim.run:
            by_run.setdefault(claim.run, []).append(claim)
    found = contradictions_of(claims, by_run, region)
    runs = tuple(_run(key, own).with_contradictions(*found.get(key, ())) for key, own in by_run.items())
    return Reading(runs, tuple(_remarks([claim for claim in claims if not claim.run])))


def _remarks(left: Sequence[Claim]) -> list[str]:
    """Say which figures belong to no run, and what the table says of them."""
    if not left:
        return []
    names = ", ".join(dict.fromkeys(claim.document or "no document" for claim in left))
    head = f"{len(left)} figures name no single run ({names}): no record is made of them, prices serve to judge costs"
    return [head, *(f"{claim.document}.{claim.figure}: {claim.note}" for claim in left if claim.note)]


def _run(key: str, claims: Sequence[Claim]) -> ForeignRun:
    place = f"run {key}"
    metrics = {_metric(claim.figure): claim.numbers[-1] for claim in claims if _is_metric(claim)}
    described = max((claim.run_text for claim in claims), key=len)
    start, start_source = _start(described)
    base = run_of_metrics(metrics, place=place, name=key)
    phases = _with_energy(base.phases, claims)
    stated = {name: value for claim in claims for name, value in claim.stated().items()}
    for claim in claims:
        if claim.figure == "CodeCarbon emissions":
            stated["co2e_kg"] = claim.si
    return ForeignRun(
        place=place,
        name=re.sub(r"[^\w.-]+", "-", key)[:40].strip("-"),
        started_at=start,
        started_at_source=start_source,
        phases=phases,
        scores=base.scores,
        environment=_environment(described),
        stated=stated,
        contradictions=base.contradictions,
    )


def _is_metric(claim: Claim) -> bool:
    return _METRIC.fullmatch(claim.figure) is not None and len(claim.numbers) == 1


def _metric(figure: str) -> str:
    return {"total_flops": "total_flos"}.get(figure, figure)


def _with_energy(phases: tuple[PhaseFigures, ...], claims: Sequence[Claim]) -> tuple[PhaseFigures, ...]:
    """Add the run's whole as one stretch where both its energy and its time are known."""
    minutes = [c.si for c in claims if c.is_minute]
    totals = [c.si for c in claims if c.quantity == "energy_gpu_joule" and not c.is_minute]
    gpu = sum(minutes) if minutes else max(totals, default=None)
    duration = next((c.si for c in claims if c.figure == "run duration"), None)
    metered = next((c.si for c in claims if c.figure == "CodeCarbon duration"), None)
    joule = next((c.si for c in claims if c.figure == "CodeCarbon energy"), None)
    utilization = {
        f"utilization_{device}_mean_fraction": c.si
        for device in ("gpu", "cpu")
        for c in claims
        if c.figure == f"average {device.upper()} utilisation"
    }
    rest: list[PhaseFigures] = []
    if duration is not None:
        second = duration - sum(phase.wall_second for phase in phases)
        facts: dict[str, Any] = {**energies("published:azure_monitor", gpu=gpu), **utilization}
        rest.append(PhaseFigures(phase="unsplit", wall_second=second, **facts))
    if joule is not None and metered is not None:
        named = {phase.phase: phase for phase in phases}
        facts = energies("published:codecarbon", total=joule)
        train = named.get("train")
        if train is None:
            rest.append(PhaseFigures(phase="unsplit", wall_second=metered, **facts))
        elif abs(metered / train.wall_second - 1) < 0.05:  # the stretch is the training, as far as set-up lets it be
            plain = {k: v for k, v in vars(train).items() if k not in facts}
            return tuple(PhaseFigures(**plain, **facts) if p is train else p for p in (*phases, *rest))
    return (*phases, *rest)


def _start(text: str) -> tuple[str | None, str]:
    match = _DATE.search(text)
    if match is None:
        return None, "none:not_in_file"
    date, clock = match.groups()
    about = "about " if text.startswith("about") else ""
    return (f"{date}T{clock}:00Z", f"file: {about}to the minute") if clock else (date, f"file: {about}to the day")


def _environment(text: str) -> dict[str, Any]:
    match = _DEVICES.search(text)
    gpus = {"gpus": [{"name": match[2]}] * int(match[1])} if match else {}
    return {"published": {"run": text}, **gpus}
