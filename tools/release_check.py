"""Build what is released, and install it in a fresh environment with each extra alone: `make release-check`.

    python tools/release_check.py                      # base and every extra of pyproject.toml
    python tools/release_check.py --only base --only serve
    python tools/release_check.py --write docs/reference/install-sizes.md

The wheel is built from the source distribution, so that a file which that lacks is missed here and not by a user. In
each environment the packages must fit together (`pip check`), `kilowit doctor` must run and miss nothing that the base
installation has, and a first study must check and plan. Sizes are those of the installed packages.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
BASE: Final = "base"
NOT_RELEASED: Final = frozenset({"test"})  # for who works on kilowit
_MIB: Final = 2**20
# azure-ai-ml pins telemetry that other extras have newer: it lives in an environment of its own.
_CONSTRAINTS: Final = {"azureml": REPOSITORY / "tests" / "azureml-requirements.txt"}
# pip and the packages that come with an environment are no cost of kilowit.
_OF_THE_ENVIRONMENT: Final = ("pip", "setuptools", "_distutils_hack", "distutils-precedence.pth")


class ReleaseError(Exception):
    """Something that would be released does not work."""


@dataclass(frozen=True)
class Installed:
    """One extra in an environment of its own."""

    extra: str
    num_packages: int
    size_byte: int
    wall_second: float
    found_ok: tuple[str, ...]  # what `kilowit doctor` calls ok


def extras() -> list[str]:
    """Return the extras of pyproject.toml that users are offered."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [name for name in project["optional-dependencies"] if name not in NOT_RELEASED]


def build(folder: Path) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it; return both.

    Raises:
        ReleaseError: one cannot be built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(folder)], REPOSITORY)
    (source,) = folder.glob("kilowit-*.tar.gz")
    with tempfile.TemporaryDirectory(prefix="kilowit-sdist-") as unpacked:
        with tarfile.open(source) as archive:
            archive.extractall(unpacked, filter="data")
        (tree,) = Path(unpacked).iterdir()
        run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)], tree)
    (wheel,) = folder.glob("kilowit-*.whl")
    return source, wheel


def install(wheel: Path, extra: str, folder: Path) -> Installed:
    """Install the wheel with one extra into a fresh environment, look at it, and remove it.

    Raises:
        ReleaseError: it does not install, its packages do not fit together, or kilowit does not run.
    """
    began_second = time.monotonic()
    run([sys.executable, "-m", "venv", str(folder)], REPOSITORY)
    python = folder / "bin" / "python"
    asked = f"{wheel}" if extra == BASE else f"{wheel}[{extra}]"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    constraints = _CONSTRAINTS.get(extra, REPOSITORY / "constraints.txt")
    try:
        run([*pip, "install", "--quiet", "--constraint", str(constraints), asked], folder)
        wall_second = time.monotonic() - began_second
        run([*pip, "check"], folder)
        return _looked_at(extra, folder, python, wall_second)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _looked_at(extra: str, folder: Path, python: Path, wall_second: float) -> Installed:
    kilowit = [str(python), "-P", "-m", "kilowit"]
    findings: list[dict[str, Any]] = json.loads(run([*kilowit, "doctor", "--json"], folder))
    if not any(finding["what"] == "python" and finding["state"] == "ok" for finding in findings):
        raise ReleaseError(f"{extra}: kilowit doctor is not content with Python: {findings}")
    run([*kilowit, "init", "study.yaml"], folder)
    run([*kilowit, "check", "study.yaml"], folder)
    run([*kilowit, "plan", "study.yaml", "--gpu", "T4"], folder)
    packages = json.loads(run([str(python), "-m", "pip", "list", "--format", "json"], folder))
    (site,) = folder.glob("lib/python*/site-packages")
    kept = [path for path in site.iterdir() if not path.name.startswith(_OF_THE_ENVIRONMENT)]
    files = [file for path in kept for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return Installed(
        extra=extra,
        num_packages=len([p for p in packages if p["name"] not in _OF_THE_ENVIRONMENT]),
        size_byte=sum(file.stat().st_size for file in files),
        wall_second=wall_second,
        found_ok=tuple(sorted(f["what"] for f in findings if f["state"] == "ok")),
    )


def lost(base: Installed, other: Installed) -> list[str]:
    """Return what doctor finds in the base installation and no more with an extra; nothing may be lost."""
    own = {"memory", "lock"}  # of the moment, not of the installation
    return sorted(set(base.found_ok) - set(other.found_ok) - own)


def table(installed: Sequence[Installed]) -> str:
    """Return the sizes as a Markdown table."""
    lines = ["| install | packages | MiB |", "|---|---:|---:|"]
    for one in installed:
        name = "`kilowit`" if one.extra == BASE else f"`kilowit[{one.extra}]`"
        lines.append(f"| {name} | {one.num_packages} | {one.size_byte / _MIB:,.0f} |")
    return "\n".join(lines) + "\n"


def page(installed: Sequence[Installed]) -> str:
    """Return the page that records them."""
    left_out = [name for name in extras() if name not in {one.extra for one in installed}]
    rest = f"\nNot tried in that run: {', '.join(f'`{name}`' for name in left_out)}.\n" if left_out else ""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        "# What an installation takes\n\n"
        "Each line is a fresh environment with one extra alone, installed from the wheel with `constraints.txt`\n"
        "(`azureml` with `tests/azureml-requirements.txt`), and\n"
        f"looked at by `make release-check` on Linux x86-64, Python {version}, torch for CPUs. MiB of installed\n"
        "packages, without pip.\n\n"
        f"{table(installed)}{rest}"
    )


def run(command: Sequence[str], folder: Path) -> str:
    """Run a command and return its stdout.

    Raises:
        ReleaseError: it fails; with what it said.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = re.sub(r"https?://\S+", "(address)", done.stderr[-3000:] or done.stdout[-3000:])
        raise ReleaseError(f"exit {done.returncode}: {' '.join(command)}\n{said}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, install each extra alone, print sizes; 1 if anything does not work."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", metavar="EXTRA", help="base or an extra; repeatable; else all")
    parser.add_argument("--dist", type=Path, default=REPOSITORY / "build" / "dist", help="where sdist and wheel go")
    parser.add_argument("--write", type=Path, help="record the sizes in this page")
    asked = parser.parse_args(arguments)
    shutil.rmtree(asked.dist, ignore_errors=True)
    source, wheel = build(asked.dist)
    print(f"{source.name} {source.stat().st_size / _MIB:.1f} MiB, {wheel.name} {wheel.stat().st_size / _MIB:.1f} MiB")
    done: list[Installed] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kilowit-release-") as name:
        for extra in asked.only or [BASE, *extras()]:
            try:
                one = install(wheel, extra, Path(name) / extra)
            except ReleaseError as error:
                wrong.append(f"{extra}: {error}")
                print(f"{extra}: FAILED", flush=True)
                continue
            done.append(one)
            if missing := lost(done[0], one):
                wrong.append(f"{extra}: doctor no longer finds {', '.join(missing)}")
            print(f"{extra}: {one.num_packages} packages, {one.size_byte / _MIB:,.0f} MiB, "
                  f"{one.wall_second:.0f} s", flush=True)  # fmt: skip
    if asked.write and not wrong:
        asked.write.write_text(page(done), encoding="utf-8")
    print(table(done), *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
