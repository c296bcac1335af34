"""The search for the largest batch: how it looks, what it changes, and the memory that it goes by."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilowit.errors import CellFailure, PartError, PlanError
from kilowit.parts.method import MethodCall, plan_settings
from kilowit.parts.methods import batch_size
from kilowit.parts.methods.batch_size import largest_that_fits
from kilowit.parts.methods.gradient_checkpointing import recompute_layers
from kilowit.run.rehearsal import CountStorages, Rehearsal, StepTooLarge, longest_examples
from kilowit.settings import Settings
from tiny_training import random_split, tiny_model, train_job

GIGABYTE = 10**9


class Shelf:
    """A device with room for so many examples of a million bytes."""

    def __init__(self, num_fitting: int, num_examples: int = 10_000, available_byte: int | None = None) -> None:
        self.num_fitting, self.num_examples, self.available_byte = num_fitting, num_examples, available_byte

    def __call__(self, size: int, limit_byte: int) -> int | None:
        return size * 10**6 if size <= self.num_fitting else None


def found(num_fitting: int, **options: Any) -> tuple[Settings, dict[str, Any]]:
    facts: dict[str, Any] = {}
    base = Settings().with_train(batch_size=16, gradient_accumulation_steps=3)
    chosen = batch_size.Options(memory_byte=GIGABYTE, **options)
    return batch_size.tune(base, chosen, facts, Shelf(num_fitting)), facts


@given(st.integers(0, 3000), st.integers(1, 2048))
def test_search_ends_within_a_sixteenth_of_the_largest_that_fits(num_fitting: int, largest: int) -> None:
    tried: list[int] = []
    size = largest_that_fits(lambda n: tried.append(n) or n <= num_fitting, largest)  # type: ignore[func-returns-value]
    best = min(num_fitting, largest)
    assert size <= best < size + max(1, size // 16) + (size == best)
    assert max(tried, default=0) <= largest
    assert len(tried) == len(set(tried)) <= 2 * math.log2(largest + 1) + 2


def test_batch_found_replaces_that_of_training_and_leaves_prediction_its_own() -> None:
    settings, facts = found(100)
    assert (settings.train.batch_size, settings.train.gradient_accumulation_steps) == (100, 3)
    assert settings.predict.batch_size == 32  # twice the batch of the study, as without the method
    assert facts["trials"][:2] == [[1, 10**6], [2, 2 * 10**6]]
    assert [128, None] in facts["trials"]


def test_size_of_the_update_is_kept_where_that_is_asked_for() -> None:
    assert found(7, keep_update_size=True)[0].train.batch_size == 6  # the largest divisor of 48 up to 7
    settings, facts = found(1000, keep_update_size=True)
    assert (settings.train.batch_size, settings.train.gradient_accumulation_steps) == (48, 1)
    assert facts["largest_tried"] == 48


def test_search_ends_at_its_limit_and_at_the_number_of_examples() -> None:
    assert found(1000, max_batch_size=24)[0].train.batch_size == 24
    shelf = Shelf(1000, num_examples=9)
    settings = batch_size.tune(Settings(), batch_size.Options(memory_byte=GIGABYTE), {}, shelf)
    assert settings.train.batch_size == 9


def test_without_a_limit_on_a_cpu_the_plan_and_without_room_the_cell_fails() -> None:
    with pytest.raises(PlanError, match="memory_byte"):
        batch_size.tune(Settings(), batch_size.Options(), {}, Shelf(9))
    with pytest.raises(CellFailure) as raised:
        batch_size.tune(Settings(), batch_size.Options(), {}, Shelf(0, available_byte=GIGABYTE))
    assert raised.value.kind == "out_of_memory_gpu"
    with pytest.raises(PartError, match="conflicts"):
        plan_settings(Settings(), (MethodCall("batch_size"), MethodCall("gradient_accumulation")), None)


def test_rehearsal_leaves_weights_gradients_and_random_numbers_as_they_were() -> None:
    job = train_job(model=tiny_model("bart", dropout=0.3))
    before = [parameter.clone() for parameter in job.model.parameters()]
    state = torch.get_rng_state()
    rehearsal = Rehearsal(job)
    assert rehearsal(4, GIGABYTE) is not None
    assert rehearsal(4, 10**5) is None  # ended half-way
    assert all(torch.equal(a, b) for a, b in zip(before, job.model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in job.model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert (rehearsal.num_steps, rehearsal.num_examples_seen) == (2, 8)
    assert rehearsal.available_byte is None


@pytest.mark.parametrize("family", ["bart", "t5", "pegasus"])
def test_memory_of_a_step_grows_evenly_and_shrinks_with_recomputation(family: str) -> None:
    job = train_job(family)
    rehearsal = Rehearsal(job)
    plain = [rehearsal(size, GIGABYTE) or 0 for size in (4, 8, 16)]
    num_parameters = sum(p.numel() for p in job.model.parameters())
    assert plain[0] > 16 * num_parameters  # weights, gradients, AdamW state
    assert (plain[2] - plain[1]) / (plain[1] - plain[0]) == pytest.approx(2, rel=0.02)
    recompute_layers(job.model, True)
    assert (rehearsal(16, GIGABYTE) or 0) < 0.6 * plain[2]


def test_storages_are_counted_while_they_live_and_views_not_again() -> None:
    model = torch.nn.Linear(10, 10, bias=False)
    with CountStorages(model, 10**9) as count:
        assert count.now_byte == 400
        first = torch.zeros(1000)
        second = first + 1
        assert second[:10].view(2, 5).shape == (2, 5)
        assert count.now_byte == 400 + 2 * 4000
        del first
        assert count.now_byte == 400 + 4000
        second = second * 2
        assert (count.now_byte, count.peak_byte) == (400 + 4000, 400 + 2 * 4000)
    with pytest.raises(StepTooLarge), CountStorages(torch.nn.Linear(1, 1), 3000):
        torch.zeros(1000)


def test_longest_examples_hold_the_longest_source_and_the_longest_target() -> None:
    split = random_split(30)
    split.target_lengths[split.source_lengths.index(min(split.source_lengths))] = 99
    for number in (1, 3, 30):
        chosen = longest_examples(split, number)
        assert len(set(chosen)) == number
        assert max(split.target_lengths[i] for i in chosen) == 99
    assert max(split.source_lengths[i] for i in longest_examples(split, 3)) == max(split.source_lengths)
