"""Score any system's summaries, compare two systems, and hold metrics against human judgement. No study is needed.

Example:
    >>> import kilowit
    >>> found = kilowit.evaluate("mine.jsonl", metrics=["rouge", "bleu"], compare="theirs.jsonl")  # doctest: +SKIP
    >>> found.comparison["rouge2"].verdict_on_outputs  # doctest: +SKIP
    'not distinguishable'

Stands right of the parts (metrics) and the meter, left of studies.
"""

from __future__ import annotations

from kilowit.evaluation.agreement import Agreement, default_metrics, judge
from kilowit.evaluation.outputs import Evaluation, evaluate
from kilowit.evaluation.texts import Texts, read_texts

__all__ = ["Agreement", "Evaluation", "Texts", "default_metrics", "evaluate", "judge", "read_texts"]
