# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Worker processes, and runs that take turns: A B A B ..., so that a change of the machine's speed hits both sides alike."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

import numpy as np


class WorkerError(RuntimeError):
    """A worker answered with an error, or ended."""


class Worker:
    """A process that answers lines of JSON, pinned to the first cores that this process may use."""

    def __init__(self, name: str, command: list[str], threads: int, log: Path, environment: dict[str, str] | None = None) -> None:
        self.name = name
        cores = sorted(os.sched_getaffinity(0))[:threads]
        variables = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "KMP_BLOCKTIME": "1",
                                  "OPENBLAS_NUM_THREADS": "1"} | (environment or {})
        self.log = open(log, "a", encoding="utf-8")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=variables,
                                        start_new_session=True, preexec_fn=lambda: os.sched_setaffinity(0, cores))

    def ask(self, op: str, limit: float = 900, **fields) -> dict:
        """The answer; WorkerError if it is an error or does not come within `limit` seconds."""
        timer = threading.Timer(limit, self._kill)  # all of its processes: one that lives on would hold the pipe open
        timer.start()
        try:
            self.process.stdin.write(json.dumps({"op": op} | fields) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            self.process.wait()
            raise WorkerError(f"{self.name} ended with status {self.process.returncode} at {op}; see {self.log.name}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {op}: {answer['error']}")
        return answer

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends the process."""
        if self.process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._kill()
                self.process.wait()
        self.log.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self.close()


@dataclasses.dataclass
class Timing:
    """Seconds of a call of either side, medians; ratio = theirs / ours, its median and extremes over the rounds."""

    ours: float
    theirs: float
    ratio: float
    ratio_min: float
    ratio_max: float
    rounds: int


def measure(ours: Worker, theirs: Worker, rounds: int, seconds: float) -> Timing:
    """Each round runs each side for about `seconds`, at least one call; sides swap their order from round to round."""
    for worker in (ours, theirs):  # warm caches, allocators and branch predictors
        worker.ask("run", seconds=seconds / 2)
    results: list[tuple[float, float]] = []
    for turn in range(rounds):
        medians = {}
        for worker in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
            time.sleep(0.002)  # threads of the other side that still spin go to sleep
            medians[worker] = statistics.median(worker.ask("run", seconds=seconds)["seconds"])
        results.append((medians[ours], medians[theirs]))
    ratios = [b / a for a, b in results]
    return Timing(statistics.median(a for a, _ in results), statistics.median(b for _, b in results),
                  statistics.median(ratios), min(ratios), max(ratios), rounds)


# Sums of up to some thousand float32 products in another order, through up to 12 layers, differ by about sqrt(4096) * 12 * 2^-24 =
# 5e-5 of the largest number; a wrong mask, scale or weight differs by far more.
RELATIVE_TOLERANCE = 2e-4


def agree(ours: Worker, theirs: Worker, folder: Path) -> tuple[float, str]:
    """Largest absolute difference of the outputs, and what is wrong with them ("" if they agree)."""
    answers, numbers = [], []
    for worker, name in ((ours, "ours.bin"), (theirs, "theirs.bin")):
        answers.append(worker.ask("output", path=str(folder / name)))
        numbers.append(np.fromfile(folder / name, np.float32))
    if answers[0].get("ids") != answers[1].get("ids"):
        differing = sum(a != b for a, b in zip(answers[0]["ids"], answers[1]["ids"]))
        return float("nan"), f"{differing} of {len(answers[0]['ids'])} generated sequences differ"
    if numbers[0].shape != numbers[1].shape:
        return float("nan"), f"{numbers[0].size} numbers against {numbers[1].size}"
    difference = float(np.abs(numbers[0].astype(np.float64) - numbers[1]).max()) if numbers[0].size else 0.0
    limit = RELATIVE_TOLERANCE * max(1.0, float(np.abs(numbers[0]).max(initial=0)))
    return difference, "" if difference <= limit else f"outputs differ by {difference:.3g}, allowed {limit:.3g}"
