"""From the probabilities of a mixture to architectures: the derived one first, then the next best. Free of torch.

Liu et al., "DARTS", ICLR 2019, section 2.4: of each node's incoming edges the two with the strongest operation other
than ``none`` are kept, each with that operation; ties go to the earlier edge and operation. On NAS-Bench-201 every edge
takes its strongest operation, ``none`` included (Dong & Yang, ICLR 2020). PC-DARTS multiplies the operations'
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


def _best_sums(options: Sequence[Floats], k: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The ``k`` largest sums of one entry from each list, best first, ties to earlier entries: sums (k,) and positions
    (k, lists).
    """
    sums, positions = np.zeros(1), np.zeros((1, 0), dtype=np.int64)
    for values in options:
        order = np.argsort(-values, kind="stable")[:k]
        joint = (sums[:, None] + values[order][None, :]).ravel()
        best = np.argsort(-joint, kind="stable")[:k]
        positions = np.concatenate([positions[best // len(order)], order[best % len(order)][:, None]], axis=1)
        sums = joint[best]
    return sums, positions


def _nodes(space: EdgeSpace, cell: str, logs: Floats, none: bool) -> tuple[list[Floats], list[list[list[int]]]]:
    """For each node the log-probability of every choice (edges of a pair, operations of both), and that choice's index
    columns.
    """
    scores, columns = [], []
    for node in range(2, NODES + 2):
        rows = [e for e, (_, j) in enumerate(EDGES) if j == node]
        table = logs[rows][:, 1:] if none else logs[rows]
        values, chosen = [], []
        for p, (a, b) in enumerate(combinations(range(node), 2)):
            for first in range(table.shape[1]):
                for second in range(table.shape[1]):
                    values.append(table[a, first] + table[b, second])
                    chosen.append([p, first, second] if node > 2 else [first, second])
        scores.append(np.array(values))
        columns.append(chosen)
    return scores, columns


def ranked(space: SearchSpace, operations: Operations, shares: Shares, k: int) -> tuple[Indices, Floats]:
    """The ``k`` most probable architectures, best first: rows (k, D) and log-probabilities (k,), up to a constant.

    The probability of an architecture is the product over its edges; the best one is what the papers derive.
    """
    scores: list[Floats] = []
    columns: list[list[list[int]]] = []
    if isinstance(space, NASBench201):
        scores = list(_logs(operations["cell"], shares.get("cell")))
        columns = [[[v] for v in range(len(row))] for row in scores]
    else:
        cells = cast(EdgeSpace, space)
        for cell in CELLS:
            none = len(operations[cell][0]) > len(cells.sets[cell][EDGES[0]])
            values, chosen = _nodes(cells, cell, _logs(operations[cell], shares.get(cell)), none)
            scores, columns = scores + values, columns + chosen
    sums, positions = _best_sums(scores, k)
    rows = [[c for choices, at in zip(columns, row, strict=True) for c in choices[at]] for row in positions.tolist()]
    return np.array(rows, dtype=np.int8), sums


def derived(space: SearchSpace, operations: Operations, shares: Shares) -> Architecture:
    """The architecture that the papers' rule derives."""
    return space.decode(ranked(space, operations, shares, 1)[0])[0]


def describe(space: SearchSpace, operations: Operations, shares: Shares) -> str:
    """:func:`derived` in the space's native text."""
    return space.to_string(derived(space, operations, shares))
