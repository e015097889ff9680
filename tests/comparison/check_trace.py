# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Trace beside PyTorch: polynomials, gates on every piece and on both sides of every knot, integrated gradients."""

from __future__ import annotations

import numpy as np
import torch

from report import Report
from subject import FIELDS, Subject, flat, gate_of, relative, to_tensor

MOST_PIECES = 400
OUTPUTS = 3
SAMPLES = 4  # random t in each piece
# Relative to the largest argument of the site: a gate as near to its boundary as this has any sign, by rounding.
ROUNDING = 1e-12
AT_KNOT = 1e-9  # largest argument of a flipping gate at its knot, relative likewise
# Of a midpoint rule that knows of no knots: at each it is off by up to the gradient's jump there, divided by so many.
COARSE_POINTS = 20000
COARSE = 5e-3
Tensor = torch.Tensor


class _Line:
    """The segment between two inputs, moving some stacks."""

    def __init__(self, subject: Subject, ends: list[list[np.ndarray]]) -> None:
        self.subject = subject
        self.begin, self.end = (subject.continuous(e) for e in ends)
        self.moving = [not torch.equal(a, b) for a, b in zip(self.begin, self.end)]

    def at(self, t: Tensor) -> list[Tensor]:
        return [a + t[:, None, None] * (b - a) for a, b in zip(self.begin, self.end)]

    def gradients(self, t: Tensor, output: int) -> list[Tensor]:
        """Of one output at every t, in the inputs that move."""
        leaves = [x.requires_grad_() for x in self.at(t)]
        grads = torch.autograd.grad(self.subject.outputs(*leaves)[:, output].sum(), leaves)
        return [g.detach() for g, moving in zip(grads, self.moving) if moving]

    def integrated(self, t: Tensor, weights: Tensor, output: int) -> list[Tensor]:
        """(end - begin) * sum of weighted gradients, for each stack that moves."""
        spans = [b - a for a, b, moving in zip(self.begin, self.end, self.moving) if moving]
        return [span * (weights[:, None, None] * g).sum(dim=0) for span, g in zip(spans, self.gradients(t, output))]


def _random_ends(subject: Subject, rng: np.random.Generator) -> list[list[np.ndarray]]:
    """Two inputs, near enough for hundreds of knots at most; of an encoder_decoder either sequence, or both, may move."""
    begin = subject.random_sequences(rng)
    moving = [True] if len(begin) == 1 else [(True, False), (False, True), (True, True)][int(rng.integers(3))]
    end = []
    for stack, sequence, moves in zip(subject.stacks, begin, moving):
        if not moves:
            end.append(sequence)
        elif sequence.ndim == 2:
            end.append((sequence + 0.8 * rng.standard_normal(sequence.shape)).astype(np.float32))
        else:
            end.append(sequence.copy())
            end[-1][int(rng.integers(len(sequence)))] = rng.integers(len(subject.torch.tensors[f"{stack}.embed_tokens.weight"]))
    return [begin, end] if any(not np.array_equal(a, b) for a, b in zip(begin, end)) else _random_ends(subject, rng)


def check(subject: Subject, rng: np.random.Generator, report: Report) -> None:
    """One segment."""
    ends = _random_ends(subject, rng)
    line = _Line(subject, ends)
    count = line.subject.outputs(*line.begin).numel()
    chosen = sorted(rng.choice(count, size=min(count, OUTPUTS), replace=False).tolist())
    cols = subject.torch(*line.begin)[0].shape[-1]
    events = subject.call("Trace", {
        "from": subject.request_of(ends[0]), "to": subject.request_of(ends[1]), "max_pieces": MOST_PIECES, "integrated_gradients": True,
        "outputs": {"indices": [{"row": o // cols, "col": o % cols} for o in chosen]},
    })
    pieces = [piece for event in events for piece in event.get("pieces", {}).get("pieces", [])]
    summary = events[-1]["summary"]
    report.count("pieces", len(pieces))
    report.count("proven", sum(piece["certified"] for piece in pieces))
    bounds = [0.0] + [piece["end"] for piece in pieces]
    report.require("order", bounds == [p["begin"] for p in pieces] + [float(summary["reached"])] and all(a < b for a, b in zip(bounds, bounds[1:])))
    _polynomials(line, pieces, chosen, rng, report)
    _gates(line, pieces, rng, report)
    _integrals(line, pieces, summary, chosen, int(events[0]["header"]["degree_bound"]), report)


def _inside(pieces: list[dict], fractions: np.ndarray) -> Tensor:
    """[pieces, samples] of t."""
    begin, end = (np.array([[p[key]] for p in pieces]) for key in ("begin", "end"))
    return torch.from_numpy(begin + (end - begin) * fractions)


def _polynomials(line: _Line, pieces: list[dict], chosen: list[int], rng: np.random.Generator, report: Report) -> None:
    u = rng.random((len(pieces), SAMPLES))
    expected = line.subject.outputs(*line.at(_inside(pieces, u).flatten()))[:, chosen].reshape(len(pieces), SAMPLES, -1)
    found = np.stack([
        np.polynomial.chebyshev.chebval(2 * x - 1, np.array(piece["coefficients"]).reshape(len(chosen), -1).T).T for piece, x in zip(pieces, u)])
    report.add("polynomials", relative(torch.from_numpy(found), expected))


def _gates(line: _Line, pieces: list[dict], rng: np.random.Generator, report: Report) -> None:
    """Inside a piece, signs are those of the first piece and all flips since; a gate that flips at a knot vanishes there."""
    ids = line.subject.gate_ids(*line.begin)
    index = {ref: i for i, ref in enumerate(ids)}
    sites = [[i for i, ref in enumerate(ids) if ref[:3] == site] for site in dict.fromkeys(ref[:3] for ref in ids)]
    middle = 0.5 + 0.4 * (2 * rng.random((len(pieces), SAMPLES)) - 1)
    inside = line.subject.arguments(*line.at(_inside(pieces, middle).flatten())).reshape(len(pieces), SAMPLES, -1)
    knots = line.subject.arguments(*line.at(torch.tensor([piece["begin"] for piece in pieces], dtype=torch.float64)))
    size = torch.empty(len(ids), dtype=torch.float64)
    for site in sites:
        size[site] = inside[:, :, site].abs().max()
    signs = inside[0, 0] > 0
    for i, piece in enumerate(pieces):
        for flip in piece["flips"]:
            gate = index[gate_of(flip["gate"])]
            report.require("knots", flip["opens"] != bool(signs[gate]))
            signs[gate] = flip["opens"]
            report.add("at knots", float(knots[i, gate].abs() / size[gate]), AT_KNOT)
        clear = inside[i].abs() > ROUNDING * size
        wrong = ((inside[i] > 0) != signs) & clear
        report.require("knots", not bool(wrong.any()))
        report.require("knots", i == 0 or len(piece["flips"]) > 0)


def _integrals(line: _Line, pieces: list[dict], summary: dict, chosen: list[int], degree: int, report: Report) -> None:
    """By Gauss-Legendre sums on every piece, exact for the degree, and by a fine rule that knows of no knots."""
    nodes, weights = np.polynomial.legendre.leggauss(min(degree, 200) // 2 + 1)
    t = _inside(pieces, np.tile((nodes + 1) / 2, (len(pieces), 1))).flatten()
    w = torch.from_numpy(np.concatenate([(p["end"] - p["begin"]) / 2 * weights for p in pieces]))
    reached = float(summary["reached"])
    coarse = (torch.arange(COARSE_POINTS, dtype=torch.float64) + 0.5) / COARSE_POINTS * reached
    values = line.subject.outputs(*line.at(torch.tensor([0.0, reached], dtype=torch.float64)))
    fields = [FIELDS[stack] for stack, moving in zip(line.subject.stacks, line.moving) if moving]
    for n, output in enumerate(chosen):
        answer = summary["integrated_gradients"][n]
        found = flat([to_tensor(answer[field]) for field in fields])
        report.add("integrated", relative(found, flat(line.integrated(t, w, output))))
        if n == 0:  # the rule takes most of the time
            rule = flat(line.integrated(coarse, torch.full_like(coarse, reached / COARSE_POINTS), output))
            report.add("fine rule", relative(found, rule), COARSE)
        size = float(values[:, output].abs().max() + found.abs().max()) or 1.0
        difference = float(values[1, output] - values[0, output])
        report.add("complete", max(abs(answer["sum"] - difference), abs(answer["difference"] - difference)) / size)
