"""The meter: a crash-safe ledger of nested phases over sensor readings. Usable alone; knows nothing of models.

from kilowit.meter import Meter
with Meter("run") as meter, meter.phase("train"): ...
"""

from __future__ import annotations

from kilowit.meter.figures import MeterResult
from kilowit.meter.meter import Meter
from kilowit.meter.phase import Phase
from kilowit.meter.read import read_ledger
from kilowit.meter.survey import survey

__all__ = ["Meter", "MeterResult", "Phase", "read_ledger", "survey"]
