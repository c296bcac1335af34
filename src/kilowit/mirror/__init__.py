"""Runs shown in MLflow: live by a process of its own, later by `mirror_runs`. The run folders stay the truth.

What is sent is a pure function of a run folder, with the ledger's own times, so that whoever sends it again adds
nothing but what is missing.
"""

from __future__ import annotations

from kilowit.mirror.destination import Destination, destination_of
from kilowit.mirror.mirroring import Mirrored, mirror_runs

__all__ = ["Destination", "Mirrored", "destination_of", "mirror_runs"]
