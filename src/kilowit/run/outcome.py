"""How a study went: what the coordinator returns and the progress display says last."""

from __future__ import annotations

from dataclasses import dataclass

EXIT_OK, EXIT_SOME_FAILED, EXIT_OVER_BUDGET, EXIT_INTERRUPTED = 0, 1, 3, 130


@dataclass(frozen=True)
class StudyOutcome:
    """How a study went this time. Cells counted: finished + failed + skipped + left out + not reached = num_cells."""

    study_name: str
    num_cells: int
    num_finished: int = 0  # now
    num_failed: int = 0  # now, or earlier with a result that is not tried again
    num_skipped: int = 0  # finished earlier
    left_out: tuple[tuple[str, str], ...] = ()  # label and reason
    is_interrupted: bool = False
    run_ids: tuple[str, ...] = ()  # every run of this time, repeated ones too

    @property
    def num_left_out(self) -> int:
        """Cells that were not started: over budget, or being run elsewhere."""
        return len(self.left_out)

    @property
    def exit_code(self) -> int:
        """0 all is done, 1 some cells failed, 3 some were left out, 130 interrupted."""
        if self.is_interrupted:
            return EXIT_INTERRUPTED
        if self.num_failed:
            return EXIT_SOME_FAILED
        return EXIT_OVER_BUDGET if self.left_out else EXIT_OK

    @property
    def sentence(self) -> str:
        """The outcome in one line."""
        counts = {
            "finished": self.num_finished,
            "done before": self.num_skipped,
            "failed": self.num_failed,
            "left out": self.num_left_out,
        }
        said = ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "nothing was run"
        kept = "; interrupted, state kept: run it again to go on" if self.is_interrupted else ""
        return f"study {self.study_name}: {said} of {self.num_cells}{kept}"
