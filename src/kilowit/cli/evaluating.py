"""`kilowit evaluate` and `kilowit metrics judge`: what was found, for a terminal, a pipe or a machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kilowit.cli.views import known
from kilowit.console import say, show_json, show_table
from kilowit.errors import StudyError
from kilowit.evaluation import Agreement, Evaluation, default_metrics, judge
from kilowit.evaluation import evaluate as score
from kilowit.parts.metric import Written
from kilowit.statistics.interval import Interval
from kilowit.study_yaml import parse_list
from kilowit.wording import counted


def evaluate(predictions: Path, metrics: str, compare: Path | None, *, as_json: bool) -> None:
    """Score a file, compare it with another if asked, and show what was found.

    Raises:
        KilowitError: a file, a metric or a package is not as it should be.
    """
    found = score(predictions, metrics=listed(metrics), compare=compare)
    if as_json:
        show_json(found.to_dict())
        return
    columns = ("metric", "value", "95 % from", "to", "examples")
    show_table(columns, [(s.metric, _four(s.value), _four(s.ci95_low), _four(s.ci95_high), s.num_examples)
                         for s in found.scores])  # fmt: skip
    if found.comparison:
        _show_comparison(found)
    _say_remarks(found)


def _show_comparison(found: Evaluation) -> None:
    say(f"\n{found.name} less {found.compared_with}, example by example:")
    columns = ("metric", "difference", "95 % from", "to", "p", "p (Holm)", "wins", "ties", "losses", "verdict")
    rows = [
        (
            name,
            *(f"{end:+.4f}" if end is not None else None for end in _ends(contrast.difference)),
            _p(contrast.p_outputs),
            _p(contrast.p_outputs_holm),
            contrast.num_wins,
            contrast.num_ties,
            contrast.num_losses,
            found.verdicts[name],
        )
        for name, contrast in found.comparison.items()
    ]
    show_table(columns, rows)
    say(
        "p: approximate randomisation, 10,000 sign flips, corrected for the scores shown. The verdict is on "
        "these outputs: whether another seed would say the same, one run cannot tell."
    )
    if any("agg:corpus" in s.signature for s in found.scores):
        say(
            "Scores of the whole corpus (agg:corpus) are compared by what each example adds to them, "
            "wins and losses by each example alone."
        )


def _say_remarks(found: Evaluation) -> None:
    empty = f", {found.num_empty:,} empty" if found.num_empty else ""
    say(
        f"{counted(found.num_examples, 'prediction')} of {found.words_mean:.1f} words{empty} "
        f"(references {found.reference_words_mean:.1f}), sha256 {found.fingerprint[:12]}"
    )
    for signature in dict.fromkeys(s.signature for s in found.scores):
        say(signature)
    total = found.metered.total
    energy = known(total.energy_total_joule, "energy")
    say(f"took {known(total.wall_second, 'time')}, {energy} ({total.energy_total_source})")
    if len(found.costs) > 1:
        each = [f"{name} {known(cost.wall_second, 'time')}" for name, cost in found.costs.items()]
        say(f"of which for {found.name}: {', '.join(each)}")


def judge_metrics(files: Sequence[Path], metrics: str | None, *, as_json: bool) -> None:
    """Hold metrics against human judgements and show how far they agree.

    Raises:
        KilowitError: a file, a metric or a package is not as it should be.
    """
    if metrics is None:
        for reason in filter(None, default_metrics().values()):
            say(f"left out: {reason}")
    found = judge(files, None if metrics is None else listed(metrics))
    if as_json:
        show_json(found)
        return
    columns = ("metric", "human", "level", "n", "Kendall", "Spearman", "Pearson", "scoring", "file")
    show_table(columns, [_agreement_row(agreement) for agreement in found])
    say(
        "[a, b]: 95 % interval of resampling documents (systems at that level), 1,000 resamples. Kendall: tau-b. "
        "scoring: seconds that the metric took, for all its scores."
    )


def _agreement_row(found: Agreement) -> tuple[str | int | None, ...]:
    values = [_correlation(interval) for interval in (found.kendall, found.spearman, found.pearson)]
    took = known(found.scoring_second, "time")
    return (found.metric, found.dimension, found.level, found.num_rows, *values, took, Path(found.file).name)


def _correlation(interval: Interval | None) -> str | None:
    if interval is None:
        return None
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} [{interval.low:.2f}, {interval.high:.2f}]"


def listed(text: str) -> list[Written]:
    """Return metrics that commas part, each written as in a study.

    Raises:
        StudyError: an empty name, or not YAML.
    """
    items = parse_list(text, "--metrics")
    if not items or None in items or "" in items or text.rstrip().endswith(","):
        raise StudyError(f'"{text}" has an empty name', place="--metrics", hint="Example: --metrics rouge,bleu")
    return items


def _ends(interval: Interval) -> tuple[float | None, float | None, float | None]:
    return interval.value, interval.low, interval.high


def _four(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _p(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
