"""An encoder-decoder as two ONNX graphs, built from its weights.

    encoder.onnx   input_ids, attention_mask [B, S]  ->  cross_key.i [B, H, D, S], cross_value.i [B, H, S, D]
    decoder.onnx   input_ids [B, K], parents [B x K], attention_mask [B, S], cross_key.i, cross_value.i,
                   past_key.i, past_value.i [P, H, L, D]
                   ->  logits [B x K, V], present_key.i, present_value.i [B x K, H, L + 1, D]

One decoder graph makes every step: it reads one more token a row, and in the first the past is of length 0. `parents`
says which of the P past rows each row goes on from. The keys and values of the cross-attention are computed once a
source, by the encoder, and shared by its K beams, whose queries are folded into one matrix. The vocabulary head is a
matrix of its own, so that it is stored in 8 bits like any other.

B sources, S source tokens, K beams, H heads, D head width, L tokens written, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from kilowit.parts.onnx_graph import Graph, Precision, Range
from kilowit.parts.seq2seq_weights import Attention, Layer, Linear, Norm, Seq2Seq, Stack

MASKED: Final = 1.0e30  # taken from the score of a padded position


def encoder_graph(
    model: Seq2Seq, precision: Precision, ranges: Mapping[str, Range] | None = None, is_contrib: bool = False
) -> Graph:
    """Build the encoder, with the keys and values that the decoder's cross-attention needs of it."""
    builder = _Builder(model, model.encoder, Graph(precision, ranges, is_contrib))
    graph = builder.graph
    ids = graph.input("input_ids", "int64", ["batch", "source"])
    mask = graph.input("attention_mask", "int64", ["batch", "source"])
    length = graph.size(ids, 1)
    x = builder.embed(ids, lambda table: graph.op("Slice", table, graph.ints(0), length, graph.ints(0)))
    bias = builder.mask_bias(mask)
    if model.encoder.distance_bias is not None:
        bias = graph.op("Add", bias, builder.distance_bias(length))
    elif is_contrib:  # which wants a row of its own for each query
        bias = graph.op("Expand", bias, graph.op("Concat", graph.ints(1, 1), length, graph.ints(1), axis=0))
    for i, layer in enumerate(model.encoder.layers):
        x = builder.sublayer(x, f"{i}.attention", layer.attention_norm, builder.self_attention(layer, i, bias))
        x = builder.sublayer(x, f"{i}.ffn", layer.ffn_norm, builder.ffn(layer, i))
    x = builder.norm(x, "final", model.encoder.final_norm)
    num_heads = model.decoder.num_heads
    for i, layer in enumerate(model.decoder.layers):
        assert layer.cross is not None
        key = builder.heads(graph.linear(x, f"{i}.cross_key", *layer.cross.key), 0, 2, 3, 1)
        value = builder.heads(graph.linear(x, f"{i}.cross_value", *layer.cross.value), 0, 2, 1, 3)
        width = layer.cross.key.weight.shape[0] // num_heads
        graph.output(key, f"cross_key.{i}", ["batch", num_heads, width, "source"])
        graph.output(value, f"cross_value.{i}", ["batch", num_heads, "source", width])
    return graph


def decoder_graph(model: Seq2Seq, precision: Precision, is_contrib: bool = False) -> Graph:
    """Build one step of the decoder."""
    builder = _Builder(model, model.decoder, Graph(precision, is_contrib=is_contrib))
    graph, num_heads = builder.graph, model.decoder.num_heads
    ids = graph.input("input_ids", "int64", ["batch", "beams"])
    parents = graph.input("parents", "int64", ["rows"])
    mask = graph.input("attention_mask", "int64", ["batch", "source"])
    bias = builder.mask_bias(mask)
    for i, layer in enumerate(model.decoder.layers):
        assert layer.cross is not None
        width = layer.attention.key.weight.shape[0] // num_heads
        cross_width = layer.cross.key.weight.shape[0] // num_heads
        graph.input(f"cross_key.{i}", "float32", ["batch", num_heads, cross_width, "source"])
        graph.input(f"cross_value.{i}", "float32", ["batch", num_heads, "source", cross_width])
        graph.input(f"past_key.{i}", "float32", ["past_rows", num_heads, "past", width])
        graph.input(f"past_value.{i}", "float32", ["past_rows", num_heads, "past", width])
    past = graph.size("past_key.0", 2)
    x = builder.embed(graph.reshape(ids, -1), lambda table: graph.op("Gather", table, past))
    own_bias = builder.step_bias(past) if model.decoder.distance_bias is not None else None
    for i, layer in enumerate(model.decoder.layers):
        own = builder.step_attention(layer, i, parents, own_bias)
        x = builder.sublayer(x, f"{i}.attention", layer.attention_norm, own)
        cross = builder.cross_attention(layer, i, ids, bias)
        x = builder.sublayer(x, f"{i}.cross", layer.cross_norm, cross)
        x = builder.sublayer(x, f"{i}.ffn", layer.ffn_norm, builder.ffn(layer, i))
    x = builder.norm(x, "final", model.decoder.final_norm)
    logits = graph.linear(x, "head", *model.head)
    graph.output(logits, "logits", ["rows", model.head.weight.shape[0]])
    return graph


Sublayer = Callable[[str], str]  # value in, value out


class _Builder:
    """Adds the layers of one side to its graph."""

    def __init__(self, model: Seq2Seq, stack: Stack, graph: Graph) -> None:
        self.model, self.stack, self.graph = model, stack, graph

    def embed(self, ids: str, at: Callable[[str], str]) -> str:
        """Look tokens up and add the rows of the position table that `at` takes, where there is one."""
        graph, stack = self.graph, self.stack
        x = graph.embedding(ids, "embeddings", self.model.embeddings)
        if stack.positions is not None:
            x = graph.op("Add", x, at(graph.stored("positions", stack.positions)))
        return self.norm(x, "embedding_norm", stack.embedding_norm)

    def norm(self, x: str, label: str, norm: Norm | None) -> str:
        if norm is None:
            return x
        if norm.bias is None:
            return self.graph.rms_norm(x, label, norm.weight, self.model.epsilon)
        return self.graph.layer_norm(x, label, norm.weight, norm.bias, self.model.epsilon)

    def sublayer(self, x: str, label: str, norm: Norm | None, compute: Sublayer) -> str:
        """Add what a sublayer computes to its input; normalize before or after."""
        label = f"{label}_norm"
        if self.model.norms_first:
            return self.graph.add(x, compute(self.norm(x, label, norm)))
        return self.norm(self.graph.add(x, compute(x)), label, norm)

    def ffn(self, layer: Layer, i: int) -> Sublayer:
        def compute(x: str) -> str:
            inner = [self.graph.linear(x, f"{i}.inner{n}", *linear) for n, linear in enumerate(layer.inner)]
            active = self.graph.activation(inner[0], self.model.activation)
            if len(inner) == 2:
                active = self.graph.op("Mul", active, inner[1])
            return self.graph.linear(active, f"{i}.outer", *layer.outer)

        return compute

    def heads(self, x: str, *axes: int) -> str:
        """Split [B, S, H x D] into heads [B, S, H, D], and give the axes another order."""
        return self.turn(self.graph.reshape(x, 0, 0, self.stack.num_heads, -1), *axes)

    def project(self, x: str, label: str, linears: tuple[Linear, ...], shape: tuple[int, ...]) -> list[str]:
        """Apply linear layers of one width as one, and split the result into heads."""
        weight = np.concatenate([linear.weight for linear in linears])
        has_bias = linears[0].bias is not None
        bias = np.concatenate([linear.bias for linear in linears]) if has_bias else None
        both = self.graph.linear(x, label, weight, bias)
        names = [f"{label}.part{n}" for n in range(len(linears))]
        parts = self.graph.ops("Split", both, names=names, axis=-1, num_outputs=len(linears))
        return [self.graph.reshape(part, *shape) for part in parts]

    def turn(self, x: str, *axes: int) -> str:
        return self.graph.op("Transpose", x, perm=list(axes))

    def mask_bias(self, mask: str) -> str:
        """Return 0 where a source has a token, a very low score elsewhere; [B, 1, 1, S]."""
        graph = self.graph
        absent = graph.op("Sub", graph.constant(1.0), graph.op("Cast", mask, to=1))
        return graph.reshape(graph.op("Mul", absent, graph.constant(-MASKED)), 0, 1, 1, -1)

    def distance_bias(self, length: str) -> str:
        """Return the bias of each pair of source positions, [H, S, S]."""
        graph = self.graph
        positions = self._range(length)
        distances = graph.op("Sub", graph.reshape(positions, 1, -1), graph.reshape(positions, -1, 1))
        return self._bias_at(distances)

    def step_bias(self, past: str) -> str:
        """Return the bias of each position up to the one that is written now, [H, 1, L + 1]."""
        graph = self.graph
        positions = self._range(graph.op("Add", past, graph.ints(1)))
        return self._bias_at(graph.reshape(graph.op("Sub", positions, past), 1, -1))

    def _range(self, length: str) -> str:
        scalar = self.graph.op("Squeeze", length)
        return self.graph.op("Range", self.graph.constant(0, "int64"), scalar, self.graph.constant(1, "int64"))

    def _bias_at(self, distances: str) -> str:
        graph, table = self.graph, self.stack.distance_bias
        furthest = graph.constant(table.shape[1] // 2, "int64")
        nearest = graph.op("Clip", distances, graph.op("Neg", furthest), furthest)
        # All heads of a distance at once, turned afterwards: a third of the time of a look-up for each head.
        rows = graph.op("Gather", graph.weights("distance_bias", table.T), graph.op("Add", nearest, furthest), axis=0)
        return self.turn(rows, 2, 0, 1)

    def self_attention(self, layer: Layer, i: int, bias: str) -> Sublayer:
        """Let every source token look at every other."""
        graph, num_heads, heads = self.graph, self.stack.num_heads, self.heads

        def compute(x: str) -> str:
            names = (f"{i}.own_query", f"{i}.own_key", f"{i}.own_value")
            query, key, value = (
                graph.linear(x, name, *linear) for name, linear in zip(names, _all_three(layer.attention), strict=True)
            )
            if graph.is_contrib:
                seen = graph.attend_fused(query, key, value, bias, num_heads)
            else:
                query, key, value = heads(query, 0, 2, 1, 3), heads(key, 0, 2, 3, 1), heads(value, 0, 2, 1, 3)
                seen = graph.reshape(self.turn(graph.attend(query, key, value, bias), 0, 2, 1, 3), 0, 0, -1)
            return graph.linear(seen, f"{i}.own_output", *layer.attention.output)

        return compute

    def step_attention(self, layer: Layer, i: int, parents: str, bias: str | None) -> Sublayer:
        """Let one new token a row look at those written before it, and put its keys and values with theirs."""
        graph, num_heads = self.graph, self.stack.num_heads
        width = layer.attention.key.weight.shape[0] // num_heads

        def compute(x: str) -> str:
            query, key, value = self.project(x, f"{i}.own", _all_three(layer.attention), (0, num_heads, 1, width))
            both = []
            for name, new in (("key", key), ("value", value)):
                past = graph.op("Gather", f"past_{name}.{i}", parents)
                both.append(graph.op("Concat", past, new, axis=2))
                graph.output(both[-1], f"present_{name}.{i}", ["rows", num_heads, "length", width])
            seen = graph.attend(query, self.turn(both[0], 0, 1, 3, 2), both[1], bias)
            return graph.linear(graph.reshape(seen, 0, num_heads * width), f"{i}.own_output", *layer.attention.output)

        return compute

    def cross_attention(self, layer: Layer, i: int, ids: str, bias: str) -> Sublayer:
        """Let the beams of a source look at it together."""
        graph, num_heads, cross = self.graph, self.stack.num_heads, layer.cross
        assert cross is not None
        width = cross.key.weight.shape[0] // num_heads

        def compute(x: str) -> str:
            shape = graph.op("Concat", graph.op("Shape", ids), graph.ints(num_heads, width), axis=0)
            rows = graph.linear(x, f"{i}.cross_query", *cross.query)
            query = self.turn(graph.op("Reshape", rows, shape), 0, 2, 1, 3)  # [B, H, K, D]
            seen = graph.attend(query, f"cross_key.{i}", f"cross_value.{i}", bias)
            together = graph.reshape(self.turn(seen, 0, 2, 1, 3), -1, num_heads * width)
            return graph.linear(together, f"{i}.cross_output", *cross.output)

        return compute


def _all_three(attention: Attention) -> tuple[Linear, Linear, Linear]:
    return attention.query, attention.key, attention.value
