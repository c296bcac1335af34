"""A working life adds up, grows with its load in a straight line, and costs nothing where nothing is done."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit.plan.interval import Interval
from kilowit.plan.life_cycle import PARTS, Effort, Efforts, LifeCycle, life_cycle, num_within
from kilowit.plan.prices import Prices
from kilowit.settings import FactorSettings, MaintenanceSettings

PRICES = Prices.of(FactorSettings(region="azure/westus2"), "Standard_NC24ads_A100_v4")
KWH = 3.6e6

few = settings(max_examples=40, deadline=None)
positive = st.floats(1e-3, 1e5)
intervals = st.tuples(positive, positive, positive).map(lambda ends: Interval(*sorted(ends)))
efforts = st.builds(Effort, second=intervals, joule=intervals)
lives = st.builds(
    Efforts, basis=st.just("planned"), served_by=st.just("torch"), training=st.none() | efforts, check_start=efforts,
    check_document=efforts, summary=efforts, idle_watt=intervals,
)  # fmt: skip
upkeep = st.builds(
    MaintenanceSettings, horizon_day=st.floats(1, 2000), summaries_per_day=st.floats(0, 1e6),
    endpoint_hour_per_day=st.just(0.0) | st.floats(0.1, 24), max_utilization_fraction=st.floats(0.1, 1),
    retrain_every_day=st.none() | st.floats(1, 400), drift_check_every_day=st.none() | st.floats(1, 400),
    drift_check_documents=st.integers(1, 5000), drift_retrain_fraction=st.floats(0, 1),
)  # fmt: skip


def exact(second: float, joule: float) -> Effort:
    return Effort(Interval.exactly(second), Interval.exactly(joule))


def simple(**changes: object) -> Efforts:
    """Training 1,000 s and 50 kJ; a check 10 s + 1 s a document at 20 W; a summary 2 s and 60 J; idle 10 W."""
    given: dict[str, object] = {
        "basis": "planned", "served_by": "torch", "training": exact(1000, 50_000), "check_start": exact(10, 200),
        "check_document": exact(1, 20), "summary": exact(2, 60), "idle_watt": Interval.exactly(10.0),
    } | changes  # fmt: skip
    return Efforts(**given)  # type: ignore[arg-type]


def life(efforts: Efforts | None = None, **settings: object) -> LifeCycle:
    return life_cycle("a", efforts or simple(), MaintenanceSettings.model_validate(settings), PRICES)


def joules(cycle: LifeCycle, name: str) -> float:
    energy = cycle.part(name).energy_total_joule
    assert energy is not None
    return energy.likely


@few
@given(lives, upkeep)
def test_the_parts_add_up_to_the_total_at_both_ends(efforts: Efforts, maintenance: MaintenanceSettings) -> None:
    cycle = life_cycle("a", efforts, maintenance, PRICES)
    for figure in ("time_second", "energy_total_joule", "co2e_kg", "cost_usd"):
        total = getattr(cycle.total, figure)
        for end in ("low", "likely", "high"):
            parts = [getattr(getattr(part, figure), end) for part in cycle.parts]
            assert getattr(total, end) == pytest.approx(sum(parts))


@few
@given(lives, upkeep, st.floats(1.5, 100))
def test_serving_grows_in_a_straight_line_with_the_load(
    efforts: Efforts, maintenance: MaintenanceSettings, times: float
) -> None:
    more = maintenance.model_copy(update={"summaries_per_day": maintenance.summaries_per_day * times})
    one, many = (life_cycle("a", efforts, m, PRICES).part("serve") for m in (maintenance, more))
    assert one.energy_total_joule is not None
    assert many.energy_total_joule is not None
    assert many.energy_total_joule.likely == pytest.approx(one.energy_total_joule.likely * times)
    assert many.time_second.high == pytest.approx(one.time_second.high * times)


@few
@given(lives, upkeep)
def test_without_load_and_endpoint_only_training_and_checks_are_left(
    efforts: Efforts, maintenance: MaintenanceSettings
) -> None:
    unused = maintenance.model_copy(update={"summaries_per_day": 0.0, "endpoint_hour_per_day": 0.0})
    cycle = life_cycle("a", efforts, unused, PRICES)
    assert joules(cycle, "serve") == joules(cycle, "idle") == 0
    assert cycle.num_machines == Interval.exactly(0.0)


@few
@given(lives, upkeep)
def test_training_does_not_depend_on_the_load(efforts: Efforts, maintenance: MaintenanceSettings) -> None:
    unused = maintenance.model_copy(update={"summaries_per_day": 0.0})
    one, other = (life_cycle("a", efforts, m, PRICES) for m in (maintenance, unused))
    for name in ("train", "retrain", "drift check"):
        assert one.part(name) == other.part(name)


@few
@given(lives, upkeep)
def test_every_machine_is_up_for_its_hours_whether_it_works_or_waits(
    efforts: Efforts, maintenance: MaintenanceSettings
) -> None:
    """Busy and idle time together are machines x hours x days: at the likely end, where both are of one case."""
    kept_up = maintenance.model_copy(update={"endpoint_hour_per_day": 12.0})
    cycle = life_cycle("a", efforts, kept_up, PRICES)
    up_second = cycle.part("serve").time_second.likely + cycle.part("idle").time_second.likely
    assert up_second == pytest.approx(cycle.num_machines.likely * 12 * 3600 * kept_up.horizon_day)


@few
@given(lives, upkeep, st.floats(0.1, 1), st.floats(0.1, 1))
def test_more_drift_never_means_less_retraining(
    efforts: Efforts, maintenance: MaintenanceSettings, a: float, b: float
) -> None:
    less, more = (
        life_cycle("a", efforts, maintenance.model_copy(update={"drift_retrain_fraction": p}), PRICES).part("retrain")
        for p in sorted((a, b))
    )
    assert less.num is not None
    assert more.num is not None
    assert less.num.likely <= more.num.likely
    assert less.num.low <= more.num.low


def test_a_year_in_arithmetic() -> None:
    """365 days: trained on day 0, 90, 180, 270, 360; 52 checks; 365,000 summaries of 2 s and 60 J; one machine."""
    cycle = life(simple(), summaries_per_day=1000.0, drift_check_documents=100)
    assert joules(cycle, "train") == 50_000
    assert joules(cycle, "retrain") == 4 * 50_000
    assert joules(cycle, "drift check") == 52 * (200 + 100 * 20)
    assert joules(cycle, "serve") == 365_000 * 60
    idle_second = 365 * 86_400 - 365_000 * 2
    assert cycle.part("idle").time_second == Interval.exactly(idle_second)
    assert joules(cycle, "idle") == idle_second * 10
    assert cycle.num_machines == Interval.exactly(1.0)


def test_a_machine_is_added_before_it_is_too_busy() -> None:
    """40,000 summaries of 2 s are 80,000 busy seconds of 86,400: more than 0.7 of one machine, less than of two."""
    assert life(summaries_per_day=40_000.0).num_machines.likely == 2
    assert life(summaries_per_day=40_000.0, max_utilization_fraction=0.95).num_machines.likely == 1


def test_co2e_and_dollars_are_those_of_the_factors() -> None:
    """Training alone: 50 kJ x PUE x grid, 1,000 s of the machine's hour and of its embodied share."""
    part = life().part("train")
    assert part.co2e_kg is not None
    assert part.cost_usd is not None
    assert PRICES.on_demand is not None
    assert PRICES.embodied is not None
    operational = 50_000 / KWH * PRICES.pue.value * PRICES.grid.value / 1000
    assert part.co2e_kg.likely == pytest.approx(operational + PRICES.embodied.value * 1000 / (4 * 365.25 * 86_400))
    assert part.cost_usd.likely == pytest.approx(PRICES.on_demand.value * 1000 / 3600)


def test_what_no_sensor_read_leaves_the_sum_unknown_rather_than_smaller() -> None:
    cycle = life(simple(idle_watt=None))
    assert cycle.part("idle").energy_total_joule is None
    assert cycle.total.energy_total_joule is None
    assert cycle.total.cost_usd is not None
    assert any("idle power unknown" in note for note in cycle.notes)
    assert life(simple(idle_watt=None), endpoint_hour_per_day=0.0).total.energy_total_joule is not None


def test_a_baseline_is_never_trained() -> None:
    cycle = life(simple(training=None), drift_retrain_fraction=0.5)
    assert joules(cycle, "train") == joules(cycle, "retrain") == 0
    assert cycle.part("train").num == cycle.part("retrain").num == Interval.exactly(0.0)


def test_drift_calls_for_a_binomial_number_of_retrainings() -> None:
    """52 checks at 0.1: 5.2 on average, 95 % of the time 1 to 10 (binomial); 4 more by the schedule."""
    assert life(drift_retrain_fraction=0.1).part("retrain").num == Interval(5.0, 9.2, 14.0)
    assert life(drift_retrain_fraction=1.0).part("retrain").num == Interval.exactly(56.0)


@pytest.mark.parametrize(("horizon", "every", "num"), [(365, 90, 4), (360, 90, 3), (30, 30, 0), (1, 400, 0)])
def test_nothing_is_done_on_the_last_day(horizon: float, every: float, num: int) -> None:
    assert num_within(horizon, every) == num


def test_shares_are_of_the_whole() -> None:
    shares = [life().share(name) for name in PARTS]
    assert sum(share for share in shares if share is not None) == pytest.approx(1.0)
