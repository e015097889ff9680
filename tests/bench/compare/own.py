# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Workloads without a peer: SplineServe against itself. What pieces cost, what lower precision and a second core gain.

Entries have the peer "SplineServe float32" (or "... 1 thread"): `peer_ms` is the time of plain float32 without pieces (or on one
thread), `ours_ms` that of the variant. ratio = peer / ours: below 1 the variant costs time, above 1 it saves it.
"""

from __future__ import annotations

import contextlib
import re

import interleave
import workloads

DETAILS = ("ID", "COUNTS", "BITS")
PRECISIONS = ("bfloat16", "int8")
BASES = ("encoder d=512 128 tokens, half", "encoder d=512 128 tokens, 10 %", "encoder d=128 8 tokens, half")


def names(pattern: str) -> list[str]:
    """Those whose name contains a match."""
    out = [f"pieces {detail}: {base}" for base in BASES for detail in DETAILS]
    out += [f"{precision}: {base}" for base in BASES[:2] for precision in PRECISIONS]
    out += [f"2 threads against 1: {base}" for base in (*BASES[:2], "encoder d=512 2048 tokens, 10 %")]
    return [n for n in out if re.search(pattern, n)]


def run(name: str, runner) -> None:
    """Measures one and adds its entry to the runner; a precision that this build does not have is said, not failed."""
    kind, base = name.split(": ", 1)
    workload = next(w for w in workloads.all_workloads() if w.name == base)
    model, inputs = workloads.materialize(workload, runner.arguments.work)
    threads = 2 if kind.startswith("2 threads") else 1
    detail = kind.split()[1] if kind.startswith("pieces") else "NONE"
    precision = kind if kind in PRECISIONS else "float32"
    with contextlib.ExitStack() as stack:
        variant = stack.enter_context(runner.start_ours(threads))
        plain = stack.enter_context(runner.start_ours(1))
        plain.ask("load", model=str(model), threads=1)
        try:
            variant.ask("load", model=str(model), threads=threads, precision=precision)
        except interleave.WorkerError as error:
            print(f"    not measured: {error}")
            return
        plain.ask("prepare", inputs=str(inputs), detail="NONE")
        variant.ask("prepare", inputs=str(inputs), detail=detail)
        difference, problem = interleave.agree(variant, plain, inputs.parent)
        if precision == "float32" and (problem or difference != 0):
            raise interleave.WorkerError(f"{name}: outputs must be the same: {problem or difference}")
        timing = interleave.measure(variant, plain, runner.arguments.rounds, runner.arguments.seconds)
        count = workload.multiply_adds()
        meaning = {"pieces": f"{(1 / timing.ratio - 1) * 100:+.1f} % time"}.get(kind.split()[0], f"{timing.ratio:.2f}x")
        tokens = workload.sequences * workload.tokens
        runner.add({
            "workload": name, "peer": "SplineServe 1 thread" if threads == 2 else "SplineServe float32", "peer_version": "this build",
            "threads": threads, "kind": "own", "meaning": meaning, "ours_ms": timing.ours * 1e3, "peer_ms": timing.theirs * 1e3,
            "ratio": timing.ratio, "ratio_min": timing.ratio_min, "ratio_max": timing.ratio_max, "rounds": timing.rounds,
            "gflops_ours": 2e-9 * count / timing.ours, "gflops_peer": 2e-9 * count / timing.theirs,
            "tokens_per_s_ours": tokens / timing.ours, "tokens_per_s_peer": tokens / timing.theirs, "max_abs_difference": difference,
            "ours_rss_mb": round(variant.ask("memory")["rss_mb"], 1), "peer_rss_mb": round(plain.ask("memory")["rss_mb"], 1),
            "twin": False, "sparsity": workload.density, "machine": runner.machine,
        })
