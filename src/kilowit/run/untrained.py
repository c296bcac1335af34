"""What a cell does in place of training where nothing is trained: the method zero_shot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kilowit.parts.model import LoadedModel
from kilowit.parts.tokenized import TrainingData
from kilowit.run import phases
from kilowit.run.method_evidence import gather_evidence, refuse_unapplied
from kilowit.run.phases import CellRun

if TYPE_CHECKING:
    from kilowit.run.engines.job import TrainJob


def leave_untrained(run: CellRun, loaded: LoadedModel, data: TrainingData) -> None:
    """Warm up by one forward pass, which shows the methods what training would have, and ask for their evidence.

    Raises:
        CellFailure: a method that was not applied.
    """
    with run.phase("warmup") as phase:
        from kilowit.run.engines.job import TrainCounts, TrainResult

        job = phases.train_job(run, loaded, data, phases.callbacks_of(run.cell.methods, run.notebooks))
        phase.count(num_examples=_read_first_batch(job))
    nothing = TrainCounts(job.dimensions, [], [], run.settings.train.batch_size)
    gather_evidence(run, loaded, data, TrainResult(loaded.model, None, nothing))
    refuse_unapplied(run, "warmup")


def _read_first_batch(job: TrainJob) -> int:
    """Run the forward pass of training's first batch, with the methods looking on; return its number of examples."""
    import torch

    from kilowit.run.batches import Collator
    from kilowit.run.engines.loss import token_loss_sum
    from kilowit.run.generate import autocast

    settings, model = job.settings.train, job.model
    indices = job.data.epoch_order(settings.batch_size, job.seed, 0)[: settings.batch_size]
    collate = Collator(job.data.train, job.pad_token_id, model.prepare_decoder_input_ids_from_labels)
    inputs = {name: tensor.to(job.device) for name, tensor in collate(indices).items()}
    for callback in job.callbacks:
        callback.on_train_begin(model)
    model.eval()
    with torch.no_grad(), autocast(job.settings.precision, job.device):
        token_loss_sum(model, inputs, 0.0)
    for callback in job.callbacks:
        callback.on_train_end(model)
    return len(indices)
