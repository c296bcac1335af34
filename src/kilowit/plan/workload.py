"""How much work a cell is: examples, tokens, steps, FLOPs, bytes; before anything is loaded.

Sizes of a dataset come from the files themselves where they lie here, else from published counts, and are cut by the
study's ``max_*_examples``. What nobody published is a wide interval, and the plan says so.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from kilowit import factors, parts
from kilowit.cell import Cell
from kilowit.parts.catalogue import ModelSize, cautions, generation_defaults, hub_id, resolve_dimensions
from kilowit.parts.dataset import Corpus, Split
from kilowit.parts.flop import TRAIN_PER_FORWARD, forward_flop, generate_flop, layer_parameters
from kilowit.parts.method import plan_settings, plan_size
from kilowit.plan.interval import Interval
from kilowit.plan.scoring import score_second_per_pair
from kilowit.settings import Settings

# Datasets that are read from this machine's own files, without the network: the plan reads them too.
LOCAL_DATASETS: Final = ("local_files", "docstrings")
# Words to tokens of a 32 k to 50 k BPE: 1.13 (XSum) to 1.56 (SAMSum), datasets.csv; small vocabularies need more.
TOKENS_PER_WORD: Final = Interval(1.1, 1.4, 2.2)
# Padded over real tokens in batches of random order: 2.69 at 16 examples a batch, 3.55 at 128, SAMSum-like lengths;
# 1.11 to 1.21 sorted (simulated, research of 2026-11, section 4.1). Texts of even length pad little.
PADDING_RANDOM: Final = Interval(1.1, 2.2, 3.6)
PADDING_SORTED: Final = Interval(1.02, 1.2, 1.5)
PADDING_BUDGET: Final = Interval(1.0, 1.03, 1.053)  # the method token_budget ends a batch that pads more than 5 %
UNKNOWN_EXAMPLES: Final = Interval(1_000, 20_000, 300_000)  # the public datasets of datasets.csv span 12 k to 3.8 M


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a cell has to do. Token means are per example, cut at the maxima, without padding."""

    size: ModelSize | None  # None: a baseline, or a hub model that nobody here knows; as the methods changed it
    whole_size: ModelSize | None  # before the methods changed it
    num_extra_trainings: int  # of the whole model, on the bill of compress
    writes_training_summaries: bool  # with the whole model, likewise
    num_members: int  # models that are trained alike and generate together
    settings: Settings  # as the methods changed them
    num_train_examples: Interval
    num_validation_examples: Interval
    num_test_examples: Interval
    source_tokens: Interval
    target_tokens: Interval
    new_tokens: Interval  # decoding steps of a batch
    num_beams: int
    predict_batch_size: int
    trained_fraction: float  # share of the parameters that have a gradient
    padding: Interval  # padded over real tokens
    is_packed: bool  # a batch is one row, without padding
    max_batch_tokens: int | None  # positions of a training batch, where they decide and not the number of examples
    is_compiled: bool  # on the bill of the warm-up
    recomputes: bool  # layers keep their input alone, and run again in the backward pass
    is_baseline: bool
    baseline: str
    downloads: bool  # the model comes from the hub
    score_second_per_pair: Interval  # of the metrics whose cost is known
    notes: tuple[str, ...]

    @property
    def precision(self) -> str:
        """fp32, tf32, fp16 or bf16."""
        return str(self.settings.precision)

    @property
    def num_ranks(self) -> int:
        """Processes that share training out; one GPU each."""
        return self.settings.ranks.num_processes

    @property
    def num_train_steps(self) -> Interval:
        """Optimizer steps."""
        train = self.settings.train
        if not self.settings.trains:
            return Interval.exactly(0.0)
        if train.num_steps is not None:
            return Interval.exactly(float(train.num_steps))
        per_step = self.num_examples_per_batch * train.gradient_accumulation_steps
        n = self.num_train_examples
        pairs = ((n.low, per_step.high), (n.likely, per_step.likely), (n.high, per_step.low))
        ends = [math.ceil(math.ceil(examples / size) * train.num_epochs) for examples, size in pairs]
        return Interval(*(float(max(1, end)) for end in ends))

    @property
    def num_examples_per_batch(self) -> Interval:
        """Examples per forward pass of training; as many as fit, where tokens decide."""
        if self.max_batch_tokens is None:
            return Interval.exactly(float(self.settings.train.batch_size))
        return (Interval.exactly(float(self.max_batch_tokens)) / self.tokens_per_example).at_least(1.0)

    @property
    def tokens_per_example(self) -> Interval:
        """Positions of an example in a training batch, source and target, padding included."""
        train = self.settings.train
        source = self.padded(self.source_tokens, train.max_source_tokens)
        return source + self.padded(self.target_tokens, train.max_target_tokens)

    @property
    def num_forward_batches(self) -> Interval:
        """Forward and backward passes of training."""
        return self.num_train_steps * self.settings.train.gradient_accumulation_steps

    @property
    def num_examples_seen(self) -> Interval:
        """Examples that training sees, repeats counted."""
        train = self.settings.train
        if not self.settings.trains:
            return Interval.exactly(0.0)
        if train.num_steps is not None:
            return self.num_examples_per_batch * (train.num_steps * train.gradient_accumulation_steps)
        return self.num_train_examples * train.num_epochs

    @property
    def num_validation_examples_seen(self) -> Interval:
        """Examples that all validations together see."""
        return self.num_validation_examples * (self.settings.train.num_validations if self.settings.trains else 0)

    def padded(self, tokens: Interval, maximum: int) -> Interval:
        """Return tokens per example as fed, padding included."""
        return (tokens * self.padding).at_most(float(maximum))

    def forward_flop(self) -> Interval:
        """Return FLOPs of one example's forward pass as fed."""
        assert self.size is not None
        train, d = self.settings.train, self.size.dimensions
        source = self.padded(self.source_tokens, train.max_source_tokens)
        target = self.padded(self.target_tokens, train.max_target_tokens)
        return Interval(
            forward_flop(d, source.low, target.low),
            forward_flop(d, source.likely, target.likely),
            forward_flop(d, source.high, target.high),
        )

    def train_flop(self) -> Interval:
        """Return FLOPs of all training steps; frozen parameters save their part of the backward pass."""
        backward = (TRAIN_PER_FORWARD - 1) * (1 + self.trained_fraction) / 2 + (1 if self.recomputes else 0)
        return self.forward_flop() * self.num_examples_seen * (1 + backward)

    def predict_flop(self) -> Interval:
        """Return FLOPs of generating all summaries; batches are sorted by length and pad little."""
        assert self.size is not None
        d, beams = self.size.dimensions, self.num_beams
        source, new, n = self.source_tokens, self.new_tokens, self.num_test_examples
        return Interval(
            n.low * generate_flop(d, source.low, new.low, beams),
            n.likely * generate_flop(d, source.likely, new.likely, beams),
            n.high * generate_flop(d, source.high, new.high, beams),
        )


@dataclass(frozen=True)
class DatasetSize:
    """Examples per split and mean tokens per example, before any maximum of the study."""

    train: Interval
    validation: Interval
    test: Interval
    source_tokens: Interval | None
    target_tokens: Interval | None


def workload(cell: Cell) -> Workload:
    """Return the work of one cell.

    Raises:
        PartError: a method that does not work with the model, or a local dataset that cannot be read.
    """
    whole_size = None if cell.is_baseline else resolve_dimensions(cell.model)
    size = _changed_size(whole_size, cell)
    family = size.family if size else None
    settings = plan_settings(cell.settings, cell.methods, family.name if family else None)
    data = dataset_size(json.dumps(cell.dataset, sort_keys=True))
    train, predict = settings.train, settings.predict
    source = _cut(data.source_tokens, train.max_source_tokens)
    target = _cut(data.target_tokens, train.max_target_tokens)
    defaults = generation_defaults(family, cell.dataset["name"]) if family else None
    longest = predict.max_new_tokens or (defaults.max_new_tokens if defaults else train.max_target_tokens)
    notes = [] if data.source_tokens else [f"lengths of {cell.dataset['name']} are not known: wide intervals"]
    if size is not None:
        notes += cautions(size.family, size.dimensions, train.max_source_tokens)
    if size is None and not cell.is_baseline:
        notes.append("size of the model is not known here: no estimate of its time, try --probe")
    return Workload(
        size=size,
        whole_size=whole_size,
        num_extra_trainings=_num_extra_trainings(cell),
        writes_training_summaries=any(_ask(cell, "writes_training_summaries")),
        num_members=max([1, *_ask(cell, "num_members")]),
        settings=settings,
        num_train_examples=_kept_examples(cell, data.train),
        num_validation_examples=data.validation,
        num_test_examples=data.test,
        source_tokens=source,
        target_tokens=target,
        new_tokens=_decoding_steps(target, longest),
        num_beams=predict.num_beams or (defaults.num_beams if defaults else 1),
        predict_batch_size=predict.batch_size or 2 * train.batch_size,
        trained_fraction=_trained_fraction(cell, size),
        padding=_padding(cell),
        is_packed=any(call.name == "packing" for call in cell.methods),
        max_batch_tokens=_max_batch_tokens(cell),
        is_compiled=any(call.name == "compile" for call in cell.methods),
        recomputes=any(call.name == "gradient_checkpointing" for call in cell.methods),
        is_baseline=cell.is_baseline,
        baseline=str(cell.model.get("baseline", "")),
        downloads=hub_id(cell.model) is not None,
        score_second_per_pair=score_second_per_pair(cell.metric_calls),
        notes=tuple(notes),
    )


def _changed_size(size: ModelSize | None, cell: Cell) -> ModelSize | None:
    """Return the size of the model that the methods leave to train."""
    if size is None:
        return None
    changed = plan_size(size.dimensions, cell.methods)
    num_removed = layer_parameters(size.dimensions) - layer_parameters(changed)
    return size._replace(dimensions=changed, num_parameters=size.num_parameters - num_removed)


def _ask(cell: Cell, question: str) -> list[Any]:
    """Return what each method that defines `question` answers, given its options."""
    return [getattr(c.module, question)(c.parsed_options) for c in cell.methods if hasattr(c.module, question)]


def _num_extra_trainings(cell: Cell) -> int:
    is_random = "scratch" in cell.model or cell.model.get("weights") == "random"
    calls = [call for call in cell.methods if hasattr(call.module, "num_extra_trainings")]
    return sum(call.module.num_extra_trainings(call.parsed_options, is_random) for call in calls)


@cache
def dataset_size(spec_json: str) -> DatasetSize:
    """Return the size of a canonical dataset spec (as JSON): read here, published, or unknown.

    Raises:
        PartError: a local dataset that cannot be read.
    """
    spec: dict[str, Any] = json.loads(spec_json)
    if spec["name"] in LOCAL_DATASETS:
        return _read_here(spec)
    return _published(spec)


def _read_here(spec: dict[str, Any]) -> DatasetSize:
    module = parts.load("datasets", spec["name"])
    corpus: Corpus = module.load(module.Options.model_validate({k: v for k, v in spec.items() if k != "name"}))
    source = _mean_words(corpus.train, of_source=True)
    target = _mean_words(corpus.train, of_source=False)
    return DatasetSize(
        train=Interval.exactly(float(len(corpus.train))),
        validation=Interval.exactly(float(len(corpus.validation))),
        test=Interval.exactly(float(len(corpus.test))),
        source_tokens=source * TOKENS_PER_WORD,
        target_tokens=target * TOKENS_PER_WORD,
    )


def _mean_words(split: Split, *, of_source: bool, num_sampled: int = 500) -> float:
    texts = split.documents if of_source else split.summaries
    step = max(1, len(texts) // num_sampled)
    sample = [len(texts[i].split()) for i in range(0, len(texts), step)]
    return sum(sample) / len(sample)


def _published(spec: dict[str, Any]) -> DatasetSize:
    known = factors.dataset(spec["name"])

    def examples(split: str) -> Interval:
        published = getattr(known, f"num_{split}_examples", None)
        count = UNKNOWN_EXAMPLES if published is None else Interval.exactly(float(published))
        if published is None and split != "train":
            count = count / 20.0  # held-out splits of datasets.csv are 3 % to 12 % of the training split
        limit = spec.get(f"max_{split}_examples")
        if limit is None:
            return count
        return count.at_most(limit) if published is not None else Interval.exactly(float(limit))

    def tokens(mean: float | None) -> Interval | None:
        return None if mean is None else Interval.exactly(mean).widened(1.25)  # another tokenizer, another count

    return DatasetSize(
        examples("train"),
        examples("validation"),
        examples("test"),
        tokens(known.source_tokens_mean if known else None),
        tokens(known.target_tokens_mean if known else None),
    )


def _cut(tokens: Interval | None, maximum: int) -> Interval:
    """Cut mean tokens at a maximum; unknown lengths may be anything up to it."""
    if tokens is None:
        return Interval(maximum / 10, maximum / 2, float(maximum))
    return tokens.at_most(float(maximum))


def _decoding_steps(target: Interval, longest: int) -> Interval:
    """Return the steps of a batch: it runs until its longest summary ends, at most `longest`."""
    likely = min(float(longest), (target.likely + longest) / 2)
    return Interval(min(target.low, likely), likely, float(longest))


def _kept_examples(cell: Cell, whole: Interval) -> Interval:
    """Return the training examples that the method low_resource leaves."""
    for call in cell.methods:
        if call.name == "low_resource":
            num_kept = call.parsed_options.num_kept  # type: ignore[attr-defined]
            return Interval(*(float(min(num_kept(int(n)), n)) for n in (whole.low, whole.likely, whole.high)))
    return whole


def _padding(cell: Cell) -> Interval:
    """Return padded over real tokens, as the methods that make the batches leave it."""
    known = {"packing": Interval.exactly(1.0), "token_budget": PADDING_BUDGET, "sortish": PADDING_SORTED}
    return next((known[call.name] for call in cell.methods if call.name in known), PADDING_RANDOM)


def _max_batch_tokens(cell: Cell) -> int | None:
    """Return the positions that the method token_budget allows a batch."""
    budgets = (call.parsed_options for call in cell.methods if call.name == "token_budget")
    return next((int(options.max_tokens) for options in budgets), None)  # type: ignore[attr-defined]


def _trained_fraction(cell: Cell, size: ModelSize | None) -> float:
    """Return the share of parameters that have a gradient: all, less what freeze and lora leave out."""
    for call in cell.methods:
        if call.name == "lora" and size is not None:
            d, r = size.dimensions, call.parsed_options.r  # type: ignore[attr-defined]
            # Query and value of every attention; other choices of modules are of the same order.
            num_attentions = d.encoder_layers + (0 if d.is_one_stack else 2 * d.decoder_layers)
            width = d.d_model + (d.d_attention + d.key_value_width) / 2
            return min(1.0, float(2 * num_attentions * r * width / size.num_parameters))
    frozen = {name for call in cell.methods if call.name == "freeze" for name in call.options.get("modules", ())}
    if size is None or not frozen:
        return 1.0
    d = size.dimensions
    encoder, decoder = layer_parameters(replace(d, decoder_layers=0)), layer_parameters(replace(d, encoder_layers=0))
    counts = {"encoder": encoder, "decoder": decoder, "embeddings": d.vocabulary_size * d.d_model}
    taken = sum(count for name, count in counts.items() if name in frozen)
    return max(0.0, 1 - taken / size.num_parameters)
