# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Worst deviations of every check, model by model, as a table."""

from __future__ import annotations

import math

TOLERANCE = 1e-9
DEVIATIONS = ["values", "Jacobian", "cotangent", "directional", "distances", "Taylor", "polynomials", "at knots", "integrated", "fine rule", "complete"]
STATEMENTS = ["gates", "Taylor ends", "order", "knots"]
COUNTS = ["pieces", "proven"]


class Report:
    """Deviations have tolerances; statements are right or wrong."""

    def __init__(self) -> None:
        self.worst: dict[str, dict[str, float]] = {}
        self.wrong: dict[str, dict[str, int]] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.failed: dict[str, set[str]] = {}

    def begin(self, model: str) -> None:
        """What follows is of this model."""
        self.model = model
        self.worst.setdefault(model, {})
        self.wrong.setdefault(model, {})
        self.counts.setdefault(model, {})
        self.failed.setdefault(model, set())

    def add(self, check: str, deviation: float, tolerance: float = TOLERANCE) -> None:
        """A deviation; not a number counts as infinite."""
        assert check in DEVIATIONS
        deviation = math.inf if math.isnan(deviation) else deviation
        self.worst[self.model][check] = max(deviation, self.worst[self.model].get(check, 0.0))
        if deviation > tolerance:
            self.failed[self.model].add(check)

    def require(self, check: str, holds: bool) -> None:
        """A statement."""
        assert check in STATEMENTS
        self.wrong[self.model][check] = self.wrong[self.model].get(check, 0) + (not holds)
        if not holds:
            self.failed[self.model].add(check)

    def count(self, what: str, number: int) -> None:
        """Something that is only said."""
        self.counts[self.model][what] = self.counts[self.model].get(what, 0) + number

    def checks_failed(self) -> set[str]:
        """Of any model."""
        return set().union(*self.failed.values())

    def table(self) -> str:
        """One line a model; what failed is marked."""
        columns = ["model", *COUNTS, *DEVIATIONS, *STATEMENTS]
        rows = [columns]
        for model, worst in self.worst.items():
            def mark(check: str, text: str) -> str:
                return text + ("!" if check in self.failed[model] else " ")

            row = [model] + [str(self.counts[model].get(c, 0)) for c in COUNTS]
            row += [mark(c, f"{worst[c]:.1e}" if c in worst else "-") for c in DEVIATIONS]
            row += [mark(c, f"{self.wrong[model][c]} wrong" if self.wrong[model].get(c) else "ok" if c in self.wrong[model] else "-") for c in STATEMENTS]
            rows.append(row)
        widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
        return "\n".join("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))) for row in rows)
