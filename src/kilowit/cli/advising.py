"""`kilowit recommend`: its options, and how an answer looks at a terminal, in a pipe and to a machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kilowit.errors import StudyError

if TYPE_CHECKING:
    from kilowit.report.recommend import Candidate, Recommendation

_LIMITS: Final = "parted by commas or repeated"


def recommend(
    at_least: Annotated[
        list[str], typer.Option("--min", metavar="FIGURE=LIMIT", help=f"Must not be below, e.g. rouge2=0.2; {_LIMITS}.")
    ] = [],  # noqa: B006
    at_most: Annotated[
        list[str],
        typer.Option("--max", metavar="FIGURE=LIMIT", help=f"Must not be above, e.g. co2e_kg=0.2; {_LIMITS}."),
    ] = [],  # noqa: B006
    objective: Annotated[
        str | None,
        typer.Option(metavar="FIGURE", help="What decides; else energy_kwh under a --min score, or the best score."),
    ] = None,
    store: Annotated[Path, typer.Option("--store", metavar="FOLDER", help="Folder of runs.")] = Path("runs"),
    study: Annotated[str | None, typer.Option(metavar="NAME", help="Only the runs of this study.")] = None,
    region: Annotated[str | None, typer.Option(metavar="NAME", help="Grid region, e.g. azure/westus2.")] = None,
    machine: Annotated[str | None, typer.Option(metavar="NAME", help="Machine that is billed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """Recommend a choice under limits: why, how surely, the runner-up, and what to run next to be surer.

    Example: kilowit recommend --min rouge2=0.20 --max co2e_kg=0.2 --max latency_p95_second=1
    """
    from kilowit.console import show_json
    from kilowit.report.recommend import recommend as answer
    from kilowit.store import Store

    found = answer(
        Store(store),
        at_least=limits(at_least, "--min"),
        at_most=limits(at_most, "--max"),
        objective=objective,
        study=study,
        region=region,
        machine=machine,
    )
    if as_json:
        show_json(found)
        return
    for one in found:
        _show(one, with_name=len(found) > 1)


def limits(texts: Sequence[str], option: str) -> dict[str, float]:
    """Read ``rouge2=0.2,bleu=0.1``.

    Raises:
        StudyError: not a name and a number, or a name twice.
    """
    read: dict[str, float] = {}
    for pair in (part.strip() for text in texts for part in text.split(",")):
        name, equals, number = (word.strip() for word in pair.partition("="))
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not name or not equals:
            raise StudyError(f'"{pair}" is no limit', place=option, hint=f"Example: {option} rouge2=0.2")
        if name in read:
            raise StudyError(f"{name} has two limits", place=option, hint="Leave one out.")
        read[name] = value
    return read


def _show(found: Recommendation, *, with_name: bool) -> None:
    from kilowit.console import say, show, show_table

    if with_name:
        show(f"{found.dataset}:")
    for sentence in found.sentences:
        show(sentence)
    rows = [_row(c, word) for word, c in _candidates(found)]
    if rows:
        say("")
        limited = [kept.figure for kept in _candidates(found)[0][1].limits]
        show_table(("choice", "", "P right", "runs", _candidates(found)[0][1].objective.figure, *limited), rows)
    if found.next_runs:
        say("\nto be surer:")
        columns = ("run", "seed", "kWh", "adds to P", "P of another answer")
        show_table(
            columns,
            [
                (
                    n.choice,
                    n.seed,
                    _digits(n.energy_kwh),
                    None if n.gain is None else f"{n.gain:.3f}",
                    None if n.change is None else f"{n.change:.2f}",
                )
                for n in found.next_runs
            ],
        )
    if found.ruled_out:
        say("\nruled out:")
        show_table(("choice", "because", "seen"), [(r.choice, _WORDS[r.kind], r.reason) for r in found.ruled_out])
    say("")


_WORDS: Final = {"failed": "failed", "missing": "lacks a figure", "limit": "breaks a limit"}


def _candidates(found: Recommendation) -> list[tuple[str, Candidate]]:
    named = [("recommended", found.answer), ("runner-up", found.runner_up), ("nearest", found.nearest)]
    return [*((word, c) for word, c in named if c is not None), *(("", c) for c in found.others)]


def _row(candidate: Candidate, word: str) -> tuple[str | int | None, ...]:
    figures = [_digits(kept.value) for kept in (candidate.objective, *candidate.limits)]
    return (candidate.choice, word, f"{candidate.probability:.3f}", candidate.num_runs, *figures)


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
