# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""What the peers' worker processes share: the line protocol of compare_worker.cc, and greedy generation.

    python peer_onnxruntime.py export MODEL INPUTS FOLDER   # writes what the peer loads; a process of its own, so that its memory is not counted
    python peer_onnxruntime.py serve                        # lines of JSON on stdin, one answer each on stdout
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

Array = np.ndarray


def status_mb(field: str) -> float:
    """A field of /proc/self/status in MB (10^6 bytes)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


class Peer:
    """One peer. A subclass implements the methods that raise here; those of generation only if it can generate."""

    name = "peer"
    twin = False  # it runs another model of the same shape, so outputs are not compared

    def version(self) -> str:
        """Of the library."""
        raise NotImplementedError

    @staticmethod
    def export(model: Path, inputs: Path, out: Path) -> None:
        """Writes what `load` reads."""
        raise NotImplementedError

    def load(self, model: Path, exported: Path, threads: int) -> None:
        """Loads for `threads` threads."""
        raise NotImplementedError

    def prepare(self, inputs: dict) -> None:
        """Takes the inputs, before any time is measured."""
        self.inputs = inputs

    def encode(self) -> Array:
        """One call of an encoder workload."""
        raise NotImplementedError

    def generate(self, sequences: list[list[int]]) -> tuple[list[list[int]], list[Array]]:
        """One batch, greedy; ids and log-probabilities of each (those only where `want_scores`)."""
        raise NotImplementedError

    def note(self) -> str:
        """What the reader of the table should know, such as the mode that was quickest."""
        return ""

    want_scores = False
    step_seconds = 0.0  # set by `generate`: the time of a step after the first token

    def call(self) -> float:
        """One call; its seconds."""
        start = time.perf_counter()
        if self.inputs["mode"] == "encode":
            self.encode()
            return time.perf_counter() - start
        sequences, batch = self.inputs["sequences"], self.inputs["in_flight"]
        calls = range(0, len(sequences), batch)
        steps = 0.0
        for begin in calls:
            self.generate(sequences[begin : begin + batch])
            steps += self.step_seconds
        total = steps if self.inputs["measure"] == "steps" else time.perf_counter() - start
        return total / len(calls)

    def output(self) -> tuple[Array, list[list[int]] | None]:
        """All numbers of one run, as compare_worker writes them."""
        if self.inputs["mode"] == "encode":
            return np.ascontiguousarray(self.encode(), np.float32).ravel(), None
        self.want_scores = True
        ids, scores = [], []
        sequences, batch = self.inputs["sequences"], self.inputs["in_flight"]
        for begin in range(0, len(sequences), batch):
            some_ids, some_scores = self.generate(sequences[begin : begin + batch])
            ids += some_ids
            scores += some_scores
        self.want_scores = False
        flat = np.concatenate(scores) if scores else np.zeros(0)
        return flat.astype(np.float32), ids


class StepModel:
    """One decoder step of a batch after another; the state of a batch is the model's own."""

    def start(self, sources: list[list[int]] | None, batch: int):
        """State of a new batch, with the sources encoded."""
        raise NotImplementedError

    def step(self, state, ids: Array, position: int) -> tuple[Array, Array | None]:
        """Next ids [B] and, if they are at hand, logits [B, V]; the state moves on."""
        raise NotImplementedError

    def keep(self, state, rows: Array):
        """The state of these rows only."""
        raise NotImplementedError


def greedy(model: StepModel, config: dict, sequences: list[list[int]], max_new: int, want_scores: bool):
    """Greedy search: ids, log-probabilities, seconds of a step after the first token.

    Rows that have ended are dropped as soon as no more than half of the rows are left: to copy the cache costs time, too.
    """
    has_source = config["architecture"] == "encoder_decoder"
    batch = len(sequences)
    state = model.start(sequences if has_source else None, batch)
    prompt = np.full((batch, 1), config["bos_token_id"]) if has_source else np.array(sequences)
    eos = config.get("eos_token_id", -1)
    max_new = min(max_new or 1024, config["max_positions"] - prompt.shape[1] + 1)
    written: list[tuple[Array, Array, Array | None]] = []  # rows, ids and scores of a step; put in order at the end
    rows = np.arange(batch)  # of the state -> of the batch
    alive = np.ones(batch, bool)
    ids = prompt[:, 0].astype(np.int64)
    first_time = last_time = time.perf_counter()
    for position in range(prompt.shape[1] + max_new - 1):
        ids, logits = model.step(state, ids, position)
        if position + 1 < prompt.shape[1]:
            ids = prompt[:, position + 1].astype(np.int64)
            continue
        last_time = time.perf_counter()
        if position + 1 == prompt.shape[1]:
            first_time = last_time
        alive &= ids != eos
        scores = _log_probabilities(logits, ids)[alive] if want_scores and logits is not None else None
        written.append((rows[alive], ids[alive], scores))
        left = int(alive.sum())
        if left == 0:
            break
        if left * 2 <= len(alive):
            keep = np.flatnonzero(alive)
            state, rows, ids, alive = model.keep(state, keep), rows[keep], ids[keep], alive[keep]
    out_ids: list[list[int]] = [[] for _ in sequences]
    out_scores: list[list[float]] = [[] for _ in sequences]
    for some_rows, some_ids, scores in written:
        for i, row in enumerate(some_rows.tolist()):
            out_ids[row].append(int(some_ids[i]))
            if scores is not None:
                out_scores[row].append(float(scores[i]))
    steps = max(1, max(len(o) for o in out_ids) - 1)
    return out_ids, [np.array(s, np.float32) for s in out_scores], (last_time - first_time) / steps


def _log_probabilities(logits: Array, ids: Array) -> Array:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide[np.arange(len(ids)), ids] - np.log(np.exp(wide).sum(axis=1))


def _handle(peer: Peer, request: dict) -> dict:
    op = request["op"]
    if op == "hello":
        return {"name": peer.name, "version": peer.version(), "twin": peer.twin}
    if op == "load":
        start = time.perf_counter()
        peer.load(Path(request["model"]), Path(request["exported"]), request["threads"])
        return {"load_seconds": time.perf_counter() - start}
    if op == "prepare":
        peer.prepare(json.loads(Path(request["inputs"]).read_text(encoding="utf-8")) | {"lengths": request.get("lengths", [])})
        return {}
    if op == "run":
        times = []
        start = time.perf_counter()
        cpu = time.process_time()
        while not times or time.perf_counter() - start < request.get("seconds", 0.1):
            times.append(peer.call())
        return {"seconds": times, "cpu_seconds": (time.process_time() - cpu) / len(times)}
    if op == "output":
        numbers, ids = peer.output()
        numbers.astype(np.float32).tofile(request["path"])
        return {"numbers": int(numbers.size)} | ({"ids": ids} if ids is not None else {})
    if op == "memory":
        return {"rss_mb": status_mb("VmRSS"), "peak_rss_mb": status_mb("VmHWM"), "note": peer.note()}
    raise ValueError(f"unknown op {op}")


def main(peer: Peer) -> None:
    """Exports or serves, as the command line says."""
    if sys.argv[1:2] == ["export"] and len(sys.argv) == 5:
        peer.export(*map(Path, sys.argv[2:]))
        return
    if sys.argv[1:] != ["serve"]:
        sys.exit(__doc__)
    answers = os.fdopen(os.dup(1), "w")  # whatever a library prints goes to stderr
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if request["op"] == "quit":
                return
            reply = _handle(peer, request)
        except Exception as error:  # the answer to any failure is its text
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)
