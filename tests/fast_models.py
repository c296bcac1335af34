"""Tiny models that write varied summaries of varied lengths, and the two generators over them."""

from __future__ import annotations

from typing import Any

import torch

from kilowit.parts import load
from kilowit.parts.fast_generate import FastGenerator
from kilowit.parts.model import LoadedModel
from kilowit.parts.stock_generate import StockGenerator
from tiny_training import EOS, tiny_model

END_ADVANTAGE = {"bart": 4.0, "pegasus": 4.0, "t5": 6.0}  # logits of the end token: summaries end at many lengths


def loaded_model(family: str, seed: int = 3) -> LoadedModel:
    """Weights large enough to write different words, an end token that comes now and then."""
    model = tiny_model(family).eval()
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.5)
    if family == "t5":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        model.lm_head.weight.data[EOS] *= END_ADVANTAGE[family]
    else:
        model.final_logits_bias[0, EOS] = END_ADVANTAGE[family]
    return LoadedModel(model, None, load("models", family).FAMILY, "scratch:tiny", "tiny")


def generators(family: str, **forced: Any) -> tuple[StockGenerator, FastGenerator]:
    """Return stock and fast over one model; `forced` changes its generation config."""
    loaded = loaded_model(family)
    for name, value in forced.items():
        setattr(loaded.model.generation_config, name, value)
    return StockGenerator(loaded), FastGenerator(loaded)
