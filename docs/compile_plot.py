# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/compile.svg: the censuses, the cubic spline through them, and what a server answers.

    pip install -r models/requirements.txt
    splineserve --model-repository models/repository &
    python docs/compile_plot.py build/release/bin/splineserve-client localhost:8001 docs/compile.svg
"""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models" / "splines"))
from make_cubic import census, spline  # noqa: E402

BOUND = 1.98e-4  # what splineserve-compile prints, in millions


def ask(client: str, server: str, years: np.ndarray) -> np.ndarray:
    """The model's answer for each year."""
    inputs = [{"vectors": {"rows": 1, "cols": 1, "values": [float(year)]}} for year in years]
    request = {"model": {"name": "cubic"}, "inputs": inputs}
    done = subprocess.run([client, "call", "Encode", "--server", server], input=json.dumps(request), capture_output=True, text=True, check=True)
    return np.array([result["output"]["values"][0] for result in json.loads(done.stdout)["results"]])


def main() -> None:
    client, server, path = sys.argv[1:]
    years, millions = census()
    cubic = spline()
    x = np.linspace(1780, 2030, 501).astype(np.float32)
    answers = ask(client, server, x)
    exact = cubic(x.astype(float))
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "splineserve", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 4.6), sharex=True, height_ratios=(3, 1.4), layout="constrained")
    top.plot(x, exact, color="#9ecae1", linewidth=4, label="SciPy's CubicSpline, float64")
    top.plot(x[::10], answers[::10], "|", color="#d94801", markersize=7, label="the model's answers, float32")
    top.plot(years, millions, "o", color="#08306b", markersize=4, label="censuses: the knots")
    top.set_ylabel("millions of persons")
    top.legend(frameon=False)
    bottom.axhspan(-BOUND * 1e4, BOUND * 1e4, color="#deebf7", label="promised")
    bottom.plot(x, (answers - exact) * 1e4, color="#d94801", linewidth=0.8, label="found")
    bottom.set_ylabel("error, 100 persons")
    bottom.set_xlabel("year")
    bottom.set_ylim(-2.6, 4)
    bottom.legend(frameon=False, ncols=2, loc="upper left", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
