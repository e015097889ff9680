# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the same ONNX graphs: latency hint, float32 inference, caches handed from one infer request to the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.modules["openvino_telemetry"] = None  # else a process that reports usage is forked, and outlives this one
import openvino as ov

import peer_worker

Array = np.ndarray


def _options(threads: int) -> dict:
    # Without the two precision settings OpenVINO would compute in bfloat16 on processors that have it. Spinning is not an option of
    # its pool (TBB); its threads are pinned by the process's affinity.
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY",
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_HYPER_THREADING": False}


def _compile(path: Path, threads: int) -> tuple[ov.CompiledModel, str]:
    """The compiled model, and a note. 2026.4.1 crashes in its fusion of small feed-forward networks ("snippets"): tried in a process
    of its own, and done without the fusion where that crashes."""
    probe = [sys.executable, __file__, "probe", str(path), str(threads)]
    crashes = subprocess.run(probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0
    options = _options(threads) | ({"SNIPPETS_MODE": "DISABLE"} if crashes else {})
    return ov.Core().compile_model(path, "CPU", options), "without snippets: compilation crashes with them" if crashes else ""


class _Steps(peer_worker.StepModel):
    """The state is a dict of tensors by input name. Two requests take turns, so that outputs of one are inputs of the other."""

    def __init__(self, exported: Path, config: dict, threads: int) -> None:
        self.config = config
        compiled, self.note = _compile(exported / "step.onnx", threads)
        self.requests = [compiled.create_infer_request() for _ in range(2)]
        self.turn = 0
        self.new_names = [name for output in compiled.outputs for name in output.get_names() if name.startswith("new_")]
        self.source = None
        if (exported / "source.onnx").exists():
            source, note = _compile(exported / "source.onnx", threads)
            self.note = self.note or note
            self.source = source.create_infer_request()
            self.source_names = [name for output in source.outputs for name in output.get_names()
                                 if name == "inverse" or name.startswith(("keys.", "values."))]

    def start(self, sources: list[list[int]] | None, batch: int) -> dict:
        heads = self.config["num_attention_heads"]
        head_dim = self.config.get("head_dim", self.config["hidden_size"] // heads)
        state = {}
        for layer in range(self.config["num_decoder_layers"]):
            state[f"past_keys.{layer}"] = ov.Tensor(np.zeros((batch, heads, head_dim, 0), np.float32))
            state[f"past_values.{layer}"] = ov.Tensor(np.zeros((batch, heads, 0, head_dim), np.float32))
        if sources is not None:
            longest = max(map(len, sources))
            mask = np.array([[1.0] * len(s) + [0.0] * (longest - len(s)) for s in sources], np.float32)
            ids = np.array([s + [self.config["pad_token_id"]] * (longest - len(s)) for s in sources], np.int64)
            self.source.set_tensor("ids", ov.Tensor(ids))
            self.source.set_tensor("mask", ov.Tensor(mask))
            self.source.infer()
            state |= {name: self.source.get_tensor(name) for name in self.source_names}
        return state

    def step(self, state: dict, ids: Array, position: int) -> tuple[Array, Array | None]:
        request = self.requests[self.turn]
        self.turn = 1 - self.turn
        for name, value in state.items():
            request.set_tensor(name, value)
        request.set_tensor("ids", ov.Tensor(np.ascontiguousarray(ids)))
        request.set_tensor("position", ov.Tensor(np.array([position], np.int64)))
        request.infer()
        for name in self.new_names:
            state["past_" + name[4:]] = request.get_tensor(name)
        return request.get_tensor("next").data.copy(), request.get_tensor("logits").data

    def keep(self, state: dict, rows: Array) -> dict:
        return {name: ov.Tensor(np.ascontiguousarray(value.data[rows])) for name, value in state.items()}


class OpenVino(peer_worker.Peer):
    """The peer."""

    name = "openvino"

    def version(self) -> str:
        return ov.__version__.split("-")[0]

    @staticmethod
    def export(model: Path, inputs: Path, out: Path) -> None:
        import onnx_graph  # not needed, so not in memory, where the peer runs

        onnx_graph.export(model, inputs, out)

    def load(self, model: Path, exported: Path, threads: int) -> None:
        self.config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        if (exported / "encoder.onnx").exists():
            compiled, self.text = _compile(exported / "encoder.onnx", threads)
            self.request = compiled.create_infer_request()
        else:
            self.steps = _Steps(exported, self.config, threads)
            self.text = self.steps.note

    def prepare(self, inputs: dict) -> None:
        self.inputs = inputs
        if inputs["mode"] != "encode":
            return
        sequences = inputs["sequences"]
        if isinstance(sequences[0], list):
            self.request.set_tensor("ids", ov.Tensor(np.array(sequences, np.int64)))
        else:
            rows = [np.array(s["values"], np.float32).reshape(s["rows"], s["cols"]) for s in sequences]
            self.request.set_tensor("vectors", ov.Tensor(np.concatenate(rows)))

    def encode(self) -> Array:
        self.request.infer()
        return self.request.get_output_tensor(0).data

    def generate(self, sequences: list[list[int]]) -> tuple[list[list[int]], list[Array]]:
        ids, scores, self.step_seconds = peer_worker.greedy(
            self.steps, self.config, sequences, self.inputs["max_new_tokens"], self.want_scores)
        return ids, scores

    def note(self) -> str:
        return self.text


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        ov.Core().compile_model(Path(sys.argv[2]), "CPU", _options(int(sys.argv[3])))
        sys.exit(0)
    peer_worker.main(OpenVino())
