"""How long from `kilowit serve` to an answer, in how much memory, and without torch.

    python benchmarks/endpoint_ready.py [--shared DIR] [--starts 5]

BART-base with random weights, exported by `kilowit export` for ONNX Runtime in int8. Ready: the address is on stdout,
and /healthz says so. Memory is resident, of the whole process, once ready and again after a document of 512 tokens.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from bars import Bar, at_most, report
from endpoint_process import serving
from kilowit.serving.folder import export_folder
from kilowit.settings import RuntimeSettings
from runtimes import random_model

READY_SECOND, MEMORY_MIB = 2.0, 400
BYTE_PER_MIB = 1024**2
DOCUMENT = "The quick brown fox jumps over the lazy dog. " * 60


@dataclass(frozen=True)
class Start:
    """One start."""

    ready_second: float
    processor_second: float  # until ready: what the wall time would be with a core to itself
    ready_byte: int
    asked_byte: int
    has_torch: bool


def start_once(model: Path, store: Path) -> Start:
    """Start a server, ask it once, stop it."""
    with serving([str(model)], store, "--threads", "1") as served:
        assert requests.get(f"{served.url}/healthz", timeout=30).json() == {"ready": True}
        process = psutil.Process(served.process.pid)
        processor_second = sum(process.cpu_times()[:2])
        ready_byte = process.memory_info().rss
        answer = requests.post(f"{served.url}/v1/summarize", json={"text": DOCUMENT, "max_new_tokens": 64}, timeout=60)
        assert answer.ok, answer.text
        mapped = Path(f"/proc/{served.process.pid}/maps").read_text(encoding="utf-8")
        return Start(served.start_second, processor_second, ready_byte, process.memory_info().rss, "libtorch" in mapped)


def main() -> int:
    """Run, print, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--starts", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(asked.shared, "bart-base", Path(folder) / "model")
        target = Path(folder) / "bart-base-int8"
        export_folder(model, target, RuntimeSettings(name="onnxruntime", precision="int8"))
        starts = [start_once(target, Path(folder) / f"store-{number}") for number in range(asked.starts)]
    ready = sorted(start.ready_second for start in starts)
    num_with_torch = sum(start.has_torch for start in starts)
    return report(
        f"kilowit serve, bart-base int8, {len(starts)} starts",
        [
            at_most("ready, best", ready[0], READY_SECOND, "s", 2),
            Bar("ready, median and worst", f"{ready[len(ready) // 2]:.2f}, {ready[-1]:.2f} s", "", None),
            at_most("processor time until ready, worst", max(s.processor_second for s in starts), READY_SECOND, "s", 2),
            at_most("memory once ready", max(s.ready_byte for s in starts) / BYTE_PER_MIB, MEMORY_MIB, "MiB", 0),
            at_most("memory after a document", max(s.asked_byte for s in starts) / BYTE_PER_MIB, MEMORY_MIB, "MiB", 0),
            Bar("torch in the process", f"{num_with_torch} of {len(starts)}", "0", num_with_torch == 0),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
