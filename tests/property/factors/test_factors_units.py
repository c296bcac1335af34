"""Units and intervals hold for any number."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from kilowit import factors
from kilowit.factors.derive import derive_figures
from kilowit.factors.factor import table
from kilowit.plan.interval import Interval

amounts = st.floats(min_value=0, max_value=1e15, allow_nan=False)
positive = st.floats(min_value=1e-6, max_value=1e9)
intervals = st.tuples(positive, positive, positive).map(lambda three: Interval(*sorted(three)))
regions = st.sampled_from([None, *(row["name"] for row in table("carbon"))])
machines = st.sampled_from([None, "Standard_Nothing", *factors.machines()])


@given(amounts)
def test_joules_and_kilowatt_hours_convert_there_and_back(joule: float) -> None:
    assert math.isclose(factors.kwh_to_joule(factors.joule_to_kwh(joule)), joule, rel_tol=1e-15, abs_tol=1e-300)


@given(amounts)
def test_kilograms_and_pounds_convert_there_and_back(kilogram: float) -> None:
    assert math.isclose(factors.lb_to_kg(factors.kg_to_lb(kilogram)), kilogram, rel_tol=1e-15, abs_tol=1e-300)


def test_the_constants_are_exact() -> None:
    assert factors.KG_PER_LB == 0.45359237
    assert factors.JOULE_PER_KWH == 3_600_000


@given(regions, machines, amounts, st.floats(0, 1e7), st.floats(0, 1), st.floats(1, 10))
def test_derived_figures_stay_in_order(
    region: str | None, machine: str | None, joule: float, second: float, down: float, up: float
) -> None:
    d = derive_figures(second, (joule, joule * down, joule * up), region=region, machine_name=machine)
    assert d.co2e_operational_kg_low is not None
    assert d.co2e_operational_kg is not None
    assert d.co2e_operational_kg_high is not None
    assert 0 <= d.co2e_operational_kg_low <= d.co2e_operational_kg <= d.co2e_operational_kg_high
    if d.cost_usd_spot is not None and d.cost_usd_on_demand is not None:
        assert d.cost_usd_spot <= d.cost_usd_on_demand


@given(regions, amounts)
def test_twice_the_energy_is_twice_the_co2e(region: str | None, joule: float) -> None:
    once, twice = (derive_figures(1, (j, None, None), region=region, machine_name=None) for j in (joule, 2 * joule))
    assert once.co2e_operational_kg is not None
    assert twice.co2e_operational_kg is not None
    assert math.isclose(twice.co2e_operational_kg, 2 * once.co2e_operational_kg, rel_tol=1e-12, abs_tol=1e-300)


@given(intervals, intervals)
def test_products_and_quotients_of_intervals_stay_in_order_and_within_the_ends(a: Interval, b: Interval) -> None:
    product, quotient = a * b, a / b
    assert math.isclose(product.likely, a.likely * b.likely)
    assert a.low * b.low * (1 - 1e-9) <= product.low <= product.high <= a.high * b.high * (1 + 1e-9)
    assert a.low / b.high * (1 - 1e-9) <= quotient.low <= quotient.high <= a.high / b.low * (1 + 1e-9)


@given(intervals, positive)
def test_a_plain_number_scales_an_interval(a: Interval, number: float) -> None:
    assert (a * number).to_dict() == {"low": a.low * number, "likely": a.likely * number, "high": a.high * number}
