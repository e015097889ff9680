# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Differentiate beside torch.autograd: Jacobian, products from either side, distances of gates, Taylor polynomial and its interval."""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd.functional import jacobian

from report import Report
from subject import FIELDS, Subject, flat, gate_of, matrix, relative, to_tensor

NEAREST = 6
CLEAR = 1e-9  # no gate of an input is as near to its boundary as this
MOST_POINTS = 100
# How far beside the ends of a Taylor polynomial's interval signs are compared, relative to the end. The ends are short of the
# flips by the knots' proven errors, which are some 1e-4 of them in the deepest models here.
WITHIN, BEYOND = 1e-6, 1e-2
FARTHEST = 4.0  # a Taylor polynomial is compared no farther than this along a direction of normal numbers
Tensor = torch.Tensor


def clear_point(subject: Subject, rng: np.random.Generator) -> list[np.ndarray]:
    """Sequences at which no gate is within rounding of its boundary. Arguments of exactly zero, behind gates that are all closed, are constant."""
    for _ in range(MOST_POINTS):
        sequences = subject.random_sequences(rng)
        size = subject.arguments(*subject.continuous(sequences)).abs()
        if bool(((size > CLEAR) | (size == 0)).all()):
            return sequences
    raise AssertionError(f"{subject.name}: a gate is within {CLEAR} of its boundary at each of {MOST_POINTS} points")


def check(subject: Subject, rng: np.random.Generator, report: Report) -> None:
    """One point, one cotangent, one direction."""
    sequences = clear_point(subject, rng)
    at = subject.continuous(sequences)
    count = subject.outputs(*at).numel()
    cotangent = torch.from_numpy(rng.standard_normal(count))
    direction = [torch.from_numpy(rng.standard_normal(x.shape)) for x in at]
    fields = [FIELDS[stack] for stack in subject.stacks]
    found = subject.call("Differentiate", {
        "at": subject.request_of(sequences), "jacobian": True, "cotangent": cotangent.tolist(), "nearest_gates": NEAREST,
        "direction": {field: matrix(d) for field, d in zip(fields, direction)},
    })[0]

    report.add("values", relative(torch.tensor(found["values"], dtype=torch.float64), subject.outputs(*at)))
    expected = jacobian(subject.outputs, tuple(at), vectorize=True)
    report.add("Jacobian", relative(flat([to_tensor(found[f"{field}_jacobian"]) for field in fields]), flat(expected)))
    _products(subject, found, fields, at, cotangent, direction, report)
    _distances(subject, found, at, report)
    _taylor(subject, found["taylor"], at, direction, report)


def _products(subject: Subject, found: dict, fields: list[str], at: list[Tensor], cotangent: Tensor, direction: list[Tensor], report: Report) -> None:
    leaves = [x.clone().requires_grad_() for x in at]
    expected = torch.autograd.grad(subject.outputs(*leaves) @ cotangent, leaves)
    report.add("cotangent", relative(flat([to_tensor(found[f"{field}_gradient"]) for field in fields]), flat(expected)))
    along = torch.func.jvp(subject.outputs, tuple(at), tuple(direction))[1]
    report.add("directional", relative(torch.tensor(found["directional"], dtype=torch.float64), along))


def _distances(subject: Subject, found: dict, at: list[Tensor], report: Report) -> None:
    """Of every gate by autograd; the nearest of each token must be those reported."""
    arguments, ids = subject.arguments(*at), subject.gate_ids(*at)
    squares = sum(j.reshape(len(ids), -1).square().sum(dim=1) for j in jacobian(subject.arguments, tuple(at), vectorize=True))
    distance = dict(zip(ids, torch.where(squares > 0, arguments.abs() / squares.sqrt(), torch.inf).tolist()))
    argument = dict(zip(ids, arguments.tolist()))
    # Of each token: as reported, and the same gates' by autograd.
    reported: dict[tuple[str, int], list[float]] = {}
    named: dict[tuple[str, int], list[float]] = {}
    for gate in found["nearest"]:
        ref = gate_of(gate["gate"])
        reported.setdefault((ref[0], ref[3]), []).append(float(gate["distance"]))
        report.require("gates", gate["open"] == (argument[ref] > 0))
        report.require("gates", np.isfinite(distance[ref]) == np.isfinite(float(gate["distance"])))
        named.setdefault((ref[0], ref[3]), []).append(distance[ref])
    for owner in {(ref[0], ref[3]) for ref in ids}:
        nearest = sorted(d for ref, d in distance.items() if (ref[0], ref[3]) == owner)[:NEAREST]
        report.require("gates", len(nearest) == len(reported.get(owner, [])))
        for expected in (nearest, named.get(owner, [])):
            finite = [(f, e) for f, e in zip(reported.get(owner, []), expected) if np.isfinite(e)]
            size = max((e for _, e in finite), default=1.0)
            for f, e in finite:
                report.add("distances", abs(f - e) / size)


def _taylor(subject: Subject, taylor: dict, at: list[Tensor], direction: list[Tensor], report: Report) -> None:
    coefficients = to_tensor(taylor["coefficients"])
    lower, upper = float(taylor["lower"]), float(taylor["upper"])
    report.require("Taylor ends", lower < 0 < upper)

    def points(s: Tensor) -> list[Tensor]:
        return [x + s[:, None, None] * d for x, d in zip(at, direction)]

    s = torch.linspace(max(lower, -FARTHEST), min(upper, FARTHEST), 11, dtype=torch.float64)
    powers = s[:, None] ** torch.arange(coefficients.shape[1])
    report.add("Taylor", relative(powers @ coefficients.T, subject.outputs(*points(s))))
    base = subject.arguments(*at) > 0
    for end in (lower, upper):
        inside, outside = subject.arguments(*points(torch.tensor([end * (1 - WITHIN), end * (1 + BEYOND)], dtype=torch.float64))) > 0
        if np.isfinite(end) and taylor["certified"]:
            report.require("Taylor ends", bool((inside == base).all()) and bool((outside != base).any()))
