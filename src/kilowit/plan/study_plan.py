"""From a study and a store to a plan: each cell by the best basis there is, the sum, and the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from kilowit import factors
from kilowit.cell import Cell
from kilowit.errors import PlanError
from kilowit.factors.derive import derive_figures
from kilowit.parts.method import require_machine
from kilowit.plan.analytic import phase_joules, phase_seconds
from kilowit.plan.estimate import CellPlan, Estimate, Fit, Limit, Plan, total_of
from kilowit.plan.hardware import Hardware, hardware
from kilowit.plan.interval import Interval, add_up
from kilowit.plan.life_cycle import Efforts
from kilowit.plan.maintenance import life_cycles, planned_efforts
from kilowit.plan.memory import USABLE_FRACTION, disk_byte, gpu_memory_byte, host_memory_byte
from kilowit.plan.prices import Prices
from kilowit.plan.probe import ProbeResult, probe
from kilowit.plan.records import Measured, from_records, on_hardware, train_rate
from kilowit.plan.scoring import unplanned_scoring
from kilowit.plan.search_plan import plan_of_search
from kilowit.plan.serving import lack_of_runtimes, serve_seconds, with_runtimes
from kilowit.plan.workload import Workload, workload
from kilowit.record import Record
from kilowit.settings import MaintenanceSettings
from kilowit.store import Store
from kilowit.study import Study

_GIB: Final = 2**30
_SECOND_PER_HOUR: Final = 3600


def plan_study(
    study: Study,
    store: Store,
    *,
    machine: str | None = None,
    gpu: str | None = None,
    probe: bool = False,
    check_budget: bool = True,
) -> Plan:
    """Say what a study will take, cell by cell, before anything is spent.

    Args:
        study: what is asked.
        store: earlier runs: what is done, what was spent, what this machine can do.
        machine: a VM size to plan for instead of this machine; its price is used too.
        gpu: a GPU to plan for that need not be here.
        probe: run a few steps of each kind of cell that no earlier run foretells. Only for this machine.
        check_budget: whether to refuse; without, read `Plan.over_budget` or call `Plan.require_affordable`.

    Raises:
        PlanError: an unknown machine or GPU, a probe of a machine that is not here, or the budget would be passed.
        PartError: an unknown region, or a local dataset that cannot be read.
    """
    target = hardware(machine, gpu)
    if probe and not target.is_here:
        raise PlanError("a probe runs on this machine", hint="Leave out --machine and --gpu, or --probe.")
    records = [record for record in store.records() if record.imported is None]  # others' meters foretell nothing here
    prices = Prices.of(study.factors, _billed(study.factors.machine, machine, gpu))
    planner = _Planner(study, target, prices, on_hardware(records, target), probe)
    done = {r.cell_key: r for r in records if r.status == "finished"}
    cells = tuple(planner.cell(cell, done.get(cell.key)) for cell in study.cells)
    if study.search is not None:
        cells = tuple(
            planned if cell.is_baseline else plan_of_search(planned, cell, study.search, records)
            for planned, cell in zip(cells, study.cells, strict=True)
        )
    left = [cell.estimate for cell in cells if not cell.done and cell.fits != "no"]
    total = planner.without_last_cooldown(total_of(left), len(left))
    years = life_cycles(study, planner.records, planner.efforts, prices)
    plan = Plan(
        study_name=study.name,
        hardware=target.name,
        cells=cells,
        total=total,
        num_done=sum(cell.done for cell in cells),
        limits=_limits(study, total, records),
        factor_ids=planner.prices.ids,
        notes=tuple(planner.notes()),
        life_cycles=years,
    )
    if check_budget:
        plan.require_affordable()
    return plan


def foretell(study: Study, store: Store) -> Callable[[Cell], Estimate | None]:
    """Return what says of any cell of a study, trials of its search included, what it will take on this machine.

    The machine and the store are looked at when it is first asked.
    """

    @cache
    def planner() -> _Planner:
        target = hardware(None, None)
        records = [record for record in store.records() if record.imported is None]
        return _Planner(
            study, target, Prices.of(study.factors, study.factors.machine), on_hardware(records, target), False
        )

    def of(cell: Cell) -> Estimate | None:
        if cell.search is not None:  # the model that a trial goes on from has its template's size, and may be removed
            cell = dataclasses.replace(cell, model=cell.search["template"]["model"])
        return planner().cell(cell, None).estimate

    return of


def _billed(chosen: str | None, machine: str | None, gpu: str | None) -> str | None:
    """Return the machine whose hour is paid: the planned one, else the study's, unless it has another GPU."""
    if machine is not None or gpu is None:
        return machine or chosen
    own = factors.machine(chosen)
    return chosen if own is not None and factors.device(own.gpu) == factors.device(gpu) else None


@dataclass
class _Planner:
    """Plans the cells of one study for one machine; probes each kind of cell once."""

    study: Study
    hardware: Hardware
    prices: Prices
    records: list[Record]
    may_probe: bool
    _probes: dict[str, ProbeResult] = field(default_factory=dict)
    _planned: dict[str, CellPlan] = field(default_factory=dict)

    def cell(self, cell: Cell, done: Record | None) -> CellPlan:
        """Plan one cell, or say what it took if it is done."""
        if done is not None:
            return CellPlan(cell_label=cell.label, cell_key=cell.key, done=True, estimate=self._of_record(done))
        kind = dataclasses.replace(cell, seed=0).key
        if kind not in self._planned:  # nothing that is foretold depends on the seed
            self._planned[kind] = self._plan(cell)
        return dataclasses.replace(self._planned[kind], cell_label=cell.label, cell_key=cell.key)

    def _plan(self, cell: Cell) -> CellPlan:
        work = workload(cell)
        notes = list(work.notes)
        found, basis = self._measured(cell, work, notes)
        if basis != "records":
            notes += unplanned_scoring(cell.metric_calls)
        estimate = self._of_runs(work, found, basis) if found else self._of_formula(work)
        fits, reasons = self._fit(work, estimate, cell)
        notes += [*reasons, *(["early stopping may end it sooner"] if _stops_early(cell) else [])]
        return CellPlan(
            cell_label=cell.label, cell_key=cell.key, done=False, estimate=estimate, fits=fits, notes=tuple(notes)
        )

    def efforts(self, cell: Cell, maintenance: MaintenanceSettings) -> Efforts | None:
        """Foretell what the parts of a cell's working life take on the planned hardware; None = nobody can say."""
        estimate = self.cell(cell, None).estimate
        return planned_efforts(workload(cell), estimate, self.hardware, maintenance)

    def without_last_cooldown(self, total: Estimate, num_cells: int) -> Estimate:
        """Take one cool-down off the sum: there is one between two cells, none after the last."""
        cooldown = self.study.measure.cooldown_second
        if num_cells == 0 or total.time_second is None:
            return total
        t = total.time_second
        time = Interval(t.low - cooldown, t.likely - cooldown, t.high - cooldown)
        return dataclasses.replace(total, time_second=time)

    def notes(self) -> list[str]:
        """What a reader has to know of the plan as a whole."""
        name, region = self.prices.machine_name, self.prices.region
        found = []
        if name is not None and self.prices.on_demand is None:
            known = factors.price_regions(name)
            where = f"known in {', '.join(known)}" if known else "known in no region"
            found.append(f"no price of {name} in {region or 'an unknown region'}; {where}")
        if name is None:
            found.append("no cost: no machine with a price is named; set factors.machine and region, or --machine")
        billed = factors.machine(name)
        if billed is not None and self.hardware.is_here and factors.device(billed.gpu) != self.hardware.gpu:
            found.append(f"priced as {billed.name}, which this machine is not; --machine plans for it")
        if region is None:
            found.append("region unknown: CO2e spans all countries; set factors.region")
        return found

    def _measured(self, cell: Cell, work: Workload, notes: list[str]) -> tuple[Measured | None, str]:
        found = from_records(cell, work, self.records)
        if found is not None:
            notes.append(f"from {found.num_runs} earlier run{'s' if found.num_runs > 1 else ''} on this hardware")
            return found, "records"
        if not self.may_probe:
            return None, "analytic"
        kind = dataclasses.replace(cell, seed=0).key
        if kind not in self._probes:
            self._probes[kind] = probe(cell, work, self.hardware)
        result = self._probes[kind]
        if result.measured is None:
            notes.append(result.message)
        return result.measured, "probe"

    def _of_formula(self, work: Workload) -> Estimate:
        rate = train_rate(work, self.records)
        phases = phase_seconds(work, self.hardware, rate)
        phases = None if phases is None else with_runtimes(phases, work, self.hardware)
        basis = "analytic" if rate is None else "records"
        if phases is None:
            return self._estimate(work, basis, {}, None, {}, is_known=False)
        joules = phase_joules(phases, self.hardware, work.num_ranks)
        return self._estimate(work, basis, phases, add_up(joules.values()), joules)

    def _of_runs(self, work: Workload, found: Measured, basis: str) -> Estimate:
        phases, energy, joules = found.phase_second, found.energy_joule, found.phase_joule
        rate = self.hardware.flop_per_second(work.precision)
        if "serve" not in phases and rate is not None:  # those runs served nothing, or otherwise
            serving = serve_seconds(work, self.hardware, rate)
            phases = {**phases, **serving}
            served = phase_joules(serving, self.hardware)
            joules = {**joules, **served}
            energy = None if energy is None else energy + add_up(served.values())
        estimate = self._estimate(work, basis, phases, energy, joules)
        known = ["memory_host_byte", "disk_byte"]
        if work.num_ranks == 1:  # a record has the sum over GPUs, a plan what the fullest one holds
            known.append("memory_gpu_byte")
        seen = {name: value for name in known if (value := getattr(found, name)) is not None}
        return dataclasses.replace(estimate, **seen)

    def _of_record(self, record: Record) -> Estimate:
        energies = [p.energy_total_joule for p in record.phases if p.energy_total_joule is not None]
        time = Interval.exactly(sum(p.wall_second for p in record.phases))
        energy = Interval.exactly(sum(energies)) if energies else None

        def peak(name: str) -> Interval | None:
            known = [value for p in record.phases if (value := getattr(p, name)) is not None]
            return Interval.exactly(float(max(known))) if known else None

        kept = [p.disk_kept_byte for p in record.phases if p.disk_kept_byte is not None]
        return self._priced(
            "record", time, energy, peak("memory_gpu_max_byte"), peak("memory_host_max_byte"),
            Interval.exactly(float(sum(kept))) if kept else None,
            {p.phase: Interval.exactly(p.wall_second) for p in record.phases},
            {p.phase: Interval.exactly(joule) for p in record.phases if (joule := p.energy_total_joule) is not None},
        )  # fmt: skip

    def _estimate(
        self,
        work: Workload,
        basis: str,
        phases: Mapping[str, Interval],
        energy: Interval | None,
        joules: Mapping[str, Interval],
        *,
        is_known: bool = True,
    ) -> Estimate:
        time = add_up(phases.values()) + self.study.measure.cooldown_second if is_known else None
        memory = gpu_memory_byte(work, self.hardware), host_memory_byte(work, self.hardware)
        disk = disk_byte(work, time or Interval.exactly(0.0))
        return self._priced(basis, time, energy, *memory, disk, phases, joules)

    def _priced(
        self,
        basis: str,
        time: Interval | None,
        energy: Interval | None,
        gpu_byte: Interval | None,
        host_byte: Interval | None,
        disk: Interval | None,
        phases: Mapping[str, Interval],
        joules: Mapping[str, Interval],
    ) -> Estimate:
        return Estimate(
            basis=basis,
            time_second=time,
            energy_total_joule=energy,
            co2e_kg=self.prices.co2e_kg(energy, time),
            cost_usd=self.prices.cost_usd(self.prices.on_demand, time),
            cost_usd_spot=self.prices.cost_usd(self.prices.spot, time),
            memory_gpu_byte=gpu_byte,
            memory_host_byte=host_byte,
            disk_byte=disk,
            phase_second=dict(phases),
            phase_joule=dict(joules),
        )

    def _fit(self, work: Workload, estimate: Estimate, cell: Cell) -> tuple[Fit, list[str]]:
        """Say whether a cell can run on the hardware, and why not."""
        device = self.hardware.gpu
        if not work.is_baseline and self.hardware.flop_per_second(work.precision) is None:
            what = f"{device.name} ({device.architecture})" if device else "a CPU"
            return "no", [f"{what} cannot train in {work.precision}; {_other(work)}"]
        if lack := _lack(work, cell, self.hardware):
            return "no", [lack]
        failed = self._probes.get(dataclasses.replace(cell, seed=0).key)
        if failed is not None and failed.error_kind in ("out_of_memory_gpu", "out_of_memory_host"):
            return "no", ["does not fit: the probe ran out of memory"]
        fits: Fit = "yes"
        reasons = []
        sizes = [(estimate.memory_host_byte, self.hardware.memory_host_byte, "host memory")]
        if device is not None:
            sizes.insert(0, (estimate.memory_gpu_byte, float(device.memory_byte), "GPU memory"))
        for needed, size, what in sizes:
            if needed is None or needed.likely <= size * USABLE_FRACTION:
                continue
            if needed.low > size * USABLE_FRACTION:
                return "no", [f"does not fit (needs > {size / _GIB:.0f} GiB of {what})"]
            fits = "unsure"
            reasons.append(f"may not fit (likely {needed.likely / _GIB:.1f} of {size / _GIB:.0f} GiB of {what})")
        return fits, reasons


def _limits(study: Study, total: Estimate, records: list[Record]) -> tuple[Limit, ...]:
    """Set each limit of the budget beside what the study has spent, failed runs included, and what is left to do."""
    own = [record for record in records if record.study_name == study.name]
    wall_second = sum(phase.wall_second for record in own for phase in record.phases)
    energies = [p.energy_total_joule for record in own for p in record.phases if p.energy_total_joule is not None]
    chosen = study.factors
    spent = derive_figures(
        wall_second,
        (sum(energies), None, None),
        region=chosen.region,
        machine_name=chosen.machine,
        pue_override=chosen.pue,
    )
    energy, time = total.energy_total_joule, total.time_second
    planned: dict[str, tuple[float, Interval | None]] = {
        "cost_usd": (spent.cost_usd_on_demand or 0.0, total.cost_usd),
        "energy_kwh": (spent.energy_kwh or 0.0, None if energy is None else energy * (1 / factors.JOULE_PER_KWH)),
        "co2e_kg": ((spent.co2e_operational_kg or 0.0) + (spent.co2e_embodied_kg or 0.0), total.co2e_kg),
        "wall_hour": (wall_second / _SECOND_PER_HOUR, None if time is None else time * (1 / _SECOND_PER_HOUR)),
    }
    asked = study.budget.model_dump()
    return tuple(
        Limit(name=name, limit=asked[name], spent=used, planned=ahead)
        for name, (used, ahead) in planned.items()
        if asked[name] is not None
    )


def _lack(work: Workload, cell: Cell, hardware: Hardware) -> str | None:
    """Say what the hardware lacks for the methods of a cell, or None."""
    if hardware.gpu is not None and work.num_ranks > hardware.num_gpus:
        return f"{work.num_ranks} processes need as many GPUs, there are {hardware.num_gpus}"
    if hardware.is_here:
        try:
            require_machine(cell.methods)
        except PlanError as error:
            return f"{error.message}. {error.hint}"
    return None if work.is_baseline else lack_of_runtimes(work, hardware)


def _stops_early(cell: Cell) -> bool:
    return any(call.name == "early_stopping" for call in cell.methods)


def _other(work: Workload) -> str:
    return "take fp16 or plain fp32" if work.precision == "bf16" else "take bf16 or plain fp32"
