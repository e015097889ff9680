# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Scores the shipped models: from their files with a NumPy evaluator, or from outputs that a server wrote.

Examples:
    python score.py g2p                                  # WER, PER and open gates on valid.tsv
    python score.py g2p --inputs > words.txt             # the words alone, one a line
    splineserve-client generate --model g2p --input words.txt | python score.py g2p --predictions -
    python score.py digits
    python score.py words
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np

from numpy_model import NumpyModel

MODELS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(MODELS / "training"))
from g2p_text import error_rates, read_dictionary, read_pairs  # noqa: E402


def by_length(items: list, key=len) -> list[list]:
    """Items of one length each."""
    groups: dict[int, list] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def transcribe(model: NumpyModel, folder: Path, words: list[str], limit: int = 32) -> dict[str, list[str]]:
    """Greedy phones of every word; a finished word's further phones are dropped at the end."""
    letters = {entry: index for index, entry in enumerate(model.vocabulary(folder))}
    phones = model.vocabulary(folder, "target_vocabulary")
    eos = model.config["eos_token_id"]
    outputs = {}
    for group in by_length(words):
        memory = model.encode(np.array([[letters[letter] for letter in word] for word in group]))
        written = np.full((len(group), 1), model.config["bos_token_id"])
        while written.shape[1] <= limit and not (written == eos).any(axis=1).all():
            chosen = model.head(model.decode(written, memory)[:, -1:])[:, 0].argmax(axis=-1)
            written = np.concatenate((written, chosen[:, None]), axis=1)
        for word, row in zip(group, written[:, 1:].tolist()):
            outputs[word] = [phones[i] for i in (row[: row.index(eos)] if eos in row else row)]
    return outputs


def score_g2p(folder: Path, predictions: list[str] | None) -> dict:
    """Word and phone error rates; from files also the open gates (teacher-forced on every listed pronunciation)."""
    dictionary = read_dictionary(MODELS / "data" / "g2p" / "valid.tsv")
    if predictions is not None:
        if len(predictions) != len(dictionary):
            raise SystemExit(f"expected {len(dictionary)} lines, one a word of valid.tsv, found {len(predictions)}")
        wer, per = error_rates(dictionary, {word: line.split() for word, line in zip(dictionary, predictions)})
        return {"words": len(dictionary), "wer": wer, "per": per}
    model = NumpyModel(folder)
    wer, per = error_rates(dictionary, transcribe(model, folder, list(dictionary)))
    letters = {entry: index for index, entry in enumerate(model.vocabulary(folder))}
    phones = {entry: index for index, entry in enumerate(model.vocabulary(folder, "target_vocabulary"))}
    bos = model.config["bos_token_id"]
    model.count_gates()
    pairs = [([letters[c] for c in word], [bos] + [phones[p] for p in sounds]) for word, sounds in
             read_pairs(MODELS / "data" / "g2p" / "valid.tsv")]
    for group in by_length(pairs, key=lambda pair: 100 * len(pair[0]) + len(pair[1])):
        model.decode(np.array([target for _, target in group]), model.encode(np.array([source for source, _ in group])))
    return {"words": len(dictionary), "wer": wer, "per": per, "open": model.open_fractions()}


def score_digits(folder: Path, predictions: list[str] | None) -> dict:
    """Accuracy on test.csv; a prediction line is a label or the ten outputs."""
    rows = np.loadtxt(MODELS / "data" / "digits" / "test.csv", delimiter=",", dtype=np.int64)
    labels, images = rows[:, 0], rows[:, 1:].reshape(-1, 8, 8)
    if predictions is not None:
        values = [[float(x) for x in line.replace(",", " ").split()] for line in predictions]
        found = np.array([int(line[0]) if len(line) == 1 else int(np.argmax(line)) for line in values])
        return {"images": len(labels), "accuracy": float((found == labels).mean())}
    model = NumpyModel(folder)
    model.count_gates()
    found = model.head(model.encode(images.astype(np.float32))).argmax(axis=-1)
    return {"images": len(labels), "accuracy": float((found == labels).mean()), "open": model.open_fractions()}


def score_words(folder: Path) -> dict:
    """Bits per character (every letter and every eos counts as one) over the spellings of valid.tsv."""
    model = NumpyModel(folder)
    model.count_gates()
    letters = {entry: index for index, entry in enumerate(model.vocabulary(folder))}
    bos, eos = model.config["bos_token_id"], model.config["eos_token_id"]
    words = list(read_dictionary(MODELS / "data" / "g2p" / "valid.tsv"))
    nats = characters = 0.0
    for group in by_length(words):
        rows = np.array([[bos] + [letters[c] for c in word] + [eos] for word in group])
        logits = model.head(model.decode(rows[:, :-1])).astype(np.float64)
        log_sum = np.log(np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1)) + logits.max(axis=-1)
        nats += float((log_sum - np.take_along_axis(logits, rows[:, 1:, None], axis=-1)[..., 0]).sum())
        characters += rows[:, 1:].size
    return {"words": len(words), "bits_per_character": nats / characters / math.log(2), "open": model.open_fractions()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["g2p", "digits", "words"])
    parser.add_argument("--folder", type=Path, help="model directory (default: the shipped one)")
    parser.add_argument("--predictions", help="score these outputs, one a line (- for standard input), instead of the files")
    parser.add_argument("--inputs", action="store_true", help="print the inputs that predictions are expected for, and stop")
    arguments = parser.parse_args()
    if arguments.inputs:
        if arguments.model == "digits":
            print((MODELS / "data" / "digits" / "test.csv").read_text(encoding="utf-8"), end="")
        else:
            print("\n".join(read_dictionary(MODELS / "data" / "g2p" / "valid.tsv")))
        return
    folder = arguments.folder or MODELS / "repository" / arguments.model / "1"
    predictions = None
    if arguments.predictions:
        text = sys.stdin.read() if arguments.predictions == "-" else Path(arguments.predictions).read_text(encoding="utf-8")
        predictions = text.splitlines()
    if arguments.model == "g2p":
        report = score_g2p(folder, predictions)
    elif arguments.model == "digits":
        report = score_digits(folder, predictions)
    elif predictions is not None:
        parser.error("words is scored by probabilities; it has no --predictions")
    else:
        report = score_words(folder)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
