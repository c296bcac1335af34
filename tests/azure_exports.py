"""Exports for Azure ML of a tiny study, and a stand-in for a node: it binds a job's inputs and outputs and runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import worker_cells
from kilowit.azureml import AzureExport, AzureOptions, export_study

SEARCH = """
search:
  algorithm: {algorithm}
  num_trials: {num_trials}
  objective: validation_loss
  space: {{train.learning_rate: {{log_uniform: [1.0e-4, 1.0e-2]}}, train.batch_size: {{choice: [2, 4]}}}}
"""
MACHINE = "Standard_NC4as_T4_v3"
BINDING = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}")


def write_study(
    folder: Path, *, recipe: str = "[]", search: str | None = "random", num_trials: int = 2, more: str = ""
) -> Path:
    """Write the tiny study of `worker_cells` and its pairs."""
    folder.mkdir(exist_ok=True, parents=True)
    worker_cells.write_pairs(folder / "pairs.jsonl")
    text = worker_cells.STUDY.format(pairs="./pairs.jsonl", recipe=recipe) + more
    path = folder / "study.yaml"
    path.write_text(text + (SEARCH.format(algorithm=search, num_trials=num_trials) if search else ""), encoding="utf-8")
    return path


def export(folder: Path, *, options: Mapping[str, Any] | None = None, **study: Any) -> AzureExport:
    """Export that study for Azure ML."""
    chosen = AzureOptions(**{"machine": MACHINE, "region": "westus2", **(options or {})})
    return export_study(write_study(folder / "here", **study), folder / "azure", chosen)


def load(folder: Path, name: str) -> dict[str, Any]:
    """Read one YAML file of an export."""
    value = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


@dataclass
class Node:
    """What Azure does with a command job: source copied, inputs and outputs bound to folders, command in a shell.

    Args:
        export: folder of the export.
        work: where everything of the node goes.
    """

    export: Path
    work: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, job: Mapping[str, Any], name: str, inputs: Mapping[str, Path], more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a job, a step or a trial; its outputs are in ``work/name/<output>``."""
        place = self.work / name
        shutil.copytree(self.export / job["code"], place / "source", dirs_exist_ok=True)
        outputs = {output: place / output for output in job.get("outputs", {})}
        for folder in outputs.values():
            folder.mkdir(parents=True, exist_ok=True)
        bound = {f"inputs.{k}": str(v) for k, v in inputs.items()} | {
            f"outputs.{k}": str(v) for k, v in outputs.items()
        }
        bound |= dict(more or {})
        command = BINDING.sub(lambda match: bound[match[1]], job["command"]).replace(
            "/tmp/kilowit", str(place / "disk")
        )
        return subprocess.run(
            ["bash", "-c", command], cwd=place / "source", env=self._environment(), text=True, capture_output=True
        )

    def _environment(self) -> dict[str, str]:
        tools = self.work / "bin"
        tools.mkdir(parents=True, exist_ok=True)
        verb = tools / "kilowit"
        verb.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m kilowit "$@"\n', encoding="utf-8")
        verb.chmod(0o755)
        path = f"{tools}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **self.environment}
