"""Write the report's files, or only say the answer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kilowit.endpoint.folder import read_serving_folder
from kilowit.errors import StoreError
from kilowit.record import Record
from kilowit.report.contents import Contents, contents_of
from kilowit.report.endpoint import serving_contents
from kilowit.report.findings import DatasetAnswer, Finding
from kilowit.report.life_cycles import Changes
from kilowit.report.markup import standalone
from kilowit.report.read_runs import RunSource, read_runs
from kilowit.report.render_csv import csv_text
from kilowit.report.render_html import html_text
from kilowit.report.render_markdown import markdown_text
from kilowit.store.collector import paused_collector


@dataclass(frozen=True)
class ReportFiles:
    """Where the report lies, and its answer."""

    html: Path
    markdown: Path
    csv: tuple[Path, ...]
    figures: tuple[Path, ...]
    answer: Answer


@dataclass(frozen=True)
class Answer:
    """The answer of a study: one part per dataset."""

    parts: tuple[DatasetAnswer, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentences; with several datasets each part begins with its name."""
        if len(self.parts) == 1:
            return self.parts[0].sentences
        return tuple(
            f"{part.dataset}: {sentence}" if i == 0 else sentence
            for part in self.parts
            for i, sentence in enumerate(part.sentences)
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The evidence for the sentences."""
        return tuple(finding for part in self.parts for finding in part.findings)


def write_report(
    runs: RunSource,
    folder: str | Path,
    *,
    region: str | None = None,
    machine: str | None = None,
    pue: float | None = None,
    title: str | None = None,
    predictions: Mapping[str, Path] | None = None,
    generated_at: datetime | None = None,
    maintenance: Changes = None,
) -> ReportFiles:
    """Write ``index.html``, ``index.md``, ``tables/*.csv`` and ``figures/*.svg`` into a folder.

    Args:
        runs: a store, its folder, or records of one or more studies; none gives a report that says so.
        folder: made if it is not there; files of an earlier report are replaced.
        region: prices every record there instead of where its study says.
        machine: prices every record on this VM instead of the one of its study.
        pue: overrides the region's.
        title: None = the names of the studies.
        predictions: ``predictions.jsonl`` by run id, for records; comparisons are then paired by example, and a few
            summaries shown. A store knows its own.
        generated_at: the date that the report shows; None = now.
        maintenance: prices working lives by this in place of what the studies say; see `life_cycles`.

    Raises:
        PartError: the region or machine asked for is unknown.
        StudyError: a key or value that `maintenance:` does not take.
        StoreError: the folder cannot be written.
    """
    with paused_collector():
        records, files = read_runs(runs, predictions=predictions)
        contents = contents_of(
            records,
            region=region,
            machine=machine,
            pue=pue,
            title=title,
            predictions=files or None,
            generated_at=generated_at,
            maintenance=maintenance,
        )
        return _write(contents, Path(folder))


def write_serving_report(
    serving: str | Path,
    folder: str | Path | None = None,
    *,
    region: str | None = None,
    machine: str | None = None,
    pue: float | None = None,
    title: str | None = None,
    generated_at: datetime | None = None,
) -> ReportFiles:
    """Write the report of a server, from its ledger and books alone: the bill by hour, by model and by client.

    Args:
        serving: the folder that `kilowit serve` keeps its books in; the server may still run.
        folder: where to write; None = ``report`` in it.
        region: prices all of it there instead of where the server was told that it runs.
        machine: prices all of it on this VM.
        pue: overrides the region's.
        title: None = the names of the models.
        generated_at: the date that the report shows; None = now.

    Raises:
        PartError: the region or machine asked for is unknown.
        StoreError: there are no books or no ledger, or the report cannot be written.
    """
    read = read_serving_folder(serving)
    contents = serving_contents(read, region=region, machine=machine, pue=pue, title=title, generated_at=generated_at)
    return _write(contents, Path(serving) / "report" if folder is None else Path(folder))


def answer(records: Sequence[Record], *, predictions: Mapping[str, Path] | None = None) -> Answer:
    """Say which choice is worth it, without writing anything."""
    return Answer(contents_of(records, predictions=predictions).answers)


def _write(contents: Contents, folder: Path) -> ReportFiles:
    tables = [table for table in contents.tables if table.rows]
    figures = [figure for section in contents.sections for figure in section.figures]
    csv_files = {folder / "tables" / f"{table.name}.csv": csv_text(table) for table in tables}
    svg_files = {folder / "figures" / f"{figure.name}.svg": standalone(figure.wide) for figure in figures}
    pages = {folder / "index.html": html_text(contents), folder / "index.md": markdown_text(contents)}
    for path, text in {**csv_files, **svg_files, **pages}.items():
        _write_whole(path, text)
    return ReportFiles(
        html=folder / "index.html",
        markdown=folder / "index.md",
        csv=tuple(csv_files),
        figures=tuple(svg_files),
        answer=Answer(contents.answers),
    )


def _write_whole(path: Path, text: str) -> None:
    """Write a file that a reader never sees half written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)  # mkstemp gives 0600, which would hide the report from colleagues
            Path(temporary).replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        reason = f"report cannot be written ({error.strerror or error})"
        raise StoreError(reason, place=str(path), hint="Name a folder that you may write with --output.") from error
