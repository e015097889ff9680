# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Servers and clients for the end-to-end tests: the real binaries, on a free port, over models that lie in the repository."""

from __future__ import annotations

import base64
import json
import os
import queue
import re
import signal
import struct
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType

SOURCE = Path(os.environ.get("SPLINESERVE_SOURCE_DIR", Path(__file__).resolve().parents[2]))
BINARIES = Path(os.environ.get("SPLINESERVE_BIN_DIR", SOURCE / "build" / "release" / "bin"))
SERVER = BINARIES / "splineserve"
CLIENT = BINARIES / "splineserve-client"
SHIPPED = SOURCE / "models" / "repository"
GOLDEN = SOURCE / "tests" / "golden"

PATIENCE = 120  # seconds after which a test that waits has failed; sanitizers on a busy machine are slow


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what would change the binaries' behaviour."""
    dropped = ("SPLINESERVE_SERVER", "SPLINESERVE_TARGET")
    return {name: value for name, value in os.environ.items() if name not in dropped} | more


class Server:
    """`splineserve` on a port of its own; a context manager that ends it, whatever happens."""

    def __init__(self, repository: Path, *arguments: str, **environment: str) -> None:
        command = [SERVER, "--model-repository", repository, "--listen", "127.0.0.1:0", "--metrics", "off", *arguments]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=clean_environment(**environment),
        )
        self._drained = False
        self.log: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.address = re.search(r"listening on (127\.0\.0\.1:\d+)", self.wait_for_log("listening on ")).group(1)
        except BaseException:
            self.stop()
            raise

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def wait_for_log(self, text: str) -> str:
        """The next line of the log that holds `text`."""
        while True:
            line = self._lines.get(timeout=PATIENCE)
            if line is None:
                raise AssertionError(f"the server ended before it said {text!r}:\n{''.join(self.log)}")
            if text in line:
                return line

    def client(self, *arguments: str, text: str = "", status: int = 0) -> str:
        """Standard output of the client, which must end with `status`."""
        done = run_client(*arguments, "--server", self.address, text=text)
        if done.returncode != status:
            raise AssertionError(f"{arguments}: expected status {status}, found {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def call(self, method: str, request: dict) -> dict:
        """One unary call."""
        return json.loads(self.client("call", method, text=json.dumps(request)))

    def drain(self) -> None:
        """Sends SIGTERM, once: a second one would end the server at once."""
        if not self._drained and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self._drained = True

    def stop(self) -> int:
        """Drains; the exit status."""
        self.drain()
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(timeout=PATIENCE)
            self.process.stderr.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        status = self.stop()
        if error is None and status != 0:
            raise AssertionError(f"the server ended with status {status}:\n{''.join(self.log)}")


def run_client(*arguments: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The client, whatever its exit status."""
    return subprocess.run(
        [str(CLIENT), *arguments], input=text, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False,
        env=clean_environment(**environment))


def all_models(folder: str) -> Path:
    """A repository in `folder` of the shipped and the golden models."""
    for model in [*SHIPPED.iterdir(), *GOLDEN.iterdir()]:
        if model.is_dir():
            (Path(folder) / model.name).symlink_to(model)
    return Path(folder)


def temporary_folder() -> tempfile.TemporaryDirectory:
    """Removed at the end of a `with`."""
    return tempfile.TemporaryDirectory(prefix="splineserve-test-")


def floats(base64_text: str) -> list[float]:
    """Little-endian float32 numbers of a golden file."""
    data = base64.b64decode(base64_text)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def bits_of(base64_text: str) -> bytes:
    """A bytes field of the API's JSON."""
    return base64.b64decode(base64_text)
