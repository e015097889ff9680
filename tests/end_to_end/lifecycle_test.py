# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""How the server starts, says that it is well, and stops."""

from __future__ import annotations

import subprocess
import threading
import unittest
from pathlib import Path

from serving import CLIENT, PATIENCE, SERVER, SHIPPED, Server, clean_environment, run_client, temporary_folder


def run_server(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The server's binary, which must end by itself."""
    return subprocess.run([str(SERVER), *arguments], capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False,
                          env=clean_environment())


class Lifecycle(unittest.TestCase):
    def test_health_check_mode(self) -> None:
        with Server(SHIPPED) as server:
            done = run_server("--check-health", server.address)
            self.assertEqual(done.returncode, 0, done.stderr)
        done = run_server("--check-health", server.address)
        self.assertEqual(done.returncode, 1)
        self.assertIn(server.address, done.stderr)

    def test_sigterm_lets_a_running_generation_end(self) -> None:
        """Sampling at a high temperature writes long sequences; the signal arrives when the first tokens are there."""
        with Server(SHIPPED) as server:
            process = subprocess.Popen(
                [str(CLIENT), "generate", "words", "--stream", "--sample", "--temperature", "3", "--server", server.address],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=clean_environment())
            first = process.stdout.read(1)
            self.assertNotEqual(first, "")
            self.assertEqual(server.stop(), 0)
            out, err = process.communicate(timeout=PATIENCE)
            self.assertEqual((process.returncode, err), (0, ""), out)
            self.assertTrue(any("draining" in line for line in server.log), server.log)
            self.assertIn("stopped", server.log[-1])

    def test_sigterm_under_load_loses_no_admitted_request(self) -> None:
        """Every call either succeeds or is refused; none breaks off with another error."""
        with Server(SHIPPED) as server:
            words = "".join(f"{word}\n" for word in ["spline", "cubic", "piece", "gate"] * 100)
            process = subprocess.Popen(
                [str(CLIENT), "generate", "g2p", "--input", "-", "--tsv", "--server", server.address],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                env=clean_environment())
            errors: list[str] = []
            reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
            reader.start()
            writer = threading.Thread(target=lambda: (process.stdin.write(words), process.stdin.close()))
            writer.start()
            self.assertNotEqual(process.stdout.readline(), "")
            server.drain()
            lines = process.stdout.read().splitlines()
            writer.join(PATIENCE)
            reader.join(PATIENCE)
            process.wait(PATIENCE)
            process.stdout.close()
            process.stderr.close()
            self.assertEqual(server.stop(), 0)
        self.assertEqual(len(lines), 399)
        for line in errors[0].splitlines():
            self.assertRegex(line, r"^line \d+: UNAVAILABLE: |lines failed$")

    def test_sigterm_while_loading_ends_the_server(self) -> None:
        with temporary_folder() as folder:
            versions = Path(folder) / "g2p"
            versions.mkdir()
            for version in range(1, 61):  # seconds of loading
                (versions / str(version)).symlink_to(SHIPPED / "g2p" / "1")
            process = subprocess.Popen([str(SERVER), "--model-repository", str(folder), "--listen", "127.0.0.1:0", "--metrics", "off"],
                                       stderr=subprocess.PIPE, encoding="utf-8", env=clean_environment())
            self.assertIn("loading", process.stderr.readline())
            process.terminate()
            _, rest = process.communicate(timeout=PATIENCE)
            self.assertEqual(process.returncode, 0, rest)
            self.assertIn("stopped while loading", rest)
            self.assertNotIn("listening", rest)

    def test_precision_of_each_model(self) -> None:
        with Server(SHIPPED, "--precision", "digits=float32,bfloat16", "--precision=g2p=int8") as server:
            self.assertTrue(any(' precision="bfloat16,digits=float32,g2p=int8" ' in line for line in server.log), server.log)
            for model, precision in {"digits": "float32", "g2p": "int8", "words": "bfloat16"}.items():
                info = server.call("ModelService/GetModel", {"model": {"name": model}})["model"]
                self.assertEqual(info["precision"], precision)
            answer = server.call("InferenceService/Encode", {"model": {"name": "g2p"}, "inputs": [{"text": "cat"}]})
            self.assertEqual(answer["model"]["precision"], "int8")
        done = run_server("--model-repository", str(SHIPPED), "--metrics", "off", "--precision", "g2q=int8")
        self.assertEqual(done.returncode, 1)
        self.assertIn("which has cubic, digits, g2p, words", done.stderr)
        done = run_server("--model-repository", str(SHIPPED), "--precision", "g2p=int4")
        self.assertEqual(done.returncode, 2)
        self.assertIn("expected float32, bfloat16 or int8", done.stderr)

    def test_smoothings_beside_their_splines(self) -> None:
        with Server(SHIPPED, "--smoothing", "digits=20,digits=10000", "--smoothing=words=1e6") as server:
            self.assertTrue(any(' smoothing="digits=20,digits=10000,words=1000000" ' in line for line in server.log), server.log)
            names = [model["name"] for model in server.call("ModelService/ListModels", {})["models"]]
            self.assertEqual(names, ["cubic", "digits", "digits@softplus10000", "digits@softplus20", "g2p", "words", "words@softplus1000000"])
            request = {"inputs": [{"vectors": {"rows": 2, "cols": 8, "values": list(range(16))}}], "smoothing_error": True}
            errors = []
            for beta in (20, 10000):
                answer = server.call("InferenceService/Encode", {"model": {"name": f"digits@softplus{beta}"}, **request})
                self.assertEqual(answer["model"]["smoothing"], {"spline": "digits", "beta": beta})
                errors.append(answer["results"][0]["smoothing_error"])
            for error in errors:
                self.assertLessEqual(error["max_measured"], error["max_proven_at_gates"] + 1e-13 * error["largest_output"])
                self.assertLessEqual(error["max_proven_at_gates"], error["max_proven"])
            self.assertLess(errors[1]["max_proven"], errors[0]["max_proven"] / 500)
            self.assertLess(errors[1]["max_measured"], errors[0]["max_measured"] / 500)
        done = run_server("--model-repository", str(SHIPPED), "--metrics", "off", "--smoothing", "g2q=20")
        self.assertEqual(done.returncode, 1)
        self.assertIn("which has cubic, digits, g2p, words", done.stderr)
        self.assertEqual(run_server("--model-repository", str(SHIPPED), "--smoothing", "g2p=0").returncode, 2)

    def test_bad_starts(self) -> None:
        self.assertEqual(run_server("--no-such-option").returncode, 2)
        self.assertEqual(run_server().returncode, 2)
        with temporary_folder() as folder:
            done = run_server("--model-repository", folder + "/absent", "--listen", "127.0.0.1:0", "--metrics", "off")
            self.assertEqual(done.returncode, 1)
            self.assertIn("absent", done.stderr)

    def test_a_taken_port_is_an_error(self) -> None:
        with Server(SHIPPED) as server:
            done = run_server("--model-repository", str(SHIPPED), "--listen", server.address, "--metrics", "off")
            self.assertEqual(done.returncode, 1)
            self.assertIn(server.address, done.stderr)

    def test_server_from_the_environment(self) -> None:
        with Server(SHIPPED) as server:
            self.assertEqual(run_client("models", SPLINESERVE_SERVER=server.address).returncode, 0)


if __name__ == "__main__":
    unittest.main()
