"""A model folder of a fraction of a second: a BART or T5 of two layers, with a vocabulary of 300 and its settings."""

from __future__ import annotations

import random
from pathlib import Path

from kilowit.parts.dataset import Corpus, Split
from worker_cells import WORDS


def tiny_corpus(num_documents: int = 40) -> Corpus:
    """Documents of 5 to 30 words whose summary is their first words."""
    draw = random.Random(0)
    documents = [" ".join(draw.choices(WORDS, k=draw.randint(5, 30))) for _ in range(num_documents)]
    ids = [str(i) for i in range(num_documents)]
    split = Split(ids=ids, documents=documents, summaries=[" ".join(d.split()[:4]) for d in documents])
    return Corpus(
        name="tiny", source="made up", licence="none", document_column="document", summary_column="summary",
        train=split, validation=split, test=split, fingerprint="0",
    )  # fmt: skip


def write_model(folder: Path, size: str = "bart-tiny") -> Path:
    """Save a model with random weights, large enough to say another thing of each document, and its tokenizer."""
    import torch

    from kilowit.parts.pretrained import load_model

    spec = {"scratch": size, "vocabulary_size": 300}
    loaded = load_model(spec, corpus=tiny_corpus(), seed=0, max_source_tokens=40, max_target_tokens=12)
    with torch.no_grad():
        for weights in loaded.model.parameters():
            if weights.dim() > 1:
                weights.mul_(6.0)
    config = loaded.model.generation_config
    config.update(num_beams=2, max_new_tokens=8, min_new_tokens=0, no_repeat_ngram_size=0)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder
