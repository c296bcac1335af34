"""What a Hugging Face training script leaves: ``all_results.json`` and ``trainer_state.json``, times without energy.

Source of the names: transformers 5.x, ``trainer_utils.speed_metrics`` and ``Trainer.save_metrics`` (Apache-2.0). The
summarization example prints ROUGE times 100.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from kilowit.errors import DataError
from kilowit.exchange import checks
from kilowit.exchange.foreign import ForeignRun, Reading, energies, number, read_json
from kilowit.imported import Contradiction
from kilowit.record import PhaseFigures, Score

ROUGE: Final = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SIGNATURE: Final = "imported:hugging_face|value/100|aggregation and stemmer not stated"
_PHASES: Final = {"train": "train", "eval": "validate", "predict": "predict", "test": "predict"}
_HINT: Final = "Name all_results.json or trainer_state.json of a Trainer's output folder."


def is_hugging_face(path: Path, head: str) -> bool:
    """Whether a JSON file looks like one of the two."""
    if path.suffix != ".json":
        return False
    return (
        '"log_history"' in head or path.name == "trainer_state.json" or any(f'"{p}_runtime"' in head for p in _PHASES)
    )


def read_hugging_face(path: Path, region: str | None = None) -> Reading:
    """Read one file.

    Raises:
        DataError: it is not a JSON object, or holds no time of any phase.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise DataError("not a JSON object", place=str(path), hint=_HINT)
    history = value.get("log_history")
    flat = _flat(history) if isinstance(history, list) else value
    run = run_of_metrics(flat, place=str(path), name=path.resolve().parent.name or "run")
    if not run.phases:
        raise DataError("holds no train_runtime, eval_runtime or predict_runtime", place=str(path), hint=_HINT)
    if isinstance(history, list):
        run = run.with_contradictions(_steps(value, history))
    return Reading((run,))


def run_of_metrics(values: Mapping[str, Any], *, place: str, name: str) -> ForeignRun:
    """Make a run of metrics by their Hugging Face names; names that no field of a record holds are kept as stated.

    Args:
        values: e.g. ``train_runtime`` in seconds, ``predict_rouge1`` times 100.
        place: the file, for errors.
        name: of the run.
    """
    found = {key: number(value, name=key, place=place) for key, value in values.items() if _is_number(value)}
    phases = [phase for prefix in _PHASES if (phase := _phase(prefix, found)) is not None]
    scores = _scores(found)
    used = {f"{prefix}_{rest}" for prefix in _PHASES for rest in ("runtime", "samples_per_second", "loss", "samples")}
    used |= {"total_flos"} | {f"{p}_{s.metric}" for p in ("predict", "test") for s in scores}
    stated = {key: value for key, value in found.items() if key not in used and value is not None}
    return ForeignRun(
        place="the file", name=name, phases=tuple(phases), scores=scores, stated=stated, contradictions=_found(found)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(history: Iterable[Any]) -> dict[str, Any]:
    """Return the last value of each name of a log, and the first and last loss of the steps."""
    flat: dict[str, Any] = {}
    losses = []
    for entry in history:
        if isinstance(entry, dict):
            losses += [entry["loss"]] if _is_number(entry.get("loss")) else []
            flat |= {key: value for key, value in entry.items() if key not in ("loss", "step", "epoch")}
    return {**flat, **({"loss_first": losses[0], "loss_last": losses[-1]} if losses else {})}


def _phase(prefix: str, found: Mapping[str, float | None]) -> PhaseFigures | None:
    second = found.get(f"{prefix}_runtime")
    if second is None:
        return None
    samples, flop = found.get(f"{prefix}_samples"), found.get("total_flos") if prefix == "train" else None
    return PhaseFigures(
        phase=_PHASES[prefix],
        wall_second=second,
        flop_total=flop,
        flop_source=None if flop is None else "imported:total_flos",
        num_examples=None if samples is None else int(samples),
        examples_per_second=found.get(f"{prefix}_samples_per_second"),
        loss_first=found.get("loss_first") if prefix == "train" else None,
        loss_last=found.get("loss_last", found.get("train_loss")) if prefix == "train" else found.get(f"{prefix}_loss"),
        **energies("hugging_face"),
    )


def _scores(found: Mapping[str, float | None]) -> tuple[Score, ...]:
    """Return ROUGE of the test split, where the number of its examples is known or follows from rate and time."""
    scores = []
    for prefix in ("predict", "test"):
        num = found.get(f"{prefix}_samples")
        rate, second = found.get(f"{prefix}_samples_per_second"), found.get(f"{prefix}_runtime")
        if num is None and rate is not None and second is not None:
            num = round(rate * second)
        for metric in ROUGE:
            value = found.get(f"{prefix}_{metric}")
            if value is not None and num:
                scores.append(
                    Score(
                        metric=metric,
                        value=value / 100 if value > 1 else value,
                        ci95_low=None,
                        ci95_high=None,
                        num_examples=int(num),
                        signature=SIGNATURE,
                    )
                )
    return tuple(scores)


def _found(found: Mapping[str, float | None]) -> tuple[Contradiction, ...]:
    contradictions = []
    for prefix in _PHASES:
        rate, second = found.get(f"{prefix}_samples_per_second"), found.get(f"{prefix}_runtime")
        epochs = found.get("epoch") if prefix == "train" else 1.0
        samples = found.get(f"{prefix}_samples")
        amount = None if samples is None or epochs is None else samples * epochs
        contradictions.append(checks.rate_times_time(f"{prefix}_samples_per_second", rate, second, amount, "examples"))
    return tuple(c for c in contradictions if c is not None)


def _steps(state: Mapping[str, Any], history: Iterable[Any]) -> Contradiction | None:
    """Compare the state's last step with the last one logged."""
    logged = [entry["step"] for entry in history if isinstance(entry, dict) and _is_number(entry.get("step"))]
    last = state.get("global_step")
    if not logged or not _is_number(last) or max(logged) <= int(last or 0):
        return None
    message = f"the log goes to step {max(logged)}, the state says {last}: it is of an earlier moment or another run"
    return Contradiction(kind="two_values", message=message, figures=["global_step"])
