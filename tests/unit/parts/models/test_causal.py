"""Decoder-only models as summarizers: prompts, padding, loss, generation, sizes and FLOPs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_pretrained import load, make_corpus

from kilowit.errors import PartError, StudyError
from kilowit.parts import catalogue
from kilowit.parts.flop import forward_flop
from kilowit.parts.models import gpt2, llama
from kilowit.parts.prompt import Prompt, read_prompt
from kilowit.run.batches import tokenize_split
from kilowit.study import Study

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

START, END, PAD = 1, 2, 0
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def config_of(model_type: str) -> Any:
    if model_type == "gpt2":
        return transformers.GPT2Config(
            n_embd=48, n_layer=2, n_head=4, vocab_size=90, n_positions=64, bos_token_id=1, eos_token_id=2,
            attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, initializer_range=0.3,
        )  # fmt: skip
    return transformers.AutoConfig.for_model(
        model_type, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
        intermediate_size=80, vocab_size=90, max_position_embeddings=64, pad_token_id=PAD, bos_token_id=1,
        eos_token_id=END, initializer_range=0.3, sliding_window=6 if model_type in ("mistral", "gemma2") else None,
    )  # fmt: skip


def summarizer(model_type: str) -> Any:
    from kilowit.parts.causal_model import as_summarizer

    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config_of(model_type)).eval()
    model.config.pad_token_id = model.generation_config.pad_token_id = PAD
    return as_summarizer(model, START)


def random_ids(num_rows: int, num_tokens: int, seed: int = 0) -> Any:
    return torch.randint(3, 90, (num_rows, num_tokens), generator=torch.Generator().manual_seed(seed))


def padded_sources() -> tuple[Any, Any]:
    ids = random_ids(3, 9)
    mask = torch.ones_like(ids)
    for row, length in enumerate((9, 6, 4)):
        ids[row, length:], mask[row, length:] = PAD, 0
    return ids, mask


@pytest.mark.parametrize("model_type", ["gpt2", *llama.LAYOUTS])
def test_sizes_and_flops_of_every_model_type_are_those_of_its_class(model_type: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = summarizer(model_type)
    model.set_attn_implementation("eager")  # whose products torch counts on a CPU too
    family = gpt2.FAMILY if model_type == "gpt2" else llama.FAMILY
    config = model.config.to_dict()
    assert catalogue.family_of(config) is family
    assert family.num_parameters(config) == sum(p.numel() for p in model.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=random_ids(1, 20), decoder_input_ids=random_ids(1, 7))
    assert forward_flop(family.dimensions(config), 20, 7) == pytest.approx(counter.get_total_flops(), rel=0.03)


@pytest.mark.parametrize(
    ("hub_id", "published"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
        ("HuggingFaceTB/SmolLM2-360M", 361_821_120),
        ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1_100_048_384),
        ("meta-llama/Llama-3.2-1B", 1_235_814_400),
        ("openai-community/gpt2", 124_439_808),
        ("openai-community/gpt2-medium", 354_823_168),
        ("distilbert/distilgpt2", 81_912_576),
    ],
)
def test_known_checkpoints_have_their_published_number_of_parameters(hub_id: str, published: int) -> None:
    size = catalogue.resolve_dimensions({"hub": hub_id})
    assert size is not None and size.num_parameters == published


@pytest.mark.parametrize("model_type", ["gpt2", *llama.LAYOUTS])
def test_padding_changes_nothing_and_the_loss_is_that_of_the_summary_alone(model_type: str) -> None:
    model = summarizer(model_type)
    ids, mask = padded_sources()
    labels = random_ids(3, 5, seed=1)
    labels[1, 3:] = -100
    together = model(input_ids=ids, attention_mask=mask, labels=labels)
    stock = transformers.AutoModelForCausalLM.from_config(config_of(model_type)).eval()
    stock.load_state_dict(model.state_dict())
    losses, num_tokens = [], 0
    for row in range(3):
        source, target = ids[row][mask[row] > 0], labels[row][labels[row] >= 0]
        whole = torch.cat([source, torch.tensor([START]), target])[None]
        logits = stock(input_ids=whole).logits[0, len(source) : -1]
        torch.testing.assert_close(together.logits[row, : len(target)], logits, rtol=1e-4, atol=1e-4)
        losses.append(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
        num_tokens += len(target)
    torch.testing.assert_close(together.loss, sum(losses) / num_tokens)


@pytest.mark.parametrize("model_type", ["gpt2", *llama.LAYOUTS])
@pytest.mark.parametrize("settings", [{"num_beams": 1}, {"num_beams": 3, "length_penalty": 2.0, "min_new_tokens": 3}])
def test_reading_the_source_once_gives_the_summaries_of_stock_generation(
    model_type: str, settings: dict[str, Any]
) -> None:
    from kilowit.parts.causal_model import left_padded

    model = summarizer(model_type)
    ids, mask = padded_sources()
    ours = model.generate(ids, mask, max_new_tokens=8, **settings)
    assert ours[:, 0].tolist() == [START] * 3
    stock = transformers.AutoModelForCausalLM.from_config(config_of(model_type)).eval()
    stock.load_state_dict(model.state_dict())
    left, left_mask = left_padded(ids, mask)
    begun = torch.cat([left, torch.full((3, 1), START)], dim=1)
    theirs = stock.generate(
        input_ids=begun, attention_mask=torch.cat([left_mask, torch.ones(3, 1, dtype=torch.long)], dim=1),
        max_new_tokens=8, do_sample=False, pad_token_id=PAD, **settings,
    )  # fmt: skip
    assert torch.equal(ours, theirs[:, ids.shape[1] :])


def test_a_summary_may_repeat_the_document_but_not_itself() -> None:
    model = summarizer("llama")
    ids, mask = padded_sources()
    free = model.generate(ids, mask, max_new_tokens=12, min_new_tokens=12, num_beams=1)
    once = model.generate(ids, mask, max_new_tokens=12, min_new_tokens=12, num_beams=2, no_repeat_ngram_size=1)
    assert any(len(set(row)) < len(row) for row in free[:, 1:].tolist())
    for row in once[:, 1:].tolist():
        assert len(set(row)) == len(row)
    # A document that the first summary follows word for word: transformers' own rule would forbid every word of it.
    document = free[:1, 1:3]
    echo = model.generate(torch.cat([ids[:1], document], dim=1), max_new_tokens=2, num_beams=1, no_repeat_ngram_size=1)
    again = model.generate(torch.cat([ids[:1], document], dim=1), max_new_tokens=2, num_beams=1, no_repeat_ngram_size=0)
    assert echo[0, 1] == again[0, 1]


@pytest.mark.parametrize("size", ["llama-tiny", "gpt2-tiny"])
def test_documents_are_cut_and_the_prompt_never(size: str) -> None:
    loaded = load({"scratch": size, "vocabulary_size": 500, "prompt": "Read:\n{document}\nIn short:"})
    assert loaded.prompt is not None
    split = tokenize_split(
        make_corpus().train, loaded.tokenizer, prefix="", prompt=loaded.prompt, max_source_tokens=32,
        max_target_tokens=8,
    )  # fmt: skip
    opening, closing = list(loaded.prompt.opening), list(loaded.prompt.closing)
    for source, target in zip(split.source_tokens, split.target_tokens, strict=True):
        assert len(source) == 32 and list(source[: len(opening)]) == opening
        assert [*source[len(source) - len(closing) + 1 :], loaded.prompt.start] == closing
        assert len(target) <= 8 and target[-1] == loaded.tokenizer.eos_token_id
    assert max(split.num_source_tokens_whole) > 32
    assert loaded.tokenizer.decode(opening, skip_special_tokens=True) == "Read:\n"
    with pytest.raises(PartError, match="leaves none for a document") as caught:
        loaded.prompt.source([5], loaded.prompt.num_tokens)
    assert "max_source_tokens" in str(caught.value.hint)


def test_a_tokenizer_with_a_chat_template_is_asked_in_its_chat() -> None:
    tokenizer = load({"scratch": "llama-tiny", "vocabulary_size": 500}).tokenizer
    tokenizer.chat_template = CHAT
    prompt = read_prompt(tokenizer, None)
    before, after = tokenizer.decode(prompt.opening), tokenizer.decode(prompt.closing)
    assert before.startswith("<|user|>Summarize the following text.")
    assert after == "</s><|assistant|>"
    plain = read_prompt(tokenizer, "{document} TL;DR:")
    assert tokenizer.decode(plain.closing) == " TL;DR:"
    tokenizer.chat_template = "{{ messages[0]['role'] }}"
    with pytest.raises(PartError, match="chat template leaves no place"):
        read_prompt(tokenizer, None)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("Sum up", "0 times"), ("{document}{document}!", "2 times"), ("Sum up: {document} ", "nothing stands behind")],
)
def test_a_prompt_that_cannot_be_is_refused_with_the_study(prompt: str, message: str) -> None:
    text = f'{{name: a, datasets: [docstrings], models: [{{scratch: llama-tiny, prompt: "{prompt}"}}]}}'
    with pytest.raises(StudyError, match=message):
        Study.parse(text)


def test_a_prompt_for_a_model_with_an_encoder_is_refused() -> None:
    text = "{name: a, datasets: [docstrings], models: [{scratch: bart-tiny, prompt: '{document} TL;DR:'}]}"
    with pytest.raises(StudyError, match="bart has an encoder for the document and takes no prompt"):
        Study.parse(text)


@pytest.mark.parametrize("size", ["llama-tiny", "gpt2-tiny"])
def test_a_model_that_is_kept_is_read_again_with_its_prompt(size: str, tmp_path: Path) -> None:
    loaded = load({"scratch": size, "vocabulary_size": 500, "prompt": "{document} TL;DR:"})
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    again = load({"folder": str(tmp_path)}, seed=4)
    assert again.prompt == loaded.prompt and again.source == f"folder:{tmp_path.name}"
    other = load({"folder": str(tmp_path), "prompt": "{document}\nIn short:"})
    assert isinstance(other.prompt, Prompt) and other.prompt.closing != again.prompt.closing  # type: ignore[union-attr]
    assert again.model.config.architectures == loaded.model.config.architectures
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    pairs = zip(plain.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
