"""From the probabilities of a mixture to architectures: the derived one first, then the next best. Free of torch.

Liu et al., "DARTS", ICLR 2019, section 2.4: of each node's incoming edges the two with the strongest operation other
than ``none`` are kept, each with that operation; ties go to the earlier edge and operation. On NAS-Bench-201 every edge
takes its strongest operation, ``none`` included (Dong & Yang, ICLR 2020) unless it is barred. PC-DARTS multiplies the operations'
probabilities with the edge's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import cast

import numpy as np
import numpy.typing as npt

from ..architecture import Architecture
from ..base import Indices, SearchSpace
from ..cells.darts import EDGES, NODES, EdgeSpace
from ..cells.space import CELLS
from ..nasbench201 import NASBench201

Floats = npt.NDArray[np.float64]
Operations = Mapping[str, Sequence[Sequence[float]]]
Shares = Mapping[str, Sequence[float]]


def _logs(operations: Sequence[Sequence[float]], shares: Sequence[float] | None) -> Floats:
    """Log-probabilities (edges, operations), with the edge's share, if there is one."""
    table = np.asarray(operations, dtype=np.float64)
    if shares is not None:
        table = table * np.asarray(shares, dtype=np.float64)[:, None]
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(table)
    return logs


def _best_sums(choices: Sequence[Floats], k: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The ``k`` largest sums of one entry from each list, best first, ties to earlier entries: sums (k,) and positions
    (k, lists).
    """
    sums, positions = np.zeros(1), np.zeros((1, 0), dtype=np.int64)
    for values in choices:
        order = np.argsort(-values, kind="stable")[:k]
        first, second = pairs_of_best(len(sums), len(order), k)
        joint = sums[first] + values[order[second]]
        best = np.argsort(-joint, kind="stable")[:k]
        positions = np.concatenate([positions[first[best]], order[second[best]][:, None]], axis=1)
        sums = joint[best]
    return sums, positions


def pairs_of_best(n: int, m: int, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places i < n and j < m in two lists, each best first, between which the ``k`` best sums are: those with
    (i + 1)(j + 1) <= k, for so many pairs come before (i, j) otherwise, none of which is worse. Row by row.
    """
    widths = np.minimum(m, k // np.arange(1, min(n, k) + 1))
    first = np.repeat(np.arange(len(widths)), widths)
    return first, np.arange(len(first)) - np.repeat(np.cumsum(widths) - widths, widths)


def _nodes(space: EdgeSpace, cell: str, table: Floats, none: bool) -> tuple[list[Floats], list[list[list[int]]]]:
    """For each node the sum of ``table`` over every choice (edges of a pair, operations of both), and that choice's
    index columns.
    """
    sums, columns = [], []
    for node in range(2, NODES + 2):
        rows = [e for e, (_, j) in enumerate(EDGES) if j == node]
        part = table[rows][:, 1:] if none else table[rows]
        values, chosen = [], []
        for p, (a, b) in enumerate(combinations(range(node), 2)):
            for first in range(part.shape[1]):
                for second in range(part.shape[1]):
                    values.append(part[a, first] + part[b, second])
                    chosen.append([p, first, second] if node > 2 else [first, second])
        sums.append(np.array(values))
        columns.append(chosen)
    return sums, columns


def independent_choices(
    space: SearchSpace, tables: Mapping[str, Floats], bar_none: bool = False
) -> tuple[list[Floats], list[list[list[int]]]]:
    """What is chosen independently of all else, an edge's operation on NAS-Bench-201, otherwise a node's two edges with
    theirs: for each the sum of ``tables`` (kind of cell -> (edges, operations)) over every choice, and that choice's
    index columns. One choice from each, their columns one after the other, is an architecture. ``bar_none``: no edge of
    NAS-Bench-201 can choose ``none``, its first operation; other spaces never do.
    """
    if isinstance(space, NASBench201):
        first = int(bar_none)
        sums = [row[first:] for row in tables["cell"]]
        return sums, [[[v + first] for v in range(len(row))] for row in sums]
    sums, columns = list[Floats](), list[list[list[int]]]()
    cells = cast(EdgeSpace, space)
    for cell in CELLS:
        none = tables[cell].shape[1] > len(cells.sets[cell][EDGES[0]])
        values, chosen = _nodes(cells, cell, tables[cell], none)
        sums, columns = sums + values, columns + chosen
    return sums, columns


def rows_of(columns: Sequence[list[list[int]]], positions: npt.NDArray[np.int64]) -> Indices:
    """Index rows (k, D) of the choices at ``positions: (k, choices)`` of :func:`independent_choices`."""
    parts = [np.array(chosen, dtype=np.int8)[at] for chosen, at in zip(columns, positions.T, strict=True)]
    rows: Indices = np.concatenate(parts, axis=1)
    return rows


def log_tables(operations: Operations, shares: Shares) -> dict[str, Floats]:
    """Log-probabilities (edges, operations) by kind of cell."""
    return {kind: _logs(operations[kind], shares.get(kind)) for kind in operations}


def ranked(
    space: SearchSpace, operations: Operations, shares: Shares, k: int, bar_none: bool = False
) -> tuple[Indices, Floats]:
    """The ``k`` most probable architectures, best first: rows (k, D) and log-probabilities (k,), up to a constant.

    The probability of an architecture is the product over its edges; the best one is what the papers derive.
    """
    values, columns = independent_choices(space, log_tables(operations, shares), bar_none)
    sums, positions = _best_sums(values, k)
    return rows_of(columns, positions), sums


def derived(space: SearchSpace, operations: Operations, shares: Shares, bar_none: bool = False) -> Architecture:
    """The architecture that the papers' rule derives."""
    return space.decode(ranked(space, operations, shares, 1, bar_none)[0])[0]


def describe(space: SearchSpace, operations: Operations, shares: Shares, bar_none: bool = False) -> str:
    """:func:`derived` in the space's native text."""
    return space.to_string(derived(space, operations, shares, bar_none))
