# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Trains `digits`, which reads an 8x8 image of a handwritten digit as eight tokens (rows) of eight numbers.

The images are scikit-learn's `load_digits`. A fifth of them, drawn per class with a fixed seed, is the test set, written to
`data/digits/test.csv`; the rest is split once more into training and validation images.

Example (minutes on one core):
    python train_digits.py --export ../repository/digits/1 --test-file ../data/digits/test.csv
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import digits_data
from spline_transformer import Config, GateRecorder, MovingAverage, SplineTransformer

INPUT_SCALE = 1.0 / 16.0  # pixels are 0..16; folded into `input_proj`, so that the exported model takes raw pixels


def splits() -> dict[str, tuple[Tensor, Tensor]]:
    """`train`, `valid` and `test`, each images [N, 8, 8] with values 0..16 and labels [N]."""
    return {name: (torch.tensor(x), torch.tensor(y)) for name, (x, y) in digits_data.splits().items()}


def write_test_file(path: Path, images: Tensor, labels: Tensor) -> None:
    """One image a line: label, then 64 pixels 0..16 row by row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.concatenate((labels[:, None].numpy(), images.reshape(len(images), 64).numpy()), axis=1).astype(int)
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")


def augment(images: Tensor, noise: float) -> Tensor:
    """Shifts every image [8, 8] by -1..1 pixels each way, scales its brightness a little and adds noise."""
    padded = F.pad(images, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(images)))
    # Most images stay where they are: a shift may push a stroke out of the frame.
    down = torch.where(torch.rand(len(images)) < 0.5, down, 1)
    right = torch.where(torch.rand(len(images)) < 0.5, right, 1)
    rows = (down[:, None] + torch.arange(8))[:, :, None]
    columns = (right[:, None] + torch.arange(8))[:, None, :]
    moved = padded[torch.arange(len(images))[:, None, None], rows, columns]
    bright = 1 + 0.1 * torch.randn(len(images), 1, 1)
    return moved * bright + noise * torch.randn_like(moved)


@torch.no_grad()
def accuracy(model: SplineTransformer, images: Tensor, labels: Tensor, recorder: GateRecorder | None = None) -> float:
    """Part of the images whose largest output is their label."""
    model.eval()
    right = (model(images * INPUT_SCALE, None, recorder).argmax(dim=-1) == labels).float().mean().item()
    model.train()
    return right


def train(arguments: argparse.Namespace) -> None:
    """The whole run; the averaged weights at its end are exported."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    data = splits()
    images, labels = data["train"]
    config = Config(
        architecture="encoder", hidden_size=48, num_attention_heads=4, head_dim=16, intermediate_size=96, num_encoder_layers=2,
        input={"kind": "vectors", "size": 8}, max_positions=8, head={"kind": "linear", "size": 10, "pooling": "mean"},
        dropout=arguments.dropout)
    model = SplineTransformer(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.rate, weight_decay=arguments.weight_decay, fused=True)
    average = MovingAverage(model, 0.995)
    per_epoch = -(-len(images) // arguments.batch)
    total, step = arguments.epochs * per_epoch, 0
    for epoch in range(arguments.epochs):
        order = torch.randperm(len(images))
        summed = 0.0
        for index in range(per_epoch):
            warm = 0.05 * total
            rate = min(1.0, step / warm) * 0.5 * (1 + math.cos(math.pi * max(0.0, step - warm) / (total - warm)))
            optimizer.param_groups[0]["lr"] = arguments.rate * rate
            chosen = order[index * arguments.batch : (index + 1) * arguments.batch]
            recorder = GateRecorder(penalty=True)
            logits = model(augment(images[chosen], arguments.noise) * INPUT_SCALE, None, recorder)
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            summed += loss.item()
            penalty = torch.stack(recorder.feed_forward).sum() + torch.stack(recorder.attention).sum()
            loss = loss + arguments.penalty * min(1.0, 2 * step / total) * penalty
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            average.update(model)
            step += 1
        if (epoch + 1) % 20 == 0:
            average.swap(model)
            print(f"epoch {epoch + 1}/{arguments.epochs} train {summed / per_epoch:.4f} "
                  f"validation accuracy {100 * accuracy(model, *data['valid']):.2f}", flush=True)
            average.swap(model)
    average.swap(model)
    model.eval()
    with torch.no_grad():
        model.encoder.input_proj.weight.mul_(INPUT_SCALE)
    recorder = GateRecorder()
    scale_free = (data["test"][0] / INPUT_SCALE, data["test"][1])
    report = {"parameters": model.parameters_exported()}
    for name in ("train", "valid", "test"):
        pictures, wanted = data[name]
        report[name + "_accuracy"] = accuracy(model, pictures / INPUT_SCALE, wanted)
    accuracy(model, *scale_free, recorder)
    report["open_test"] = recorder.fractions()
    print(json.dumps(report, indent=1))
    if arguments.export:
        model.export(arguments.export)
    if arguments.test_file:
        write_test_file(arguments.test_file, *data["test"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--export", type=Path, help="model directory to write")
    add("--test-file", type=Path, help="CSV of the test images to write")
    add("--epochs", type=int, default=200)
    add("--batch", type=int, default=64)
    add("--rate", type=float, default=3e-3)
    add("--weight-decay", type=float, default=0.05)
    add("--dropout", type=float, default=0.1)
    add("--noise", type=float, default=1.0, help="standard deviation of the pixel noise (pixels are 0..16)")
    add("--penalty", type=float, default=0.02, help="times the summed mean activations of all gates")
    add("--seed", type=int, default=1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
