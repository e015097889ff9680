# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""The shipped models' scores, recomputed through the server: models/evaluate.py with its thresholds."""

from __future__ import annotations

import json
import subprocess
import sys
import unittest

from serving import BINARIES, SOURCE, clean_environment


class Scores(unittest.TestCase):
    def test_evaluate(self) -> None:
        done = subprocess.run(
            [sys.executable, str(SOURCE / "models" / "evaluate.py"), "--start", "--json", "--bin", str(BINARIES)],
            capture_output=True, encoding="utf-8", timeout=580, check=False, env=clean_environment())
        self.assertEqual(done.returncode, 0, done.stderr)
        scores = json.loads(done.stdout)
        self.assertEqual(scores["g2p"]["words"], 1500)
        self.assertEqual(scores["digits"]["images"], 360)
        self.assertLess(scores["words"]["bits_per_character"], 3.1)


if __name__ == "__main__":
    unittest.main()
