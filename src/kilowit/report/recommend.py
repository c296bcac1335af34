"""Recommend: which choice to take under limits, why, how surely, and what to run next to be surer.

    kilowit recommend --min rouge2=0.20 --max co2e_kg=0.2 --max latency_p95_second=1

The answer is the choice that is most often the right one in joint draws of all that is uncertain: test examples
together, seeds and costs by Student's t, sensors and grid for all choices alike. The probability that it is right is
that share. Nothing is run; the records are the evidence.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kilowit.errors import StoreError
from kilowit.factors import JOULE_PER_KWH
from kilowit.report.effects import DEFAULT_METRIC, ENERGY
from kilowit.report.evidence import Evidence
from kilowit.report.examples import ExampleScores
from kilowit.report.pricing import Pricing
from kilowit.report.read_runs import RunSource, read_runs
from kilowit.report.runs import Choice, choices_of
from kilowit.report.tables.failures import KIND_WORDS
from kilowit.report.wanted import Figures, bounds_of, check_name
from kilowit.statistics.decision import Belief, Bound, Option, Question, shares, worth_of_run
from kilowit.statistics.resample import NUM_RESAMPLES, percentiles
from kilowit.store import Store

MAX_WEIGHED: Final = 6  # choices of which one more run is weighed: those most often right
LEAST_GAIN: Final = 0.005  # a run expected to add less to the probability is not worth naming
SURE: Final = 0.95
SEEDS_AND_EXAMPLES: Final = "other seeds and other test examples"
EXAMPLES_ALONE: Final = "other test examples alone: nothing was run with two seeds"


@dataclass(frozen=True)
class Kept:
    """One figure of a choice beside the limit that was set for it; `limit` None = the objective."""

    figure: str
    value: float
    low: float  # 95 % of the joint draws
    high: float
    limit: float | None = None
    is_least: bool = False
    probability: float | None = None  # that the limit is kept
    shortfall: float = 0.0  # by what share of the limit it is missed

    @property
    def text(self) -> str:
        """The figure, its interval, and what was asked of it."""
        spread = f" [{self.low:.4g}, {self.high:.4g}]" if self.low < self.high else ""
        if self.limit is None:
            return f"{self.figure} {self.value:.4g}{spread}"
        sign = "≥" if self.is_least else "≤"
        return f"{self.figure} {self.value:.4g}{spread} ({sign} {self.limit:g}, P {_chance(self.probability or 0.0)})"


@dataclass(frozen=True)
class Candidate:
    """A choice that has all figures that were asked for."""

    choice: str
    probability: float  # that it is the right answer
    objective: Kept
    limits: tuple[Kept, ...]
    num_runs: int
    run_ids: tuple[str, ...]

    @property
    def is_within(self) -> bool:
        """Whether its means keep every limit."""
        return all(kept.shortfall == 0 for kept in self.limits)

    @property
    def largest_shortfall(self) -> float:
        """By what share of a limit it misses the one that it misses most."""
        return max((kept.shortfall for kept in self.limits), default=0.0)


@dataclass(frozen=True)
class RuledOut:
    """A choice that cannot be the answer."""

    choice: str
    kind: str  # failed | missing | limit
    reason: str


@dataclass(frozen=True)
class NextRun:
    """One more cell, and what it is expected to do to the answer."""

    choice: str
    seed: int
    gain: float | None  # expected increase of the probability that the answer is right; None = cannot be known yet
    change: float | None  # probability that the answer becomes another one
    energy_kwh: float | None
    reason: str


@dataclass(frozen=True)
class Recommendation:
    """The answer for one dataset on one kind of hardware."""

    dataset: str
    asked: str
    answer: Candidate | None  # None = nothing keeps the limits
    runner_up: Candidate | None
    nearest: Candidate | None  # when there is no answer
    probability: float | None  # that the answer is right; without one, that nothing keeps the limits
    probability_covers: str
    others: tuple[Candidate, ...]
    ruled_out: tuple[RuledOut, ...]
    next_runs: tuple[NextRun, ...]
    sentences: tuple[str, ...]


def recommend(
    runs: RunSource,
    *,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    objective: str | None = None,
    study: str | None = None,
    region: str | None = None,
    machine: str | None = None,
    pue: float | None = None,
    predictions: Mapping[str, Path] | None = None,
    num_draws: int = NUM_RESAMPLES,
    weigh_next_runs: bool = True,
) -> tuple[Recommendation, ...]:
    """Recommend a choice for each dataset of a store.

    Args:
        runs: a store, its folder, or records.
        at_least: limits that figures must not be below, e.g. ``{"rouge2": 0.2}``; see `kilowit.report.wanted`.
        at_most: limits that figures must not be above, e.g. ``{"co2e_kg": 0.2}``.
        objective: the figure that decides among what is within the limits: a score highest, a cost lowest. None = least
            ``energy_kwh`` if a score has a limit, else the highest ``rouge2``.
        study: only the runs of this study.
        region: prices CO2e here rather than where the study says.
        machine: what is billed instead of the study's.
        pue: of the site.
        predictions: ``predictions.jsonl`` by run id, for records; a store knows its own.
        num_draws: how many joint draws.
        weigh_next_runs: whether to say what to run next, which takes most of the time.

    Raises:
        StudyError: an unknown figure or study, or a limit that is no number.
        StoreError: no records.
        PartError: an unknown region or machine.

    Example:
        >>> recommend("runs", at_least={"rouge2": 0.2})[0].answer  # doctest: +SKIP
        Candidate(choice='bart-tiny · bf16', probability=0.97, ...)
    """
    records, files = read_runs(runs, study=study, predictions=predictions)
    if not records:
        place = str(runs.path) if isinstance(runs, Store) else str(runs) if isinstance(runs, str | Path) else None
        raise StoreError("no finished or failed run to recommend from", place=place, hint="Run a study first.")
    metrics = list(dict.fromkeys(score.metric for record in records for score in record.scores))
    bounds = bounds_of(at_least or {}, at_most or {}, metrics)
    wanted = objective or _default_objective(bounds, metrics)
    check_name(wanted, metrics, "--objective")
    pricing = Pricing(records, region=region, machine=machine, pue=pue)
    examples = ExampleScores(files) if files else None
    groups: dict[str, list[Choice]] = {}
    for choice in choices_of(records):
        groups.setdefault(choice.dataset_key, []).append(choice)
    question = Question(bounds, wanted, wanted in metrics)
    advisers = [_Adviser(group, metrics, pricing, examples, question, num_draws) for group in groups.values()]
    return tuple(adviser.advise(weigh_next_runs=weigh_next_runs) for adviser in advisers)


def _default_objective(bounds: Sequence[Bound], metrics: Sequence[str]) -> str:
    if any(bound.figure in metrics and bound.is_least for bound in bounds) or not metrics:
        return "energy_kwh"
    return DEFAULT_METRIC if DEFAULT_METRIC in metrics else metrics[0]


class _Adviser:
    """Answers one question for the choices of one dataset."""

    def __init__(
        self,
        choices: Sequence[Choice],
        metrics: Sequence[str],
        pricing: Pricing,
        examples: ExampleScores | None,
        question: Question,
        num_draws: int,
    ) -> None:
        self.choices, self.question = choices, question
        pages: dict[str, Evidence] = {}

        def evidence_of(metric: str) -> Evidence:
            if metric not in pages:
                pages[metric] = Evidence(choices, metric, examples, num_draws=num_draws)
            return pages[metric]

        self.figures = Figures(choices, metrics, pricing, evidence_of, num_draws)

    def advise(self, *, weigh_next_runs: bool) -> Recommendation:
        names = list(dict.fromkeys([*(b.figure for b in self.question.bounds), self.question.objective]))
        ruled_out = [r for choice in self.choices if (r := self._without_figures(choice, names)) is not None]
        out = {r.choice for r in ruled_out}
        able = [choice for choice in self.choices if choice.label not in out]
        beliefs = {name: self.figures.beliefs(name, able) for name in names}
        options: list[Option] = [{name: beliefs[name][i] for name in names} for i in range(len(able))]
        chances = shares(self.question, options)
        found = [self._candidate(*one) for one in zip(able, options, chances, strict=True)]
        ranked = sorted(found, key=lambda c: (-c.probability, not c.is_within, c.largest_shortfall, self._worst(c)))
        answer = next((candidate for candidate in ranked if candidate.is_within), None)
        rest = [candidate for candidate in ranked if candidate is not answer]
        runner_up = next((c for c in rest if c.probability > 0 or c.is_within), None)
        nearest = min(found, key=lambda c: (c.largest_shortfall, self._worst(c)), default=None)
        is_repeated = any(len(choice.finished) > 1 for choice in able)
        probability = answer.probability if answer else max(0.0, 1 - sum(chances))
        ruled_out += [_over(c) for c in rest if not c.is_within and c is not runner_up]
        advice = _Advice(answer, runner_up, None if answer else nearest, probability, is_repeated)
        next_runs = self._next_runs(able, options, chances, advice) if able and weigh_next_runs else ()
        return Recommendation(
            dataset=self.choices[0].dataset,
            asked=self._asked(),
            answer=answer,
            runner_up=runner_up if answer else None,
            nearest=advice.nearest,
            probability=probability if found else None,
            probability_covers=SEEDS_AND_EXAMPLES if is_repeated else EXAMPLES_ALONE,
            others=tuple(c for c in rest if c is not runner_up and c.is_within),
            ruled_out=tuple(ruled_out),
            next_runs=next_runs,
            sentences=tuple(self._sentences(advice, found, next_runs)),
        )

    def _without_figures(self, choice: Choice, names: Sequence[str]) -> RuledOut | None:
        if not choice.finished:
            kinds = [run.record.error_kind or run.record.status for run in choice.runs]
            said = ", ".join(KIND_WORDS.get(kind, kind) for kind in dict.fromkeys(kinds))
            return RuledOut(choice.label, "failed", f"no result: {said}")
        lacking = [why for name in names if (why := self.figures.missing(name, choice)) is not None]
        return RuledOut(choice.label, "missing", "; ".join(lacking)) if lacking else None

    def _candidate(self, choice: Choice, option: Option, probability: float) -> Candidate:
        limits = tuple(
            _kept(bound.figure, option[bound.figure], bound, self.question.probability_met(option, bound))
            for bound in self.question.bounds
        )
        name = self.question.objective
        run_ids = tuple(run.record.run_id for run in choice.finished)
        return Candidate(choice.label, probability, _kept(name, option[name]), limits, len(run_ids), run_ids)

    def _worst(self, candidate: Candidate) -> float:
        """The objective as a cost: less is better."""
        value = candidate.objective.value
        return -value if self.question.is_high_better else value

    def _next_runs(
        self, able: Sequence[Choice], options: Sequence[Option], chances: Sequence[float], advice: _Advice
    ) -> tuple[NextRun, ...]:
        trained = [i for i, choice in enumerate(able) if not choice.is_baseline]
        if not advice.is_repeated:
            named = [c.choice for c in (advice.answer or advice.nearest, advice.runner_up) if c is not None]
            why = "nothing was run with two seeds: what another seed changes is unknown until one is"
            first = [i for i in trained if able[i].label in named]
            return tuple(self._next_run(able[i], None, None, why) for i in first)
        most_often = sorted(trained, key=lambda i: -chances[i])[:MAX_WEIGHED]
        weighed = [worth_of_run(self.question, options, i) for i in most_often]
        weighed.sort(key=lambda worth: (-worth.gain, -worth.change))
        return tuple(
            self._next_run(able[w.option], w.gain, w.change, "expected of one more seed")
            for w in weighed
            if w.gain >= LEAST_GAIN
        )

    def _next_run(self, choice: Choice, gain: float | None, change: float | None, reason: str) -> NextRun:
        seeds = {run.seed for run in choice.runs}
        seed = next(number for number in range(len(seeds) + 1) if number not in seeds)
        joules = choice.values(ENERGY)
        energy_kwh = statistics.fmean(joules) / JOULE_PER_KWH if joules else None
        return NextRun(choice.label, seed, gain, change, energy_kwh, reason)

    def _asked(self) -> str:
        way = "highest" if self.question.is_high_better else "least"
        limits = [f"{b.figure} {'≥' if b.is_least else '≤'} {b.limit:g}" for b in self.question.bounds]
        return f"{way} {self.question.objective}" + (f" with {', '.join(limits)}" if limits else "")

    def _sentences(self, advice: _Advice, found: Sequence[Candidate], next_runs: Sequence[NextRun]) -> list[str]:
        num_within = sum(candidate.is_within for candidate in found)
        best, chance = advice.answer, _chance(advice.probability)
        sentences = []
        if not found:
            return ["No choice has a result with every figure asked for, so there is no answer: see what is ruled out."]
        if best is not None:
            facts = "; ".join(kept.text for kept in (best.objective, *best.limits))
            sentences.append(
                f"{best.choice} is recommended, the {self._asked()}: {facts}. "
                f"{num_within} of {len(found)} choices with these figures keep the limits by their means."
            )
            covers = SEEDS_AND_EXAMPLES if advice.is_repeated else EXAMPLES_ALONE
            sentences.append(f"Probability that this is right: {chance} ({covers}).")
            if advice.runner_up is not None:
                sentences.append(f"Runner-up: {_runner_up(advice.runner_up, best)}.")
        elif advice.nearest is not None:
            missed = [kept.text for kept in advice.nearest.limits if kept.shortfall]
            sentences.append(f"Nothing keeps the limits ({self._asked()}); probability that nothing does: {chance}.")
            by = ", ".join(f"{k.figure} by {100 * k.shortfall:.3g} %" for k in advice.nearest.limits if k.shortfall)
            sentences.append(f"Nearest: {advice.nearest.choice}, which misses {by}: {'; '.join(missed)}.")
        return [*sentences, _next_sentence(next_runs, advice.probability)]


@dataclass(frozen=True)
class _Advice:
    answer: Candidate | None
    runner_up: Candidate | None
    nearest: Candidate | None
    probability: float
    is_repeated: bool


def _kept(name: str, belief: Belief, bound: Bound | None = None, probability: float | None = None) -> Kept:
    low, high = percentiles(belief.draws(), (2.5, 97.5))
    if bound is None:
        return Kept(name, belief.value, low, high)
    short = bound.shortfall(belief.value)
    return Kept(name, belief.value, low, high, bound.limit, bound.is_least, probability, short)


def _over(candidate: Candidate) -> RuledOut:
    missed = "; ".join(kept.text for kept in candidate.limits if kept.shortfall)
    return RuledOut(candidate.choice, "limit", missed)


def _runner_up(other: Candidate, best: Candidate) -> str:
    missed = [kept.text for kept in other.limits if kept.shortfall]
    why = f"but {'; '.join(missed)}" if missed else f"against {best.objective.value:.4g}"
    return f"{other.choice} (P {_chance(other.probability)}), {other.objective.text}, {why}"


def _next_sentence(runs: Sequence[NextRun], probability: float) -> str:
    if runs:
        return f"To be surer, run {_next(runs[0])}."
    if probability > SURE:
        return "No further run of these choices is needed to be surer."
    return "No single further seed makes it surer: score more test examples, or run several seeds of each."


def _next(run: NextRun) -> str:
    cost = f", about {run.energy_kwh:.3g} kWh" if run.energy_kwh is not None else ""
    if run.gain is None or run.change is None:
        return f"{run.choice} with seed {run.seed}{cost}: {run.reason}"
    return (
        f"{run.choice} with seed {run.seed}{cost}: expected to add {run.gain:.2f} to the probability, "
        f"and to change the answer with probability {run.change:.2f}"
    )


def _chance(probability: float) -> str:
    """Two decimals, never more certain than the draws can say."""
    return "> 0.99" if probability > 0.995 else "< 0.01" if probability < 0.005 else f"{probability:.2f}"
