"""Window attention beside torch's dense attention: time and peak memory of a training pass over source lengths.

    python benchmarks/sparse_attention.py [--lengths 512 1024 2048 4096] [--window 128] [--device cuda] [--json FILE]

Each point is a process of its own: a BART (or T5) of two encoder layers, forward and backward pass, one example. Peak
memory is the allocator's on CUDA and the growth of the resident set on a CPU; time is the least of the passes after the
first, by the clock and (which other programs disturb less) of this process's CPU. `dense` is what transformers does by
itself (SDPA); `window` is the method sparse_attention.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ATTENTIONS = ("dense", "window")
WIDTH, HEADS = 256, 4


def build(family: str, length: int) -> Any:
    """Return a model of two encoder layers and one decoder layer with `length` positions."""
    import transformers as hf

    if family == "t5":
        return hf.T5ForConditionalGeneration(
            hf.T5Config(vocab_size=128, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=4 * WIDTH, num_layers=2,
                        num_decoder_layers=1, num_heads=HEADS, decoder_start_token_id=0)
        )  # fmt: skip
    sizes = {f"{side}_{what}": number for side, layers in (("encoder", 2), ("decoder", 1))
             for what, number in (("layers", layers), ("attention_heads", HEADS), ("ffn_dim", 4 * WIDTH))}  # fmt: skip
    config = hf.BartConfig(vocab_size=128, d_model=WIDTH, max_position_embeddings=length, pad_token_id=1, **sizes)
    return hf.BartForConditionalGeneration(config)


def measure(family: str, attention: str, length: int, window: int, device: str, passes: int) -> dict[str, Any]:
    """Run some training passes in this process and return their time and memory."""
    import torch

    from kilowit.parts.window_attention import Window, use_window

    torch.manual_seed(0)
    model = build(family, length).to(device)
    seen = Window(window, 1)
    if attention == "window":
        use_window(model, seen)
    ids, labels = (torch.randint(3, 128, (1, size), device=device) for size in (length, 16))
    start_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, cpu_seconds = [], []
    for _ in range(passes):
        began, cpu_began = time.perf_counter(), time.process_time()
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - cpu_began)
    grown_byte = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kib) * 1024
    return {
        "family": family,
        "attention": attention,
        "length": length,
        "pass_second": min(seconds[1:]),
        "pass_cpu_second": min(cpu_seconds[1:]),
        "memory_byte": torch.cuda.max_memory_allocated() if device == "cuda" else grown_byte,
        "mask_density": seen.num_pairs / seen.num_dense_pairs if seen.num_dense_pairs else 1.0,
    }


def main() -> int:
    """Run every point in a process of its own, the two attentions in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--families", nargs="+", default=["bart", "t5"])
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--point", nargs=3, metavar=("FAMILY", "ATTENTION", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        family, attention, length = options.point
        point = measure(family, attention, int(length), options.window, options.device, options.passes)
        sys.stdout.write(json.dumps(point) + "\n")
        return 0
    common = ["--window", str(options.window), "--device", options.device, "--passes", str(options.passes)]
    points = []
    for family in options.families:
        for length in options.lengths:
            for attention in ATTENTIONS:
                command = [sys.executable, __file__, *common, "--point", family, attention, str(length)]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
                points.append(json.loads(done.stdout.splitlines()[-1]))
                show(points[-1])
    if options.json:
        options.json.write_text(json.dumps(points, indent=1), encoding="utf-8")
    return 0


def show(point: dict[str, Any]) -> None:
    """Print one line of the table."""
    sys.stdout.write(
        f"{point['family']:5} {point['length']:6} {point['attention']:7} {point['pass_second'] * 1e3:9.1f} ms "
        f"{point['pass_cpu_second'] * 1e3:9.1f} ms CPU "
        f"{point['memory_byte'] / 1e6:9.1f} MB  mask density {point['mask_density']:.3f}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
