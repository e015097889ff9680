# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""The README's examples of the API, run as they stand: every command succeeds, and prints what the README shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import unittest
from pathlib import Path

from serving import BINARIES, PATIENCE, SHIPPED, SOURCE, Server, clean_environment

WORDS = "spline\nphone\ntransformer\n"  # the words.txt of the examples


def api_blocks() -> list[tuple[str, list[str]]]:
    """(language, lines) of the fenced blocks in the API's chapter."""
    text = (SOURCE / "README.md").read_text(encoding="utf-8")
    chapter = re.search(r"^## The API$(.*?)^## ", text, re.MULTILINE | re.DOTALL).group(1)
    return [(language, body.replace("\\\n", " ").splitlines())
            for language, body in re.findall(r"^```(\w+)\n(.*?)^```", chapter, re.MULTILINE | re.DOTALL)]


def comparable(output: str) -> list[str]:
    """Lines without what differs between machines and runs: times and the SIMD target."""
    lines = [line.rstrip() for line in output.strip().splitlines()]
    return [re.sub(r"^(server: |computes in ).*", r"\1…", line) for line in lines]


class Readme(unittest.TestCase):
    def run_command(self, command: str, server: Server, folder: str) -> str:
        """Standard output of one command line of the README, which must succeed."""
        words = shlex.split(command, comments=True)
        if words[0] == "grpcurl":  # which the distribution lacks: the same method and JSON through our own client
            data = words[words.index("-d") + 1] if "-d" in words else ""
            command = f"printf %s {shlex.quote(data)} | splineserve-client call {words[-1]}"
        done = subprocess.run(
            ["bash", "-c", command.replace("localhost:8001", server.address)], capture_output=True, encoding="utf-8", cwd=folder,
            timeout=PATIENCE, check=False,
            env=clean_environment(PATH=f"{BINARIES}:{os.environ['PATH']}") | {"SPLINESERVE_SERVER": server.address})
        self.assertEqual((done.returncode, done.stderr), (0, ""), command)
        return done.stdout

    def test_examples_of_the_api(self) -> None:
        commands = compared = 0
        with Server(SHIPPED) as server, tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "words.txt").write_text(WORDS, encoding="utf-8")
            shown = ""  # what the client's commands of the last block of commands have printed
            for language, lines in api_blocks():
                if language == "sh":
                    outputs = [(line, self.run_command(line, server, folder)) for line in lines]
                    shown = "\n".join(output for line, output in outputs if line.startswith("splineserve-client"))
                    commands += len(lines)
                    continue
                self.assertEqual(language, "console")
                expected = "\n".join(line for line in lines if not line.startswith("$ "))
                if typed := [line[2:] for line in lines if line.startswith("$ ")]:
                    shown = "".join(self.run_command(line, server, folder) for line in typed)
                self.assertEqual(comparable(shown), comparable(expected))
                compared += 1
        self.assertGreaterEqual(commands, 14)
        self.assertGreaterEqual(compared, 4)


if __name__ == "__main__":
    unittest.main()
