# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""A model directory as ONNX graphs, written as an expert would for speed.

Query, key and value projections are one product; the attention scale and, where the number of visible keys is known, its reciprocal
are multiplied into the query weights (ReLU is positively homogeneous); every projection is a two-dimensional Gemm, into which the
runtimes fuse bias and ReLU. Generation is two graphs: `source` (ids and mask -> keys and values of cross-attention) and `step` (one
token and past keys and values -> next token, logits, keys and values). Keys are kept transposed, as their product wants them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import models

Array = np.ndarray


class Graph:
    """Collects nodes, initializers, inputs and outputs; every method returns the name of its result."""

    def __init__(self, config: dict, tensors: dict[str, Array]) -> None:
        self.config, self.tensors = config, tensors
        self.nodes, self.constants, self.inputs, self.outputs = [], {}, [], []
        self.heads = config["num_attention_heads"]
        self.head_dim = config.get("head_dim", config["hidden_size"] // self.heads)
        self.scale = np.float32(config.get("attention_scale", self.head_dim**-0.5))
        if config.get("norm", "none") != "none" or config.get("attention_activation", "relu") != "relu":
            raise ValueError("ONNX export: models without norms and with ReLU attention only")

    def op(self, kind: str, *inputs: str, output: str = "", **attributes) -> str:
        """One node with one result."""
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def split(self, x: str, sizes: list[int], axis: int) -> list[str]:
        """Parts of x along an axis."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.ints(sizes)], names, axis=axis))
        return names

    def constant(self, name: str, value: Array) -> str:
        """A weight."""
        self.constants.setdefault(name, np.ascontiguousarray(value))
        return name

    def ints(self, values: list[int]) -> str:
        """A constant list of int64."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def input(self, name: str, kind: int, shape: list) -> str:
        """A graph input."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int, shape: list) -> None:
        """Marks a result as a graph output."""
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def affine(self, x: str, names: list[str], factors: list[float] | None = None) -> str:
        """x [T, in] times the named projections' weights side by side, plus their biases."""
        factors = factors or [1.0] * len(names)
        weight = np.concatenate([self.tensors[n + ".weight"] * np.float32(c) for n, c in zip(names, factors)])
        zero = [np.zeros(self.tensors[n + ".weight"].shape[0], np.float32) for n in names]
        bias = np.concatenate([self.tensors.get(n + ".bias", z) * np.float32(c) for n, z, c in zip(names, zero, factors)])
        name = "+".join(names)
        return self.op("Gemm", x, self.constant(name + ".weight", weight.T), self.constant(name + ".bias", bias))

    def heads_first(self, x: str, shape: str, transposed: bool = False) -> str:
        """[T, h*k] -> [B, h, S, k], or [B, h, k, S]; `shape` names [B, S, h, k]."""
        return self.op("Transpose", self.op("Reshape", x, shape), perm=[0, 2, 3, 1] if transposed else [0, 2, 1, 3])

    def attend(self, q: str, k: str, v: str, inverse: str = "") -> str:
        """ReLU attention; rows [T, h*k]. `inverse` is 1 / visible keys where that is not in q already."""
        mixed = self.op("MatMul", self.op("Relu", self.op("MatMul", q, k)), v)
        if inverse:
            mixed = self.op("Mul", mixed, inverse)
        return self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), self.ints([-1, self.heads * self.head_dim]))

    def feed_forward(self, x: str, layer: str) -> str:
        """x + down(relu(up x))."""
        hidden = self.op("Relu", self.affine(x, [layer + ".ffn.up_proj"]))
        return self.op("Add", x, self.affine(hidden, [layer + ".ffn.down_proj"]))

    def embed(self, ids: str, stack: str, positions: str) -> str:
        """Ids of any shape -> rows, with positions added."""
        weight = self.tensors[f"{stack}.embed_tokens.weight"]
        weight = weight * np.float32(self.config["input" if stack == "encoder" or "target_input" not in self.config else "target_input"].get("scale", 1))
        return self.op("Add", self.op("Gather", self.constant(f"{stack}.embed", weight), ids), positions)

    def save(self, path: Path) -> None:
        """Writes the graph, weights in a file beside it so that a runtime can map them."""
        weights = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "spline_transformer", self.inputs, self.outputs, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path.with_suffix(".weights").unlink(missing_ok=True)
        onnx.save(model, path, save_as_external_data=True, location=path.stem + ".weights", size_threshold=1024)


def export_encoder(folder: Path, sequences: int, tokens: int, path: Path) -> None:
    """Sequences of one length, fixed: ids [B, S] or vectors [B, S, n] -> `out` [B*S, d], or [B, m] where the head pools."""
    graph = Graph(*models.read(folder))
    config, tensors = graph.config, graph.tensors
    shape = graph.ints([sequences, tokens, graph.heads, graph.head_dim])
    positions = tensors["encoder.embed_positions.weight"][:tokens]
    if config["input"]["kind"] == "tokens":
        ids = graph.input("ids", TensorProto.INT64, [sequences, tokens])
        x = graph.op("Reshape", graph.embed(ids, "encoder", graph.constant("positions", positions)), graph.ints([-1, config["hidden_size"]]))
    else:
        vectors = graph.input("vectors", TensorProto.FLOAT, [sequences * tokens, config["input"]["size"]])
        x = graph.op("Add", graph.affine(vectors, ["encoder.input_proj"]), graph.constant("positions", np.tile(positions, (sequences, 1))))
    for index in range(config["num_encoder_layers"]):
        x = _encoder_layer(graph, x, f"encoder.layers.{index}", shape, 1 / tokens, "", "")
    size = config["hidden_size"]
    if config.get("head", {}).get("kind") == "linear":
        size = config["head"]["size"]
        if config["head"].get("pooling") == "mean":
            x = graph.op("Reshape", x, graph.ints([sequences, tokens, config["hidden_size"]]))
            x = graph.op("ReduceMean", x, axes=[1], keepdims=0)
        x = graph.affine(x, ["head"])
    graph.op("Identity", x, output="out")
    graph.output("out", TensorProto.FLOAT, [None, size])
    graph.save(path)


def export_source(folder: Path, path: Path) -> None:
    """Encoder of an encoder_decoder: ids and mask [B, S] of any size -> `keys.L` [B, h, k, S], `values.L`, `inverse`."""
    graph = Graph(*models.read(folder))
    ids = graph.input("ids", TensorProto.INT64, ["B", "S"])
    mask = graph.input("mask", TensorProto.FLOAT, ["B", "S"])
    batch_and_length = graph.op("Shape", ids)
    shape = graph.op("Concat", batch_and_length, graph.ints([graph.heads, graph.head_dim]), axis=0)
    length = graph.op("Gather", batch_and_length, graph.ints([1]))
    positions = graph.constant("positions", graph.tensors["encoder.embed_positions.weight"])
    x = graph.embed(ids, "encoder", graph.op("Slice", positions, graph.ints([0]), length))
    x = graph.op("Reshape", x, graph.ints([-1, graph.config["hidden_size"]]))
    # The score of a padded key is 0, so its gate is closed; the number of real keys divides.
    key_mask = graph.op("Unsqueeze", mask, graph.ints([1, 2]))
    inverse = graph.op("Reciprocal", graph.op("ReduceSum", key_mask, graph.ints([3]), keepdims=1))
    for index in range(graph.config["num_encoder_layers"]):
        x = _encoder_layer(graph, x, f"encoder.layers.{index}", shape, 1.0, key_mask, inverse)
    for index in range(graph.config["num_decoder_layers"]):
        name = f"decoder.layers.{index}.cross_attn"
        width = graph.heads * graph.head_dim
        keys, values = graph.split(graph.affine(x, [name + ".k_proj", name + ".v_proj"]), [width, width], axis=1)
        graph.op("Mul", graph.heads_first(keys, shape, transposed=True), key_mask, output=f"keys.{index}")
        graph.op("Identity", graph.heads_first(values, shape), output=f"values.{index}")
        graph.output(f"keys.{index}", TensorProto.FLOAT, ["B", graph.heads, graph.head_dim, "S"])
        graph.output(f"values.{index}", TensorProto.FLOAT, ["B", graph.heads, "S", graph.head_dim])
    graph.op("Identity", inverse, output="inverse")
    graph.output("inverse", TensorProto.FLOAT, ["B", 1, 1, 1])
    graph.save(path)


def export_step(folder: Path, path: Path) -> None:
    """One decoder position: ids [B], position [1], past and source keys and values -> `next` [B], `logits`, `new_*`."""
    graph = Graph(*models.read(folder))
    config, h, k = graph.config, graph.heads, graph.head_dim
    width = h * k
    cross = config["architecture"] == "encoder_decoder"
    ids = graph.input("ids", TensorProto.INT64, ["B"])
    position = graph.input("position", TensorProto.INT64, [1])
    positions = graph.op("Gather", graph.constant("positions", graph.tensors["decoder.embed_positions.weight"]), position)
    x = graph.embed(ids, "decoder", positions)
    counted = graph.op("Cast", graph.op("Add", position, graph.ints([1])), to=TensorProto.FLOAT)
    inverse = graph.op("Reciprocal", counted)
    source_inverse = graph.input("inverse", TensorProto.FLOAT, ["B", 1, 1, 1]) if cross else ""
    query_shape, key_shape = graph.ints([-1, h, 1, k]), graph.ints([-1, h, k, 1])
    for index in range(config["num_decoder_layers"]):
        layer = f"decoder.layers.{index}"
        names = [f"{layer}.self_attn.{part}_proj" for part in "qkv"]
        q, key, value = graph.split(graph.affine(x, names, [graph.scale, 1, 1]), [width] * 3, axis=1)
        past_k = graph.input(f"past_keys.{index}", TensorProto.FLOAT, ["B", h, k, "P"])
        past_v = graph.input(f"past_values.{index}", TensorProto.FLOAT, ["B", h, "P", k])
        new_k = graph.op("Concat", past_k, graph.op("Reshape", key, key_shape), axis=3, output=f"new_keys.{index}")
        new_v = graph.op("Concat", past_v, graph.op("Reshape", value, query_shape), axis=2, output=f"new_values.{index}")
        graph.output(new_k, TensorProto.FLOAT, ["B", h, k, None])
        graph.output(new_v, TensorProto.FLOAT, ["B", h, None, k])
        mixed = graph.attend(graph.op("Reshape", q, query_shape), new_k, new_v, inverse)
        x = graph.op("Add", x, graph.affine(mixed, [layer + ".self_attn.o_proj"]))
        if cross:
            q = graph.op("Reshape", graph.affine(x, [layer + ".cross_attn.q_proj"], [graph.scale]), query_shape)
            keys = graph.input(f"keys.{index}", TensorProto.FLOAT, ["B", h, k, "S"])
            values = graph.input(f"values.{index}", TensorProto.FLOAT, ["B", h, "S", k])
            x = graph.op("Add", x, graph.affine(graph.attend(q, keys, values, source_inverse), [layer + ".cross_attn.o_proj"]))
        x = graph.feed_forward(x, layer)
    logits = graph.op("Identity", graph.affine(x, ["head"]), output="logits")
    graph.op("ArgMax", logits, axis=1, keepdims=0, output="next")
    graph.output("next", TensorProto.INT64, ["B"])
    graph.output("logits", TensorProto.FLOAT, ["B", config["head"]["size"]])
    graph.save(path)


def _encoder_layer(graph: Graph, x: str, layer: str, shape: str, folded_inverse: float, key_mask: str, inverse: str) -> str:
    names = [f"{layer}.self_attn.{part}_proj" for part in "qkv"]
    width = graph.heads * graph.head_dim
    q, k, v = graph.split(graph.affine(x, names, [graph.scale * folded_inverse, 1, 1]), [width] * 3, axis=1)
    k = graph.heads_first(k, shape, transposed=True)
    if key_mask:
        k = graph.op("Mul", k, key_mask)
    mixed = graph.attend(graph.heads_first(q, shape), k, graph.heads_first(v, shape), inverse)
    x = graph.op("Add", x, graph.affine(mixed, [layer + ".self_attn.o_proj"]))
    return graph.feed_forward(x, layer)


def export(folder: Path, inputs: Path, out: Path) -> None:
    """Writes into `out` the graphs that these inputs need."""
    content = json.loads(inputs.read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    if content["mode"] == "encode":
        first = content["sequences"][0]
        tokens = len(first) if isinstance(first, list) else first["rows"]
        export_encoder(folder, len(content["sequences"]), tokens, out / "encoder.onnx")
        return
    if json.loads((folder / "config.json").read_text(encoding="utf-8"))["architecture"] == "encoder_decoder":
        export_source(folder, out / "source.onnx")
    export_step(folder, out / "step.onnx")
