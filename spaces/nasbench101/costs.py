"""Parameters and multiply-adds of NAS-Bench-101 networks in closed form. They are no sum over parts: a vertex' width
depends on all edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..base import Costs, Indices
from .codec import OPERATIONS
from .live import LiveCells
from .matrices import edges

CHUNK = 50_000
"""Cells at a time: about 50 MB of working memory."""

TAPS = np.array([{"conv1x1": 1, "conv3x3": 9, "maxpool3x3": 0}[name] for name in OPERATIONS], dtype=np.int64)


@dataclass(frozen=True)
class CellShape:
    """``count`` cells of a network that are alike: channels that enter and leave, and pixels of their feature maps."""

    inputs: int
    outputs: int
    pixels: int
    count: int


@dataclass(frozen=True)
class CellCosts:
    """A vertex of c channels costs k^2 c^2 weights if it convolves, and I c if a projection of the I input channels
    feeds it.

    Each convolution has a batch norm of 2 c parameters and no bias. ``images``: images of one input (the tiles of a
    jigsaw).
    """

    nodes: int
    fixed_parameters: int
    fixed_macs: int
    shapes: tuple[CellShape, ...]
    images: int

    def __call__(self, indices: Indices) -> Costs:
        """Costs of ``indices: (n, D)``."""
        parameters = np.full(len(indices), self.fixed_parameters, dtype=np.int64)
        macs = np.full(len(indices), self.fixed_macs, dtype=np.int64)
        for start in range(0, len(indices), CHUNK):
            part = slice(start, start + CHUNK)
            self._add(indices[part], parameters[part], macs[part])
        return Costs(parameters, macs)

    def _add(self, indices: Indices, parameters: npt.NDArray[np.int64], macs: npt.NDArray[np.int64]) -> None:
        pairs = edges(self.nodes)
        live = LiveCells.of(indices, self.nodes)
        taps = np.ascontiguousarray(TAPS[indices[:, len(pairs) :].T])
        projected = {j: live.edges[e] for e, (i, j) in enumerate(pairs) if i == 0}
        widths: dict[int, npt.NDArray[np.int64]] = {}
        for shape in self.shapes:
            if shape.outputs not in widths:
                widths[shape.outputs] = live.channels(shape.outputs)
            channels = widths[shape.outputs]
            weights, norms = np.zeros(len(indices), dtype=np.int64), np.zeros(len(indices), dtype=np.int64)
            for v in range(1, self.nodes + 1):
                weights += taps[v - 1] * channels[v] ** 2
                norms += channels[v] * (taps[v - 1] > 0)
            for v, present in projected.items():
                norms += channels[v] * present
                weights += shape.inputs * channels[v] * present
            parameters += shape.count * (weights + 2 * norms)
            macs += self.images * shape.count * shape.pixels * weights
