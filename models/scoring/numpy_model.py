# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""A second, independent evaluator of exported model directories, in NumPy: it shares no code with the training.

It follows the model format's mathematics for learned or no positions, ReLU or SoftMax attention, ReLU feed-forward, pre-norm with
norm `none`, `affine` or `layer_norm`. Sums run in NumPy's order, so results agree with the server to rounding, not bit for bit.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

Array = np.ndarray


class NumpyModel:
    """A model directory; `encode` and `decode` take a batch of sequences of one length, without padding."""

    def __init__(self, folder: Path, dtype: type = np.float32) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        c = self.config
        supported = {"attention_activation": ("relu", "softmax"), "hidden_act": ("relu",), "norm": ("none", "affine", "layer_norm"),
                     "norm_placement": ("pre",), "attention_normalizer": ("visible",), "residual": (True,), "positions": ("none", "learned")}
        for name, values in supported.items():
            if name in c and c[name] not in values:
                raise ValueError(f"{folder}/config.json: {name} is {c[name]!r}, this evaluator knows {values}")
        self.tensors = {name: tensor.astype(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
        for name, tensor in self.tensors.items():
            if not np.isfinite(tensor).all():
                raise ValueError(f"{folder}: {name} is not finite")
        self.unused = set(self.tensors)
        self.heads, self.head_dim = c["num_attention_heads"], c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
        self.scale = dtype(c.get("attention_scale", self.head_dim**-0.5))
        self.gates: dict[str, list[float]] | None = None

    def vocabulary(self, folder: Path, field: str = "vocabulary") -> list[str]:
        """Entries of a vocabulary file, by id."""
        return (folder / self.config[field]["file"]).read_text(encoding="utf-8").splitlines()

    def count_gates(self) -> None:
        """From now on, counts open and all gates of every site in `gates`."""
        self.gates = {}

    def open_fractions(self) -> dict[str, float]:
        """Open fraction of every site, then of all attention and of all feed-forward gates."""
        out = {site: opened / total for site, (opened, total) in sorted(self.gates.items())}
        for kind in ("attention", "feed_forward"):
            chosen = [count for site, count in self.gates.items() if site.endswith(kind)]
            if chosen:
                out["all " + kind] = sum(opened for opened, _ in chosen) / sum(total for _, total in chosen)
        return out

    def encode(self, source: Array) -> Array:
        """Ids [B, S] or vectors [B, S, n] -> final encoder rows [B, S, d]."""
        return self._stack("encoder", source, None, "input")

    def decode(self, target: Array, memory: Array | None = None) -> Array:
        """Ids [B, T], with encoder rows [B, S, d] in an encoder_decoder -> final decoder rows [B, T, d]."""
        return self._stack("decoder", target, memory, "input" if memory is None else "target_input")

    def head(self, rows: Array) -> Array:
        """[B, T, d] -> [B, T, m], or [B, m] where the head pools."""
        pooling = self.config["head"].get("pooling", "none")
        if pooling != "none":
            rows = rows.mean(axis=1) if pooling == "mean" else rows[:, 0]
        return self._affine(rows, "head")

    def _get(self, name: str) -> Array:
        self.unused.discard(name)
        return self.tensors[name]

    def _affine(self, x: Array, name: str) -> Array:
        y = x @ self._get(name + ".weight").T
        return y + self._get(name + ".bias") if name + ".bias" in self.tensors else y

    def _norm(self, x: Array, name: str) -> Array:
        kind = self.config.get("norm", "none")
        if kind == "none":
            return x
        if kind == "layer_norm":
            eps = self.config.get("norm_eps", 1e-5)
            x = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(eps))
        x = x * self._get(name + ".weight")
        return x + self._get(name + ".bias") if name + ".bias" in self.tensors else x

    def _count(self, site: str, opened: float, total: float) -> None:
        if self.gates is not None:
            before = self.gates.get(site, [0.0, 0.0])
            self.gates[site] = [before[0] + opened, before[1] + total]

    def _attention(self, x: Array, memory: Array, name: str, causal: bool, site: str) -> Array:
        def split(rows: Array) -> Array:  # [B, T, h·k] -> [B, h, T, k]
            return rows.reshape(*rows.shape[:2], self.heads, self.head_dim).transpose(0, 2, 1, 3)

        q, k, v = (split(self._affine(rows, f"{name}.{part}_proj")) for rows, part in ((x, "q"), (memory, "k"), (memory, "v")))
        scores = self.scale * (q @ k.transpose(0, 1, 3, 2))
        visible = np.tri(scores.shape[2], dtype=bool) if causal else np.ones(scores.shape[2:], dtype=bool)
        if self.config.get("attention_activation", "relu") == "softmax":
            scores = np.where(visible, scores, -np.inf)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            mixed = (weights / weights.sum(axis=-1, keepdims=True)) @ v
        else:
            gates = np.where(visible & (scores > 0), scores, scores.dtype.type(0))
            self._count(site, float((gates > 0).sum()), float(visible.sum() * scores.shape[0] * scores.shape[1]))
            mixed = (gates @ v) / visible.sum(axis=-1).astype(scores.dtype)[:, None]
        mixed = mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1)
        return self._affine(mixed, name + ".o_proj")

    def _stack(self, stack: str, source: Array, memory: Array | None, field: str) -> Array:
        kind = self.config[field]
        if kind["kind"] == "tokens":
            x = self._get(stack + ".embed_tokens.weight")[source]
            x = x * x.dtype.type(kind.get("scale", 1.0))
        else:
            x = self._affine(source.astype(self._get(stack + ".input_proj.weight").dtype), stack + ".input_proj")
        if self.config.get("positions", "none") == "learned":
            x = x + self._get(stack + ".embed_positions.weight")[: x.shape[1]]
        causal = stack == "decoder"
        for index in range(self.config[f"num_{stack}_layers"]):
            layer, site = f"{stack}.layers.{index}", f"{stack}.{index}"
            normed = self._norm(x, layer + ".self_attn_norm")
            x = x + self._attention(normed, normed, layer + ".self_attn", causal, site + ".self_attention")
            if memory is not None:
                normed = self._norm(x, layer + ".cross_attn_norm")
                x = x + self._attention(normed, memory, layer + ".cross_attn", False, site + ".cross_attention")
            hidden = self._affine(self._norm(x, layer + ".ffn_norm"), layer + ".ffn.up_proj")
            self._count(site + ".feed_forward", float((hidden > 0).sum()), float(hidden.size))
            x = x + self._affine(np.maximum(hidden, 0), layer + ".ffn.down_proj")
        return self._norm(x, stack + ".final_norm") if self.config.get("final_norm") else x
