"""From text to tensors, against transformers' own truncation and shift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kilowit.parts.dataset import Split
from kilowit.run.batches import Collator, source_batch, tokenize_split
from tiny_training import PAD, random_split, tiny_model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A byte-level BPE of 300 tokens whose texts begin with <s> and end with </s>, as BART's."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["the cat sat on the mat"] * 4, 300, special_tokens=["<s>", "<pad>", "</s>"])
    bpe._tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>"
    )


@pytest.mark.parametrize("maximum", [3, 7, 100])
def test_cut_sources_equal_those_that_transformers_truncates(tokenizer: Any, maximum: int) -> None:
    texts = ["the cat sat on the mat and saw a dog", "mat", ""]
    split = Split(["a", "b", "c"], texts, ["cat", "mat", "the cat"])
    got = tokenize_split(split, tokenizer, prefix="", max_source_tokens=maximum, max_target_tokens=4)
    expected = tokenizer(texts, truncation=True, max_length=maximum)["input_ids"]
    assert [list(tokens) for tokens in got.source_tokens] == expected
    assert max(got.target_lengths) <= 4
    assert list(got.num_source_tokens_whole) == [len(ids) for ids in tokenizer(texts)["input_ids"]]


def test_prefix_stands_before_every_source_and_no_target(tokenizer: Any) -> None:
    split = Split(["a"], ["cat"], ["mat"])
    got = tokenize_split(split, tokenizer, prefix="on ", max_source_tokens=50, max_target_tokens=50)
    assert tokenizer.decode(got.source_tokens[0], skip_special_tokens=True) == "on cat"
    assert tokenizer.decode(got.target_tokens[0], skip_special_tokens=True) == "mat"


@pytest.mark.parametrize(("family", "start"), [("bart", 2), ("t5", 1), ("pegasus", 2)])
def test_decoder_inputs_are_the_labels_shifted_right(family: str, start: int) -> None:
    split = random_split(5)
    batch = Collator(split, PAD, tiny_model(family).prepare_decoder_input_ids_from_labels)([3, 1, 4])
    labels, decoder = batch["labels"], batch["decoder_input_ids"]
    assert decoder[:, 0].tolist() == [start] * 3
    assert torch.equal(decoder[:, 1:], labels[:, :-1].masked_fill(labels[:, :-1] == -100, PAD))
    for row, index in enumerate([3, 1, 4]):
        assert labels[row][labels[row] != -100].tolist() == list(split.target_tokens[index])


def test_mask_covers_exactly_the_tokens_even_if_they_look_like_padding() -> None:
    from array import array

    batch = source_batch([array("i", [5, PAD, 7]), array("i", [6])], PAD, multiple=4)
    assert batch["input_ids"].tolist() == [[5, PAD, 7, PAD], [6, PAD, PAD, PAD]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_padding_reaches_the_longest_of_the_batch_and_no_further(tmp_path: Path) -> None:
    split = random_split(6)
    batch = Collator(split, PAD, tiny_model("bart").prepare_decoder_input_ids_from_labels)([0, 1, 2])
    assert batch["input_ids"].shape == (3, max(split.source_lengths[:3]))
    assert batch["labels"].shape == (3, max(split.target_lengths[:3]))
