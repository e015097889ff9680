#!/usr/bin/env python3
# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""How well a monitor of gate patterns tells wrong answers of `digits` from right ones, and other pictures from digits.

    python -m venv .venv && .venv/bin/pip install -r models/requirements.txt    # torch is not needed here
    .venv/bin/python models/monitor_digits.py                                   # prints the tables of the model card
    .venv/bin/python models/monitor_digits.py --plot docs/monitor_roc.svg --write models/repository/digits/1/reference.monitor

The patterns of the correctly classified training images are recorded by class (`splineserve-client monitor record`), once for each
selection of gates, and a server with all of these monitors judges the rest (`monitor check`). The score of a picture is the Hamming
distance of its pattern to the nearest one recorded for the class that the model puts it into. Beside it stands the usual score
that needs no monitor: one minus the largest softmax probability. Everything is seeded.

Exit status 0; 1 if a call failed; 2 for bad usage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

MODELS = Path(__file__).resolve().parent
sys.path.insert(0, str(MODELS))
sys.path.insert(0, str(MODELS / "training"))
from digits_data import splits  # noqa: E402
from evaluate import CallFailed, own_server  # noqa: E402

SEED = 2026
UNITS = 24  # of 96, in the selection by weight
SHIPPED = "reference"


@dataclass
class Selection:
    """Gates of one monitor, as options of `monitor record`."""

    title: str
    options: list[str]
    kind: str = "bits"


@dataclass
class Judged:
    """What the server says of a set of pictures."""

    distances: np.ndarray  # to the nearest pattern of the class
    answers: np.ndarray  # classes
    doubt: np.ndarray  # 1 - largest softmax probability
    gates: int = 0
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


def heaviest_units(folder: Path) -> list[int]:
    """Units of the last feed-forward network with the largest weight, in magnitude, to any class."""
    tensors = load_file(folder / "model.safetensors")
    to_class = tensors["head.weight"] @ tensors["encoder.layers.1.ffn.down_proj.weight"]
    return sorted(np.argsort(-np.abs(to_class).max(axis=0), kind="stable")[:UNITS].tolist())


def selections(folder: Path) -> dict[str, Selection]:
    """By name."""
    units = ",".join(map(str, heaviest_units(folder)))
    return {
        SHIPPED: Selection("all gates (shipped)", []),
        "ffn1": Selection("feed-forward, layer 1", ["--layers", "1", "--sites", "ffn"]),
        "ffn0": Selection("feed-forward, layer 0", ["--layers", "0", "--sites", "ffn"]),
        "ffn": Selection("feed-forward, both layers", ["--sites", "ffn"]),
        "units": Selection(f"feed-forward, layer 1, {UNITS} heaviest units", ["--layers", "1", "--sites", "ffn", "--units", units]),
        "attention0": Selection("self-attention, layer 0", ["--layers", "0", "--sites", "self"]),
        "attention1": Selection("self-attention, layer 1", ["--layers", "1", "--sites", "self"]),
        "attention": Selection("self-attention, both layers", ["--sites", "self"]),
        "hashed": Selection("all gates, hashed", [], kind="hashed"),
    }


def rotated(images: np.ndarray, degrees: float) -> np.ndarray:
    """About the middle, by bilinear interpolation; white comes in from outside."""
    angle = np.deg2rad(degrees)
    y, x = np.mgrid[0:8, 0:8] - 3.5
    from_y = np.cos(angle) * y - np.sin(angle) * x + 3.5
    from_x = np.sin(angle) * y + np.cos(angle) * x + 3.5
    y0, x0 = np.floor(from_y).astype(int), np.floor(from_x).astype(int)
    out = np.zeros_like(images)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (1 - np.abs(from_y - y0 - dy)) * (1 - np.abs(from_x - x0 - dx))
            inside = (y0 + dy >= 0) & (y0 + dy < 8) & (x0 + dx >= 0) & (x0 + dx < 8)
            values = images[:, np.clip(y0 + dy, 0, 7), np.clip(x0 + dx, 0, 7)]
            out += np.where(inside, weight * values, 0)
    return out


def other_pictures(images: np.ndarray) -> dict[str, np.ndarray]:
    """Pictures that are no digits, or no upright dark ones, by what they are called in the tables."""
    random = np.random.default_rng(SEED)
    shuffled = np.stack([random.permutation(image.reshape(64)).reshape(8, 8) for image in images])
    return {
        "uniform noise": random.integers(0, 17, images.shape).astype(np.float32),
        "shuffled pixels": shuffled,
        "inverted": 16 - images,
        "turned by 90°": np.rot90(images, axes=(1, 2)).copy(),
    }


def disturbed_digits(images: np.ndarray) -> dict[str, np.ndarray]:
    """Digits that the model often gets wrong."""
    random = np.random.default_rng(SEED + 1)
    noisy = np.clip(np.rint(images + random.normal(0, 5, images.shape)), 0, 16).astype(np.float32)
    return {"pixel noise (σ = 5)": noisy, "turned by 30°": rotated(images, 30), "turned by −30°": rotated(images, -30)}


class Client:
    """splineserve-client against one server."""

    def __init__(self, binary: Path, server: str) -> None:
        self.binary, self.server = binary, server

    def run(self, *arguments: str) -> str:
        """Standard output of a command."""
        command = [str(self.binary), *arguments, "--server", self.server]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.returncode != 0:
            raise CallFailed(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr.strip()}")
        return done.stdout


def write_images(path: Path, images: np.ndarray) -> Path:
    """As the client reads them."""
    blocks = ("\n".join(",".join(f"{x:.9g}" for x in row) for row in image) for image in images)
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def judge(client: Client, name: str, hashed: bool, path: Path) -> Judged:
    """`monitor check` of one file."""
    results = json.loads(client.run("monitor", "check", "digits", "--vectors", str(path), "--name", name, "--json"))["results"]
    verdicts = [result["monitor"] for result in results]
    logits = np.array([result["output"]["values"] for result in results], dtype=np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    known = np.array([verdict["known"] for verdict in verdicts])
    distances = np.array([0 if hashed and k else 1 if hashed else v["own"]["distance"] for v, k in zip(verdicts, known)])
    return Judged(distances, np.array([v["label"] for v in verdicts]), 1 - 1 / odds.sum(axis=1), verdicts[0]["gates"], known)


def auc(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties half."""
    both = np.concatenate((negatives, positives)).astype(np.float64)
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n, p = len(negatives), len(positives)
    return float((ranks[n:].sum() - p * (p + 1) / 2) / (n * p))


def roc(negatives: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true alarms for every threshold."""
    levels = np.concatenate(([np.inf], np.unique(np.concatenate((negatives, positives)))[::-1]))
    return (np.array([(negatives >= level).mean() for level in levels]), np.array([(positives >= level).mean() for level in levels]))


@dataclass
class Task:
    """A question to a score: does it put `positives` above `negatives`?"""

    title: str
    negatives: list[tuple[str, str]]  # set of pictures, and which of them: "all", "right", "wrong"
    positives: list[tuple[str, str]]


TASKS = [
    Task("wrong answers: test and validation", [("test", "right"), ("valid", "right")], [("test", "wrong"), ("valid", "wrong")]),
    *(Task(f"wrong answers: {name}", [(name, "right")], [(name, "wrong")]) for name in ("pixel noise (σ = 5)", "turned by 30°", "turned by −30°")),
    *(Task(name, [("test", "all")], [(name, "all")]) for name in ("uniform noise", "shuffled pixels", "inverted", "turned by 90°")),
]


class Scores:
    """Everything that was judged, and the true classes where there are any."""

    def __init__(self, judged: dict[str, dict[str, Judged]], labels: dict[str, np.ndarray]) -> None:
        self.judged, self.labels = judged, labels

    def pick(self, selection: str, parts: list[tuple[str, str]], doubt: bool = False) -> np.ndarray:
        """Scores of the named pictures."""
        chosen = []
        for name, which in parts:
            judged = self.judged[selection][name]
            values = judged.doubt if doubt else judged.distances
            right = judged.answers == self.labels[name] if name in self.labels else None
            chosen.append(values if which == "all" else values[right] if which == "right" else values[~right])
        return np.concatenate(chosen)


def print_aucs(chosen: dict[str, Selection], scores: Scores) -> dict:
    """The first table of the card."""
    report: dict = {}
    print("| gates | how many | " + " | ".join(task.title for task in TASKS) + " |")
    print("|---|---" + "|---" * len(TASKS) + "|")
    counts = [f"{len(scores.pick(SHIPPED, t.positives))} of {len(scores.pick(SHIPPED, t.negatives)) + len(scores.pick(SHIPPED, t.positives))}" for t in TASKS]
    print("| *pictures to be told* | | " + " | ".join(counts) + " |")
    rows = [(s.title, name, False) for name, s in chosen.items()] + [("*softmax probability, no monitor*", SHIPPED, True)]
    for title, name, doubt in rows:
        values = [auc(scores.pick(name, t.negatives, doubt), scores.pick(name, t.positives, doubt)) for t in TASKS]
        gates = "" if doubt else f"{next(iter(scores.judged[name].values())).gates:,}"
        print(f"| {title} | {gates} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
        report["softmax" if doubt else name] = dict(zip((t.title for t in TASKS), values))
    return report


def print_gammas(scores: Scores, names: list[str]) -> int:
    """The second table: what is accepted at several gamma. The one that accepts 95 % of the right validation answers is returned."""
    valid = np.sort(scores.pick(SHIPPED, [("valid", "right")]))
    shipped = int(valid[int(np.ceil(0.95 * len(valid))) - 1])
    columns = [("test, right", [("test", "right")]), ("test, wrong", [("test", "wrong")]),
               ("valid., right", [("valid", "right")]), ("valid., wrong", [("valid", "wrong")]), *((n, [(n, "all")]) for n in names)]
    print("\n| gamma | " + " | ".join(title for title, _ in columns) + " |\n|---" + "|---" * len(columns) + "|")
    for gamma in sorted({0, shipped // 4, shipped // 2, shipped, 3 * shipped // 2, 2 * shipped}):
        shares = [100 * (scores.pick(SHIPPED, parts) <= gamma).mean() for _, parts in columns]
        mark = "**" if gamma == shipped else ""
        print(f"| {mark}{gamma}{mark} | " + " | ".join(f"{share:.1f} %" for share in shares) + " |")
    return shipped


def plot(scores: Scores, chosen: dict[str, Selection], path: Path) -> None:
    """ROC of the main selections, one picture a task."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "splineserve", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    shown = [SHIPPED, "ffn", "ffn1", "attention"]
    figure, axes = plt.subplots(2, 4, figsize=(12, 6.4), sharex=True, sharey=True)
    for axis, task in zip(axes.flat, TASKS):
        for name in shown:
            lines = roc(scores.pick(name, task.negatives), scores.pick(name, task.positives))
            value = auc(scores.pick(name, task.negatives), scores.pick(name, task.positives))
            axis.plot(*lines, label=f"{chosen[name].title.replace(' (shipped)', '')}: {value:.3f}", linewidth=1.4)
        negatives, positives = scores.pick(SHIPPED, task.negatives, True), scores.pick(SHIPPED, task.positives, True)
        axis.plot(*roc(negatives, positives), label=f"softmax, no monitor: {auc(negatives, positives):.3f}", color="0.45", linestyle="--", linewidth=1.2)
        axis.plot([0, 1], [0, 1], color="0.85", linewidth=0.8)
        axis.set_title(f"{task.title} ({len(positives)} of {len(negatives) + len(positives)})", fontsize=9)
        axis.legend(fontsize=7, loc="lower right", frameon=False, title="AUC", title_fontsize=7)
    figure.supxlabel("false alarms", fontsize=9)
    figure.supylabel("true alarms", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    binaries = Path(os.environ.get("SPLINESERVE_BIN_DIR", MODELS.parent / "build" / "release" / "bin"))
    parser.add_argument("--bin", type=Path, default=binaries, help="folder of splineserve and splineserve-client")
    parser.add_argument("--plot", type=Path, metavar="SVG", help="draw the ROC curves")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the shipped monitor, with the gamma found on the validation images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the areas")
    arguments = parser.parse_args()
    for name in ("splineserve-client", "splineserve"):
        if not (arguments.bin / name).exists():
            parser.error(f"{arguments.bin / name} is not built (--bin says where to look)")
    parts = splits()
    train, train_labels = parts["train"]
    pictures = {"test": parts["test"][0], "valid": parts["valid"][0], **other_pictures(parts["test"][0]), **disturbed_digits(parts["test"][0])}
    labels = {name: parts["test"][1] for name in ("test", *disturbed_digits(parts["test"][0]))} | {"valid": parts["valid"][1]}
    chosen = selections(MODELS / "repository" / "digits" / "1")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # A repository without monitors beside the model: every one is made anew here.
        (folder / "repository" / "digits").mkdir(parents=True)
        for file in (MODELS / "repository" / "digits" / "1").iterdir():
            if file.suffix != ".monitor":
                (folder / "repository" / "digits" / file.name).symlink_to(file)
        images = write_images(folder / "train.csv", train)
        truth = folder / "labels.txt"
        truth.write_text("".join(f"{label}\n" for label in train_labels), encoding="utf-8")

        def record(client: Client, name: str, out: Path, *more: str) -> str:
            selection = chosen[name]
            return client.run("monitor", "record", "digits", "--vectors", str(images), "--labels", str(truth), "--only-correct",
                              "--kind", selection.kind, *selection.options, *more, "--out", str(out))

        try:
            with own_server(arguments.bin / "splineserve", folder / "repository") as server:
                for name in chosen:
                    text = record(Client(arguments.bin / "splineserve-client", server), name, folder / f"{name}.monitor")
                    if name == SHIPPED:
                        print(text)
            monitors = [f"--monitor={folder / name}.monitor" for name in chosen]
            with own_server(arguments.bin / "splineserve", folder / "repository", *monitors) as server:
                client = Client(arguments.bin / "splineserve-client", server)
                files = {name: write_images(folder / f"{i}.csv", x) for i, (name, x) in enumerate(pictures.items())}
                judged = {s: {name: judge(client, s, chosen[s].kind == "hashed", file) for name, file in files.items()} for s in chosen}
                scores = Scores(judged, labels)
                report = print_aucs(chosen, scores)
                gamma = print_gammas(scores, list(other_pictures(train[:1])))
                if arguments.write:
                    record(client, SHIPPED, arguments.write, "--gamma", str(gamma))
        except CallFailed as error:
            print(error, file=sys.stderr)
            return 1
    if arguments.plot:
        plot(scores, chosen, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
