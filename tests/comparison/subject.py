# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""One model as both sides see it: served, through the sample client, and in PyTorch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

import random_models
from torch_model import TorchModel, flat_gates, gate_ids

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))
from serving import Server  # noqa: E402

Tensor = torch.Tensor
FIELDS = {"encoder": "source", "decoder": "target"}


def matrix(rows: Tensor) -> dict:
    """A Matrix64 (or Matrix) of the API."""
    return {"rows": rows.shape[0], "cols": rows.shape[1], "values": rows.flatten().tolist()}


def to_tensor(message: dict | None) -> Tensor | None:
    """Of a Matrix64 of the API; None where it is absent."""
    if not message:
        return None
    return torch.tensor([float(v) for v in message["values"]], dtype=torch.float64).reshape(message["rows"], message["cols"])


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest deviation, relative to the largest expected number (absolute where all are zero)."""
    size = float(expected.abs().max())
    deviation = float((found - expected).abs().max())
    return deviation if size == 0 else deviation / size


def flat(parts: list[Tensor]) -> Tensor:
    """All numbers of several tensors."""
    return torch.cat([part.flatten() for part in parts])


class Subject:
    """A model in the server's repository and its twin."""

    def __init__(self, server: Server, name: str, config: dict, tensors: random_models.Tensors) -> None:
        self.server, self.name, self.config = server, name, config
        self.stacks = random_models.stacks_of(config)
        self.torch = TorchModel(config, tensors)

    def call(self, method: str, request: dict) -> list[dict]:
        """The messages of one call."""
        text = self.server.client("call", f"SplineService/{method}", text=json.dumps({"model": {"name": self.name}} | request))
        return [json.loads(text)] if method == "Differentiate" else [json.loads(line) for line in text.splitlines()]

    def random_sequences(self, rng: np.random.Generator) -> list[np.ndarray]:
        """One for each stack, of 1 to 4 tokens: ids, or vectors of float32 numbers."""
        out = []
        for stack in self.stacks:
            read, tokens = random_models.input_of(self.config, stack), int(rng.integers(1, 5))
            if read["kind"] == "tokens":
                out.append(rng.integers(0, read["vocab_size"], tokens))
            else:
                out.append(rng.standard_normal((tokens, read["size"])).astype(np.float32))
        return out

    def request_of(self, sequences: list[np.ndarray]) -> dict:
        """ModelInput: ids where a sequence has one dimension, else vectors."""
        out = {}
        for stack, sequence in zip(self.stacks, sequences):
            if sequence.ndim == 1:
                out[FIELDS[stack]] = {"tokens": {"ids": sequence.tolist()}}
            else:
                out[FIELDS[stack]] = {"vectors": matrix(torch.from_numpy(sequence.astype(np.float64)))}
        return out

    def continuous(self, sequences: list[np.ndarray]) -> list[Tensor]:
        """What PyTorch's twin takes. Vectors as wide as a row of the stack are its continuous input."""
        return [torch.from_numpy(s.astype(np.float64)) if s.ndim == 2 else self.torch.continuous(stack, s) for stack, s in zip(self.stacks, sequences)]

    def outputs(self, *inputs: Tensor) -> Tensor:
        """All outputs in the API's order, [..., outputs]."""
        return self.torch(*inputs)[0].flatten(-2)

    def arguments(self, *inputs: Tensor) -> Tensor:
        """All gates' arguments, [..., gates], in the order of gate_ids."""
        return flat_gates(self.torch(*inputs)[1], inputs[0].dim() - 2)

    def gate_ids(self, *inputs: Tensor) -> list[tuple[str, int, str, int, int, int]]:
        """(stack, layer, site, token, head, index) of each."""
        return gate_ids(self.torch(*inputs)[1])


def gate_of(reference: dict) -> tuple[str, int, str, int, int, int]:
    """A GateRef of the API as gate_ids names it."""
    return (reference["stack"].lower(), reference["layer"], reference["site"], reference["token"], reference["head"], reference["index"])
