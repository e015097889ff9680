# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Seeded random models of class EXACT, of every shape that the analyses know, written as model directories."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

Tensors = dict[str, np.ndarray]

_VECTORS = {"kind": "vectors", "size": 5}
_TOKENS = {"kind": "tokens", "vocab_size": 11, "scale": 0.7}
_POOLED = {"kind": "linear", "size": 4, "pooling": "mean"}


def _config(architecture: str, d: int, heads: int, f: int, layers: int, **more: object) -> dict:
    out = {"model_type": "spline_transformer", "architecture": architecture, "hidden_size": d, "num_attention_heads": heads, "intermediate_size": f}
    out |= {f"num_{stack}_layers": layers for stack in ("encoder", "decoder") if stack in architecture}
    return out | more


# Degrees are at most 81: above 95, traces approximate and promise less.
CONFIGS: dict[str, dict] = {
    "encoder_pooled": _config("encoder", 8, 2, 12, 1, input=_VECTORS, head=_POOLED),
    "encoder_two_layers": _config("encoder", 12, 3, 24, 2, input=_VECTORS, head=_POOLED, norm="affine", positions="learned", max_positions=8,
                                  final_norm=True),
    "encoder_four_layers": _config("encoder", 8, 2, 16, 4, input=_VECTORS, head=_POOLED),
    "encoder_tokens": _config("encoder", 10, 2, 16, 2, input=_TOKENS, head={"kind": "linear", "size": 3, "pooling": "first"}, positions="sinusoidal",
                              max_positions=16),
    "encoder_relu2": _config("encoder", 8, 2, 12, 1, input=_TOKENS, attention_activation="relu2", hidden_act="relu2", head=_POOLED),
    "encoder_hidden": _config("encoder", 6, 2, 9, 2, input=_VECTORS, head_dim=5, attention_scale=0.3, norm="affine", norm_placement="post"),
    "encoder_bare": _config("encoder", 8, 2, 12, 2, input=_VECTORS, residual=False, attention_normalizer="none", positions="sinusoidal", max_positions=9,
                            head={"kind": "linear", "size": 3}),
    "decoder_tokens": _config("decoder", 8, 2, 16, 2, input=_TOKENS, head={"kind": "linear", "size": 11}, positions="sinusoidal", max_positions=8),
    "decoder_vectors": _config("decoder", 9, 3, 12, 1, input=_VECTORS, attention_activation="relu2", norm="affine", norm_placement="post",
                               positions="learned", max_positions=6, head=_POOLED),
    "decoder_relu2_ffn": _config("decoder", 8, 2, 10, 1, input=_TOKENS, hidden_act="relu2", attention_normalizer="none"),
    "translator": _config("encoder_decoder", 8, 2, 12, 1, input=_TOKENS, target_input={"kind": "tokens", "vocab_size": 7}, norm="affine",
                          positions="sinusoidal", max_positions=8, head={"kind": "linear", "size": 7}),
    "translator_deep": _config("encoder_decoder", 8, 2, 12, 2, input=_VECTORS, target_input=_TOKENS, positions="learned", max_positions=8,
                               head={"kind": "linear", "size": 11}),
    "translator_relu2": _config("encoder_decoder", 6, 2, 8, 1, input=_VECTORS, target_input={"kind": "vectors", "size": 3}, attention_activation="relu2",
                                residual=False, head=_POOLED),
    "translator_post": _config("encoder_decoder", 8, 4, 12, 1, input=_VECTORS, target_input=_TOKENS, norm="affine", norm_placement="post", final_norm=True,
                               attention_normalizer="none", hidden_act="relu2"),
}


def head_dim(config: dict) -> int:
    """Width of one head."""
    return config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])


def input_of(config: dict, stack: str) -> dict:
    """The input of a stack."""
    return config["target_input"] if stack == "decoder" and "target_input" in config else config["input"]


def stacks_of(config: dict) -> list[str]:
    """The stacks in the order of evaluation."""
    return [stack for stack in ("encoder", "decoder") if stack in config["architecture"]]


def random_tensors(config: dict, rng: np.random.Generator) -> Tensors:
    """Float32 weights: a row of unit variance gives one of unit variance, about half of all gates are open, one in four biases is absent."""
    out: Tensors = {}
    d, inner, f = config["hidden_size"], config["num_attention_heads"] * head_dim(config), config["intermediate_size"]

    def put(name: str, shape: tuple[int, ...], deviation: float, mean: float = 0) -> None:
        out[name] = (mean + deviation * rng.standard_normal(shape)).astype(np.float32)

    def affine(name: str, outputs: int, inputs: int) -> None:
        put(name + ".weight", (outputs, inputs), inputs**-0.5)
        if rng.random() < 0.75:
            put(name + ".bias", (outputs,), 0.1)

    def norm(name: str) -> None:
        put(name + ".weight", (d,), 0.1, 1)
        put(name + ".bias", (d,), 0.1)

    for stack in stacks_of(config):
        read = input_of(config, stack)
        if read["kind"] == "tokens":
            put(f"{stack}.embed_tokens.weight", (read["vocab_size"], d), 1)
        else:
            affine(f"{stack}.input_proj", d, read["size"])
        if config.get("positions") == "learned":
            put(f"{stack}.embed_positions.weight", (config["max_positions"], d), 0.5)
        for layer in range(config[f"num_{stack}_layers"]):
            prefix = f"{stack}.layers.{layer}."
            for site in ["self_attn"] + ["cross_attn"] * (stack == "decoder" and "target_input" in config):
                for part in "qkv":
                    affine(f"{prefix}{site}.{part}_proj", inner, d)
                affine(f"{prefix}{site}.o_proj", d, inner)
                if "norm" in config:
                    norm(f"{prefix}{site}_norm")
            affine(prefix + "ffn.up_proj", f, d)
            affine(prefix + "ffn.down_proj", d, f)
            if "norm" in config:
                norm(prefix + "ffn_norm")
        if config.get("final_norm"):
            norm(f"{stack}.final_norm")
    if "head" in config:
        affine("head", config["head"]["size"], d)
    return out


def write(config: dict, tensors: Tensors, folder: Path) -> None:
    """A model directory: config.json and model.safetensors."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    header, offset = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(tensor.astype("<f4").tobytes() for tensor in tensors.values())
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
