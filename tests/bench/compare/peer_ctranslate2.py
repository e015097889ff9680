# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""CTranslate2 has no ReLU attention: it runs the SoftMax twin, a model of the same shape with random weights.

Its pre-norm layers have layer norms, which the ReLU models have not (their cost is small). Generation is forced to as many tokens as
ours writes: of one length for a batch, the mean.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import ctranslate2
import numpy as np

import peer_worker

Array = np.ndarray


def _specification(config: dict):
    """A model of the configuration's shape with random weights."""
    from ctranslate2.specs import common_spec, transformer_spec

    rng = np.random.default_rng(7)
    d, f, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    options = {"pre_norm": True, "activation": common_spec.Activation.RELU}

    def linear(spec, rows: int, cols: int) -> None:
        spec.weight = (rng.standard_normal((rows, cols), dtype=np.float32) / np.float32(np.sqrt(cols))).astype(np.float32)
        spec.bias = np.zeros(rows, np.float32)

    def norm(spec) -> None:
        spec.gamma, spec.beta = np.ones(d, np.float32), np.zeros(d, np.float32)

    def stack(spec, vocab: int, cross: bool) -> None:
        embeddings = spec.embeddings[0] if isinstance(spec.embeddings, list) else spec.embeddings
        embeddings.weight = rng.standard_normal((vocab, d), dtype=np.float32)
        spec.scale_embeddings = False
        spec.position_encodings.encodings = rng.standard_normal((config["max_positions"] + 1, d), dtype=np.float32)
        norm(spec.layer_norm)
        for layer in spec.layer:
            linear(layer.self_attention.linear[0], 3 * d, d)
            linear(layer.self_attention.linear[1], d, d)
            norm(layer.self_attention.layer_norm)
            if cross:
                linear(layer.attention.linear[0], d, d)
                linear(layer.attention.linear[1], 2 * d, d)
                linear(layer.attention.linear[2], d, d)
                norm(layer.attention.layer_norm)
            linear(layer.ffn.linear_0, f, d)
            linear(layer.ffn.linear_1, d, f)
            norm(layer.ffn.layer_norm)

    architecture = config["architecture"]
    vocab = config["input"].get("vocab_size", 64)
    if architecture == "encoder":
        encoder = transformer_spec.TransformerEncoderSpec(config["num_encoder_layers"], heads, **options)
        stack(encoder, vocab, False)
        spec = transformer_spec.TransformerEncoderModelSpec(encoder)
        spec.register_vocabulary(_vocabulary(vocab))
    elif architecture == "decoder":
        spec = transformer_spec.TransformerDecoderModelSpec.from_config(config["num_decoder_layers"], heads, **options)
        stack(spec.decoder, vocab, False)
        linear(spec.decoder.projection, vocab, d)
        spec.register_vocabulary(_vocabulary(vocab))
    else:
        target = config["target_input"]["vocab_size"]
        layers = (config["num_encoder_layers"], config["num_decoder_layers"])
        spec = transformer_spec.TransformerSpec.from_config(layers, heads, **options)
        stack(spec.encoder, vocab, False)
        stack(spec.decoder, target, True)
        linear(spec.decoder.projection, target, d)
        spec.register_source_vocabulary(_vocabulary(vocab))
        spec.register_target_vocabulary(_vocabulary(target))
    return spec


def _vocabulary(size: int) -> list[str]:
    return ["<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(3, size)]


class CTranslate2(peer_worker.Peer):
    """The peer."""

    name = "ctranslate2"
    twin = True

    def version(self) -> str:
        return ctranslate2.__version__

    @staticmethod
    def export(model: Path, inputs: Path, out: Path) -> None:
        spec = _specification(json.loads((model / "config.json").read_text(encoding="utf-8")))
        spec.validate()
        out.mkdir(parents=True, exist_ok=True)
        spec.save(str(out))

    def load(self, model: Path, exported: Path, threads: int) -> None:
        self.config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        kind = {"encoder": ctranslate2.Encoder, "decoder": ctranslate2.Generator, "encoder_decoder": ctranslate2.Translator}
        self.runner = kind[self.config["architecture"]](str(exported), device="cpu", compute_type="float32", inter_threads=1, intra_threads=threads)

    def prepare(self, inputs: dict) -> None:
        self.inputs = inputs
        if inputs["mode"] == "encode":
            sequences = inputs["sequences"]  # of vectors, their number of rows counts: the twin takes tokens
            self.ids = [s if isinstance(s, list) else list(range(3, 3 + s["rows"])) for s in sequences]
            return
        vocabulary = _vocabulary(self.config["input"]["vocab_size"])
        self.tokens = {i: token if i > 2 else "t3" for i, token in enumerate(vocabulary)}
        self.lengths = inputs.get("lengths", [])

    def encode(self) -> Array:
        return np.array(self.runner.forward_batch(self.ids).last_hidden_state)

    def generate(self, sequences: list[list[int]]) -> tuple[list[list[int]], list[Array]]:
        texts = [[self.tokens[i] for i in s] for s in sequences]
        if self.config["architecture"] == "decoder":
            self.step_seconds = self._step_seconds(texts)
            return [], []
        first = next(i for i, s in enumerate(self.inputs["sequences"]) if s is sequences[0])
        length = max(1, round(float(np.mean(self.lengths[first : first + len(sequences)]))))
        found = self.runner.translate_batch(texts, beam_size=1, min_decoding_length=length, max_decoding_length=length, max_batch_size=0)
        if any(len(r.hypotheses[0]) != length for r in found):
            raise RuntimeError(f"generation of {length} tokens was asked for")
        return [], []

    def _step_seconds(self, prompts: list[list[str]]) -> float:
        """The difference of a long and a short generation, a step of it."""
        seconds = []
        for count in (1, self.inputs["max_new_tokens"]):
            start = time.perf_counter()
            found = self.runner.generate_batch(prompts, min_length=count, max_length=count, include_prompt_in_result=False, sampling_topk=1)
            seconds.append(time.perf_counter() - start)
            if len(found[0].sequences_ids[0]) != count:
                raise RuntimeError(f"generation of {count} tokens was asked for, found {len(found[0].sequences_ids[0])}")
        return (seconds[1] - seconds[0]) / (self.inputs["max_new_tokens"] - 1)

    def note(self) -> str:
        return "SoftMax twin with layer norms, random weights"


if __name__ == "__main__":
    peer_worker.main(CTranslate2())
