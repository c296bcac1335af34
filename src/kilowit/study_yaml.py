"""YAML with a place for every key and value. A study is read here, and judged in `kilowit.study`.

PyYAML's node tree keeps the positions that its Python values lose. The scalars are those of YAML 1.2: ``yes``,
``no``, ``on`` and ``off`` are text, ``1e-5`` is a number, ``012`` is twelve, a date is text. What makes a
document hard to read or to hash by meaning is refused: duplicate keys, anchors, merge keys, tags.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from kilowit.errors import StudyError

DocumentPath = tuple[str | int, ...]

MAX_STUDY_BYTE: Final = 1_000_000  # a study is written by hand; PyYAML takes seconds for more
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a study: where it stands, and one line that says what and what to do."""

    place: str
    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        """Write it as one line."""
        return f"{self.place}  {self.message}"


@dataclass
class Document:
    """Plain values of a YAML document, and the place of each.

    `keys` and `values` map a path such as ``("recipes", "lora", 1)`` to line and column, both from 1; or, for a
    value that came from the command line, to the text of that option.
    """

    place: str
    value: dict[str, Any]
    keys: dict[DocumentPath, tuple[int, int] | str] = field(default_factory=dict)
    values: dict[DocumentPath, tuple[int, int] | str] = field(default_factory=dict)

    def problem(self, path: DocumentPath, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem at `path`, or at the nearest enclosing value that was written down."""
        place, line, column = self._position(path, at_key)
        name = path_name(path)
        return Problem(place, f"{name}: {message}" if name else message, line, column)

    def _position(self, path: DocumentPath, at_key: bool) -> tuple[str, int, int]:
        places = self.keys if at_key and path in self.keys else self.values
        while path and path not in places:
            path, places = path[:-1], self.values
        found = places.get(path, (1, 1))
        if isinstance(found, str):
            return found, 1_000_000, 0  # the command line comes last
        return f"{self.place}:{found[0]}:{found[1]}", *found


def path_name(path: DocumentPath) -> str:
    """Write a path as people do.

    >>> path_name(("recipes", "lora", 1))
    'recipes.lora[1]'
    """
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return name.removeprefix(".")


def study_error(problems: list[Problem]) -> StudyError:
    """Return one error that shows all `problems`, one a line, in the order of the document."""
    lines = sorted(set(problems), key=lambda p: (p.line, p.column, p.place, p.message))
    text = "\n".join([lines[0].message, *(str(p) for p in lines[1:])])
    return StudyError(text, place=lines[0].place)


def read_text(path: Path) -> str:
    """Read a study's file.

    Raises:
        StudyError: it is not there, not readable, too large or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise StudyError("no such file", place=str(path), hint="`kilowit init` writes a first study.") from error
    except OSError as error:
        raise StudyError(f"cannot be read ({error.strerror})", place=str(path), hint="Give a YAML file.") from error
    if len(content) > MAX_STUDY_BYTE:
        raise StudyError(f"{len(content)} bytes is too long for a study", place=str(path), hint="Is this the file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StudyError(
            f"not UTF-8 (byte 0x{content[error.start]:02x})",
            place=f"{path}:{line}",
            hint="Save the file as UTF-8.",
        ) from error


def parse_document(text: str, place: str) -> Document:
    """Read one YAML mapping with the places of its keys and values.

    Raises:
        StudyError: not YAML, empty, several documents, not a mapping, or anything that this module refuses;
            all refusals at once.
    """
    node = _compose(text, place)
    if node is None:
        raise StudyError("the study is empty", place=f"{place}:1:1", hint="`kilowit init` writes a first study.")
    if not isinstance(node, yaml.MappingNode):
        line, column = _mark(node)
        raise StudyError(
            "a study is a mapping of keys to values",
            place=f"{place}:{line}:{column}",
            hint="Begin with `name: my-study`; `kilowit init` writes a first study.",
        )
    document = Document(place, {})
    problems: list[Problem] = []
    document.value = _construct(node, (), document, problems)
    if problems:
        raise study_error(problems)
    return document


def parse_list(text: str, place: str) -> list[Any]:
    """Read a list as in a study, without its brackets: ``rouge, {judge: {...}}``.

    Raises:
        StudyError: not YAML, or anything that this module refuses.
    """
    problems: list[Problem] = []
    node = _compose(f"[{text}\n]", place)
    values = [] if node is None else _construct(node, (), Document(place, {}), problems)
    if problems:
        raise study_error([Problem(place, p.message) for p in problems])
    return list(values)


def override(document: Document, assignment: str) -> None:
    """Change one value of the document, as ``--set train.num_epochs=1`` asks.

    Raises:
        StudyError: not of the form ``key=value``, the value is not YAML, or the path leads through a scalar.
    """
    name, separator, text = assignment.partition("=")
    place = f"--set {name.strip()}"
    path = tuple(int(step) if step.isdigit() else step for step in re.split(r"[.\[]", name.strip().replace("]", "")))
    if not separator or "" in path:
        raise StudyError(f'"{assignment}" is not key=value', place="--set", hint="Example: --set train.num_epochs=1")
    scratch = Document(place, {})
    problems: list[Problem] = []
    node = _compose(text, place)
    value = None if node is None else _construct(node, path, scratch, problems)
    if problems:
        raise study_error([Problem(place, p.message) for p in problems])
    parent = _descend(document, path, place)
    if isinstance(parent, list):
        parent[int(path[-1])] = value
    else:
        parent[str(path[-1])] = value
    for places in (document.keys, document.values):
        for old in [p for p in places if p[: len(path)] == path]:
            del places[old]
    document.keys[path] = document.values[path] = place


def _descend(document: Document, path: DocumentPath, place: str) -> Any:
    """Return the container that holds `path`'s last step, making the mappings on the way that are absent."""
    parent: Any = document.value
    for depth, step in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(parent, list):
            if not isinstance(step, int) or step >= len(parent):
                raise StudyError(
                    f"{path_name(path[:depth])} has items 0 to {len(parent) - 1}, not {step}",
                    place=place,
                    hint="Name an item of the list by its number, from 0.",
                )
        elif not isinstance(parent, dict):
            raise StudyError(
                f"{path_name(path[:depth])} is not a mapping",
                place=place,
                hint=f"Set {path_name(path[:depth])} as a whole.",
            )
        if last:
            return parent
        key = step if isinstance(parent, list) else str(step)
        if isinstance(parent, dict) and key not in parent:
            parent[key] = {}
            document.values[path[: depth + 1]] = place
        parent = parent[key]
    raise AssertionError("an override has at least one step")


class _Loader(yaml.SafeLoader):
    """SafeLoader that stops at the first alias and leaves the scalars to `_scalar`."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""  # so that a tag that was written stands out

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not used in a study", problem_mark=mark)
        return super().compose_node(parent, index)


def _compose(text: str, place: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, place) from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise StudyError(
            f"character U+{ord(text[error.position]):04X} does not belong in YAML",
            place=f"{place}:{line}",
            hint="Remove it; is this a text file?",
        ) from error
    except RecursionError as error:
        raise StudyError("nested too deeply", place=place, hint="A study needs four levels.") from error


def _syntax_error(error: yaml.MarkedYAMLError, text: str, place: str) -> StudyError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "not YAML"
    hint = "Check indentation, quotes and brackets here and on the line above."
    if mark is not None:
        lines = text.splitlines()
        line = lines[mark.line] if mark.line < len(lines) else ""
        if "\t" in line[: mark.column + 1] and line[: mark.column + 1].strip() == "":
            problem, hint = "a tab indents this line", "Indent with spaces."
        where = f"{place}:{mark.line + 1}:{mark.column + 1}"
    else:
        where = place
    if "expected a single document" in (error.context or "") + problem:
        problem, hint = "a second document begins here", "Keep one study a file: remove the `---`."
    if "aliases" in problem:
        hint = "Write the value out."
    return StudyError(problem, place=where, hint=hint)


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _construct(node: yaml.Node, path: DocumentPath, document: Document, problems: list[Problem]) -> Any:
    document.values[path] = _mark(node)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, problems)
    if isinstance(node, yaml.SequenceNode):
        _refuse_tag(node, path, document, problems)
        return [_construct(item, (*path, i), document, problems) for i, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    _refuse_tag(node, path, document, problems)
    if node.style is not None:
        return node.value
    value = _scalar(node.value)
    if isinstance(value, float) and not math.isfinite(value):
        problems.append(document.problem(path, f"{node.value} is not a finite number"))
    return value


def _mapping(node: yaml.MappingNode, path: DocumentPath, document: Document, problems: list[Problem]) -> dict[str, Any]:
    _refuse_tag(node, path, document, problems)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line, column = _mark(key_node)
        where = Problem(f"{document.place}:{line}:{column}", "", line, column)
        key = _scalar(key_node.value) if isinstance(key_node, yaml.ScalarNode) and key_node.style is None else None
        name = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        fault = None
        if name is None or (key_node.style is None and not isinstance(key, str)):
            fault = f"key {name if name is not None else '?'} is not text. Quote it."
        elif name == "<<" and key_node.style is None:
            fault = "merge keys are not used in a study. Write the values out."
        elif name in mapping:
            first = document.keys[(*path, name)]
            fault = f'duplicate key "{name}". It stands already at line {first[0]}.'
        if fault is not None:
            inside = path_name(path)
            problems.append(Problem(where.place, f"{inside}: {fault}" if inside else fault, line, column))
            continue
        document.keys[(*path, str(name))] = (line, column)
        mapping[str(name)] = _construct(value_node, (*path, str(name)), document, problems)
    return mapping


def _refuse_tag(node: yaml.Node, path: DocumentPath, document: Document, problems: list[Problem]) -> None:
    if node.tag:
        problems.append(document.problem(path, f"tag {node.tag} is not used in a study. Remove it."))


def _scalar(text: str) -> Any:
    """Return the value of an unquoted scalar by the core schema of YAML 1.2 (YAML 1.2.2, section 10.3.2)."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text
