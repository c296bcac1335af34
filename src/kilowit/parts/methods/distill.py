"""distill: train a copy of some of a model's layers in its place.

What it does   Copies layers of a teacher, evenly spread, into a student with fewer, and fine-tunes the student:
               shrink_and_finetune on the references alone; knowledge_distillation on the references, the teacher's
               distribution over words and its hidden states as well; pseudo_labels on the summaries that the teacher
               writes of the training documents, in place of the references.
               The teacher is the cell's model. From scratch it knows nothing, so it is first trained as the study says.
When to use    When many summaries will be written: decoding time goes with the number of decoder layers.
               shrink_and_finetune for copying summaries (CNN/DailyMail); pseudo_labels or knowledge_distillation for
               abstractive ones (XSum).
When not       When few summaries will be written: a teacher trained for this, and its summaries of the training
               documents, are on the bill of the phase compress, and only predicting pays it back.
Trade-off      predict.energy_total_joule x0.4-0.85 | predict.wall_second x0.4-0.85 | rouge2 -0.035..+0.005;
               compress has no counterpart in plain fine-tuning: read its joules beside the saving
Options        kind (shrink_and_finetune, knowledge_distillation or pseudo_labels)
               encoder_layers (all), decoder_layers (first, middle and last): a count, or the numbers of layers kept
               train_first (null): train the teacher in this cell; null = where its weights are random
               temperature (2), logits_weight (0.8), hidden_weight (3): of knowledge_distillation
               num_beams (null): of pseudo_labels; null = as the study predicts
Works with     all others; freeze (embeddings, encoder) is how the source trains its students.
               Conflicts with  compile, cuda_graph, ensemble, fused_loss, prune.
               Over several processes with ddp. Conflicts with  fsdp, zero, zero_offload, which keep weights in parts.
Source         Shleifer and Rush 2020, arXiv 2010.13002. BART-large to a 12-6, 12-3 or 12-1 student: 1.24 to 2.54 times
               faster, ROUGE-2 +0.27 to -3.54 points (model cards of sshleifer/distilbart-*).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from kilowit.errors import PartError
from kilowit.parts.method import Evidence, Expectation, TrainedRun, TrainingCallback, Workbench
from kilowit.parts.model import Dimensions
from kilowit.parts.shrink import Layers, choose_depth, keep_layers, num_layers_of
from kilowit.settings import Block, Count, NonNegative, Positive, Settings

CONFLICTS_WITH: Final = ("compile", "cuda_graph", "ensemble", "fsdp", "fused_loss", "prune", "zero", "zero_offload")
FAMILIES: Final = ("bart", "pegasus", "t5")
ENGINES: Final = ("trainer", "loop")
_CARDS: Final = "model cards of sshleifer/distilbart-{cnn,xsum}-*: 1.24 to 2.54 times faster than BART-large"
EXPECTS: Final = (
    Expectation("predict.energy_total_joule", 0.4, 0.85, source=f"{_CARDS}; energy taken as time"),
    Expectation("predict.wall_second", 0.4, 0.85, source=_CARDS),
    Expectation(
        "rouge2", -0.035, 0.005, kind="difference", source="the same cards: xsum-12-6 +0.27, xsum-12-1 -3.54 points"
    ),
)
NUM_DECODER_LAYERS: Final = 3  # first, middle, last
_OF_ONE_KIND: Final = {
    "temperature": "knowledge_distillation",
    "logits_weight": "knowledge_distillation",
    "hidden_weight": "knowledge_distillation",
    "num_beams": "pseudo_labels",
}


class Options(Block):
    """What the student keeps, and what it learns from."""

    kind: Literal["shrink_and_finetune", "knowledge_distillation", "pseudo_labels"] = "shrink_and_finetune"
    encoder_layers: Layers | None = Field(None, description="how many, or which; None = all")
    decoder_layers: Layers | None = Field(None, description="how many, or which; None = first, middle and last")
    train_first: bool | None = Field(None, description="train the teacher here; None = where its weights are random")
    temperature: Positive = Field(2.0, description="softens both distributions of knowledge_distillation")
    logits_weight: NonNegative = Field(0.8, description="weight of the divergence from the teacher's distribution")
    hidden_weight: NonNegative = Field(3.0, description="weight of the distance between hidden states")
    num_beams: Count | None = Field(None, description="beams of the teacher's pseudo_labels; None = as predicted")

    @model_validator(mode="after")
    def _mean_something(self) -> Self:
        for name, kind in _OF_ONE_KIND.items():
            if name in self.model_fields_set and self.kind != kind:
                raise ValueError(f"{name} is an option of {kind}, not of {self.kind}")
        return self


def on_size(dimensions: Dimensions, options: Options) -> Dimensions:
    """Return the student's sizes.

    Raises:
        PartError: it would be no smaller, or have layers that the teacher lacks.
    """
    encoder, decoder = kept_layers(dimensions.encoder_layers, dimensions.decoder_layers, options)
    return replace(dimensions, encoder_layers=len(encoder), decoder_layers=len(decoder))


def num_extra_trainings(options: Options, has_random_weights: bool) -> int:
    """Count the teacher's training."""
    return int(has_random_weights if options.train_first is None else options.train_first)


def writes_training_summaries(options: Options) -> bool:
    """Whether the teacher writes the targets."""
    return options.kind == "pseudo_labels"


def compress(model: Any, options: Options, facts: dict[str, Any], bench: Workbench) -> Any:
    """Train the teacher where it knows nothing yet, and return the student."""
    encoder, decoder = kept_layers(num_layers_of(model, "encoder"), num_layers_of(model, "decoder"), options)
    if num_extra_trainings(options, bench.has_random_weights):
        facts["teacher_validation_loss"] = bench.train(model)
    student = keep_layers(model, encoder, decoder)
    facts.update(
        encoder_layers_kept=encoder,
        decoder_layers_kept=decoder,
        num_parameters_before=num_parameters(model),
        num_parameters_after=num_parameters(student),
    )
    if options.kind == "pseudo_labels":
        _write_pseudo_labels(model, options, facts, bench)
    if options.kind == "knowledge_distillation":
        facts["callback"] = LearnFromTeacher(model, decoder, options, bench.settings)
    return student


def callbacks(options: Options, facts: dict[str, Any]) -> list[TrainingCallback]:
    """Learn from the teacher, where the kind asks for it."""
    return [facts["callback"]] if "callback" in facts else []


def applied(run: TrainedRun, options: Options) -> Evidence:
    """Show the layers and parameters that are left, and what was learned from the teacher."""
    numbers = {name: value for name, value in run.facts.items() if name != "callback"}
    layers = [num_layers_of(run.model, side) for side in ("encoder", "decoder")]
    numbers["model_byte_after"] = sum(p.nbytes for p in run.model.parameters())
    is_smaller = numbers["num_parameters_after"] < numbers["num_parameters_before"]
    is_student = layers == [len(numbers["encoder_layers_kept"]), len(numbers["decoder_layers_kept"])]
    has_learned = True
    if options.kind == "knowledge_distillation":
        numbers |= run.facts["callback"].numbers()
        has_learned = numbers["num_teacher_batches"] >= run.num_steps
    if options.kind == "pseudo_labels":
        has_learned = numbers["num_pseudo_labels"] > 0
    return Evidence(is_smaller and is_student and has_learned, numbers)


def kept_layers(num_encoder: int, num_decoder: int, options: Options) -> tuple[list[int], list[int]]:
    """Return the layers that a student copies from a teacher of this depth.

    Raises:
        PartError: all of them, or some that the teacher lacks.
    """
    wanted = min(NUM_DECODER_LAYERS, num_decoder) if options.decoder_layers is None else options.decoder_layers
    encoder, decoder = choose_depth((num_encoder, num_decoder), options.encoder_layers, wanted, "distill")
    if (len(encoder), len(decoder)) == (num_encoder, num_decoder):
        raise PartError(
            f'method "distill" keeps all {num_encoder} + {num_decoder} layers of this model',
            hint="Give a smaller decoder_layers or encoder_layers.",
        )
    return encoder, decoder


def supervising_layers(num_teacher: int, num_student: int) -> list[int]:
    """Return the teacher's layer whose output each layer of the student should reach: the last of its share.

    Source: arXiv 2010.13002, section 3: the layers of a student of 3 learn from layers 4, 8 and 12.

    >>> supervising_layers(12, 3)
    [3, 7, 11]
    """
    return [round((i + 1) * num_teacher / num_student) - 1 for i in range(num_student)]


def num_parameters(model: Any) -> int:
    """Count the parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


def _write_pseudo_labels(teacher: Any, options: Options, facts: dict[str, Any], bench: Workbench) -> None:
    """Put the teacher's summaries in the place of the references; where it writes nothing, the reference stays."""
    split = bench.data.train
    written = bench.summarize(teacher, split, options.num_beams)
    targets = [old if new is None else new for new, old in zip(written, split.target_tokens, strict=True)]
    num_equal = sum(new == old for new, old in zip(targets, split.target_tokens, strict=True))
    bench.data = replace(bench.data, train=replace(split, target_tokens=targets))
    facts.update(
        num_pseudo_labels=sum(new is not None for new in written),
        targets_unchanged_fraction=num_equal / len(targets),
        pseudo_label_tokens_mean=sum(map(len, targets)) / len(targets),
    )


class LearnFromTeacher(TrainingCallback):
    """Adds the distance from a teacher to the loss: 1 CE + 0.8 KL + 3 hidden, as in arXiv 2010.13002, section 3.

    Per target token: the Kullback-Leibler divergence of the student's distribution from the teacher's, both softened
    by the temperature, times its square; and the mean squared distance of hidden states of paired decoder layers,
    layer-normalized, as the families differ in scale, summed over the pairs.
    """

    def __init__(self, teacher: Any, decoder_layers: Sequence[int], options: Options, settings: Settings) -> None:
        self.teacher, self.options, self.precision = teacher.eval().requires_grad_(False), options, settings.precision
        num_teacher = num_layers_of(teacher, "decoder")
        self.pairs = list(enumerate(supervising_layers(num_teacher, len(decoder_layers))))
        self.hidden: dict[str, dict[int, Any]] = {"student": {}, "teacher": {}}
        self.handles: list[Any] = []
        self.num_batches = 0
        self.sums: dict[str, Any] = {"divergence": 0.0, "hidden_distance": 0.0}
        self.num_tokens: Any = 0

    def on_train_begin(self, model: Any) -> None:
        """Keep what the paired layers return, of both models."""
        for who, whole, side in (("student", model, 0), ("teacher", self.teacher, 1)):
            layers = decoder_layers_of(whole)
            for pair in self.pairs:
                hook = self._keeper(who, pair[side])
                self.handles.append(layers[pair[side]].register_forward_hook(hook))

    def _keeper(self, who: str, number: int) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            self.hidden[who][number] = output[0] if isinstance(output, tuple) else output

        return keep

    def on_loss(self, model: Any, inputs: Mapping[str, Any], outputs: Any, loss_sum: Any) -> Any:
        """Add both distances, summed over the target tokens of the batch."""
        import torch

        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        is_mixed = self.precision in ("bf16", "fp16")
        with torch.no_grad(), torch.autocast(loss_sum.device.type, dtype=dtype, enabled=is_mixed):
            given = {name: value for name, value in inputs.items() if name != "labels"}
            teacher_logits_BTV = _logits_of(self.teacher, given, model)
        real_BT = inputs["labels"] >= 0
        divergence = divergence_sum(outputs.logits[real_BT], teacher_logits_BTV[real_BT], self.options.temperature)
        distance = loss_sum.new_zeros(())
        for own, other in self.pairs:
            student_ND, teacher_ND = self.hidden["student"][own][real_BT], self.hidden["teacher"][other][real_BT]
            distance = distance + distance_sum(student_ND, teacher_ND)
        self.hidden = {"student": {}, "teacher": {}}
        self.num_batches += 1
        self.num_tokens = self.num_tokens + real_BT.sum()
        self.sums["divergence"] = self.sums["divergence"] + divergence.detach()
        self.sums["hidden_distance"] = self.sums["hidden_distance"] + distance.detach()
        return loss_sum + self.options.logits_weight * divergence + self.options.hidden_weight * distance

    def on_train_end(self, model: Any) -> None:
        """Let go of the teacher: it is not needed to predict."""
        for handle in self.handles:
            handle.remove()
        self.hidden, self.teacher = {"student": {}, "teacher": {}}, None

    def numbers(self) -> dict[str, float]:
        """Return the means per target token over all of training, warm-up included."""
        means = {f"{name}_mean": float(total) / max(1, int(self.num_tokens)) for name, total in self.sums.items()}
        return {"num_teacher_batches": self.num_batches, "num_hidden_pairs": len(self.pairs), **means}


def _logits_of(teacher: Any, inputs: dict[str, Any], student: Any) -> Any:
    """Return the teacher's logits of a batch, padded, or packed and read with the student's attention."""
    if "source_bounds" not in inputs:
        return teacher(**inputs, use_cache=False).logits
    from kilowit.parts.packed import packed_rows, place_positions

    with packed_rows(teacher, student.config._attn_implementation):
        return teacher(**place_positions(teacher, inputs), use_cache=False).logits


def decoder_layers_of(model: Any) -> Any:
    """Return the list of decoder layers."""
    decoder = model.get_decoder()
    return decoder.layers if hasattr(decoder, "layers") else decoder.block


def divergence_sum(student_logits_NV: Any, teacher_logits_NV: Any, temperature: float) -> Any:
    """Return the summed KL divergence of softened distributions, times the square of the temperature; 0-d.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2: gradients of soft targets scale with 1 / temperature².
    """
    from torch.nn.functional import kl_div, log_softmax, softmax

    student_NV = log_softmax(student_logits_NV.float() / temperature, dim=-1)
    teacher_NV = softmax(teacher_logits_NV.float() / temperature, dim=-1)
    return kl_div(student_NV, teacher_NV, reduction="sum") * temperature**2


def distance_sum(student_ND: Any, teacher_ND: Any) -> Any:
    """Return the summed mean squared distance of layer-normalized states; 0-d."""
    from torch.nn.functional import layer_norm

    width = student_ND.shape[-1:]
    return (layer_norm(student_ND.float(), width) - layer_norm(teacher_ND.float(), width)).square().mean(dim=-1).sum()
