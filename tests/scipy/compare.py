# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Makes splines with SciPy, compiles them, serves them, and compares what the server answers with what SciPy says.

Every spline is compiled from .npz, from compressed .npz or from JSON, in turn. Answers may differ by the error bound that the compiler
printed, and by 1e-5 of the spline's largest absolute value; points are random ones, knots and their float32 neighbours.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
from scipy import interpolate

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))
from serving import BINARIES, Server, clean_environment  # noqa: E402

TOLERANCE = 1e-5
POINTS_IN_A_REQUEST = 500


@dataclass
class Case:
    """A spline: arrays by the names of SciPy's layout, and SciPy's own function of points [N, variables] -> [N, outputs]."""

    name: str
    arrays: dict[str, np.ndarray]
    function: Callable[[np.ndarray], np.ndarray]
    knots: list[np.ndarray]
    beyond: bool = True  # also compare outside of the knots


def rows(values: np.ndarray, count: int) -> np.ndarray:
    return np.asarray(values).reshape(count, -1)


def piecewise(name: str, p: interpolate.PPoly) -> Case:
    return Case(name, {"x": p.x, "c": p.c}, lambda u: rows(p(u[:, 0]), len(u)), [p.x])


def b_spline(name: str, b: interpolate.BSpline) -> Case:
    inner = np.unique(b.t[b.k : len(b.t) - b.k])
    return Case(name, {"t": b.t, "k": np.array(b.k), "c": b.c}, lambda u: rows(b(u[:, 0]), len(u)), [inner])


def tensor(name: str, b: interpolate.NdBSpline) -> Case:
    arrays = {f"t{v}": np.asarray(t) for v, t in enumerate(b.t)} | {"k": np.asarray(b.k), "c": b.c}
    inner = [np.unique(t[k : len(t) - k]) for t, k in zip(b.t, b.k, strict=True)]
    return Case(name, arrays, lambda u: rows(b(u), len(u)), inner)


def cases(seed: int) -> Iterator[Case]:
    """A spline of every kind that SciPy makes and that is continuous."""
    random = np.random.default_rng(seed)
    x = np.cumsum(random.uniform(0.2, 2, 15)) - 5
    y = random.normal(size=15)
    for bc in ("not-a-knot", "natural", "clamped"):
        yield piecewise(f"cubic_{bc.replace('-', '_')}", interpolate.CubicSpline(x, y, bc_type=bc))
    yield piecewise("cubic_two_outputs", interpolate.CubicSpline(x, np.column_stack((y, 100 + 0.1 * y))))
    yield piecewise("years", interpolate.CubicSpline(np.arange(1990.0, 2021) + 0.5, random.normal(size=31)))
    yield piecewise("tiny", interpolate.CubicSpline(1e-6 * x, 1e-6 * y))
    yield piecewise("pchip", interpolate.PchipInterpolator(x, y))
    yield piecewise("akima", interpolate.Akima1DInterpolator(x, y, extrapolate=True))
    yield piecewise("hermite", interpolate.CubicHermiteSpline(x, y, random.normal(size=15)))
    derivatives = [[y[i], *random.normal(size=3)] for i in range(15)]
    yield piecewise("degree_7", interpolate.PPoly.from_bernstein_basis(interpolate.BPoly.from_derivatives(x, derivatives)))
    integral = interpolate.CubicSpline(x, y).antiderivative(2)
    yield piecewise("antiderivative", integral)
    yield piecewise("derivative", interpolate.CubicSpline(x, y).derivative())
    for k in (1, 2, 3, 5, 7):
        b = interpolate.make_interp_spline(x, y, k=k)
        yield b_spline(f"b_spline_{k}", b)
        yield piecewise(f"from_b_spline_{k}", interpolate.PPoly.from_spline(b))
    yield b_spline("smoothing", interpolate.make_smoothing_spline(x, y))
    yield b_spline("vector_b_spline", interpolate.make_interp_spline(x, random.normal(size=(15, 2, 2))))

    def clamped(k: int, count: int) -> np.ndarray:
        inner = np.sort(random.uniform(-1, 2, count))
        return np.concatenate(([-1.0] * (k + 1), inner, [2.0] * (k + 1)))

    for k in ((3, 3), (1, 4), (2, 1, 3), (3, 3, 3)):
        t = tuple(clamped(degree, 6 if len(k) == 2 else 3) for degree in k)
        c = random.normal(size=tuple(len(knots) - degree - 1 for knots, degree in zip(t, k, strict=True)))
        yield tensor("tensor_" + "_".join(map(str, k)), interpolate.NdBSpline(t, c, k))
    u, v = np.linspace(0, 3, 9), np.linspace(-1, 1, 7)
    surface = interpolate.RectBivariateSpline(u, v, np.sin(np.add.outer(u, v**2)), kx=3, ky=2)
    tu, tv, coefficients = *surface.get_knots(), surface.get_coeffs()
    nd = interpolate.NdBSpline((tu, tv), coefficients.reshape(len(tu) - 4, len(tv) - 3), (3, 2))
    case = tensor("rect_bivariate", nd)
    yield Case(case.name, case.arrays, lambda w: rows(surface(w[:, 0], w[:, 1], grid=False), len(w)), case.knots, beyond=False)


def json_arrays(case: Case) -> dict:
    """The same as JSON."""
    arrays = {name: array.tolist() for name, array in case.arrays.items()}
    if "t0" in arrays:
        arrays["t"] = [arrays.pop(f"t{v}") for v in range(len(case.knots))]
    return arrays


def write(case: Case, number: int, folder: Path) -> Path:
    """The file to compile."""
    path = folder / f"{case.name}.{'json' if number % 3 == 2 else 'npz'}"
    if number % 3 == 2:
        path.write_text(json.dumps(json_arrays(case)), encoding="utf-8")
    else:
        (np.savez if number % 3 == 0 else np.savez_compressed)(path, **case.arrays)
    return path


def points(case: Case, domain: list[list[float]], count: int, random: np.random.Generator) -> np.ndarray:
    """Float32 points [N, variables]."""
    low, high = np.array(domain, dtype=np.float32).T
    draw = lambda n: np.clip(random.uniform(low, high, (n, len(low))).astype(np.float32), low, high)
    parts = [draw(count)]
    for v, knots in enumerate(case.knots):
        x = knots.astype(np.float32)
        for near in (np.nextafter(x, np.float32(-np.inf)), x, np.nextafter(x, np.float32(np.inf))):
            part = draw(len(x))
            part[:, v] = np.clip(near, low[v], high[v])
            parts.append(part)
    return np.concatenate(parts)


def ask(server: Server, model: str, u: np.ndarray) -> np.ndarray:
    """What the server answers, [N, outputs]."""
    answers = []
    for first in range(0, len(u), POINTS_IN_A_REQUEST):
        inputs = [{"vectors": {"rows": 1, "cols": len(p), "values": p.tolist()}} for p in u[first : first + POINTS_IN_A_REQUEST].astype(float)]
        reply = server.call("Encode", {"model": {"name": model}, "inputs": inputs})
        answers += [result["output"]["values"] for result in reply["results"]]
    return np.array(answers)


def main() -> int:
    """0 if all agree."""
    parser = argparse.ArgumentParser(prog="compare.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--points", type=int, default=500, help="random points a spline (default: %(default)s)")
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="splineserve-scipy-") as name:
        folder = Path(name)
        compiled: list[tuple[Case, dict]] = []
        for number, case in enumerate(cases(arguments.seed)):
            domain = []
            if case.beyond:
                for knots in case.knots:
                    length = 0.1 * (knots[-1] - knots[0])
                    domain += ["--domain", f"{float(knots[0] - length)!r}:{float(knots[-1] + length)!r}"]
            done = subprocess.run(
                [BINARIES / "splineserve-compile", write(case, number, folder), "--out", folder / "repository" / case.name / "1", "--json",
                 *domain], capture_output=True, encoding="utf-8", check=False, env=clean_environment())
            if done.returncode != 0:
                print(f"{case.name}: {done.stderr.strip()}")
                failed += 1
                continue
            compiled.append((case, json.loads(done.stdout)))
        print(f"SciPy {scipy.__version__}, --seed {arguments.seed}")
        print(f"{'spline':24} {'degree':>6} {'layers':>6} {'heads':>5} {'numbers':>8}  largest   error   / largest   bound")
        with Server(folder / "repository") as server:
            for case, report in compiled:
                u = points(case, report["domain"], arguments.points, random)
                expected = case.function(u.astype(float))
                error = np.abs(ask(server, case.name, u) - expected)
                largest = np.abs(expected).max(axis=0)
                bound = np.array(report["error_bound"])
                agrees = bool((error <= bound).all() and (error <= TOLERANCE * largest).all())
                failed += not agrees
                worst = error.max(axis=0)
                o = int(np.argmax(worst / largest))
                print(f"{case.name:24} {report['degree']:6} {report['layers']:6} {report['heads']:5} {report['parameters']:8}  "
                      f"{largest[o]:7.3g}  {worst[o]:.1e}  {worst[o] / largest[o]:.1e}  {bound[o]:.1e}{'' if agrees else '  DIFFERS'}")
    print(f"{len(compiled)} splines compiled, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
