"""mBART: BART pretrained on 25 or 50 languages, which it tells apart by a token of their own.

What it is     BART with pre-norm layers, a final norm in both halves and one vocabulary for all languages.
Checkpoints    facebook/mbart-large-cc25 (611 M), facebook/mbart-large-50 (611 M), their fine-tuned relatives.
From scratch   mbart-tiny (1.7 M), mbart-mini (10 M), mbart-large: random weights and a vocabulary of our own.
Language       the model's option `language`, a code of its tokenizer (en_XX), for documents and summaries alike.
               mBART-25 has it at the end of every text and starts summaries with it; mBART-50 has it at the beginning
               of every text and forces it as the first token of a summary. The tokenizer says which of the two it is.
Prefix         none.
Precision      trains in fp32, bf16 and fp16.
Length         at most max_position_embeddings (1,024 in the published checkpoints) source tokens.
Source         Liu et al. 2020, arXiv 2001.08210 (25 languages); Tang et al. 2020, arXiv 2008.00401 (50). Sizes: their
               config.json. Generation: ours, as for BART.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts.model import Family, LoadedModel
from kilowit.parts.models import bart

GENERATION: Final = {
    name: dataclasses.replace(defaults, source="ours: as for BART") for name, defaults in bart.GENERATION.items()
}
SIZES: Final = {
    "mbart-tiny": bart.SIZES["bart-tiny"],
    "mbart-mini": bart.SIZES["bart-mini"],
    "mbart-large": {**bart.SIZES["bart-large"], "vocab_size": 250054},
    "mbart-large-cc25": {**bart.SIZES["bart-large"], "vocab_size": 250027},
}
CHECKPOINTS: Final = {
    "facebook/mbart-large-cc25": "mbart-large-cc25",
    "facebook/mbart-large-50": "mbart-large",
}


def build_config(arguments: Mapping[str, Any], max_positions: int) -> Any:
    """Build the configuration of a model with random weights.

    Args:
        arguments: keyword arguments of the configuration, special token ids among them.
        max_positions: longest source or target, tokens.
    """
    from transformers import MBartConfig

    positions = max(max_positions, arguments["max_position_embeddings"])
    return MBartConfig(
        **{**arguments, "max_position_embeddings": positions},
        decoder_start_token_id=arguments["eos_token_id"],
        forced_eos_token_id=arguments["eos_token_id"],
        dropout=0.1,
        scale_embedding=True,
    )


def num_parameters(config: Mapping[str, Any]) -> int:
    """Count the parameters: BART's, and a norm at the end of both halves."""
    return bart.num_parameters(config) + 2 * 2 * int(config["d_model"])


def prepare(loaded: LoadedModel) -> None:
    """Set the language of documents and summaries, where the tokenizer has it.

    Raises:
        PartError: the tokenizer does not know the language, or puts it nowhere.
    """
    tokenizer, model, language = loaded.tokenizer, loaded.model, loaded.language or "en_XX"
    language_id = tokenizer.convert_tokens_to_ids(language)
    if language_id in (None, tokenizer.unk_token_id):
        raise PartError(f'the tokenizer has no language "{language}"', hint="Name one of its codes, such as en_XX.")
    if hasattr(tokenizer, "src_lang"):
        tokenizer.src_lang = tokenizer.tgt_lang = language
    tokens = tokenizer("a")["input_ids"]
    if tokens[-1] == language_id:
        start_id, forced_id = language_id, None
    elif tokens[0] == language_id:
        start_id, forced_id = tokenizer.eos_token_id, language_id
    else:
        raise PartError(f'the tokenizer puts "{language}" at neither end of a text', hint="Name mBART's own tokenizer.")
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = start_id
    model.generation_config.forced_bos_token_id = forced_id


def config_of_checkpoint(row: Mapping[str, str]) -> dict[str, Any] | None:
    """Return None: the table of checkpoints has no mBART; `CHECKPOINTS` knows ours."""
    return None


FAMILY: Final = Family(
    name="mbart",
    model_types=("mbart",),
    prefix="",
    fp16_trains=True,
    sizes=SIZES,
    # The language takes the place of the token that begins a text, as in mBART-50.
    special_tokens={"bos_token": "en_XX", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    build_config=build_config,
    dimensions=bart.dimensions,
    num_parameters=num_parameters,
    config_of_checkpoint=config_of_checkpoint,
    generation=GENERATION,
    prepare=prepare,
    has_languages=True,
    checkpoints=CHECKPOINTS,
)
