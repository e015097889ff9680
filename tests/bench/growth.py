# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""How our time grows with tokens, layers and width, against the growth of the multiply-adds themselves.

    tests/bench/compare.sh growth                       # builds what this needs; about three minutes
    tests/bench/compare.sh growth --quick --threads 1

Sizes of a series take turns, round after round, and the median of each counts. The fits are least squares of relative errors:
a + b n + c n^2 with no negative coefficient over tokens (attention is quadratic, all else linear), a + b n over layers, a + b n + c n^2
over width. Exponents are slopes of log time over the upper half of a series, beside those of the multiply-adds (which count closed gates
as computed). A series grows faster than its mathematics if its largest size takes over 15 % more than the same fit through the upper
sizes before it foretells.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))
import interleave  # noqa: E402
import models  # noqa: E402
import workloads  # noqa: E402

TOLERANCE = 1.15
VOCAB = 1000


def main() -> int:
    """0; 1 if something grows faster than its mathematics."""
    build = workloads.REPOSITORY / "build"
    parser = argparse.ArgumentParser(prog="compare.sh growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller sizes, 3 rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="(default: 7; 3 with --quick)")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each size in a round, at least one call (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=build / "compare" / "results", metavar="DIR", help="for growth.json, growth.svg")
    parser.add_argument("--work", type=Path, default=build / "compare" / "work" / "growth", metavar="DIR", help="for models")
    parser.add_argument("--worker", type=Path, default=build / "release" / "bench" / "compare_worker")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 7)
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = []
    for density in ("half", "10 %"):
        for series in _series(arguments.quick):
            print(f"{series['name']}, {density} ...", file=sys.stderr, flush=True)
            results.append(_measure(series, density, arguments))
    for result in results:
        _print(result)
    (arguments.output / "growth.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    _plot(results, arguments.output / "growth.svg")
    print(f"written: {arguments.output / 'growth.json'}\nwritten: {arguments.output / 'growth.svg'}")
    faster = [f"{r['name']}, {r['density']}" for r in results if r["faster_than_mathematics"]]
    print("grows faster than its mathematics: " + "; ".join(faster) if faster else "nothing grows faster than its mathematics")
    return 1 if faster else 0


def _series(quick: bool) -> list[dict]:
    """What varies, and the (shape, tokens) of every size."""
    tokens = [1, 4, 16, 64, 256, 512] if quick else [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    layers = [1, 2, 4, 8] if quick else [1, 2, 3, 4, 6, 8, 12, 16]
    widths = [64, 128, 256, 512] if quick else [64, 128, 192, 256, 384, 512, 768, 1024]
    return [
        {"name": "tokens (d=512, 6 layers)", "variable": "tokens", "degree": 2, "sizes": tokens,
         "shapes": [(models.Shape("encoder", 512, 6, 8, 2048, VOCAB), n) for n in tokens]},
        {"name": "layers (d=256, 128 tokens)", "variable": "layers", "degree": 1, "sizes": layers,
         "shapes": [(models.Shape("encoder", 256, n, 4, 1024, VOCAB), 128) for n in layers]},
        {"name": "width (2 layers, 128 tokens)", "variable": "d", "degree": 2, "sizes": widths,
         "shapes": [(models.Shape("encoder", d, 2, d // 64, 4 * d, VOCAB), 128) for d in widths]},
    ]


def _measure(series: dict, density: str, arguments: argparse.Namespace) -> dict:
    seconds: list[list[float]] = [[] for _ in series["sizes"]]
    log = arguments.work / "growth.log"
    with contextlib.ExitStack() as stack:
        workers = []
        for shape, tokens in series["shapes"]:
            folder = arguments.work / f"d{shape.d}_l{shape.layers}_n{tokens}_{density.split()[0]}"
            rng = np.random.default_rng(3)
            ids = rng.integers(0, VOCAB, size=(max(1, 512 // tokens), tokens))
            if not (folder / "config.json").exists():
                models.write(shape, *workloads.DENSITIES[density], ids, tokens, 4, folder)
            inputs = folder / "inputs.json"
            inputs.write_text(json.dumps({"mode": "encode", "sequences": ids[:1].tolist()}), encoding="utf-8")
            worker = stack.enter_context(interleave.Worker("SplineServe", [str(arguments.worker)], arguments.threads, log))
            worker.ask("load", model=str(folder), threads=arguments.threads)
            worker.ask("prepare", inputs=str(inputs))
            worker.ask("run", seconds=arguments.seconds / 2)
            workers.append(worker)
        for _ in range(arguments.rounds):
            for times, worker in zip(seconds, workers):
                times.append(statistics.median(worker.ask("run", seconds=arguments.seconds)["seconds"]))
    sizes = np.array(series["sizes"], float)
    times = np.array([statistics.median(t) for t in seconds])
    products = np.array([shape.multiply_adds(tokens) for shape, tokens in series["shapes"]], float)
    coefficients = _fit(sizes, times, series["degree"])
    fitted = np.polyval(coefficients[::-1], sizes)
    half = len(sizes) // 2
    upper = slice(max(0, half - 2), -1)
    foretold = float(np.polyval(_fit(sizes[upper], times[upper], series["degree"])[::-1], sizes[-1]))
    return {
        "name": series["name"], "variable": series["variable"], "density": density, "threads": arguments.threads, "sizes": series["sizes"],
        "ms": (times * 1e3).tolist(), "multiply_adds": products.tolist(), "fit_ms": [c * 1e3 for c in coefficients],
        "largest_fit_error": float(np.max(np.abs(fitted / times - 1))), "exponent": _slope(sizes[half:], times[half:]),
        "exponent_of_mathematics": _slope(sizes[half:], products[half:]), "largest_over_foretold": float(times[-1] / foretold),
        "faster_than_mathematics": bool(times[-1] > TOLERANCE * foretold),
    }


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _fit(sizes: np.ndarray, times: np.ndarray, degree: int) -> list[float]:
    """Non-negative least squares of relative errors: the best of all choices of terms without a negative coefficient."""
    columns = np.stack([sizes**k / times for k in range(degree + 1)], axis=1)
    best, best_error = [0.0] * (degree + 1), np.inf
    for count in range(1, degree + 2):
        for chosen in itertools.combinations(range(degree + 1), count):
            solution = np.linalg.lstsq(columns[:, chosen], np.ones(len(times)), rcond=None)[0]
            error = float(np.sum(np.square(columns[:, chosen] @ solution - 1)))
            if (solution >= 0).all() and error < best_error:
                best, best_error = [0.0] * (degree + 1), error
                for k, value in zip(chosen, solution):
                    best[k] = float(value)
    return best


def _print(result: dict) -> None:
    print(f"\n{result['name']}, {result['density']} open, {result['threads']} thread(s)")
    print(f"{result['variable']:>8} {'ms':>10} {'GFLOP/s':>9}")
    for size, ms, count in zip(result["sizes"], result["ms"], result["multiply_adds"]):
        print(f"{size:>8} {ms:>10.4g} {2e-6 * count / ms:>9.1f}")
    terms = [f"{c:.3g}" + ("" if k == 0 else f" {result['variable']}" if k == 1 else f" {result['variable']}^{k}")
             for k, c in enumerate(result["fit_ms"]) if c > 0]
    print(f"fit: {' + '.join(terms)} ms, off by at most {result['largest_fit_error'] * 100:.0f} %; exponent {result['exponent']:.2f}, of the "
          f"mathematics {result['exponent_of_mathematics']:.2f}; the largest takes {result['largest_over_foretold']:.2f} of what those before it foretell"
          + (": FASTER THAN ITS MATHEMATICS" if result["faster_than_mathematics"] else ""))


def _plot(results: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "splineserve"
    names = list(dict.fromkeys(r["name"] for r in results))
    figure, panels = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.8), layout="constrained")
    for axes, name in zip(panels, names):
        chosen = [r for r in results if r["name"] == name]
        for result, color in zip(chosen, ("#3b6fb6", "#d98f2b")):
            sizes = np.array(result["sizes"], float)
            smooth = np.geomspace(sizes[0], sizes[-1], 100)
            axes.plot(sizes, result["ms"], "o", color=color, markersize=4, label=f"{result['density']} open: exponent {result['exponent']:.2f}")
            axes.plot(smooth, np.polyval(result["fit_ms"][::-1], smooth), "-", color=color, linewidth=1)
        products = np.array(chosen[0]["multiply_adds"])
        scaled = products * min(ms / count for ms, count in zip(chosen[0]["ms"], products))
        axes.plot(chosen[0]["sizes"], scaled, ":", color="black", linewidth=1,
                  label=f"multiply-adds: {chosen[0]['exponent_of_mathematics']:.2f}")
        axes.set(xscale="log", yscale="log", xlabel=chosen[0]["variable"], ylabel="ms", title=name)
        axes.legend(fontsize=7)
        axes.grid(linewidth=0.3)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
