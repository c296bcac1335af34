"""Write docs/reference and docs/methods anew from the code: `make docs`. A test checks that they are fresh."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer.main
from pydantic import BaseModel

from kilowit import opinion, parts, record, served, settings, study, study_models, study_search
from kilowit.cli import app
from kilowit.factors.factor import table as table_rows
from kilowit.parts import catalogue
from kilowit.parts.dataset import DatasetOptions
from kilowit.parts.method import Expectation
from kilowit.parts.runtime_support import support_matrix

REPOSITORY: Final = Path(__file__).resolve().parents[1]
GENERATED: Final = "<!-- Written by tools/build_docs.py from the code: change the code, then `make docs`. -->\n\n"
FOLDERS: Final = ("docs/methods",)  # everything in them is generated
BLOCKS: Final = {
    "train": settings.TrainSettings,
    "predict": settings.PredictSettings,
    "serve": settings.ServeSettings,
    "measure": settings.MeasureSettings,
    "factors": settings.FactorSettings,
    "budget": settings.BudgetSettings,
    "mirror": settings.MirrorSettings,
    "maintenance": settings.MaintenanceSettings,
    "exclude": study.Exclude,
    "search": study_search.SearchSettings,
}
MODELS: Final = (
    study_models.HubModel, study_models.FolderModel, study_models.ScratchModel, study_models.WarmStartModel,
)  # fmt: skip


def pages() -> dict[str, str]:
    """Return every generated page by its path in the repository."""
    methods = {f"docs/methods/{name}.md": method_page(name) for name in parts.names("methods")}
    return {
        "docs/reference/study.md": study_page(),
        "docs/reference/cli.md": cli_page(),
        "docs/reference/record.md": record_page(),
        "docs/reference/runtimes.md": runtimes_page(),
        "docs/methods/README.md": methods_index(),
        **methods,
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped) + "\n"


def kind_of(schema: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema admits."""
    if "$ref" in schema:
        return "mapping, see below"
    if "anyOf" in schema:
        return " or ".join(kind_of(option) for option in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    words = {
        "integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null",
        "array": "list", "object": "mapping",
    }  # fmt: skip
    word = words.get(str(schema.get("type")), "see below")
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = ", ".join(f"{sign} {schema[key]}" for key, sign in bounds.items() if key in schema)
    return f"{word} {limits}".strip()


def fields_table(block: type[BaseModel], leave_out: Iterable[str] = ()) -> str:
    """Return the keys of a block: kind, default, meaning."""
    rows = []
    schema = block.model_json_schema()
    for name, field in block.model_fields.items():
        if name in leave_out:
            continue
        property_schema = schema["properties"][name]
        default = "required" if field.is_required() else f"`{as_yaml(property_schema.get('default'))}`"
        rows.append((f"`{name}`", kind_of(property_schema), default, field.description or ""))
    return table(("key", "kind", "default", "what"), rows) if rows else ""


def as_yaml(value: Any) -> str:
    """Write a default as a study would."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {as_yaml(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return f"[{', '.join(as_yaml(item) for item in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value) or '""'


def first_line(doc: str | None) -> str:
    """Return the first line of a docstring."""
    return (doc or "").strip().splitlines()[0] if doc else ""


def study_page() -> str:
    """Return the reference of the study's grammar."""
    text = [GENERATED, "# The study\n\n", study_introduction()]
    text += ["## Top level\n\n", inspect.cleandoc(study.StudyDocument.__doc__ or ""), "\n\n"]
    text += [top_level_table()]
    for key, block in BLOCKS.items():
        text += [f"## {key}\n\n{inspect.cleandoc(block.__doc__ or '')}\n\n", fields_table(block)]
        text += [paper_section()] if key == "train" else []
        text += [runtime_section()] if key == "serve" else []
    text += ["## models\n\nA string or a mapping with one of `hub`, `folder`, `scratch`, `warm_start`, `baseline`.\n\n"]
    for model in MODELS:
        key = next(iter(model.model_fields))
        text += [f"### {{{key}: ...}}\n\n{inspect.cleandoc(model.__doc__ or '')}\n\n", fields_table(model)]
    sizes = ", ".join(f"`{name}`" for name in catalogue.scratch_names())
    text += [f"Sizes from scratch: {sizes}.\n\n"]
    for name in catalogue.baseline_names():
        text += [part_section("models", name, f"{{baseline: {name}, ...}}")]
    text += ["## datasets\n\nA name, or `{name: ..., options}`. Every dataset takes\n\n", fields_table(DatasetOptions)]
    text += [part_section("datasets", name, name) for name in parts.names("datasets")]
    text += ["## metrics\n\nA name, or `{name: {options}}`. No two may give the same score.\n\n"]
    text += [*(part_section("metrics", name, name) for name in parts.names("metrics"))]
    text += ["## searches\n\n", *(part_section("searches", name, name) for name in parts.names("searches"))]
    text += ["## executors\n\nA name, or `{name: ..., options}`; also `kilowit run --executor NAME`.\n\n"]
    text += [*(part_section("executors", name, name) for name in parts.names("executors"))]
    text += [
        "## recipes\n\nA name and an ordered list of methods, each a name or `{name: {options}}`; or a name and the "
    ]
    text += ["name of a packaged recipe, as `{mine: frugal}`, which stands for its list of methods.\n\n"]
    text += [f"- [{name}](../methods/{name}.md): {card_line('methods', name)}\n" for name in parts.names("methods")]
    text += ["\n### Packaged recipes\n\n", *(part_section("recipes", name, name) for name in parts.names("recipes"))]
    return "".join(text)


PAPER: Final = """\
### train: paper

`train: paper` takes the published settings of each cell's family and dataset; `train: {paper: true, num_steps: 100}`
takes them with settings of your own on top. A cell without published settings is an error. What the source does not
say is the default above; where it cannot be followed, the column departs and a note of the study say so.

"""

STUDY_INTRODUCTION: Final = """\
A study is one YAML file. Unknown and duplicate keys are errors; booleans are `true` and `false`; `1e-5` is a number;
anchors, merge keys and tags are not used. Paths in it start from its own folder. Every error has a line and a column,
and all are shown at once. `--set train.num_epochs=1` changes one value and goes through the same checks.

A training-free baseline (`lead`, `textrank`) is neither trained nor drawn at random: it becomes one cell per dataset,
without recipe and with seed 0, whatever recipes and seeds the study has. An exclusion that names a recipe or a seed
does not touch it.

"""


def study_introduction() -> str:
    """Return what holds for the whole file, with the example of `kilowit init`."""
    example = (REPOSITORY / "src/kilowit/templates/study.yaml").read_text(encoding="utf-8")
    return f"{STUDY_INTRODUCTION}```yaml\n{example}```\n\n"


def paper_section() -> str:
    """Return what ``train: paper`` stands for."""
    rows = [
        (
            row["family"],
            row["dataset"],
            f"{row['num_epochs']} epochs" if row["num_epochs"] else f"{row['num_steps']} steps",
            f"{row['batch_size']} x {row['gradient_accumulation_steps']}",
            row["learning_rate"],
            row["optimizer"],
            row["departs"],
            row["source"],
        )
        for row in table_rows("paper_training")
    ]
    columns = ("family", "dataset", "length", "batch", "learning rate", "optimizer", "departs", "source")
    return f"{PAPER}{table(columns, rows)}"


def runtime_section() -> str:
    """Return what can stand for a runtime in ``predict`` and ``serve``."""
    block = settings.RuntimeSettings
    return f"### A runtime\n\n{inspect.cleandoc(block.__doc__ or '')}\n\n{fields_table(block)}"


def top_level_table() -> str:
    """Return the keys of the top level."""
    schema = study.StudyDocument.model_json_schema()["properties"]
    rows = []
    for name, field in study.StudyDocument.model_fields.items():
        default = "required" if field.is_required() else f"`{as_yaml(schema[name].get('default'))}`"
        row = (f"`{name}`", kind_of(schema[name]), default, field.description or "")
        if name in BLOCKS:
            row = (f"[`{name}`](#{name})", *(row[1:] if name == "exclude" else ("mapping", "each key's own", row[3])))
        rows.append(row)
    return table(("key", "kind", "default", "what"), rows)


def card_line(kind: str, name: str) -> str:
    """Return what a card says a part is, in one line."""
    return first_line(parts.card(kind, name)).partition(":")[2].strip()


def part_section(kind: str, name: str, title: str) -> str:
    """Return a part's card and its own options."""
    options = getattr(parts.load(kind, name), "Options", None)
    inherited = DatasetOptions.model_fields if kind == "datasets" else ()
    own = fields_table(options, inherited) if options is not None else ""
    return f"### {title}\n\n```text\n{parts.card(kind, name)}\n```\n\n{own}"


def method_page(name: str) -> str:
    """Return the card of a method with its options and what it promises."""
    module = parts.load("methods", name)
    text = [GENERATED, f"# {name}\n\n```text\n{parts.card('methods', name)}\n```\n\n"]
    options = getattr(module, "Options", None)
    if options is not None and options.model_fields:
        text += ["## Options\n\n", fields_table(options)]
    if reason := getattr(module, "UNAVAILABLE", None):
        text += [f"## Not available\n\n{reason[0].upper()}{reason[1:]}. Take {module.SUCCESSOR}.\n\n"]
    expects: tuple[Expectation, ...] = getattr(module, "EXPECTS", ())
    if expects:
        text += ["## What it promises\n\nAgainst plain fine-tuning; the report sets the measured value beside it.\n\n"]
        rows = [(f"`{e.figure}`", e.kind, f"{e.low:g}", f"{e.high:g}", e.source) for e in expects]
        text += [table(("figure", "as", "low", "high", "source"), rows)]
    return "".join(text)


def methods_index() -> str:
    """Return the list of methods."""
    rows = [(f"[{name}]({name}.md)", card_line("methods", name)) for name in parts.names("methods")]
    return f"{GENERATED}# Methods\n\n{table(('method', 'what it is'), rows)}"


def runtimes_page() -> str:
    """Return the runtimes: the support matrix, then each card."""
    matrix = support_matrix()
    rows = [
        (family.name, *("yes" if family.name in row.families else "" for row in matrix.values()))
        for family in catalogue.families()
    ]
    formats = [(f"`{name}`", ", ".join(row.precisions), ", ".join(row.devices)) for name, row in matrix.items()]
    text = [
        GENERATED,
        "# Runtimes\n\n",
        "A runtime runs a trained summarizer. A pair that is not listed is refused when\n",
    ]
    text += ["a study is planned.\n\n", table(("family", *(f"`{name}`" for name in matrix)), rows)]
    text += [table(("runtime", "precisions, default first", "devices"), formats)]
    text += [f"## {name}\n\n```text\n{parts.card('runtimes', name)}\n```\n\n" for name in matrix]
    return "".join(text)


def cli_page() -> str:
    """Return the reference of the command line."""
    group: Any = typer.main.get_command(app)
    text = [GENERATED, "# The command line\n\n", cli_introduction()]
    for verb, command in leaves(group):
        what, _, example = command.help.partition("Example: ")
        text += [f"## kilowit {verb}\n\n{what.strip()}\n\n```sh\n{example.strip()}\n```\n\n"]
        rows = [parameter_row(p) for p in command.params if p.name != "help"]
        text += [table(("argument or option", "default", "what"), rows)]
    return "".join(text)


def leaves(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every verb, those within a verb too: ``metrics judge``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def cli_introduction() -> str:
    """Return what holds for every verb."""
    codes = [
        ("0", "done"),
        ("1", "some cells failed, or a rule of `compare --fail-if` holds"),
        ("2", "the study, an option, a part or a file of predictions is wrong"),
        ("3", "the plan passes the budget, or the hardware does not do"),
        ("4", "a store or a run folder cannot be read or written"),
        ("5", "a cell cannot be started, or the machine is held by another run"),
        ("130", "interrupted; the state is kept"),
    ]
    return (
        "Data goes to stdout, everything said about it to stderr. On a terminal tables are drawn; in a pipe they are\n"
        "tab-separated with a header line; `--json` gives the values as they are.\n\n"
    ) + table(("exit code", "means"), codes)


def parameter_row(parameter: Any) -> tuple[str, str, str]:
    """Return one argument or option."""
    name = parameter.metavar if parameter.param_type_name == "argument" else ", ".join(parameter.opts)
    value = "" if parameter.param_type_name == "argument" or parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    shown = "required" if parameter.required else f"`{parameter.default}`"
    if not parameter.required and (parameter.default in (None, (), []) or getattr(parameter, "is_flag", False)):
        shown = ""
    return f"`{name}{value}`", shown, parameter.help or ""


def record_page() -> str:
    """Return the fields of record.json, with the comments that stand beside them in the code."""
    text = [GENERATED, f"# The record (schema {record.SCHEMA_VERSION})\n\n{inspect.cleandoc(record.__doc__ or '')}\n\n"]
    return "".join(
        [
            *text,
            *class_tables(inspect.getsource(record)),
            *class_tables(inspect.getsource(served)),
            *class_tables(inspect.getsource(opinion)),
        ]
    )


def class_tables(source: str) -> Iterator[str]:
    """Yield the fields of each class of a module."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
        rows = [
            (
                f"`{ast.unparse(field.target)}`",
                f"`{ast.unparse(field.annotation)}`",
                comment_on(lines[field.lineno - 1]),
            )
            for field in fields
        ]
        yield f"## {node.name}\n\n{ast.get_docstring(node) or ''}\n\n"
        yield table(("field", "type", "what"), rows)


def comment_on(line: str) -> str:
    """Return the comment at the end of a line of code."""
    found = re.search(r"#\s*(.*)$", line)
    return found[1] if found else ""


def main() -> int:
    """Write all pages, and remove those that nothing generates any more."""
    written = pages()
    for folder in FOLDERS:
        for path in (REPOSITORY / folder).glob("*.md"):
            if str(path.relative_to(REPOSITORY)) not in written:
                path.unlink()
    for name, text in written.items():
        path = REPOSITORY / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(written)} pages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
