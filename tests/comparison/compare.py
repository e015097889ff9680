# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Compares Trace and Differentiate of a started server with PyTorch in float64, on seeded random models of class EXACT.

A table shows the worst deviation of each check, relative to the largest expected number; the tolerance is 1e-9, but for `fine rule`,
a midpoint rule over 20000 points that knows of no knots (5e-3). The exit status is 1 if any check fails; `!` marks which.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import check_differentiate
import check_trace
import random_models
from report import DEVIATIONS, STATEMENTS, Report
from subject import Server, Subject

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "end_to_end"))
from serving import temporary_folder  # noqa: E402

# Deviations of the planted error are far above the tolerance in all of these; statements are about signs, which it hardly changes.
SEEN_IN = set(DEVIATIONS) - {"fine rule"}


def planted(tensors: random_models.Tensors, rng: np.random.Generator) -> random_models.Tensors:
    """The same weights but for one part in a million."""
    return {name: tensor * (1 + 1e-6 * rng.standard_normal(tensor.shape)).astype(np.float64) for name, tensor in tensors.items()}


def main() -> int:
    """0; 1 if a check fails."""
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of models and inputs (default: %(default)s)")
    parser.add_argument("--models", type=int, default=2, help="of each shape, with other weights (default: %(default)s)")
    parser.add_argument("--points", type=int, default=3, help="for Differentiate, of each model (default: %(default)s)")
    parser.add_argument("--segments", type=int, default=3, help="for Trace, of each model (default: %(default)s)")
    parser.add_argument("--shapes", nargs="+", choices=random_models.CONFIGS, default=list(random_models.CONFIGS), metavar="SHAPE", help="only these")
    parser.add_argument("--self-check", action="store_true", help="give PyTorch weights that are off by 1e-6: every deviation must be noticed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    print(f"seed {arguments.seed}")
    report = Report()
    with temporary_folder() as folder:
        weights = {}
        for shape in arguments.shapes:
            for number in range(arguments.models):
                rng = np.random.default_rng([arguments.seed, number, *shape.encode()])
                weights[shape, number] = random_models.random_tensors(random_models.CONFIGS[shape], rng)
                random_models.write(random_models.CONFIGS[shape], weights[shape, number], Path(folder) / f"{shape}_{number}")
        with Server(Path(folder)) as server:
            for (shape, number), tensors in weights.items():
                rng = np.random.default_rng([arguments.seed, number, len(shape), *shape.encode()])
                used = planted(tensors, rng) if arguments.self_check else tensors
                subject = Subject(server, f"{shape}_{number}", random_models.CONFIGS[shape], used)
                report.begin(shape)
                for _ in range(arguments.points):
                    check_differentiate.check(subject, rng, report)
                for _ in range(arguments.segments):
                    check_trace.check(subject, rng, report)
                print(f"{shape}_{number} done", file=sys.stderr, flush=True)
    print(report.table())
    failed = report.checks_failed()
    if arguments.self_check:
        missed = SEEN_IN - failed
        print("not noticed: " + ", ".join(sorted(missed)) if missed else "the planted error was noticed by every check of a deviation")
        return 1 if missed else 0
    checks = len(DEVIATIONS) + len(STATEMENTS)
    print("FAILED: " + ", ".join(sorted(failed)) if failed else f"all {checks} checks hold for {len(weights)} models")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
