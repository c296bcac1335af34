"""An exported folder runs in an environment that has its runtime and tokenizers, and nothing of ours."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kilowit.parts import load
from kilowit.parts.runtime import RuntimeOptions
from kilowit.parts.standalone import MODULES, NEEDS, PROGRAM
from kilowit.parts.text_codec import TextCodec
from tiny_summarizers import save, sharp_model

pytest.importorskip("torch")
DOCUMENTS = ["w5 w6 w7 w8 w9", "w40 w41 unknown w42"]


def export(runtime: str, folder: Path) -> Path:
    for package in NEEDS[runtime]:
        pytest.importorskip(package)
    load("runtimes", runtime).export(save(sharp_model("t5"), folder / "model"), folder / runtime, "fp32")
    return folder / runtime


def written_by_kilowit(folder: Path, runtime: str) -> list[str]:
    codec = TextCodec.load(folder)
    generator = load("runtimes", runtime).load(folder, RuntimeOptions(num_threads=1))
    return codec.decode(generator.generate(codec.encode(DOCUMENTS), codec.manifest.generate))


def run(python: str | Path, folder: Path, stdin: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), str(folder / PROGRAM), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=environment, cwd="/", check=False)


@pytest.mark.parametrize("runtime", sorted(MODULES))
def test_the_program_in_the_folder_writes_what_kilowit_writes(runtime: str, tmp_path: Path) -> None:
    folder = export(runtime, tmp_path)
    done = run(sys.executable, folder, "\n".join(DOCUMENTS).encode(), "--lines")
    assert done.stdout.decode().splitlines() == written_by_kilowit(folder, runtime), done.stderr


@pytest.mark.parametrize("runtime", sorted(MODULES))
def test_the_copies_import_nothing_but_each_other_and_what_is_required(runtime: str, tmp_path: Path) -> None:
    folder = export(runtime, tmp_path)
    allowed = {*sys.stdlib_module_names, *NEEDS[runtime], "summarizer"}
    assert (folder / "requirements.txt").read_text().split() == list(NEEDS[runtime])
    for path in [folder / PROGRAM, *(folder / "summarizer").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.partition(".")[0] for name in names} <= allowed, path.name
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("summarizer."):
                assert (folder / "summarizer" / f"{str(node.module).partition('.')[2]}.py").is_file()


def test_bad_input_is_one_clear_error(tmp_path: Path) -> None:
    folder = export("onnxruntime", tmp_path)
    for stdin, said in ((b"", "the document is empty"), (b" \n ", "the document is empty"), (b"\xff\xfe", "utf-8")):
        done = run(sys.executable, folder, stdin)
        assert done.returncode == 2
        assert said in done.stderr.decode() and "Traceback" not in done.stderr.decode()
    for stdin in (b"w", "日本語 \x07 w9".encode(), b"word " * 100_000):
        assert run(sys.executable, folder, stdin).returncode == 0


def test_the_folder_runs_in_a_fresh_environment(tmp_path: Path) -> None:
    folder = export("onnxruntime", tmp_path)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "0",
    ]
    installed = subprocess.run([*install, "-r", folder / "requirements.txt"], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"packages cannot be installed here: {installed.stderr.strip().splitlines()[-1:]}")
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "kilowit"} & set(listed.split())
    done = run(python, folder, "\n".join(DOCUMENTS).encode(), "--lines")
    assert done.stdout.decode().splitlines() == written_by_kilowit(folder, "onnxruntime"), done.stderr
