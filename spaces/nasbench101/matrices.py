"""Matrices of edges as numbers, and which of them are valid.

V = nodes + 2 vertices, E = V (V - 1) / 2 possible edges, in the order of the matrix' rows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..base import Indices

Edge = tuple[int, int]
"""(source vertex, target vertex), source < target."""

Codes = npt.NDArray[np.int32]
"""Matrices as numbers: E bits, the first edge highest, so that ascending numbers are ascending rows of indices."""


def edges(nodes: int) -> list[Edge]:
    """All possible edges, row by row."""
    return [(i, j) for i in range(nodes + 1) for j in range(i + 1, nodes + 2)]


def codes(indices: Indices, count: int) -> Codes:
    """The first ``count`` columns of ``indices: (n, D)`` as numbers: (n,)."""
    numbers = np.zeros(len(indices), dtype=np.int32)
    for e in range(count):
        numbers = (numbers << 1) | indices[:, e]
    return numbers


def bits(numbers: Codes, count: int) -> Indices:
    """Inverse of :func:`codes`: (n, count) int8."""
    rows = np.empty((len(numbers), count), dtype=np.int8)
    for e in range(count):
        rows[:, e] = (numbers >> (count - 1 - e)) & 1
    return rows


@lru_cache(maxsize=16)
def valid_matrices(nodes: int, max_edges: int) -> npt.NDArray[np.bool_]:
    """(2^E,): whether the matrix of that number has at most ``max_edges`` edges and a path from input to output."""
    pairs = edges(nodes)
    numbers = np.arange(1 << len(pairs), dtype=np.int32)
    count = np.zeros(len(numbers), dtype=np.int8)
    into = [np.full(len(numbers), v == 0) for v in range(nodes + 2)]
    for e, (i, j) in enumerate(pairs):
        present = ((numbers >> (len(pairs) - 1 - e)) & 1).astype(np.bool_)
        count += present
        into[j] |= into[i] & present
    return into[-1] & (count <= max_edges)


@lru_cache(maxsize=16)
def valid_codes(nodes: int, max_edges: int) -> Codes:
    """The numbers of all valid matrices, ascending."""
    return np.flatnonzero(valid_matrices(nodes, max_edges)).astype(np.int32)
