# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""How smoothings of the shipped models converge to their splines: measured and proven distance against beta.

    python3 -m venv build/docs && build/docs/bin/pip install matplotlib==3.11.2
    build/docs/bin/python docs/smoothing.py          # prints the tables of docs/smoothing.md, draws docs/smoothing.svg

Starts the server of build/release with a smoothing of each model for every beta, and asks it with the sample client for the
smoothing error of images of the test set (digits) and of words of the validation set (words, g2p). Half a minute.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "models" / "data"
BETAS = [f"{digit}e{power}" for power in range(9) for digit in (1, 3)][:-1]  # 1 to 1e8, two a decade
KINDS = {"measured": "measured", "at gates": "proven_at_gates", "proven": "proven"}


def digits() -> tuple[str, dict]:
    """All images of the test set, as eight tokens of eight grey values each."""
    lines = (DATA / "digits" / "test.csv").read_text(encoding="utf-8").splitlines()
    images = [[float(value) for value in line.split(",")[1:]] for line in lines]
    return "Encode", {"inputs": [{"vectors": {"rows": 8, "cols": 8, "values": image}} for image in images]}


def spellings(count: int) -> list[tuple[str, str]]:
    """(word, phones) from all over the validation set."""
    lines = (DATA / "g2p" / "valid.tsv").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")[:2]) for line in lines[:: len(lines) // count]][:count]


def words() -> tuple[str, dict]:
    """Spellings, teacher-forced."""
    return "Decode", {"targets": [{"text": word} for word, _ in spellings(40)]}


def g2p() -> tuple[str, dict]:
    """Spellings and their first pronunciations, teacher-forced."""
    pairs = spellings(15)
    return "Decode", {"sources": [{"text": word} for word, _ in pairs], "targets": [{"text": phones} for _, phones in pairs]}


MODELS = {"digits": (digits, "2 layers, degree 9"), "words": (words, "3 layers, degree 27"), "g2p": (g2p, "4 + 3 layers, degree 2133")}


@contextmanager
def started_server(binaries: Path) -> Iterator[str]:
    """HOST:PORT of a server with all smoothings, which ends with the context."""
    smoothings = ",".join(f"{model}={beta}" for model in MODELS for beta in BETAS)
    command = [binaries / "splineserve", "--model-repository", ROOT / "models" / "repository", "--listen", "127.0.0.1:0", "--metrics", "off",
               "--smoothing", smoothings]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, encoding="utf-8") as process:
        try:
            for line in process.stderr:
                if listening := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                    yield listening.group(1)
                    return
            raise SystemExit("the server did not start")
        finally:
            process.terminate()
            process.stderr.read()


def measure(client: Path, server: str, model: str) -> dict:
    """For each beta and kind of distance the median and the largest over all sequences, of the largest in each sequence."""
    method, request = MODELS[model][0]()
    rows = []
    for beta in BETAS:
        name = f"{model}@softplus{int(float(beta))}"
        request |= {"model": {"name": name}, "smoothing_error": True}
        done = subprocess.run([str(client), "call", f"InferenceService/{method}", "--server", server, "--deadline", "5m"],
                              input=json.dumps(request), capture_output=True, encoding="utf-8", check=False)
        if done.returncode != 0:
            raise SystemExit(f"{method} of {name} ended with status {done.returncode}:\n{done.stderr}")
        errors = [result["smoothing_error"] for result in json.loads(done.stdout)["results"]]
        row = {"beta": float(beta), "output": max(error["largest_output"] for error in errors)}
        for kind, field in KINDS.items():
            values = [float(error[f"max_{field}"]) for error in errors]  # "Infinity" is a string in JSON
            row[kind] = {"median": statistics.median(values), "largest": max(values)}
        rows.append(row)
    return {"model": model, "sequences": len(errors), "rows": rows}


def print_table(result: dict) -> None:
    """A Markdown table of whole decades."""
    print(f"\n{result['model']}, {result['sequences']} sequences, outputs up to {max(row['output'] for row in result['rows']):.3g}\n")
    print("| beta | measured, median | largest | proven at its gates, median | largest | proven, median | largest |")
    print("|---|---|---|---|---|---|---|")
    for row in result["rows"]:
        if not math.log10(row["beta"]).is_integer():
            continue
        cells = [text(row[kind][which]) for kind in KINDS for which in ("median", "largest")]
        print(f"| 10^{round(math.log10(row['beta']))} | " + " | ".join(cells) + " |")


def text(error: float) -> str:
    """Two digits; what float64 cannot tell from zero, or from infinity, by name."""
    if math.isinf(error):
        return "∞"
    return "< 1e-13" if error < 1e-13 else f"{error:.1e}"


def plot(results: list[dict], path: Path) -> None:
    """One panel a model: medians as lines, up to the largest as a band."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "splineserve"
    floor, ceiling = 1e-15, 1e9
    figure, panels = plt.subplots(1, len(results), figsize=(4.2 * len(results), 3.9), layout="constrained", sharey=True)
    for axes, result in zip(panels, results):
        betas = [row["beta"] for row in result["rows"]]
        for kind, color, label in (("proven", "#888888", "proven: ln 2 / β a gate"), ("at gates", "#d98f2b", "proven at its gates"),
                                   ("measured", "#3b6fb6", "measured")):
            lines = {which: [min(max(row[kind][which], floor / 10), 1e300) for row in result["rows"]] for which in ("median", "largest")}
            axes.plot(betas, lines["median"], "-o", color=color, markersize=3, linewidth=1.2, label=label)
            axes.fill_between(betas, lines["median"], lines["largest"], color=color, alpha=0.25, linewidth=0)
        axes.plot(betas, [math.log(2) / beta for beta in betas], ":", color="black", linewidth=1, label="ln 2 / β")
        axes.axhline(max(row["output"] for row in result["rows"]), color="black", linewidth=0.8, linestyle="--", label="largest output")
        axes.set(xscale="log", yscale="log", xlabel="β", title=f"{result['model']}: {MODELS[result['model']][1]}", ylim=(floor, ceiling))
        axes.grid(linewidth=0.3)
    panels[0].set_ylabel("distance of SoftPlus model and spline")
    panels[0].legend(fontsize=7, loc="lower left")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> int:
    """0; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, default=ROOT / "build" / "release" / "bin", metavar="DIR")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "smoothing.svg", metavar="FILE", help="(default: %(default)s)")
    arguments = parser.parse_args()
    with started_server(arguments.binaries) as server:
        results = [measure(arguments.binaries / "splineserve-client", server, model) for model in MODELS]
    for result in results:
        print_table(result)
    plot(results, arguments.output)
    print(f"\nwritten: {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
