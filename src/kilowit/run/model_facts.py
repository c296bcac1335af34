"""What a run's record says of its model: sizes, and what one token costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kilowit.parts.flop import flop_per_token
from kilowit.parts.model import LoadedModel, num_members_of
from kilowit.record import ModelFacts
from kilowit.settings import Settings


def model_facts(loaded: LoadedModel, settings: Settings) -> ModelFacts:
    """Return the model's card; parameters that are tied count once."""
    parameters = list(loaded.model.parameters())
    each, num_members = flop_per_token(dimensions_of(loaded)), num_members_of(loaded.model)
    return ModelFacts(
        name=loaded.name,
        family=loaded.family.name,
        source=loaded.source,
        num_parameters=sum(p.numel() for p in parameters),
        num_trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        model_disk_byte=sum(p.nbytes for p in parameters),  # what safetensors stores, less a header of some kB
        dtype=f"{str(parameters[0].dtype).removeprefix('torch.')}, computed in {settings.precision}",
        vocabulary_size=loaded.model.config.vocab_size,
        flop_per_input_token=each.source * num_members,
        flop_per_output_token=each.target * num_members,
    )


def dimensions_of(loaded: LoadedModel) -> Any:
    """Return the sizes of the model as it is now, methods' changes included."""
    return loaded.family.dimensions(loaded.model.config.to_dict())


def folder_byte(path: Path) -> int:
    """Return the sum of the sizes of all files below a folder."""
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
