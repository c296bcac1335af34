"""The card of any dataset, without a study: what it is like, before anything is trained on it.

Stands right of `kilowit.study_parts`, which checks the options of a dataset as it does those in a study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kilowit import parts
from kilowit.errors import PartError, StudyError
from kilowit.parts.dataset import SPLITS, Corpus
from kilowit.parts.dataset_card import dataset_facts, sample_of
from kilowit.parts.table_file import FORMATS
from kilowit.parts.text_lengths import SplitLengths, token_lengths
from kilowit.record import DatasetFacts
from kilowit.study_parts import Reading, read_dataset
from kilowit.study_yaml import Document, override, study_error


def describe_dataset(
    dataset: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    tokenizer: str | Path | None = None,
    max_source: int | None = None,
    max_target: int | None = None,
    whole: bool = False,
) -> DatasetFacts:
    """Return the card of a dataset: counts, lengths, what its summaries take from their sources.

    Args:
        dataset: a name as in a study, ``{"name": ..., options}``, a file of pairs (divided by the hash of each id), or
            a folder with one file each named train, validation and test.
        overrides: assignments of options, e.g. ``document_column=article``.
        tokenizer: folder, or id on the hub, of what counts the lengths in tokens, without any prefix that a family
            puts before documents; None counts words.
        max_source: length to judge truncation by, besides the usual ones; in the unit of the lengths.
        max_target: likewise of the summaries.
        whole: measure every example rather than at most 2,000 a split.

    Raises:
        StudyError: no such dataset, file or option.
        DataError: the files are not as they should be.
        PartError: a package is missing, or there is no such tokenizer.
        CellFailure: the hub cannot be reached (kind ``download_failed``).

    Example:
        >>> describe_dataset("pairs.jsonl").splits[0].novel_2gram_fraction  # doctest: +SKIP
        0.772
    """
    spec = _read_spec(dataset, overrides)
    loaded = None if tokenizer is None else _load_tokenizer(tokenizer)
    corpus = _load(spec)
    lengths = None if loaded is None else _token_lengths(corpus, loaded, whole=whole)
    return dataset_facts(corpus, lengths, max_source=max_source, max_target=max_target, whole=whole)


def load_dataset(dataset: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = ()) -> Corpus:
    """Return the texts of a dataset as a study would see them: ``train``, ``validation`` and ``test``.

    Args:
        dataset: as for `describe_dataset`.
        overrides: assignments of options.

    Raises:
        KilowitError: as `describe_dataset`.

    Example:
        >>> load_dataset("pairs.jsonl").test.documents[0]  # doctest: +SKIP
        'A long text.'
    """
    return _load(_read_spec(dataset, overrides))


def _load(spec: Mapping[str, Any]) -> Corpus:
    module = parts.load("datasets", spec["name"])
    corpus: Corpus = module.load(module.Options.model_validate({k: v for k, v in spec.items() if k != "name"}))
    return corpus


def _read_spec(dataset: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    written = dict(dataset) if isinstance(dataset, Mapping) else _spec_of_text(dataset)
    document = Document(
        "dataset", written, values={(): f"dataset {dataset if isinstance(dataset, str | Path) else ''}"}
    )
    for assignment in overrides:
        override(document, assignment)
    reading = Reading(document, Path())
    spec = read_dataset(reading, (), document.value)
    if spec is None or reading.problems:
        raise study_error(reading.problems)
    return spec


def _spec_of_text(text: str | Path) -> dict[str, Any]:
    path = Path(text).expanduser()
    if isinstance(text, str) and (text in parts.names("datasets") or not (path.exists() or _is_path(text))):
        return {"name": text}  # where it is no dataset's name, the nearest one is suggested
    if path.is_file():
        return {"name": "local_files", "path": str(path)}
    if not path.is_dir():
        raise StudyError(
            "no such file or folder", place=str(text), hint="`kilowit parts datasets` lists what has a name."
        )
    files = {split: _file_of(path, split) for split in SPLITS}
    if missing := [split for split, file in files.items() if file is None]:
        raise StudyError(
            f"the folder has no file of the {missing[0]} split",
            place=str(path),
            hint=f"Name its files train, validation and test, ending in one of {', '.join(FORMATS)}; or name one file.",
        )
    return {"name": "local_files", **{split: str(file) for split, file in files.items()}}


def _is_path(text: str) -> bool:
    return "/" in text or text.lower().endswith(tuple(f".{form}" for form in FORMATS))


def _file_of(folder: Path, split: str) -> Path | None:
    return next((file for form in FORMATS if (file := folder / f"{split}.{form}").is_file()), None)


def _load_tokenizer(tokenizer: str | Path) -> Any:
    try:
        from kilowit.parts.hub import download_model
        from kilowit.parts.pretrained import load_tokenizer

        folder = Path(tokenizer).expanduser()
        if isinstance(tokenizer, str) and not folder.exists():
            folder = download_model(tokenizer, None, with_weights=False).folder
    except ModuleNotFoundError as error:
        raise PartError(
            f"a tokenizer needs the package {error.name}",
            hint="Install the training stack: pip install 'kilowit[train]', or leave the tokenizer out to count words.",
        ) from error
    return load_tokenizer(folder)


def _token_lengths(corpus: Corpus, tokenizer: Any, *, whole: bool) -> dict[str, SplitLengths]:
    samples = {name: sample_of(getattr(corpus, name), whole=whole) for name in SPLITS}
    return {name: token_lengths(split.documents, split.summaries, tokenizer) for name, split in samples.items()}
