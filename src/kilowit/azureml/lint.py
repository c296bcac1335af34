"""What Azure takes and does not run: checks of a folder of its YAML files that its own loader does not make.

Needs no Azure package and no network. Each finding has its place (file, line, column), what is wrong, and what to do.
The rules are in `lint_keys`, `lint_jobs`, `lint_resources` and `lint_serving`; here files are read, rules called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kilowit.errors import StudyError, near_name_hint
from kilowit.study_yaml import Document, DocumentPath, parse_document

SCHEMA_KEY: Final = "$schema"
_HOST: Final = "azuremlschemas.azureedge.net"


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong."""

    place: str  # train.yml:5:10
    message: str
    remedy: str

    def __str__(self) -> str:
        """Write it as an error looks."""
        return f"{self.place}  {self.message}\n  {self.remedy}"


@dataclass
class File:
    """One YAML file under check.

    Attributes:
        name: of the file.
        kind: of its schema, e.g. ``commandJob``.
        folder: that it lies in, from which its paths start.
        findings: what was found so far.
    """

    name: str
    kind: str
    folder: Path
    document: Document
    findings: list[Finding] = field(default_factory=list)

    @property
    def value(self) -> dict[str, Any]:
        """Its plain values."""
        return self.document.value

    def get(self, *path: str | int) -> Any:
        """Return the value at a path, or None."""
        value: Any = self.value
        for step in path:
            if isinstance(value, Mapping):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def fault(self, path: DocumentPath, message: str, remedy: str, *, at_key: bool = False) -> None:
        """Note a finding at a path, or at the nearest value around it that was written."""
        problem = self.document.problem(path, message, at_key=at_key)
        self.findings.append(Finding(problem.place, problem.message, remedy))

    def mapping(self, *path: str | int) -> dict[str, Any]:
        """Return the mapping at a path; an empty one where there is none."""
        value = self.get(*path)
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Folder:
    """All files of an export by what they define."""

    files: list[File]

    def of_kind(self, *kinds: str) -> Iterator[File]:
        """Yield the files of some kinds."""
        return (file for file in self.files if file.kind in kinds)

    def names(self, *kinds: str) -> set[str]:
        """Return the names that files of some kinds define."""
        return {str(file.get("name")) for file in self.of_kind(*kinds) if file.get("name") is not None}

    def versions(self, kind: str) -> set[str]:
        """Return ``name:version`` of what files of a kind define."""
        return {f"{file.get('name')}:{file.get('version')}" for file in self.of_kind(kind)}


Rule = Callable[[File, Folder], None]


def lint_folder(folder: str | Path) -> list[Finding]:
    """Return all that is wrong with the YAML files of a folder, in the order of files and lines.

    Raises:
        StudyError: no such folder, or no file of Azure's schema in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StudyError("no such folder", place=str(folder), hint="Name what `kilowit azureml export` left.")
    files: list[File] = []
    findings: list[Finding] = []
    for path in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
        read = _read(path)
        if isinstance(read, File):
            files.append(read)
        else:
            findings.append(read)
    if not files and not findings:
        raise StudyError(
            "no YAML file in it", place=str(folder), hint="Name what `kilowit azureml export` left: it has train.yml."
        )
    whole = Folder(files)
    rules = _rules()
    for file in files:
        for rule in rules.get(file.kind, ()):
            rule(file, whole)
        findings += file.findings
    return sorted(set(findings), key=_order) + _repeated(whole)


def require_clean(folder: str | Path) -> None:
    """Refuse a folder with findings.

    Raises:
        StudyError: all findings, one after another.
    """
    findings = lint_folder(folder)
    if findings:
        text = "\n".join([f"{findings[0].message}\n  {findings[0].remedy}", *map(str, findings[1:])])
        raise StudyError(text, place=findings[0].place)


def _rules() -> Mapping[str, tuple[Rule, ...]]:
    from kilowit.azureml import lint_jobs, lint_keys, lint_resources, lint_serving

    own: dict[str, Rule] = {
        "commandJob": lint_jobs.check_command_job,
        "sweepJob": lint_jobs.check_sweep_job,
        "pipelineJob": lint_jobs.check_pipeline_job,
        "amlCompute": lint_resources.check_cluster,
        "environment": lint_resources.check_environment,
        "data": lint_resources.check_data,
        "managedOnlineEndpoint": lint_serving.check_endpoint,
        "managedOnlineDeployment": lint_serving.check_deployment,
        "schedule": lint_serving.check_schedule,
    }
    return {kind: (lint_keys.check_keys, rule) for kind, rule in own.items()}


def _read(path: Path) -> File | Finding:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Finding(path.name, f"cannot be read ({error})", "Give a text file in UTF-8.")
    try:
        document = parse_document(text, path.name)
    except StudyError as error:
        return Finding(error.place or path.name, error.message, error.hint or "Mend the YAML.")
    address = document.value.get(SCHEMA_KEY)
    kind = str(address).rpartition("/")[2].partition(".")[0]
    known = _rules()
    if not isinstance(address, str) or _HOST not in address or kind not in known:
        problem = document.problem((SCHEMA_KEY,), f"no schema that is known here: {address}")
        hint = near_name_hint(kind, known)
        return Finding(problem.place, problem.message, f"Begin with {SCHEMA_KEY}: https://{_HOST}/latest/... {hint}")
    return File(path.name, kind, path.parent, document)


def _repeated(folder: Folder) -> list[Finding]:
    """Two files that define one name: the later would overwrite the earlier."""
    seen: dict[tuple[str, str, str], str] = {}
    found = []
    for file in folder.files:
        if file.get("name") is None:
            continue
        key = (file.kind, str(file.get("endpoint_name") or ""), str(file.get("name")))
        if key in seen:
            problem = file.document.problem(("name",), f'"{key[2]}" is the name of {seen[key]} too')
            found.append(Finding(problem.place, problem.message, "Give one of them another name."))
        seen[key] = file.name
    return found


def _order(finding: Finding) -> tuple[str, int, int, str]:
    name, _, rest = finding.place.partition(":")
    line, _, column = rest.partition(":")
    return name, int(line) if line.isdigit() else 0, int(column) if column.isdigit() else 0, finding.message
