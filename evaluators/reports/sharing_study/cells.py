"""Which cells a study compares, which of them are the same function, and how many matrices they share. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.codec import OPERATIONS

from ...errors import ConfigError

MOST = 1000
"""Cells of a study: every one of them is trained alone, several times."""


@dataclass(frozen=True)
class Cells:
    """``indices``: (A, D); ``names``: genotypes; ``numbers``: rows of ``space.enumerate()``; ``twins``: pairs of
    positions of cells with equal canonical forms; ``groups``: (A,) number of shared matrices, or None where the study
    is not about it."""

    indices: Indices
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    twins: tuple[tuple[int, int], ...]
    groups: npt.NDArray[np.int64] | None = None


def _cells(space: RecurrentCell, indices: Indices, groups: npt.NDArray[np.int64] | None = None) -> Cells:
    architectures = space.decode(indices)
    forms = [space.canonical(architecture) for architecture in architectures]
    twins = tuple((a, b) for a in range(len(forms)) for b in range(a + 1, len(forms)) if forms[a] == forms[b])
    names = tuple(space.to_string(architecture) for architecture in architectures)
    return Cells(indices, names, tuple(space.identifier(architecture) for architecture in architectures), twins, groups)


def whole_space(space: RecurrentCell) -> Cells:
    """All cells; 32 of two nodes, which are 26 functions with 6 pairs of twins.

    Raises:
        ConfigError: more cells than a study can train.
    """
    if space.size > MOST:
        raise ConfigError(
            f"a study trains every cell alone, at most {MOST:,}, but {space.nodes} nodes give {space.size:,}.",
            "Use 2 or 3 nodes.",
        )
    return _cells(space, space.enumerate())


def amount_cells(space: RecurrentCell, fixed: Sequence[str] = ("tanh", "tanh")) -> Cells:
    """The 12 cells of three nodes whose first two are fixed, the second reading the first (paper, section 5).

    Group g has the third node's input g, so that g matrices of the fixed nodes lie on the way to it: none, W_1, or W_1
    and W_2. All cells share these (and W_0 and the words' vectors), for the output is the mean of all nodes; what
    differs is whether the searched node reads what they make. With ``sharing="edge_op"`` each cell's third matrix is
    its own; with ``"edge"`` the four of a group, and with ``"node"`` all twelve, have one in common. The paper does not
    say which activations are fixed.

    Raises:
        ConfigError: another number of nodes, or unknown activations.
    """
    if space.nodes != 3:
        raise ConfigError(f"the amount of sharing is studied with 3 nodes, but the space has {space.nodes}.")
    if len(fixed) != 2 or not set(fixed) <= set(OPERATIONS):
        raise ConfigError(f"fixed: two of {', '.join(OPERATIONS)} are needed, but got {', '.join(map(str, fixed))}.")
    first, second = fixed
    found = [[(first, 0), (second, 1), (operation, source)] for source in range(3) for operation in OPERATIONS]
    choices = [
        {"op_1": c[0][0], "input_2": "1", "op_2": c[1][0], "input_3": str(c[2][1]), "op_3": c[2][0]} for c in found
    ]
    indices = space.encode([space.architecture(choice) for choice in choices])
    return _cells(space, indices, np.array([cell[2][1] for cell in found], dtype=np.int64))
