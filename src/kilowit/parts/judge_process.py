"""Run a judge: a program of the user's, in an environment of its own, that grades summaries over a pipe.

It reads one JSON object a line from its standard input and writes one a line to its standard output:

    in   {"id": "0", "prediction": "...", "reference": "...", "source": "..."}
    out  {"id": "0", "scores": {"consistency": 0.93}}

in any order, each id once; what it says besides goes to its standard error. Nothing of it is imported, so its
packages may be as old as they like. Stands below `parts.metrics.judge`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kilowit.errors import DataError, PartError, near_name_hint

_TAIL_LINES: Final = 8  # of standard error: the end of a traceback says what happened
_TAIL_LETTERS: Final = 1_500
_GRACE_SECOND: Final = 5.0  # between asking a judge to end and ending it
_NOT_OURS: Final = ("PYTHONPATH", "PYTHONHOME")  # they lead its Python to our packages
_SHAPE: Final = 'A judge writes {"id": "0", "scores": {"name": number}}, one a line; docs/how-to/judge.md.'


def check_command(name: str, command: Sequence[str]) -> None:
    """Refuse a command that is not there.

    Raises:
        PartError: its first word is no program.
    """
    if shutil.which(command[0]) is None:
        raise PartError(
            f'judge "{name}": no program "{command[0]}"',
            hint="Give the path of its environment's Python, beginning with ./ or /, or a program on PATH.",
        )


def run_judge(
    name: str,
    command: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    *,
    timeout_second: float,
    environment: Mapping[str, str],
) -> str:
    """Feed a judge and return what it wrote. However it goes, no process of it is left when a limit or Ctrl-C ends it.

    Args:
        name: for messages.
        command: program and arguments; no shell.
        rows: what it is to grade.
        timeout_second: how long it may take.
        environment: variables on top of ours, less those that point at our packages.

    Raises:
        PartError: it cannot be started, takes too long, or ends with another status than 0; with the end of what it
            said on standard error.
        DataError: what it wrote is not UTF-8.
    """
    check_command(name, command)
    asked = "".join(json.dumps(dict(row)) + "\n" for row in rows)
    inherited = {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**inherited, **environment},
            process_group=0,  # of its own, so that all that it starts can be ended with it
        )
    except OSError as error:
        raise PartError(
            f'judge "{name}" cannot be started ({error.strerror}: {command[0]})', hint="Is it executable?"
        ) from error
    try:
        answered, said = process.communicate(asked.encode(), timeout=timeout_second)
    except subprocess.TimeoutExpired as error:
        _end_group(process)
        raise PartError(
            f'judge "{name}" took longer than {timeout_second:g} s, and was ended{_tail(error.stderr)}',
            hint="Raise its option timeout_second.",
        ) from error
    except BaseException:
        _end_group(process)
        raise
    if process.returncode != 0:
        status = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
        raise PartError(
            f'judge "{name}" ended with {status}{_tail(said)}',
            hint="Run its command by hand on one line of input; docs/how-to/judge.md says how.",
        )
    try:
        return answered.decode()
    except UnicodeDecodeError as error:
        raise DataError(f'judge "{name}" wrote what is not UTF-8 ({error.reason})', hint=_SHAPE) from error


def read_answers(name: str, text: str, score_names: Sequence[str], num_rows: int) -> dict[str, list[float]]:
    """Return by score one value per row, in the order of the rows, whose ids are "0" to ``num_rows - 1``.

    Raises:
        DataError: a line is not as the module says, an id is unknown, stands twice or is missing, or a value is not
            a finite number; says which line of the judge's output.
    """
    found: dict[str, list[float | None]] = {score: [None] * num_rows for score in score_names}
    line_of: dict[int, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f'output of judge "{name}", line {number}'
        answer = _parsed(line, place)
        row = _row(answer["id"], num_rows, place)
        if row in line_of:
            raise DataError(f'id "{row}" stands at line {line_of[row]} too', place=place, hint="Answer each id once.")
        line_of[row] = number
        for score in score_names:
            found[score][row] = _value(answer["scores"], score, place)
    missing = [row for row in range(num_rows) if row not in line_of]
    if missing:
        raise DataError(
            f'judge "{name}" answered {len(line_of)} of {num_rows} rows; the first without is id "{missing[0]}"',
            hint=_SHAPE,
        )
    return {score: [value for value in values if value is not None] for score, values in found.items()}


def _parsed(line: str, place: str) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise DataError(f"not JSON ({error}): {line:.60}", place=place, hint=_SHAPE) from error
    if not isinstance(answer, dict) or "id" not in answer or not isinstance(answer.get("scores"), dict):
        raise DataError(f'no object with "id" and "scores": {line:.60}', place=place, hint=_SHAPE)
    return answer


def _row(written: Any, num_rows: int, place: str) -> int:
    text = str(written)
    if isinstance(written, bool) or not text.isascii() or not text.isdigit() or str(int(text)) != text:
        raise DataError(f"unknown id {written!r:.40}", place=place, hint="Answer with the ids that were asked.")
    if int(text) >= num_rows:
        raise DataError(f"unknown id {written!r:.40}", place=place, hint=f'Ids go from "0" to "{num_rows - 1}".')
    return int(text)


def _value(scores: Mapping[str, Any], name: str, place: str) -> float:
    if name not in scores:
        raise DataError(f'no score "{name}"', place=place, hint=near_name_hint(name, map(str, scores)))
    value = scores[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f'score "{name}" is {value!r:.40}', place=place, hint="A score is a finite number.")
    return float(value)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the judge and all that it started: asked first, then without asking. Its pid is ours until it is reaped."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_GRACE_SECOND)
            return
    for pipe in (process.stdin, process.stdout, process.stderr):  # somebody outside of the group holds them
        if pipe is not None:
            pipe.close()
    process.wait()


def _tail(said: bytes | None) -> str:
    """Return the end of what a process said on standard error, to be put behind a message."""
    lines = (said or b"").decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
    text = "\n    ".join(lines)[-_TAIL_LETTERS:]
    return f"; it said last:\n    {text}" if text else "; it said nothing"
