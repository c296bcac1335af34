"""One training step of a given size, run for its memory alone: what a search for a batch size asks again and again.

Nothing is learned: gradients are dropped and random numbers put back. On CUDA the memory is the allocator's peak; on a
CPU it is counted here, storage by storage, so that a step is ended when it passes the limit and not by the kernel.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from kilowit.parts.tokenized import TokenizedSplit
from kilowit.run.batches import Collator
from kilowit.run.engines.job import TrainJob
from kilowit.run.generate import autocast

# Bytes of optimizer state per trained parameter: two moments of 4 bytes, rows and columns, two moments of 1 byte.
STATE_BYTE: Final = {"adamw": 8.0, "adafactor": 0.1, "adam8bit": 2.1}
USABLE_FRACTION: Final = 0.92  # of the free GPU memory: the caching allocator cannot use every block that it holds


class StepTooLarge(Exception):  # noqa: N818 - an answer, not an error
    """The step has passed its limit."""


class Rehearsal:
    """Says what a training step over `batch_size` of the longest examples takes.

    Args:
        job: as the engine would get it; model on its device, methods applied.
    """

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.num_examples = len(job.data.train)
        self.num_steps = 0
        self.num_examples_seen = 0

    @property
    def available_byte(self) -> int | None:
        """GPU memory that this process may use; None on a CPU, where nothing says how much it should."""
        if self.job.device.type != "cuda":
            return None
        free_byte, _ = torch.cuda.mem_get_info()
        return int(USABLE_FRACTION * (free_byte + torch.cuda.memory_reserved()))

    def __call__(self, batch_size: int, limit_byte: int) -> int | None:
        """Return the peak of a step in bytes, optimizer state included; None if it passes `limit_byte`."""
        on_cuda = self.job.device.type == "cuda"
        self.num_steps += 1
        self.num_examples_seen += batch_size
        state_byte = self._state_byte()
        try:
            with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_cuda else []):
                peak = self._peak_cuda(batch_size) if on_cuda else self._peak_cpu(batch_size, limit_byte - state_byte)
        except (StepTooLarge, torch.cuda.OutOfMemoryError):
            return None
        finally:
            self.job.model.zero_grad(set_to_none=True)
            if on_cuda:
                gc.collect()
                torch.cuda.empty_cache()
        total_byte = peak + state_byte
        return total_byte if total_byte <= limit_byte else None

    def _state_byte(self) -> int:
        trained = sum(p.numel() for p in self.job.model.parameters() if p.requires_grad)
        return int(STATE_BYTE[self.job.settings.train.optimizer] * trained)

    def _peak_cuda(self, batch_size: int) -> int:
        torch.cuda.reset_peak_memory_stats()
        self._step(batch_size)
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated())

    def _peak_cpu(self, batch_size: int, limit_byte: int) -> int:
        with CountStorages(self.job.model, limit_byte) as count:
            self._step(batch_size)
        return int(count.peak_byte)

    def _step(self, batch_size: int) -> None:
        from kilowit.run.engines.loss import token_loss_sum

        job = self.job
        multiple = 8 if job.device.type == "cuda" else 1
        collate = Collator(
            job.data.train, job.pad_token_id, job.model.prepare_decoder_input_ids_from_labels, multiple
        )  # fmt: skip
        batch = collate(longest_examples(job.data.train, batch_size))
        inputs = {name: tensor.to(job.device) for name, tensor in batch.items()}
        job.model.train()
        for parameter in job.model.parameters():  # as in the second of accumulated passes, when memory is shortest
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        with autocast(job.settings.precision, job.device):
            loss, _ = token_loss_sum(job.model, inputs, job.settings.train.label_smoothing)
        loss.backward()


def longest_examples(split: TokenizedSplit, number: int) -> list[int]:
    """Return the examples with the longest sources, the one with the longest target among them."""
    by_source = sorted(range(len(split)), key=lambda i: -split.source_lengths[i])[:number]
    longest_target = max(range(len(split)), key=lambda i: split.target_lengths[i])
    return by_source if longest_target in by_source else [*by_source[:-1], longest_target]


class CountStorages(TorchDispatchMode):  # type: ignore[misc]
    """Counts the bytes of all tensors that live at once, the model's among them; ends a step that passes the limit."""

    def __init__(self, model: torch.nn.Module, limit_byte: int) -> None:
        super().__init__()
        self.limit_byte = limit_byte
        self.live: dict[int, int] = {}  # bytes of each storage, by its identity
        self.now_byte = self.peak_byte = 0
        for tensor in (*model.parameters(), *model.buffers()):
            self._see(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        output = func(*args, **(kwargs or {}))
        for value in tree_iter(output):
            if isinstance(value, torch.Tensor):
                self._see(value)
        return output

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.live:
            return
        self.live[key] = storage.nbytes()
        self.now_byte += storage.nbytes()
        self.peak_byte = max(self.peak_byte, self.now_byte)
        weakref.finalize(storage, self._free, key)
        if self.now_byte > self.limit_byte:
            raise StepTooLarge

    def _free(self, key: int) -> None:
        self.now_byte -= self.live.pop(key)
