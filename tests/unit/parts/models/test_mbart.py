"""mBART: the two ways to mark a language, with its tokenizers' own classes on small vocabularies."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from test_pretrained import load, make_corpus

from kilowit.errors import PartError, StudyError
from kilowit.parts import catalogue
from kilowit.run.batches import Collator, tokenize_split
from kilowit.study import Study

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
PIECES += [(start + letter, -3.0) for letter in string.ascii_letters + string.digits + ".," for start in ("▁", "")]


def saved(tmp_path: Path, kind: str) -> str:
    """Save a tiny mBART with the tokenizer of one of the two models."""
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES as CODES_25
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as CODES_50

    codes = CODES_25 if kind == "MBartTokenizer" else CODES_50
    tokenizer = getattr(transformers, kind)(vocab=[*PIECES, *((code, 0.0) for code in codes), ("<mask>", 0.0)])
    torch.manual_seed(1)
    sizes = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    sizes |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16, "max_position_embeddings": 128}
    model = transformers.MBartForConditionalGeneration(
        transformers.MBartConfig(**sizes, vocab_size=len(tokenizer), decoder_start_token_id=2, init_std=0.3)
    )
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def batch_of(loaded: Any) -> dict[str, Any]:
    split = tokenize_split(
        make_corpus().train, loaded.tokenizer, prefix="", max_source_tokens=20, max_target_tokens=8
    )  # fmt: skip
    return Collator(split, loaded.tokenizer.pad_token_id, loaded.model.prepare_decoder_input_ids_from_labels)([0, 1])


@pytest.mark.parametrize("language", ["en_XX", "de_DE"])
def test_mbart_25_ends_every_text_with_its_language_and_starts_summaries_with_it(language: str, tmp_path: Path) -> None:
    loaded = load({"folder": saved(tmp_path, "MBartTokenizer"), "language": language})
    code, end = loaded.tokenizer.convert_tokens_to_ids(language), loaded.tokenizer.eos_token_id
    batch = batch_of(loaded)
    assert batch["input_ids"].shape[1] == 20
    assert batch["input_ids"][:, -2:].tolist() == batch["labels"][:, -2:].tolist() == [[end, code]] * 2
    assert batch["decoder_input_ids"][:, 0].tolist() == [code] * 2
    assert torch.equal(batch["decoder_input_ids"][:, 1:], batch["labels"][:, :-1])
    ids = loaded.model.generate(input_ids=batch["input_ids"], max_new_tokens=5, min_new_tokens=0)
    assert ids[:, 0].tolist() == [code] * 2
    assert loaded.model.generation_config.forced_bos_token_id is None


@pytest.mark.parametrize("language", ["en_XX", "sl_SI"])
def test_mbart_50_begins_every_text_with_its_language_and_forces_it_on_summaries(language: str, tmp_path: Path) -> None:
    loaded = load({"folder": saved(tmp_path, "MBart50Tokenizer"), "language": language})
    code, end = loaded.tokenizer.convert_tokens_to_ids(language), loaded.tokenizer.eos_token_id
    batch = batch_of(loaded)
    assert batch["input_ids"][:, [0, -1]].tolist() == batch["labels"][:, [0, -1]].tolist() == [[code, end]] * 2
    assert batch["decoder_input_ids"][:, :2].tolist() == [[end, code]] * 2
    ids = loaded.model.generate(input_ids=batch["input_ids"], max_new_tokens=5, min_new_tokens=0)
    assert ids[:, :2].tolist() == [[end, code]] * 2


def test_a_language_that_there_is_not_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, "MBartTokenizer")
    with pytest.raises(PartError, match='the tokenizer has no language "xx_YY"'):
        load({"folder": folder, "language": "xx_YY"})
    text = "{name: a, datasets: [docstrings], models: [{hub: facebook/bart-base, language: en_XX}]}"
    with pytest.raises(StudyError, match="bart has no languages to choose from"):
        Study.parse(text)


@pytest.mark.parametrize(
    ("hub_id", "published"),
    [("facebook/mbart-large-cc25", 610_851_840), ("facebook/mbart-large-50", 610_879_488)],
)
def test_known_checkpoints_have_the_parameters_of_their_class(hub_id: str, published: int) -> None:
    size = catalogue.resolve_dimensions({"hub": hub_id})
    assert size is not None and size.num_parameters == published
    config = size.family.build_config(
        {**size.family.sizes[size.family.checkpoints[hub_id]], "pad_token_id": 1, "eos_token_id": 2}, 1024
    )
    with torch.device("meta"):
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == published
