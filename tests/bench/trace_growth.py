# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""How traces grow with layers, width and tokens: pieces a second, pieces that a segment crosses, how many are certified.

    tests/bench/compare.sh trace                        # builds what this needs; five minutes
    tests/bench/compare.sh trace --rounds 1 --seconds 1

Runs trace_bench and takes medians over its rounds, each of which has its own random model and segment. Writes trace_growth.json,
trace_growth.md (the table) and trace_growth.svg.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SERIES = {"layers": "layers (d = 48, 8 tokens)", "d": "width d (2 layers, 8 tokens)", "tokens": "tokens (d = 48, 2 layers)"}


def main() -> int:
    """0; 1 if trace_bench fails."""
    build = REPOSITORY / "build"
    parser = argparse.ArgumentParser(prog="compare.sh trace", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="random models and segments of each size (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="of a segment, at least one piece (default: %(default)s)")
    parser.add_argument("--pieces", type=int, default=1000, help="of a segment at most (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=build / "compare" / "results", metavar="DIR")
    parser.add_argument("--bench", type=Path, default=build / "release" / "bench" / "trace_bench")
    parser.add_argument("--lines", type=Path, help="draw these lines of an earlier run of trace_bench instead of running it")
    arguments = parser.parse_args()
    if arguments.lines is not None:
        text = arguments.lines.read_text(encoding="utf-8")
    else:
        flags = [f"--{name}={getattr(arguments, name)}".split("=") for name in ("rounds", "seconds", "pieces")]
        done = subprocess.run([str(arguments.bench), *sum(flags, [])], stdout=subprocess.PIPE, encoding="utf-8", check=False)
        if done.returncode != 0:
            return 1
        text = done.stdout
    results = _medians([json.loads(line) for line in text.splitlines()])
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "trace_growth.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (arguments.output / "trace_growth.md").write_text(_markdown(results), encoding="utf-8")
    print(_markdown(results))
    _plot(results, arguments.output / "trace_growth.svg")
    for suffix in ("json", "md", "svg"):
        print(f"written: {arguments.output / f'trace_growth.{suffix}'}")
    return 0


def _medians(lines: list[dict]) -> list[dict]:
    sizes: dict[tuple, list[dict]] = {}
    for line in lines:
        sizes.setdefault((line["series"], line["d"], line["layers"], line["tokens"]), []).append(line)
    out = []
    for (series, d, layers, tokens), rounds in sizes.items():
        def median(key: str) -> float:
            return statistics.median(r[key] for r in rounds)

        out.append({
            "series": series, "d": d, "layers": layers, "tokens": tokens, "gates": rounds[0]["gates"], "degree": rounds[0]["degree"],
            "rounds": len(rounds), "pieces_per_second": median("pieces_per_second"),
            "slowest": min(r["pieces_per_second"] for r in rounds), "quickest": max(r["pieces_per_second"] for r in rounds),
            "crossed": median("crossed"), "counted": sum(r["reached"] == 1 for r in rounds),
            "certified": sum(r["certified"] for r in rounds) / sum(r["pieces"] for r in rounds),
            "evaluations_a_piece": statistics.median(r["evaluations"] / r["pieces"] for r in rounds),
        })
    return out


def _markdown(results: list[dict]) -> str:
    out = ["| d | layers | tokens | gates | degree | pieces a second (min-max) | evaluations a piece | pieces of a segment | certified |",
           "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for r in {(r["d"], r["layers"], r["tokens"]): r for r in results}.values():
        about = "" if r["counted"] == r["rounds"] else "about "
        out.append(f"| {r['d']} | {r['layers']} | {r['tokens']} | {r['gates']} | {r['degree']} "
                   f"| {_short(r['pieces_per_second'])} ({_short(r['slowest'])}-{_short(r['quickest'])}) | {r['evaluations_a_piece']:.0f} "
                   f"| {about}{_short(r['crossed'])} | {100 * r['certified']:.4g} % |")
    return "\n".join(out) + "\n"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.2g}"


def _plot(results: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "splineserve"
    figure, panels = plt.subplots(1, len(SERIES), figsize=(4.2 * len(SERIES), 3.8), layout="constrained")
    for axes, (series, title) in zip(panels, SERIES.items()):
        chosen = [r for r in results if r["series"] == series]
        sizes = [r[series] for r in chosen]
        speed = [r["pieces_per_second"] for r in chosen]
        spread = [[r["pieces_per_second"] - r["slowest"] for r in chosen], [r["quickest"] - r["pieces_per_second"] for r in chosen]]
        axes.errorbar(sizes, speed, yerr=spread, fmt="o-", color="#3b6fb6", markersize=4, linewidth=1, capsize=2, label="pieces a second")
        axes.plot(sizes, [r["crossed"] for r in chosen], "s--", color="#d98f2b", markersize=4, linewidth=1, label="pieces of a segment")
        for r, x in zip(chosen, sizes):
            axes.annotate(f"{100 * r['certified']:.3g} %", (x, r["pieces_per_second"]), xytext=(4, 5), textcoords="offset points", fontsize=6)
        axes.set(xscale="log", yscale="log", xlabel=series, title=title)
        axes.set_xticks(sizes, [str(s) for s in sizes], fontsize=8)
        axes.minorticks_off()
        axes.grid(linewidth=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
