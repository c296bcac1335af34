"""Write an ONNX graph node by node: what the exporter of encoder-decoders needs, with its weights in a file beside it.

Built rather than traced: a graph takes a second instead of a minute, holds nothing but what is computed, and depends on
no tracer. Linear layers come in the number formats that a runtime on the CPU gains from:

    fp32         as trained
    fp16         stored in half precision, computed in fp32: half the file
    int8         weights in 8 bits, one scale a column; inputs to 8 bits at run time, one scale a row
    int8_block   both in 8 bits with one scale a block of 128 of a row: finer, and as fast where rows are few
    int8_static  weights as in int8; inputs to 8 bits by a scale of the whole tensor, measured before
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

Precision = Literal["fp32", "fp16", "int8", "int8_block", "int8_static"]
OPSET: Final = 20  # the first with Gelu
CONTRIB, CONTRIB_VERSION = "com.microsoft", 1
IR_VERSION: Final = 10  # read by every ONNX Runtime since 1.18
ALIGNMENT_BYTE: Final = 4096  # of weights in their file: a runtime maps pages, and copies what begins within one
LARGEST_INT8, LARGEST_UINT8 = 127, 255
MIDDLE_UINT8: Final = 128
BLOCK_SIZE: Final = 128
SMALLEST_SCALE: Final = 1e-20  # of a row of zeros, which has none
STEPS_BELOW_ZERO: Final = 16  # of 255, for what GELU leaves there: never below -0.171, beside 3 or more above
TYPES: Final = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


class Range(NamedTuple):
    """Smallest and largest value that the input of a linear layer took."""

    low: float
    high: float


class Graph:
    """A graph in the making; values are known by name.

    Args:
        precision: number format of linear layers and embeddings.
        ranges: of the inputs of linear layers, by label; int8_static needs it.
        is_contrib: may have the operators that ONNX Runtime adds to ONNX's own; int8 and int8_block have to.
    """

    def __init__(
        self, precision: Precision = "fp32", ranges: Mapping[str, Range] | None = None, is_contrib: bool = False
    ) -> None:
        self.precision, self.ranges, self.is_contrib = precision, ranges or {}, is_contrib
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.arrays: dict[str, Any] = {}
        self.linear_inputs: dict[str, str] = {}  # label of a linear layer -> its input
        self.num_reduced = 0  # matrices in 8 or 16 bits
        self._renamed: dict[str, str] = {}  # value -> its name as an output
        self._constants: dict[tuple[str, bytes], str] = {}
        self._sums: dict[str, Any] = {}  # sum -> its node, where the norm of the sum may take it over
        self._steps: dict[str, tuple[str, str, str]] = {}  # value -> its 8-bit form, scale and zero point
        self._steps_below: dict[str, int] = {}  # value that hardly goes below zero -> 8-bit steps for what does

    def input(self, name: str, kind: str, shape: Sequence[int | str]) -> str:
        """Declare an input; words in `shape` name sizes that vary."""
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[kind], list(shape)))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str], kind: str = "float32") -> None:
        """Declare a value an output, under another name."""
        self._renamed[value] = name
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[kind], list(shape)))

    def measure(self, value: str) -> None:
        """Declare the smallest and the largest element of a value outputs: ``<value>.low`` and ``<value>.high``."""
        for kind, end in (("ReduceMin", "low"), ("ReduceMax", "high")):
            self.output(self.op(kind, value, keepdims=0), f"{value}.{end}", [])

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return its name."""
        return self.ops(kind, *inputs, names=[name or f"v{len(self.nodes)}"], **attributes)[0]

    def ops(self, kind: str, *inputs: str, names: Sequence[str], **attributes: Any) -> list[str]:
        """Add a node with several outputs and return their names."""
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), **attributes))
        return list(names)

    def weights(self, name: str, array: Any) -> str:
        """Add an array under its own name."""
        self.arrays[name] = np.ascontiguousarray(array)
        return name

    def constant(self, value: Any, kind: str = "float32") -> str:
        """Return the name of a small array; equal ones are one."""
        array = np.asarray(value, kind)
        key = (f"{kind}{array.shape}", array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.weights(f"c{len(self._constants)}", array)
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """Return the name of a list of integers, e.g. a shape."""
        return self.constant(list(values), "int64")

    def size(self, value: str, axis: int) -> str:
        """Return the size of an axis, a list of one."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def reshape(self, value: str, *shape: int) -> str:
        """Give another shape; 0 keeps a size, -1 is what is left."""
        return self.op("Reshape", value, self.ints(*shape))

    def linear(self, x: str, label: str, weight: Any, bias: Any = None) -> str:
        """Return ``x @ weight.T + bias`` of a layer as torch keeps it: weight [out, in]."""
        self.linear_inputs[label] = x
        matrix = np.ascontiguousarray(np.asarray(weight, np.float32).T)
        has_bias = bias is not None and np.any(bias)
        added = self.weights(f"{label}.bias", np.asarray(bias, np.float32)) if has_bias else None
        if self.precision == "int8_block":
            return self._product_blocks(x, label, matrix, added)
        if self.precision.startswith("int8"):
            product = self._product_8bit(x, label, matrix)
        else:
            product = self.op("MatMul", x, self.stored(f"{label}.weight", matrix))
        return product if added is None else self.op("Add", product, added)

    def stored(self, name: str, array: Any) -> str:
        """Return an array to compute with, stored in half precision where the graph is."""
        if self.precision != "fp16":
            return self.weights(name, np.asarray(array, np.float32))
        self.num_reduced += 1
        return self.op("Cast", self.weights(name, half(array)), to=TensorProto.FLOAT)

    def _product_8bit(self, x: str, label: str, matrix: Any) -> str:
        self.num_reduced += 1
        scales, integers = quantize(matrix, axis=0)
        weight, zeros = self.weights(f"{label}.weight", integers), self.constant(np.zeros(len(scales)), "int8")
        column_scales = self.weights(f"{label}.scale", scales)
        if self.precision == "int8":
            quantized, row_scales, zero = self._rows_8bit(x)
            one = self.constant(1.0)
            inputs = quantized, weight, one, column_scales, zero, zeros
            return self.op("Mul", self.op("MatMulIntegerToFloat", *inputs, domain=CONTRIB), row_scales)
        quantized, scale, zero = self._tensor_8bit(x, label)  # nodes that ONNX Runtime computes as one
        product = self.op("Cast", self.op("MatMulInteger", quantized, weight, zero, zeros), to=TensorProto.FLOAT)
        return self.op("Mul", product, self.op("Mul", scale, column_scales))

    def _product_blocks(self, x: str, label: str, matrix: Any, bias: str | None) -> str:
        """Multiply with a scale for each block of a column and of a row of the input; the latter come at run time."""
        self.num_reduced += 1
        num_inputs, num_outputs = matrix.shape
        padded = np.pad(matrix.T, ((0, 0), (0, -num_inputs % BLOCK_SIZE)))
        scales, integers = quantize(padded.reshape(num_outputs, -1, BLOCK_SIZE), axis=2)
        weight = self.weights(f"{label}.weight", (integers.astype(np.int16) + MIDDLE_UINT8).astype(np.uint8))
        names = [x, weight, self.weights(f"{label}.scale", scales.reshape(-1))]
        names += [] if bias is None else ["", "", bias]  # neither zero points nor groups
        sizes = {"K": num_inputs, "N": num_outputs, "bits": 8, "block_size": BLOCK_SIZE}
        return self.op("MatMulNBits", *names, domain=CONTRIB, accuracy_level=4, **sizes)  # 4: inputs in 8 bits too

    def _rows_8bit(self, x: str) -> tuple[str, str, str]:
        """Return a value in 8 bits, with the scales of its rows and its zero point; the same for all that read it."""
        if x not in self._steps:
            num_below = self._steps_below.get(x, MIDDLE_UINT8)
            num_above = LARGEST_UINT8 - num_below
            size = self.op("Abs", x) if num_below == MIDDLE_UINT8 else x
            scale = self._row_scale("ReduceMax", size, 1 / num_above)
            if num_below == STEPS_BELOW_ZERO:
                scale = self.op("Max", scale, self._row_scale("ReduceMin", x, -1 / num_below))
            scale = self.op("Max", scale, self.constant(SMALLEST_SCALE))
            zero = self.constant(num_below, "uint8")
            steps = self.op("Mul", x, self.op("Reciprocal", scale))
            quantized = self.op("QuantizeLinear", steps, self.constant(1.0), zero)
            self._steps[x] = quantized, scale, zero
        return self._steps[x]

    def _row_scale(self, kind: str, x: str, factor: float) -> str:
        return self.op("Mul", self.op(kind, x, self.ints(-1), keepdims=1), self.constant(factor))

    def _tensor_8bit(self, x: str, label: str) -> tuple[str, str, str]:
        """Return a value in 8 bits by the range that was measured, with scale and zero point."""
        if x not in self._steps:
            scale, zero = _scale_of(self.ranges[label])
            names = self.constant(scale), self.constant(zero, "uint8")
            self._steps[x] = self.op("QuantizeLinear", x, *names), *names
        return self._steps[x]

    def embedding(self, ids: str, label: str, table: Any) -> str:
        """Return the rows of a table [V, D]; in 8 bits with one scale a row."""
        if not self.precision.startswith("int8"):
            is_half = self.precision == "fp16"
            self.num_reduced += is_half
            rows = self.op("Gather", self.weights(label, half(table) if is_half else np.float32(table)), ids)
            return self.op("Cast", rows, to=TensorProto.FLOAT) if is_half else rows
        scales, integers = quantize(np.asarray(table, np.float32), axis=1)
        self.num_reduced += 1
        rows = self.op("Cast", self.op("Gather", self.weights(label, integers), ids), to=TensorProto.FLOAT)
        scale = self.op("Gather", self.weights(f"{label}.scale", scales[:, None]), ids)
        return self.op("Mul", rows, scale)

    def add(self, x: str, y: str) -> str:
        """Add two values of one shape; where the sum is normalized next, ONNX Runtime does both in one node."""
        total = self.op("Add", x, y)
        if self.is_contrib:
            self._sums[total] = self.nodes[-1]
        return total

    def _sum_and_norm(self, kind: str, total: str, *weights: str, epsilon: float) -> str:
        """Put a node that adds and normalizes in place of the one that adds."""
        addition = self._sums.pop(total)
        self.nodes.remove(addition)
        names = [f"{total}.norm", "", "", total]
        return self.ops(kind, *addition.input, *weights, names=names, domain=CONTRIB, epsilon=epsilon)[0]

    def layer_norm(self, x: str, label: str, weight: Any, bias: Any, epsilon: float) -> str:
        """Normalize the last axis to mean 0 and variance 1."""
        names = self.weights(f"{label}.weight", weight), self.weights(f"{label}.bias", bias)
        if x in self._sums:
            return self._sum_and_norm("SkipLayerNormalization", x, *names, epsilon=epsilon)
        return self.op("LayerNormalization", x, *names, epsilon=epsilon, axis=-1)

    def rms_norm(self, x: str, label: str, weight: Any, epsilon: float) -> str:
        """Divide the last axis by its root mean square; these are the nodes that ONNX Runtime computes as one."""
        if x in self._sums:
            name = self.weights(f"{label}.weight", weight)
            return self._sum_and_norm("SkipSimplifiedLayerNormalization", x, name, epsilon=epsilon)
        mean = self.op("ReduceMean", self.op("Pow", x, self.constant(2.0)), self.ints(-1), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.constant(epsilon)))
        return self.op("Mul", self.op("Div", x, root), self.weights(f"{label}.weight", weight))

    def activation(self, x: str, name: str) -> str:
        """Apply an activation by its name in transformers.

        Raises:
            KeyError: one that is not known.
        """
        kinds: dict[str, tuple[str, dict[str, str]]] = {
            "gelu": ("Gelu", {}), "gelu_new": ("Gelu", {"approximate": "tanh"}), "relu": ("Relu", {}),
        }  # fmt: skip
        kind, attributes = kinds[name]
        active = self.op(kind, x, **attributes)
        self._steps_below[active] = 0 if kind == "Relu" else STEPS_BELOW_ZERO
        return active

    def attend(self, queries: str, keys: str, values: str, bias: str | None) -> str:
        """Return the values that queries [.., T, D] find by keys [.., D, S], with a bias on the scores."""
        scores = self.op("MatMul", queries, keys)
        if bias is not None:
            scores = self.op("Add", scores, bias)
        return self.op("MatMul", self.op("Softmax", scores, axis=-1), values)

    def attend_fused(self, queries: str, keys: str, values: str, bias: str, num_heads: int) -> str:
        """Do the same to [B, T, H x D] and [B, S, H x D] in one node of ONNX Runtime's, with a bias [.., T, S].

        It turns no axes and adds the bias within the product: 0.8 of the time at 512 tokens (2026-11).
        """
        return self.op(
            "MultiHeadAttention", queries, keys, values, "", "", bias, domain=CONTRIB, num_heads=num_heads, scale=1.0
        )

    def save(self, path: Path) -> None:
        """Write the graph to `path` and its weights to ``<path>.data``."""
        tensors = []
        with (path.parent / f"{path.name}.data").open("wb") as file:
            for name, array in self.arrays.items():
                file.write(b"\0" * (-file.tell() % ALIGNMENT_BYTE if array.nbytes >= ALIGNMENT_BYTE else 0))
                tensors.append(_external(name, array, file.name, file.tell()))
                file.write(array.tobytes())
        for node in self.nodes:  # rather than a node that copies
            for names in (node.input, node.output):
                names[:] = [self._renamed.get(name, name) for name in names]
        graph = helper.make_graph(self.nodes, path.stem, self.inputs, self.outputs, tensors)
        opsets = [helper.make_opsetid("", OPSET)]
        if self.is_contrib:
            opsets.append(helper.make_opsetid(CONTRIB, CONTRIB_VERSION))
        model = helper.make_model(graph, producer_name="kilowit", opset_imports=opsets, ir_version=IR_VERSION)
        onnx.save(model, path)


def _external(name: str, array: Any, file: str, offset: int) -> Any:
    """Return a tensor whose bytes are in a file; small ones, shapes among them, have to be in the graph."""
    if array.nbytes < ALIGNMENT_BYTE:
        return onnx.numpy_helper.from_array(array, name)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", Path(file).name), ("offset", offset), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def quantize(matrix: Any, axis: int) -> tuple[Any, Any]:
    """Return scales and 8-bit integers of a matrix, one scale for what is left when `axis` is reduced.

    >>> [part.tolist() for part in quantize(np.float32([[127, 0], [-12.7, 0]]), axis=0)]
    [[1.0, 1.0], [[127, 0], [-13, 0]]]
    """
    largest = np.abs(matrix).max(axis=axis)
    scales = np.where(largest > 0, largest / LARGEST_INT8, 1).astype(np.float32)
    return scales, np.rint(matrix / np.expand_dims(scales, axis)).astype(np.int8)


def half(array: Any) -> Any:
    """Return an array in half precision, what is too large for it at its largest value."""
    limit = np.finfo(np.float16).max
    return np.clip(array, -limit, limit).astype(np.float16)


def _scale_of(seen: Range) -> tuple[float, int]:
    """Return scale and zero point that put a range, and zero, on 0 to 255."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    scale = (high - low) / LARGEST_UINT8 or 1.0
    return scale, round(-low / scale)
