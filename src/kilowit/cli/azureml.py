"""What the verbs of `kilowit azureml` show."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kilowit.console import say, show, show_json

if TYPE_CHECKING:
    from kilowit.azureml import AzureExport, Finding, Submitted


def show_export(export: AzureExport) -> None:
    """Show the files of an export, and what its reader should know."""
    for name in export.files:
        show(str(export.folder / name))
    for note in export.notes:
        say(f"note: {note}")
    say(f"Read {export.folder / 'README.md'}; begin with {export.folder / 'azure.sh'} up")


def show_findings(folder: Path, findings: Sequence[Finding], *, as_json: bool) -> int:
    """Show what is wrong, and return the exit code: 2 with findings, else 0."""
    if as_json:
        show_json(findings)
    elif findings:
        sys.stderr.write("".join(f"{finding}\n" for finding in findings))
    else:
        say(f"{folder}: nothing found")
    return 2 if findings else 0


def show_submitted(job: Submitted, *, as_json: bool) -> None:
    """Show a job that Azure has taken."""
    if as_json:
        show_json(job)
        return
    show(job.name)
    say(f"{job.status}  {job.studio_url or ''}".rstrip())
