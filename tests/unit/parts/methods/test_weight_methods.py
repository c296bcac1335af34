"""Methods that change what is trained, in which numbers, and by which optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from kilowit.errors import PartError, PlanError
from kilowit.parts import method
from kilowit.parts.method import MethodCall, NoOptions, has_ampere_gpu, plan_settings, require_machine
from kilowit.parts.methods import adafactor, adam8bit, lora, tf32
from kilowit.run.batches import Collator
from kilowit.run.engines.trainer import train
from kilowit.settings import Settings
from tiny_training import PAD, random_split, tiny_model, train_job

FAMILIES = ["bart", "t5", "pegasus"]


def logits(model: Any) -> torch.Tensor:
    batch = Collator(random_split(4, seed=3), PAD, model.prepare_decoder_input_ids_from_labels)([0, 1, 2, 3])
    del batch["labels"]
    with torch.no_grad():
        return model.eval()(**batch).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_trains_its_corrections_alone_and_merging_changes_no_output(family: str, tmp_path: Path) -> None:
    plain, facts = tiny_model(family), dict[str, Any]()
    keys = list(plain.state_dict())
    model = lora.on_model(plain, lora.Options(r=2), facts)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    train(train_job(family, model=model, num_steps=3, learning_rate=0.05))
    moved = {name for name, value in model.named_parameters() if not torch.equal(before[name], value)}
    assert moved
    assert all("lora_" in name for name in moved)
    assert sum("lora_A" in name for name in before) == 2 * (2 + 2 * 2)  # 2 encoder, 2 decoder layers with two each
    adapted = logits(model)
    merged = lora.on_trained(model, lora.Options(r=2), facts)
    assert type(merged) is type(tiny_model(family))
    assert list(merged.state_dict()) == keys
    assert all(parameter.requires_grad for parameter in merged.parameters())
    assert logits(merged) == pytest.approx(adapted, abs=1e-5)
    assert (logits(merged) - logits(tiny_model(family))).abs().max() > 1e-4
    merged.save_pretrained(tmp_path)
    assert logits(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)) == pytest.approx(adapted, abs=1e-5)


def test_lora_corrects_the_layers_that_are_named_and_refuses_names_that_are_none() -> None:
    facts: dict[str, Any] = {}
    model = lora.on_model(tiny_model("bart"), lora.Options(modules=["fc1"]), facts)
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_" in name}
    assert adapted == {"fc1"}
    with pytest.raises(PartError, match='called "fc9"') as raised:
        lora.on_model(tiny_model("bart"), lora.Options(modules=["fc1", "fc9"]), {})
    assert "q_proj" in str(raised.value.hint)


@pytest.mark.parametrize(("first", "second"), [("lora", "freeze"), ("adam8bit", "adafactor"), ("tf32", "bf16")])
def test_what_says_the_same_twice_is_refused(first: str, second: str) -> None:
    options = {"freeze": {"modules": ["encoder"]}}
    with pytest.raises(PartError, match="conflicts"):
        plan_settings(Settings(), (MethodCall(first), MethodCall(second, options.get(second, {}))), "bart")


def large() -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    sizes = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in
             (("layers", 1), ("attention_heads", 2), ("ffn_dim", 256))}  # fmt: skip
    return BartForConditionalGeneration(
        BartConfig(vocab_size=64, d_model=128, max_position_embeddings=64, pad_token_id=PAD, eos_token_id=2,
                   decoder_start_token_id=2, dropout=0.0, **sizes)
    )  # fmt: skip


def test_adam8bit_keeps_a_quarter_of_adamws_state_outside_the_embeddings() -> None:
    model = large()
    optimizer = train(train_job(model=model, num_steps=2, optimizer="adam8bit")).optimizer
    numbers = adam8bit.state_numbers(optimizer)
    embedded = {p.data_ptr(): p for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    small = [p for p in model.parameters() if p.numel() < 4096 and p.data_ptr() not in embedded]
    num_fp32 = sum(p.numel() for p in [*embedded.values(), *small])
    assert numbers["num_trained_parameters"] == sum(p.numel() for p in model.parameters())
    assert numbers["num_8bit_parameters"] == numbers["num_trained_parameters"] - num_fp32
    assert numbers["state_byte"] - 8 * num_fp32 < 0.3 * 8 * numbers["num_8bit_parameters"]
    full = adafactor.state_byte(train(train_job(model=large(), num_steps=1)).optimizer)
    assert numbers["state_byte"] < full


def test_adam8bit_inherits_no_exception_from_an_earlier_training() -> None:
    from bitsandbytes.optim import GlobalOptimManager

    model = large()
    manager = GlobalOptimManager.get_instance()
    manager.pid2config.update({id(parameter): {"optim_bits": 32} for parameter in model.parameters()})
    optimizer = train(train_job(model=model, num_steps=1, optimizer="adam8bit")).optimizer
    fresh = train(train_job(model=large(), num_steps=1, optimizer="adam8bit")).optimizer
    assert adam8bit.state_numbers(optimizer) == adam8bit.state_numbers(fresh)
    assert adam8bit.state_numbers(fresh)["num_8bit_parameters"] > 0


@pytest.mark.skipif(has_ampere_gpu(), reason="this machine has the GPU that tf32 asks for")
def test_tf32_is_checked_anywhere_but_refused_where_nothing_can_do_it() -> None:
    assert plan_settings(Settings(), (MethodCall("tf32"),), "t5").precision == "tf32"
    with pytest.raises(PlanError, match="Ampere"):
        require_machine((MethodCall("tf32"),))
    with pytest.raises(PlanError, match=r"8\.0"):
        tf32.on_model(tiny_model("bart"), NoOptions(), {})


def test_products_of_float32_are_told_from_those_of_tf32() -> None:
    assert tf32.product_error("cpu") == 0.0


@pytest.mark.gpu
@pytest.mark.skipif(not has_ampere_gpu(), reason="needs an NVIDIA GPU of Ampere or newer")
def test_tf32_changes_what_the_device_computes() -> None:
    before = torch.backends.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    try:
        tf32.on_model(tiny_model("bart"), NoOptions(), {})
        assert tf32.product_error("cuda") == pytest.approx(2**-12, rel=0.01)
    finally:
        torch.backends.fp32_precision, torch.backends.cuda.matmul.fp32_precision = before


@pytest.mark.parametrize(("name", "package"), [("lora", "peft"), ("adam8bit", "bitsandbytes")])
def test_method_whose_package_is_missing_is_refused_with_its_name(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_machine((MethodCall(name),))
    monkeypatch.setattr(method, "find_spec", lambda module: None)
    with pytest.raises(PlanError, match=rf"{package} \(pip install 'kilowit\[{name}\]'\)") as raised:
        require_machine((MethodCall(name),))
    assert "install it" in str(raised.value.hint)
