# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Training batches of the pronouncing dictionary."""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from torch import Tensor

from g2p_text import BOS, EOS, PAD


class PairBatches:
    """Batches of encoded (word, phones) pairs; within one batch all words are equally long.

    Sources are bare letters; targets are bos, phones, eos, padded at the end.
    """

    def __init__(self, pairs: list[tuple[str, list[str]]], letters: list[str], phones: list[str], size: int) -> None:
        letter_id = {entry: index for index, entry in enumerate(letters)}
        phone_id = {entry: index for index, entry in enumerate(phones)}
        self.size = size
        self.groups: dict[int, list[tuple[list[int], list[int]]]] = {}
        for word, sounds in pairs:
            source = [letter_id[letter] for letter in word]
            target = [BOS] + [phone_id[sound] for sound in sounds] + [EOS]
            self.groups.setdefault(len(source), []).append((source, target))

    def epoch(self, rng: random.Random) -> Iterator[tuple[Tensor, Tensor]]:
        """All pairs once, as shuffled batches (source [B, S], target [B, T+1])."""
        batches = []
        for group in self.groups.values():
            order = sorted(group, key=lambda pair: len(pair[1]) + rng.uniform(0, 1.5))
            count = -(-len(order) // self.size)
            batches += [order[len(order) * i // count : len(order) * (i + 1) // count] for i in range(count)]
        rng.shuffle(batches)
        for batch in batches:
            longest = max(len(target) for _, target in batch)
            source = torch.tensor([source for source, _ in batch])
            target = torch.tensor([target + [PAD] * (longest - len(target)) for _, target in batch])
            yield source, target

    def __len__(self) -> int:
        return sum(-(-len(group) // self.size) for group in self.groups.values())
