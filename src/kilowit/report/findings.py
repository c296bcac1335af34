"""The answer: which choice is worth it, in plain sentences, each backed by a finding with its interval.

Worth it is the cheapest choice (energy of a run) whose quality cannot be told apart from the best. Training-free
baselines compete on equal terms: if `lead` is as good as the best trained model, lead is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kilowit.report.comparisons import Comparisons, mean_energy
from kilowit.report.effects import (
    ENERGY,
    METRIC_LABELS,
    cost_ratio,
    points,
    repeats,
    signed_points,
    times,
)
from kilowit.report.quantity import measure
from kilowit.report.runs import Choice
from kilowit.statistics.interval import MIN_REPEATS, NOT_DISTINGUISHABLE, SINGLE_RUN, Interval, verdict


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


NO_ANSWER: Final = DatasetAnswer(
    "nothing", ("No run yet, so there is no answer, and whether neural models beat lead is unknown.",)
)

ONLY_IMPORTED: Final = DatasetAnswer(
    "imported",
    (
        "Only imported runs: kilowit metered none of them, so there is no answer and no bill, and whether neural "
        "models beat lead is unknown. What their files state stands below.",
    ),
)


def answer_for(comparisons: Comparisons, choices: Sequence[Choice]) -> DatasetAnswer:
    """Answer for choices on one dataset and hardware.

    Args:
        comparisons: of those that have a score.
        choices: all, the failed ones too.
    """
    dataset = choices[0].dataset
    if not comparisons.scored:
        return DatasetAnswer(dataset, (_nothing_finished(choices, comparisons.metric),))
    return _Judge(comparisons).answer(dataset)


class _Judge:
    """Writes the sentences for choices that have a score, and collects a finding for each claim."""

    def __init__(self, comparisons: Comparisons) -> None:
        self.of, self.scored, self.metric = comparisons, comparisons.scored, comparisons.metric
        self.name = METRIC_LABELS.get(self.metric, self.metric)
        self.findings: list[Finding] = []

    def answer(self, dataset: str) -> DatasetAnswer:
        best = self.of.best
        equal = [c for c in self.scored if c is best or self.of.is_as_good(c, best)]
        known = [c for c in equal if c.values(ENERGY)]
        chosen = min(known, key=mean_energy) if known else best
        sentences = (
            self.worth_it(chosen, best),
            *self.against_plain(chosen, best),
            self.against_lead(),
            *self.caution(),
        )
        return DatasetAnswer(dataset, sentences, tuple(self.findings), chosen.label)

    def worth_it(self, chosen: Choice, best: Choice) -> str:
        score, energy = self.of.quality(chosen), chosen.interval(ENERGY)
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
        return f"{head}, {NOT_DISTINGUISHABLE}{_once(chosen, best)} from the best score, {other}{energy_text}."

    def next_cheaper(self, chosen: Choice) -> str:
        """What the best cheaper choice would save and lose."""
        if not chosen.values(ENERGY):
            return ""
        cheaper = [c for c in self.scored if c.values(ENERGY) and mean_energy(c) < mean_energy(chosen)]
        if not cheaper:
            return " and the lowest energy of all"
        runner_up = max(cheaper, key=self.of.mean_quality)
        difference, ratio = self.compare(runner_up, chosen)
        energy_text = f" at {times(ratio)} the energy" if ratio else ""
        return f"; the best cheaper choice, {runner_up.label}, scores {signed_points(difference)}{energy_text}"

    def against_plain(self, chosen: Choice, best: Choice) -> list[str]:
        """What the recipe of the chosen model changes against plain fine-tuning of it."""
        plain = self.of.plain(chosen)
        if chosen.is_baseline or not chosen.methods or plain is None or plain is best:
            return []
        difference, ratio = self.compare(chosen, plain)
        energy_text = f"{times(ratio)} the energy, " if ratio else ""
        return [f"Against plain fine-tuning of the same model: {energy_text}{self.name} {signed_points(difference)}."]

    def against_lead(self) -> str:
        neural = [c for c in self.scored if not c.is_baseline]
        lead = self.of.lead
        if lead is None:
            return "No lead baseline was run, so whether neural models beat lead is unknown: add `lead` to the models."
        if not neural:
            return "No neural model has a result, so none beats lead."
        best = max(neural, key=self.of.mean_quality)
        difference, _ = self.compare(best, lead)
        size, judged = f"{self.name} {signed_points(difference)}", self.of.judge(best, lead)
        once = _once(best)
        num_better = sum(self.of.judge(c, lead) == "better" for c in neural)
        if judged == "better":
            count = f"; {num_better} of {len(neural)} neural choices do" if len(neural) > 1 else ""
            return f"Neural models beat lead{once}: the best of them, {best.label}, by {size}{count}."
        if judged == "worse":
            return f"No neural model beats lead{once}: the best of them, {best.label}, is at {size} against it."
        if judged == SINGLE_RUN:
            side = "above" if difference.value > 0 else "below"
            return f"The best neural model, {best.label}, is {side} lead ({size}), without an interval to judge by."
        head = f"No neural model is shown to beat lead: the best of them, {best.label}, is"
        if once:
            few = "a single run is" if len(best.finished) == 1 else f"{len(best.finished)} seeds are"
            return f"{head} at {size} against it, and {few} too few for a verdict."
        # Corrected for all comparisons that are shown, p may be above its bound beside an interval without 0.
        corrected = " after Holm's correction" if difference.excludes(0.0) else ""
        return f"{head} {judged} from it{corrected} ({size})."

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
        contrast, ratio = self.of.contrast(a, b), cost_ratio(a, b)
        self.note(self.metric, contrast.difference, "difference", contrast.verdict, a, b)
        if ratio is not None:
            self.note(ENERGY, ratio, "ratio", verdict(ratio, 1.0, higher_is_better=False), a, b)
        return contrast.difference, ratio

    def note(self, figure: str, effect: Interval, kind: str, judged: str, a: Choice, b: Choice) -> None:
        run_ids = tuple(run.record.run_id for choice in (a, b) for run in choice.finished)
        self.findings.append(Finding(f"{a.label} against {b.label}", figure, effect, kind, judged, run_ids))


def _once(*choices: Choice) -> str:
    """Confine a verdict to the runs at hand where seeds are too few to judge the method."""
    is_repeated = all(c.is_baseline or len(c.finished) >= MIN_REPEATS for c in choices)
    return "" if is_repeated else " in these runs"


def _nothing_finished(choices: Sequence[Choice], metric: str) -> str:
    runs = [run for choice in choices for run in choice.runs]
    kinds: dict[str, int] = {}
    for run in runs:
        kind = f"no {metric}" if run.is_finished else run.record.error_kind or run.record.status
        kinds[kind] = kinds.get(kind, 0) + 1
    listed = ", ".join(f"{kind} × {num}" for kind, num in kinds.items())
    return (
        f"No run has a {METRIC_LABELS.get(metric, metric)} ({listed}), so whether neural models beat lead is unknown."
    )
