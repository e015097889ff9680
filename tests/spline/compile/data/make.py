# Copyright 2026 The SplineServe Authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the .npz files of this folder as NumPy writes them (numpy 2.4.6): the cubic (x - 1)^3 and |x| on two pieces, and x y."""

from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
X = np.array([-1.0, 0.0, 2.0])
# [k + 1, pieces, outputs], highest power first, about the left end of each piece.
C = np.array([[[1.0, 0.0], [1.0, 0.0]], [[-6.0, 0.0], [-3.0, 0.0]], [[12.0, -1.0], [3.0, 1.0]], [[-8.0, 1.0], [-1.0, 0.0]]])
np.savez(HERE / "piecewise.npz", x=X, c=C)
np.savez_compressed(HERE / "piecewise_compressed.npz", x=X.astype(np.float32), c=np.asfortranarray(C))
# B-splines of degree 1 on [0, 1] and [0, 2]: c are the values at the corners.
T0, T1 = np.array([0, 0, 1, 1]), np.array([0, 0, 2, 2])
np.savez(HERE / "tensor.npz", t0=T0, t1=T1, k=np.array([1, 1]), c=np.array([[0.0, 0.0], [0.0, 2.0]]))
np.savez_compressed(HERE / "tensor_2d_knots.npz", t=np.stack((T0, T1)).astype(">f8"), k=1, c=np.array([[0, 0], [0, 2]], dtype=">i2"))
