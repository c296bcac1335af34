"""What a run folder says of its mirror: where it is shown too, and what that place lacks. No result depends on it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Final

from kilowit.store.folder import RunFolder, write_whole

MIRROR_WARNING: Final = "mirror: "  # how the warning of a run that is not whole there begins
_REMEDY: Final = "`kilowit export-records RUNS URI --format mlflow` completes it"


@dataclass(frozen=True)
class MirrorState:
    """How far a run is mirrored; ``mirror.json``."""

    tracking_uri: str  # without what is secret in it
    mlflow_run_id: str | None  # None: not all of the run is there
    problem: str | None  # None: all of the run is there
    at_utc: str  # when this was said

    @property
    def warning(self) -> str:
        """The problem as a warning of the run."""
        return f"{MIRROR_WARNING}not all of this run is at {self.tracking_uri} ({self.problem}); {_REMEDY}"


def mirror_state(folder: RunFolder) -> MirrorState | None:
    """Return how far a run is mirrored, or None; a file that cannot be read counts as none."""
    try:
        return MirrorState(**json.loads(folder.mirror_path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_mirror_state(folder: RunFolder, state: MirrorState) -> None:
    """Say how far a run is mirrored.

    Raises:
        StoreError: the folder cannot be written.
    """
    write_whole(folder.mirror_path, json.dumps(dataclasses.asdict(state), ensure_ascii=False, indent=1))
