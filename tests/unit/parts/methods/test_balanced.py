"""Balanced batches: every example once, and the tokens dealt out evenly."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from kilowit.parts.methods.balanced import balanced_order, spread_fraction
from kilowit.parts.tokenized import random_order


def lengths(number: int, longest: int, seed: int) -> list[int]:
    """Return lengths as they are in dialogues: many short ones, a few long."""
    chance = random.Random(seed)
    return [min(longest, 4 + int(chance.expovariate(4 / longest))) for _ in range(number)]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=50),
    st.integers(1, 9),
    st.text(max_size=3),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_example_is_taken_once_and_again_so(
    sizes: list[tuple[int, int]], batch_size: int, seed: str, jitter: float
) -> None:
    sources, targets = [size[0] for size in sizes], [size[1] for size in sizes]
    order = balanced_order(sources, targets, batch_size, seed, jitter)
    assert sorted(order) == list(range(len(sizes)))
    assert order == balanced_order(sources, targets, batch_size, seed, jitter)


def test_batches_hold_like_numbers_of_tokens_of_both_sides() -> None:
    sources, targets = lengths(2_000, 512, 0), lengths(2_000, 90, 1)
    nothing = [0] * len(sources)
    for seed in ("0/0", "0/1"):
        ours = balanced_order(sources, targets, 64, seed)
        theirs = random_order(sources, targets, 64, seed)
        for sides in ((sources, nothing), (nothing, targets)):
            assert spread_fraction(*sides, ours, 64) < 0.03
            assert spread_fraction(*sides, theirs, 64) > 0.15


def test_short_and_long_examples_meet_in_each_batch_and_epochs_differ() -> None:
    sources, targets = lengths(2_000, 512, 0), lengths(2_000, 90, 1)
    first, second = (balanced_order(sources, targets, 64, f"0/{epoch}") for epoch in (0, 1))
    median = sorted(sources)[1_000]
    for start in range(0, 1_984, 64):
        assert 16 < sum(sources[i] < median for i in first[start : start + 64]) < 48
    batches = [{frozenset(order[start : start + 64]) for start in range(0, 1_984, 64)} for order in (first, second)]
    assert not batches[0] & batches[1]
    pairs = [{frozenset((i, j)) for b in side for i in list(b)[:8] for j in list(b)[:8] if i < j} for side in batches]
    assert len(pairs[0] & pairs[1]) < 0.2 * len(pairs[0])  # who meets whom is chance


def test_batches_of_one_and_lengths_of_nothing_are_an_order_too() -> None:
    assert sorted(balanced_order([0, 0, 0], [0, 0, 0], 2, "0")) == [0, 1, 2]
    assert balanced_order([], [], 4, "0") == []
    assert spread_fraction([], [], [], 4) == 0.0
