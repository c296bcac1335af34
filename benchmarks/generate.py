"""torch_fast beside transformers' generate: the same documents, settings and weights in one run.

    python benchmarks/generate.py                                 # CPU: bart-base, fp32, greedy and beam 4
    python benchmarks/generate.py --device cuda --size bart-large --precision fp16 --json FILE

Random weights of a named size, made on the device; summaries are forced to --new-tokens, so that both do the same work.
Real documents (SAMSum's test split as `make gpu-data` or ../shared leaves it), tokenized by BART's own tokenizer. Every
line is printed as it is measured: seconds and CPU seconds by the clock, joules of the GPU by kilowit's meter. The first
call of each contender (kernels, graphs) has a line of its own, `cold`. On CUDA, 100 documents are first written in fp32
by stock, by torch_fast in one batch and by torch_fast with CUDA graphs: their tokens must be the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from bars import Bar, report
from kilowit.meter import Meter
from kilowit.parts.fast_generate import FastGenerator
from kilowit.parts.model import LoadedModel
from kilowit.parts.runtime import GenerateOptions, TokenGenerator
from kilowit.parts.stock_generate import StockGenerator
from kilowit.parts.torch_folder import DTYPES

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PLACES: Final = ((REPOSITORY / "studies" / "data", "samsum"), (REPOSITORY.parent / "shared" / "data", "corpora/samsum"))
BAR_PER_SECOND, BAR_JOULE, BAR_LATENCY = 1000.0, 0.5, 0.25
NUM_CHECKED: Final = 100
NUM_TOKENS: Final = 50265  # of BART's tokenizer
DEVICES: Final = {
    "cpu": {"documents": 32, "alone": 4, "rounds": 3},
    "cuda": {"documents": 819, "alone": 20, "rounds": 5},
}

Sources = Sequence[Sequence[int]]


def read_sources(number: int, max_tokens: int) -> list[list[int]]:
    """Return the first documents of SAMSum's test split as BART's tokens."""
    from transformers import AutoTokenizer

    folder, corpus = next((place, name) for place, name in PLACES if (place / name / "test.jsonl").is_file())
    lines = (folder / corpus / "test.jsonl").read_text(encoding="utf-8").splitlines()[:number]
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizers" / "bart")
    return list(
        tokenizer([json.loads(line)["document"] for line in lines], truncation=True, max_length=max_tokens).input_ids
    )


def build(size: str, precision: str, device: str) -> LoadedModel:
    """Return a BART or PEGASUS of a named size with random weights, drawn on the device: a CPU takes half a minute."""
    from transformers import AutoModelForSeq2SeqLM

    from kilowit.parts.catalogue import scratch_family

    family = scratch_family(size)
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    config = family.build_config({**family.sizes[size], "vocab_size": NUM_TOKENS, **ids}, 1024)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForSeq2SeqLM.from_config(config, dtype=DTYPES[precision])
    return LoadedModel(model.eval(), None, family, f"scratch:{size}", size)


class Contest:
    """Measures contenders one after the other and keeps their lines."""

    def __init__(self, device: str, new_tokens: int) -> None:
        self.device, self.new_tokens = device, new_tokens
        self.synchronize: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else lambda: None
        self.lines: list[dict[str, Any]] = []

    def options(self, num_beams: int, batch_size: int) -> GenerateOptions:
        """Return settings that force the number of tokens."""
        return GenerateOptions(num_beams, self.new_tokens, min_new_tokens=self.new_tokens, batch_size=batch_size)

    def measure(self, name: str, run: Callable[[], object], num_summaries: int) -> dict[str, Any]:
        """Run once under the meter; print and return what one summary took."""
        meter = Meter(synchronize=self.synchronize, period_second=0.2)
        cpu_began = time.process_time()
        with meter, meter.phase("generate"):
            run()
        figures, cpu_second = meter.stop().phase("generate"), time.process_time() - cpu_began
        assert figures is not None
        joule = figures.energy_gpu_joule
        line: dict[str, Any] = {
            "name": name,
            "num_summaries": num_summaries,
            "summaries_per_second": num_summaries / figures.wall_second,
            "second_per_summary": figures.wall_second / num_summaries,
            "cpu_second_per_summary": cpu_second / num_summaries,
            "gpu_joule_per_summary": None if joule is None else joule / num_summaries,
            "gpu_source": figures.energy_gpu_source,
        }
        self.lines.append(line)
        energy = "" if joule is None else f"  {line['gpu_joule_per_summary']:8.3f} J GPU ({figures.energy_gpu_source})"
        print(
            f"{name:<44} {line['summaries_per_second']:9.2f} /s  {line['second_per_summary'] * 1e3:9.1f} ms"
            f"  {line['cpu_second_per_summary'] * 1e3:9.1f} ms CPU{energy}",
            flush=True,
        )
        return line

    def contend(
        self, name: str, generator: TokenGenerator, sources: Sources, options: GenerateOptions, rounds: int
    ) -> dict[str, Any]:
        """Measure the first call, then `rounds` calls as one; one document at a time if the batch size is 1."""
        self.measure(f"{name}, cold", lambda: generator.generate(sources, options), len(sources))
        return self.measure(
            name, lambda: [generator.generate(sources, options) for _ in range(rounds)], rounds * len(sources)
        )


def check_tokens(size: str, sources: Sources, device: str, new_tokens: int) -> Bar:
    """Return whether torch_fast, with graphs and without, writes stock's tokens in fp32."""
    loaded = build(size, "fp32", device)
    with torch.no_grad():  # peaked enough that no two tokens tie
        for parameter in loaded.model.parameters():
            parameter.mul_(2.0 if parameter.dim() > 1 else 1.0)
    options = GenerateOptions(4, new_tokens, batch_size=20)
    all_at_once = GenerateOptions(4, new_tokens, batch_size=len(sources))
    expected = StockGenerator(loaded).generate(sources, options)
    fast = FastGenerator(loaded)
    same = [
        sum(a == b for a, b in zip(expected, fast.generate(sources, asked), strict=True))
        for asked in (options, all_at_once)
    ]
    del fast, loaded
    if device == "cuda":
        torch.cuda.empty_cache()
    measured = f"{same[0]}, {same[1]} of {len(sources)}"
    return Bar("same tokens as stock in fp32: 20 a batch, all", measured, f"{len(sources)}", min(same) == len(sources))


def on_gpu(contest: Contest, loaded: LoadedModel, sources: Sources, alone: int, rounds: int) -> list[Bar]:
    """Compare batches and single documents on a GPU; beam 4."""
    stock, fast = StockGenerator(loaded), FastGenerator(loaded)
    everything = len(sources)
    best = contest.contend("torch_fast, all", fast, sources, contest.options(4, everything), rounds)
    contest.measure("torch_fast, batch 128", lambda: fast.generate(sources, contest.options(4, 128)), everything)
    picked = [sources[i] for i in range(0, everything, max(1, everything // alone))][:alone]
    single = contest.contend("torch_fast, one at a time", fast, picked, contest.options(4, 1), rounds)
    stock.generate(sources[:2], contest.options(4, 2))  # kernels are loaded: stock is measured warm alone
    slow = contest.measure("stock, one at a time", lambda: stock.generate(picked, contest.options(4, 1)), alone)
    wide = contest.measure("stock, batch 128", lambda: stock.generate(sources, contest.options(4, 128)), everything)
    contest.measure("stock, batch 16", lambda: stock.generate(sources, contest.options(4, 16)), everything)
    return [
        at_least("summaries a second, all", best["summaries_per_second"], BAR_PER_SECOND),
        at_most_ratio("joules a summary, all", best["gpu_joule_per_summary"], 1.0, BAR_JOULE),
        at_most_ratio("latency beside stock", single["second_per_summary"], slow["second_per_summary"], BAR_LATENCY),
        at_most_ratio(
            "joules beside stock, alone", single["gpu_joule_per_summary"], slow["gpu_joule_per_summary"], BAR_LATENCY
        ),
        at_most_ratio("time beside stock, batch 128", best["second_per_summary"], wide["second_per_summary"], None),
    ]


def on_cpu(contest: Contest, loaded: LoadedModel, sources: Sources, alone: int, rounds: int) -> list[Bar]:
    """Compare CPU seconds, contenders by turns and the least of the rounds: other programs disturb these less."""
    contenders: dict[str, TokenGenerator] = {"stock": StockGenerator(loaded), "torch_fast": FastGenerator(loaded)}
    bars = []
    for num_beams in (1, 4):
        for batch_size, documents in ((16, sources), (1, sources[:alone])):
            options, least = contest.options(num_beams, batch_size), dict.fromkeys(contenders, float("inf"))
            for _ in range(rounds):
                for name, generator in contenders.items():
                    title = f"{name}, beams {num_beams}, batch {batch_size}"
                    line = contest.measure(title, partial(generator.generate, documents, options), len(documents))
                    least[name] = min(least[name], line["cpu_second_per_summary"])
            what = f"CPU seconds beside stock, beams {num_beams}, batch {batch_size}"
            bars.append(at_most_ratio(what, least["torch_fast"], least["stock"], None))
    return bars


def at_least(what: str, value: float, limit: float) -> Bar:
    """Return a bar that a value must reach."""
    return Bar(what, f"{value:.1f}", f">= {limit:g}", value >= limit)


def at_most_ratio(what: str, value: float | None, beside: float | None, limit: float | None) -> Bar:
    """Return a bar on the ratio of two values; unknown where one is not measured."""
    if value is None or beside is None:
        return Bar(what, "not measured", f"<= {limit:g}" if limit else "", None)
    is_met = None if limit is None else value / beside <= limit
    return Bar(what, f"x{value / beside:.3f}", "" if limit is None else f"<= {limit:g}", is_met)


def main() -> int:
    """Measure and report; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--size", default="bart-base")
    parser.add_argument("--precision", choices=DTYPES, default="fp32")
    parser.add_argument("--new-tokens", type=int, default=30)
    parser.add_argument("--max-source-tokens", type=int, default=512)
    parser.add_argument("--documents", type=int, help="how many; default: 32 on a CPU, all 819 on a GPU")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    numbers = DEVICES[given.device]
    began = time.perf_counter()
    sources = read_sources(given.documents or numbers["documents"], given.max_source_tokens)
    contest = Contest(given.device, given.new_tokens)
    bars = []
    if given.device == "cuda":
        bars.append(check_tokens(given.size, sources[:NUM_CHECKED], given.device, given.new_tokens))
        print(f"{bars[0].what}: {bars[0].measured}", flush=True)
    loaded = build(given.size, given.precision, given.device)
    mean = sum(map(len, sources)) / len(sources)
    what = f"{given.size} {given.precision}, {len(sources)} documents of {mean:.0f} tokens"
    print(f"{what}, {given.new_tokens} new tokens, torch {torch.__version__}, {given.device}; ready after "
          f"{time.perf_counter() - began:.1f} s", flush=True)  # fmt: skip
    bars += (on_gpu if given.device == "cuda" else on_cpu)(
        contest, loaded, sources, numbers["alone"], numbers["rounds"]
    )
    if given.json:
        given.json.write_text(json.dumps({"what": what, "lines": contest.lines}, indent=1), encoding="utf-8")
    return report(f"torch_fast beside stock: {what}", bars)


if __name__ == "__main__":
    sys.exit(main())
