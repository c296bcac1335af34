"""Does a runtime say the same? Its summaries beside those of PyTorch in fp32 on the same documents."""

from __future__ import annotations

from collections.abc import Sequence

from kilowit import parts
from kilowit.served import ScoreDifference, ServedAgreement
from kilowit.serving.summarizer import Written
from kilowit.statistics.contrast import contrast_of_outputs, judged

METRIC = "rouge"


def agreement(
    written: Sequence[Written], reference: Sequence[Written], summaries: Sequence[str] | None
) -> ServedAgreement:
    """Compare what two runtimes wrote of the same documents.

    Args:
        written: one per document.
        reference: what PyTorch wrote in fp32, in the same order.
        summaries: what people wrote, for ROUGE; None = compare tokens alone.
    """
    pairs = [(mine.tokens, theirs.tokens) for mine, theirs in zip(written, reference, strict=True)]
    num_places = sum(max(len(a), len(b)) for a, b in pairs)
    num_same = sum(sum(x == y for x, y in zip(a, b, strict=False)) for a, b in pairs)
    return ServedAgreement(
        num_examples=len(pairs),
        identical_fraction=sum(list(a) == list(b) for a, b in pairs) / len(pairs),
        token_match_fraction=num_same / num_places if num_places else 1.0,
        differences=[] if summaries is None else _differences(written, reference, summaries),
    )


def _differences(
    written: Sequence[Written], reference: Sequence[Written], summaries: Sequence[str]
) -> list[ScoreDifference]:
    """Score both against the reference summaries; the metrics are one family of comparisons."""
    metric = parts.load("metrics", METRIC)
    mine, theirs = (metric.score([w.text for w in texts], summaries) for texts in (written, reference))
    names = [score.metric for score in mine.scores]
    contrasts = judged([contrast_of_outputs(mine.per_example[n], theirs.per_example[n]) for n in names])
    return [
        ScoreDifference(
            metric=score.metric,
            value=score.value,
            difference=contrast.difference.value,
            ci95_low=contrast.difference.low,
            ci95_high=contrast.difference.high,
            p_holm=contrast.p_outputs_holm,
            verdict=contrast.verdict_on_outputs,
        )
        for score, contrast in zip(mine.scores, contrasts, strict=True)
    ]
