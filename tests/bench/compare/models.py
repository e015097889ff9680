# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Random models with a chosen fraction of open gates, written as model directories.

The weights are normal numbers from a seed. One float32 forward pass over calibration tokens then sets, layer by layer, what the
workload asks for:

* attention: dimension 0 of every head is reserved. Its q and k weights are zero, its biases +b and -b (or +b and +b), so that every
  score of the head moves by -scale*b*b (or +), until the fraction of positive ones is right.
* feed-forward: every unit is centred over the tokens, then all units of a layer move by one number. Which units are open thus
  differs from token to token.
* the output of either branch is scaled to a part of the size of the rows that it is added to, the smaller the deeper the model: ReLU
  attention is cubic, so whatever a sequence has more than the calibrated ones grows from layer to layer.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

Array = np.ndarray


def _gain(layers: int) -> float:
    """Size of a branch's output beside its input's. At 0.3 a model of 16 layers overflowed; 1.2 / layers bounds the growth of a deviation."""
    return min(0.3, 1.2 / layers)


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a random model; tokens in, rows (encoder) or next-token logits (decoder) out."""

    architecture: str
    d: int
    layers: int
    heads: int
    f: int
    vocab: int = 1000
    attention_activation: str = "relu"

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.d // self.heads

    def multiply_adds(self, tokens: int) -> int:
        """Of the layers for one sequence, all gates counted as open: per token, then per (query, key) pair."""
        per_token = 4 * self.d * self.d + 2 * self.d * self.f
        pairs = tokens * tokens if self.architecture == "encoder" else tokens * (tokens + 1) // 2
        return self.layers * (tokens * per_token + 2 * self.d * pairs)


def read(folder: Path) -> tuple[dict, dict[str, Array]]:
    """A model directory's configuration and its tensors as float32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = {name: tensor.astype(np.float32, copy=False) for name, tensor in load_file(folder / "model.safetensors").items()}
    return config, tensors


def write(shape: Shape, open_attention: float, open_feed_forward: float, ids: Array, max_positions: int, seed: int, folder: Path) -> None:
    """Writes the model, calibrated on `ids` [sequences, tokens], of which the workload's should be part. The same arguments give the same files."""
    rng = np.random.default_rng(seed)
    stack = shape.architecture
    tensors: dict[str, Array] = {}

    def normal(name: str, rows: int, cols: int, deviation: float) -> Array:
        tensors[name] = (rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(deviation)).astype(np.float32)
        return tensors[name]

    embed = normal(f"{stack}.embed_tokens.weight", shape.vocab, shape.d, 0.8)
    positions = normal(f"{stack}.embed_positions.weight", max_positions, shape.d, 0.6)
    x = embed[ids] + positions[: ids.shape[1]]
    for layer in range(shape.layers):
        prefix = f"{stack}.layers.{layer}"
        x = _attention(shape, x, prefix, open_attention, tensors, normal)
        x = _feed_forward(shape, x, prefix, open_feed_forward, tensors, normal)
    config = {
        "model_type": "spline_transformer", "architecture": stack, "hidden_size": shape.d, "num_attention_heads": shape.heads,
        "intermediate_size": shape.f, f"num_{stack}_layers": shape.layers, "attention_activation": shape.attention_activation,
        "norm": "none", "input": {"kind": "tokens", "vocab_size": shape.vocab}, "positions": "learned", "max_positions": max_positions,
    }
    if stack == "decoder":
        normal("head.weight", shape.vocab, shape.d, 2 / np.sqrt(shape.d) / _size(x))
        tensors["head.bias"] = np.zeros(shape.vocab, np.float32)
        config["head"] = {"kind": "linear", "size": shape.vocab}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{folder}: {name} is not finite")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _size(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _threshold(arguments: Array, fraction: float) -> float:
    """The number that `fraction` of the arguments exceed."""
    flat = arguments.ravel()
    if flat.size > 2_000_000:  # a quantile needs no more
        flat = flat[:: flat.size // 1_000_000]
    return float(np.quantile(flat, 1 - fraction))


def _branch(x: Array, inner: Array, name: str, shape: Shape, tensors: dict[str, Array], normal) -> Array:
    """x + projection of `inner`, scaled to a part of x."""
    weight = normal(name + ".weight", shape.d, inner.shape[-1], 1 / np.sqrt(inner.shape[-1]))
    out = inner @ weight.T
    gain = np.float32(_gain(shape.layers) * _size(x) / max(_size(out), 1e-20))
    weight *= gain
    tensors[name + ".bias"] = np.zeros(shape.d, np.float32)
    return x + out * gain


def _attention(shape: Shape, x: Array, prefix: str, fraction: float, tensors: dict[str, Array], normal) -> Array:
    k = shape.head_dim
    scale = np.float32(k**-0.5)
    rows = {}
    for part in "qkv":
        name = f"{prefix}.self_attn.{part}_proj"
        weight = normal(name + ".weight", shape.d, shape.d, 1 / np.sqrt(shape.d) / _size(x))
        if part != "v":
            weight[::k] = 0
        tensors[name + ".bias"] = np.zeros(shape.d, np.float32)
        rows[part] = (x @ weight.T).reshape(*x.shape[:2], shape.heads, k).transpose(0, 2, 1, 3)
    visible = np.tri(x.shape[1], dtype=bool) if shape.architecture == "decoder" else np.ones((x.shape[1],) * 2, bool)
    mixed = np.empty_like(rows["v"])
    for head in range(shape.heads):
        scores = scale * (rows["q"][:, head] @ rows["k"][:, head].transpose(0, 2, 1))
        shift = _threshold(scores[:, visible], fraction)
        bias = np.float32(np.sqrt(abs(shift) / scale))
        tensors[f"{prefix}.self_attn.q_proj.bias"][head * k] = bias
        tensors[f"{prefix}.self_attn.k_proj.bias"][head * k] = -bias if shift > 0 else bias
        gates = np.where(visible, np.maximum(scores - np.float32(shift), 0), np.float32(0))
        mixed[:, head] = (gates @ rows["v"][:, head]) / visible.sum(axis=-1).astype(np.float32)[:, None]
    mixed = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
    return _branch(x, mixed, f"{prefix}.self_attn.o_proj", shape, tensors, normal)


def _feed_forward(shape: Shape, x: Array, prefix: str, fraction: float, tensors: dict[str, Array], normal) -> Array:
    name = f"{prefix}.ffn.up_proj"
    arguments = x @ normal(name + ".weight", shape.f, shape.d, 1 / np.sqrt(shape.d) / _size(x)).T
    centre = arguments.reshape(-1, shape.f).mean(axis=0)
    arguments -= centre
    shift = np.float32(_threshold(arguments, fraction))
    tensors[name + ".bias"] = (-centre - shift).astype(np.float32)
    return _branch(x, np.maximum(arguments - shift, 0), f"{prefix}.ffn.down_proj", shape, tensors, normal)
