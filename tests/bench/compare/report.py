# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""The table (text and Markdown), compare.json, and plots of the ratios as SVG."""

from __future__ import annotations

import json
import math
import os
import platform
from pathlib import Path

HEADER = ["workload", "peer", "threads", "ours ms", "peer ms", "ratio", "min-max", "GFLOP/s ours", "peer", "tokens/s ours", "peer", "RSS MB ours",
          "peer", "difference", "verdict"]


def machine(simd_target: str, fma_peak_gflops: float) -> dict:
    """What the numbers were measured on."""
    processor = platform.processor() or "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
            break
    return {"processor": processor, "cores": len(os.sched_getaffinity(0)), "simd_target": simd_target,
            "fma_peak_gflops": round(fma_peak_gflops, 1), "system": f"{platform.system()} {platform.release()}"}


def verdict(entry: dict) -> str:
    """Who is quicker; undecided where the rounds do not agree."""
    if entry.get("kind") == "own":
        return entry.get("meaning", "")
    if entry["ratio_min"] > 1:
        word = "ours wins"
    elif entry["ratio_max"] < 1:
        word = "peer wins"
    else:
        word = "ours wins, not in every round" if entry["ratio"] >= 1 else "peer wins, not in every round"
    return word + (" (SoftMax twin)" if entry.get("twin") else "")


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}" if abs(value) >= 1e-3 else f"{value:.1e}"


def row(entry: dict) -> list[str]:
    """An entry as cells of the table."""
    return [entry["workload"], entry["peer"], str(entry["threads"]), _number(entry["ours_ms"]), _number(entry["peer_ms"]),
            f"{entry['ratio']:.2f}", f"{entry['ratio_min']:.2f}-{entry['ratio_max']:.2f}", _number(entry.get("gflops_ours")),
            _number(entry.get("gflops_peer")), _number(entry.get("tokens_per_s_ours"), 4), _number(entry.get("tokens_per_s_peer"), 4),
            _number(entry["ours_rss_mb"]), _number(entry["peer_rss_mb"]), _number(entry["max_abs_difference"], 2), verdict(entry)]


def text_table(entries: list[dict]) -> str:
    """Aligned columns."""
    rows = [HEADER] + [row(e) for e in entries]
    widths = [max(len(r[i]) for r in rows) for i in range(len(HEADER))]
    left = {0, 1, len(HEADER) - 1}
    lines = ["  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip() for r in rows]
    return "\n".join([lines[0], "-" * len(lines[0])] + lines[1:])


def _markdown(entries: list[dict]) -> str:
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "|".join("---" if i in (0, 1, len(HEADER) - 1) else "--:" for i in range(len(HEADER))) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row(e)) + " |" for e in entries])


def summary(entries: list[dict]) -> str:
    """A line for each peer: how often either side wins, and by how much in the geometric mean."""
    lines = []
    for peer in dict.fromkeys(e["peer"] for e in entries if e.get("kind") != "own"):
        ratios = [e["ratio"] for e in entries if e["peer"] == peer]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(f"{peer}: ours quicker in {sum(r > 1 for r in ratios)} of {len(ratios)}, peer quicker in {sum(r < 1 for r in ratios)}; "
                     f"geometric mean of the ratios {mean:.2f}")
    return "\n".join(lines)


def notes(entries: list[dict]) -> str:
    """How the peers ran, where there is a choice: a line for each peer and note."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        if entry.get("peer_note"):
            found.setdefault((entry["peer"], entry["peer_note"]), []).append(f"{entry['workload']} ({entry['threads']})")
    return "\n".join(f"{peer}: {note}: {'; '.join(names) if len(names) <= 6 else f'{len(names)} rows'}" for (peer, note), names in found.items())


def write_json(entries: list[dict], folder: Path) -> Path:
    """Writes compare.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.json").write_text(json.dumps(entries, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return folder / "compare.json"


def write(entries: list[dict], folder: Path) -> list[Path]:
    """Writes compare.json, compare.md and a plot for each number of threads; returns their paths."""
    paths = [write_json(entries, folder), folder / "compare.md"]
    if not entries:
        return paths[:1]
    m = entries[0]["machine"]
    about = (f"{m['processor']}, {m['cores']} cores, SIMD target {m['simd_target']}, fp32 FMA peak {m['fma_peak_gflops']} GFLOP/s a core. "
             "Times are medians; ratio = peer / ours, above 1 means that we are quicker; GFLOP/s count closed gates as computed.")
    paths[1].write_text(f"{about}\n\n{_markdown(entries)}\n\n{summary(entries)}\n\n{notes(entries)}\n", encoding="utf-8")
    for threads in sorted({e["threads"] for e in entries}):
        chosen = [e for e in entries if e["threads"] == threads and e.get("kind") != "own"]
        if chosen:
            paths.append(folder / f"ratios_{threads}_threads.svg")
            plot(chosen, f"Time of peer / ours, {threads} thread{'s' if threads > 1 else ''}", paths[-1])
    return paths


def plot(entries: list[dict], title: str, path: Path) -> None:
    """Horizontal bars on a log scale around 1.0, so that a win and a loss of the same factor are as long as each other."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "splineserve"
    workloads = list(dict.fromkeys(e["workload"] for e in entries))
    peers = list(dict.fromkeys(e["peer"] for e in entries))
    height = 0.8 / len(peers)
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.22 * len(workloads) * max(2, len(peers))), layout="constrained")
    colors = dict(zip(peers, ["#3b6fb6", "#d98f2b", "#5a9e57", "#9467bd", "#8c564b"]))
    for entry in entries:
        y = workloads.index(entry["workload"]) + (peers.index(entry["peer"]) - (len(peers) - 1) / 2) * height
        ratio, wins = entry["ratio"], entry["ratio"] >= 1
        axes.barh(y, abs(ratio - 1), left=min(1, ratio), height=height * 0.9, color=colors[entry["peer"]], hatch=None if wins else "////",
                  edgecolor="white" if wins else "black", linewidth=0.4)
        axes.errorbar(ratio, y, xerr=[[max(0, ratio - entry["ratio_min"])], [max(0, entry["ratio_max"] - ratio)]], color="black", linewidth=0.8, capsize=2)
        axes.annotate(f"{ratio:.2f}" + (" twin" if entry.get("twin") else ""), (max(ratio, entry["ratio_max"], 1), y), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=7)
    axes.set_xscale("log")
    low, high = min(0.8, min(e["ratio_min"] for e in entries) * 0.9), max(1.25, max(e["ratio_max"] for e in entries) * 1.3)
    ticks = [t for t in (0.1, 0.2, 0.5, 0.8, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30, 50, 100) if low <= t <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=8)
    axes.minorticks_off()
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(workloads)), workloads, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.3)
    axes.set_title(title + "\n(right of 1: ours is quicker; hatched, left of 1: the peer is)", fontsize=10)
    axes.legend([plt.Rectangle((0, 0), 1, 1, color=colors[p]) for p in peers], peers, fontsize=8, loc="best")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
