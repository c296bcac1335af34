"""Train a byte-level BPE on a corpus in seconds: the vocabulary of models from scratch.

The vocabulary has exactly the size asked for, so that a model's size and FLOPs are known before the corpus is read:
where the corpus yields fewer merges, unreachable words fill it up, as fairseq's ``madeupword`` do in BART's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts.dataset import Corpus

NUM_BYTES: Final = 256  # the alphabet of a byte-level vocabulary
MAX_TRAINING_CHARACTERS: Final = 30_000_000  # about 5 s on one core; merges of more text hardly differ


def train_tokenizer(
    corpus: Corpus, *, vocabulary_size: int, special_tokens: Mapping[str, str], max_positions: int
) -> Any:
    """Train a tokenizer on the training split; the same one for the same corpus, on any machine.

    Args:
        vocabulary_size: tokens, special ones included.
        special_tokens: role -> text, in the order of their ids from 0; a mask token comes last of all, as in BART.
        max_positions: noted as the tokenizer's own limit.

    Returns:
        A `PreTrainedTokenizerFast` that `AutoTokenizer` can load once saved.

    Raises:
        PartError: the vocabulary cannot hold the bytes and the special tokens.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    smallest = NUM_BYTES + len(special_tokens)
    if vocabulary_size < smallest:
        raise PartError(
            f"a vocabulary of {vocabulary_size} tokens cannot hold {NUM_BYTES} bytes and the special tokens",
            hint=f"Give vocabulary_size of at least {smallest}.",
        )
    trained = _train_bpe(_training_texts(corpus), vocabulary_size, special_tokens)
    state = json.loads(trained.to_str())
    state["model"]["vocab"] = _fill(state["model"]["vocab"], vocabulary_size, special_tokens)
    state["added_tokens"] = _added_tokens(special_tokens, state["model"]["vocab"])
    backend = Tokenizer.from_str(json.dumps(state))
    backend.post_processor = _framing(special_tokens, state["model"]["vocab"])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_positions,
        clean_up_tokenization_spaces=False,
        padding_side="right",
        truncation_side="right",
        **special_tokens,
    )


def _training_texts(corpus: Corpus) -> Iterator[str]:
    """Yield documents and summaries of the training split, up to the limit."""
    num_left = MAX_TRAINING_CHARACTERS
    for text in chain(*zip(corpus.train.documents, corpus.train.summaries, strict=True)):
        if num_left <= 0:
            return
        num_left -= len(text)
        yield text


def _train_bpe(texts: Iterator[str], vocabulary_size: int, special_tokens: Mapping[str, str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - (1 if "mask_token" in special_tokens else 0),
        min_frequency=2,
        show_progress=False,
        special_tokens=[text for role, text in special_tokens.items() if role != "mask_token"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _fill(vocabulary: dict[str, int], size: int, special_tokens: Mapping[str, str]) -> dict[str, int]:
    """Bring the vocabulary to its size, the mask token last."""
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    last = [special_tokens["mask_token"]] if "mask_token" in special_tokens else []
    words += [f"madeupword{i:04d}" for i in range(size - len(words) - len(last))]
    return {word: i for i, word in enumerate(words + last)}


def _added_tokens(special_tokens: Mapping[str, str], vocabulary: Mapping[str, int]) -> list[dict[str, Any]]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokens = sorted(special_tokens.values(), key=vocabulary.__getitem__)
    return [{"id": vocabulary[token], "content": token, **flags} for token in tokens]


def _framing(special_tokens: Mapping[str, str], vocabulary: Mapping[str, int]) -> Any:
    from tokenizers import processors

    eos, bos = special_tokens["eos_token"], special_tokens.get("bos_token")
    single = f"{bos} $A {eos}" if bos else f"$A {eos}"
    pair = f"{bos} $A {eos} {eos} $B {eos}" if bos else f"$A {eos} $B {eos}"
    used = [(token, vocabulary[token]) for token in (bos, eos) if token]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=used)
