"""What the methods are that hand the trained model to a smaller runtime: int8_dynamic, int8_static and their like.

Such a method names the runtime that predicts, leaves its export in the phase ``compress``, and shows what it weighs: on
disk, and in the memory of a process that does nothing else. Its file holds the card and a `RuntimeMethod`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun
from kilowit.parts.tokenized import TrainingData
from kilowit.settings import Block, Settings

METHODS: Final = ("ctranslate2_int8", "fp16_export", "int8_dynamic", "int8_static")  # one of them in a recipe
LARGEST_SHARE: Final = 0.6  # a quarter or a half, and what stays in float32: norms and positions
WEIGHT_SUFFIXES: Final = (".bin", ".data", ".onnx")
_CHILD: Final = """
import sys, time
sys.path.insert(0, sys.argv[1])
from summarize import load
began = time.perf_counter()
model = load(sys.argv[1], 1)
loaded = time.perf_counter()
model.summarize([sys.stdin.read()])
try:
    peak = 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
except OSError:
    peak = "null"
print(f'{{"process_peak_memory_byte": {peak}, "process_load_second": {loaded - began:.3f}}}')
"""


def conflicts_of(name: str, *others: str) -> tuple[str, ...]:
    """Return what a method of these cannot stand beside: its like, several models in one, sparse attention."""
    return tuple(sorted({*METHODS, "ensemble", "sparse_attention", *others} - {name}))


def expect_on_cpu(low: float, high: float, rouge2_loss: float, source: str) -> tuple[Expectation, ...]:
    """Return the promise of a method that makes prediction cheaper by these ratios on a CPU."""
    return (
        Expectation("predict.energy_total_joule", low, high, source=source),
        Expectation("predict.wall_second", low, high, source=source),
        Expectation("rouge2", -rouge2_loss, rouge2_loss, kind="difference", source=source),
    )


@dataclass(frozen=True)
class RuntimeMethod:
    """The functions of such a method; `kilowit.parts.method` says what each is for.

    Args:
        name: of the method.
        runtime: what predicts.
        precision: number format of its export.
    """

    name: str
    runtime: str
    precision: str

    def plan(self, settings: Settings, options: Block) -> Settings:
        """Let the runtime predict.

        Raises:
            PartError: the study has named one already.
        """
        if settings.predict.runtime is not None:
            raise PartError(
                f'method "{self.name}" and predict.runtime both say what predicts', hint="Leave out one of the two."
            )
        return settings.with_predict(runtime={"name": self.runtime, "precision": self.precision})

    def on_data(self, data: TrainingData, options: Block, facts: dict[str, Any]) -> TrainingData:
        """Note a document to try the export on."""
        return note_sources(data, 1, facts)

    def compress_trained(self, model: Path, folder: Path, options: Block, facts: dict[str, Any]) -> None:
        """Export the trained model, and see what it takes."""
        if self.runtime == "ctranslate2":
            from kilowit.parts.ctranslate2_export import export_ctranslate2

            export_ctranslate2(model, folder, self.precision)
        else:
            from kilowit.parts.onnx_export import export_onnx

            calibration = facts["sources"] if self.precision == "int8_static" else ()
            exported = export_onnx(model, folder, self.precision, runtime=self.runtime, calibration=calibration)
            num_bits = 16 if self.precision == "fp16" else 8
            facts[f"num_{num_bits}bit_matrices"] = exported.num_reduced
            facts["weights_byte_float32"] = exported.float32_byte
        _note_sizes(model, folder, facts)

    def applied(self, run: TrainedRun, options: Block) -> Evidence:
        """Show bytes on disk and in memory; the weights must be below `LARGEST_SHARE` of what they take in float32."""
        facts = run.facts
        share = facts["weights_byte_after"] / facts["weights_byte_float32"]
        return Evidence(share <= LARGEST_SHARE, {**facts, "weights_fraction": round(share, 4)})


def note_sources(data: TrainingData, number: int, facts: dict[str, Any]) -> TrainingData:
    """Note some training sources, evenly spread, and leave the data as they are."""
    sources = data.train.source_tokens
    step = max(1, len(sources) // number)
    facts["sources"] = [list(source) for source in sources[::step][:number]]
    return data


def _note_sizes(model: Path, folder: Path, facts: dict[str, Any]) -> None:
    """Note bytes on disk before and after, and what a process takes that loads the export and summarizes once."""
    from kilowit.parts.text_codec import TextCodec

    before = sum(path.stat().st_size for path in model.rglob("*.safetensors"))
    facts.setdefault("weights_byte_float32", before)  # ONNX graphs hold the vocabulary three times, and say so
    (document,) = TextCodec.load(folder).decode(facts.pop("sources")[:1])
    command = [sys.executable, "-c", _CHILD, str(folder)]
    done = subprocess.run(command, input=document or "a", capture_output=True, text=True, check=False)
    if done.returncode:
        raise PartError(
            f"the export does not run ({done.stderr.strip().splitlines()[-1]})",
            place=str(folder),
            hint="Install its requirements.txt.",
        )
    facts.update(weights_byte_before=before, weights_byte_after=weights_byte(folder), **json.loads(done.stdout))


def weights_byte(folder: Path) -> int:
    """Return the bytes of an export's weights and graphs, tokenizer and program left out."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES)
