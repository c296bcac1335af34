"""Every search proposes what it should, is deterministic, and is rebuilt by being told its trials again."""

from __future__ import annotations

import importlib.util
import itertools
import math
import random
import re
from collections.abc import Sequence
from typing import Any

import pytest

from kilowit import parts
from kilowit.errors import PartError
from kilowit.parts.search import Dimension, Goal, Proposal, Searcher

QUALITY, ENERGY = Goal("rouge2", True), Goal("energy_kwh", False)
SPACE = (
    Dimension("train.learning_rate", 1e-6, 1e-2, is_log=True),
    Dimension("train.batch_size", choices=(8, 16, 32)),
    Dimension("train.warmup_steps", 0, 10, is_whole=True),
)
HEADINGS = (
    "What it does",
    "When to use",
    "When not",
    "Trade-off",
    "Options",
    "Goals",
    "Source",
)
NEEDS_OPTUNA = ("tpe", "nsga2")
has_optuna = importlib.util.find_spec("optuna") is not None
ALL = [
    pytest.param(name, marks=pytest.mark.skipif(name in NEEDS_OPTUNA and not has_optuna, reason="needs optuna"))
    for name in parts.names("searches")
]


def searcher(name: str, seed: int = 0, goals: Sequence[Goal] = (QUALITY,), **options: Any) -> Searcher:
    module = parts.load("searches", name)
    found: Searcher = module.searcher(SPACE, module.Options(**options), goals, seed)
    return found


def value(proposal: Proposal) -> list[float] | None:
    """A bowl around 1e-4; batches of 32 fail."""
    if proposal.parameters["train.batch_size"] == 32:
        return None
    rate: float = proposal.parameters["train.learning_rate"]
    return [-((math.log10(rate) + 4) ** 2) - 0.1 / (1 + proposal.rung)]


def play(search: Searcher, num: int, before: Sequence[Proposal] = ()) -> list[Proposal]:
    found: list[Proposal] = []
    while len(found) < num:
        known = before[len(found)].parameters if len(found) < len(before) else None
        proposal = search.ask(known)
        if proposal is None:
            break
        found.append(proposal)
        search.tell(proposal.number, value(proposal))
    return found


@pytest.mark.parametrize("name", parts.names("searches"))
def test_every_search_has_a_card_with_every_heading_and_option(name: str) -> None:
    card = parts.card("searches", name)
    assert card.startswith(f"{name}: ")
    assert [heading for heading in HEADINGS if not re.search(rf"^{heading}  ", card, re.MULTILINE)] == []
    if name not in NEEDS_OPTUNA or has_optuna:
        assert all(option in card for option in parts.load("searches", name).Options.model_fields)


@pytest.mark.parametrize("name", ALL)
def test_a_search_proposes_within_the_space_and_numbers_its_trials(name: str) -> None:
    found = play(searcher(name), 24)
    assert [p.number for p in found] == list(range(len(found))) and len(found) >= 18
    for proposal in found:
        assert 1e-6 <= proposal.parameters["train.learning_rate"] <= 1e-2
        assert proposal.parameters["train.batch_size"] in (8, 16, 32)
        steps = proposal.parameters["train.warmup_steps"]
        assert isinstance(steps, int) and 0 <= steps <= 10


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("killed_after", [1, 7, 15])
def test_a_search_that_is_told_its_trials_again_goes_on_as_if_it_had_not_stopped(name: str, killed_after: int) -> None:
    whole = play(searcher(name), 20)
    again = play(searcher(name), 20, before=whole[:killed_after])
    assert again == whole


@pytest.mark.parametrize("name", ALL)
def test_another_seed_is_another_search_and_the_same_seed_is_the_same(name: str) -> None:
    assert play(searcher(name), 12) == play(searcher(name), 12)
    assert play(searcher(name), 12) != play(searcher(name, seed=1), 12)


@pytest.mark.parametrize("name", ALL)
def test_a_failed_trial_never_wins_and_is_never_gone_on_from(name: str) -> None:
    search = searcher(name)
    found = play(search, 24)
    failed = {p.number for p in found if value(p) is None}
    assert failed
    assert not failed & set(search.winners())
    assert not failed & {p.continues for p in found}


def test_a_search_in_which_all_fails_has_no_winner() -> None:
    for name in ("grid", "random", "asha", "pbt"):
        search = searcher(name)
        for _ in range(8):
            proposal = search.ask()
            if proposal is None:
                break
            search.tell(proposal.number, None)
        assert search.winners() == []


def test_a_grid_is_every_combination_once_with_the_ends_of_the_ranges() -> None:
    found = play(searcher("grid", num_points=3), 1000)
    assert len(found) == 3 * 3 * 3
    assert len({tuple(p.parameters.values()) for p in found}) == 27
    rates = sorted({p.parameters["train.learning_rate"] for p in found})
    assert rates == pytest.approx([1e-6, 1e-4, 1e-2])
    module, wide = parts.load("searches", "grid"), [Dimension(name, 0.0, 1.0) for name in ("a", "b", "c")]
    with pytest.raises(PartError, match="a grid of 1,000,000 trials"):
        module.searcher(wide, module.Options(num_points=100), (QUALITY,), 0)


@pytest.mark.skipif(not has_optuna, reason="needs optuna")
def test_tpe_finds_better_settings_than_random_search_on_average() -> None:
    def best(name: str, seed: int) -> float:
        search = searcher(name, seed)
        found = play(search, 25)
        return (value(found[search.winners()[0]]) or [-99.0])[0]

    seeds = range(6)
    assert sum(best("tpe", s) for s in seeds) > sum(best("random", s) for s in seeds)


def test_asha_promotes_one_in_three_from_its_model_and_adds_up_to_a_whole_training() -> None:
    search = searcher("asha", reduction_factor=3, num_rungs=3)
    found = play(search, 60)
    by_rung = [[p for p in found if p.rung == rung] for rung in range(3)]
    assert len(by_rung[1]) <= len(by_rung[0]) / 2 and len(by_rung[2]) <= len(by_rung[1]) / 2  # a third, and late ones
    top = by_rung[2][0]
    lineage = [top]
    while lineage[-1].continues is not None:
        lineage.append(found[lineage[-1].continues])
    assert [p.rung for p in lineage] == [2, 1, 0]
    assert sum(p.share for p in lineage) == pytest.approx(1.0)
    assert {tuple(p.parameters.items()) for p in lineage} == {tuple(top.parameters.items())}
    assert found[search.winners()[0]].rung == 2


def test_pbt_copies_the_best_into_the_worst_and_varies_their_settings() -> None:
    search = searcher("pbt", population=8, num_intervals=3, quantile=0.25)
    found = play(search, 24)
    assert search.ask() is None
    first = found[:8]
    ranked = sorted((p.number for p in first if value(p) is not None), key=lambda n: -(value(found[n]) or [0])[0])
    best = set(ranked[:2])
    for proposal in found[8:16]:
        own = proposal.number - 8
        copied = proposal.continues != own
        if copied:
            assert proposal.continues in best
            assert proposal.parameters != found[proposal.continues].parameters  # type: ignore[index]
        else:
            assert proposal.parameters == found[own].parameters
    assert {p.continues for p in found[8:16]} != set(range(8))
    assert found[search.winners()[0]].rung == 2
    assert sum(p.share for p in found if p.number % 8 == 0) == pytest.approx(1.0)


@pytest.mark.skipif(not has_optuna, reason="needs optuna")
def test_nsga2_ends_with_a_front_of_quality_against_energy() -> None:
    search = searcher("nsga2", goals=(QUALITY, ENERGY), population=6, num_winners=3)
    told = {}
    for _ in range(30):
        proposal = search.ask()
        assert proposal is not None
        rate, batch = proposal.parameters["train.learning_rate"], proposal.parameters["train.batch_size"]
        told[proposal.number] = [-abs(math.log10(rate) + 4) + batch / 16, batch * (1 + rate)]
        search.tell(proposal.number, told[proposal.number])
    winners = [told[number] for number in search.winners()]
    assert 2 <= len(winners) <= 3
    assert all(a[0] > b[0] and a[1] > b[1] for a, b in itertools.pairwise(winners))


def test_ranges_are_drawn_evenly_on_their_scale_with_their_ends() -> None:
    generator = random.Random(0)
    log = Dimension("a", 1e-5, 1e-1, is_log=True)
    assert sum(log.draw(generator) < 1e-3 for _ in range(2000)) / 2000 == pytest.approx(0.5, abs=0.04)
    whole = Dimension("b", 1, 4, is_whole=True)
    drawn = [whole.draw(generator) for _ in range(2000)]
    assert all(drawn.count(n) / 2000 == pytest.approx(0.25, abs=0.04) for n in (1, 2, 3, 4))
    assert whole.grid(10) == (1, 2, 3, 4)
    assert whole.nudged(4, 1.2) == 4 and log.nudged(0.09, 1.2) == 0.1
    assert Dimension("c", choices=(1, 2, 4)).nudged(2, 0.8) == 1
