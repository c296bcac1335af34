"""The short engine: our own loop, for what the stock trainer cannot do.

It takes packed rows, batches of unequal size and bf16 weights, and knows where a step's time goes. Loss, schedule,
clipping, order, seeds, validation and the moments of the methods are the trainer's: on the same batches the losses of
the two engines agree. Read `train` first: it is the whole life.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import get_scheduler
from transformers.trainer_pt_utils import get_parameter_names

from kilowit.errors import PlanError
from kilowit.parts.flop import TRAIN_PER_FORWARD
from kilowit.parts.lean_linear import lean_linears
from kilowit.parts.packed import IMPLEMENTATIONS, PackedCollator, implementation_for, packed_rows, place_positions
from kilowit.parts.residual_norm import fused_residuals, residual_layers
from kilowit.parts.tokenized import TokenizedSplit
from kilowit.run.batches import Collator
from kilowit.run.engines.cuda_graphs import RecordedPasses, Recorder
from kilowit.run.engines.job import TrainCounts, TrainJob, TrainResult, book, validation_steps
from kilowit.run.engines.loss import chunked_loss_sum, token_loss_sum, validation_loss
from kilowit.run.engines.master_weights import MasterWeights
from kilowit.run.engines.step_clock import StepClock
from kilowit.run.engines.warmup import note_flop, restored, same_randomness, warmup_batches
from kilowit.run.engines.watch import NUM_LOGS, LossLog, Progress, require_finite
from kilowit.run.engines.weight_rows import WeightRows
from kilowit.run.flop_counter import count_step
from kilowit.run.generate import autocast

# As the trainer: no weight decay on biases and norms.
NO_DECAY: Final = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


def train(job: TrainJob) -> TrainResult:
    """Fine-tune `job.model` in place: phases warmup and train, with validate nested in train.

    Raises:
        CellFailure: the loss is not finite (kind ``divergence``).
        PlanError: a setting that this engine does not have.
    """
    with reading_rows(job):
        with job.phase("warmup") as phase:
            loop = Loop(job)
            loop.rehearse(phase)
        with job.phase("train") as phase:
            try:
                loop.run()
            finally:  # a run that is ended has trained all the same
                book(phase, loop.counts, loop.flop_per_forward, loop.log.losses)
                job.note("step_parts", "seconds of the parts of the steps", **loop.clock.seconds())
    job.model.zero_grad(set_to_none=True)
    return TrainResult(job.model, loop.optimizer, loop.counts)


def reading_rows(job: TrainJob) -> AbstractContextManager[None]:
    """Return the context in which the model reads the job's batches, packed or not.

    Raises:
        PlanError: the attention does not compute in the job's precision.
    """
    if not job.data.is_packed:
        return nullcontext()
    implementation = implementation_for(job.model, job.data.packed_attention)
    in_single = job.settings.weights == "fp32" and job.settings.precision in ("fp32", "tf32")
    if job.device.type == "cuda" and in_single and implementation == IMPLEMENTATIONS["fused"]:
        raise PlanError(
            f"the fused attention of packed rows computes in half precision on CUDA, not in {job.settings.precision}",
            hint="Add bf16 or bf16_weights to the recipe, or {packing: {attention: padded}}.",
        )
    return packed_rows(job.model, implementation)


@dataclass(frozen=True)
class Step:
    """One optimizer step: its batches, accumulated."""

    epoch: int
    batches: list[list[int]]


def plan_steps(job: TrainJob) -> list[Step]:
    """Return all optimizer steps that the settings mean, in order, as the trainer would take them."""
    settings = job.settings.train
    steps: list[Step] = []
    epoch = 0
    while (settings.num_steps is None and epoch < settings.num_epochs) or len(steps) < (settings.num_steps or 0):
        batches = job.data.epoch_batches(settings.batch_size, job.seed, epoch)
        size = settings.gradient_accumulation_steps
        taken = [Step(epoch, batches[start : start + size]) for start in range(0, len(batches), size)]
        if settings.num_steps is None:
            taken = taken[: math.ceil(min(1.0, settings.num_epochs - epoch) * len(taken))]
        steps += taken
        epoch += 1
    return steps[: settings.num_steps]


class Loop:
    """One training run: what it needs, a rehearsal, the run."""

    def __init__(self, job: TrainJob) -> None:
        self.job, self.model = job, job.model
        if job.settings.precision == "fp16":
            raise PlanError("the engine loop does not scale losses, as fp16 needs", hint="Use the engine trainer.")
        if job.settings.ranks.num_processes > 1:
            raise PlanError("the engine loop trains in one process", hint="Use the engine trainer.")
        torch.manual_seed(job.seed)
        self.steps = plan_steps(job)
        self.validation_steps = validation_steps(job.settings.train.num_validations, len(self.steps))
        self.log_steps = max(1, len(self.steps) // NUM_LOGS)
        groups = parameter_groups(self.model, job.settings.train.weight_decay)
        self.master = master_weights(job, groups) if job.settings.weights == "bf16" else None
        self.optimizer = build_optimizer(job, groups)
        self.norms = residual_norms(job) if self.master is not None else None
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.schedule = get_scheduler(
            job.settings.train.schedule,
            self.optimizer,
            num_warmup_steps=job.settings.train.warmup_steps,
            num_training_steps=len(self.steps),
        )
        train = job.data.train
        self.counts = TrainCounts(
            job.dimensions, train.source_lengths, train.target_lengths, job.settings.train.batch_size
        )
        self.flop_per_forward = TRAIN_PER_FORWARD
        self.clock = StepClock(job.device)
        self.log = LossLog(job.device)
        self.recorded: RecordedPasses | None = None
        self.progress = Progress(job)
        for callback in job.callbacks:
            callback.on_train_begin(self.model)
        self.collate_on_host = self.host_collator(train)
        self.collate = self.collator(train)

    def collator(self, split: TokenizedSplit) -> Callable[[Any], dict[str, Any]]:
        """Return what makes batches of a split, on the device, packed if the data are."""
        collate, device = self.host_collator(split), self.job.device

        def on_device(indices: Any) -> dict[str, Any]:
            return {name: _moved(value, device) for name, value in collate(indices).items()}

        return on_device

    def host_collator(self, split: TokenizedSplit) -> Callable[[Any], dict[str, Any]]:
        """Return what makes batches of a split, on the host, packed if the data are."""
        job, shift_right = self.job, self.model.prepare_decoder_input_ids_from_labels
        if job.data.is_packed:
            return PackedCollator(split, job.pad_token_id, shift_right)
        multiple = 8 if job.settings.precision != "fp32" and job.device.type == "cuda" else 1
        return Collator(split, job.pad_token_id, shift_right, multiple)

    def token_losses(self, batch: dict[str, Any], label_smoothing: float) -> tuple[Any, Any]:
        """Return the summed loss of a batch's target tokens, and the model's outputs."""
        settings = self.job.settings
        if self.job.data.is_packed:
            batch = place_positions(self.model, batch)
        # bf16 weights compute in bf16 by themselves
        with autocast("fp32" if settings.weights == "bf16" else settings.precision, self.job.device):
            if settings.loss_chunk_tokens is not None:
                return chunked_loss_sum(self.model, batch, label_smoothing, settings.loss_chunk_tokens)
            return token_loss_sum(self.model, batch, label_smoothing)

    def mean_loss(self, batch: dict[str, Any], result: tuple[Any, Any], num_tokens: Any) -> Any:
        """Let the methods change the summed loss of a batch, and return its share of the step's mean."""
        total, outputs = result
        for callback in self.job.callbacks:
            total = callback.on_loss(self.model, batch, outputs, total)
        return total / num_tokens

    def rehearse(self, phase: Any) -> None:
        """Run forward and backward on the first batches: allocators, kernels, compilation, torch's FLOP count.

        What does not fit fails here, before the training that it would have ended.
        """
        job, indices = self.job, self.steps[0].batches[0]
        self.model.train()
        label_smoothing = job.settings.train.label_smoothing
        recorder = Recorder(job.device) if job.data.num_row_shapes is not None else None
        with restored(job), self._as_recorded(recorder):
            batch = self.collate(indices)

            def forward() -> Any:
                return self.token_losses(batch, label_smoothing)

            def backward(result: Any) -> None:  # what methods add is no part of the model's forward pass
                self.mean_loss(batch, result, self._num_target_tokens(indices)).backward()

            step = count_step(forward, backward, job.device, is_compiled=job.num_rehearsals > 0)
            self.flop_per_forward = step.per_forward
            note_flop(job, step, indices, batch)
            weights = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
            repeats = warmup_batches(job, [step.batches[0] for step in self.steps[: 1 + job.num_rehearsals]])
            for indices in repeats:
                batch = self.collate(indices)
                backward(forward())
            if job.num_rehearsals and self.validation_steps:  # evaluation has a graph of its own
                self.model.eval()
                with torch.no_grad():
                    self.token_losses(self.collator(job.data.validation)([0, len(job.data.validation) - 1]), 0.0)
        if recorder is not None:
            self._record(recorder, weights)
        num_examples = sum(map(len, repeats)) + len(self.steps[0].batches[0])
        phase.count(num_steps=1 + len(repeats), num_examples=num_examples, flop_total=step.total * (1 + len(repeats)))
        phase.set(flop_source="counter")

    def _record(self, recorder: Recorder, weights: list[Any]) -> None:
        """Record forward and backward for rows of a few shapes."""
        batches = [batch for step in self.steps for batch in step.batches]

        def passes(batch: dict[str, Any], num_tokens: Any) -> None:
            loss = self.mean_loss(batch, self.token_losses(batch, self.job.settings.train.label_smoothing), num_tokens)
            loss.backward()
            self.log.add(loss)

        self.model.train()
        self.recorded = RecordedPasses(self.job, batches, passes, weights)
        if self.norms is not None:
            self.norms.load()
        with same_randomness(self.job), self._leanly(), self._fused_norms():
            self.recorded.record(recorder, batches, self.collate_on_host)
        self.log.clear()

    @contextmanager
    def _as_recorded(self, recorder: Recorder | None) -> Iterator[None]:
        """Run passes as they will be recorded, if they will be."""
        if recorder is None:
            yield
            return
        with recorder.warm(), self._leanly():
            yield

    def _leanly(self) -> AbstractContextManager[None]:
        """Return the context of passes that may cost the host time: with autocast, layers stay as they are."""
        return lean_linears(self.model) if self.master is not None else nullcontext()

    def _fused_norms(self) -> AbstractContextManager[None]:
        return fused_residuals(self.model, self.norms.norm) if self.norms is not None else nullcontext()

    def run(self) -> None:
        """Take all steps, validate when it is due, and let the methods end it."""
        for number, step in enumerate(self.steps, start=1):
            if not self.model.training:
                self.model.train()
            self._take(step)
            num_filling = sum(map(self.recorded.num_filling, step.batches)) if self.recorded else 0
            self.counts.add_batches(
                step.batches, is_first_epoch=step.epoch == 0, is_packed=self.job.data.is_packed, num_filling=num_filling
            )
            is_last = number == len(self.steps)
            if number == 1 or number % self.log_steps == 0 or is_last:
                self.log.take(number)
            self.progress.report(number, len(self.steps), self.log.losses)
            if number in self.validation_steps and self._validate(number):
                break
        self.log.finish(self.counts.num_steps)
        self.recorded = None  # its memory is not needed for what follows
        if self.master is not None:
            self.master.give_back()
        for callback in self.job.callbacks:
            callback.on_train_end(self.model)

    def _take(self, step: Step) -> None:
        settings, clock = self.job.settings.train, self.clock
        num_tokens = sum(map(self._num_target_tokens, step.batches))
        for indices in step.batches:
            if self.recorded is not None and self.recorded.shape_of(indices) is not None:
                with clock.part("data"):
                    row = self.recorded.row(indices, self.collate_on_host)
                with clock.part("replay"):
                    self.recorded.replay(indices, row, num_tokens)
                continue
            with clock.part("data"):
                batch = self.collate(indices)
            with clock.part("forward"):
                loss = self.mean_loss(batch, self.token_losses(batch, settings.label_smoothing), num_tokens)
            with clock.part("backward"):
                loss.backward()
            self.log.add(loss)
        with clock.part("optimizer"):
            self._clip_and_take()
            self.optimizer.step()
            self.schedule.step()
            if self.master is not None:
                self.master.write_back()
            self.model.zero_grad(set_to_none=True)
        self.log.num_summed += 1

    def _clip_and_take(self) -> None:
        """Clip the gradients, by the optimizer itself where it can, and give them to the masters."""
        max_norm = self.job.settings.train.max_grad_norm
        in_step = isinstance(self.optimizer, torch.optim.AdamW)
        if max_norm > 0 and in_step:
            clip_in_step(self.optimizer, self.master.weights if self.master else self.parameters, max_norm)
        if self.master is not None:
            self.master.take_gradients()
        if max_norm > 0 and not in_step and not isinstance(self.master, WeightRows):  # whose optimizer clips
            torch.nn.utils.clip_grad_norm_(self.parameters, max_norm)

    def _num_target_tokens(self, indices: list[int]) -> int:
        lengths = self.job.data.train.target_lengths
        return sum(lengths[i] for i in indices)

    def _validate(self, number: int) -> bool:
        """Take the validation loss; True if a method ends training here."""
        job = self.job
        self.model.eval()
        with job.phase("validate") as phase:
            collate = self.collator(job.data.validation)
            loss = validation_loss(job, collate, lambda batch: self.token_losses(batch, 0.0)[0], phase)
            if number == min(self.validation_steps):
                phase.set(loss_first=loss)
            phase.set(loss_last=loss, flop_source="formula")
        require_finite("eval_loss", loss, number)
        verdicts = [callback.on_validation(self.model, number, loss) for callback in job.callbacks]
        return any(verdicts)


def _moved(value: Any, device: torch.device) -> Any:
    if not isinstance(value, torch.Tensor) or device.type == "cpu":
        return value
    return value.pin_memory().to(device, non_blocking=True)


def clip_in_step(optimizer: Any, weights: list[Any], max_norm: float) -> None:
    """Let torch's fused AdamW clip the gradients of `weights` as it reads them, as `clip_grad_norm_` would have.

    That saves a pass over the gradients in memory; and those in bfloat16 are half as long to read for their norm.
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32)).norm()
    optimizer.grad_scale = ((norm + 1e-6) / max_norm).clamp(min=1.0)  # it divides by what a GradScaler would set here


def parameter_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trained parameters in two groups, with and without weight decay, in the trainer's order."""
    decayed = set(get_parameter_names(model, [torch.nn.LayerNorm], NO_DECAY))
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for name, p in trained if name in decayed], "weight_decay": weight_decay},
        {"params": [p for name, p in trained if name not in decayed], "weight_decay": 0.0},
    ]


def residual_norms(job: TrainJob) -> Any:
    """Return the kernels of `fused_residuals` for passes that will be recorded on CUDA; None: the layers have none."""
    layers = residual_layers(job.model)
    if job.device.type != "cuda" or job.data.num_row_shapes is None or not layers:
        return None
    from kilowit.parts.residual_norm_kernels import ResidualNorms

    return ResidualNorms(layers[0].embed_dim, job.device)


def master_weights(job: TrainJob, groups: list[dict[str, Any]]) -> MasterWeights:
    """Return the masters of a model in bfloat16: in rows where `build_optimizer` steps on rows."""
    in_rows = job.device.type == "cuda" and job.settings.train.optimizer == "adamw"
    return (WeightRows if in_rows else MasterWeights)(job.model, groups)


def build_optimizer(job: TrainJob, groups: list[dict[str, Any]]) -> Any:
    """Return the optimizer that the settings name, with the trainer's constants.

    Raises:
        PlanError: this engine does not have it.
    """
    settings = job.settings.train
    if job.device.type == "cuda" and job.settings.weights == "bf16" and settings.optimizer == "adamw":
        from kilowit.run.engines.row_adamw import RowAdamW

        return RowAdamW(groups, settings.learning_rate, (0.9, 0.999), 1e-8, settings.max_grad_norm)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)
    if settings.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, lr=settings.learning_rate, scale_parameter=False, relative_step=False)
    raise PlanError(f"the engine loop has no optimizer {settings.optimizer}", hint="Use the engine trainer.")
