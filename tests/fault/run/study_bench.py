"""A study of three cells, a store, and workers that end as they are told."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from kilowit.meter.machine_lock import MachineLock
from kilowit.parts.executors.local import LocalExecutor, LocalJob
from kilowit.run.coordinator import run_study
from kilowit.run.outcome import StudyOutcome
from kilowit.run.progress import PlainProgress
from kilowit.run.session import RunOptions
from kilowit.store import RunFolder, Store
from kilowit.study import Study

STAND_IN = Path(__file__).with_name("stand_in_worker.py")
STUDY = """
name: green
models: [{scratch: bart-tiny}]
datasets: [docstrings]
seeds: [0, 1, 2]
measure: {idle_second: 0, cooldown_second: 0}
"""


def start_held(executor: LocalExecutor, folder: RunFolder, lock: MachineLock) -> LocalJob:
    """Start a worker that holds its folder and the machine, as a study does."""
    descriptor = folder.lock_for_worker()
    try:
        return executor.start(folder.path, inherited=(descriptor, lock.descriptor))
    finally:
        os.close(descriptor)


class Bench:
    """Runs a study with stand-in workers; `said` is what the person is told by the latest run."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._stream = io.StringIO()
        self.behaviours: list[str] = []  # one per attempt; then "finish"
        self.options = RunOptions(grace_second=0.5, min_free_byte=0)

    def command(self, folder: Path) -> list[str]:
        behaviour = self.behaviours.pop(0) if self.behaviours else "finish"
        return [sys.executable, str(STAND_IN), behaviour, str(folder)]

    def run(
        self, *overrides: str, forecast: Callable | None = None, executor: LocalExecutor | None = None
    ) -> StudyOutcome:
        self._stream = io.StringIO()
        return run_study(
            self.study(*overrides), self.store, progress=PlainProgress(self._stream), options=self.options,
            forecast=forecast, executor=executor or LocalExecutor(self.command),
        )  # fmt: skip

    @property
    def said(self) -> str:
        return self._stream.getvalue()

    def when_said(self, words: str, action: Callable[[], object]) -> None:
        """Do something, once, as soon as the person has been told these words."""

        def wait() -> None:
            end = time.monotonic() + 20
            while words not in self.said and time.monotonic() < end:
                time.sleep(0.02)
            action()

        threading.Thread(target=wait).start()

    def study(self, *overrides: str) -> Study:
        return Study.parse(STUDY, overrides=overrides)

    def first(self) -> RunFolder:
        return self.store.folders()[0]


ONE_CELL = "seeds=[0]"
