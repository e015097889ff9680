# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""The mathematics of a model of class EXACT in PyTorch, float64, differentiable in its continuous inputs.

The served function is meant, without its rounding: weights, the attention's scale, an input's scale and sinusoidal positions are float32
numbers, everything else is float64.
"""

from __future__ import annotations

import numpy as np
import torch

import random_models

Tensor = torch.Tensor
# (stack, layer, site) -> arguments [..., head, token, index], of a feed-forward network with one head. NaN where a token does not see a key.
Gates = dict[tuple[str, int, str], Tensor]


def _activation(name: str, argument: Tensor) -> Tensor:
    gated = torch.relu(argument)
    return gated * gated if name == "relu2" else gated


class TorchModel:
    """A function of the continuous inputs, with any leading dimensions for batches."""

    def __init__(self, config: dict, tensors: random_models.Tensors) -> None:
        self.config = config
        self.tensors = {name: torch.from_numpy(tensor.astype(np.float64)) for name, tensor in tensors.items()}
        self.heads, self.head_dim = config["num_attention_heads"], random_models.head_dim(config)
        self.scale = float(np.float32(config.get("attention_scale", 1 / np.sqrt(self.head_dim))))

    def continuous(self, stack: str, sequence: np.ndarray) -> Tensor:
        """The continuous input that ids [tokens] or vectors [tokens, size] stand for."""
        read = random_models.input_of(self.config, stack)
        if read["kind"] == "tokens":
            return self.tensors[f"{stack}.embed_tokens.weight"][sequence] * float(np.float32(read.get("scale", 1.0)))
        return torch.from_numpy(sequence.astype(np.float64))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Gates]:
        """Outputs [..., rows, columns] of the last stack (the head's, where there is one) for an input of each stack, and the gates' arguments."""
        gates: Gates = {}
        x = None
        for stack, rows in zip(random_models.stacks_of(self.config), inputs):
            x = self._stack(stack, rows, x, gates)
        head = self.config.get("head")
        if head is None:
            return x, gates
        pooling = head.get("pooling", "none")
        if pooling == "mean":
            x = x.mean(dim=-2, keepdim=True)
        elif pooling == "first":
            x = x[..., :1, :]
        return self._affine("head", x), gates

    def _affine(self, name: str, x: Tensor) -> Tensor:
        y = x @ self.tensors[name + ".weight"].T
        bias = self.tensors.get(name + ".bias")
        return y if bias is None else y + bias

    def _norm(self, name: str, x: Tensor) -> Tensor:
        if "norm" not in self.config:
            return x
        return x * self.tensors[name + ".weight"] + self.tensors[name + ".bias"]

    def _positions(self, stack: str, tokens: int) -> Tensor | float:
        kind = self.config.get("positions", "none")
        if kind == "none":
            return 0.0
        if kind == "learned":
            return self.tensors[f"{stack}.embed_positions.weight"][:tokens]
        d = self.config["hidden_size"]
        columns = np.arange(d)
        angles = np.arange(tokens)[:, None] / 10000.0 ** (2.0 * (columns // 2) / d)
        return torch.from_numpy(np.where(columns % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32).astype(np.float64))

    def _stack(self, stack: str, rows: Tensor, memory: Tensor | None, gates: Gates) -> Tensor:
        x = self._affine(f"{stack}.input_proj", rows) if f"{stack}.input_proj.weight" in self.tensors else rows
        x = x + self._positions(stack, x.shape[-2])
        for layer in range(self.config[f"num_{stack}_layers"]):
            prefix = f"{stack}.layers.{layer}."

            def self_attention(z: Tensor) -> Tensor:
                return self._attention(prefix + "self_attn", z, z, stack == "decoder", gates, (stack, layer, "SELF_ATTENTION"))

            def cross_attention(z: Tensor) -> Tensor:
                return self._attention(prefix + "cross_attn", z, memory, False, gates, (stack, layer, "CROSS_ATTENTION"))

            def feed_forward(z: Tensor) -> Tensor:
                argument = self._affine(prefix + "ffn.up_proj", z)
                gates[stack, layer, "FEED_FORWARD"] = argument.unsqueeze(-3)
                return self._affine(prefix + "ffn.down_proj", _activation(self.config.get("hidden_act", "relu"), argument))

            x = self._branch(prefix + "self_attn_norm", x, self_attention)
            if memory is not None:
                x = self._branch(prefix + "cross_attn_norm", x, cross_attention)
            x = self._branch(prefix + "ffn_norm", x, feed_forward)
        return self._norm(f"{stack}.final_norm", x) if self.config.get("final_norm") else x

    def _branch(self, norm: str, x: Tensor, branch) -> Tensor:
        post = self.config.get("norm_placement") == "post"
        y = branch(x if post else self._norm(norm, x))
        if self.config.get("residual", True):
            y = x + y
        return self._norm(norm, y) if post else y

    def _attention(self, name: str, x: Tensor, memory: Tensor, causal: bool, gates: Gates, site: tuple[str, int, str]) -> Tensor:
        def split(part: str, rows: Tensor) -> Tensor:
            return self._affine(f"{name}.{part}_proj", rows).unflatten(-1, (self.heads, self.head_dim)).transpose(-2, -3)

        q, k, v = split("q", x), split("k", memory), split("v", memory)
        scores = self.scale * (q @ k.transpose(-1, -2))
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool)
        if causal:
            visible = visible.tril()
        gates[site] = torch.where(visible, scores, torch.nan)
        weights = torch.where(visible, _activation(self.config.get("attention_activation", "relu"), scores), 0.0)
        mixed = weights @ v
        if self.config.get("attention_normalizer", "visible") == "visible":
            mixed = mixed / visible.sum(dim=-1, keepdim=True)
        return self._affine(f"{name}.o_proj", mixed.transpose(-2, -3).flatten(-2))


def flat_gates(gates: Gates, batch: int = 0) -> Tensor:
    """All arguments in one row (for each of the first `batch` dimensions), in the order of evaluation; invisible ones are left out."""
    parts = []
    for argument in gates.values():
        flat = argument.flatten(batch)
        parts.append(flat[..., ~torch.isnan(flat.reshape(-1, flat.shape[-1])[0])])
    return torch.cat(parts, dim=-1)


def gate_ids(gates: Gates, batch: int = 0) -> list[tuple[str, int, str, int, int, int]]:
    """(stack, layer, site, token, head, index) of every argument of flat_gates."""
    out = []
    for (stack, layer, site), argument in gates.items():
        one = argument[(0,) * batch]
        out += [(stack, layer, site, t, h, i) for h, t, i in torch.nonzero(~torch.isnan(one)).tolist()]
    return out
