# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Makes `cubic`: SciPy's cubic spline through the population of the United States, compiled by splineserve-compile.

Needs scipy and numpy (requirements.txt) and a build of splineserve-compile. Nothing is trained: the same files come out again.

Example (a second):
    python make_cubic.py --compiler ../../build/release/bin/splineserve-compile --export ../repository/cubic/1
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

DATA = Path(__file__).resolve().parent.parent / "data" / "census"
SEED = 2026


def census() -> tuple[np.ndarray, np.ndarray]:
    """Years, and the population in millions."""
    with (DATA / "population.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([float(row["year"]) for row in rows]), np.array([int(row["population"]) / 1e6 for row in rows])


def spline() -> CubicSpline:
    """Twice differentiable, not-a-knot at the ends: SciPy's default."""
    return CubicSpline(*census())


def float32_points(knots: np.ndarray) -> np.ndarray:
    """Knots, their float32 neighbours, and random points between and beyond the knots; each a float32 number."""
    random = np.random.default_rng(SEED)
    x = knots.astype(np.float32)
    inside = random.uniform(knots[0], knots[-1], 400).astype(np.float32)
    beyond = np.concatenate((random.uniform(knots[0] - 10, knots[0], 10), random.uniform(knots[-1], knots[-1] + 10, 10)))
    near = (np.nextafter(x, np.float32(-np.inf)), x, np.nextafter(x, np.float32(np.inf)))
    return np.sort(np.concatenate((*near, inside, beyond.astype(np.float32)))).astype(float)


def write_values(path: Path, cubic: CubicSpline) -> None:
    """x and the spline's value a line, with the digits that determine a float64."""
    lines = [f"{x!r},{float(cubic(x))!r}\n" for x in float32_points(cubic.x).tolist()]
    path.write_text("x,value\n" + "".join(lines), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default="splineserve-compile", help="path of splineserve-compile")
    parser.add_argument("--export", required=True, help="model directory to make")
    parser.add_argument("--values", default=str(DATA / "scipy_values.csv"), help="table of SciPy's values to write")
    arguments = parser.parse_args()
    cubic = spline()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "census.npz"
        np.savez(file, x=cubic.x, c=cubic.c)
        # The end pieces go on, as SciPy has them. Errors are bounded a decade beyond the censuses, too.
        limits = f"{cubic.x[0] - 10}:{cubic.x[-1] + 10}"
        done = subprocess.run(
            [arguments.compiler, str(file), "--out", arguments.export, "--force", "--domain", limits], check=False)
    if done.returncode == 0:
        write_values(Path(arguments.values), cubic)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
