# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""The images of `digits` and their parts: scikit-learn's `load_digits`, drawn per class with a fixed seed."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 2026


def splits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`train`, `valid` and `test`, each images [N, 8, 8] with values 0..16 and labels [N]."""
    images, labels = load_digits(return_X_y=True)
    rest, test, rest_labels, test_labels = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=SPLIT_SEED)
    train, valid, train_labels, valid_labels = train_test_split(
        rest, rest_labels, test_size=0.15, stratify=rest_labels, random_state=SPLIT_SEED)
    parts = {"train": (train, train_labels), "valid": (valid, valid_labels), "test": (test, test_labels)}
    return {name: (x.reshape(-1, 8, 8).astype(np.float32), y) for name, (x, y) in parts.items()}
