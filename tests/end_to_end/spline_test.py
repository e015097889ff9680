# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Traces and derivatives of the shipped models, as a user asks for them."""

from __future__ import annotations

import json
import shutil
import tempfile
import unittest
from pathlib import Path

from serving import SHIPPED, SOURCE, Server


def digit(row: int) -> str:
    """A test image as rows of numbers."""
    line = (SOURCE / "models/data/digits/test.csv").read_text().splitlines()[row]
    pixels = line.split(",")[1:]
    return "\n".join(",".join(pixels[8 * r:8 * r + 8]) for r in range(8)) + "\n"


class Spline(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(SHIPPED)
        cls.folder = tempfile.TemporaryDirectory()
        cls.one, cls.nine = (Path(cls.folder.name) / name for name in ("one.csv", "nine.csv"))
        cls.one.write_text(digit(0))
        cls.nine.write_text(digit(1))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.stop()
        cls.folder.cleanup()

    def trace(self, *arguments: str) -> list[dict]:
        return [json.loads(line) for line in self.server.client("trace", *arguments, "--json").splitlines()]

    def test_a_trace_of_digits_is_proven_and_joins_the_answers(self) -> None:
        events = self.trace("digits", "--from-vectors", str(self.one), "--to-vectors", str(self.nine), "--top",
                            "--integrated-gradients")
        header, summary = events[0]["header"], events[-1]["summary"]
        pieces = [piece for event in events for piece in event.get("pieces", {}).get("pieces", [])]
        self.assertEqual(int(summary["pieces"]), len(pieces))
        self.assertGreater(len(pieces), 300)
        self.assertTrue(summary["certified"])
        self.assertEqual([pieces[0]["begin"], pieces[-1]["end"]], [0, 1])

        def values(piece: dict, end: int) -> list[float]:
            terms = piece["degree"] + 1
            return [sum(c * end ** k for k, c in enumerate(piece["coefficients"][o * terms:(o + 1) * terms]))
                    for o in range(len(header["outputs"]))]

        answers = [json.loads(self.server.client("encode", "digits", "--vectors", str(path), "--pieces", "id", "--json"))
                   ["results"][0] for path in (self.one, self.nine)]
        for piece, end, answer in ((pieces[0], -1, answers[0]), (pieces[-1], 1, answers[1])):
            self.assertEqual(piece["sequence_id"], answer["sequence_id"])
            for value, served in zip(values(piece, end), answer["output"]["values"], strict=True):
                self.assertAlmostEqual(value, served, delta=1e-4)
        for before, after in zip(pieces, pieces[1:]):
            self.assertEqual(before["end"], after["begin"])
            for a, b in zip(values(before, 1), values(after, -1), strict=True):
                self.assertAlmostEqual(a, b, delta=1e-8)
        for gradient in summary["integrated_gradients"]:
            self.assertAlmostEqual(gradient["sum"], gradient["difference"], delta=1e-9)
        changes = [change for piece in pieces for change in piece.get("top_changes", [])]
        self.assertEqual([(change["from"], change["to"]) for change in changes], [(1, 9)])

    def test_a_trace_resumes_and_says_how(self) -> None:
        text = self.server.client("trace", "words", "--from-text", "spl", "--to-text", "spa", "--max-pieces", "3")
        self.assertIn("3 pieces of degree at most 27", text)
        token = text.split("--resume ")[1].split()[0]
        again = self.server.client("trace", "words", "--from-text", "spl", "--to-text", "spa", "--max-pieces", "2", "--resume", token)
        self.assertIn("2 pieces of degree at most 27", again)

    def test_stacks_that_move(self) -> None:
        for arguments in (("--from-text", "cat", "--to-text", "cut", "--target-tokens", "1"),
                          ("--from-tokens", "1,5", "--to-tokens", "1,6", "--source-text", "cat")):
            events = self.trace("g2p", *arguments, "--outputs", "0:5", "--max-pieces", "2")
            self.assertGreaterEqual(int(events[-1]["summary"]["pieces"]), 1)

    def test_the_picture(self) -> None:
        self.assertIsNotNone(shutil.which("gnuplot"), "install gnuplot-nox: deploy/install_dependencies.sh --test")
        path = Path(self.folder.name) / "trace.svg"
        text = self.server.client("trace", "digits", "--from-vectors", str(self.one), "--to-vectors", str(self.nine),
                                  "--max-pieces", "20", "--plot", str(path))
        self.assertIn(f"Drawn into {path}.", text)
        self.assertIn("row 0 col 9", path.read_text())

    def test_the_census_spline_flips_at_the_censuses(self) -> None:
        ends = [Path(self.folder.name) / name for name in ("early.csv", "late.csv")]
        for path, year in zip(ends, (1785, 2025)):
            path.write_text(f"{year}\n")
        events = self.trace("cubic", "--from-vectors", str(ends[0]), "--to-vectors", str(ends[1]))
        knots = [1785 + 240 * piece["begin"] for event in events for piece in event.get("pieces", {}).get("pieces", [])]
        for census in range(1790, 2021, 10):
            self.assertLess(min(abs(knot - census) for knot in knots), 1e-6, census)
        self.assertLess(max(min(abs(knot - census) for census in range(1790, 2021, 10)) for knot in knots[1:]), 1e-6)

    def test_derivatives(self) -> None:
        answer = json.loads(self.server.client("differentiate", "digits", "--vectors", str(self.one), "--jacobian",
                                               "--cotangent", "0,1,0,0,0,0,0,0,0,-1", "--direction", str(self.nine), "--nearest", "2", "--json"))
        jacobian = answer["source_jacobian"]["values"]
        rows = [jacobian[64 * o:64 * o + 64] for o in range(10)]
        for gradient, one, nine in zip(answer["source_gradient"]["values"], rows[1], rows[9], strict=True):
            self.assertAlmostEqual(gradient, one - nine, delta=1e-12)
        direction = [float(x) for x in self.nine.read_text().replace("\n", ",").split(",") if x]
        for row, along in zip(rows, answer["directional"], strict=True):
            self.assertAlmostEqual(sum(a * b for a, b in zip(row, direction)), along, delta=1e-9)
        self.assertEqual(len(answer["nearest"]), 16)
        self.assertLess(answer["taylor"]["lower"], 0)
        self.assertGreater(answer["taylor"]["upper"], 0)

    def test_float64(self) -> None:
        answer = json.loads(self.server.client("encode", "digits", "--vectors", str(self.one), "--float64", "--json"))["results"][0]
        exact = answer["float64"]
        self.assertLess(exact["max_difference"], 1e-5)
        self.assertLessEqual(exact["max_difference"], exact["max_error_bound"])
        self.assertIn("gates are within the bound of their rounding",
                      self.server.client("encode", "digits", "--vectors", str(self.one), "--float64"))


if __name__ == "__main__":
    unittest.main()
