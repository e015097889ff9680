# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""The pronouncing dictionary as text: reading it, vocabularies, error rates. Needs nothing but Python."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PAD, BOS, EOS = 0, 1, 2
SPECIALS = ["<pad>", "<bos>", "<eos>"]
LETTERS = SPECIALS + ["'"] + [chr(code) for code in range(ord("a"), ord("z") + 1)]
DATA = Path(__file__).resolve().parent.parent / "data" / "g2p"


def read_pairs(path: Path) -> list[tuple[str, list[str]]]:
    """One (word, phones) pair a line of a TSV file."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        word, phones = line.split("\t")
        pairs.append((word, phones.split()))
    return pairs


def read_dictionary(path: Path) -> dict[str, list[list[str]]]:
    """Every word with all its pronunciations, in file order."""
    words: dict[str, list[list[str]]] = {}
    for word, phones in read_pairs(path):
        words.setdefault(word, []).append(phones)
    return words


def phone_vocabulary(pairs: Iterable[tuple[str, list[str]]]) -> list[str]:
    """Specials, then all phones in alphabetical order."""
    return SPECIALS + sorted({phone for _, phones in pairs for phone in phones})


def edit_distance(a: list[str], b: list[str]) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


def error_rates(dictionary: dict[str, list[list[str]]], outputs: dict[str, list[str]]) -> tuple[float, float]:
    """(WER, PER): a word is right if its output equals any listed pronunciation; PER counts to the nearest one."""
    wrong = edits = length = 0
    for word, listed in dictionary.items():
        output = outputs[word]
        wrong += output not in listed
        distance, nearest = min(((edit_distance(output, sounds), len(sounds)) for sounds in listed), key=lambda pair: pair[0])
        edits, length = edits + distance, length + nearest
    return wrong / len(dictionary), edits / length
