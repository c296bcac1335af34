"""The image, the workflow and the site are what they claim: linted by real tools, exercised where they can be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

WORKFLOW = ".github/workflows/ci.yml"


def tool(name: str) -> str:
    """Return a program of this environment."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: pip install 'kilowit[test]'")
    return found


def instructions(repository: Path) -> list[dict[str, str]]:
    parser = pytest.importorskip("dockerfile_parse").DockerfileParser(
        fileobj=(repository / "Dockerfile").open("r+b"), cache_content=True
    )
    return [step for step in parser.structure if step["instruction"] != "COMMENT"]


def test_the_dockerfile_is_linted(repository: Path) -> None:
    done = subprocess.run(
        [tool("hadolint"), "--failure-threshold", "warning", "Dockerfile"],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_nobody_in_particular_from_pinned_bases(repository: Path) -> None:
    steps = instructions(repository)
    users = [step["value"] for step in steps if step["instruction"] == "USER"]
    assert users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    bases = [step["value"].split()[0] for step in steps if step["instruction"] == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-\S+", base) for base in bases)
    assert len(bases) == 2


def test_what_the_image_copies_is_in_the_build_context(repository: Path) -> None:
    """`.dockerignore` leaves all out but what it names."""
    lines = (repository / ".dockerignore").read_text(encoding="utf-8").split()
    assert lines[0] == "*"
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    for step in instructions(repository):
        if step["instruction"] == "COPY" and "--from" not in step["value"]:
            for source in step["value"].split()[:-1]:
                assert (repository / source).exists()
                assert any(line == source or line.startswith(f"{source}/") for line in kept), source


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_steps_of_the_image_build_an_installation_that_runs(repository: Path, tmp_path: Path) -> None:
    """No engine: COPY and RUN act on a scratch folder that stands for the root; then the entry point is started."""
    build, place, command = _Scratch(tmp_path, repository), Path("/"), []
    for step in instructions(repository):
        kind, value = step["instruction"], step["value"]
        if kind == "WORKDIR":
            place = Path(value)
        elif kind == "ARG":
            name, _, default = value.partition("=")
            build.environment[name] = {"EXTRAS": "serve"}.get(name, default)
        elif kind == "COPY":
            build.copy(value.split(), place)
        elif kind == "RUN":
            build.run(value, place)
        elif kind in ("ENTRYPOINT", "CMD"):
            command += yaml.safe_load(value)
    build.environment["PATH"] = f"{build.inside(Path('/opt/kilowit/bin'))}:/usr/bin:/bin"
    assert "python" in build.run(" ".join([*command, "--json"]), Path("/data"))


class _Scratch:
    """A folder that stands for the root of an image."""

    def __init__(self, root: Path, context: Path) -> None:
        self.root, self.context = root, context
        kept = ("HOME", "LANG", "SSL_CERT_FILE")
        self.environment = {k: v for k, v in os.environ.items() if k in kept or k.startswith(("PIP_", "KILOWIT_"))}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"

    def inside(self, path: Path) -> Path:
        return self.root / path.relative_to("/")

    def copy(self, words: list[str], place: Path) -> None:
        from_image = words[0].startswith("--from")
        *sources, target = words[1:] if from_image else words
        goal = self.inside(place / target)
        for source in sources:
            origin = self.inside(Path(source)) if from_image else self.context / source
            if origin == goal:
                continue
            if origin.is_dir():
                shutil.copytree(origin, goal, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to = goal / origin.name if target.endswith(("/", ".")) else goal
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, to)

    def run(self, command: str, place: Path) -> str:
        for folder in ("/opt", "/data"):
            command = re.sub(rf"(?<![\w/.]){folder}\b", str(self.inside(Path(folder))), command)
        folder = self.inside(place)
        folder.mkdir(parents=True, exist_ok=True)
        (self.root / "opt").mkdir(exist_ok=True)
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if "pip install" in command and done.returncode and re.search("onnection|resolve|No matching", done.stderr):
            pytest.skip("no package registry can be reached")
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
        return done.stdout


def test_the_workflow_is_valid_by_the_schema_of_github(repository: Path) -> None:
    done = subprocess.run(
        [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(repository / WORKFLOW)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_step_of_the_workflow_is_pinned_bounded_and_there(repository: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load((repository / WORKFLOW).read_text(encoding="utf-8"))
    targets = set(re.findall(r"^([\w-]+):", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            assert "uses" not in step or re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
            for target in re.findall(r"\bmake ([\w-]+)", step.get("run", "")):
                assert target in targets


class _Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.anchors |= {value for key in ("id", "name") if (value := given.get(key))}
        named = given.get("href") if tag in ("a", "link") else given.get("src")
        if named:
            self.links.append(named)


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    pytest.importorskip("jupytext")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links are from the root of a server
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.relative_to(site)}: {link} has no such anchor")
    assert not broken
    assert len(pages) > 60


def test_the_site_asks_no_other_server_for_anything(site: Path) -> None:
    asked = [
        f"{path.relative_to(site)}: {found}"
        for path in site.rglob("*.html")
        for found in re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="(https?:)?//[^"]+"', path.read_text("utf-8"))
    ]
    assert not asked


def test_the_sample_is_a_page_of_the_site(site: Path) -> None:
    text = (site / "sample" / "summarizer.html").read_text(encoding="utf-8")
    assert "From a corpus to a summarizer in production" in text
    assert "kilowit.start_endpoint" in text
