"""The process that mirrors a study while it runs: ``python -m kilowit.mirror``, told by lines of JSON on its stdin.

It reads run folders and nothing else, at the lowest priority, so that neither the metered process nor the coordinator
ever waits for a server. First line ``{"store", "study", "mlflow", "experiment", "several_seeds"}``, then
``{"started": RUN_ID}`` and ``{"ended": RUN_ID}``; the end of stdin is the end of the study. It answers with
``{"ready": URI}`` and ``{"problem": TEXT}``.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from kilowit.errors import KilowitError
from kilowit.mirror.destination import destination_of
from kilowit.mirror.groups import Group, group_of
from kilowit.mirror.mirroring import complete_parents
from kilowit.mirror.run_mirror import ParentMirror, RunMirror, born_ms
from kilowit.mirror.tracking import Tracking
from kilowit.settings import MirrorSettings
from kilowit.store import RunFolder, Store

LIVE_SECOND: Final = 10.0  # between two looks at the ledger of the run that is on
RETRY_SECOND: Final = 30.0  # how long a destination that failed is left alone


class LiveMirror:
    """Follows the runs of one study."""

    def __init__(self, first: Mapping[str, Any]) -> None:
        self.store = Store(first["store"])
        self.study_name = str(first["study"])
        self.several_seeds = bool(first["several_seeds"])
        asked = MirrorSettings(mlflow=first["mlflow"], experiment=first["experiment"])
        self.destination = destination_of(asked, self.store.path)
        self.tracking: Tracking | None = None
        self.current: RunMirror | None = None
        self.parents: dict[str, Group] = {}
        self.behind: list[RunFolder] = []  # over, and not whole there
        self._problem = ""
        self._retry_at_second = 0.0

    def connect(self) -> None:
        """Open the destination, if it is not open."""
        self._attempt(self._tracking)

    def started(self, run_id: str) -> None:
        """A run has begun."""
        self.current = None
        folder = RunFolder(self.store.path / run_id)

        def begin() -> None:
            mirror = RunMirror(folder, self._tracking())
            mirror.begin(self._parent_id(folder))
            self.current = mirror

        self._attempt(begin)

    def follow(self) -> None:
        """Send what the run that is on has gained."""
        if self.current is not None:
            self._attempt(self.current.follow)

    def ended(self, run_id: str) -> None:
        """A run is over."""
        self.current = None
        self.behind.append(RunFolder(self.store.path / run_id))
        self._catch_up()

    def finish(self) -> None:
        """The study is over: try once more what failed, and bring the parents level."""
        self._retry_at_second = 0.0
        self._catch_up()
        if self.parents and not self.behind:
            self._attempt(lambda: complete_parents(self._tracking(), self.parents.values(), self._records()))

    def _catch_up(self) -> None:
        records = {record.run_id: record for record in self._records()}
        for folder in list(self.behind):
            record = records.get(folder.run_id)
            if record is None:  # it left a record that cannot be read: nothing to mirror
                self.behind.remove(folder)
                continue
            mirror: list[RunMirror] = []

            def complete(folder: RunFolder = folder, record: Any = record, mirror: list[RunMirror] = mirror) -> None:
                mirror.append(RunMirror(folder, self._tracking()))
                mirror[0].complete(record, self._parent_id(folder))

            if not self._attempt(complete):
                return
            self.behind.remove(folder)

    def _records(self) -> list[Any]:
        return [record for record in self.store.records() if record.study_name == self.study_name]

    def _parent_id(self, folder: RunFolder) -> str | None:
        group = group_of(folder.cell)
        if not group.is_search and (not self.several_seeds or "baseline" in folder.cell["model"]):
            return None
        self.parents[group.key] = group
        return ParentMirror(group, self._tracking()).begin(born_ms(folder))

    def _tracking(self) -> Tracking:
        if self.tracking is None:
            self.tracking = Tracking(self.destination, self.study_name)
        return self.tracking

    def _attempt(self, action: Any) -> bool:
        """Do something unless the destination failed a moment ago; say why it cannot be done, each reason once."""
        if time.monotonic() < self._retry_at_second:
            return False
        try:
            action()
        except (KilowitError, OSError) as error:
            message = error.message if isinstance(error, KilowitError) else str(error)
            self._retry_at_second = time.monotonic() + RETRY_SECOND
            if message != self._problem:
                self._problem = message
                answer(problem=message)
            return False
        return True


def answer(**what: str) -> None:
    """Tell the coordinator, if it still listens."""
    try:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - kept to the end


def main() -> int:
    """Mirror until stdin ends; return 1 if something is not there."""
    os.nice(19)
    inbox: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
    mirror = LiveMirror(json.loads(sys.stdin.readline()))

    def read() -> None:
        for line in sys.stdin:
            inbox.put(json.loads(line))
        inbox.put(None)

    threading.Thread(target=read, name="kilowit-mirror-inbox", daemon=True).start()
    mirror.connect()
    answer(ready=mirror.destination.shown)
    while True:
        try:
            message = inbox.get(timeout=LIVE_SECOND)
        except queue.Empty:
            mirror.follow()
            continue
        if message is None:
            break
        if "started" in message:
            mirror.started(message["started"])
        else:
            mirror.ended(message["ended"])
    mirror.finish()
    return int(bool(mirror.behind))


if __name__ == "__main__":
    sys.exit(main())
