#!/usr/bin/env python3
# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Scores the shipped models through a running server, with the sample client. Needs nothing but Python and the two binaries.

    models/evaluate.py --start                          # starts a server of its own and stops it
    models/evaluate.py --server localhost:8001 g2p      # asks one that runs on these models
    models/evaluate.py --start --json > scores.json

g2p     words wrong (WER) and phones wrong (PER) with greedy search on data/g2p/valid.tsv; a word is right if it equals any listed
        pronunciation, PER counts edits to the nearest one. Gates: teacher-forced on every listed pronunciation.
digits  images recognised in data/digits/test.csv.
words   bits per character (every letter, and every end of a word) of the spellings in data/g2p/valid.tsv.

Exit status 0; 1 if a call failed or a score misses its threshold (--no-thresholds: never for scores); 2 for bad usage.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MODELS = Path(__file__).resolve().parent
sys.path.insert(0, str(MODELS / "training"))
from g2p_text import error_rates, read_dictionary, read_pairs  # noqa: E402

VALID = MODELS / "data" / "g2p" / "valid.tsv"
SEQUENCES_IN_A_REQUEST = 128

# model, score: (what it may not go below or above, which of the two)
THRESHOLDS = {
    ("g2p", "wer"): (0.27, "most"),
    ("g2p", "open feed_forward"): (0.05, "most"),
    ("g2p", "open attention"): (0.30, "most"),
    ("digits", "accuracy"): (0.97, "least"),
}


class CallFailed(Exception):
    """The client ended with another status than 0."""


class Client:
    """splineserve-client against one server."""

    def __init__(self, binary: Path, server: str, repository: Path) -> None:
        self.binary, self.server, self.repository = binary, server, repository

    def run(self, *arguments: str, text: str = "") -> str:
        """Standard output of a command."""
        command = [str(self.binary), *arguments, "--server", self.server]
        done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)
        if done.returncode != 0:
            raise CallFailed(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr.strip()}")
        return done.stdout

    def call(self, method: str, request: dict) -> dict:
        """One unary call."""
        return json.loads(self.run("call", method, text=json.dumps(request)))

    def vocabulary(self, model: str, field: str) -> dict[str, int]:
        """Entries of a vocabulary file to ids."""
        folder = max((p for p in (self.repository / model).iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        lines = (folder / config[field]["file"]).read_text(encoding="utf-8").splitlines()
        return {entry: index for index, entry in enumerate(lines)}


class Gates:
    """Open and all gates by site, summed over tokens."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}

    def add(self, stack: str, results: list[dict]) -> None:
        """Counts the pieces of an answer's results."""
        for result in results:
            for piece in result["pieces"]:
                for layer in piece["layers"]:
                    for group in layer["groups"]:
                        site = f"{stack} {layer['layer']} {group['site'].lower()}"
                        count = self.counts.setdefault(site, [0, 0])
                        count[0] += group["open"]
                        count[1] += group["width"]

    def fractions(self) -> dict[str, float]:
        """Open fraction of every site; of all attention and of all feed-forward gates under "open ..."."""
        out = {site: opened / total for site, (opened, total) in sorted(self.counts.items())}
        for kind in ("attention", "feed_forward"):
            chosen = [count for site, count in self.counts.items() if site.endswith(kind)]
            if chosen:
                out["open " + kind] = sum(c[0] for c in chosen) / sum(c[1] for c in chosen)
        return out


def chunks(items: Sequence) -> Iterator[Sequence]:
    """Parts of at most SEQUENCES_IN_A_REQUEST items."""
    for start in range(0, len(items), SEQUENCES_IN_A_REQUEST):
        yield items[start : start + SEQUENCES_IN_A_REQUEST]


def token_sequences(rows: Sequence[Sequence[int]]) -> list[dict]:
    """Sequences of the API, by ids."""
    return [{"tokens": {"ids": list(row)}} for row in rows]


def special_ids(client: Client, model: str) -> tuple[int, int]:
    """(bos, eos)."""
    info = json.loads(client.run("models", model, "--json"))
    return info["bos_token_id"], info["eos_token_id"]


def score_g2p(client: Client) -> dict:
    """Word and phone error rates, and open gates."""
    dictionary = read_dictionary(VALID)
    with tempfile.TemporaryDirectory() as scratch:
        words = Path(scratch) / "words.txt"
        words.write_text("".join(word + "\n" for word in dictionary), encoding="utf-8")
        lines = client.run("generate", "g2p", "--input", str(words), "--concurrency", "64").splitlines()
    if len(lines) != len(dictionary):
        raise CallFailed(f"generate: expected {len(dictionary)} lines, found {len(lines)}")
    wer, per = error_rates(dictionary, {word: line.split() for word, line in zip(dictionary, lines)})

    phones = client.vocabulary("g2p", "target_vocabulary")
    bos, _ = special_ids(client, "g2p")
    gates = Gates()
    common = {"model": {"name": "g2p"}, "output": "HIDDEN", "pieces": {"detail": "COUNTS"}}
    for pairs in chunks(read_pairs(VALID)):
        sources = [{"text": word} for word, _ in pairs]
        targets = token_sequences([[bos] + [phones[phone] for phone in sounds] for _, sounds in pairs])
        gates.add("encoder", client.call("InferenceService/Encode", {**common, "inputs": sources})["results"])
        answer = client.call("InferenceService/Decode", {**common, "sources": sources, "targets": targets})
        gates.add("decoder", answer["results"])
    return {"words": len(dictionary), "wer": wer, "per": per, **gates.fractions()}


def score_digits(client: Client) -> dict:
    """Accuracy and open gates."""
    rows = [line.split(",") for line in (MODELS / "data" / "digits" / "test.csv").read_text(encoding="utf-8").split()]
    right, gates = 0, Gates()
    for part in chunks(rows):
        inputs = [{"vectors": {"rows": 8, "cols": 8, "values": [float(x) for x in row[1:]]}} for row in part]
        answer = client.call(
            "InferenceService/Encode",
            {"model": {"name": "digits"}, "inputs": inputs, "output": "HEAD", "pieces": {"detail": "COUNTS"}},
        )
        gates.add("encoder", answer["results"])
        for row, result in zip(part, answer["results"]):
            values = result["output"]["values"]
            right += values.index(max(values)) == int(row[0])
    return {"images": len(rows), "accuracy": right / len(rows), **gates.fractions()}


def negative_log_probability(logits: list[float], chosen: int) -> float:
    """Of a softmax, in nats."""
    highest = max(logits)
    return math.log(math.fsum(math.exp(x - highest) for x in logits)) + highest - logits[chosen]


def score_words(client: Client) -> dict:
    """Bits per character and open gates."""
    letters = client.vocabulary("words", "vocabulary")
    bos, eos = special_ids(client, "words")
    words = list(read_dictionary(VALID))
    nats, characters, gates = [], 0, Gates()
    for part in chunks(words):
        spelled = [[letters[letter] for letter in word] for word in part]
        answer = client.call(
            "InferenceService/Decode",
            {
                "model": {"name": "words"},
                "targets": token_sequences([[bos] + ids for ids in spelled]),
                "output": "HEAD",
                "pieces": {"detail": "COUNTS"},
            },
        )
        gates.add("decoder", answer["results"])
        for ids, result in zip(spelled, answer["results"]):
            values, cols = result["output"]["values"], result["output"]["cols"]
            for position, wanted in enumerate(ids + [eos]):
                nats.append(negative_log_probability(values[position * cols : (position + 1) * cols], wanted))
            characters += len(ids) + 1
    bits = math.fsum(nats) / characters / math.log(2)
    return {"words": len(words), "characters": characters, "bits_per_character": bits, **gates.fractions()}


SCORERS = {"g2p": score_g2p, "digits": score_digits, "words": score_words}


@contextmanager
def own_server(binary: Path, repository: Path, *more: str) -> Iterator[str]:
    """Address of a server that lives as long as the block."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        command = [str(binary), "--model-repository", str(repository), "--listen", "127.0.0.1:0", "--metrics", "off", *more]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while True:
                log.seek(0)
                text = log.read()
                if found := re.search(r"listening on (127\.0\.0\.1:\d+)", text):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CallFailed(f"{' '.join(command)} did not start:\n{text.strip()}")
                time.sleep(0.05)
            yield found.group(1)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(timeout=60)


def missed(scores: dict[str, dict]) -> list[str]:
    """What says which thresholds are missed."""
    out = []
    for (model, score), (limit, side) in THRESHOLDS.items():
        if model not in scores:
            continue
        value = scores[model][score]
        if value > limit if side == "most" else value < limit:
            out.append(f"{model}: {score} is {100 * value:.2f} %, expected at {side} {100 * limit:g} %")
    return out


def print_table(scores: dict[str, dict]) -> None:
    """For people."""
    for model, values in scores.items():
        print(model)
        for name, value in values.items():
            shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if "bits" in name else f"{100 * value:.2f} %"
            limit = THRESHOLDS.get((model, name))
            note = f"   (at {limit[1]} {100 * limit[0]:g} %)" if limit else ""
            print(f"  {name:<28}{shown:>12}{note}")
        print()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    binaries = Path(os.environ.get("SPLINESERVE_BIN_DIR", MODELS.parent / "build" / "release" / "bin"))
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(SCORERS)} (default: all)")
    parser.add_argument("--server", default=os.environ.get("SPLINESERVE_SERVER", "localhost:8001"), metavar="HOST:PORT")
    parser.add_argument("--start", action="store_true", help="start a server on the repository, and stop it at the end")
    parser.add_argument("--repository", type=Path, default=MODELS / "repository", help="models that the server serves")
    parser.add_argument("--bin", type=Path, default=binaries, help="folder of splineserve and splineserve-client")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--no-thresholds", action="store_true", help="scores that are too low are no failure")
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - set(SCORERS):
        parser.error(f"unknown model: {', '.join(sorted(unknown))}")
    chosen = arguments.models or list(SCORERS)
    for name in ("splineserve-client", *(["splineserve"] if arguments.start else [])):
        if not (arguments.bin / name).exists():
            parser.error(f"{arguments.bin / name} is not built (--bin says where to look)")

    def score(server: str) -> dict[str, dict]:
        client = Client(arguments.bin / "splineserve-client", server, arguments.repository)
        return {model: SCORERS[model](client) for model in chosen}

    try:
        if arguments.start:
            with own_server(arguments.bin / "splineserve", arguments.repository) as server:
                scores = score(server)
        else:
            scores = score(arguments.server)
    except CallFailed as error:
        print(error, file=sys.stderr)
        return 1
    failures = [] if arguments.no_thresholds else missed(scores)
    if arguments.json:
        print(json.dumps({**scores, "missed": failures}, indent=1))
    else:
        print_table(scores)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
