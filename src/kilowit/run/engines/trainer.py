"""The engine that users know: Hugging Face Seq2SeqTrainer, with its loss put right.

In transformers 5.x the stock trainer multiplies loss and gradients of every family here by gradient accumulation x
processes: the models' `forward` takes ``**kwargs``, so it believes that they divide by the number of tokens in the
whole step, and they do not. Here the loss is computed by us: the sum of the token losses over the number of target
tokens of *all* accumulated batches, on all processes. That is the true token mean: one batch of 16, four of 4 and two
processes with 8 give the same gradient.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.trainer_callback import PrinterCallback

from kilowit.errors import CellFailure, PlanError
from kilowit.parts.flop import TRAIN_PER_FORWARD, forward_flop
from kilowit.parts.methods import adam8bit
from kilowit.run.batches import IGNORED, Collator
from kilowit.run.engines import sharding
from kilowit.run.engines.job import TrainCounts, TrainJob, TrainResult
from kilowit.run.engines.loss import token_loss_sum
from kilowit.run.flop_counter import StepFlop, count_step

NUM_LOGS: Final = 100  # losses read from the device per run; each read waits for the device
PROGRESS_SECOND: Final = 0.5
OPTIMIZERS: Final = {"adamw": "adamw_torch_fused", "adafactor": "adafactor", "adam8bit": "adamw_bnb_8bit"}
NUM_WARMUP_STEPS: Final = {"cpu": 1, "cuda": 2}  # the first is counted by torch; CUDA then picks its kernels


def train(job: TrainJob) -> TrainResult:
    """Fine-tune `job.model` in place: phases warmup and train, with validate nested in train.

    Raises:
        CellFailure: the loss is not finite (kind ``divergence``).
        PlanError: the precision is not to be had on this device.
    """
    if job.settings.precision == "fp16" and job.device.type != "cuda":
        raise PlanError("fp16 trains on CUDA only, and torch sees no CUDA device", hint="Leave out the method fp16.")
    ranks, hollow = job.settings.ranks, None
    with tempfile.TemporaryDirectory() as folder:  # nothing is written there: the Trainer insists on a name
        with job.phase("warmup"):
            sharding.agree_on_weights(job.model, job.device)
            if ranks.wrapper in sharding.CUT_BY:
                hollow = sharding.hollow_copy(job.model)
            sharding.shard(job.model, ranks, job.device)
            if job.settings.train.optimizer == "adam8bit":
                adam8bit.forget_exceptions()
            trainer = LineTrainer(job, trainer_arguments(job, folder))
        with job.phase("train") as phase:
            try:
                trainer.train()
            finally:  # a run that is ended has trained all the same
                _book(phase, trainer)
            optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
            rank_facts = sharding.rank_facts(job.model, optimizer, job.settings, job.device)
            whole = job.model if hollow is None else sharding.whole_model(job.model, hollow, job.device)
    # For mixed precision accelerate hangs a wrapped `forward` on the instance and leaves it there; its own
    # unwrap_model (1.15) peels off the decorators of the class's `forward` too.
    for name in ("forward", "_original_forward"):
        job.model.__dict__.pop(name, None)
    job.model.zero_grad(set_to_none=True)
    if ranks.wrapper == "deepspeed":
        unset_hf_deepspeed_config()  # generate() would wait for the other ranks
    return TrainResult(whole, optimizer, trainer.watcher.counts, rank_facts)


def _book(phase: Any, trainer: LineTrainer) -> None:
    """Put on the phase what the steps so far have taken."""
    counts = trainer.watcher.counts
    phase.count(
        num_examples=counts.num_examples,
        num_input_tokens=counts.num_source_tokens,
        num_output_tokens=counts.num_target_tokens,
        num_steps=counts.num_steps,
        flop_total=counts.forward_flop * trainer.watcher.flop_per_forward,
    )
    phase.set(flop_source="formula")
    if trainer.losses:
        phase.set(loss_first=trainer.losses[0], loss_last=trainer.losses[-1])


def trainer_arguments(job: TrainJob, folder: str) -> Seq2SeqTrainingArguments:
    """Translate the settings of a study; what the Trainer would do unasked is switched off."""
    settings, on_cuda = job.settings.train, job.device.type == "cuda"
    arguments = Seq2SeqTrainingArguments(
        output_dir=folder,
        num_train_epochs=settings.num_epochs,
        max_steps=settings.num_steps or -1,
        per_device_train_batch_size=settings.batch_size // job.settings.ranks.num_processes,
        per_device_eval_batch_size=settings.batch_size // job.settings.ranks.num_processes,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim=OPTIMIZERS[settings.optimizer],
        fp16=job.settings.precision == "fp16",
        tf32=job.settings.precision == "tf32" if on_cuda else None,  # None: on with torch_compile, unasked
        seed=job.seed,
        use_cpu=not on_cuda,
        dataloader_pin_memory=on_cuda,
        eval_strategy="no",  # `Watcher` asks for each validation
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=max(1, _num_steps(job) // NUM_LOGS),
        logging_first_step=True,
        logging_nan_inf_filter=False,  # it would hide divergence, and wait for the device at every step
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        **{"bf16": job.settings.precision == "bf16", **sharding.wrapper_arguments(job.settings, job.device)},
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # more would make the Trainer use torch's DataParallel, which nobody asked for
    return arguments


def _num_steps(job: TrainJob) -> int:
    """Return how many optimizer steps the settings mean, as the Trainer counts them."""
    settings = job.settings.train
    num_batches = math.ceil(len(job.data.train) / settings.batch_size)
    steps_per_epoch = math.ceil(num_batches / settings.gradient_accumulation_steps)
    return settings.num_steps or math.ceil(settings.num_epochs * steps_per_epoch)


class LineTrainer(Seq2SeqTrainer):  # type: ignore[misc]
    """Seq2SeqTrainer with the true loss, our order of examples, and validation as a phase of its own."""

    def __init__(self, job: TrainJob, arguments: Seq2SeqTrainingArguments) -> None:
        self.job = job
        self.losses: list[float] = []
        self.multiple = 8 if job.settings.precision != "fp32" and job.device.type == "cuda" else 1
        self.sampler = EpochSampler(job)
        self.watcher = Watcher(self)
        super().__init__(
            model=job.model,
            args=arguments,
            train_dataset=range(len(job.data.train)),  # the collator looks the examples up
            data_collator=self._collator(job.data.train),
            callbacks=[self.watcher],
        )
        self.remove_callback(PrinterCallback)
        if job.settings.ranks.wrapper == "fsdp":
            sharding.leave_wrapping_to_us(self.accelerator)
        # Makes the stock loop count the target tokens of the whole step and leave the division to `compute_loss`.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def _collator(self, split: Any) -> sharding.ShareCollator:
        job = self.job
        collate = Collator(split, job.pad_token_id, job.model.prepare_decoder_input_ids_from_labels, self.multiple)
        return sharding.ShareCollator(collate, job.settings.train.batch_size // sharding.num_ranks())

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[int]:
        """Return whole batches in our order on every rank; the collator takes a rank's share."""
        return torch.utils.data.DataLoader(
            self.train_dataset,
            batch_size=self.job.settings.train.batch_size,
            sampler=self.sampler,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        if self.job.settings.ranks.wrapper != "fsdp":  # its parts lie where they belong, on the host if offloaded
            super()._move_model_to_device(model, device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the batch's share of the step's mean token loss.

        Args:
            num_items_in_batch: target tokens of all batches of the step, on all processes; None = this batch alone.
        """
        total, outputs = token_loss_sum(model, inputs, self.job.settings.train.label_smoothing)
        loss = self.mean_loss(model, inputs, outputs, total, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def mean_loss(self, model: Any, inputs: dict[str, Any], outputs: Any, total: Any, num_tokens: Any = None) -> Any:
        """Let the methods change the summed loss of a batch, and return its share of the step's mean."""
        if num_tokens is None:
            num_tokens = (inputs["labels"] != IGNORED).sum()
        for callback in self.job.callbacks:
            total = callback.on_loss(model, inputs, outputs, total)
        # Gradients are averaged over processes afterwards, while `num_tokens` covers them all.
        return total / num_tokens * self.accelerator.num_processes

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Take the validation loss: the token mean over the whole split, without label smoothing."""
        with self.job.phase("validate") as phase:
            loss = self._validation_loss(phase)
            if not self.watcher.validated:
                phase.set(loss_first=loss)
            phase.set(loss_last=loss, flop_source="formula")
        metrics = {f"{metric_key_prefix}_loss": loss}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _validation_loss(self, phase: Any) -> float:
        split, model = self.job.data.validation, self.model_wrapped
        collate, batch_size = self._collator(split), self.job.settings.train.batch_size
        order = sorted(range(len(split)), key=lambda i: (split.source_lengths[i], split.target_lengths[i]))
        model.eval()
        total = torch.zeros((), device=self.job.device)
        with torch.no_grad():
            for start in range(0, len(order), batch_size):
                inputs = self._prepare_inputs(collate(order[start : start + batch_size]))
                total += token_loss_sum(model, inputs, 0.0)[0]
        sharding.sum_over_ranks(total)
        num_source_tokens, num_target_tokens = sum(split.source_lengths), sum(split.target_lengths)
        dimensions = self.job.dimensions
        phase.count(
            num_examples=len(split),
            num_input_tokens=num_source_tokens,
            num_output_tokens=num_target_tokens,
            flop_total=sum(
                forward_flop(dimensions, s, t) for s, t in zip(split.source_lengths, split.target_lengths, strict=True)
            ),
        )
        return float(total.item() / num_target_tokens)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keep the losses, and end a run whose loss is not a number.

        Raises:
            CellFailure: kind ``divergence``.
        """
        for name in ("loss", "eval_loss"):
            if name in logs and not math.isfinite(logs[name]):
                raise CellFailure(
                    "divergence",
                    f"{name} is {logs[name]} at step {self.state.global_step}",
                    hint="Lower the learning rate, or train in fp32 or bf16.",
                )
        if "loss" in logs:
            self.losses.append(logs["loss"])
        super().log(logs, start_time)


class EpochSampler(torch.utils.data.Sampler[int]):  # type: ignore[misc]
    """Gives the training examples in the order of `TrainingData`, a new one each epoch."""

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.epoch = -1
        self.order: list[int] = []

    def start_epoch(self) -> None:
        """Draw the next epoch's order."""
        self.epoch += 1
        self.order = self.job.data.epoch_order(self.job.settings.train.batch_size, self.job.seed, self.epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.job.data.train)


class Watcher(TrainerCallback):  # type: ignore[misc]
    """Warms up, counts, reports progress, asks for validations, and passes moments on to the methods."""

    def __init__(self, trainer: LineTrainer) -> None:
        self.trainer, self.job = trainer, trainer.job
        train, settings = self.job.data.train, self.job.settings
        share_size = settings.train.batch_size // settings.ranks.num_processes
        self.counts = TrainCounts(self.job.dimensions, train.source_lengths, train.target_lengths, share_size)
        self.flop_per_forward = TRAIN_PER_FORWARD
        self.validated = False
        self.validation_steps: frozenset[int] = frozenset()
        self.position = 0  # in the epoch's order
        self.reported_at = -math.inf

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Spread the validations, let the methods hook in, and warm up."""
        number = self.job.settings.train.num_validations
        self.validation_steps = frozenset(math.ceil(state.max_steps * i / number) for i in range(1, number + 1))
        for callback in self.job.callbacks:
            callback.on_train_begin(self.job.model)
        with self.job.phase("warmup") as phase, _restored(self.job):
            self._warm_up(phase)

    def _warm_up(self, phase: Any) -> None:
        """Run forward and backward on the first batch: allocators, kernels and torch's FLOP count, no update.

        What does not fit fails here, before the training that it would have ended.
        """
        trainer, settings = self.trainer, self.job.settings.train
        indices = self.job.data.epoch_order(settings.batch_size, self.job.seed, 0)[: settings.batch_size]
        inputs = trainer._prepare_inputs(trainer.data_collator(indices))
        model = trainer.model_wrapped
        model.train()

        def forward() -> Any:
            return token_loss_sum(model, inputs, settings.label_smoothing)

        def backward(result: Any) -> None:  # what methods add to the loss is no part of the model's forward pass
            total, outputs = result
            trainer.accelerator.backward(trainer.mean_loss(model, inputs, outputs, total))

        if self.job.settings.ranks.wrapper == "deepspeed":  # whose backward pass ends in an update
            with torch.no_grad():
                forward()
            return
        step = count_step(forward, backward, self.job.device)
        num_steps = NUM_WARMUP_STEPS[self.job.device.type]
        for _ in range(num_steps - 1):
            backward(forward())
        self.flop_per_forward = step.per_forward
        self._note_flop(step, inputs)
        total = sharding.sum_over_ranks(torch.tensor(float(step.total), device=self.job.device)).item()
        phase.count(num_steps=num_steps, num_examples=num_steps * len(indices), flop_total=total * num_steps)
        phase.set(flop_source="counter")

    def _note_flop(self, step: StepFlop, inputs: dict[str, Any]) -> None:
        (num_rows, num_source), num_target = inputs["input_ids"].shape, inputs["labels"].shape[1]
        formula = num_rows * forward_flop(self.job.dimensions, num_source, num_target)
        self.job.note(
            "flop_check",
            "forward FLOPs of one padded batch: formula beside torch's counter",
            formula_forward_flop=formula,
            counter_forward_flop=step.forward,
            counter_total_flop=step.total,
            total_per_forward=step.per_forward,
        )

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Draw the order of the epoch."""
        self.trainer.sampler.start_epoch()
        self.position = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step; ask for the last loss and for validations when they are due."""
        num_taken = self.job.settings.train.batch_size * args.gradient_accumulation_steps
        sampler = self.trainer.sampler
        indices = sampler.order[self.position : self.position + num_taken]
        self.position += num_taken
        self.counts.add_step(indices, is_first_epoch=sampler.epoch == 0)
        is_last = state.global_step >= state.max_steps
        control.should_log = control.should_log or is_last
        control.should_evaluate = state.global_step in self.validation_steps
        if is_last or time.monotonic() - self.reported_at >= PROGRESS_SECOND:
            self.reported_at = time.monotonic()
            self._report(state)

    def _report(self, state: Any) -> None:
        losses = self.trainer.losses
        self.job.note(
            "progress",
            f"step {state.global_step} of {state.max_steps}",
            phase="train",
            step=state.global_step,
            num_steps=state.max_steps,
            loss=losses[-1] if losses else None,
        )

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
        """Let the methods look at the validation loss; any of them may end training."""
        self.validated = True
        verdicts = [
            callback.on_validation(self.job.model, state.global_step, metrics["eval_loss"])
            for callback in self.job.callbacks
        ]
        control.should_training_stop = control.should_training_stop or any(verdicts)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let the methods finish."""
        for callback in self.job.callbacks:
            callback.on_train_end(self.job.model)


@contextmanager
def _restored(job: TrainJob) -> Iterator[None]:
    """Undo what a rehearsal leaves: gradients and the state of every random generator."""
    import numpy as np

    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if job.device.type == "cuda" else []):
        yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)
    job.model.zero_grad(set_to_none=True)
