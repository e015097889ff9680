# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""The same bytes on every SIMD target and with any number of threads, and the golden numbers exactly."""

from __future__ import annotations

import json
import struct
import subprocess
import unittest

from serving import GOLDEN, SERVER, Server, all_models, bits_of, clean_environment, floats, temporary_folder

TARGETS = ("avx512", "avx2", "neon", "portable")

WORDS = ["spline", "a", "kaleidoscope", "transformer", "o'clock"]


def answers(server: Server) -> dict[str, object]:
    """What a server says to a bit of everything; without times, which differ."""
    rows = "\n".join(",".join(str((3 * r + c) % 17) for c in range(8)) for r in range(8))
    pieces = {"detail": "BITS", "margins": True}
    inputs = [{"text": word} for word in WORDS]
    return {
        "encode": server.call("Encode", {"model": {"name": "g2p"}, "inputs": inputs, "pieces": pieces})["results"],
        "decode": server.call("Decode", {"model": {"name": "words"}, "targets": inputs, "pieces": pieces})["results"],
        "digits": json.loads(server.client(
            "encode", "digits", "--vectors", "-", "--pieces", "bits", "--json", text=rows))["results"],
        "greedy": server.client("generate", "g2p", "--input", "-", "--tsv", text="\n".join(WORDS)),
        "beam": server.client("generate", "g2p", "--text", WORDS[0], "--beam", "5", "--hypotheses", "5"),
        "samples": server.client("generate", "words", "--sample", "--count", "10"),
    }


class Determinism(unittest.TestCase):
    def test_targets_and_threads(self) -> None:
        with temporary_folder() as folder:
            repository = all_models(folder)
            with Server(repository, "--threads", "1") as server:
                expected = answers(server)
            with Server(repository, "--threads", "2") as server:
                self.assertEqual(answers(server), expected, "2 threads")
            supported = []
            for target in TARGETS:
                try:
                    server = Server(repository, SPLINESERVE_TARGET=target)
                except AssertionError as error:
                    self.assertIn(target, str(error), "a target that the machine lacks is named")
                    continue
                with server:
                    info = server.call("GetModel", {"model": {"name": "g2p"}})["model"]
                    self.assertEqual(info["simd_target"], target)
                    self.assertEqual(answers(server), expected, target)
                    supported.append(target)
            self.assertIn("portable", supported)

    def test_an_unknown_target_is_an_error(self) -> None:
        with temporary_folder() as folder:
            done = subprocess.run(
                [str(SERVER), "--model-repository", str(all_models(folder)), "--listen", "127.0.0.1:0", "--metrics", "off"],
                capture_output=True, encoding="utf-8", timeout=60, check=False,
                env=clean_environment(SPLINESERVE_TARGET="abacus"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("abacus", done.stderr)
        self.assertIn("portable", done.stderr)

    def test_golden_models_exactly(self) -> None:
        with temporary_folder() as folder, Server(all_models(folder)) as server:
            for name in ("encoder_plain", "encoder_pooled", "decoder_causal", "encoder_decoder"):
                expected = json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8"))
                self.assertTrue(expected["exact"], name)
                for case in expected["cases"]:
                    self.check_case(server, name, case)

    def check_case(self, server: Server, name: str, case: dict) -> None:
        """One golden case through the API's JSON, which keeps every bit of a float32."""
        request: dict = {"model": {"name": name}, "output": "HIDDEN", "pieces": {"detail": "ID"}}
        if "input" in case:
            answer = server.call("Encode", {**request, "inputs": [sequence(case["input"])]})
        else:
            sources = {"sources": [sequence(case["source"])]} if "source" in case else {}
            answer = server.call("Decode", {**request, **sources, "targets": [sequence(case["target"])]})
        result = answer["results"][0]
        self.assertEqual(to_float32(result["output"]["values"]), floats(case["hidden_f32"]), name)
        self.assertEqual([bits_of(piece["id"]).hex() for piece in result["pieces"]], case["piece_ids"], name)
        self.assertEqual(bits_of(result["sequence_id"]).hex(), case["sequence_id"], name)


def sequence(value: list) -> dict:
    """Ids or rows of a golden file."""
    if isinstance(value[0], list):
        return {"vectors": {"rows": len(value), "cols": len(value[0]), "values": [x for row in value for x in row]}}
    return {"tokens": {"ids": value}}


def to_float32(values: list[float]) -> list[float]:
    """The float32 that each decimal number stands for."""
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


if __name__ == "__main__":
    unittest.main()
