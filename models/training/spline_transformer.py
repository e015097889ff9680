# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""A small transformer in PyTorch with exactly the tensors that SplineServe loads.

`Stack` is an encoder or a decoder, `SplineTransformer` a whole model. Two variants share every size:

* `spline`: ReLU attention divided by the number of visible keys, ReLU feed-forward, no norm. Each residual branch ends in a
  learned gain per channel, which is folded into `o_proj` and `down_proj` on export. The exported model is EXACT.
* `softmax_twin`: SoftMax attention and pre-LayerNorm, for comparison.

Training batches hold sources of one length only and pad targets at the end, where the causal mask already hides them from real
tokens; so nothing here needs a padding mask.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass
class Config:
    """The sizes of a model; field names as in `config.json`."""

    architecture: str
    hidden_size: int
    num_attention_heads: int
    head_dim: int
    intermediate_size: int
    num_encoder_layers: int = 0
    num_decoder_layers: int = 0
    input: dict = field(default_factory=dict)
    target_input: dict | None = None
    max_positions: int = 64
    head: dict = field(default_factory=lambda: {"kind": "none"})
    vocabulary: dict | None = None
    target_vocabulary: dict | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None
    variant: str = "spline"
    dropout: float = 0.0

    @property
    def smooth(self) -> bool:
        """Whether this is the SoftMax and LayerNorm twin."""
        return self.variant == "softmax_twin"

    def to_json(self) -> dict:
        """The contents of `config.json`; every field that matters is written out, defaults too."""
        out = {
            "model_type": "spline_transformer",
            "architecture": self.architecture,
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.num_attention_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "num_encoder_layers": self.num_encoder_layers,
            "num_decoder_layers": self.num_decoder_layers,
            "attention_activation": "softmax" if self.smooth else "relu",
            "attention_normalizer": "visible",
            "hidden_act": "relu",
            "norm": "layer_norm" if self.smooth else "none",
            "norm_placement": "pre",
            "final_norm": self.smooth,
            "residual": True,
            "input": self.input,
            "target_input": self.target_input,
            "positions": "learned",
            "max_positions": self.max_positions,
            "head": self.head,
            "vocabulary": self.vocabulary,
            "target_vocabulary": self.target_vocabulary,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "pad_token_id": self.pad_token_id,
        }
        return {name: value for name, value in out.items() if value is not None}


class GateRecorder:
    """Collects, per attention or feed-forward site, the mean activation (for the penalty) or the open gates (for reports)."""

    def __init__(self, penalty: bool = False) -> None:
        self.penalty = penalty
        self.attention: list[Tensor] = []
        self.feed_forward: list[Tensor] = []
        self.open: dict[str, float] = {}
        self.total: dict[str, float] = {}

    def record(self, site: str, activation: Tensor, keep: Tensor | None, total: float) -> None:
        """Adds one site's activations; `keep` masks the real ones, `total` is how many gates are real."""
        if self.penalty:
            group = self.feed_forward if site.endswith("feed_forward") else self.attention
            group.append(activation.sum() / total)
        else:
            gates = activation > 0
            if keep is not None:
                gates = gates & keep
            self.open[site] = self.open.get(site, 0.0) + gates.sum().item()
            self.total[site] = self.total.get(site, 0.0) + total

    def fractions(self) -> dict[str, float]:
        """Open fraction of every site, and over all attention and all feed-forward gates."""
        out = {site: self.open[site] / self.total[site] for site in sorted(self.open)}
        for name in ("attention", "feed_forward"):
            sites = [site for site in self.open if site.endswith(name)]
            out["all " + name] = sum(self.open[s] for s in sites) / max(1.0, sum(self.total[s] for s in sites))
        return out


def sinusoid(rows: int, columns: int) -> Tensor:
    """[rows, columns]: column 2i is sin(p / 10000^(2i/columns)), column 2i+1 the cosine."""
    angle = torch.arange(rows)[:, None] / 10000.0 ** (torch.arange(0, columns, 2)[None, :] / columns)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).reshape(rows, columns).float()


class Attention(nn.Module):
    """Multi-head attention of `query` rows [B, T, d] over `memory` rows [B, S, d]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        d, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        self.heads, self.head_dim, self.smooth = config.num_attention_heads, config.head_dim, config.smooth
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(d, inner) for _ in range(3))
        self.o_proj = nn.Linear(inner, d)
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.o_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: Tensor, memory: Tensor | None, causal: bool, site: str, recorder: GateRecorder | None,
                lengths: Tensor | None) -> Tensor:
        """Concatenated heads [B, T, h·head_dim] before `o_proj`; `memory` None means self-attention.

        `lengths` [B] gives the number of real query rows, where the recorder must not count padding.
        """
        batch, rows, _ = query.shape
        keys = rows if memory is None else memory.shape[1]
        # ReLU is positively homogeneous: the division by the number of keys moves into the scores.
        visible = 1 if self.smooth or causal else keys
        scale = 1.0 / (math.sqrt(self.head_dim) * visible)
        q_weight, q_bias = self.q_proj.weight * scale, self.q_proj.bias * scale
        inner = self.heads * self.head_dim
        if memory is None:
            weight = torch.cat((q_weight, self.k_proj.weight, self.v_proj.weight))
            bias = torch.cat((q_bias, self.k_proj.bias, self.v_proj.bias))
            q, k, v = F.linear(query, weight, bias).split(inner, dim=-1)
        else:
            q = F.linear(query, q_weight, q_bias)
            weight = torch.cat((self.k_proj.weight, self.v_proj.weight))
            k, v = F.linear(memory, weight, torch.cat((self.k_proj.bias, self.v_proj.bias))).split(inner, dim=-1)
        q = q.reshape(batch, rows, self.heads, self.head_dim).transpose(1, 2)
        k = k.reshape(batch, keys, self.heads, self.head_dim).permute(0, 2, 3, 1)
        v = v.reshape(batch, keys, self.heads, self.head_dim).transpose(1, 2)
        scores = q @ k  # [B, h, T, S]
        if self.smooth:
            if causal:
                hidden = torch.full((rows, keys), float("-inf"), device=q.device).triu(1)
                scores = scores + hidden
            gates = scores.softmax(dim=-1)
        else:
            gates = scores.relu()
            if causal:
                gates = gates * (torch.ones(rows, keys).tril() / torch.arange(1, rows + 1)[:, None])
            if recorder is not None:
                self._record(gates, causal, site, recorder, lengths)
        return (gates @ v).transpose(1, 2).reshape(batch, rows, inner)

    def _record(self, gates: Tensor, causal: bool, site: str, recorder: GateRecorder, lengths: Tensor | None) -> None:
        batch, heads, rows, keys = gates.shape
        if recorder.penalty:  # mean ReLU score over visible pairs (padded target rows are few and count too)
            if causal:
                gates = gates * torch.arange(1, rows + 1)[:, None]
                recorder.record(site, gates, None, batch * heads * rows * (rows + 1) / 2)
            else:
                recorder.record(site, gates * keys, None, batch * heads * rows * keys)
            return
        keep, per_row = None, torch.full((batch, rows), float(keys))
        if causal:
            per_row = torch.arange(1, rows + 1).float().expand(batch, rows)
        if lengths is not None:
            real = torch.arange(rows)[None, :] < lengths[:, None]
            keep, per_row = real[:, None, :, None], per_row * real
        recorder.record(site, gates, keep, heads * per_row.sum().item())


class FeedForward(nn.Module):
    """down(relu(up x)), without the last product, which the layer fuses with its gain."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        for linear in (self.up_proj, self.down_proj):
            nn.init.xavier_uniform_(linear.weight, gain=math.sqrt(2.0))
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, site: str, recorder: GateRecorder | None, lengths: Tensor | None) -> Tensor:
        """[B, T, d] -> [B, T, f]."""
        hidden = F.linear(x, self.up_proj.weight, self.up_proj.bias).relu_()
        if recorder is not None:
            batch, rows, units = hidden.shape
            keep, total = None, float(hidden.numel())
            if lengths is not None and not recorder.penalty:
                keep = (torch.arange(rows)[None, :] < lengths[:, None])[:, :, None]
                total = float(keep.sum().item() * units)
            recorder.record(site, hidden, keep, total)
        return hidden


class Layer(nn.Module):
    """One pre-norm layer; the spline has no norms but a gain per channel at the end of every branch."""

    def __init__(self, config: Config, cross: bool, gain: float) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.self_attn = Attention(config)
        self.cross_attn = Attention(config) if cross else None
        self.ffn = FeedForward(config)
        branches = ["self_attn", "cross_attn", "ffn"] if cross else ["self_attn", "ffn"]
        self.norms = nn.ModuleDict()
        self.gains = nn.ParameterDict()
        for branch in branches:
            if config.smooth:
                self.norms[branch] = nn.LayerNorm(config.hidden_size)
            else:
                self.gains[branch] = nn.Parameter(torch.full((config.hidden_size,), gain))

    def _normed(self, x: Tensor, branch: str) -> Tensor:
        return self.norms[branch](x) if branch in self.norms else x

    def folded(self, branch: str, linear: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of a branch's last linear map with the gain folded in."""
        if branch not in self.gains:
            return linear.weight, linear.bias
        gain = self.gains[branch]
        return gain[:, None] * linear.weight, gain * linear.bias

    def _add(self, x: Tensor, inner: Tensor, branch: str, linear: nn.Linear) -> Tensor:
        """x + linear(inner); in training, whole channels of `inner` are dropped for a whole sequence at a time."""
        if self.training and self.dropout > 0:
            keep = torch.rand(inner.shape[0], 1, inner.shape[2]) >= self.dropout
            inner = inner * (keep.to(inner.dtype) / (1 - self.dropout))
        return x + F.linear(inner, *self.folded(branch, linear))

    def forward(self, x: Tensor, memory: Tensor | None, causal: bool, name: str, recorder: GateRecorder | None,
                lengths: Tensor | None) -> Tensor:
        """[B, T, d] -> [B, T, d]."""
        inner = self.self_attn(self._normed(x, "self_attn"), None, causal, name + "self_attention", recorder, lengths)
        x = self._add(x, inner, "self_attn", self.self_attn.o_proj)
        if self.cross_attn is not None:
            inner = self.cross_attn(self._normed(x, "cross_attn"), memory, False, name + "cross_attention", recorder, lengths)
            x = self._add(x, inner, "cross_attn", self.cross_attn.o_proj)
        inner = self.ffn(self._normed(x, "ffn"), name + "feed_forward", recorder, lengths)
        return self._add(x, inner, "ffn", self.ffn.down_proj)


class Stack(nn.Module):
    """An encoder or a decoder: embedding and positions, layers, and the twin's final norm."""

    def __init__(self, config: Config, name: str, source: dict, layers: int, causal: bool, cross: bool, gain: float) -> None:
        super().__init__()
        d = config.hidden_size
        self.name, self.causal = name, causal
        self.embed_tokens = self.input_proj = None
        if source["kind"] == "tokens":
            self.embed_tokens = nn.Embedding(source["vocab_size"], d)
            nn.init.normal_(self.embed_tokens.weight, std=0.7)
        else:
            self.input_proj = nn.Linear(source["size"], d)
        self.embed_positions = nn.Parameter(sinusoid(config.max_positions, d))
        self.layers = nn.ModuleList(Layer(config, cross, gain) for _ in range(layers))
        self.final_norm = nn.LayerNorm(d) if config.smooth else None

    def forward(self, source: Tensor, memory: Tensor | None = None, recorder: GateRecorder | None = None,
                lengths: Tensor | None = None) -> Tensor:
        """Ids [B, T] or vectors [B, T, n] -> final rows [B, T, d]."""
        x = self.embed_tokens(source) if self.embed_tokens is not None else self.input_proj(source)
        x = x + self.embed_positions[: x.shape[1]]
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, self.causal, f"{self.name}.{index}.", recorder, lengths)
        return x if self.final_norm is None else self.final_norm(x)

    def export(self) -> dict[str, Tensor]:
        """Tensors under SplineServe's names, gains folded in."""
        out: dict[str, Tensor] = {}
        s = self.name + "."
        if self.embed_tokens is not None:
            out[s + "embed_tokens.weight"] = self.embed_tokens.weight
        else:
            out[s + "input_proj.weight"], out[s + "input_proj.bias"] = self.input_proj.weight, self.input_proj.bias
        out[s + "embed_positions.weight"] = self.embed_positions
        for index, layer in enumerate(self.layers):
            prefix = f"{s}layers.{index}."
            for branch in ("self_attn", "cross_attn"):
                attention = getattr(layer, branch)
                if attention is None:
                    continue
                for name in ("q_proj", "k_proj", "v_proj"):
                    linear = getattr(attention, name)
                    out[f"{prefix}{branch}.{name}.weight"] = linear.weight
                    out[f"{prefix}{branch}.{name}.bias"] = linear.bias
                weight, bias = layer.folded(branch, attention.o_proj)
                out[f"{prefix}{branch}.o_proj.weight"], out[f"{prefix}{branch}.o_proj.bias"] = weight, bias
            out[prefix + "ffn.up_proj.weight"], out[prefix + "ffn.up_proj.bias"] = layer.ffn.up_proj.weight, layer.ffn.up_proj.bias
            weight, bias = layer.folded("ffn", layer.ffn.down_proj)
            out[prefix + "ffn.down_proj.weight"], out[prefix + "ffn.down_proj.bias"] = weight, bias
            for branch, norm in layer.norms.items():
                out[f"{prefix}{branch}_norm.weight"], out[f"{prefix}{branch}_norm.bias"] = norm.weight, norm.bias
        if self.final_norm is not None:
            out[s + "final_norm.weight"], out[s + "final_norm.bias"] = self.final_norm.weight, self.final_norm.bias
        return out


class SplineTransformer(nn.Module):
    """A whole model: `encoder`, `decoder` and `head`, each where the architecture has it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        both = config.architecture == "encoder_decoder"
        gain = 0.2
        self.encoder = self.decoder = None
        if config.architecture != "decoder":
            self.encoder = Stack(config, "encoder", config.input, config.num_encoder_layers, False, False, gain)
        if config.architecture != "encoder":
            source = config.target_input if both else config.input
            self.decoder = Stack(config, "decoder", source, config.num_decoder_layers, True, both, gain)
        self.head = nn.Linear(config.hidden_size, config.head["size"])
        nn.init.normal_(self.head.weight, std=config.hidden_size**-0.5)
        nn.init.zeros_(self.head.bias)

    def forward(self, source: Tensor, target: Tensor | None = None, recorder: GateRecorder | None = None,
                target_lengths: Tensor | None = None) -> Tensor:
        """Logits [B, T, m] of every decoder position, or [B, m] of a pooled encoder."""
        if self.encoder is None:
            return self.head(self.decoder(source, None, recorder, target_lengths))
        memory = self.encoder(source, None, recorder, None)
        if self.decoder is None:
            return self.head(memory.mean(dim=1))
        return self.head(self.decoder(target, memory, recorder, target_lengths))

    def parameters_exported(self) -> int:
        """How many numbers the exported model has."""
        return sum(t.numel() for t in self.export_tensors().values())

    def export_tensors(self) -> dict[str, Tensor]:
        """All tensors of `model.safetensors`, float32; subnormal numbers become zero."""
        out: dict[str, Tensor] = {}
        for stack in (self.encoder, self.decoder):
            if stack is not None:
                out.update(stack.export())
        out["head.weight"], out["head.bias"] = self.head.weight, self.head.bias
        clean = {}
        for name, tensor in out.items():
            tensor = tensor.detach().float()
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{name} is not finite")
            clean[name] = torch.where(tensor.abs() < 1e-30, 0.0, tensor).contiguous().clone()
        return clean

    def export(self, folder: Path, vocabularies: dict[str, list[str]] | None = None, matrices: torch.dtype = torch.float32) -> None:
        """Writes a model directory, its matrices rounded to `matrices`; every file appears whole or not at all."""
        tensors = {name: tensor.to(matrices) if tensor.ndim == 2 else tensor for name, tensor in self.export_tensors().items()}
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{name} does not fit into {matrices}")
        folder.mkdir(parents=True, exist_ok=True)
        texts = {name: "\n".join(entries) + "\n" for name, entries in (vocabularies or {}).items()}
        texts["config.json"] = json.dumps(self.config.to_json(), indent=2) + "\n"
        for name, text in texts.items():
            _replace(folder / name, lambda path: Path(path).write_text(text, encoding="utf-8"))
        _replace(folder / "model.safetensors", lambda path: save_file(tensors, path))


def _replace(path: Path, write) -> None:
    partial = path.with_name("." + path.name + ".partial")
    write(partial)
    partial.chmod(0o644)
    os.replace(partial, path)


class MovingAverage:
    """An exponential moving average of a model's parameters, with a warm-up of the decay."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards the model's present parameters."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, [p.detach() for p in model.parameters()], 1 - decay)

    @torch.no_grad()
    def swap(self, model: nn.Module) -> None:
        """Exchanges the averaged and the model's own parameters; call twice to undo."""
        for mine, theirs in zip(self.values, model.parameters()):
            kept = theirs.detach().clone()
            theirs.copy_(mine)
            mine.copy_(kept)
