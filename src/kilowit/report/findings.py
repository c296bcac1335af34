"""The answer: which choice is worth it, in plain sentences, each backed by a finding with its interval.

Worth it is the cheapest choice (energy of a run) whose quality cannot be told apart from the best. Training-free
baselines compete on equal terms: if `lead` is as good as the best trained model, lead is the answer.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kilowit.report.effects import (
    DEFAULT_METRIC,
    ENERGY,
    METRIC_LABELS,
    NOT_DISTINGUISHABLE,
    SINGLE_RUN,
    cost_ratio,
    points,
    quality,
    quality_difference,
    repeats,
    signed_points,
    times,
    verdict,
)
from kilowit.report.examples import ExampleScores
from kilowit.report.quantity import measure
from kilowit.report.runs import Choice
from kilowit.report.statistics import MIN_REPEATS, Interval


@dataclass(frozen=True)
class Finding:
    """One claim with its effect, interval, number of repeats and the runs that show it."""

    claim: str
    figure: str
    effect: Interval
    kind: str  # difference | ratio
    verdict: str  # better | worse | not distinguishable | single run
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class DatasetAnswer:
    """What the study says about one dataset: sentences for people, findings for the evidence."""

    dataset: str
    sentences: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    worth_it: str | None = None  # label of the choice

    @property
    def text(self) -> str:
        """All sentences in one paragraph."""
        return " ".join(self.sentences)


def answer_for(
    choices: Sequence[Choice], metric: str = DEFAULT_METRIC, examples: ExampleScores | None = None
) -> DatasetAnswer:
    """Answer for choices on one dataset and hardware."""
    dataset = choices[0].dataset if choices else "nothing"
    scored = [c for c in choices if c.values(metric)]
    if not scored:
        return DatasetAnswer(dataset, (_nothing_finished(choices, metric),))
    return _Judge(scored, metric, examples).answer(dataset)


class _Judge:
    """Writes the sentences for choices that have a score, and collects a finding for each claim."""

    def __init__(self, scored: Sequence[Choice], metric: str, examples: ExampleScores | None) -> None:
        self.scored, self.metric, self.examples = scored, metric, examples
        self.name = METRIC_LABELS.get(metric, metric)
        self.findings: list[Finding] = []

    def answer(self, dataset: str) -> DatasetAnswer:
        best = max(self.scored, key=self.mean_quality)
        equal = [c for c in self.scored if c is best or self.judge(c, best) == NOT_DISTINGUISHABLE]
        known = [c for c in equal if c.values(ENERGY)]
        chosen = min(known, key=_mean_energy) if known else best
        sentences = (
            self.worth_it(chosen, best),
            *self.against_plain(chosen, best),
            self.against_lead(),
            *self.caution(),
        )
        return DatasetAnswer(dataset, sentences, tuple(self.findings), chosen.label)

    def worth_it(self, chosen: Choice, best: Choice) -> str:
        score, energy = quality(chosen, self.metric), chosen.interval(ENERGY)
        assert score is not None
        cost = f" for {measure(energy.value, 'energy_wh')} a run" if energy else ""
        figures = f"{self.name} {points(score)}{cost} ({repeats(chosen)})"
        if len(self.scored) == 1:
            return f"{chosen.label} is the only choice with a result: {figures}."
        head = f"{chosen.label} is worth it: {figures}"
        if chosen is best:
            return f"{head}, the best score here{self.next_cheaper(chosen)}."
        difference, ratio = self.compare(chosen, best)
        energy_text = f", at {times(ratio)} its energy" if ratio else ""
        other = f"{best.label} ({signed_points(difference)})"
        return f"{head}, {NOT_DISTINGUISHABLE} from the best score, {other}{energy_text}."

    def next_cheaper(self, chosen: Choice) -> str:
        """What the best cheaper choice would save and lose."""
        if not chosen.values(ENERGY):
            return ""
        cheaper = [c for c in self.scored if c.values(ENERGY) and _mean_energy(c) < _mean_energy(chosen)]
        if not cheaper:
            return " and the lowest energy of all"
        runner_up = max(cheaper, key=self.mean_quality)
        difference, ratio = self.compare(runner_up, chosen)
        energy_text = f" at {times(ratio)} the energy" if ratio else ""
        return f"; the best cheaper choice, {runner_up.label}, scores {signed_points(difference)}{energy_text}"

    def against_plain(self, chosen: Choice, best: Choice) -> list[str]:
        """What the recipe of the chosen model changes against plain fine-tuning of it."""
        plain = next((c for c in self.scored if not c.methods and c.model == chosen.model and not c.is_baseline), None)
        if chosen.is_baseline or not chosen.methods or plain is None or plain is best:
            return []
        difference, ratio = self.compare(chosen, plain)
        energy_text = f"{times(ratio)} the energy, " if ratio else ""
        return [f"Against plain fine-tuning of the same model: {energy_text}{self.name} {signed_points(difference)}."]

    def against_lead(self) -> str:
        neural = [c for c in self.scored if not c.is_baseline]
        lead = next((c for c in self.scored if c.identity.get("model", {}).get("baseline") == "lead"), None)
        if lead is None:
            return "No lead baseline was run, so whether neural models beat lead is unknown: add `lead` to the models."
        if not neural:
            return "No neural model has a result, so none beats lead."
        best = max(neural, key=self.mean_quality)
        difference, _ = self.compare(best, lead)
        size, judged = f"{self.name} {signed_points(difference)}", self.judge(best, lead)
        num_better = sum(self.judge(c, lead) == "better" for c in neural)
        if judged == "better":
            count = f"; {num_better} of {len(neural)} neural choices do" if len(neural) > 1 else ""
            return f"Neural models beat lead: the best of them, {best.label}, by {size}{count}."
        if judged == "worse":
            return f"No neural model beats lead: the best of them, {best.label}, is at {size} against it."
        if judged == SINGLE_RUN:
            side = "above" if difference.value > 0 else "below"
            return f"The best neural model, {best.label}, is {side} lead ({size}), without an interval to judge by."
        return f"No neural model is shown to beat lead: the best of them, {best.label}, is {judged} from it ({size})."

    def caution(self) -> list[str]:
        """What too few seeds leave open."""
        few = min((len(c.finished) for c in self.scored if not c.is_baseline), default=MIN_REPEATS)
        if few >= MIN_REPEATS:
            return []
        count = "Some choices have a single run" if few == 1 else f"Some choices have only {few} seeds"
        if few == 1 and all(len(c.finished) == 1 for c in self.scored):
            count = "Each choice is a single run"
        return [
            f"{count}: what another seed would change is unknown, "
            "and intervals cover the choice of test examples alone."
        ]

    def compare(self, a: Choice, b: Choice) -> tuple[Interval, Interval | None]:
        """Note the findings of a against b; return the difference of quality and the ratio of energy."""
        difference, ratio = quality_difference(a, b, self.metric, self.examples), cost_ratio(a, b)
        assert difference is not None
        self.findings.append(_finding(self.metric, difference, "difference", a, b))
        if ratio is not None:
            self.findings.append(_finding(ENERGY, ratio, "ratio", a, b))
        return difference, ratio

    def judge(self, a: Choice, b: Choice) -> str:
        difference = quality_difference(a, b, self.metric, self.examples)
        return verdict(difference, 0.0, higher_is_better=True)

    def mean_quality(self, choice: Choice) -> float:
        return statistics.fmean(choice.values(self.metric))


def _mean_energy(choice: Choice) -> float:
    return statistics.fmean(choice.values(ENERGY))


def _finding(figure: str, effect: Interval, kind: str, a: Choice, b: Choice) -> Finding:
    run_ids = tuple(run.record.run_id for choice in (a, b) for run in choice.finished)
    judged = verdict(effect, 1.0 if kind == "ratio" else 0.0, higher_is_better=kind == "difference")
    return Finding(f"{a.label} against {b.label}", figure, effect, kind, judged, run_ids)


def _nothing_finished(choices: Sequence[Choice], metric: str) -> str:
    runs = [run for choice in choices for run in choice.runs]
    if not runs:
        return "No run yet, so there is no answer, and whether neural models beat lead is unknown."
    kinds: dict[str, int] = {}
    for run in runs:
        kind = f"no {metric}" if run.is_finished else run.record.error_kind or run.record.status
        kinds[kind] = kinds.get(kind, 0) + 1
    listed = ", ".join(f"{kind} × {num}" for kind, num in kinds.items())
    return (
        f"No run has a {METRIC_LABELS.get(metric, metric)} ({listed}), so whether neural models beat lead is unknown."
    )
