"""What is released installs: the wheel made from the source distribution, alone and with one light extra.

All extras are tried by `make release-check`: minutes, and gigabytes.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import kilowit

LIGHT = "serve"


@pytest.fixture(scope="module")
def release(repository: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("release_check", repository / "tools" / "release_check.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["release_check"] = module  # its dataclasses look themselves up there
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(release: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("hatchling")
    source, wheel = release.build(tmp_path_factory.mktemp("dist"))
    return source, wheel


def test_the_extras_that_are_tried_are_those_of_the_project(release: ModuleType) -> None:
    assert {"train", "onnx", LIGHT} <= set(release.extras())
    assert "test" not in release.extras()


@pytest.mark.slow
def test_the_wheel_has_all_that_the_package_reads(built: tuple[Path, Path], repository: Path) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
    assert built[1].name.startswith(f"kilowit-{kilowit.__version__}-")
    package = repository / "src"
    read = [path for path in (package / "kilowit").rglob("*") if path.suffix in (".py", ".csv", ".css", ".js", ".yaml")]
    missing = [str(path.relative_to(package)) for path in read if str(path.relative_to(package)) not in names]
    assert not missing


@pytest.mark.slow
def test_the_source_distribution_holds_no_runs_and_nothing_built(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as source:
        names = [name.split("/", 1)[1] for name in source.getnames()]
    assert {"pyproject.toml", "constraints.txt", "LICENSE", "tools/hatch_build.py"} <= set(names)
    assert not [name for name in names if re.match(r"(runs|build|\.venv|studies/data)/", name)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_base_and_a_light_extra_install_alone_and_doctor_is_content(
    release: ModuleType, built: tuple[Path, Path], tmp_path: Path
) -> None:
    installed = []
    for extra in (release.BASE, LIGHT):
        try:
            installed.append(release.install(built[1], extra, tmp_path / extra))
        except release.ReleaseError as error:
            if re.search("onnection|resolve|No matching distribution", str(error)):
                pytest.skip("no package registry can be reached")
            raise
    base, light = installed
    assert release.lost(base, light) == []
    assert light.size_byte > base.size_byte > 5 * 2**20
    assert light.num_packages > base.num_packages
    assert "`kilowit[serve]`" in release.page(installed)
