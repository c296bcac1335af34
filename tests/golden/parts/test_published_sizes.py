"""Parameter counts by formula against the counts of the published configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilowit.parts import catalogue

PUBLISHED = {
    "bart-base": 139_420_416, "bart-large": 406_291_456, "bart-large-cnn": 406_291_456, "bart-large-xsum": 406_291_456,
    "bart-large-samsum": 406_291_456, "pegasus-large": 570_797_056, "pegasus-cnn_dailymail": 570_797_056,
    "pegasus-xsum": 569_748_480, "t5-small": 60_506_624, "t5-base": 222_903_552, "t5-large": 737_668_096,
    "flan-t5-small": 60_511_616, "flan-t5-base": 222_903_552, "led-base-16384": 161_844_480,
    "led-large-16384-xsum": 459_801_600, "bigbird-pegasus-large-arxiv": 576_891_904,
    "prophetnet-large-uncased": 391_321_600,
}  # fmt: skip


@pytest.mark.parametrize(("name", "num_parameters"), PUBLISHED.items())
def test_a_published_configuration_has_its_published_number_of_parameters(
    shared_dir: Path, name: str, num_parameters: int
) -> None:
    size = catalogue.resolve_dimensions({"folder": str(shared_dir / "data" / "configs" / name)})
    assert size is not None and size.num_parameters == num_parameters


@pytest.mark.parametrize(
    ("scratch", "config"),
    [("bart-base", "bart-base"), ("bart-large", "bart-large"), ("t5-small", "t5-small"), ("t5-base", "t5-base"),
     ("pegasus-large", "pegasus-large"), ("led-base", "led-base-16384"), ("led-large", "led-large-16384-xsum"),
     ("bigbird_pegasus-large", "bigbird-pegasus-large-arxiv"), ("prophetnet-large", "prophetnet-large-uncased")],
)  # fmt: skip
def test_a_full_size_from_scratch_is_the_published_model(shared_dir: Path, scratch: str, config: str) -> None:
    published = catalogue.resolve_dimensions({"folder": str(shared_dir / "data" / "configs" / config)})
    assert catalogue.resolve_dimensions({"scratch": scratch}) == published
