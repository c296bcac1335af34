"""What the report says of searches: the whole bill beside the winner's, quality against energy, expected best."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilowit.record import Record
from kilowit.report import contents_of
from kilowit.report.runs import choices_of
from kilowit.report.searches import SearchGroup, equal_quality, expected_best, search_groups
from kilowit.report.table import Table
from kilowit.store import Store
from search_bench import run, study, trials


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Three repeats of four searches of one task; under a lock of their own, which tests have only one by one."""
    folder = tmp_path_factory.mktemp("searches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KILOWIT_LOCK", str(folder / "kilowit.lock"))
        yield searched(Store(folder / "runs"))


def searched(found: Store) -> Store:
    for algorithm, num_trials, options in (
        ("grid", 9, "{num_points: 3}"),
        ("random", 9, "{}"),
        ("asha", 14, "{}"),
        ("pbt", 12, "{population: 4, num_intervals: 3}"),
    ):
        run(study(algorithm, "seeds=[0, 1, 2]", num_trials=num_trials, options=options), found)
    return found


@pytest.fixture(scope="module")
def records(store: Store) -> list[Record]:
    return store.records()


def group(records: list[Record], algorithm: str) -> SearchGroup:
    return next(g for g in search_groups(records) if g.algorithm == algorithm)


def joules(records: list[Record]) -> float:
    return sum(phase.energy_total_joule or 0.0 for record in records for phase in record.phases)


def table(records: list[Record], name: str) -> Table:
    return next(t for t in contents_of(records).tables if t.name == name)


def test_the_whole_bill_of_searches_is_all_that_was_run(records: list[Record]) -> None:
    groups = search_groups(records)
    assert {g.algorithm: len(g.repeats) for g in groups} == {"grid": 3, "random": 3, "asha": 3, "pbt": 3}
    assert sum(s.energy_joule for g in groups for s in g.repeats) == pytest.approx(joules(records))
    total = next(row for row in table(records, "bill").rows if row[0].value == "Total")
    assert total[3].value == pytest.approx(joules(records))
    of_trials = next(row for row in table(records, "bill").rows if row[0].value == "of which trials of searches")
    assert of_trials[1].value == sum(r.cell["search"]["role"] == "trial" for r in records)


def test_the_winner_alone_is_its_run_and_the_models_that_it_goes_on_from(records: list[Record]) -> None:
    for algorithm in ("grid", "asha", "pbt"):
        search = group(records, algorithm).repeats[0]
        (winner,) = search.winners
        lineage, before = [winner], winner.cell["search"]["continues"]
        while before is not None:
            lineage.append(search.trials[before][-1])
            before = lineage[-1].cell["search"]["continues"]
        assert search.energy_of_winner(winner) == pytest.approx(joules(lineage))
        assert search.energy_joule > search.energy_of_winner(winner)
        assert (len(lineage) > 1) == (algorithm != "grid")


def test_copies_are_what_is_saved_for_later_trials_and_read_there(records: list[Record]) -> None:
    assert group(records, "grid").repeats[0].energy_of_copies_joule == 0
    search = group(records, "asha").repeats[0]
    saved = [p for r in search.records for p in r.phases if p.phase == "save"]
    read = [
        p for r in search.records if r.cell["search"]["continues"] is not None for p in r.phases if p.phase == "load"
    ]
    assert search.energy_of_copies_joule == pytest.approx(sum(p.energy_total_joule or 0 for p in [*saved, *read]))


def test_winners_are_choices_with_their_repeats_and_trials_are_none(records: list[Record]) -> None:
    found = {choice.label: len(choice.finished) for choice in choices_of(records)}
    assert found == {f"bart-tiny · full · {name}": 3 for name in ("grid", "random", "asha", "pbt")}


def test_steps_count_energy_in_the_order_of_trials_and_never_get_worse(records: list[Record]) -> None:
    for found in search_groups(records):
        for search in found.repeats:
            for a, b in itertools.pairwise(search.steps):
                assert b.energy_joule > a.energy_joule
                assert a.best is None or (b.best is not None and b.best >= a.best)


def test_equal_quality_is_the_energy_to_the_best_of_the_grid_over_all_of_it(records: list[Record]) -> None:
    grid, random = group(records, "grid"), group(records, "random")
    own, num_missed = equal_quality(grid, grid)
    assert own is not None and own.value <= 1 and num_missed == 0
    ratio, num_missed = equal_quality(random, grid)
    assert (ratio.num_repeats if ratio else 0) + num_missed == 3


def test_expected_best_of_k_is_the_mean_over_all_draws_with_replacement() -> None:
    values = [0.1, 0.4, 0.2]
    for k in (1, 2, 3):
        drawn = [max(sample) for sample in itertools.product(values, repeat=k)]
        assert expected_best(values, k) == pytest.approx(statistics.fmean(drawn))
        least = [min(sample) for sample in itertools.product(values, repeat=k)]
        assert expected_best(values, k, is_high_better=False) == pytest.approx(statistics.fmean(least))


def test_the_report_has_a_row_a_curve_and_the_expected_best(records: list[Record]) -> None:
    found = table(records, "searches")
    rows = {row[0].value: dict(zip([c.key for c in found.columns], row, strict=True)) for row in found.rows}
    grid, asha = rows["bart-tiny · full · grid"], rows["bart-tiny · full · asha"]
    assert grid["num_failed"].value == pytest.approx(3)
    assert asha["best"].low is not None and asha["score"].value is not None
    assert asha["search_over_winner_ratio"].value > 1  # type: ignore[operator]
    listed = {row[0].value for row in table(records, "expected_best").rows}
    assert listed == {"bart-tiny · full · grid", "bart-tiny · full · random"}
    section = next(s for s in contents_of(records).sections if s.anchor == "searches")
    assert "asha" in section.figures[0].wide and section.figures[0].wide.count("<path") >= 4


def test_how_to_repeat_names_the_search_and_not_its_trials(records: list[Record]) -> None:
    section = next(s for s in contents_of(records).sections if s.anchor == "repeat")
    assert len(section.repeats) == 4
    assert all("algorithm:" in repeat.yaml and "train.learning_rate" in repeat.yaml for repeat in section.repeats)


def test_a_search_whose_trials_all_failed_has_a_row_with_reasons(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run(study("random", "search.space={train.batch_size: {choice: [32, 64]}}", num_trials=2), store)
    assert trials(store)
    (row,) = table(store.records(), "searches").rows
    assert row[5].value is None and row[5].reason == "no trial has a result"
