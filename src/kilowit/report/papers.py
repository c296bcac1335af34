"""Published scores of the same dataset and model, and why a row cannot stand beside a run.

``published.csv`` is built by tools/build_papers.py. What papers call ROUGE-L is two figures up to 13 points apart, and
two versions of BigPatent are about; a figure is only ever set beside one of its own kind.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from kilowit.report.runs import Choice

COLUMNS: Final = ("rouge1", "rouge2", "rougeL", "rougeLsum")

# Name of a checkpoint on the hub, without its owner, to the name that papers give the model. The first that fits.
_NAMES: Final = (
    (re.compile(r"bart-large-cnn"), ("BART-large", "BART-large-CNN")),
    (re.compile(r"bart-large-xsum"), ("BART-large", "BART-large-XSum")),
    (re.compile(r"bart-large"), ("BART-large",)),
    (re.compile(r"bigbird-pegasus-large"), ("BigBird-PEGASUS large",)),
    (re.compile(r"pegasus-x-large"), ("PEGASUS-X",)),
    (re.compile(r"pegasus-x-base"), ("PEGASUS-X-base",)),
    (re.compile(r"pegasus-(large|xsum|cnn|reddit|big|arxiv|pubmed|multi|wikihow|aeslc|billsum|gigaword|news)"),
     ("PEGASUS-large",)),
    (re.compile(r"prophetnet-large"), ("ProphetNet-large",)),
    (re.compile(r"led-large"), ("LED-large",)),
    (re.compile(r"long-t5-tglobal-(?P<size>base|large|xl)"), ("LongT5-{size}",)),
    (re.compile(r"t5-(?P<size>small|base|large)$"), ("T5-{size}",)),
    (re.compile(r"t5-3b$"), ("T5-3B",)),
    (re.compile(r"t5-11b$"), ("T5-11B",)),
)  # fmt: skip
_LINES: Final = frozenset({"cnn_dailymail"})  # datasets whose references have a line per sentence


@dataclass(frozen=True)
class Published:
    """One row of a paper or a model card; scores in [0, 1], None = not given in that variant."""

    model: str
    checkpoint: str
    dataset: str
    dataset_version: str
    scores: Mapping[str, float | None]
    stemmer: str  # porter | no | not stated
    read_in: str  # the source | a copy of its table
    source: str
    note: str


@dataclass(frozen=True)
class Beside:
    """What a choice may be set beside, and what may not, with the reason."""

    comparable: tuple[Published, ...]
    refused: tuple[tuple[Published, str], ...]
    own_reasons: Mapping[str, str]  # by metric: why the choice's own figure is of another kind


@cache
def published() -> tuple[Published, ...]:
    """Return all published rows."""
    text = resources.files("kilowit.report").joinpath("published.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    texts = ("model", "checkpoint", "dataset", "dataset_version", "stemmer", "read_in", "source", "note")
    return tuple(
        Published(
            scores={name: float(row[name]) / 100 if row[name] else None for name in COLUMNS},
            **{name: row[name] for name in texts},
        )
        for row in rows
    )


def names_in_papers(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what papers call a model; nothing for one from scratch or a local folder."""
    if spec.get("baseline") == "lead":
        return "Lead", "Lead-3"
    hub = str(spec.get("hub") or "")
    checkpoint = hub.rpartition("/")[2].lower()
    if checkpoint.startswith("distilbart"):
        return (hub,)
    for pattern, names in _NAMES:
        if found := pattern.match(checkpoint):
            return tuple(name.format(**found.groupdict()) for name in names)
    return ()


def beside(choice: Choice) -> Beside:
    """Return the published rows of the dataset and model of a choice, those that do not compare with the reason."""
    names = names_in_papers(choice.identity.get("model", {}))
    rows = [
        row for row in published() if row.dataset == choice.dataset and (row.model in names or row.checkpoint in names)
    ]
    reasons = [(row, _why_not(choice, row)) for row in rows]
    comparable = tuple(row for row, reason in reasons if not reason)
    refused = tuple((row, reason) for row, reason in reasons if reason)
    return Beside(comparable, refused, _own_reasons(choice, comparable))


def _why_not(choice: Choice, row: Published) -> str:
    """Return why a row does not compare with a choice, or nothing."""
    options = choice.identity.get("dataset", {})
    if options.get("max_test_examples") is not None:
        return f"this study scored {options['max_test_examples']:,} test examples, the published score is of all"
    version = _version(choice, options)
    if row.dataset_version and row.dataset_version != version:
        seen = f"this run's is {version}" if version else "which one this run read is not recorded"
        return f"another version of the dataset ({row.dataset_version}); {seen}"
    stemmer = _setting(choice, "stem")
    if stemmer is not None and row.stemmer not in (stemmer, "not stated"):
        ours, theirs = ("with" if value == "porter" else "without" for value in (stemmer, row.stemmer))
        return f"scored {theirs} Porter's stemmer, this run {ours}"
    return ""


def _version(choice: Choice, options: Mapping[str, Any]) -> str:
    """Return the version of the dataset that a choice's runs recorded, or that their options named."""
    recorded = (run.record.dataset.version for run in choice.finished if run.record.dataset is not None)
    if version := next((version for version in recorded if version is not None), None):
        return version
    return str(options.get("variant", "long")) if options.get("name") == "reddit_tifu" else ""


def _own_reasons(choice: Choice, rows: tuple[Published, ...]) -> dict[str, str]:
    """Say where the choice's own figure is not what papers call so."""
    is_split = choice.dataset in _LINES or _setting(choice, "split") != "newline"
    if is_split or all(row.scores["rougeL"] == row.scores["rougeLsum"] for row in rows):
        return {}
    return {
        "rougeLsum": "scored with split:newline on references of one line: equal to ROUGE-L, not what papers call "
        "ROUGE-Lsum"
    }


def _setting(choice: Choice, name: str) -> str | None:
    """Return a setting of the ROUGE signature of a choice; None when it has none."""
    signatures = [s.signature for run in choice.finished for s in run.record.scores if s.metric.startswith("rouge")]
    for part in signatures[0].split("|") if signatures else ():
        key, _, value = part.partition(":")
        if key == name or key == f"{name}mer":
            return value
    return None
