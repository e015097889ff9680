# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Compares SplineServe with other runtimes on the same weights: agreement first, then interleaved times.

tests/bench/compare.sh builds what this needs and calls it; --help there and here says the same.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import interleave
import own
import report
import workloads

HERE = Path(__file__).resolve().parent
PEERS = ["onnxruntime", "openvino", "torch", "ctranslate2"]
EXAMPLES = """examples:
  tests/bench/compare.sh                                    everything; takes an hour or two
  tests/bench/compare.sh --quick                            the rows with a target, few rounds
  tests/bench/compare.sh --workloads 'd=512 128' --peers onnxruntime --threads 1
  tests/bench/compare.sh --workloads g2p --rounds 15 --seconds 0.5
  tests/bench/compare.sh --list
  tests/bench/compare.sh growth --quick                     how our own time grows (another script; see its --help)
  tests/bench/compare.sh --self-check                       a minute on tiny models, against onnxruntime
"""
QUICK = r"g2p batch (1|256)$|digits batch 1$|d=512 (16|128) tokens, (half|10 %)$|d=512 2048 tokens, 10 %$|d=256 .*(half|10 %)$|d=128 .*half$|decoder step .*, 10 %$"


def main() -> int:
    """Exit status 0; 1 if outputs disagree or a worker fails; 2 for bad usage."""
    arguments = _arguments()
    chosen = workloads.tiny() if arguments.self_check else workloads.all_workloads()
    pattern = arguments.workloads or (QUICK if arguments.quick else "")
    chosen = [w for w in chosen if re.search(pattern, w.name)]
    if arguments.list:
        print("\n".join([w.name for w in chosen] + own.names(arguments.workloads)))
        return 0
    if not chosen and not own.names(arguments.workloads):
        print(f"compare: no workload matches {pattern!r}; --list shows them all", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    if load > 0.5:
        _say(f"compare: warning: other work is running here (load {load:.1f}); times will be noisy, those of 2 threads most")
    runner = Runner(arguments)
    start = time.monotonic()
    for number, workload in enumerate(chosen, 1):
        done = time.monotonic() - start
        left = f", about {done / (number - 1) * (len(chosen) - number + 1) / 60:.0f} min left" if number > 1 else ""
        _say(f"[{number}/{len(chosen)}] {workload.name}{left}")
        runner.compare(workload)
    if not arguments.self_check and not arguments.no_own and (arguments.workloads or not arguments.quick):
        runner.own(own.names(arguments.workloads))
    elif arguments.quick and not arguments.workloads and not arguments.no_own:
        runner.own(own.names("pieces|threads"))
    return runner.finish()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="compare.sh", description=__doc__.split("\n\n")[0], epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the workloads with a target, 3 rounds")
    parser.add_argument("--workloads", metavar="REGEX", default="", help="only workloads whose name contains a match")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.15, help="of each side in a round, at least one call (default: %(default)s)")
    parser.add_argument("--rounds", type=int, help="of each comparison (default: 9; 3 with --quick)")
    parser.add_argument("--output", type=Path, default=workloads.REPOSITORY / "build" / "compare" / "results", metavar="DIR",
                        help="for compare.json, compare.md and plots (default: build/compare/results)")
    parser.add_argument("--work", type=Path, default=workloads.REPOSITORY / "build" / "compare" / "work", metavar="DIR",
                        help="for models and logs (default: build/compare/work)")
    parser.add_argument("--worker", type=Path, default=workloads.REPOSITORY / "build" / "release" / "bench" / "compare_worker",
                        help="our side (default: build/release/bench/compare_worker)")
    parser.add_argument("--keep-models", action="store_true", help="do not delete the random models (some GB) after their runs")
    parser.add_argument("--no-own", action="store_true", help="skip the workloads without a peer (pieces, precision, 2 threads against 1)")
    parser.add_argument("--list", action="store_true", help="print the workloads and stop")
    parser.add_argument("--self-check", action="store_true", help="tiny models, onnxruntime only: are exports and agreement right?")
    arguments = parser.parse_args()
    try:
        arguments.threads = [int(t) for t in arguments.threads.split(",")]
        re.compile(arguments.workloads)
    except (ValueError, re.error) as error:
        parser.error(str(error))
    arguments.peers = ["onnxruntime"] if arguments.self_check else [p for p in arguments.peers.split(",") if p]
    unknown = [p for p in arguments.peers if p not in PEERS]
    if unknown or min(arguments.threads, default=0) < 1:
        parser.error(f"unknown peer {', '.join(unknown)}; known: {', '.join(PEERS)}" if unknown else "--threads: numbers from 1 up expected")
    quick = arguments.quick or arguments.self_check
    arguments.rounds = arguments.rounds or (3 if quick else 9)
    if arguments.self_check:
        arguments.seconds, arguments.threads = 0.02, [1]
    if not arguments.worker.exists():
        parser.error(f"{arguments.worker} is not built; tests/bench/compare.sh builds it")
    return arguments


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Runner:
    """Runs workloads and gathers entries and failures."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.entries: list[dict] = []
        self.failures: list[str] = []
        arguments.work.mkdir(parents=True, exist_ok=True)
        self.logs = arguments.work / "logs"
        self.logs.mkdir(exist_ok=True)
        with self.start_ours(1) as worker:
            peak = worker.ask("peak")["fma_peak_gflops"]
            self.machine = report.machine(worker.ask("hello")["simd_target"], peak)
        _say(f"{self.machine['processor']}, {self.machine['cores']} cores, {self.machine['simd_target']}, FMA peak {peak:.1f} GFLOP/s")

    def start_ours(self, threads: int) -> interleave.Worker:
        """Our worker."""
        return interleave.Worker("SplineServe", [str(self.arguments.worker)], threads, self.logs / "ours.log")

    def compare(self, workload: workloads.Workload) -> None:
        """All peers and numbers of threads."""
        model, inputs = workloads.materialize(workload, self.arguments.work)
        folder = inputs.parent
        for peer in self.arguments.peers:
            module = HERE / f"peer_{peer}.py"
            exported = folder / ("onnx" if peer in ("onnxruntime", "openvino") else peer)
            if not exported.exists():
                command = [sys.executable, str(module), "export", str(model), str(inputs), str(exported)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    self._fail(f"{workload.name}: {peer}: export: {done.stderr.strip() or done.returncode}")
                    shutil.rmtree(exported, ignore_errors=True)
                    continue
            for threads in self.arguments.threads:
                try:
                    self._pair(workload, peer, module, model, inputs, exported, threads)
                except interleave.WorkerError as error:
                    self._fail(f"{workload.name}, {threads} threads: {error}")
        if not self.arguments.keep_models:
            shutil.rmtree(folder, ignore_errors=True)

    def _pair(self, workload: workloads.Workload, peer: str, module: Path, model: Path, inputs: Path, exported: Path, threads: int) -> None:
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(self.start_ours(threads))
            theirs = stack.enter_context(interleave.Worker(peer, [sys.executable, str(module), "serve"], threads, self.logs / f"{peer}.log"))
            hello = theirs.ask("hello")
            ours.ask("load", model=str(model), threads=threads)
            theirs.ask("load", model=str(model), exported=str(exported), threads=threads)
            ours.ask("prepare", inputs=str(inputs))
            # A twin writes other tokens than we do; it is told how many, the end included.
            is_text = hello["twin"] and workload.mode == "generate"
            lengths = [len(ids) + 1 for ids in ours.ask("output", path="/dev/null")["ids"]] if is_text else []
            theirs.ask("prepare", inputs=str(inputs), lengths=lengths)
            difference, problem = (None, "") if hello["twin"] else interleave.agree(ours, theirs, inputs.parent)
            if problem:
                self._fail(f"{workload.name}: {peer} disagrees: {problem}")
            timing = interleave.measure(ours, theirs, self.arguments.rounds, self.arguments.seconds)
            entry = {"workload": workload.name, "peer": peer, "peer_version": hello["version"], "threads": threads}
            entry |= times(timing, workload.multiply_adds())
            entry["max_abs_difference"] = None if difference is None or math.isnan(difference) else difference
            memory = theirs.ask("memory")
            entry |= {"ours_rss_mb": round(ours.ask("memory")["rss_mb"], 1), "peer_rss_mb": round(memory["rss_mb"], 1), "twin": hello["twin"],
                      "agrees": None if hello["twin"] else not problem, "sparsity": workload.density, "peer_note": memory["note"], "machine": self.machine}
            entry |= tokens(entry, workload, ours)
            if workload.mode == "encode":
                entry |= {f"open_{site}": round(fraction, 4) for site, fraction in ours.ask("counts").items()}
            self.add(entry)

    def own(self, names: list[str]) -> None:
        """The workloads without a peer."""
        for name in names:
            _say(f"[own] {name}")
            try:
                own.run(name, self)
            except interleave.WorkerError as error:
                self._fail(f"{name}: {error}")

    def add(self, entry: dict) -> None:
        """Keeps an entry, and writes all so far: an interrupted run loses nothing."""
        self.entries.append(entry)
        cells = dict(zip(("workload", "peer", "threads", "ours", "theirs", "ratio", "range"), report.row(entry)))
        _say(f"    {cells['peer']} {cells['threads']}t: ours {cells['ours']} ms, peer {cells['theirs']} ms, ratio {cells['ratio']} "
             f"({cells['range']}) {report.verdict(entry)}")
        report.write_json(self.entries, self.arguments.output)

    def _fail(self, text: str) -> None:
        self.failures.append(text)
        _say("    FAILED: " + text)

    def finish(self) -> int:
        """Prints and writes everything."""
        print(report.text_table(self.entries))
        print()
        print(report.summary(self.entries))
        print(report.notes(self.entries))
        for path in report.write(self.entries, self.arguments.output):
            print(f"written: {path}")
        for failure in self.failures:
            print(f"FAILED: {failure}")
        return 1 if self.failures else 0


def times(timing: interleave.Timing, multiply_adds: float | None) -> dict:
    """The fields of an entry that come from a measurement."""
    out = {"ours_ms": timing.ours * 1e3, "peer_ms": timing.theirs * 1e3, "ratio": timing.ratio, "ratio_min": timing.ratio_min,
           "ratio_max": timing.ratio_max, "rounds": timing.rounds}
    if multiply_adds is not None:
        out |= {"gflops_ours": 2e-9 * multiply_adds / timing.ours, "gflops_peer": 2e-9 * multiply_adds / timing.theirs}
    return out


def tokens(entry: dict, workload: workloads.Workload, ours: interleave.Worker) -> dict:
    """Tokens a second: evaluated ones of an encoder, generated ones of a decoder; words a second where words are generated."""
    if workload.mode == "generate":
        ids = ours.ask("output", path="/dev/null")["ids"]
        count = sum(len(i) + 1 for i in ids) / workload.calls
        words = {f"words_per_s_{side}": workload.sequences / entry[f"{side}_ms"] * 1e3 for side in ("ours", "peer")}
    else:
        count, words = workload.sequences * (1 if workload.mode == "steps" else workload.tokens), {}
    return words | {f"tokens_per_s_{side}": count / entry[f"{side}_ms"] * 1e3 for side in ("ours", "peer")}


if __name__ == "__main__":
    sys.exit(main())
