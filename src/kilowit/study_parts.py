"""What the names in a study mean: datasets, methods and metrics, looked up and made canonical.

A canonical spec says the same thing the same way however it was written: options that are a part's defaults are
left out, local paths are absolute and hashed. Every fault becomes a `Problem` with its place, and reading goes on.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kilowit import parts
from kilowit.errors import PartError, near_name_hint
from kilowit.parts import catalogue
from kilowit.parts.content import content_hash
from kilowit.parts.executor import ExecutorCall
from kilowit.parts.method import MethodCall, NoOptions
from kilowit.parts.metric import MetricCall
from kilowit.settings import Block
from kilowit.study_yaml import Document, DocumentPath, Problem, path_name

_TYPE_WORDS: Final = {
    "model_type": "a mapping", "dict_type": "a mapping", "list_type": "a list", "string_type": "text",
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "bool_type": "true or false", "finite_number": "a finite number",
}  # fmt: skip


@dataclass
class Reading:
    """What is gathered while a study is read: problems, notes for its author, hashes of local content."""

    document: Document
    folder: Path  # that relative paths start from
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    content: dict[str, str] = field(default_factory=dict)

    def fault(self, path: DocumentPath, message: str, *, at_key: bool = False) -> None:
        """Note a problem at `path`."""
        self.problems.append(self.document.problem(path, message, at_key=at_key))

    def part_fault(self, path: DocumentPath, error: PartError) -> None:
        """Note what a part said, in one line."""
        self.fault(path, f"{error.message}. {error.hint}" if error.hint else error.message)

    def note(self, text: str) -> None:
        """Note something that the author should know and that stops nothing; once."""
        if text not in self.notes:
            self.notes.append(text)

    def absolute(self, written: str) -> str:
        """Return a local path made absolute, links kept: a virtual environment's Python is one."""
        return str((self.folder / Path(written).expanduser()).absolute())

    def local(self, path: DocumentPath, written: str) -> str | None:
        """Return a local path made absolute, with its content hashed; None and a problem if it is not there."""
        absolute = (self.folder / Path(written).expanduser()).resolve()
        if str(absolute) not in self.content:
            try:
                self.content[str(absolute)] = content_hash(absolute)
            except OSError as error:
                self.fault(path, f'"{written}" cannot be read ({error.strerror}: {absolute}).')
                return None
        return str(absolute)


def check_block(reading: Reading, path: DocumentPath, block: type[Block], value: Any) -> Any:
    """Return `value` as the pydantic `block`, or None with a problem for every fault in it."""
    try:
        return block.model_validate(value)
    except ValidationError as error:
        for detail in error.errors():
            _report(reading, path, block, detail)
        return None


def _report(reading: Reading, path: DocumentPath, block: type[BaseModel], detail: ErrorDetails) -> None:
    """Turn one of pydantic's errors into a problem in our words, at its place."""
    place = (*path, *detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = _fields_at(block, detail["loc"][:-1])
        at_key = reading.document.problem(place, "", at_key=True)
        inside = f"{path_name(place[:-1])}: " if len(place) > 1 else ""
        message = f'{inside}no key "{place[-1]}". {near_name_hint(str(place[-1]), known)}'
        reading.problems.append(replace(at_key, message=message))
        return
    if detail["type"] == "missing":
        reading.fault(place[:-1], f'the key "{place[-1]}" is missing.')
        return
    is_key = detail["loc"][-1:] == ("[key]",)
    while len(place) > len(path) and place not in reading.document.values:
        place = place[:-1]  # pydantic adds names of union members
    reading.fault(place, _phrase(detail), at_key=is_key)


def _fields_at(block: type[BaseModel], steps: tuple[str | int, ...]) -> list[str]:
    for step in steps:
        if step in block.model_fields:
            block = _block_in(block.model_fields[str(step)].annotation) or block
    return list(block.model_fields)


def _block_in(annotation: Any) -> type[BaseModel] | None:
    """Return the block that an annotation such as ``list[Exclude]`` or ``Block | None`` holds, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((block for inner in typing.get_args(annotation) if (block := _block_in(inner)) is not None), None)


def _phrase(detail: ErrorDetails) -> str:
    seen = found(detail["input"])
    if detail["type"] in _TYPE_WORDS:
        hint = " Quote it." if detail["type"] == "string_type" and isinstance(detail["input"], int | float) else ""
        if detail["type"] == "list_type" and isinstance(detail["input"], str):
            hint = f" Write [{detail['input']}]."
        return f"expected {_TYPE_WORDS[detail['type']]}, found {seen}.{hint}"
    if detail["type"] == "string_pattern_mismatch":
        return f"expected letters, digits, dot, dash or underscore, found {seen}."
    if detail["type"] == "too_short":
        return "expected at least one item, found none."
    if detail["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        return f"no choice {seen}. {near_name_hint(str(detail['input']), known)}"
    text = detail["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    return f"{text[0].lower()}{text[1:]}, found {seen}."


def found(value: Any) -> str:
    """Say what stands in the study, in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    return ("a list" if value else "an empty list") if isinstance(value, list) else str(value)


def read_dataset(reading: Reading, path: DocumentPath, value: Any) -> dict[str, Any] | None:
    """Return the canonical spec of a dataset, or None with its problems."""
    mapping = {"name": value} if isinstance(value, str) else value
    if not isinstance(mapping, dict) or not isinstance(mapping.get("name"), str):
        reading.fault(path, "expected a dataset's name, or a mapping with the key name.")
        return None
    name = mapping["name"]
    if name not in parts.names("datasets"):
        reading.fault(path, f'no dataset "{name}". {near_name_hint(name, parts.names("datasets"))}')
        return None
    checked = read_options(
        reading, path, "datasets", name, {key: item for key, item in mapping.items() if key != "name"}
    )
    return None if checked is None else {"name": name, **checked}


def read_executor(reading: Reading) -> ExecutorCall:
    """Return where the cells of a study run; the default with its problems if that cannot be said."""
    path: DocumentPath = ("executor",)
    value = reading.document.value.get("executor", ExecutorCall.name)
    mapping = {"name": value} if isinstance(value, str) else value
    if not isinstance(mapping, dict) or not isinstance(mapping.get("name"), str):
        reading.fault(path, "expected an executor's name, or a mapping with the key name.")
        return ExecutorCall()
    name = mapping["name"]
    if name not in parts.names("executors"):
        reading.fault(path, f'no executor "{name}". {near_name_hint(name, parts.names("executors"))}')
        return ExecutorCall()
    asked = {key: item for key, item in mapping.items() if key != "name"}
    return ExecutorCall(name, read_options(reading, path, "executors", name, asked))


def read_method(reading: Reading, path: DocumentPath, value: Any) -> MethodCall | None:
    """Return one method of a recipe, or None with its problems."""
    call = _named_options(reading, path, "methods", value)
    return None if call is None else MethodCall(*call)


class Metric(NamedTuple):
    """A metric of a study, and what its values depend on."""

    call: MetricCall
    signature: str


def read_metric(reading: Reading, path: DocumentPath, value: Any) -> Metric | None:
    """Return one metric, or None with its problems."""
    named = _named_options(reading, path, "metrics", value)
    if named is None:
        return None
    call = MetricCall(*named)
    try:
        call.check()
    except PartError as error:
        reading.part_fault(path, error)
        return None
    try:
        call.require_packages()
        return Metric(call, call.signature())
    except PartError as error:
        reading.note(f"metric {call.name} cannot be computed here: {error.message}. {error.hint}")
        return Metric(call, call.name)


def _named_options(
    reading: Reading, path: DocumentPath, kind: Literal["methods", "metrics"], value: Any
) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the options of a part that is written ``name`` or ``{name: {options}}``."""
    one = kind.removesuffix("s")
    if isinstance(value, str):
        name, options = value, dict[str, Any]()
    elif isinstance(value, dict) and len(value) == 1:
        name, options = next(iter(value.items()))
        path = (*path, name)
    else:
        reading.fault(path, f"expected a {one}'s name or {{{one}: {{options}}}}, found {found(value)}.")
        return None
    if name not in parts.names(kind):
        where = path[:-1] if isinstance(value, dict) else path
        reading.fault(where, f'no {one} "{name}". {near_name_hint(name, parts.names(kind))}')
        return None
    if not isinstance(options, dict):
        reading.fault(path, f"expected a mapping of options, found {found(options)}. Without options write {name}.")
        return None
    checked = read_options(reading, path, kind, name, options)
    return None if checked is None else (name, checked)


def read_options(
    reading: Reading, path: DocumentPath, kind: str, name: str, written: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the options of a part that are not its defaults, paths absolute, or None with their problems."""
    try:
        module = parts.load(kind, name)
    except PartError as error:  # a library is missing here; the worker's machine may have it
        reading.note(f"options of {name} are not checked: {error.message}. {error.hint}")
        return dict(written)
    block: type[Block] = getattr(module, "Options", NoOptions)
    checked = check_block(reading, path, block, dict(written))
    if checked is None:
        return None
    options: dict[str, Any] = checked.model_dump(mode="json", exclude_defaults=True)
    return options if _resolve_paths(reading, path, block, options) else None


def _resolve_paths(reading: Reading, path: DocumentPath, block: type[Block], options: dict[str, Any]) -> bool:
    """Make the options that name local files absolute; False with problems if one is not there."""
    before = len(reading.problems)
    for option in getattr(block, "path_options", ()):
        written = options.get(option)
        if isinstance(written, str):
            options[option] = reading.local((*path, option), written)
        elif isinstance(written, list):
            options[option] = [reading.local((*path, option, i), item) for i, item in enumerate(written)]
    for option in getattr(block, "folder_options", ()):
        if catalogue.is_path(str(options.get(option))):
            options[option] = reading.local((*path, option), options[option])
    for option in getattr(block, "command_options", ()):
        options[option] = [
            reading.absolute(item) if catalogue.is_path(item) else item for item in options.get(option, [])
        ]
    return len(reading.problems) == before
