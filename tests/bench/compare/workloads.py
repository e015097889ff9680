# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""What is compared: shapes, inputs and gate densities, each written to a folder as a model directory and inputs.json."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

import models

REPOSITORY = Path(__file__).resolve().parents[3]
# name -> fraction of open gates at attention and in the feed-forward networks. The shipped models have about 17 % and 2.3 %.
DENSITIES = {"half": (0.5, 0.5), "10 %": (0.10, 0.10), "10 %, FFN 3 %": (0.10, 0.03), "shipped": (0.17, 0.023)}
CALIBRATION_TOKENS = 512
CONTEXT, STEPS = 64, 17  # of a decoder step: tokens in the cache at the start, tokens generated


@dataclasses.dataclass(frozen=True)
class Workload:
    """One row of the table (for each peer and number of threads)."""

    name: str
    mode: str  # "encode", "generate" (whole sequences) or "steps" (the time of one decoder step)
    density: str
    shape: models.Shape | None = None  # of a random model; None for a shipped one
    shipped: str = ""  # name in models/repository
    sequences: int = 1  # of a call
    tokens: int = 1  # of a sequence; of a generation the context
    calls: int = 1  # calls that are gone through in turn

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return "".join(c if c.isalnum() else "_" for c in self.name.replace("%", "pct")).strip("_")

    def multiply_adds(self) -> float | None:
        """Of one call, every gate counted as open; None where it depends on the inputs."""
        if self.shape is None:
            return None
        if self.mode == "encode":
            return self.sequences * self.shape.multiply_adds(self.tokens)
        keys = self.tokens + (STEPS - 1) / 2 + 0.5  # average over the steps
        return self.shape.multiply_adds(1) + self.shape.layers * 2 * self.shape.d * (keys - 1) + self.shape.d * self.shape.vocab


def all_workloads() -> list[Workload]:
    """The list, in the order of the table."""
    out = [Workload(f"g2p batch {n}", "generate", "shipped model", shipped="g2p", sequences=n, calls=16 if n == 1 else 1) for n in (1, 32, 256)]
    out += [Workload(f"digits batch {n}", "encode", "shipped model", shipped="digits", sequences=n, tokens=8) for n in (1, 64)]
    encoders = [(512, 6, 8, 2048, 1, n) for n in (1, 16, 128, 512, 2048)]
    encoders += [(256, 4, 8, 1024, 16, 8), (128, 3, 4, 512, 1, 8), (768, 12, 12, 3072, 1, 128)]
    for d, layers, heads, f, sequences, tokens in encoders:
        size = f"{sequences}x{tokens}" if sequences > 1 else f"{tokens}"
        for density in DENSITIES:
            shape = models.Shape("encoder", d, layers, heads, f)
            out.append(Workload(f"encoder d={d} {size} tokens, {density}", "encode", density, shape, sequences=sequences, tokens=tokens))
    for density in DENSITIES:
        shape = models.Shape("decoder", 1024, 12, 16, 4096)
        out.append(Workload(f"decoder step d=1024, {density}", "steps", density, shape, tokens=CONTEXT))
    return out


def tiny() -> list[Workload]:
    """Small ones of every kind, for the self-check."""
    encoder, decoder = models.Shape("encoder", 32, 2, 2, 64, 50), models.Shape("decoder", 32, 2, 2, 64, 50)
    return [
        Workload("tiny encoder 2x5 tokens, half", "encode", "half", encoder, sequences=2, tokens=5),
        Workload("tiny decoder step, 10 %", "steps", "10 %", decoder, tokens=6),
        Workload("digits batch 2", "encode", "shipped model", shipped="digits", sequences=2, tokens=8),
        Workload("g2p batch 1", "generate", "shipped model", shipped="g2p", sequences=1, calls=4),
        Workload("g2p batch 32", "generate", "shipped model", shipped="g2p", sequences=32),
    ]


def materialize(workload: Workload, root: Path, seed: int = 20260101) -> tuple[Path, Path]:
    """Writes what is missing of the workload below `root`; returns its model directory and its inputs.json."""
    folder = root / workload.slug
    folder.mkdir(parents=True, exist_ok=True)
    inputs = folder / "inputs.json"
    if workload.shape is None:
        inputs.write_text(json.dumps(_shipped_inputs(workload)), encoding="utf-8")
        return REPOSITORY / "models" / "repository" / workload.shipped / "1", inputs
    rng = np.random.default_rng(seed)
    tokens = workload.tokens + (STEPS if workload.mode == "steps" else 0)
    calibration = rng.integers(0, workload.shape.vocab, size=(max(workload.sequences, CALIBRATION_TOKENS // tokens), tokens))
    ids = calibration[: workload.sequences, : workload.tokens].tolist()
    content = {"mode": workload.mode, "sequences": ids}
    if workload.mode == "steps":
        content |= {"mode": "generate", "measure": "steps", "in_flight": 1, "max_new_tokens": STEPS}
    inputs.write_text(json.dumps(content), encoding="utf-8")
    model = folder / "model"
    if not (model / "config.json").exists():
        models.write(workload.shape, *DENSITIES[workload.density], calibration, tokens, seed + 1, model)
    return model, inputs


def _shipped_inputs(workload: Workload) -> dict:
    data = REPOSITORY / "models" / "data"
    count = workload.sequences * workload.calls
    if workload.shipped == "digits":
        images = np.loadtxt(data / "digits" / "test.csv", delimiter=",", max_rows=count, ndmin=2)[:, 1:].reshape(-1, 64)  # column 0: the label
        rows = [{"rows": 8, "cols": 8, "values": image.tolist()} for image in images]
        return {"mode": "encode", "sequences": rows}
    lines = (data / "g2p" / "valid.tsv").read_text(encoding="utf-8").splitlines()
    words = list(dict.fromkeys(line.split("\t")[0] for line in lines))
    chosen = [words[i * len(words) // count] for i in range(count)]  # evenly over the alphabet
    entries = (REPOSITORY / "models" / "repository" / "g2p" / "1" / "graphemes.txt").read_text(encoding="utf-8").splitlines()
    ids = {entry: index for index, entry in enumerate(entries)}
    sequences = [[ids[letter] for letter in word] for word in chosen]
    return {"mode": "generate", "sequences": sequences, "in_flight": workload.sequences, "max_new_tokens": 0, "measure": "total"}
