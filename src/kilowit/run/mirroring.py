"""Start the process that mirrors a study, tell it which run begins and ends, and never wait for it while one is on.

What it does not bring to its destination is said of the run, in its folder, and completed by a later export.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

from kilowit.errors import StoreError
from kilowit.settings import MirrorSettings
from kilowit.store import TIME_FORMAT, RunFolder, Store
from kilowit.store.mirrored import MirrorState, mirror_state, write_mirror_state

READY_SECOND: Final = 60.0  # before the first run: it imports MLflow, which would disturb what is measured
FINISH_SECOND: Final = 120.0  # after the last run
COMMAND: Final = [sys.executable, "-P", "-m", "kilowit.mirror"]
LOG_NAME: Final = "mirror.log"


@dataclass
class Mirroring:
    """The mirror of one call of `run_study`; a context manager around its runs.

    Args:
        store: whose runs are mirrored.
        study_name: of the study.
        several_seeds: whether cells differ in their seed, so that seeds get a parent.
        settings: where to; None = nowhere, and nothing is started.
        note: told what is worth a line.
    """

    store: Store
    study_name: str
    several_seeds: bool
    settings: MirrorSettings | None
    note: Callable[[str], None]
    _process: subprocess.Popen[bytes] | None = None
    _answers: SimpleQueue[dict[str, Any]] = field(default_factory=SimpleQueue)
    _place: str = ""
    _problem: str = ""
    _run_ids: list[str] = field(default_factory=list)  # that are over

    def __enter__(self) -> Self:
        if self.settings is not None:
            self._start(self.settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settings is not None:
            self._finish()

    def started(self, run_id: str) -> None:
        """A run begins."""
        self._tell(started=run_id)

    def ended(self, run_id: str) -> None:
        """A run is over, and its record written."""
        self._run_ids.append(run_id)
        self._tell(ended=run_id)
        self._hear()

    def _start(self, settings: MirrorSettings) -> None:
        self.store.path.mkdir(parents=True, exist_ok=True)
        try:
            with (self.store.path / LOG_NAME).open("ab") as log:
                self._process = subprocess.Popen(
                    COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C ends runs, and the mirror is to say how they ended
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
        except OSError as error:
            self._problem = f"its process cannot be started ({error.strerror})"
            self.note(f"mirror: {self._problem}; the study runs without it")
            return
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        threading.Thread(target=self._listen, name="kilowit-mirror", daemon=True).start()
        first = {"store": str(Path(self.store.path).absolute()), "study": self.study_name}
        self._tell(**first, **settings.model_dump(), several_seeds=self.several_seeds)
        end_second = time.monotonic() + READY_SECOND
        while not self._place and self._process.poll() is None and time.monotonic() < end_second:
            self._hear(timeout_second=0.5)
        if not self._place:
            self.note(f"mirror: not ready within {READY_SECOND:.0f} s; the study begins without waiting for it")

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self._answers.put(json.loads(line))

    def _tell(self, **message: Any) -> None:
        """Write a line that may be lost, but never waited for."""
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # it is gone, or reads no more
            self._problem = self._problem or f"its process takes no more ({error})"

    def _hear(self, timeout_second: float = 0.0) -> None:
        """Take in what the process has answered."""
        while True:
            try:
                said = self._answers.get(timeout=timeout_second) if timeout_second else self._answers.get_nowait()
            except Empty:
                return
            timeout_second = 0.0
            if "ready" in said:
                self._place = str(said["ready"])
                self.note(f"mirror: {self._place}")
            elif "problem" in said:
                self._problem = str(said["problem"])
                self.note(f"mirror: {self._problem}; the runs go on")

    def _finish(self) -> None:
        """Give the process time to catch up, then say what is not whole."""
        if self._process is not None:
            with contextlib.suppress(OSError, ValueError):
                assert self._process.stdin is not None
                self._process.stdin.close()
            try:
                self._process.wait(FINISH_SECOND)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                self._problem = self._problem or f"it did not catch up within {FINISH_SECOND:.0f} s of the last run"
            self._hear(timeout_second=0.2)
        folders = [RunFolder(self.store.path / run_id) for run_id in self._run_ids]
        behind = [folder for folder in folders if not _is_whole(folder)]
        for folder in behind:
            self._mark(folder)
        if behind:
            self.note(
                f"mirror: {len(behind)} of {len(self._run_ids)} runs are not whole at {self._place or 'its place'} "
                f"({self._why}); `kilowit export-records {self.store.path} URI --format mlflow` completes them"
            )

    @property
    def _why(self) -> str:
        status = None if self._process is None else self._process.returncode
        died = f"its process ended with status {status}, see {LOG_NAME}" if status else "it did not come to it"
        return self._problem or died

    def _mark(self, folder: RunFolder) -> None:
        now = datetime.now(UTC).strftime(TIME_FORMAT)
        try:
            write_mirror_state(folder, MirrorState(self._place or "the tracking server", None, self._why, now))
        except StoreError as error:
            self.note(str(error))


def _is_whole(folder: RunFolder) -> bool:
    state = mirror_state(folder)
    return state is not None and state.problem is None
