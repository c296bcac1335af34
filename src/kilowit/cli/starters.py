"""Studies that come with kilowit: the commented one of `kilowit init`, the quick one of `kilowit demo`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path

from kilowit.errors import StudyError


def write_study(path: Path, *, force: bool = False) -> Path:
    """Write the commented first study to `path`, making its folder.

    Raises:
        StudyError: the file is there already, or cannot be written.
    """
    text = resources.files("kilowit").joinpath("templates", "study.yaml").read_text(encoding="utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise StudyError("is there already", place=str(path), hint="Name another file, or add --force.") from error
    except OSError as error:
        raise StudyError(f"cannot be written ({error.strerror})", place=str(path), hint="Name another file.") from error
    return path


def quickstart() -> AbstractContextManager[Path]:
    """Return, as a context, the path of the packaged study of `kilowit demo`."""
    return resources.as_file(resources.files("kilowit").joinpath("templates", "quickstart.yaml"))
