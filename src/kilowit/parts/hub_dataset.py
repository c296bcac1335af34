"""Load a published dataset: from the hub through Hugging Face `datasets`, or from a folder that holds the same files.

A dataset's file in ``parts/datasets`` states the facts (`HubDataset`); this module acts on them. No dataset script is
run: `datasets` 4 and later refuse them. Files are fetched first and read by `datasets` then, as a memory-mapped
table: asked for a hub id and files, `datasets` 5.2 does not find its own cache again without network.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field

from kilowit.errors import CellFailure, DataError, KilowitError, PartError, near_name_hint
from kilowit.parts.corpus import ListedRows, Provenance, Rows, RowsAt, build_corpus, split_by_hash
from kilowit.parts.dataset import SPLITS, Corpus, DatasetOptions
from kilowit.parts.hub import Snapshot, download_dataset
from kilowit.parts.table_file import FORMATS, read_columns, table_format

CONVERTED: Final = "refs/convert/parquet"  # the branch where the hub keeps a dataset's files converted to parquet
_BROKEN_HINT: Final = "Delete the dataset from the hub's cache on this machine (`hf cache delete`) and run again."
_SPLIT_WORD: Final = re.compile(r"(?<![a-z])(train|validation|valid|val|dev|test)(?![a-z])")


class HubOptions(DatasetOptions):
    """Options of every dataset that the hub publishes."""

    path_options: ClassVar[tuple[str, ...]] = ("path",)

    path: str | None = Field(None, description="folder with the dataset's files; None = from the hub")
    revision: str | None = Field(None, description="commit, tag or branch on the hub; None = the newest")


@dataclass(frozen=True)
class Route:
    """One place on the hub where a dataset's files may be: a revision, and a pattern of files for each split."""

    revision: str | None  # None = main
    files: Mapping[str, str]


@dataclass(frozen=True)
class HubDataset:
    """The facts of one published dataset."""

    name: str
    hub_id: str
    licence: str
    document_column: str
    summary_column: str
    routes: tuple[Route, ...]  # tried in order: what is a script today may be files on main tomorrow
    num_examples: Mapping[str, int]  # rows as published, by split; empty = not known
    id_column: str | None = None  # None: the number of the row
    config: str | None = None  # folder of the files, where a dataset has several
    version: str | None = None  # as published; None = it has one only, or its texts must tell
    own_split: tuple[float, float] | None = None  # validation and test fractions, where only train is published
    notes: tuple[str, ...] = ()


def converted_route(config: str, splits: Sequence[str] = SPLITS) -> Route:
    """Return the route to the hub's own parquet conversion; large splits are there only in part (``partial-train``)."""
    return Route(CONVERTED, {split: f"{config}/*{split}/*.parquet" for split in splits})


def main_route(pattern: str, splits: Sequence[str] = SPLITS) -> Route:
    """Return the route to files on main; ``{split}`` in the pattern stands for the split's name."""
    return Route(None, {split: pattern.format(split=split) for split in splits})


def fetch_hub_dataset(dataset: HubDataset, options: HubOptions) -> None:
    """Make sure that the files are on this machine: the download apart from the reading.

    Raises:
        PartError: it is no longer on the hub.
        CellFailure: the hub cannot be reached (kind ``download_failed``).
    """
    if options.path is None:
        _fetch_first(dataset, options.revision)


def load_hub_dataset(dataset: HubDataset, options: HubOptions) -> Corpus:
    """Load a dataset from `options.path` if given, else from the hub or its cache on this machine.

    The corpus notes where the number of rows differs from what is published.

    Raises:
        DataError: the files lack a split or a column.
        PartError: it is no longer on the hub, or `datasets` is not installed.
        CellFailure: the hub cannot be reached (kind ``download_failed``).
    """
    published = SPLITS if dataset.own_split is None else ("train",)
    if options.path is not None:
        if options.revision is not None:
            raise PartError("path and revision exclude each other", hint="Leave one of them out.")
        source, commit = "folder", None
        tables = _from_folder(dataset, Path(options.path).expanduser(), published)
    else:
        tables, commit = _from_hub(dataset, options.revision, published)
        source = f"hub:{dataset.hub_id}@{commit}"
    notes = list(dataset.notes)
    for name, expected in dataset.num_examples.items():
        if len(tables[name].ids) != expected:
            notes.append(f"{name} has {len(tables[name].ids):,} rows, {expected:,} are published")
    splits = {name: _without_repeats(table, name, notes) for name, table in tables.items()}
    if dataset.own_split is not None:
        splits = split_by_hash(splits["train"], *dataset.own_split)
    provenance = Provenance(
        name=dataset.name,
        source=source,
        licence=dataset.licence,
        document_column=dataset.document_column,
        summary_column=dataset.summary_column,
        version=dataset.version,
        revision=commit,
        notes=tuple(notes),
    )
    return build_corpus(provenance, splits, options)


@dataclass(frozen=True)
class _TableRows:
    """Rows of a memory-mapped table of `datasets`."""

    table: Any  # datasets.Dataset with the two text columns
    ids: Sequence[str]
    document_column: str
    summary_column: str

    def read(self, positions: Sequence[int]) -> list[tuple[object, object]]:
        chosen = self.table.select(positions)[:]
        return list(zip(chosen[self.document_column], chosen[self.summary_column], strict=True))


def _from_hub(dataset: HubDataset, revision: str | None, published: Sequence[str]) -> tuple[dict[str, Rows], str]:
    files, commit = _fetch_first(dataset, revision)
    tables: dict[str, Rows] = {}
    for name in published:
        place = f"hub:{dataset.hub_id}, {name} split"
        table = _open(dataset, name, files[name], place)
        ids = _ids(dataset, name, table.column_names, table.__getitem__, len(table))
        tables[name] = _TableRows(table, ids, dataset.document_column, dataset.summary_column)
    return tables, commit


def _fetch_first(dataset: HubDataset, revision: str | None) -> tuple[dict[str, list[Path]], str]:
    """Fetch from the first route whose files are there; return them by split, and their commit."""
    failures: list[KilowitError] = []
    for route in dataset.routes:
        try:
            snapshot = download_dataset(dataset.hub_id, revision or route.revision, list(route.files.values()))
            return _files_of(route, snapshot), snapshot.commit
        except (PartError, CellFailure) as error:
            failures.append(error)
    # A route that could not be tried may have had the files: trying again can help, unless all are known to be absent.
    raise next((error for error in failures if isinstance(error, CellFailure)), failures[0])


def _files_of(route: Route, snapshot: Snapshot) -> dict[str, list[Path]]:
    relative = sorted(path.relative_to(snapshot.folder) for path in snapshot.folder.rglob("*") if path.is_file())
    found: dict[str, list[Path]] = {}
    for split, pattern in route.files.items():
        found[split] = [snapshot.folder / path for path in relative if fnmatch(path.as_posix(), pattern)]
        if not found[split]:
            raise PartError(
                f"no {split} files ({pattern}) at {snapshot.commit}", hint="Name a revision, or a local folder in path."
            )
    return found


def _open(dataset: HubDataset, split: str, files: Sequence[Path], place: str) -> Any:
    """Open files of one kind as one table, memory-mapped, with the columns that we need."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise PartError(
            f'dataset "{dataset.name}" needs the package datasets',
            hint="Install the training stack: pip install 'kilowit[train]'.",
        ) from error
    reader = {"parquet": "parquet", "csv": "csv", "jsonl": "json"}[table_format(files[0]).removesuffix(".gz")]
    try:
        table = datasets.load_dataset(reader, data_files={split: [str(path) for path in files]}, split=split)
    except datasets.exceptions.DatasetGenerationError as error:
        reason = error.__cause__ or error
        raise DataError(f"the files cannot be read ({reason})", place=place, hint=_BROKEN_HINT) from error
    wanted = [dataset.document_column, dataset.summary_column]
    for column in wanted:
        if column not in table.column_names:
            raise _no_column(column, table.column_names, place)
    return table.select_columns([*wanted, dataset.id_column] if dataset.id_column in table.column_names else wanted)


def _from_folder(dataset: HubDataset, folder: Path, published: Sequence[str]) -> dict[str, Rows]:
    """Read a folder laid out as on the hub: the split is a word of the file's name or of its folder's."""
    if not folder.is_dir():
        raise DataError("no such folder", place=str(folder), hint="Check path.")
    root = folder / dataset.config if dataset.config and (folder / dataset.config).is_dir() else folder
    files: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        match = _SPLIT_WORD.search(path.relative_to(root).as_posix().lower())
        if match and path.name.lower().endswith(tuple(f".{form}" for form in FORMATS)):
            name = {"valid": "validation", "val": "validation", "dev": "validation"}.get(match.group(1), match.group(1))
            files.setdefault(name, []).append(path)
    tables: dict[str, Rows] = {}
    for name in published:
        if name not in files:
            raise _no_split(name, files, str(root))
        tables[name] = _rows_of_files(dataset, name, files[name])
    return tables


def _rows_of_files(dataset: HubDataset, split: str, files: Sequence[Path]) -> Rows:
    columns: dict[str, list[object]] = {}
    optional = [dataset.id_column] if dataset.id_column else []
    for path in files:
        for column, values in read_columns(path, [dataset.document_column, dataset.summary_column], optional).items():
            columns.setdefault(column, []).extend(values)
    documents, summaries = columns[dataset.document_column], columns[dataset.summary_column]
    ids = _ids(dataset, split, list(columns), columns.__getitem__, len(documents))
    return ListedRows(ids, documents, summaries)


def _ids(dataset: HubDataset, split: str, columns: Sequence[str], read: Any, num_rows: int) -> list[str]:
    """Return the published ids; else, where we divide the rows, the hash of each document; else row numbers."""
    if dataset.id_column in columns:
        return [str(value) for value in read(dataset.id_column)]
    if dataset.own_split is not None:
        return [hashlib.sha256(str(text).encode()).hexdigest()[:16] for text in read(dataset.document_column)]
    return [f"{split}-{i}" for i in range(num_rows)]


def _without_repeats(rows: Rows, split: str, notes: list[str]) -> Rows:
    """Leave out rows whose id was met before: their predictions could not be told apart."""
    first = {row_id: position for position, row_id in reversed(list(enumerate(rows.ids)))}
    if len(first) == len(rows.ids):
        return rows
    notes.append(f"{len(rows.ids) - len(first)} of the {split} rows left out: their id or document occurs twice")
    return RowsAt(rows, sorted(first.values()))


def _no_split(name: str, found: Mapping[str, Any], place: str) -> DataError:
    return DataError(
        f"no {name} split (found {', '.join(sorted(found)) or 'no files'})",
        place=place,
        hint="A split is a word of a file's or folder's name: train-00000.parquet, test/0000.parquet.",
    )


def _no_column(name: str, known: Sequence[str], place: str) -> DataError:
    return DataError(f'no column "{name}"', place=place, hint=near_name_hint(name, known))
