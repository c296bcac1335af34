"""The comparisons of one dataset that the report shows, as one family: their p-values are corrected for their number.

Each choice against the best score, against `lead`, and against plain fine-tuning of the same model; and each choice on
the front against the cheaper one before it.
"""

from __future__ import annotations

import statistics
from functools import cached_property

from kilowit.report.effects import ENERGY
from kilowit.report.evidence import Evidence, Pair
from kilowit.report.runs import Choice
from kilowit.statistics.contrast import Contrast
from kilowit.statistics.interval import ALPHA, SINGLE_RUN, Interval
from kilowit.statistics.pareto import pareto_front


class Comparisons:
    """The choices of one dataset, compared by one metric."""

    def __init__(self, evidence: Evidence) -> None:
        """Take what the scores of choices on one dataset and hardware prove."""
        self.evidence, self.metric, self.scored = evidence, evidence.metric, evidence.choices

    @cached_property
    def best(self) -> Choice:
        """The choice with the highest mean score."""
        return max(self.scored, key=self.mean_quality)

    @cached_property
    def lead(self) -> Choice | None:
        """The baseline that copies the first sentences."""
        return next((c for c in self.scored if c.identity.get("model", {}).get("baseline") == "lead"), None)

    @cached_property
    def front(self) -> list[Choice]:
        """The choices on the front of energy and score by their means, cheapest first."""
        known = [choice for choice in self.scored if choice.values(ENERGY)]
        return [known[i] for i in pareto_front([(mean_energy(c), self.mean_quality(c)) for c in known])]

    @cached_property
    def pairs(self) -> list[Pair]:
        """What is compared with what, each pair once."""
        found: list[Pair] = [(choice, self.best) for choice in self.scored]
        if self.lead is not None:
            found += [(choice, self.lead) for choice in self.scored if not choice.is_baseline]
        found += [(c, plain) for c in self.scored if c.methods and (plain := self.plain(c)) is not None]
        found += [(dearer, cheaper) for cheaper, dearer in zip(self.front, self.front[1:], strict=False)]
        distinct: dict[frozenset[int], Pair] = {}
        for a, b in found:
            if a is not b:
                distinct.setdefault(frozenset((id(a), id(b))), (a, b))
        return list(distinct.values())

    @cached_property
    def _family(self) -> dict[tuple[int, int], Contrast]:
        return self.evidence.family(self.pairs)

    @cached_property
    def _plain(self) -> dict[str, Choice]:
        return {c.without_methods_key: c for c in self.scored if not c.methods}

    def plain(self, choice: Choice) -> Choice | None:
        """The same model, trained with the same settings and no method."""
        return self._plain.get(choice.without_methods_key)

    def contrast(self, a: Choice, b: Choice) -> Contrast:
        """Compare `a` with `b`; corrected, if it is one of `pairs`."""
        there, back = self._family.get((id(a), id(b))), self._family.get((id(b), id(a)))
        if there is not None:
            return there
        return self.evidence.contrast(a, b) if back is None else back.reversed

    def is_as_good(self, a: Choice, b: Choice) -> bool:
        """Whether `a` cannot be told apart from `b`, even without correcting for the number of comparisons.

        The correction guards claims of a difference; a claim of none is guarded by leaving it out.
        """
        contrast = self.evidence.contrast(a, b)
        p_value = contrast.p_outputs if contrast.p_method is None else contrast.p_method
        return p_value is not None and p_value > ALPHA

    def judge(self, a: Choice, b: Choice) -> str:
        """Return the verdict on the methods, or where seeds are too few, the one on these runs' outputs."""
        contrast = self.contrast(a, b)
        if contrast.verdict != SINGLE_RUN:
            return contrast.verdict
        return SINGLE_RUN if contrast.p_outputs_holm is None else contrast.verdict_on_outputs

    def quality(self, choice: Choice) -> Interval:
        """Return the score of a choice that has one."""
        found = self.evidence.quality(choice)
        assert found is not None
        return found

    def mean_quality(self, choice: Choice) -> float:
        """Return the mean score over seeds."""
        return statistics.fmean(choice.values(self.metric))


def mean_energy(choice: Choice) -> float:
    """Return the mean energy of a run in joules."""
    return statistics.fmean(choice.values(ENERGY))
