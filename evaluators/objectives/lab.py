"""sRGB to CIE-Lab on the device, and the classes of colours (Zhang et al., "Colorful Image Colorization", ECCV 2016,
section 2.1).

Lab of IEC 61966-2-1 sRGB under illuminant D65, 2 degree observer, with the rounded constants that scikit-image has. The
arithmetic is float32: over all 2^24 colours L, a and b are within 7e-5 of a float64 computation (:func:`reference`),
and 27 labels differ from its own, of colours that lie within 3e-5 of the border between two bins (measured on a CPU).
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
import torch

BIN = 10
"""Side of a bin, in units of a and b."""
MATRIX = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""Linear RGB to XYZ."""
WHITE = (0.95047, 1.0, 1.08883)
LOW = -110
"""Of a and b, among the bins; the highest is its opposite."""


def linear() -> npt.NDArray[np.float64]:
    """Linear intensity of each of the 256 levels: (256,) in [0, 1]."""
    v = np.arange(256) / 255
    values: npt.NDArray[np.float64] = np.where(v > 0.04045, ((v + 0.055) / 1.055) ** 2.4, v / 12.92)
    return values


@cache
def _levels(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(linear()).float().to(device)


def lab(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``images: (B, 3, H, W)`` uint8 -> L in [0, 100], a and b, each (B, H, W) float32.

    Sums instead of a matrix product, which would lose digits where the user allows TF32 for products.
    """
    rgb = _levels(images.device).index_select(0, images.flatten().int()).view(images.shape).unbind(1)
    f = []
    for row, white in zip(MATRIX, WHITE, strict=True):
        t = (rgb[0] * (row[0] / white)).add_(rgb[1], alpha=row[1] / white).add_(rgb[2], alpha=row[2] / white)
        f.append(torch.where(t > 0.008856, t.pow(1 / 3), 7.787 * t + 16 / 116))
    x, y, z = f
    return 116 * y - 16, (x - y).mul_(500), (y - z).mul_(200)


def reference(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """``colours: (n, 3)`` uint8 RGB -> (n, 3) Lab in float64; for the bins and for tests."""
    t = linear()[colours] @ (np.array(MATRIX) / np.array(WHITE)[:, None]).T
    x, y, z = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@cache
def bins() -> npt.NDArray[np.int64]:
    """The 313 (a, b) bins, sorted: (313, 2), multiples of 10.

    They are the corners of all cells of the 10 x 10 grid that the convex hull of the sRGB gamut in the ab plane
    touches. A cell and the hull, both convex, touch unless an edge of either separates them. 216 colours span the same
    cells as all 2^24 do.
    """
    from scipy.spatial import ConvexHull

    lattice = np.array(list(product(range(0, 256, 51), repeat=3)), dtype=np.uint8)
    ab = reference(lattice)[:, 1:]
    edges = ConvexHull(ab).equations  # (edges, 3): n_a a + n_b b + d <= 0 inside
    starts = np.array(list(product(range(LOW, -LOW, BIN), repeat=2)))
    corners = starts[:, None] + BIN * np.array([(0, 0), (0, 1), (1, 0), (1, 1)])  # (cells, 4, 2)
    outside = (corners @ edges[:, :2].T + edges[:, 2]).min(1).max(1) > 0
    beside = ((starts > ab.max(0)) | (starts + BIN < ab.min(0))).any(1)
    found: npt.NDArray[np.int64] = np.unique(corners[~(outside | beside)].reshape(-1, 2), axis=0).astype(np.int64)
    return found


@cache
def _table(device: torch.device) -> torch.Tensor:
    """(rounded a / 10, rounded b / 10), both from LOW / 10 on, row by row -> the bin, or the nearest one where there is
    none: (23 * 23,).
    """
    side = range(LOW, -LOW + 1, BIN)
    points = np.array(list(product(side, repeat=2)))
    nearest = ((points[:, None] - bins()) ** 2).sum(2).argmin(1)
    return torch.from_numpy(nearest).to(device)


def labels(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a``, ``b``: (...) of sRGB colours -> (...) int64: the bin with the smallest distance, which is the one at the
    rounded tens.
    """
    low, side = LOW // BIN, 1 - 2 * LOW // BIN
    place = (a / BIN).round_().sub_(low).mul_(side).add_((b / BIN).round_().sub_(low))
    return _table(a.device).index_select(0, place.int().flatten()).view(a.shape)
