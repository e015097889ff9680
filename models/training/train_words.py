# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Trains `words`, a character model of English spellings: bos, letters, eos.

Example (about a quarter of an hour on one core):
    python train_words.py --work /tmp/words --export ../repository/words/1
"""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from g2p_text import BOS, DATA, EOS, LETTERS, PAD, read_dictionary
from spline_transformer import Config, GateRecorder, MovingAverage, SplineTransformer


def encode(words: list[str]) -> dict[int, Tensor]:
    """Ids [N, length + 2] (bos, letters, eos) of all words of each length."""
    letter_id = {entry: index for index, entry in enumerate(LETTERS)}
    groups: dict[int, list[list[int]]] = {}
    for word in words:
        groups.setdefault(len(word), []).append([BOS] + [letter_id[letter] for letter in word] + [EOS])
    return {length: torch.tensor(rows) for length, rows in groups.items()}


def epoch_batches(groups: dict[int, Tensor], size: int, rng: random.Random) -> list[Tensor]:
    """All words once, in shuffled batches of one length."""
    batches: list[Tensor] = []
    for rows in groups.values():
        batches += rows[torch.randperm(len(rows))].chunk(-(-len(rows) // size))
    rng.shuffle(batches)
    return batches


@torch.no_grad()
def bits_per_character(model: SplineTransformer, groups: dict[int, Tensor], recorder: GateRecorder | None = None) -> float:
    """Mean of -log2 p over every letter and every eos."""
    model.eval()
    nats = characters = 0.0
    for rows in groups.values():
        logits = model(rows[:, :-1], None, recorder)
        nats += F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum").item()
        characters += rows[:, 1:].numel()
    model.train()
    return nats / characters / math.log(2)


@torch.no_grad()
def sample(model: SplineTransformer, count: int, temperature: float, seed: int, limit: int = 24) -> list[str]:
    """Words drawn at a temperature, a letter at a time."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    written = torch.full((count, 1), BOS)
    for _ in range(limit):
        logits = model(written)[:, -1] / temperature
        logits[:, [PAD, BOS]] = -math.inf
        chosen = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)
        chosen[written[:, -1] == EOS] = EOS
        written = torch.cat((written, chosen), dim=1)
    model.train()
    return ["".join(LETTERS[i] for i in row if i > EOS) for row in written.tolist()]


def train(arguments: argparse.Namespace) -> None:
    """The whole run; the averaged weights are exported after every epoch."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rng = random.Random(arguments.seed)
    train_groups = encode(list(read_dictionary(arguments.data / "train.tsv")))
    valid_groups = encode(list(read_dictionary(arguments.data / "valid.tsv")))
    config = Config(
        architecture="decoder", hidden_size=128, num_attention_heads=4, head_dim=32, intermediate_size=512, num_decoder_layers=3,
        input={"kind": "tokens", "vocab_size": len(LETTERS), "scale": 1.0}, max_positions=64,
        head={"kind": "linear", "size": len(LETTERS), "pooling": "none"},
        vocabulary={"file": "letters.txt", "split": "characters"}, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
        dropout=arguments.dropout)
    model = SplineTransformer(config)
    print(f"{model.parameters_exported():,} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.rate, betas=(0.9, 0.98),
                                  weight_decay=arguments.weight_decay, fused=True)
    average = MovingAverage(model, 0.999)
    per_epoch = sum(-(-len(rows) // arguments.batch) for rows in train_groups.values())
    total, step = arguments.epochs * per_epoch, 0
    arguments.work.mkdir(parents=True, exist_ok=True)
    for epoch in range(arguments.epochs):
        summed = characters = 0.0
        for rows in epoch_batches(train_groups, arguments.batch, rng):
            warm = 0.03 * total
            rate = min(1.0, step / warm) * 0.5 * (1 + math.cos(math.pi * max(0.0, step - warm) / (total - warm)))
            optimizer.param_groups[0]["lr"] = arguments.rate * rate
            recorder = GateRecorder(penalty=True)
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(rows[:, :-1], None, recorder).float()
            loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            summed, characters = summed + loss.item() * rows[:, 1:].numel(), characters + rows[:, 1:].numel()
            ramp = min(1.0, max(0.0, 2 * step / total - 0.4))  # no penalty at first, all of it from 70 % on
            loss = loss + ramp * (arguments.ffn_penalty * torch.stack(recorder.feed_forward).sum()
                                  + arguments.attention_penalty * torch.stack(recorder.attention).sum())
            optimizer.zero_grad(set_to_none=True)
            (loss * (len(rows) / arguments.batch)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimizer.step()
            average.update(model)
            step += 1
        average.swap(model)
        recorder = GateRecorder()
        bits = bits_per_character(model, valid_groups, recorder)
        opened = recorder.fractions()
        if arguments.export:
            model.export(arguments.export, {"letters.txt": LETTERS})
        torch.save(model.state_dict(), arguments.work / "average.pt")
        print(f"epoch {epoch + 1}/{arguments.epochs} train {summed / characters / math.log(2):.4f} valid {bits:.4f} bits "
              f"open attention {100 * opened['all attention']:.1f} ffn {100 * opened['all feed_forward']:.1f} "
              f"{' '.join(sample(model, 6, 0.8, epoch))}", flush=True)
        if epoch == arguments.epochs - 1:
            report = {"valid_bits_per_character": bits, "open_valid": opened, "samples": sample(model, 40, 0.8, 7)}
            (arguments.work / "report.json").write_text(json.dumps(report, indent=1) + "\n")
            print(json.dumps(report, indent=1), flush=True)
        average.swap(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=DATA, help="folder with train.tsv and valid.tsv")
    add("--work", type=Path, required=True, help="folder for the last weights and the report")
    add("--export", type=Path, help="model directory to (re)write after every epoch")
    add("--epochs", type=int, default=14)
    add("--batch", type=int, default=256, help="words in a batch")
    add("--rate", type=float, default=2e-3)
    add("--weight-decay", type=float, default=0.02)
    add("--dropout", type=float, default=0.05)
    add("--ffn-penalty", type=float, default=0.05, help="times the sum over layers of the mean FFN activation")
    add("--attention-penalty", type=float, default=0.005, help="times the sum over layers of the mean ReLU score")
    add("--seed", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
