"""``config.pbtxt`` of NVIDIA Triton from typed values: what a model takes and gives, and how requests are gathered.

Source: message ModelConfig of github.com/triton-inference-server/common, protobuf/model_config.proto, 24.10. The tests
read all that is written here with Triton's own protobuf, which refuses fields that it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

CONFIG_FILE: Final = "config.pbtxt"
MICROSECOND_PER_SECOND: Final = 1_000_000
DataType = Literal["TYPE_STRING", "TYPE_INT32", "TYPE_INT64", "TYPE_FP32", "TYPE_FP64"]
VARIABLE: Final = -1  # a size that differs from request to request


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: `dims` without the batch where the model has a largest batch, else with it."""

    name: str
    data_type: DataType
    dims: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """How requests wait and are computed together (Triton's dynamic batcher and its queue policy).

    Either limit of the queue costs throughput once requests wait: Triton's batcher then misses its wake-ups and sleeps
    up to half a second (issue 8870 of its server; measured on 24.10: 35 instead of 445 documents a second).

    Attributes:
        wait_second: how long the first of a batch waits for others.
        deadline_second: a request that has waited longer is refused; it may ask for less. None = it waits.
        max_waiting: requests that may wait; more are refused. None = any number.
    """

    wait_second: float = 0.005
    deadline_second: float | None = None
    max_waiting: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model of a repository.

    Attributes:
        max_batch_size: 0 = it takes no batches: the sizes of its tensors are all its own.
        gathering: None = requests are computed one by one.
        num_instances: copies of the model in memory, on the CPU.
        parameters: what the model is told.
    """

    name: str
    backend: Literal["python", "onnxruntime"]
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    max_batch_size: int = 0
    default_model_filename: str | None = None
    gathering: Gathering | None = None
    num_instances: int = 1
    parameters: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return it in protobuf's text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def write(self, folder: Path) -> None:
        """Leave it in the folder of a model."""
        (folder / CONFIG_FILE).write_text(self.text(), encoding="utf-8")

    def _lines(self) -> Iterator[str]:
        yield f"name: {_quoted(self.name)}"
        yield f"backend: {_quoted(self.backend)}"
        yield f"max_batch_size: {self.max_batch_size}"
        if self.default_model_filename is not None:
            yield f"default_model_filename: {_quoted(self.default_model_filename)}"
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            for tensor in tensors:
                dims = ", ".join(map(str, tensor.dims))
                yield f"{kind} {{ name: {_quoted(tensor.name)} data_type: {tensor.data_type} dims: [ {dims} ] }}"
        yield f"instance_group {{ count: {self.num_instances} kind: KIND_CPU }}"
        if self.gathering is not None:
            yield from _gathering_lines(self.gathering, self.max_batch_size)
        for name, value in self.parameters.items():
            yield f"parameters {{ key: {_quoted(name)} value {{ string_value: {_quoted(value)} }} }}"


def _gathering_lines(gathering: Gathering, max_batch_size: int) -> Iterator[str]:
    yield "dynamic_batching {"
    yield f"  preferred_batch_size: {max_batch_size}"
    yield f"  max_queue_delay_microseconds: {round(gathering.wait_second * MICROSECOND_PER_SECOND)}"
    policy = []
    if gathering.deadline_second is not None:
        microseconds = round(gathering.deadline_second * MICROSECOND_PER_SECOND)
        policy = [
            "timeout_action: REJECT",
            f"default_timeout_microseconds: {microseconds}",
            "allow_timeout_override: true",
        ]
    if gathering.max_waiting is not None:
        policy.append(f"max_queue_size: {gathering.max_waiting}")
    if policy:
        yield f"  default_queue_policy {{ {' '.join(policy)} }}"
    yield "}"


def _quoted(text: str) -> str:
    """Return a string as the text format has it: JSON's escapes are among its own, all else stays as it is."""
    return json.dumps(text, ensure_ascii=False)
