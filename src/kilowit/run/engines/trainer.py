"""The engine that users know: Hugging Face Seq2SeqTrainer, with its loss put right.

In transformers 5.x the stock trainer multiplies loss and gradients of every family here by gradient accumulation x
processes: the models' `forward` takes ``**kwargs``, so it believes that they divide by the number of tokens in the
whole step, and they do not. Here the loss is computed by us: the sum of the token losses over the number of target
tokens of *all* accumulated batches, on all processes. That is the true token mean: one batch of 16, four of 4 and two
processes with 8 give the same gradient.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from typing import Any, Final

import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.trainer_callback import PrinterCallback

from kilowit.errors import PlanError
from kilowit.parts.flop import TRAIN_PER_FORWARD
from kilowit.parts.methods import adam8bit
from kilowit.run.batches import IGNORED, Collator
from kilowit.run.engines import sharding
from kilowit.run.engines.job import TrainCounts, TrainJob, TrainResult, book, validation_steps
from kilowit.run.engines.loss import token_loss_sum, validation_loss
from kilowit.run.engines.warmup import note_flop, restored, warmup_batches
from kilowit.run.engines.watch import NUM_LOGS, Progress, require_finite
from kilowit.run.flop_counter import count_step

OPTIMIZERS: Final = {"adamw": "adamw_torch_fused", "adafactor": "adafactor", "adam8bit": "adamw_bnb_8bit"}


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
                book(phase, trainer.watcher.counts, trainer.watcher.flop_per_forward, trainer.losses)
            optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
            rank_facts = sharding.rank_facts(job.model, optimizer, job.settings, job.device)
            whole = job.model if hollow is None else sharding.whole_model(job.model, hollow, job.device)
    # For mixed precision accelerate hangs a wrapped `forward` on the instance and leaves it there; its own
    # unwrap_model (1.15) peels off the decorators of the class's `forward` too. With its mark left on, a model that is
    # trained once more would be taken for one that computes in mixed precision already.
    for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
        job.model.__dict__.pop(name, None)
    job.model.zero_grad(set_to_none=True)
    if ranks.wrapper == "deepspeed":
        unset_hf_deepspeed_config()  # generate() would wait for the other ranks
    return TrainResult(whole, optimizer, trainer.watcher.counts, rank_facts)


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
        def loss_sum(inputs: dict[str, Any]) -> Any:
            return token_loss_sum(self.model_wrapped, self._prepare_inputs(inputs), 0.0)[0]

        self.model_wrapped.eval()
        return validation_loss(self.job, self._collator(self.job.data.validation), loss_sum, phase)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keep the losses, and end a run whose loss is not a number.

        Raises:
            CellFailure: kind ``divergence``.
        """
        for name in ("loss", "eval_loss"):
            if name in logs:
                require_finite(name, logs[name], self.state.global_step)
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
        self.progress = Progress(self.job)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Spread the validations, let the methods hook in, and warm up."""
        self.validation_steps = validation_steps(self.job.settings.train.num_validations, state.max_steps)
        for callback in self.job.callbacks:
            callback.on_train_begin(self.job.model)
        with self.job.phase("warmup") as phase, restored(self.job):
            self._warm_up(phase)

    def _warm_up(self, phase: Any) -> None:
        """Run forward and backward on the first batches: allocators, kernels and torch's FLOP count, no update.

        What does not fit fails here, before the training that it would have ended.
        """
        trainer, settings = self.trainer, self.job.settings.train
        batches = self.job.data.epoch_batches(settings.batch_size, self.job.seed, 0)
        indices = batches[0]
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
        step = count_step(forward, backward, self.job.device, is_compiled=self.job.num_rehearsals > 0)
        note_flop(self.job, step, indices, inputs)
        repeats = warmup_batches(self.job, batches)
        for repeated in repeats:
            inputs = trainer._prepare_inputs(trainer.data_collator(repeated))
            backward(forward())
        self.flop_per_forward = step.per_forward
        total = sharding.sum_over_ranks(torch.tensor(float(step.total), device=self.job.device)).item()
        num_steps, num_examples = 1 + len(repeats), len(indices) + sum(map(len, repeats))
        phase.count(num_steps=num_steps, num_examples=num_examples, flop_total=total * num_steps)
        phase.set(flop_source="counter")

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
        self.progress.report(state.global_step, state.max_steps, self.trainer.losses)

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
