"""Make a summarizer of a pretrained encoder: its weights where they fit, random ones where it has none.

Only the worker imports this module: it needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, EncoderDecoderModel

from kilowit.errors import PartError
from kilowit.parts.models.bert2bert import join_configs
from kilowit.parts.unilm_model import UniLMConfig, UniLMForSummarization

# What an encoder's checkpoint may lack, and what is then drawn at random: it never was there to be trained.
NEW: Final = ("pooler", "crossattention", "cls.predictions", "lm_head")


def warm_start(architecture: str, folder: Path, token_ids: Mapping[str, int]) -> Any:
    """Build the model of a family (``bert2bert`` or ``unilm``) from the encoder in a folder.

    Raises:
        PartError: the folder's weights are not those of its config.json.
    """
    if architecture == "unilm":
        half = AutoConfig.from_pretrained(folder)
        config = UniLMConfig(**{**half.to_dict(), **token_ids, "decoder_start_token_id": token_ids["bos_token_id"]})
        return _load(UniLMForSummarization, folder, config=config)
    half = AutoConfig.from_pretrained(folder)
    config = join_configs(half, token_ids)
    encoder = _load(AutoModel, folder)
    decoder = _load(AutoModelForCausalLM, folder, config=config.decoder)
    return EncoderDecoderModel(config=config, encoder=encoder, decoder=decoder)


def _load(kind: Any, folder: Path, **named: Any) -> Any:
    model, report = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **named)
    if missing := _unexpected(sorted(report["missing_keys"])):
        raise PartError(
            f"the weights lack {len(missing)} tensors, first {missing[0]}: they would be random",
            place=str(folder),
            hint="Are these the weights of this config.json?",
        )
    return model


def _unexpected(missing: Sequence[str]) -> list[str]:
    return [name for name in missing if not any(part in name for part in NEW)]
