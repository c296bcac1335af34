"""Forward and backward passes recorded once for each shape of row, and replayed: the host launches one graph a batch.

All that a recorded pass reads or leaves lies in one place for good: its batch, its gradients, the sum of the losses.
What it needs in between is in one pool of memory, which the graphs share, since they never run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch

from kilowit.errors import PlanError
from kilowit.run.engines.job import TrainJob
from kilowit.run.engines.row_shapes import RowShape, Size, filled, row_shapes

# A packed batch on the device and the tokens to divide its loss by, 0-d -> forward, backward, and nothing returned.
Passes = Callable[[dict[str, Any], Any], None]


class Recorded(NamedTuple):
    """The passes over rows of one shape."""

    place: dict[str, Any]  # the batch, where it is read
    num_tokens: Any  # to divide the loss by, 0-d
    gradients: list[Any]  # of the weights, overwritten by each replay
    replay: Callable[[], None]


class RecordedPasses:
    """The passes over full batches, as graphs; other batches are not recorded.

    Args:
        batches: all that training will take.
        passes: what to record. It gives gradients to `weights` and adds to nothing else but tensors of its own.
        weights: the parameters that get gradients.
    """

    def __init__(self, job: TrainJob, batches: Sequence[list[int]], passes: Passes, weights: Sequence[Any]) -> None:
        if any(getattr(module, "layerdrop", 0) for module in job.model.modules()):
            raise PlanError(
                "a recorded pass takes the same layers each time, and this model drops layers at random",
                hint="Leave out cuda_graph, or train a model whose layerdrop is 0.",
            )
        self.job, self.passes, self.weights = job, passes, weights
        self.batch_size = job.settings.train.batch_size
        self.shapes = self._shapes([batch for batch in batches if len(batch) == self.batch_size])
        used = {self.shape_of(batch) for batch in batches}  # a row may fit the shape made for smaller ones
        self.shapes = [shape for shape in self.shapes if shape in used]
        self.recorded: dict[RowShape, Recorded] = {}

    def _shapes(self, batches: Sequence[list[int]]) -> list[RowShape]:
        if not batches:
            raise PlanError(
                f"cuda_graph records full batches, and no batch has {self.batch_size} examples",
                hint="Lower train.batch_size, or leave out cuda_graph.",
            )
        train, num_shapes = self.job.data.train, self.job.data.num_row_shapes
        assert num_shapes is not None, "recorded only where the method asks for it"
        longest = (max(train.source_lengths), max(train.target_lengths))
        return row_shapes([self._size(batch) for batch in batches], num_shapes, longest)

    def record(
        self, recorder: Recorder, batches: Sequence[list[int]], collate: Callable[[Any], dict[str, Any]]
    ) -> None:
        """Record each shape, the largest first, over the first of the batches that fits it; leave no gradients."""
        for shape in self.shapes:
            batch = next(batch for batch in batches if self.shape_of(batch) == shape)
            row = filled(collate(batch), shape, self.job.pad_token_id)
            place = {name: _placed(value, self.job.device) for name, value in row.items()}
            num_tokens = torch.ones((), device=self.job.device)
            replay, gradients = recorder.record(partial(self._gradients, place, num_tokens))
            self.recorded[shape] = Recorded(place, num_tokens, gradients, replay)
        for weight in self.weights:
            weight.grad = None

    def _gradients(self, place: dict[str, Any], num_tokens: Any) -> list[Any]:
        """Run the passes, and return gradients that nothing was added to: what is new is kept where it was made."""
        for weight in self.weights:
            weight.grad = None
        self.passes(place, num_tokens)
        return [weight.grad for weight in self.weights]

    def shape_of(self, batch: list[int]) -> RowShape | None:
        """Return the smallest shape that holds a batch; None: it is not recorded."""
        if len(batch) != self.batch_size:
            return None
        size = self._size(batch)
        holding = [shape for shape in self.shapes if shape.holds(size)]
        return min(holding, key=lambda shape: shape.num_sources + shape.num_targets, default=None)

    def num_filling(self, batch: list[int]) -> int:
        """Count the padding, sources and targets, that a batch is computed with."""
        shape = self.shape_of(batch)
        return 0 if shape is None else shape.num_sources + shape.num_targets - sum(self._size(batch))

    def row(self, batch: list[int], collate: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Return a batch filled up to its shape, on the host."""
        shape = self.shape_of(batch)
        assert shape is not None, "asked for recorded batches alone"
        return filled(collate(batch), shape, self.job.pad_token_id)

    def replay(self, batch: list[int], row: dict[str, Any], num_tokens: int) -> None:
        """Run the passes over a row, with its loss divided by `num_tokens`; add to the gradients that there are."""
        shape = self.shape_of(batch)
        assert shape is not None, "asked for recorded batches alone"
        recorded = self.recorded[shape]
        for name, value in row.items():
            if isinstance(value, torch.Tensor):
                source = value.pin_memory() if self.job.device.type == "cuda" else value
                recorded.place[name].copy_(source, non_blocking=True)
        recorded.num_tokens.fill_(num_tokens)
        # Of batches that are accumulated; they may lie where this replay leaves its own.
        before = [weight.grad.clone() for weight in self.weights if weight.grad is not None]
        recorded.replay()
        if before:
            torch._foreach_add_(before, recorded.gradients)
        for weight, gradient in zip(self.weights, before or recorded.gradients, strict=True):
            weight.grad = gradient
        for callback in self.job.callbacks:
            callback.on_replay(self.job.model, recorded.place)

    def _size(self, batch: list[int]) -> Size:
        train = self.job.data.train
        return sum(train.source_lengths[i] for i in batch), sum(train.target_lengths[i] for i in batch)


class Recorder:
    """Records passes as CUDA graphs that share one pool of memory, on one stream."""

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise PlanError("CUDA graphs need a CUDA device", hint="Leave out cuda_graph.")
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    @contextmanager
    def warm(self) -> Iterator[None]:
        """Run something where it will be recorded: kernels and libraries are loaded before, and not while recording."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, passes: Callable[[], list[Any]]) -> tuple[Callable[[], None], list[Any]]:
        """Record passes like those that `warm` has run.

        Returns:
            What replays them, and what they returned: tensors that each replay writes anew.
        """
        graph = torch.cuda.CUDAGraph()
        # Of this thread: another may compile kernels meanwhile.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            results = passes()
        return graph.replay, results


def _placed(value: Any, device: torch.device) -> Any:
    return value.to(device, copy=True) if isinstance(value, torch.Tensor) else value
