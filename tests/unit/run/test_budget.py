"""The budget: what is spent, what is expected, and which limit a cell would pass."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest

from kilowit.cell import Cell
from kilowit.errors import StudyError
from kilowit.factors import JOULE_PER_KWH
from kilowit.plan import Estimate, Interval
from kilowit.record import PhaseFigures, Record
from kilowit.run.budget import check_budget, expected, refusal, spending_of
from kilowit.study import Study

STUDY = "{name: green, models: [{scratch: bart-tiny}, lead], datasets: [docstrings], seeds: [0, 1], %s}"


def study(budget: str = "budget: {energy_kwh: 1}", factors: str = "factors: {}") -> Study:
    return Study.parse(STUDY % f"{budget}, {factors}")


def record(cell: Cell, *, kwh: float, hour: float = 1.0, status: str = "finished", name: str = "green") -> Record:
    phases = [
        PhaseFigures(phase="idle", wall_second=0.0, energy_total_joule=0.0),
        PhaseFigures(phase="train", wall_second=hour * 3600, energy_total_joule=kwh * JOULE_PER_KWH),
    ]
    return Record(
        run_id="20261123T101530Z_x_0000", cell_key=cell.key, study_name=name, attempt=1, status=status,
        started_at_utc="", ended_at_utc="", cell=cell.to_dict(), environment={}, phases=phases,
    )  # type: ignore[arg-type]  # fmt: skip


def estimate(kwh: float) -> Estimate:
    return Estimate(
        basis="analytic", time_second=Interval.exactly(60.0),
        energy_total_joule=Interval.exactly(kwh * JOULE_PER_KWH), co2e_kg=None, cost_usd=None, cost_usd_spot=None,
        memory_gpu_byte=None, memory_host_byte=None, disk_byte=None,
    )  # fmt: skip


def test_without_a_budget_nothing_is_refused() -> None:
    unlimited = study(budget="budget: {}")
    assert refusal(unlimited, unlimited.cells[0], [record(unlimited.cells[0], kwh=99)], None) is None


def test_the_next_cell_is_expected_to_take_the_mean_of_its_other_seeds() -> None:
    green = study()
    seed_0, seed_1, lead = green.cells
    assert refusal(green, seed_1, [record(seed_0, kwh=0.4)], None) is None  # 0.4 + 0.4 <= 1
    reason = refusal(green, seed_1, [record(seed_0, kwh=0.6)], None)  # 0.6 + 0.6 > 1
    assert reason == "budget: 0.6 spent + 0.6 expected (up to 0.69) would pass energy_kwh 1"
    assert refusal(green, lead, [record(seed_0, kwh=0.6)], lambda cell: estimate(0.1)) is None  # it still fits


def test_failed_runs_are_spent_and_runs_of_other_studies_are_not() -> None:
    green = study()
    cell = green.cells[0]
    failed, others = record(cell, kwh=1.1, status="failed"), record(cell, kwh=9.0, name="other", status="failed")
    assert refusal(green, cell, [failed], None) is not None
    assert refusal(green, cell, [others], None) is None


def test_a_cell_that_was_never_run_is_expected_to_take_what_the_plan_says() -> None:
    green = study()
    cell = green.cells[0]
    assert refusal(green, cell, [], lambda cell: estimate(0.9)) is None
    assert refusal(green, cell, [], lambda cell: estimate(1.1)) is not None
    assert refusal(green, cell, [], lambda cell: None) is None


def test_hours_and_kilograms_are_limits_too() -> None:
    late = study(budget="budget: {wall_hour: 2}")
    assert "wall_hour" in (refusal(late, late.cells[1], [record(late.cells[0], kwh=0, hour=1.5)], None) or "")
    dirty = study(budget="budget: {co2e_kg: 0.1}", factors="factors: {region: country/FR}")
    assert "co2e_kg" in (refusal(dirty, dirty.cells[1], [record(dirty.cells[0], kwh=100)], None) or "")


def test_a_run_whose_energy_nobody_read_stops_an_energy_budget() -> None:
    green = study()
    unread = Record(
        run_id="r", cell_key="k", study_name="green", attempt=1, status="finished", started_at_utc="",
        ended_at_utc="", cell={}, environment={}, phases=[PhaseFigures(phase="train", wall_second=1.0)],
    )  # fmt: skip
    assert "not known" in (refusal(green, green.cells[0], [unread], None) or "")


def test_dollars_follow_from_wall_time_and_machine() -> None:
    priced = study(
        budget="budget: {cost_usd: 5}", factors="factors: {region: azure/westus2, machine: Standard_NC24ads_A100_v4}"
    )
    check_budget(priced)
    cost_usd = spending_of(record(priced.cells[0], kwh=1, hour=2.0), priced.factors).cost_usd
    assert cost_usd == pytest.approx(2 * 3.673)  # Azure retail price, pay as you go, USD an hour
    assert "cost_usd" in (refusal(priced, priced.cells[1], [record(priced.cells[0], kwh=1)], None) or "")


def test_a_limit_in_dollars_without_a_price_is_an_error() -> None:
    with pytest.raises(StudyError, match=r"budget\.cost_usd cannot be kept"):
        check_budget(study(budget="budget: {cost_usd: 5}"))


NUM_STUDIES = 200
FOUR_KINDS = """
{name: green, models: [{scratch: bart-tiny}], datasets: [docstrings], seeds: [0, 1, 2], budget: {energy_kwh: %s},
 recipes: {a: [], b: [bf16], c: [{freeze: {modules: [embeddings]}}], d: [sortish]}}
"""


@dataclass
class SimulatedStudy:
    """A study whose cells take what they truly take, with noise, and a plan that is off by a common factor."""

    generator: random.Random
    truth: dict[str, float] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    width: float = 0.0  # the widest interval of a cell that was started, above what was likely

    def __post_init__(self) -> None:
        self.off = math.exp(self.generator.uniform(-1.0, 1.0))  # the plan's own interval reaches to a third and thrice
        self.truth = {recipe: math.exp(self.generator.gauss(0.0, 0.7)) for recipe in "abcd"}
        self.limit = self.generator.uniform(0.2, 1.2) * 3 * sum(self.truth.values())
        self.study = Study.parse(FOUR_KINDS % self.limit)

    def forecast(self, cell: Cell) -> Estimate:
        return estimate(self.truth[cell.recipe] / self.off)

    def run(self) -> float:
        cells = list(self.study.cells)
        self.generator.shuffle(cells)
        for cell in cells:
            if (reason := refusal(self.study, cell, self.records, self.forecast)) is not None:
                self.refused.append(reason)
                continue
            ahead = expected(cell, self.records, self.forecast)
            assert ahead is not None and ahead.likely.energy_joule is not None and ahead.most.energy_joule is not None
            reach = ahead.most.energy_joule - ahead.likely.energy_joule
            unknown = 2 * ahead.likely.energy_joule if not self.records else 0.0  # thrice, less what is likely
            self.width = max(self.width, max(reach, unknown) / JOULE_PER_KWH)
            taken = self.truth[cell.recipe] * math.exp(self.generator.gauss(0.0, 0.05))
            self.records.append(record(cell, kwh=taken))
        return sum(spending_of(r, cells[0].factors).energy_joule or 0.0 for r in self.records) / JOULE_PER_KWH


def test_the_forecast_stops_simulated_studies_before_their_budget() -> None:
    num_over, shares = 0, []
    for seed in range(NUM_STUDIES):
        simulated = SimulatedStudy(random.Random(seed))
        spent = simulated.run()
        assert spent <= simulated.limit + simulated.width  # never over by more than one cell's interval
        num_over += spent > simulated.limit
        if simulated.refused:
            shares.append(spent / simulated.limit)
    assert num_over <= 0.05 * NUM_STUDIES
    assert sum(shares) / len(shares) > 0.7  # it is not kept by spending little
