"""judge: a model of your own choice grades the summaries, in its own environment, over a pipe.

What it is     Whatever the named program answers, one number a score and example; mean over examples. Scores are
               called <name>_<score>. Made for AlignScore, MiniCheck, UniEval and the like, whose packages do not
               install beside ours: the program runs under its own Python, reads JSONL and writes JSONL.
Settings       The program's. `version` says which, and is part of the signature: it is for you to raise it.
Needs          the sources, unless needs_source is false; the program, on the machine that scores.
Cost           Metered with the phase score, and noted by itself: energy counters and the model of the host see the
               whole machine, so the program's processors and GPUs are on the bill. What a service elsewhere draws
               is not.
Limits         Says what its model says: read the correlation with people, `kilowit metrics judge`. An API's model can
               change under the same name, and then the same version is another metric.
Source         AlignScore: Zha et al. 2023, arXiv 2305.16739; MiniCheck: Tang et al. 2024, arXiv 2404.10774; UniEval:
               Zhong et al. 2022, arXiv 2210.07197. docs/how-to/judge.md, studies/judges/.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field

from kilowit.parts.judge_process import check_command, read_answers, run_judge
from kilowit.parts.metric import MetricResult
from kilowit.parts.resample import NUM_RESAMPLES, scores_of_means
from kilowit.parts.words import check_lengths
from kilowit.settings import Block, Positive

NEEDS_SOURCE: Final = True
NAMES: Final[tuple[str, ...]] = ()  # the judge's own
VERSION: Final = 1  # raise it when the same answers begin to give other values

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=40)]
Said = Annotated[str, Field(pattern=r"^[^|\s]+$", max_length=100)]


class Options(Block):
    """A judge, as a study names it."""

    command_options: ClassVar[tuple[str, ...]] = ("command",)

    name: Name = Field(description="what its scores begin with, e.g. alignscore")
    command: list[str] = Field(min_length=1, description="program and arguments; ./ is the study's folder")
    scores: list[Name] = Field(min_length=1, description="which of its answers are kept; more is better")
    version: Said = Field(description="software and checkpoint, e.g. alignscore-0.1.3/base; in the signature")
    needs_source: bool = Field(True, description="false: it is given no documents")
    timeout_second: Positive = Field(3600.0, description="how long it may take for all examples")
    env: dict[str, str] = Field({}, description="environment variables; no secrets, a run folder keeps them")


def names(options: Options) -> tuple[str, ...]:
    """Return the names of the scores."""
    return tuple(f"{options.name}_{score}" for score in options.scores)


def second_per_pair(options: Options) -> None:
    """Return None: another program grades, at a pace of its own."""
    return None


def needs_source(options: Options) -> bool:
    """Whether the judge is given the documents."""
    return options.needs_source


def check(options: Options) -> None:
    """Refuse a program that is not on this machine.

    Raises:
        PartError: says which.
    """
    check_command(options.name, options.command)


def signature(names: Sequence[str] | None = None, *, options: Options) -> str:
    """Return what the values depend on, in one line."""
    kept = [f"{options.name}_{score}" for score in options.scores] if names is None else names
    return (
        f"judge|l:{'+'.join(kept)}|version:{options.version}|source:{'yes' if options.needs_source else 'no'}|agg:mean"
        f"|ci:bootstrap{NUM_RESAMPLES}|v:{VERSION}"
    )


def score(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    sources: Sequence[str] | None = None,
    options: Options,
) -> MetricResult:
    """Let the judge grade each prediction.

    Raises:
        DataError: the texts do not pair up, or the judge's answers are not as they should be.
        PartError: the judge cannot be started, takes too long or fails.
    """
    check_lengths(predictions, references=references, **({} if sources is None else {"sources": sources}))
    rows = [
        {"id": str(number), "prediction": prediction, "reference": reference}
        for number, (prediction, reference) in enumerate(zip(predictions, references, strict=True))
    ]
    for row, source in zip(rows, sources or (), strict=False):
        row["source"] = source
    answers = run_judge(
        options.name, options.command, rows, timeout_second=options.timeout_second, environment=options.env
    )
    values = read_answers(options.name, answers, options.scores, len(rows))
    per_example = dict(zip(names(options), values.values(), strict=True))
    return MetricResult(scores_of_means(per_example, lambda name: signature([name], options=options)), per_example)
