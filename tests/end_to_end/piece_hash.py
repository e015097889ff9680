# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Piece ids from returned bits. XXH3-128 comes from libxxhash, which shares no code with what is tested."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

from serving import bits_of


class _Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


# Debian's and Ubuntu's package libxxhash0, on which libxxhash-dev depends.
_hash = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
_hash.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
_hash.restype = _Hash128


def xxh3_128(data: bytes) -> bytes:
    """Canonical (big-endian) XXH3-128 with seed 0."""
    value = _hash(data, len(data))
    return struct.pack(">QQ", value.high, value.low)


def piece_id(piece: dict) -> bytes:
    """Of a piece that was asked for with BITS and without filters."""
    return xxh3_128(b"".join(bits_of(group["bits"]) for layer in piece["layers"] for group in layer["groups"]))


def sequence_id(pieces: Iterable[dict]) -> bytes:
    """Of all tokens' pieces in order."""
    return xxh3_128(b"".join(bits_of(piece["id"]) for piece in pieces))


def open_bits(group: dict) -> int:
    """Number of ones."""
    return sum(byte.bit_count() for byte in bits_of(group["bits"]))
