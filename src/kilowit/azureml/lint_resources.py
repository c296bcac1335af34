"""Rules for clusters, environments and data: sizes that exist, images that stay the same, files that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from kilowit.azureml.lint import File, Folder
from kilowit.azureml.vm_sizes import fault_of_size
from kilowit.study_yaml import DocumentPath

CLUSTER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,14}[A-Za-z0-9]")
ASSET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
MAX_IDLE_SECOND: Final = 3600
_MOVING: Final = frozenset({"latest", "stable", "main", "master", "nightly", "dev", "edge"})
_FROM: Final = re.compile(r"^\s*FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_COPY: Final = re.compile(r"^\s*(?:COPY|ADD)\s+(?!--from)(?:--\S+\s+)*(.+)$", re.IGNORECASE)


def check_cluster(file: File, folder: Folder) -> None:
    """Check a cluster: its size, and that it falls to nothing."""
    name, size = file.get("name"), file.get("size")
    if not isinstance(name, str) or not CLUSTER_NAME.fullmatch(name):
        remedy = "2 to 16 letters, digits and dashes, a letter first, no dash last."
        file.fault(("name",), f'"{name}" cannot be the name of a cluster', remedy)
    if not isinstance(size, str) or not size:
        file.fault(("size",), "no VM size", "Name one, e.g. size: Standard_NC4as_T4_v3.")
    elif fault := fault_of_size(size):
        file.fault(("size",), *fault)
    least, most = file.get("min_instances"), file.get("max_instances")
    if isinstance(least, int) and least > 0:
        file.fault(("min_instances",), f"{least} nodes are billed while nobody works", "Write min_instances: 0.")
    if not isinstance(most, int) or most < 1:
        file.fault(("max_instances",), "no node may start", "Write max_instances: 1 or more.")
    elif isinstance(least, int) and least > most:
        file.fault(("min_instances",), f"min_instances {least} is above max_instances {most}", "Swap them.")
    idle = file.get("idle_time_before_scale_down")
    if not isinstance(idle, int) or not 0 < idle <= MAX_IDLE_SECOND:
        message = f"idle nodes would be billed for {idle} s" if idle else "nothing says when idle nodes are given back"
        remedy = f"Write idle_time_before_scale_down: 120 (at most {MAX_IDLE_SECOND})."
        file.fault(("idle_time_before_scale_down",), message, remedy)


def check_environment(file: File, folder: Folder) -> None:
    """Check an environment: pinned, and all that it is built from at hand."""
    _check_asset(file)
    check_image(file, (), file.value)


def check_data(file: File, folder: Folder) -> None:
    """Check a data asset: versioned, and its files at hand."""
    _check_asset(file)
    path = file.get("path")
    if not isinstance(path, str) or not path:
        file.fault(("path",), "no path", "Name a folder beside this file, e.g. ./data.")
    elif "://" not in path and not path.startswith("azureml:") and not (file.folder / path).exists():
        file.fault(("path",), f'"{path}" is not there', "Name a folder beside this file, e.g. ./data.")


def _check_asset(file: File) -> None:
    name = file.get("name")
    if not isinstance(name, str) or not ASSET_NAME.fullmatch(name):
        file.fault(("name",), f'"{name}" cannot be the name of an asset', "Letters, digits, dash, dot, underscore.")
    if file.get("version") in (None, ""):
        file.fault(("version",), "no version: nothing could refer to it and mean this one", 'Add version: "1".')


def check_image(file: File, at: DocumentPath, environment: dict[str, Any]) -> None:
    """Check where an environment's image comes from, written in a file of its own or within a job."""
    image, build, conda = (environment.get(key) for key in ("image", "build", "conda_file"))
    if (image is None) == (build is None):
        what = "neither image nor build" if image is None else "both image and build"
        file.fault(at, f"{what}", "Give one of the two.")
        return
    if isinstance(image, str) and (fault := fault_of_image(image)):
        file.fault((*at, "image"), fault, "Name a version: registry/name:tag, or better @sha256:...")
    if isinstance(conda, str) and not (file.folder / conda).is_file():
        file.fault((*at, "conda_file"), f'"{conda}" is not there', "Name a file beside this one.")
    if isinstance(build, dict):
        _check_build(file, (*at, "build"), build)


def _check_build(file: File, at: DocumentPath, build: dict[str, Any]) -> None:
    context = file.folder / str(build.get("path", ""))
    dockerfile = context / str(build.get("dockerfile_path", "Dockerfile"))
    if not build.get("path") or not context.is_dir():
        file.fault((*at, "path"), f'no folder "{build.get("path")}"', "Name the folder with the Dockerfile.")
        return
    if not dockerfile.is_file():
        message = f'no "{dockerfile.name}" in {build["path"]}'
        file.fault((*at, "dockerfile_path"), message, "Name the Dockerfile, from that folder.")
        return
    for line, message, remedy in faults_of_dockerfile(dockerfile, context):
        file.fault((*at, "dockerfile_path"), f"{build['path']}/{dockerfile.name}:{line}: {message}", remedy)


def faults_of_dockerfile(dockerfile: Path, context: Path) -> list[tuple[int, str, str]]:
    """Return line, message and remedy of each fault: bases that move, files that are not there."""
    found = []
    stages: set[str] = set()
    num_bases = 0
    for number, line in enumerate(dockerfile.read_text(encoding="utf-8").splitlines(), start=1):
        if match := _FROM.match(line):
            num_bases += 1
            if match[1] not in stages and (fault := fault_of_image(match[1])):
                found.append((number, fault, "Name a version: registry/name:tag, or better @sha256:..."))
            stages.add(match[2] or "")
        elif match := _COPY.match(line):
            for source in match[1].split()[:-1]:
                if not source.startswith("http") and not list(context.glob(source.removeprefix("./"))):
                    found.append((number, f'"{source}" is not in the build context', "Put it beside the Dockerfile."))
    if not num_bases:
        found.append((1, "no FROM", "Begin with a pinned base image."))
    return found


def fault_of_image(image: str) -> str | None:
    """Return what is wrong with an image's address, or None: its tag must not move.

    >>> fault_of_image("python:latest")
    'image python:latest is not pinned: it is another one tomorrow'
    """
    if re.search(r"@sha256:[0-9a-f]{64}$", image):
        return None
    tag = image.rpartition("/")[2].partition(":")[2]
    if not tag or tag.lower() in _MOVING:
        return f"image {image} is not pinned: it is another one tomorrow"
    return None
