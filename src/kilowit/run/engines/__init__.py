"""Engines: ways to train. Each takes a `TrainJob` and returns a `TrainResult`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kilowit.run.engines.job import TrainJob, TrainResult


def load_engine(name: str) -> Callable[[TrainJob], TrainResult]:
    """Return an engine's `train`, by its name in `kilowit.parts.method.ENGINES`; imports torch."""
    train: Callable[[TrainJob], TrainResult] = import_module(f"{__name__}.{name}").train
    return train
