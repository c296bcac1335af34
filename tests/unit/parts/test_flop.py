"""Closed-form FLOPs against torch's own counter."""

from __future__ import annotations

import pytest

from kilowit.parts import catalogue
from kilowit.parts.flop import flop_per_token, forward_flop, generate_flop
from kilowit.parts.model import LoadedModel
from kilowit.parts.models import bart

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def counted_flop(name: str, num_source_tokens: int, num_target_tokens: int) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    from kilowit.parts.causal_model import as_summarizer
    from kilowit.parts.pretrained import auto_class

    family = catalogue.scratch_family(name)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    config = family.build_config({**family.sizes[name], **ids}, 1024)
    looks_at_values = family.name in ("led", "bigbird_pegasus")
    with torch.device("cpu" if looks_at_values else "meta"):  # meta: shapes alone, no weights, no time
        model = auto_class(family).from_config(config, attn_implementation="eager").eval()
        if family.default_prompt:
            as_summarizer(model, 0)
        if looks_at_values and family.prepare:
            family.prepare(LoadedModel(model, None, family, "", ""))
        source = torch.zeros(1, num_source_tokens, dtype=torch.long)
        target = torch.zeros(1, num_target_tokens, dtype=torch.long)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(input_ids=source, decoder_input_ids=target, use_cache=False)
    return float(counter.get_total_flops())


@pytest.mark.parametrize(
    "name",
    ["bart-tiny", "bart-large", "t5-tiny", "t5-base", "pegasus-mini", "pegasus-large", "led-tiny", "led-mini",
     "bigbird_pegasus-tiny", "bigbird_pegasus-mini", "prophetnet-tiny", "prophetnet-large", "pegasus_x-tiny",
     "pegasus_x-base", "longt5-tiny", "longt5-local-base", "longt5-tglobal-base", "mt5-tiny", "bert2bert-tiny",
     "unilm-tiny", "llama-tiny", "smollm2-135m", "qwen2.5-0.5b", "gpt2-tiny", "gpt2-base",
     "mbart-tiny", "mbart-large"],
)  # fmt: skip
@pytest.mark.parametrize(("num_source_tokens", "num_target_tokens"), [(147, 26), (1024, 128)])
def test_forward_flop_equals_the_flop_counter(name: str, num_source_tokens: int, num_target_tokens: int) -> None:
    size = catalogue.resolve_dimensions({"scratch": name})
    assert size is not None
    formula = forward_flop(size.dimensions, num_source_tokens, num_target_tokens)
    assert formula == pytest.approx(counted_flop(name, num_source_tokens, num_target_tokens), rel=0.001)


def test_bart_large_costs_what_its_sizes_say() -> None:
    # per source token: encoder 2 x 12 (4 d^2 + 2 d f), cross keys and values 2 x 12 x 2 d^2, with d = 1024, f = 4096
    each = flop_per_token(bart.dimensions(bart.SIZES["bart-large"]))
    assert each.source == 2 * 12 * (4 * 1024**2 + 2 * 1024 * 4096) + 2 * 12 * 2 * 1024**2
    # per target token: decoder 2 x 12 (6 d^2 + 2 d f), head 2 d V
    assert each.target == 2 * 12 * (6 * 1024**2 + 2 * 1024 * 4096) + 2 * 1024 * 50265


def test_generating_greedily_costs_a_forward_pass_less_the_masked_half_of_the_decoder_scores() -> None:
    dimensions = bart.dimensions(bart.SIZES["bart-base"])
    masked = 4 * dimensions.d_attention * dimensions.decoder_layers * 20 * 19 / 2
    assert generate_flop(dimensions, 100, 20, 1) == pytest.approx(forward_flop(dimensions, 100, 20) - masked)
    encoder = generate_flop(dimensions, 100, 20, 0)
    beam = generate_flop(dimensions, 100, 20, 1) - encoder
    assert generate_flop(dimensions, 100, 20, 4) == pytest.approx(encoder + 4 * beam)
