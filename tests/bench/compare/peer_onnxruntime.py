# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: all graph optimisations, IO binding, caches passed from step to step without copies to NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort

import peer_worker

Array = np.ndarray


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Threads spin within a run, which is quickest, but not between runs: the other side has the cores then.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.set_denormal_as_zero", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _value(array: Array) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


class _Steps(peer_worker.StepModel):
    """The state is a dict of OrtValues by input name of the step graph."""

    def __init__(self, exported: Path, config: dict, threads: int) -> None:
        self.config = config
        self.step_session = _session(exported / "step.onnx", threads)
        self.source_session = _session(exported / "source.onnx", threads) if (exported / "source.onnx").exists() else None
        self.binding = self.step_session.io_binding()
        self.outputs = [o.name for o in self.step_session.get_outputs()]

    def start(self, sources: list[list[int]] | None, batch: int) -> dict:
        heads = self.config["num_attention_heads"]
        head_dim = self.config.get("head_dim", self.config["hidden_size"] // heads)
        state = {}
        for layer in range(self.config["num_decoder_layers"]):
            state[f"past_keys.{layer}"] = _value(np.zeros((batch, heads, head_dim, 0), np.float32))
            state[f"past_values.{layer}"] = _value(np.zeros((batch, heads, 0, head_dim), np.float32))
        if sources is not None:
            longest = max(map(len, sources))
            mask = np.array([[1.0] * len(s) + [0.0] * (longest - len(s)) for s in sources], np.float32)
            ids = np.array([s + [self.config["pad_token_id"]] * (longest - len(s)) for s in sources], np.int64)
            binding = self.source_session.io_binding()
            binding.bind_ortvalue_input("ids", _value(ids))
            binding.bind_ortvalue_input("mask", _value(mask))
            names = [o.name for o in self.source_session.get_outputs()]
            for name in names:
                binding.bind_output(name, "cpu")
            self.source_session.run_with_iobinding(binding)
            state |= dict(zip(names, binding.get_outputs()))
        return state

    def step(self, state: dict, ids: Array, position: int) -> tuple[Array, Array | None]:
        binding = self.binding
        binding.clear_binding_outputs()
        for name, value in state.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_input("ids", _value(ids))
        binding.bind_ortvalue_input("position", _value(np.array([position], np.int64)))
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        self.step_session.run_with_iobinding(binding)
        results = dict(zip(self.outputs, binding.get_outputs()))
        for name, value in results.items():
            if name.startswith("new_"):
                state["past_" + name[4:]] = value
        return results["next"].numpy(), results["logits"].numpy()

    def keep(self, state: dict, rows: Array) -> dict:
        return {name: _value(value.numpy()[rows]) for name, value in state.items()}


class OnnxRuntime(peer_worker.Peer):
    """The peer."""

    name = "onnxruntime"

    def version(self) -> str:
        return ort.__version__

    @staticmethod
    def export(model: Path, inputs: Path, out: Path) -> None:
        import onnx_graph  # not needed, so not in memory, where the peer runs

        onnx_graph.export(model, inputs, out)

    def load(self, model: Path, exported: Path, threads: int) -> None:
        self.config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        if (exported / "encoder.onnx").exists():
            self.session = _session(exported / "encoder.onnx", threads)
        else:
            self.steps = _Steps(exported, self.config, threads)

    def prepare(self, inputs: dict) -> None:
        self.inputs = inputs
        if inputs["mode"] != "encode":
            return
        sequences = inputs["sequences"]
        self.binding = self.session.io_binding()
        if isinstance(sequences[0], list):
            self.binding.bind_ortvalue_input("ids", _value(np.array(sequences, np.int64)))
        else:
            rows = [np.array(s["values"], np.float32).reshape(s["rows"], s["cols"]) for s in sequences]
            self.binding.bind_ortvalue_input("vectors", _value(np.concatenate(rows)))
        self.binding.bind_output("out", "cpu")

    def encode(self) -> Array:
        self.session.run_with_iobinding(self.binding)
        return self.binding.get_outputs()[0].numpy()

    def generate(self, sequences: list[list[int]]) -> tuple[list[list[int]], list[Array]]:
        ids, scores, self.step_seconds = peer_worker.greedy(
            self.steps, self.config, sequences, self.inputs["max_new_tokens"], self.want_scores)
        return ids, scores


if __name__ == "__main__":
    peer_worker.main(OnnxRuntime())
