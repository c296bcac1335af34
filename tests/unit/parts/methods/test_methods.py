"""What each method claims, checked on its own; the registry is run through the real worker in tests/e2e."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kilowit import parts
from kilowit.errors import PartError, PlanError
from kilowit.parts import catalogue, ranks
from kilowit.parts.method import (
    ENGINES,
    Expectation,
    MethodCall,
    TrainedRun,
    choose_engine,
    has_nvidia_gpu,
    plan_settings,
    require_machine,
)
from kilowit.parts.methods import adafactor, early_stopping, freeze, sortish, token_budget, truncate
from kilowit.parts.tokenized import TrainingData, num_padded_tokens, random_order
from kilowit.run.engines.trainer import train
from kilowit.settings import Settings
from tiny_training import random_split, tiny_model, train_job

METHODS = parts.names("methods")
UNAVAILABLE = [name for name in METHODS if hasattr(parts.load("methods", name), "UNAVAILABLE")]
CARD = ("What it does", "When to use", "When not", "Trade-off", "Options", "Works with", "Source")


@pytest.mark.parametrize("name", METHODS)
def test_card_has_every_heading_and_names_its_method_first(name: str) -> None:
    card = parts.card("methods", name)
    assert card.startswith(f"{name}: ")
    assert [heading for heading in CARD if not re.search(rf"^{heading}  ", card, re.MULTILINE)] == []
    assert "Conflicts with" in card


@pytest.mark.parametrize("name", METHODS)
def test_card_names_every_option_and_every_expected_figure_with_its_range(name: str) -> None:
    module, card = parts.load("methods", name), parts.card("methods", name)
    for option in getattr(getattr(module, "Options", None), "model_fields", {}):
        assert option in card
    for expected in module.EXPECTS:
        assert isinstance(expected, Expectation)
        assert expected.low <= expected.high
        assert expected.source
        assert expected.figure in card


@pytest.mark.parametrize("name", METHODS)
def test_conflicts_are_mutual(name: str) -> None:
    for other in parts.load("methods", name).CONFLICTS_WITH:
        assert name in parts.load("methods", other).CONFLICTS_WITH


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_method_that_is_not_to_be_had_is_refused_with_its_reason_and_its_successor(name: str) -> None:
    module = parts.load("methods", name)
    with pytest.raises(PartError, match="not available") as raised:
        plan_settings(Settings(), (MethodCall(name),), "bart")
    assert module.UNAVAILABLE in raised.value.message
    assert module.SUCCESSOR in str(raised.value.hint)
    assert "not available" in parts.card("methods", name).splitlines()[0]


@pytest.mark.parametrize("name", METHODS)
def test_engines_are_known(name: str) -> None:
    engines = getattr(parts.load("methods", name), "ENGINES", ENGINES[:1])
    assert engines
    assert set(engines) <= set(ENGINES)


def test_first_engine_that_fits_all_methods_is_taken_unless_the_study_names_one() -> None:
    bf16, packing, fp16 = MethodCall("bf16"), MethodCall("packing"), MethodCall("fp16")
    named = Settings().with_train(engine="loop")
    assert choose_engine(Settings(), ()) == "trainer"
    assert choose_engine(Settings(), (bf16,)) == "trainer"
    assert choose_engine(Settings(), (bf16, packing)) == "loop"
    assert choose_engine(named, (bf16,)) == "loop"
    with pytest.raises(PartError, match='"packing" does not work with the engine trainer'):
        plan_settings(Settings().with_train(engine="trainer"), (packing,), "bart")
    eight_bit = Settings().with_train(optimizer="adam8bit")
    with pytest.raises(PartError, match=r'"packing" needs loop, train.optimizer adam8bit needs trainer'):
        plan_settings(eight_bit, (packing,), "bart")
    with pytest.raises(PartError, match=r'"packing" needs loop, method "fp16" needs trainer'):
        plan_settings(Settings(), (packing, fp16), "bart")


def test_conflict_is_refused_with_its_reason_whichever_method_knows_it() -> None:
    for names in (("packing", "sparse_attention"), ("sparse_attention", "packing")):
        with pytest.raises(PartError, match="an attention of its own"):
            plan_settings(Settings(), tuple(map(MethodCall, names)), "bart")


def test_methods_in_conflict_are_refused_by_name() -> None:
    with pytest.raises(PartError, match='"bf16" conflicts with "fp16"'):
        plan_settings(Settings(), (MethodCall("bf16"), MethodCall("fp16")), None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bf16", {"speed": 2}, "speed"),
        ("freeze", {}, "modules"),
        ("freeze", {"modules": []}, "modules"),
        ("sortish", {"pool_batches": 0}, "pool_batches"),
        ("truncate", {}, "max_source_tokens"),
        ("truncate", {"max_source_tokens": 512}, "not below"),
        ("early_stopping", {}, "num_validations"),
        ("early_stopping", {"patience": 0}, "patience"),
        ("distill", {"temperature": 1.0}, "option of knowledge_distillation"),
        ("distill", {"kind": "knowledge_distillation", "num_beams": 2}, "option of pseudo_labels"),
        ("distill", {"decoder_layers": []}, "decoder_layers"),
        ("prune", {"kind": "magnitude", "decoder_layers": 1}, "not an option of magnitude"),
        ("prune", {"sparsity": 0.5}, "not an option of heads_layers"),
        ("ensemble", {"members": 1}, "members"),
        ("ensemble", {"kind": "checkpoint_soup"}, "last 3 validations"),
        ("ddp", {"num_processes": 1}, "num_processes"),
        ("ddp", {"num_processes": 3}, "train.batch_size 16 is not shared out evenly over 3"),
        ("zero", {"num_processes": 1}, "num_processes"),
        ("zero", {"stage": 0}, "stage"),
        ("zero_offload", {"device": "nvme"}, "path"),
        ("zero_offload", {"path": "/swap"}, "path"),
        ("zero_offload", {"device": "nvme", "path": "/swap"}, "stage 3"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PartError, match=message) as raised:
        plan_settings(Settings(), (MethodCall(name, options),), "bart")
    assert raised.value.hint


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has the GPU that fp16 asks for")
def test_fp16_is_checked_anywhere_but_refused_where_it_would_run_without_a_gpu() -> None:
    assert plan_settings(Settings(), (MethodCall("fp16"),), "bart").precision == "fp16"
    with pytest.raises(PlanError, match="NVIDIA"):
        require_machine((MethodCall("bf16"), MethodCall("fp16")))
    require_machine((MethodCall("bf16"),))


def test_zero_is_checked_anywhere_but_refused_with_the_remedy_without_deepspeed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranks, "find_spec", lambda name: None)  # as on a machine without DeepSpeed
    assert plan_settings(Settings(), (MethodCall("zero"),), "bart").ranks.num_processes == 2
    with pytest.raises(PlanError, match="needs the package deepspeed") as raised:
        require_machine((MethodCall("bf16"), MethodCall("zero")))
    assert "pip install 'kilowit[deepspeed]'" in (raised.value.hint or "")


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has the GPU from which memory could be saved")
@pytest.mark.parametrize("call", [MethodCall("zero_offload"), MethodCall("fsdp", {"cpu_offload": True})])
def test_offload_to_the_host_is_refused_where_the_model_computes_on_the_host(call: MethodCall) -> None:
    with pytest.raises(PlanError, match="needs an NVIDIA GPU") as raised:
        require_machine((call,))
    assert raised.value.hint


@pytest.mark.parametrize("name", ["ddp", "fsdp", "zero", "zero_offload"])
def test_ranks_leave_what_a_step_sees_as_it_is_and_one_process_is_no_evidence(name: str) -> None:
    changed = plan_settings(Settings(), (MethodCall(name),), "bart")
    assert changed.train == Settings().train
    seen = TrainedRun(
        model=None, optimizer=None, settings=changed, seed=0, data=TrainingData(random_split(4), random_split(4)),
        num_steps=1, first_order=(), num_padding_tokens=0, num_real_tokens=1,
    )  # fmt: skip
    module = parts.load("methods", name)
    assert not module.applied(seen, MethodCall(name).parsed_options).applied


def test_fp16_is_refused_for_families_that_overflow_unless_forced() -> None:
    for family in ("t5", "pegasus"):
        with pytest.raises(PartError, match="overflow"):
            plan_settings(Settings(), (MethodCall("fp16"),), family)
    forced = MethodCall("fp16", {"force": True})
    assert plan_settings(Settings(), (forced,), "t5").precision == "fp16"
    assert plan_settings(Settings(), (MethodCall("fp16"),), "bart").precision == "fp16"


def test_plans_change_only_what_they_say() -> None:
    base = Settings()
    assert plan_settings(base, (MethodCall("bf16"),), "bart") == base.with_precision("bf16")
    assert plan_settings(base, (MethodCall("adafactor"),), "bart") == base.with_train(optimizer="adafactor")
    cut = MethodCall("truncate", {"max_source_tokens": 64})
    assert plan_settings(base, (cut,), "bart") == base.with_train(max_source_tokens=64)


LENGTHS = st.lists(st.tuples(st.integers(1, 500), st.integers(1, 60)), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(1, 5), st.text(max_size=5))
def test_sortish_takes_every_example_once_and_the_longest_source_first(
    lengths: list[tuple[int, int]], batch_size: int, pool_batches: int, seed: str
) -> None:
    sources, targets = zip(*lengths, strict=True)
    order = sortish.sortish_order(sources, targets, batch_size, seed, pool_batches)
    assert Counter(order) == Counter(range(len(lengths)))
    assert order == sortish.sortish_order(sources, targets, batch_size, seed, pool_batches)
    full = [order[i : i + batch_size] for i in range(0, len(order) - batch_size + 1, batch_size)]
    holds_longest = [max(sources[i] for i in batch) == max(sources) for batch in full]
    if any(holds_longest):
        assert holds_longest[0]


def test_token_budget_pads_less_than_a_twentieth_on_samsum(repository: Path) -> None:
    path = repository.parent / "shared" / "data" / "corpora" / "samsum" / "train.jsonl"
    if not path.exists():
        pytest.skip("needs SAMSum in ../shared")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    sources, targets = ([int(1.3 * len(row[side].split())) + 2 for row in rows] for side in ("document", "summary"))
    batches = token_budget.token_budget_batches(sources, targets, "0")
    assert Counter(index for batch in batches for index in batch) == Counter(range(len(rows)))
    positions = sum(token_budget.num_positions(sources, targets, batch) for batch in batches)
    assert 1 - (sum(sources) + sum(targets)) / positions < 0.05
    assert max(token_budget.num_positions(sources, targets, batch) for batch in batches) <= 4096


def test_sortish_pads_less_than_half_of_what_random_order_pads() -> None:
    generator = __import__("random").Random(0)
    sources = [max(8, int(generator.lognormvariate(4.8, 0.6))) for _ in range(2000)]
    targets = [max(3, int(generator.lognormvariate(3.2, 0.5))) for _ in range(2000)]
    ours = sortish.sortish_order(sources, targets, 16, "0")
    shuffled = random_order(sources, targets, 16, "0")
    assert num_padded_tokens(sources, ours, 16) < 1.12 * sum(sources)
    random_padding = num_padded_tokens(sources, shuffled, 16) - sum(sources)
    assert num_padded_tokens(sources, ours, 16) - sum(sources) < 0.25 * random_padding
    assert sortish.padding_fraction(sources, targets, ours, 16) < 0.5 * sortish.padding_fraction(
        sources, targets, shuffled, 16
    )


def test_sortish_differs_from_epoch_to_epoch() -> None:
    data = sortish.on_data(TrainingData(random_split(64), random_split(4)), sortish.Options(pool_batches=4), {})
    assert data.epoch_order(4, 0, 0) != data.epoch_order(4, 0, 1)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(1, 2000), st.integers(1, 5), st.text(max_size=5))
def test_token_budget_takes_every_example_once_within_budget_and_padding(
    lengths: list[tuple[int, int]], max_tokens: int, pool_batches: int, seed: str
) -> None:
    sources, targets = zip(*lengths, strict=True)
    batches = token_budget.token_budget_batches(sources, targets, seed, max_tokens, pool_batches)
    assert Counter(index for batch in batches for index in batch) == Counter(range(len(lengths)))
    for batch in batches:
        positions = token_budget.num_positions(sources, targets, batch)
        real = sum(sources[i] + targets[i] for i in batch)
        assert positions <= max_tokens or len(batch) == 1
        assert positions - real <= 0.05 * positions


@pytest.mark.parametrize("family", ["bart", "t5", "pegasus"])
def test_freeze_of_embeddings_and_encoder_leaves_the_decoder_to_train(family: str) -> None:
    model = tiny_model(family)
    frozen = freeze.freeze_parameters(model, ["embeddings", "encoder"])
    assert not model.get_input_embeddings().weight.requires_grad
    assert all(not p.requires_grad for p in model.get_encoder().parameters())
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trainable
    assert all("decoder" in name for name in trainable)
    assert set(frozen).isdisjoint(trainable)


def test_freeze_of_the_encoder_alone_leaves_the_shared_embeddings_trainable() -> None:
    model = tiny_model("bart")
    freeze.freeze_parameters(model, ["encoder"])
    assert model.get_input_embeddings().weight.requires_grad


def test_freeze_takes_patterns_and_refuses_what_matches_nothing_or_everything() -> None:
    model = tiny_model("bart")
    assert all("layers.0" in name for name in freeze.freeze_parameters(model, ["model.decoder.layers.0.*"]))
    with pytest.raises(PartError, match='matches "enkoder"'):
        freeze.freeze_parameters(model, ["enkoder"])
    with pytest.raises(PartError, match="nothing to train"):
        freeze.freeze_parameters(tiny_model("bart"), ["*"])


def test_frozen_weights_do_not_move_and_the_others_do() -> None:
    model = tiny_model("bart")
    names = freeze.freeze_parameters(model, ["embeddings", "encoder"])
    before = {name: value.clone() for name, value in model.named_parameters()}
    train(train_job(model=model, num_steps=2))
    moved = {name for name, value in model.named_parameters() if not torch.equal(before[name], value)}
    assert moved
    assert moved.isdisjoint(names)


def test_checksum_sees_one_changed_bit() -> None:
    model = tiny_model("bart")
    name, parameter = next(iter(model.named_parameters()))
    before = freeze.checksum(model, [name])
    with torch.no_grad():
        parameter[0, 0] = torch.nextafter(parameter[0, 0], torch.tensor(torch.inf))
    assert freeze.checksum(model, [name]) != before


@given(st.lists(st.integers(3, 99), max_size=30), st.integers(1, 40), st.integers(0, 1))
def test_cut_tokens_keeps_the_closing_token_and_never_exceeds_the_maximum(
    words: list[int], maximum: int, num_closing: int
) -> None:
    tokens = [*words, *[2] * num_closing]
    cut = list(truncate.cut_tokens(tokens, maximum, num_closing))
    assert len(cut) == min(len(tokens), maximum)
    assert cut[len(cut) - num_closing :] == tokens[len(tokens) - num_closing :]
    assert cut[: len(cut) - num_closing] == words[: len(cut) - num_closing]


def test_early_stopping_ends_after_patience_flat_validations_and_restores_the_best_weights() -> None:
    facts: dict[str, Any] = {}
    watch = early_stopping.StopWhenFlat(patience=2, threshold=0.1, restore_best=True, facts=facts)
    model = torch.nn.Linear(1, 1)
    verdicts = []
    for step, loss in enumerate([3.0, 2.0, 1.95, 2.5]):
        torch.nn.init.constant_(model.weight, float(step))
        verdicts.append(watch.on_validation(model, step, loss))
    assert verdicts == [False, False, False, True]  # 1.95 is no gain of more than 0.1
    watch.on_train_end(model)
    assert model.weight.item() == 1.0
    assert facts == {
        "num_validations": 4, "best_loss": 2.0, "best_step": 1, "stopped_early": True, "restored_best": True,
    }  # fmt: skip


def test_early_stopping_without_restoring_keeps_the_last_weights() -> None:
    watch = early_stopping.StopWhenFlat(patience=1, threshold=0.0, restore_best=False, facts={})
    model = torch.nn.Linear(1, 1)
    assert [watch.on_validation(model, i, loss) for i, loss in enumerate([1.0, 2.0])] == [False, True]
    torch.nn.init.constant_(model.weight, 7.0)
    watch.on_train_end(model)
    assert model.weight.item() == 7.0


def test_adafactor_keeps_less_state_than_adamw() -> None:
    def state(name: str) -> int:
        return adafactor.state_byte(train(train_job(num_steps=1, optimizer=name)).optimizer)

    num_parameters = sum(p.numel() for p in tiny_model("bart").parameters())
    assert state("adamw") >= 8 * num_parameters
    assert state("adafactor") < 0.5 * state("adamw")


def test_zero_shot_is_refused_beside_any_method_that_changes_training() -> None:
    assert not plan_settings(Settings(), (MethodCall("bf16"), MethodCall("zero_shot")), "llama").trains
    with pytest.raises(PartError, match='"lora" is about training, which "zero_shot" leaves out'):
        plan_settings(Settings(), (MethodCall("zero_shot"), MethodCall("lora")), "llama")


def test_freeze_names_no_half_of_a_model_that_has_one_stack() -> None:
    assert set(freeze.ONE_STACK) == {
        family.name
        for family in catalogue.families()
        if family.dimensions({**next(iter(family.sizes.values()))}).is_one_stack
    }
    with pytest.raises(PartError, match="llama has no encoder of its own"):
        plan_settings(Settings(), (MethodCall("freeze", {"modules": ["encoder"]}),), "llama")
    plan_settings(Settings(), (MethodCall("freeze", {"modules": ["embeddings"]}),), "llama")


def test_a_batch_that_parts_and_processes_cannot_share_is_refused() -> None:
    calls = (MethodCall("ddp", {"num_processes": 4}), MethodCall("gradient_accumulation", {"num_parts": 8}))
    with pytest.raises(PartError, match="a forward pass of 2 examples is not shared out evenly over 4 processes"):
        plan_settings(Settings(), calls, "bart")
