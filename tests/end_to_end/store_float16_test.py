# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""models/store_float16.py: what it writes is served, close to the original; what it cannot round it refuses and leaves alone."""

from __future__ import annotations

import json
import math
import shutil
import struct
import subprocess
import sys
import unittest
from collections.abc import Callable
from pathlib import Path

from serving import PATIENCE, SHIPPED, SOURCE, Server, clean_environment, temporary_folder

TOOL = SOURCE / "models" / "store_float16.py"


def store(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """The tool, whatever its exit status."""
    return subprocess.run([sys.executable, str(TOOL), str(source), str(target)], capture_output=True, encoding="utf-8",
                          timeout=PATIENCE, check=False, env=clean_environment())


def header_of(path: Path) -> dict:
    content = path.read_bytes()
    return json.loads(content[8 : 8 + struct.unpack_from("<Q", content)[0]])


def write_matrix(folder: Path, numbers: list[float]) -> None:
    """A file of one matrix of one row; no model of any kind."""
    data = struct.pack(f"<{len(numbers)}f", *numbers)
    text = json.dumps({"a.weight": {"dtype": "F32", "shape": [1, len(numbers)], "data_offsets": [0, len(data)]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text("{}", encoding="utf-8")


class StoreFloat16(unittest.TestCase):
    def test_the_rounded_model_is_served(self) -> None:
        with temporary_folder() as folder:
            repository = Path(folder)
            shutil.copytree(SHIPPED / "words", repository / "words")
            done = store(repository / "words" / "1", repository / "words" / "2")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("rounded to float16, 2.44 -> 1.", done.stdout)
            for name, tensor in header_of(repository / "words" / "2" / "model.safetensors").items():
                self.assertEqual(tensor["dtype"], "F16" if len(tensor["shape"]) == 2 else "F32", name)
            with Server(repository) as server:
                answers = [server.call("Decode", {"model": {"name": "words", "version": version}, "targets": [{"text": "spline"}]})
                           for version in (1, 2)]
        original, rounded = [answer["results"][0]["output"]["values"] for answer in answers]
        self.assertNotEqual(original, rounded)
        largest = max(map(abs, original))
        for before, after in zip(original, rounded, strict=True):
            self.assertLess(abs(before - after), 0.01 * largest)
        self.assertNotEqual(answers[0]["model"]["digest"], answers[1]["model"]["digest"])

    def test_rounds_to_the_nearest_even(self) -> None:
        with temporary_folder() as folder:
            write_matrix(Path(folder), [1 + 2.0**-11, 1 + 3 * 2.0**-11, -1 - 2.0**-11 - 2.0**-20, 2.0**-25, 65504, 65519])
            self.assertEqual(store(Path(folder), Path(folder)).returncode, 0)
            data = (Path(folder) / "model.safetensors").read_bytes()[-12:]
        self.assertEqual(struct.unpack("<6e", data), (1, 1 + 2.0**-9, -1 - 2.0**-10, 0, 65504, 65504))

    def test_what_does_not_fit_is_refused_and_nothing_is_written(self) -> None:
        for numbers, found in (([1.0, -65520.0], "65520"), ([3e38], "3e+38")):
            with temporary_folder() as folder:
                write_matrix(Path(folder), numbers)
                before = (Path(folder) / "model.safetensors").read_bytes()
                done = store(Path(folder), Path(folder))
                self.assertEqual(done.returncode, 1)
                self.assertIn("a.weight: expected numbers of at most 65504, found " + found, done.stderr)
                self.assertEqual((Path(folder) / "model.safetensors").read_bytes(), before)
                self.assertEqual(sorted(path.name for path in Path(folder).iterdir()), ["config.json", "model.safetensors"])

    def test_damaged_weights_are_refused(self) -> None:
        def replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
            return lambda data: (length := struct.unpack_from("<Q", data)[0], text := data[8 : 8 + length].replace(old, new),
                                 struct.pack("<Q", len(text)) + text + data[8 + length :])[2]

        for damage, expected in ((lambda data: data[:-1], "expected 12 bytes of numbers, found 11"),
                                 (lambda data: data[:-4] + struct.pack("<f", math.inf), "a.weight: expected finite numbers"),
                                 (replace(b"[1, 3]", b"[1, 2]"), "a.weight: expected 8 bytes of numbers, found data_offsets [0, 12]"),
                                 (replace(b"[1, 3]", b"[-1, -3]"), "a.weight: shape: expected a list of whole numbers"),
                                 (replace(b"[1, 3]", b"5"), "a.weight: shape: expected a list of whole numbers, found 5"),
                                 (replace(b"[0, 12]", b"[4, 16]"), "a.weight: data_offsets: expected to begin at 0"),
                                 (replace(b"[0, 12]", b"[0, 12, 12]"), "found data_offsets [0, 12, 12]"),
                                 (replace(b'[0, 12]', b'["0", 12]'), "a.weight: data_offsets: expected a list of whole numbers"),
                                 (replace(b'"F32"', b'["F32"]'), "a.weight: expected a dtype of"),
                                 (replace(b"shape", b"shade"), "a.weight: expected dtype, shape and data_offsets"),
                                 (lambda data: struct.pack("<Q", 2) + b"[]", "expected a safetensors file"),
                                 (lambda data: struct.pack("<Q", 200000) + b"[" * 200000, "expected a safetensors file")):
            with temporary_folder() as folder:
                write_matrix(Path(folder), [1.0, 2.0, 3.0])
                weights = Path(folder) / "model.safetensors"
                weights.write_bytes(damage(weights.read_bytes()))
                done = store(Path(folder), Path(folder) / "out")
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn(expected, done.stderr)
                self.assertIn("model.safetensors", done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertFalse((Path(folder) / "out").exists())

    def test_the_copy_is_the_model_and_monitors_are_named(self) -> None:
        with temporary_folder() as folder:
            out = Path(folder) / "out"
            out.mkdir()
            (out / "config.json").write_text("{}", encoding="utf-8")
            (out / "old.monitor").write_bytes(b"")
            done = store(SHIPPED / "digits" / "1", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual((out / "config.json").read_bytes(), (SHIPPED / "digits" / "1" / "config.json").read_bytes())
            self.assertFalse((out / "reference.monitor").exists())
            self.assertIn("unless they are of these weights: old.monitor", done.stdout)
            again = store(out, out)
            self.assertIn(": 0 of 29 tensors rounded", again.stdout)
            self.assertNotIn("monitor", again.stdout)

    def test_a_failed_write_leaves_nothing(self) -> None:
        with temporary_folder() as folder:
            write_matrix(Path(folder), [1.0])
            (Path(folder) / "out" / "model.safetensors").mkdir(parents=True)
            done = store(Path(folder), Path(folder) / "out")
            self.assertEqual(done.returncode, 1)
            self.assertEqual(sorted(path.name for path in (Path(folder) / "out").iterdir()), ["config.json", "model.safetensors"])

    def test_other_files_are_refused(self) -> None:
        with temporary_folder() as folder:
            self.assertEqual(store(Path(folder) / "nowhere", Path(folder) / "out").returncode, 1)
            self.assertEqual(store(SHIPPED, Path(folder) / "out").returncode, 1)  # no model itself
            (Path(folder) / "config.json").write_text("{}", encoding="utf-8")
            (Path(folder) / "model.safetensors").write_bytes(b"no weights")
            done = store(Path(folder), Path(folder) / "out")
            self.assertEqual(done.returncode, 1)
            self.assertIn("expected a safetensors file", done.stderr)
            self.assertFalse((Path(folder) / "out").exists())


if __name__ == "__main__":
    unittest.main()
