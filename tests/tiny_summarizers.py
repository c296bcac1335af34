"""Tiny models saved as save_pretrained leaves them, with a vocabulary of numbered words, and what generate writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kilowit.parts.runtime import GenerateOptions
from tiny_training import BOS, EOS, PAD, VOCABULARY_SIZE, tiny_model

SHARPER = 6  # times the weights: random ones of the usual size write one token for ever


def sharp_model(family: str, seed: int = 3) -> Any:
    """A tiny model in evaluation mode that is sure of what it writes."""
    model = bigbird_pegasus() if family == "bigbird_pegasus" else tiny_model(family, seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(SHARPER)
    return model.eval()


def bigbird_pegasus() -> Any:
    from transformers import BigBirdPegasusConfig, BigBirdPegasusForConditionalGeneration

    torch.manual_seed(0)
    sides = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    config = BigBirdPegasusConfig(
        vocab_size=VOCABULARY_SIZE, d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, attention_type="original_full",
        max_position_embeddings=64, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, decoder_start_token_id=EOS,
        **sides,
    )  # fmt: skip
    return BigBirdPegasusForConditionalGeneration(config)


def word_tokenizer() -> Any:
    """<s> <pad> </s> <unk> w4 w5 ...; a text ends with </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": BOS, "<pad>": PAD, "</s>": EOS, "<unk>": 3} | {f"w{i}": i for i in range(4, VOCABULARY_SIZE)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def random_sources(num_sources: int = 12, longest: int = 40, seed: int = 0) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, longest, num_sources)
    return [[*draw.integers(4, VOCABULARY_SIZE, int(length)).tolist(), EOS] for length in lengths]


def written_by_generate(model: Any, sources: Sequence[Sequence[int]], options: GenerateOptions) -> list[list[int]]:
    """Return what transformers' generate writes, one source at a time."""
    from kilowit.parts.stock_generate import new_tokens, search_config

    config = search_config(model, options)
    with torch.inference_mode():
        rows = [model.generate(torch.tensor([source]), generation_config=config)[0, 1:].tolist() for source in sources]
    return [new_tokens(row, [EOS]) for row in rows]
