# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""The shipped cubic spline against SciPy's values in a file, and splineserve-compile: from a file to an answer of the server."""

from __future__ import annotations

import csv
import json
import math
import re
import struct
import subprocess
import unittest
import zipfile
from pathlib import Path

from serving import BINARIES, PATIENCE, SHIPPED, SOURCE, Server, clean_environment, run_client, temporary_folder

COMPILER = BINARIES / "splineserve-compile"
CENSUS = SOURCE / "models" / "data" / "census"


def compile_spline(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """The compiler, whatever its exit status."""
    return subprocess.run([str(COMPILER), *arguments], input=text, capture_output=True, encoding="utf-8", timeout=PATIENCE,
                          check=False, env=clean_environment())


def answers(server: Server, model: str, points: list[list[float]]) -> list[list[float]]:
    """The head's outputs, each point a sequence of one token."""
    inputs = [{"vectors": {"rows": 1, "cols": len(point), "values": point}} for point in points]
    results = []
    for first in range(0, len(inputs), 200):
        answer = server.call("Encode", {"model": {"name": model}, "inputs": inputs[first : first + 200]})
        results += [result["output"]["values"] for result in answer["results"]]
    return results


def float32(x: float) -> float:
    return struct.unpack("<f", struct.pack("<f", x))[0]


def npy(values: list[float], shape: tuple[int, ...]) -> bytes:
    """An array file as NumPy writes it."""
    header = str({"descr": "<f8", "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack(f"<{len(values)}d", *values)


class Cubic(unittest.TestCase):
    def test_agrees_with_scipy(self) -> None:
        with (CENSUS / "scipy_values.csv").open(encoding="utf-8", newline="") as file:
            rows = [(float(row["x"]), float(row["value"])) for row in csv.DictReader(file)]
        self.assertGreater(len(rows), 400)
        for x, _ in rows:
            self.assertEqual(x, float32(x))
        with Server(SHIPPED) as server:
            found = [output[0] for output in answers(server, "cubic", [[x] for x, _ in rows])]
            info = server.call("GetModel", {"model": {"name": "cubic"}})["model"]
        self.assertEqual(info["spline_class"], "EXACT")
        relative = [abs(y - value) / abs(value) for y, (_, value) in zip(found, rows, strict=True)]
        self.assertLess(max(relative), 1e-5)
        self.assertLess(max(relative), 1e-6)  # in fact a few units in the last place

    def test_passes_through_the_data(self) -> None:
        with (CENSUS / "population.csv").open(encoding="utf-8", newline="") as file:
            rows = [(float(row["year"]), int(row["population"])) for row in csv.DictReader(file)]
        with Server(SHIPPED) as server:
            found = answers(server, "cubic", [[year] for year, _ in rows])
            # A sequence is one point: with more of them, attention would mix what does not belong together.
            two = {"model": {"name": "cubic"}, "inputs": [{"vectors": {"rows": 2, "cols": 1, "values": [1800, 1900]}}]}
            done = run_client("call", "Encode", "--server", server.address, text=json.dumps(two))
        for output, (year, population) in zip(found, rows, strict=True):
            self.assertAlmostEqual(output[0] * 1e6 / population, 1, delta=1e-6, msg=str(year))
        self.assertEqual(done.returncode, 1)
        self.assertIn("INVALID_ARGUMENT", done.stderr)


class Compile(unittest.TestCase):
    def test_three_kinds_served(self) -> None:
        # (x - 1)^3 and |x| on [-1, 0] and [0, 2]; x y with two B-splines of degree 1 each; max(x y, -x^2, 0.5).
        x, c = [-1.0, 0.0, 2.0], [1, 0, 1, 0, -6, 0, -3, 0, 12, -1, 3, 1, -8, 1, -1, 0]
        monomial = lambda coefficient, *powers: {"coefficient": coefficient, "powers": list(powers)}
        sources = {
            "tensor.json": {"t": [[0, 0, 1, 1], [0, 0, 2, 2]], "k": [1, 1], "c": [[0, 0], [0, 2]]},
            "expression.json": {"variables": 2, "outputs": [{"max": [
                {"polynomial": {"terms": [monomial(1, 1, 1)]}}, {"polynomial": {"terms": [monomial(-1, 2, 0)]}}, 0.5]}]},
        }
        expected = {
            "piecewise": lambda u: [(u[0] - 1) ** 3, abs(u[0])],
            "tensor": lambda u: [u[0] * u[1]],
            "expression": lambda u: [max(u[0] * u[1], -u[0] ** 2, 0.5)],
        }
        points = {"piecewise": [[u / 4] for u in range(-6, 12)], "tensor": [[0.25, 1.5], [1, 2], [0, 0.125], [0.7, 0.9]],
                  "expression": [[1.5, 1.25], [-2, -0.5], [0.25, -1], [0, 0]]}
        with temporary_folder() as folder:
            for name, source in sources.items():
                (Path(folder) / name).write_text(json.dumps(source))
            for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                with zipfile.ZipFile(Path(folder) / "piecewise.npz", "w", compression) as archive:
                    archive.writestr("x.npy", npy(x, (3,)))
                    archive.writestr("c.npy", npy(c, (4, 2, 2)))
                repository = Path(folder) / "repository"
                for file in (Path(folder) / "piecewise.npz", *(Path(folder) / name for name in sources)):
                    done = compile_spline(str(file), "--out", str(repository / file.stem / "1"), "--force", "--json")
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    report = json.loads(done.stdout)
                    self.assertTrue(all(e <= b for e, b in zip(report["check"]["largest_error"], report["error_bound"])))
                with Server(repository) as server:
                    for name, function in expected.items():
                        for point, output in zip(points[name], answers(server, name, points[name]), strict=True):
                            wanted = function([float32(u) for u in point])
                            for y, value in zip(output, wanted, strict=True):
                                self.assertTrue(math.isclose(y, value, rel_tol=1e-6, abs_tol=1e-6), (name, point, output, wanted))

    def test_example_of_the_documentation(self) -> None:
        # CubicSpline([0, 1, 2, 4], [0, 1, 3, 2]) of SciPy 1.17.1.
        x = [0.0, 1.0, 2.0, 4.0]
        c = [-0.33333333333333326, -0.33333333333333304, -0.33333333333333337, 1.4999999999999998, 0.4999999999999998, -0.5,
             -0.16666666666666652, 1.8333333333333333, 1.8333333333333335, 0.0, 1.0, 3.0]
        text = (SOURCE / "docs" / "compile.md").read_text(encoding="utf-8")
        shown = re.search(r"^The second command prints\n\n```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL).group(1)
        with temporary_folder() as folder:
            with zipfile.ZipFile(Path(folder) / "wave.npz", "w") as archive:
                archive.writestr("x.npy", npy(x, (4,)))
                archive.writestr("c.npy", npy(c, (4, 3)))
            done = compile_spline(str(Path(folder) / "wave.npz"), "--out", str(Path(folder) / "repository/wave/1"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.replace(folder + "/", ""), shown)

    def test_refusals(self) -> None:
        jump = '{"x": [0, 1, 2], "c": [[1, 1], [0, 5]]}'
        with temporary_folder() as folder:
            out = str(Path(folder) / "repository" / "m" / "1")
            done = compile_spline("-", "--out", out, text=jump)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, r"knot x\[1\] = 1: expected pieces that join.* a jump of 4 ")
            self.assertEqual(list(Path(folder).iterdir()), [])
            good = '{"x": [0, 1, 2], "c": [[1, 1], [0, 1]]}'
            self.assertEqual(compile_spline("-", "--out", out, text=good).returncode, 0)
            self.assertEqual(sorted(path.name for path in Path(out).iterdir()), ["config.json", "model.safetensors"])
            self.assertEqual([path.name for path in Path(out).parent.iterdir()], ["1"])
            done = compile_spline("-", "--out", out, text=good)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--force", done.stderr)
            self.assertEqual(compile_spline("-", "--out", out, "--force", text=good).returncode, 0)
            self.assertEqual(compile_spline("-", "--out", out, "--domain", "1", text=good).returncode, 2)
            self.assertEqual(compile_spline("--out", out).returncode, 2)
            self.assertIn("Examples:", compile_spline("--help").stdout)


if __name__ == "__main__":
    unittest.main()
