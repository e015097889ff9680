#!/usr/bin/env python3
# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Rounds the matrices of a model directory to float16: half the file and half the memory of the server, which expands them in
registers. Biases, norms and gains stay as they are. The rounded model is a model of its own: its digest differs, and every answer is
exact for its weights. Needs nothing but Python. Where a product waits for its weights, as in generation for one caller, it takes half the time.

    models/store_float16.py repository/mine/1 repository/mine/2

Exit status 0; 1 if a number would overflow or a file cannot be read or written; 2 for bad usage.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import struct
import sys
from array import array
from pathlib import Path

FORMATS = {"F32": "f", "F64": "d"}  # what is rounded, as array names it
SIZES = {"F32": 4, "F64": 8, "F16": 2, "BF16": 2}  # bytes of a number


def rounded(name: str, tensor: dict, data: bytes) -> tuple[dict, bytes, float]:
    """A tensor's entry in the header, its bytes, and by how much a number has changed. ValueError if a number does not fit."""
    if len(tensor["shape"]) != 2 or tensor["dtype"] not in FORMATS:
        return tensor, data, 0.0
    numbers = array(FORMATS[tensor["dtype"]], data)
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name}: expected finite numbers, found infinity or NaN")
    try:
        out = struct.pack(f"<{len(numbers)}e", *numbers)  # to the nearest, ties to even
    except OverflowError:
        raise ValueError(f"{name}: expected numbers of at most 65504, found {max(map(abs, numbers)):g}") from None
    change = max((abs(x - y) for x, y in zip(numbers, struct.unpack(f"<{len(numbers)}e", out))), default=0.0)
    return tensor | {"dtype": "F16"}, out, change


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def checked(name: str, tensor: object) -> tuple[int, int]:
    """Where a tensor's numbers begin and end. ValueError if its entry in the header is no such thing."""
    if not isinstance(tensor, dict) or tensor.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name}: expected dtype, shape and data_offsets, found {json.dumps(tensor)[:100]}")
    dtype, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SIZES:
        raise ValueError(f"{name}: expected a dtype of {', '.join(SIZES)}, found {json.dumps(dtype)[:100]}")
    for field, value in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(value, list) or not all(map(is_count, value)):
            raise ValueError(f"{name}: {field}: expected a list of whole numbers, found {json.dumps(value)[:100]}")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * SIZES[dtype]:
        raise ValueError(f"{name}: expected {math.prod(shape) * SIZES[dtype]} bytes of numbers, found data_offsets {offsets}")
    return offsets[0], offsets[1]


def read(path: Path) -> tuple[dict, bytes]:
    """Header and data of a safetensors file. ValueError if it is none, or not whole: tensors must fill it without gaps."""
    content = path.read_bytes()
    try:
        size = struct.unpack_from("<Q", content)[0]
        header = json.loads(content[8 : 8 + size])
    except (struct.error, ValueError, RecursionError) as error:
        raise ValueError(f"expected a safetensors file, found something else ({error})") from None
    if not isinstance(header, dict):
        raise ValueError("expected a safetensors file, found a header that is no JSON object")
    data = content[8 + size :]
    spans = sorted((*checked(name, tensor), name) for name, tensor in header.items() if name != "__metadata__")
    filled = 0
    for begin, end, name in spans:
        if begin != filled:
            raise ValueError(f"{name}: data_offsets: expected to begin at {filled}, where the tensor before it ends, found {begin}")
        filled = end
    if filled != len(data):
        raise ValueError(f"expected {filled} bytes of numbers, found {len(data)}")
    return header, data


def write(path: Path, content: bytes) -> None:
    """Whole, or not at all."""
    partial = path.with_name("." + path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.chmod(0o644)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def store(source: Path, target: Path) -> str:
    """Makes `target` a copy of the model directory `source` with rounded matrices; the weights appear whole or not at all."""
    for folder in (source, target):
        if (folder / "model.safetensors.index.json").exists():
            raise ValueError(f"{folder}: expected one model.safetensors, found shards; save them as one file first")
    if not (source / "config.json").exists():
        raise ValueError(f"{source}: expected a model directory with a config.json, found none")
    stored, parts, offset, worst, changed = {}, [], 0, 0.0, 0
    try:
        header, data = read(source / "model.safetensors")
        for name, tensor in header.items():
            if name == "__metadata__":
                stored[name] = tensor
                continue
            begin, end = tensor["data_offsets"]
            entry, part, change = rounded(name, tensor, data[begin:end])
            changed += entry["dtype"] != tensor["dtype"]
            worst = max(worst, change)
            stored[name] = entry | {"data_offsets": [offset, offset + len(part)]}
            parts.append(part)
            offset += len(part)
    except ValueError as error:
        raise ValueError(f"{source / 'model.safetensors'}: {error}") from None
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        # Not monitors, which hold the digest of the weights that they were recorded with.
        if path.is_file() and path.name != "model.safetensors" and path.suffix != ".monitor" and not source.samefile(target):
            shutil.copyfile(path, target / path.name)
    text = json.dumps(stored, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8
    write(target / "model.safetensors", struct.pack("<Q", len(text)) + text + b"".join(parts))
    message = (f"{target}: {changed} of {len(parts)} tensors rounded to float16, {len(data) / 1e6:.2f} -> {offset / 1e6:.2f} MB, "
               f"no number changed by more than {worst:.2g}")
    monitors = sorted(path.name for path in target.glob("*.monitor"))
    if monitors and not (changed == 0 and source.samefile(target)):
        message += f"\nremove or record again, unless they are of these weights: {', '.join(monitors)}"
    return message


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="FROM", help="model directory with config.json and model.safetensors")
    parser.add_argument("target", type=Path, metavar="TO", help="directory to write; may be FROM itself")
    arguments = parser.parse_args()
    try:
        print(store(arguments.source, arguments.target))
    except (OSError, ValueError) as error:
        print(f"store_float16: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
