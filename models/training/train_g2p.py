# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Trains `g2p`, English spelling to ARPAbet phones, or its SoftMax and LayerNorm twin.

Example (two processes, one core each; about three hours):
    python train_g2p.py --variant spline       --work /tmp/g2p      --export ../repository/g2p/1
    python train_g2p.py --variant softmax_twin --work /tmp/g2p_twin
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from g2p_batches import PairBatches
from g2p_text import BOS, DATA, EOS, LETTERS, PAD, error_rates, phone_vocabulary, read_dictionary, read_pairs
from spline_transformer import Config, GateRecorder, MovingAverage, SplineTransformer


def make_config(arguments: argparse.Namespace, phones: list[str]) -> Config:
    """The shipped architecture."""
    return Config(
        architecture="encoder_decoder",
        hidden_size=arguments.hidden,
        num_attention_heads=arguments.heads,
        head_dim=arguments.head_dim,
        intermediate_size=arguments.intermediate,
        num_encoder_layers=arguments.encoder_layers,
        num_decoder_layers=arguments.decoder_layers,
        input={"kind": "tokens", "vocab_size": len(LETTERS), "scale": 1.0},
        target_input={"kind": "tokens", "vocab_size": len(phones), "scale": 1.0},
        max_positions=64,
        head={"kind": "linear", "size": len(phones), "pooling": "none"},
        vocabulary={"file": "graphemes.txt", "split": "characters"},
        target_vocabulary={"file": "phonemes.txt", "split": "whitespace"},
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        variant=arguments.variant,
        dropout=arguments.dropout,
    )


@torch.no_grad()
def transcribe(model: SplineTransformer, words: list[str], phones: list[str], limit: int = 32) -> dict[str, list[str]]:
    """Greedy search for every word; words of one length run together."""
    letter_id = {entry: index for index, entry in enumerate(LETTERS)}
    by_length: dict[int, list[str]] = {}
    for word in words:
        by_length.setdefault(len(word), []).append(word)
    outputs: dict[str, list[str]] = {}
    for group in by_length.values():
        memory = model.encoder(torch.tensor([[letter_id[letter] for letter in word] for word in group]))
        written = torch.full((len(group), 1), BOS)
        live = list(range(len(group)))
        for _ in range(limit):
            chosen = model.head(model.decoder(written, memory)[:, -1]).argmax(dim=-1)
            written = torch.cat((written, chosen[:, None]), dim=1)
            going = [row for row in range(len(live)) if chosen[row] != EOS]
            for row in range(len(live)):
                if chosen[row] == EOS:
                    outputs[group[live[row]]] = [phones[i] for i in written[row, 1:-1].tolist()]
            live, written, memory = [live[row] for row in going], written[going], memory[going]
            if not live:
                break
        for row, index in enumerate(live):
            outputs[group[index]] = [phones[i] for i in written[row, 1:].tolist()]
    return outputs


@torch.no_grad()
def evaluate(model: SplineTransformer, dictionary: dict, batches: PairBatches, phones: list[str], gates: bool) -> dict:
    """Greedy WER and PER, teacher-forced loss, and open gates per site (teacher-forced, padding not counted)."""
    model.eval()
    wer, per = error_rates(dictionary, transcribe(model, list(dictionary), phones))
    recorder = GateRecorder() if gates and not model.config.smooth else None
    loss = tokens = 0.0
    for source, target in batches.epoch(random.Random(0)):
        lengths = (target[:, 1:] != PAD).sum(dim=1)
        logits = model(source, target[:, :-1], recorder, lengths)
        loss += F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD, reduction="sum").item()
        tokens += lengths.sum().item()
    model.train()
    out = {"wer": wer, "per": per, "loss": loss / tokens}
    if recorder is not None:
        out["open"] = recorder.fractions()
    return out


def learning_rate(progress: float, arguments: argparse.Namespace) -> float:
    """Rate at `progress` 0..1 of all epochs: warm-up and cosine to a tenth; then, sparsifying, from a fraction down to 0."""
    main = arguments.epochs / (arguments.epochs + arguments.sparse_epochs)
    if progress < main:
        part, warm = progress / main, arguments.warmup
        if part < warm:
            return arguments.rate * part / warm
        return arguments.rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (part - warm) / (1 - warm))))
    part = (progress - main) / (1 - main)
    if part < 0.03:
        return arguments.rate * (0.1 + (arguments.sparse_rate - 0.1) * part / 0.03)
    return arguments.rate * arguments.sparse_rate * 0.5 * (1 + math.cos(math.pi * (part - 0.03) / 0.97))


def train(arguments: argparse.Namespace) -> None:
    """The whole run; the last average of the weights is what is exported."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    rng = random.Random(arguments.seed)
    pairs = read_pairs(arguments.data / "train.tsv")
    phones = phone_vocabulary(pairs)
    batches = PairBatches(pairs, LETTERS, phones, arguments.batch)
    valid = read_dictionary(arguments.data / "valid.tsv")
    valid_batches = PairBatches(read_pairs(arguments.data / "valid.tsv"), LETTERS, phones, arguments.batch)
    model = SplineTransformer(make_config(arguments, phones))
    print(f"{arguments.variant}: {model.parameters_exported():,} parameters, {len(batches)} batches an epoch", flush=True)

    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": arguments.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=arguments.rate, betas=(0.9, 0.98), fused=True)
    average = MovingAverage(model, arguments.average)
    arguments.work.mkdir(parents=True, exist_ok=True)
    log = (arguments.work / "log.jsonl").open("a")
    checkpoint = arguments.work / "last.pt"
    first, step = 0, 0
    if arguments.resume:
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.values, average.steps = state["average"], state["average_steps"]
        first, step = state["epoch"] + 1, state["step"]
        rng.seed(arguments.seed + first)

    epochs = arguments.epochs + arguments.sparse_epochs
    total = epochs * len(batches)
    vocabularies = {"graphemes.txt": LETTERS, "phonemes.txt": phones}
    resumed_at, resumed_progress = time.time(), step / total
    progress = resumed_progress
    for epoch in range(first, epochs):
        if progress >= 1:
            break
        sparse = epoch >= arguments.epochs and arguments.variant == "spline"
        started, summed, tokens = time.time(), torch.zeros(()), 0
        ffn_seen = attention_seen = 0.0
        for index, (source, target) in enumerate(batches.epoch(rng)):
            progress = step / total
            if arguments.minutes > 0:  # run the rest of the schedule faster, so that it ends in time
                passed = (time.time() - resumed_at) / (60 * arguments.minutes)
                progress = max(progress, resumed_progress + (1 - resumed_progress) * passed)
            if progress >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress, arguments)
            written, wanted = target[:, :-1], target[:, 1:]
            if arguments.noise > 0:  # a wrong phone now and then, so that the decoder learns to recover
                wrong = (torch.rand(written.shape) < arguments.noise) & (written > EOS)
                written = torch.where(wrong, torch.randint(EOS + 1, len(phones), written.shape), written)
            recorder = GateRecorder(penalty=True) if sparse else None
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
                logits = model(source, written, recorder).float()
            loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD,
                                   label_smoothing=arguments.label_smoothing)
            summed += loss.detach() * len(source)
            tokens += len(source)
            if recorder is not None:
                # The factors grow over the first half epoch of the sparse phase, so that nothing jumps.
                ramp = min(1.0, (step - arguments.epochs * len(batches)) / (0.5 * len(batches)))
                ffn = torch.stack(recorder.feed_forward).sum()
                attention = torch.stack(recorder.attention).sum()
                loss = loss + ramp * (arguments.ffn_penalty * ffn + arguments.attention_penalty * attention)
                ffn_seen, attention_seen = ffn.item(), attention.item()
            optimizer.zero_grad(set_to_none=True)
            (loss * (len(source) / arguments.batch)).backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimizer.step()
            average.update(model)
            step += 1
            if arguments.progress and index % arguments.progress == arguments.progress - 1:
                print(f"  {epoch} {index + 1}/{len(batches)} loss {summed.item() / tokens:.4f} gradient {norm.item():.2f} "
                      f"{(time.time() - started) / (index + 1) * 1000:.0f} ms/step", flush=True)
            if arguments.stop_after and step >= arguments.stop_after:
                break
        seconds = time.time() - started
        average.swap(model)
        report = evaluate(model, valid, valid_batches, phones, gates=True)
        if arguments.export:
            model.export(arguments.export, vocabularies, matrices=torch.float16)
        if epoch == arguments.epochs - 1:
            model.export(arguments.work / "dense", vocabularies)
        average.swap(model)
        report |= {"epoch": epoch + 1, "sparse": sparse, "train_loss": summed.item() / max(1, tokens), "steps": step, "seconds": seconds,
                   "rate": optimizer.param_groups[0]["lr"], "ffn_mean": ffn_seen, "attention_mean": attention_seen}
        log.write(json.dumps(report) + "\n")
        log.flush()
        opened = report.get("open", {})
        print(f"epoch {epoch + 1}/{epochs} train {report['train_loss']:.4f} valid {report['loss']:.4f} "
              f"WER {100 * report['wer']:.2f} PER {100 * report['per']:.2f} "
              f"open attention {100 * opened.get('all attention', 1):.1f} ffn {100 * opened.get('all feed_forward', 1):.1f} "
              f"{seconds:.0f} s", flush=True)
        partial = checkpoint.with_suffix(".partial")
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.values,
                    "average_steps": average.steps, "epoch": epoch, "step": step}, partial)
        partial.replace(checkpoint)
        if epoch == arguments.epochs - 1:
            (arguments.work / "dense.pt").write_bytes(checkpoint.read_bytes())
        if arguments.stop_after and step >= arguments.stop_after:
            break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--variant", choices=["spline", "softmax_twin"], default="spline")
    add("--data", type=Path, default=DATA, help="folder with train.tsv and valid.tsv")
    add("--work", type=Path, required=True, help="folder for checkpoints and the log")
    add("--export", type=Path, help="model directory to (re)write after every epoch")
    add("--hidden", type=int, default=160)
    add("--heads", type=int, default=4)
    add("--head-dim", type=int, default=32)
    add("--intermediate", type=int, default=640)
    add("--encoder-layers", type=int, default=4)
    add("--decoder-layers", type=int, default=3)
    add("--batch", type=int, default=256, help="words in a batch")
    add("--epochs", type=int, default=16, help="epochs before sparsification")
    add("--sparse-epochs", type=int, default=46, help="epochs with the gate penalty (the twin trains them without)")
    add("--rate", type=float, default=1.5e-3, help="peak learning rate")
    add("--sparse-rate", type=float, default=0.5, help="first rate of the sparse epochs, as a fraction of --rate")
    add("--warmup", type=float, default=0.04, help="part of the dense epochs")
    add("--weight-decay", type=float, default=0.02)
    add("--label-smoothing", type=float, default=0.1)
    add("--dropout", type=float, default=0.15)
    add("--noise", type=float, default=0.03, help="part of the decoder's input phones replaced at random")
    add("--average", type=float, default=0.9993, help="decay of the moving average of the weights")
    add("--ffn-penalty", type=float, default=0.12, help="times the sum over layers of the mean FFN activation")
    add("--attention-penalty", type=float, default=0.003, help="times the sum over sites of the mean ReLU score")
    add("--bf16", action=argparse.BooleanOptionalAction, default=True, help="matrix products in bfloat16, the rest in float32")
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=1)
    add("--progress", type=int, default=100, help="a line every so many steps; 0: none")
    add("--minutes", type=float, default=0, help="shorten the schedule to end after so many minutes; 0: never")
    add("--resume", action="store_true", help="continue from the last checkpoint in --work")
    add("--stop-after", type=int, default=0, help="stop after so many steps (trials)")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
