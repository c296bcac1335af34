"""The verbs and their options are a promise: a change to them shows in tests/golden/cli_options.txt.

To change it on purpose: ``KILOWIT_WRITE_GOLDEN=1 pytest tests/golden/test_cli_options.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from kilowit.cli import app

GOLDEN = Path(__file__).with_name("cli_options.txt")


def described(parameter: Any) -> str:
    names = "/".join([*parameter.opts, *parameter.secondary_opts])
    kind = (
        "flag"
        if getattr(parameter, "is_flag", False)
        else "argument"
        if parameter.param_type_name == "argument"
        else "option"
    )
    many = " repeatable" if parameter.multiple or parameter.nargs == -1 else ""
    needed = " required" if parameter.required else ""
    default = "" if parameter.default in (None, [], ()) or kind == "flag" else f" = {parameter.default}"
    return f"{kind} {names}{many}{needed}{default}"


def leaves(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb, those within a verb too: ``metrics judge``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def option_list() -> str:
    group: Any = typer.main.get_command(app)
    lines = [f"kilowit: {described(p)}" for p in group.params]
    for verb, command in leaves(group):
        lines += [f"{verb}: {described(p)}" for p in command.params if p.name != "help"] or [f"{verb}:"]
    return "\n".join(lines) + "\n"


def test_verbs_and_options_are_those_that_were_promised() -> None:
    if os.environ.get("KILOWIT_WRITE_GOLDEN"):
        GOLDEN.write_text(option_list(), encoding="utf-8")
    assert option_list() == GOLDEN.read_text(encoding="utf-8")


def test_every_verb_shows_an_example_before_its_options() -> None:
    group: Any = typer.main.get_command(app)
    for verb, command in leaves(group):
        assert f"Example: kilowit {verb}" in command.help, verb
