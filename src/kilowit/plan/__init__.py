"""What a study will take, before spending it: time, energy, CO2e, cost, memory and disk, as low, likely and high.

The basis of each number is said: earlier records here, a probe of a few real steps, or the analytic model.
"""

from __future__ import annotations

from kilowit.plan.estimate import CellPlan, Estimate, Limit, Plan
from kilowit.plan.hardware import Hardware, hardware
from kilowit.plan.interval import Interval
from kilowit.plan.life_cycle import LifeCycle, LifePart
from kilowit.plan.study_plan import foretell, plan_study
from kilowit.plan.when import Timing, Window, best_windows

__all__ = [
    "CellPlan",
    "Estimate",
    "Hardware",
    "Interval",
    "LifeCycle",
    "LifePart",
    "Limit",
    "Plan",
    "Timing",
    "Window",
    "best_windows",
    "foretell",
    "hardware",
    "plan_study",
]
