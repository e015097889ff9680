# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch on the CPU: eager in inference mode, and compiled by Inductor with frozen weights; whichever is quicker is measured.

SPLINESERVE_TORCH_COMPILE=0 leaves compilation out (it takes up to a minute a workload and needs a C++ compiler).
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import peer_worker

Array = np.ndarray


class _Weights:
    """Projections by name, with the scale multiplied into the query weights and q, k, v side by side."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if self.config.get("norm", "none") != "none" or self.config.get("attention_activation", "relu") != "relu":
            raise ValueError("this peer runs models without norms and with ReLU attention")
        self.tensors = {name: tensor.float().clone() for name, tensor in load_file(folder / "model.safetensors").items()}
        self.heads = self.config["num_attention_heads"]
        self.head_dim = self.config.get("head_dim", self.config["hidden_size"] // self.heads)
        self.scale = self.config.get("attention_scale", self.head_dim**-0.5)

    def linear(self, names: list[str], factors: list[float] | None = None) -> torch.nn.Linear:
        """One layer of the named projections side by side; takes their tensors."""
        factors = factors or [1.0] * len(names)
        weight = torch.cat([self.tensors.pop(n + ".weight") * c for n, c in zip(names, factors)])
        parts = [self.tensors.pop(n + ".bias", None) for n in names]
        sizes = [weight.shape[0] // len(names)] * len(names)
        out = torch.nn.Linear(weight.shape[1], weight.shape[0])
        out.weight = torch.nn.Parameter(weight, requires_grad=False)
        bias = torch.cat([torch.zeros(size) if b is None else b * c for b, c, size in zip(parts, factors, sizes)])
        out.bias = torch.nn.Parameter(bias, requires_grad=False)
        return out


class _Layer(torch.nn.Module):
    """Self-attention, cross-attention where there is one, feed-forward."""

    def __init__(self, w: _Weights, name: str, cross: bool, folded_inverse: float = 1.0) -> None:
        super().__init__()
        self.heads, self.head_dim = w.heads, w.head_dim
        self.qkv = w.linear([f"{name}.self_attn.{p}_proj" for p in "qkv"], [w.scale * folded_inverse, 1, 1])
        self.o = w.linear([f"{name}.self_attn.o_proj"])
        self.up, self.down = w.linear([f"{name}.ffn.up_proj"]), w.linear([f"{name}.ffn.down_proj"])
        if cross:
            self.cross_q = w.linear([f"{name}.cross_attn.q_proj"], [w.scale])
            self.cross_kv = w.linear([f"{name}.cross_attn.k_proj", f"{name}.cross_attn.v_proj"])
            self.cross_o = w.linear([f"{name}.cross_attn.o_proj"])

    def split(self, rows: torch.Tensor, batch: int, parts: int) -> tuple[torch.Tensor, ...]:
        """[B*S, parts*h*k] -> `parts` tensors [B, h, S, k]."""
        return rows.view(batch, -1, parts, self.heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)

    @staticmethod
    def attend(q, k, v):
        """[B, h, S, k] -> [B*S, h*k]."""
        mixed = torch.matmul(F.relu(torch.matmul(q, k.transpose(-1, -2))), v)
        return mixed.transpose(1, 2).reshape(-1, mixed.shape[1] * mixed.shape[3])

    def feed_forward(self, x):
        """x + down(relu(up x))."""
        return x + self.down(F.relu(self.up(x)))

    def encode(self, x, batch: int, key_mask=None, inverse=None):
        """Encoder layer over rows [B*S, d]; mask [B, 1, S, 1] and inverse [B*S, 1] where sequences are padded."""
        q, k, v = self.split(self.qkv(x), batch, 3)
        if key_mask is None:
            mixed = self.attend(q, k, v)
        else:
            mixed = self.attend(q, k * key_mask, v) * inverse
        return self.feed_forward(x + self.o(mixed))

    def step(self, x, past_k, past_v, inverse, cross_k=None, cross_v=None, cross_inverse=None):
        """Decoder layer over one row a sequence [B, d]; also the new keys and values."""
        q, k, v = self.split(self.qkv(x), x.shape[0], 3)
        k, v = torch.cat((past_k, k), 2), torch.cat((past_v, v), 2)
        x = x + self.o(self.attend(q, k, v) * inverse)
        if cross_k is not None:
            (q,) = self.split(self.cross_q(x), x.shape[0], 1)
            x = x + self.cross_o(self.attend(q, cross_k, cross_v) * cross_inverse)
        return self.feed_forward(x), k, v


class _Encoder(torch.nn.Module):
    """Sequences of one length."""

    def __init__(self, folder: Path, tokens: int) -> None:
        super().__init__()
        w = _Weights(folder)
        self.config, self.tokens = w.config, tokens
        self.layers = torch.nn.ModuleList(_Layer(w, f"encoder.layers.{i}", False, 1 / tokens) for i in range(w.config["num_encoder_layers"]))
        self.register_buffer("positions", w.tensors["encoder.embed_positions.weight"][:tokens].clone())
        self.is_tokens = w.config["input"]["kind"] == "tokens"
        if self.is_tokens:
            self.register_buffer("embed", w.tensors["encoder.embed_tokens.weight"] * w.config["input"].get("scale", 1.0))
        else:
            self.input = w.linear(["encoder.input_proj"])
        self.head = w.linear(["head"]) if w.config.get("head", {}).get("kind") == "linear" else None

    def forward(self, value):
        """Ids [B, S] or vectors [B, S, n]."""
        batch = value.shape[0]
        x = (F.embedding(value, self.embed) if self.is_tokens else self.input(value)) + self.positions
        x = x.reshape(batch * self.tokens, -1)
        for layer in self.layers:
            x = layer.encode(x, batch)
        if self.head is not None:
            if self.config["head"].get("pooling") == "mean":
                x = x.view(batch, self.tokens, -1).mean(1)
            x = self.head(x)
        return x


class _Steps(peer_worker.StepModel):
    """The state: past keys and values, cross keys and values, reciprocal number of source tokens."""

    def __init__(self, folder: Path) -> None:
        w = _Weights(folder)
        self.config, self.heads, self.head_dim = w.config, w.heads, w.head_dim
        self.cross = w.config["architecture"] == "encoder_decoder"
        self.encoder = [_Layer(w, f"encoder.layers.{i}", False) for i in range(w.config.get("num_encoder_layers", 0))]
        self.decoder = [_Layer(w, f"decoder.layers.{i}", self.cross) for i in range(w.config["num_decoder_layers"])]
        self.head = w.linear(["head"])
        self.tensors = w.tensors
        scales = {"encoder": w.config["input"].get("scale", 1.0), "decoder": w.config["target_input" if self.cross else "input"].get("scale", 1.0)}
        for stack, scale in scales.items():
            if f"{stack}.embed_tokens.weight" in self.tensors:
                self.tensors[f"{stack}.embed_tokens.weight"] *= scale

    def start(self, sources: list[list[int]] | None, batch: int) -> dict:
        empty = torch.zeros(batch, self.heads, 0, self.head_dim)
        state = {"past": [(empty, empty)] * len(self.decoder), "cross": [(None, None)] * len(self.decoder), "inverse": None}
        if sources is None:
            return state
        longest = max(map(len, sources))
        ids = torch.tensor([s + [self.config["pad_token_id"]] * (longest - len(s)) for s in sources])
        mask = torch.tensor([[1.0] * len(s) + [0.0] * (longest - len(s)) for s in sources])
        inverse = 1 / mask.sum(1, keepdim=True)
        x = F.embedding(ids, self.tensors["encoder.embed_tokens.weight"]) + self.tensors["encoder.embed_positions.weight"][:longest]
        x = x.reshape(batch * longest, -1)
        rows_inverse, key_mask = inverse.repeat_interleave(longest, 0), mask[:, None, :, None]
        for layer in self.encoder:
            x = layer.encode(x, batch, key_mask, rows_inverse)
        cross = [layer.split(layer.cross_kv(x), batch, 2) for layer in self.decoder]
        return state | {"cross": [(k * key_mask, v.contiguous()) for k, v in cross], "inverse": inverse}

    def step(self, state: dict, ids: Array, position: int) -> tuple[Array, Array | None]:
        x = F.embedding(torch.from_numpy(ids), self.tensors["decoder.embed_tokens.weight"]) + self.tensors["decoder.embed_positions.weight"][position]
        inverse = 1.0 / (position + 1)
        past = []
        for layer, (k, v), (cross_k, cross_v) in zip(self.decoder, state["past"], state["cross"]):
            x, k, v = layer.step(x, k, v, inverse, cross_k, cross_v, state["inverse"])
            past.append((k, v))
        state["past"] = past
        logits = self.head(x)
        return logits.argmax(1).numpy(), logits.numpy()

    def keep(self, state: dict, rows: Array) -> dict:
        index = torch.from_numpy(rows)
        past = [(k[index], v[index]) for k, v in state["past"]]
        cross = [(None if k is None else k[index], None if v is None else v[index]) for k, v in state["cross"]]
        return {"past": past, "cross": cross, "inverse": None if state["inverse"] is None else state["inverse"][index]}


def _median_seconds(function, value, limit: float = 1.0) -> float:
    times = []
    start = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - start < limit and len(times) < 50):
        begin = time.perf_counter()
        function(value)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


class Torch(peer_worker.Peer):
    """The peer."""

    name = "torch"
    mode = "eager"

    def version(self) -> str:
        return torch.__version__

    @staticmethod
    def export(model: Path, inputs: Path, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)  # it reads the model directory itself

    def load(self, model: Path, exported: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision("highest")
        self.model = model

    def prepare(self, inputs: dict) -> None:
        self.inputs = inputs
        with torch.inference_mode():
            if inputs["mode"] != "encode":
                self.steps = _Steps(self.model)
                return
            sequences = inputs["sequences"]
            if isinstance(sequences[0], list):
                self.value = torch.tensor(sequences)
            else:
                self.value = torch.tensor([s["values"] for s in sequences]).view(len(sequences), sequences[0]["rows"], -1)
        with torch.no_grad():
            module = _Encoder(self.model, self.value.shape[1]).eval()
            self.encoder = module
            if os.environ.get("SPLINESERVE_TORCH_COMPILE", "1") == "0":
                return
            torch._inductor.config.freezing = True
            torch._inductor.config.compile_threads = 1
            compiled = torch.compile(module, dynamic=False)
            compiled(self.value)
            if _median_seconds(compiled, self.value) < _median_seconds(module, self.value):
                self.encoder, self.mode = compiled, "torch.compile, frozen weights"
                return
            del compiled  # with its copies of the weights
            torch._dynamo.reset()
            gc.collect()

    def encode(self) -> Array:
        with torch.no_grad():
            return self.encoder(self.value).numpy()

    def generate(self, sequences: list[list[int]]) -> tuple[list[list[int]], list[Array]]:
        with torch.inference_mode():
            ids, scores, self.step_seconds = peer_worker.greedy(
                self.steps, self.steps.config, sequences, self.inputs["max_new_tokens"], self.want_scores)
        return ids, scores

    def note(self) -> str:
        return self.mode


if __name__ == "__main__":
    peer_worker.main(Torch())
