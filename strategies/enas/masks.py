"""Which values a policy may draw at each decision, given those before it, so that whatever it draws is an architecture.
Free of torch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.nasbench101 import NASBench101
from nni_plugins.spaces.nasbench101.matrices import valid_matrices

from ..nao.tokens import Rows

Mask = npt.NDArray[np.bool_]
"""(n, K), or (1, K) where all rows have the same: which of the K = most values of any decision may be drawn."""


class Masks:
    """Of a space whose decisions are independent: decision d has its first ``counts[d]`` values."""

    def __init__(self, counts: npt.NDArray[np.int64]) -> None:
        self.fixed: Mask = np.arange(int(counts.max())) < counts[:, None]

    def at(self, rows: Rows, position: int) -> Mask:
        """For decision ``position`` after the first ``position`` columns of ``rows: (n, D)``; others are not looked at."""
        return self.fixed[position : position + 1]


class MatrixMasks(Masks):
    """Of NAS-Bench-101: an edge may be taken or left out if some valid matrix begins so. Operations are free.

    ``reachable[e]: (2^e,)``: whether the first e edges, read as a number, begin a valid matrix.
    """

    def __init__(self, space: NASBench101, counts: npt.NDArray[np.int64]) -> None:
        super().__init__(counts)
        self.reachable = [valid_matrices(space.nodes, space.max_edges)]
        while len(self.reachable[0]) > 1:
            begun: Mask = np.any(self.reachable[0].reshape(-1, 2), axis=1)
            self.reachable.insert(0, begun)

    def at(self, rows: Rows, position: int) -> Mask:
        if position + 1 >= len(self.reachable):
            return super().at(rows, position)
        begun = rows[:, :position] @ (1 << np.arange(position)[::-1])
        mask = np.zeros((len(rows), self.fixed.shape[1]), dtype=np.bool_)
        mask[:, :2] = self.reachable[position + 1][2 * begun[:, None] + np.arange(2)]
        return mask


def masks_of(space: SearchSpace, counts: npt.NDArray[np.int64]) -> Masks:
    """Of ``space``, whose decisions have ``counts: (D,)`` values.

    Raises:
        ConfigError: see :func:`check_decisions`.
    """
    check_decisions(space)
    return MatrixMasks(space, counts) if isinstance(space, NASBench101) else Masks(counts)


def check_decisions(space: SearchSpace) -> None:
    """Refuse a space of which a policy would sample what is no architecture.

    Raises:
        ConfigError: decisions exclude one another in a way that is not known here.
    """
    if hasattr(space, "valid") and not isinstance(space, NASBench101):
        raise ConfigError(
            f"{space.name}: not every combination of its decisions is an architecture, and ENAS' controller would sample the others, too.",
            "Choose a space whose decisions are independent, or nasbench101.",
        )
