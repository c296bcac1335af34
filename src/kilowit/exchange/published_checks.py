"""What published figures contradict, worked out from their values; the remarks of the table are carried over beside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from kilowit import factors
from kilowit.exchange import checks
from kilowit.exchange.foreign import JOULE_PER_KWH
from kilowit.exchange.published_claim import Claim
from kilowit.exchange.read_azure_monitor import cut_total
from kilowit.imported import Contradiction

_ROWS: Final = re.compile(r"(\d+) rows, mean kWh per row")
_DURATIONS: Final = re.compile(r"durations (\d+(?:\.\d+)?)-(\d+(?:\.\d+)?) s")
_LABELS: Final = re.compile(r'printed "?"?(\w+)/(\w+)')
_GPU: Final = re.compile(r"\b([VAPTH]\d{1,3})\b")
_FAMILY: Final = ("train", "eval", "predict")
Found = dict[str, list[Contradiction]]


def contradictions_of(claims: Sequence[Claim], by_run: Mapping[str, Sequence[Claim]], region: str | None) -> Found:
    """Return the contradictions of each run.

    Args:
        claims: all lines.
        by_run: those that name a run.
        region: where the runs ran; None = unknown.
    """
    found: Found = {key: [] for key in by_run}
    _several_runs(claims, by_run, found)
    _energy_of_another_run(claims, found)
    _swapped_prices(claims, found)
    _spread(by_run, found)
    gpu = next((m[1] for claim in claims if (m := _GPU.search(claim.run_text))), None)
    for key, own in by_run.items():
        found[key] += [c for c in _within_run(own, region, gpu) if c is not None]
        found[key] += [_noted(claim) for claim in own if claim.note]
    return found


def _several_runs(claims: Sequence[Claim], by_run: Mapping[str, Sequence[Claim]], found: Found) -> None:
    """Find documents that print figures of several runs as if they were of one."""
    documents: dict[str, list[Claim]] = {}
    for claim in claims:
        if claim.document and claim.run and not claim.names_its_run:
            documents.setdefault(claim.document, []).append(claim)
    for document, own in documents.items():
        runs = Counter(claim.run for claim in own)
        if len(runs) < 2:
            continue
        main = runs.most_common(1)[0][0]
        for run in runs:
            if run == main:
                continue
            figures = [claim.figure for claim in own if claim.run == run]
            message = f'"{document}" prints {", ".join(figures)} of run {run} beside scores and times of run {main}'
            energy = _own_energy(by_run[main])
            if energy is not None and any(c.quantity == "energy_gpu_joule" for c in own if c.run == run):
                message += f"; that run's own GPU energy is {energy / 1000:.4g} kJ"
            found[run].append(Contradiction(kind="several_runs", message=message, figures=figures))
            found[main].append(Contradiction(kind="several_runs", message=message, figures=figures))


def _own_energy(claims: Sequence[Claim]) -> float | None:
    return next((c.si for c in claims if c.quantity == "energy_gpu_joule" and not c.is_minute), None)


def _energy_of_another_run(claims: Sequence[Claim], found: Found) -> None:
    """Compare how long CodeCarbon ran with the training that the same document prints."""
    for claim in claims:
        if claim.figure != "CodeCarbon duration":
            continue
        same = [c for c in claims if c.document == claim.document and c.figure == "train_runtime"]
        judged = (checks.same_stretch("CodeCarbon", claim.si, c.si, f"the training of {c.run}") for c in same)
        found[claim.run] += [c for c in judged if c is not None]


def _within_run(own: Sequence[Claim], region: str | None, gpu: str | None) -> list[Contradiction | None]:
    values = {claim.figure: claim.si for claim in own if claim.numbers}
    joule, co2e_kg = values.get("CodeCarbon energy"), values.get("CodeCarbon emissions")
    times = [values[name] for part in _FAMILY if (name := f"{part}_runtime") in values]
    stretch = None
    if len(times) > 1:
        stretch = checks.same_stretch(
            "CodeCarbon", values.get("CodeCarbon duration"), sum(times), "training, evaluation and prediction"
        )
    return [
        stretch,
        checks.grid_intensity(joule, co2e_kg, region),
        *_energies(own),
        *_two_values(own),
        *(_rank_rows(claim, gpu) for claim in own),
    ]


def _energies(own: Sequence[Claim]) -> list[Contradiction | None]:
    """Compare totals of GPU energy with the minutes of the same run."""
    minutes = [claim.si for claim in own if claim.is_minute]
    totals = [c for c in own if c.quantity == "energy_gpu_joule" and not c.is_minute]
    return [cut_total(minutes, claim.si, claim.figure) for claim in totals] if minutes else []


def _two_values(own: Sequence[Claim]) -> list[Contradiction]:
    by_quantity: dict[tuple[str, str], list[Claim]] = {}
    for claim in own:
        if len(claim.numbers) == 1 and not claim.is_minute:
            by_quantity.setdefault((claim.quantity, claim.unit), []).append(claim)
    found = []
    for same in by_quantity.values():
        low, high = min(same, key=lambda c: c.si), max(same, key=lambda c: c.si)
        if checks.differs(low.si, high.si, checks.SAME):
            message = f"{low.figure} is {low.value} {low.unit} in {low.document or low.where}, {high.figure} is "
            message += f"{high.value} {high.unit} in {high.document or high.where}, of the same run"
            found.append(Contradiction(kind="two_values", message=message, figures=[low.figure, high.figure]))
    return found


def _rank_rows(claim: Claim, gpu: str | None) -> Contradiction | None:
    """Find energies that every process booked for the whole node."""
    match = _ROWS.search(claim.figure)
    if match is None:
        return None
    num, joule = int(match[1]), claim.si
    message = (
        f"{claim.figure.partition(':')[0]}: {num} rows of {claim.value} kWh, one a process; each counts the machine"
    )
    durations, limit = _DURATIONS.search(claim.note), _rated_watt(gpu)
    if durations is not None:
        low, high = joule / float(durations[2]), joule / float(durations[1])
        if limit is not None and low > limit:
            message += f", as {low:.0f} to {high:.0f} W is more than one {gpu} can draw ({limit:.0f} W rated)"
        message += f"; the sum would need {num * low:.0f} W or more"
    message += f". {num * joule / JOULE_PER_KWH:.6g} kWh must not be booked"
    return Contradiction(kind="rank_rows", message=message, figures=[claim.figure])


def _rated_watt(gpu: str | None) -> float | None:
    """Return the rated power of the strongest form of a GPU: the table does not say which one it was."""
    names = (name for name in factors.devices() if gpu is not None and name.split()[0] == gpu)
    return max((device.tdp_watt for name in names if (device := factors.device(name)) is not None), default=None)


def _swapped_prices(claims: Sequence[Claim], found: Found) -> None:
    """Set two costs of a run beside the prices of the table; labels come from the remark that quotes them."""
    machines = [c for c in claims if c.unit == "USD/h" and len(c.numbers) == 2]
    for claim in claims:
        if claim.unit != "USD" or len(claim.numbers) != 2 or not claim.run:
            continue
        second = next((c.si for c in claims if c.run == claim.run and c.figure == "run duration"), None)
        labels = _LABELS.search(claim.note)
        if second is None or labels is None:
            continue
        is_discount_first = "low" in labels[1].lower() or "spot" in labels[1].lower()
        discounted, full = claim.numbers if is_discount_first else reversed(claim.numbers)
        swapped = checks.prices(full, discounted, claim.figure)
        if swapped is not None:
            found[claim.run].append(
                Contradiction(
                    kind="swapped_prices",
                    message=f"{swapped.message}{_right_price(machines, second, discounted, full)}",
                    figures=[claim.figure],
                )
            )


def _right_price(machines: Sequence[Claim], second: float, discounted: float, full: float) -> str:
    for machine in machines:
        dear, cheap = (checks.cost_of(second, usd) for usd in machine.numbers)
        if not checks.differs(dear, discounted, checks.SAME) and not checks.differs(cheap, full, checks.SAME):
            return f"; {second:.0f} s of {machine.figure.split()[0]} cost {dear:.2f} in full and {cheap:.2f} discounted"
    return ""


def _spread(by_run: Mapping[str, Sequence[Claim]], found: Found) -> None:
    """Find runs that did the same amount of training in times too different to claim a speed from one."""
    amounts: dict[int, list[tuple[str, float]]] = {}
    for key, own in by_run.items():
        values = {claim.figure: claim.si for claim in own if claim.numbers}
        rate, second = values.get("train_samples_per_second"), values.get("train_runtime")
        if rate is not None and second is not None:
            amounts.setdefault(round(rate * second / 100), []).append((key, second))  # rates have six digits
    for hundreds, runs in amounts.items():
        seconds = [second for _, second in runs]
        if max(seconds) > checks.POWER_TIME * min(seconds):
            message = (
                f"{len(runs)} runs trained on about {100 * hundreds:,} examples in {min(seconds):.0f} to "
                f"{max(seconds):.0f} s, a factor of {max(seconds) / min(seconds):.2f}: one run proves no speed"
            )
            for key, _ in runs:
                found[key].append(Contradiction(kind="spread", message=message, figures=["train_runtime"]))


def _noted(claim: Claim) -> Contradiction:
    message = f"{claim.document}.{claim.figure}: {claim.note}" if claim.document else f"{claim.figure}: {claim.note}"
    return Contradiction(kind="noted", message=message, figures=[claim.figure])
