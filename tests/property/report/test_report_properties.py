from __future__ import annotations

import csv
import html
import io
import math
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit.record import PHASES
from kilowit.report import contents_of
from kilowit.report.markup import escape, tag
from kilowit.report.quantity import number, unit_for
from kilowit.report.render_csv import csv_text
from kilowit.report.render_markdown import escape as escape_markdown
from kilowit.report.runs import sum_figures
from kilowit.report.table import Column, Entry, Table
from kilowit.statistics.means import mean_interval, ratio_interval
from kilowit.statistics.pareto import pareto_front
from report_records import phase, trained

FINITE = st.floats(1e-6, 1e12)
ROW = st.tuples(st.sampled_from(PHASES), st.floats(0.001, 1e6), st.one_of(st.none(), st.floats(0.01, 1e9)))


@given(st.lists(ROW, min_size=1, max_size=30))
def test_sums_equal_the_sum_of_their_rows(rows: list[tuple[str, float, float | None]]) -> None:
    figures = [phase(name, second, joule) for name, second, joule in rows]
    total = sum_figures("total", figures)
    known = [f.energy_total_joule for f in figures if f.energy_total_joule is not None]
    assert total.wall_second == pytest.approx(math.fsum(f.wall_second for f in figures))
    assert total.energy_total_joule == (pytest.approx(math.fsum(known)) if known else None)
    if known:
        assert total.energy_total_joule_low <= total.energy_total_joule <= total.energy_total_joule_high  # type: ignore[operator]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(ROW, min_size=1, max_size=6), min_size=1, max_size=4))
def test_bill_rows_add_up_to_its_total(runs: list[list[tuple[str, float, float | None]]]) -> None:
    records = [
        trained("bart-tiny", "full", seed, number=seed, phases=[phase(*row) for row in rows])
        for seed, rows in enumerate(runs)
    ]
    bill = next(t for t in contents_of(records).tables if t.name == "bill")
    names = [row[0].value for row in bill.rows]
    end = names.index("Total")
    for index, column in enumerate(bill.columns):
        if column.key in ("wall_second", "energy_total_joule", "co2e_operational_kg", "cost_usd_on_demand"):
            parts = [row[index].value for row in bill.rows[:end] if row[index].value is not None]
            total = bill.rows[end][index].value
            assert total == (pytest.approx(math.fsum(parts)) if parts else None)  # type: ignore[arg-type]


@given(st.text(), st.text())
def test_any_text_comes_back_out_of_html(text: str, attribute: str) -> None:
    markup = tag("p", text, title=attribute)

    class Reader(HTMLParser):
        seen: list[str]

        def __init__(self) -> None:
            super().__init__(convert_charrefs=True)
            self.tags: list[str] = []
            self.text = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append(tag)

        def handle_data(self, data: str) -> None:
            self.text += data

    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert reader.tags == ["p"]
    assert reader.text == html.unescape(escape(text))


@given(st.text())
def test_markdown_cells_stay_on_one_line_in_one_cell(text: str) -> None:
    escaped = escape_markdown(text)
    assert "\n" not in escaped and "\r" not in escaped
    assert "<" not in escaped
    bare = escaped.replace("\\\\", "")
    assert all(bare[i - 1] == "\\" for i, c in enumerate(bare) if c in "|`*")
    assert "](" not in bare


@given(st.lists(st.tuples(st.text(), st.one_of(st.none(), st.floats(allow_nan=False))), min_size=1, max_size=5))
def test_csv_gives_back_figures_exactly(rows: list[tuple[str, float | None]]) -> None:
    columns = (Column("name", "Name"), Column("wall_second", "Time", "time"))
    table = Table("t", "T", columns, tuple((Entry(name), Entry(value)) for name, value in rows))
    read = list(csv.reader(io.StringIO(csv_text(table), newline="")))
    assert [float(r[1]) if r[1] else None for r in read[1:]] == [value for _, value in rows]
    assert not any(r[0].startswith(("=", "+", "-", "@")) for r in read)


@given(FINITE)
def test_numbers_keep_three_digits(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=0.006)


@given(st.lists(st.floats(1, 1e12), min_size=1), st.sampled_from(["energy", "energy_wh", "mass", "byte", "money"]))
def test_units_leave_no_column_of_zeros(values: list[float], kind: str) -> None:
    assert max(values) / unit_for(kind, values).size >= 0.9  # type: ignore[arg-type]


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=40))
def test_no_point_beats_the_front(points: list[tuple[float, float]]) -> None:
    front = set(pareto_front(points))
    for i, (cost, gain) in enumerate(points):
        beaten = any((c <= cost and g >= gain) and (c < cost or g > gain) for c, g in points)
        assert (i not in front) == beaten


@given(st.lists(st.floats(0.01, 1e6), min_size=3, max_size=12))
def test_intervals_hold_their_mean_and_ratios_invert(values: list[float]) -> None:
    interval = mean_interval(values)
    assert interval.low <= interval.value * (1 + 1e-9) and interval.value <= interval.high * (1 + 1e-9)  # type: ignore[operator]
    forth = ratio_interval([(v, 2.0) for v in values])
    back = ratio_interval([(2.0, v) for v in values])
    assert forth is not None and back is not None
    assert forth.value == pytest.approx(1 / back.value)
