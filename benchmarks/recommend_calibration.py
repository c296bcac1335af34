"""Does `kilowit recommend` know how sure it may be? The stated probability beside how often the answer was right.

    python benchmarks/recommend_calibration.py [NUM_STORES]

Stores are simulated: choices with true scores and energies, runs of some seeds with noise on both, test examples with
their own noise. The right answer is known. Stated and seen are compared in bins of the stated probability; a bin is
off when they differ by more than 3 standard errors of its simulation and 0.02.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bars import Bar, report
from kilowit.record import PhaseFigures, Record, Score
from kilowit.report.recommend import recommend
from kilowit.statistics.student import Z95

NUM_STORES = 1500
NUM_DRAWS = 500
EDGES = (0.0, 0.4, 0.6, 0.8, 0.95, 1.0000001)
LIMIT = 0.20
JOULE = 3.6e6


@dataclass(frozen=True)
class World:
    """What stores are drawn from; scores in units of the metric, energies as shares."""

    name: str
    num_choices: int = 5
    num_seeds: int = 3
    truth_spread: float = 0.02  # of true scores around the limit
    over_seeds: float = 0.006  # of single runs; by choice it is up to `unlike` times more or less
    over_examples: float = 0.004
    energy_noise: float = 0.05
    unlike: float = 1.0


WORLDS = (
    World("3 seeds"),
    World("2 seeds", num_seeds=2),
    World("5 seeds", num_seeds=5),
    World("seeds matter much", over_seeds=0.015, over_examples=0.002),
    World("choices differ in noise", over_seeds=0.008, over_examples=0.001, unlike=3.0),
    World("energies alike", energy_noise=0.2),
)


@dataclass(frozen=True)
class Verdict:
    """What was stated of one store, and whether it was so."""

    probability: float
    is_right: bool


def verdicts(world: World, num_stores: int) -> Iterator[Verdict]:
    """Ask for the least energy with a score of at least 0.20, store by store."""
    generator = random.Random(20261123)
    for number in range(num_stores):
        records, right = store(world, generator, number)
        found = recommend(records, at_least={"rouge2": LIMIT}, num_draws=NUM_DRAWS, weigh_next_runs=False)[0]
        answer = None if found.answer is None else found.answer.choice.rpartition(" · ")[2]
        assert found.probability is not None
        yield Verdict(found.probability, answer == right)


def store(world: World, generator: random.Random, number: int) -> tuple[list[Record], str | None]:
    """Draw one store; return its records and the recipe that is truly right, None if none is."""
    records: list[Record] = []
    right: tuple[float, str] | None = None
    for index in range(world.num_choices):
        recipe, truth = f"r{index}", generator.gauss(LIMIT, world.truth_spread)
        energy = math.exp(generator.gauss(0.0, 0.3))
        if truth >= LIMIT and (right is None or energy < right[0]):
            right = (energy, recipe)
        noise = world.over_seeds * world.unlike ** generator.uniform(-1.0, 1.0)
        shift = generator.gauss(0.0, world.over_examples)
        for seed in range(world.num_seeds):
            value = truth + shift + generator.gauss(0.0, noise)
            taken = energy * math.exp(generator.gauss(0.0, world.energy_noise))
            records.append(_record(recipe, seed, value, taken, world.over_examples, len(records)))
    return records, None if right is None else right[1]


def _record(recipe: str, seed: int, value: float, energy: float, over_examples: float, number: int) -> Record:
    half = Z95 * over_examples
    score = Score(
        metric="rouge2", value=value, ci95_low=value - half, ci95_high=value + half, num_examples=100_000, signature="s"
    )
    phases = [PhaseFigures(phase="train", wall_second=1.0, energy_total_joule=energy * JOULE)]
    cell = {"model": {"scratch": "m"}, "dataset": {"name": "d"}, "recipe": recipe, "methods": [], "seed": seed}
    return Record(
        run_id=f"20261123T{number:06d}Z_x_0000", cell_key=recipe, study_name="s", attempt=1, status="finished",
        started_at_utc="", ended_at_utc="", cell=cell, environment={}, phases=phases, scores=[score],
    )  # fmt: skip


@dataclass(frozen=True)
class Bin:
    """Stores whose stated probability lies in one range."""

    stated: float
    seen: float
    num: int

    @property
    def error(self) -> float:
        """Standard error of what was seen, if what was stated is true."""
        return math.sqrt(max(self.stated * (1 - self.stated), 0.25 / self.num) / self.num)

    @property
    def is_honest(self) -> bool:
        """Whether stated and seen agree within the error of the simulation and 0.02."""
        return abs(self.stated - self.seen) <= 3 * self.error + 0.02


def bins(found: list[Verdict]) -> list[Bin]:
    """Return the bins that hold anything."""
    result = []
    for low, high in itertools.pairwise(EDGES):
        inside = [v for v in found if low <= v.probability < high]
        if inside:
            stated = statistics.fmean(v.probability for v in inside)
            result.append(Bin(stated, statistics.fmean(v.is_right for v in inside), len(inside)))
    return result


def main(num_stores: int) -> int:
    """Simulate every world and compare."""
    bars = []
    for world in WORLDS:
        found = list(verdicts(world, num_stores))
        for one in bins(found):
            what = f"{world.name}: stated {one.stated:.3f} (n = {one.num})"
            bars.append(Bar(what, f"seen {one.seen:.3f}", f"within {3 * one.error + 0.02:.3f}", one.is_honest))
        stated, seen = (statistics.fmean(x) for x in ([v.probability for v in found], [v.is_right for v in found]))
        bars.append(Bar(f"{world.name}: all", f"seen {seen:.3f}", f"stated {stated:.3f}", None))
    return report(f"kilowit recommend: stated and seen, {num_stores} stores a world", bars)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else NUM_STORES))
