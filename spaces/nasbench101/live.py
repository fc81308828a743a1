"""Arithmetic on many cells at once: what is live in them, on how many paths it lies, how wide it is and which cells are
isomorphic.

V vertices, E possible edges and n cells as in :mod:`nni_plugins.spaces.nasbench101.matrices`; arrays have the cells
last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from ..base import Indices
from .codec import OPERATIONS
from .matrices import bits, edges, valid_codes


@dataclass(frozen=True)
class LiveCells:
    """What lies on a path from input to output. ``edges``: (E, n) bool, ``vertices``: (V, n) bool."""

    nodes: int
    edges: npt.NDArray[np.bool_]
    vertices: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, indices: Indices, nodes: int) -> LiveCells:
        """From the edges in the first columns of ``indices: (n, D)``."""
        pairs = edges(nodes)
        present = np.ascontiguousarray(indices[:, : len(pairs)].T).astype(np.bool_)
        into = np.zeros((nodes + 2, len(indices)), dtype=np.bool_)
        out = np.zeros_like(into)
        into[0] = out[-1] = True
        for e, (i, j) in enumerate(pairs):
            into[j] |= into[i] & present[e]
        for e, (i, j) in reversed(list(enumerate(pairs))):
            out[i] |= out[j] & present[e]
        vertices = into & out
        for e, (i, j) in enumerate(pairs):
            present[e] &= vertices[i] & vertices[j]
        return cls(nodes, present, vertices)

    def path_counts(self) -> npt.NDArray[np.int64]:
        """On how many paths each edge, then each vertex between input and output lies: (E + nodes, n).

        They are the paths from the input to it, times those from it to the output.
        """
        pairs = edges(self.nodes)
        into = np.zeros(self.vertices.shape, dtype=np.int64)
        out = np.zeros_like(into)
        into[0] = out[-1] = 1
        for e, (i, j) in enumerate(pairs):
            into[j] += into[i] * self.edges[e]
        for e, (i, j) in reversed(list(enumerate(pairs))):
            out[i] += out[j] * self.edges[e]
        counts = np.empty((len(pairs) + self.nodes, len(into[0])), dtype=np.int64)
        for e, (i, j) in enumerate(pairs):
            counts[e] = into[i] * out[j] * self.edges[e]
        counts[len(pairs) :] = into[1:-1] * out[1:-1]
        return counts

    def channels(self, outputs: int) -> npt.NDArray[np.int64]:
        """Channels of every vertex in a cell with ``outputs`` channels: (V, n), zero where a vertex is dead, and for
        the input.

        Those that feed the output share its channels equally, and the first of them take one more each of what remains;
        any other has as many as the widest that it feeds (Ying et al., section 2.2; UnNAS' official code).
        """
        pairs = edges(self.nodes)
        feeds = {i: self.edges[e] for e, (i, j) in enumerate(pairs) if j == self.nodes + 1 and i}
        feeding: npt.NDArray[np.int64] = np.sum(list(feeds.values()), axis=0, dtype=np.int64)
        share, rest = np.divmod(outputs, np.maximum(feeding, 1))
        channels = np.zeros((self.nodes + 2, len(feeding)), dtype=np.int64)
        channels[-1] = outputs
        rank = np.zeros_like(feeding)
        for v, feed in feeds.items():
            channels[v] = feed * (share + (rank < rest))
            rank += feed
        for v in range(self.nodes - 1, 0, -1):
            for e, (i, j) in enumerate(pairs):
                if i == v and j <= self.nodes:
                    wider = self.edges[e] & ~feeds[v]
                    np.maximum(channels[v], channels[j] * wider, out=channels[v])
        return channels

    def keys(self, operations: npt.NDArray[np.int8]) -> npt.NDArray[np.uint64]:
        """A number for each cell that isomorphic cells share: (n,). ``operations``: (n, nodes).

        The same refinement of vertices as the benchmark's hash
        (:meth:`nni_plugins.spaces.nasbench101.codec.Cell.hash`), with sums of mixed 64-bit numbers in place of sorted
        digests.
        """
        pairs = edges(self.nodes)
        states = np.zeros(self.vertices.shape, dtype=np.uint64)
        states[1:-1] = operations.T
        states[0], states[-1] = 3, 4
        for e, (i, j) in enumerate(pairs):
            states[i] += self.edges[e] * np.uint64(16)
            states[j] += self.edges[e] * np.uint64(256)
        for _ in range(self.nodes + 2):
            forward, backward = _mix(states + np.uint64(1)), _mix(states + np.uint64(2))
            ins, outs = np.zeros_like(states), np.zeros_like(states)
            for e, (i, j) in enumerate(pairs):
                ins[j] += forward[i] * self.edges[e]
                outs[i] += backward[j] * self.edges[e]
            states = _mix(_mix(_mix(states) + ins) + outs)
        keys: npt.NDArray[np.uint64] = (_mix(states) * self.vertices).sum(axis=0, dtype=np.uint64)
        return keys


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64-bit numbers that scatters them (Stafford's variant 13, as in SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Plan:
    """How to run one cell. ``sources[v]``: the live vertices that feed v; ``channels[v]``: 0 for a dead vertex."""

    sources: tuple[tuple[int, ...], ...]
    channels: tuple[int, ...]

    @property
    def vertices(self) -> list[int]:
        """The live ones between input and output."""
        return [v for v in range(1, len(self.channels) - 1) if self.channels[v]]


@lru_cache(maxsize=4096)
def plan(row: tuple[int, ...], nodes: int, outputs: int) -> Plan:
    """The plan of the cell with the edges ``row: (E,)`` in a cell of ``outputs`` channels."""
    live = LiveCells.of(np.array([row], dtype=np.int8), nodes)
    present: Sequence[bool] = live.edges[:, 0].tolist()
    sources: list[list[int]] = [[] for _ in range(nodes + 2)]
    for (i, j), there in zip(edges(nodes), present, strict=True):
        if there:
            sources[j].append(i)
    return Plan(tuple(map(tuple, sources)), tuple(live.channels(outputs)[:, 0].tolist()))


@lru_cache(maxsize=4)
def whole_matrices(nodes: int, max_edges: int) -> tuple[Indices, ...]:
    """For 0, 1, ..., ``nodes`` operations all matrices, as rows of edges (m, E), whose first so many vertices, and no
    other, and all of whose edges, are on a path.
    """
    matrices = bits(valid_codes(nodes, max_edges), len(edges(nodes)))
    live = LiveCells.of(matrices, nodes)
    inner = live.vertices[1:-1]
    whole = (matrices == live.edges.T).all(axis=1) & (inner[:-1] >= inner[1:]).all(axis=0)
    return tuple(matrices[whole & (inner.sum(axis=0) == count)] for count in range(nodes + 1))


def sample_distinct(rng: np.random.Generator, n: int, nodes: int, max_edges: int) -> Indices:
    """``n`` rows of :func:`distinct`'s cells, each cell equally likely: (n, E + nodes).

    A matrix with its operations is drawn uniformly, and kept with a probability of one to the number of ways in which
    its cell can be written down.
    """
    written = whole_matrices(nodes, max_edges)
    sizes = np.array([len(part) * len(OPERATIONS) ** count for count, part in enumerate(written)], dtype=np.float64)
    rows: list[npt.NDArray[np.int8]] = []
    while len(rows) < n:
        count = int(rng.choice(nodes + 1, p=sizes / sizes.sum()))
        matrix = written[count][rng.integers(0, len(written[count]))]
        row = np.concatenate([matrix, np.pad(rng.integers(0, len(OPERATIONS), size=count), (0, nodes - count))])
        if rng.random() * _ways(row.astype(np.int8), nodes, count) < 1:
            rows.append(row.astype(np.int8))
    return np.array(rows, dtype=np.int8).reshape(-1, len(edges(nodes)) + nodes)


def _ways(row: npt.NDArray[np.int8], nodes: int, count: int) -> int:
    """How many index rows of whole matrices are the same cell: its vertices in every order that keeps edges forward."""
    places, orders = np.array(edges(nodes)), _orders(nodes, count)
    matrix = np.zeros((nodes + 2, nodes + 2), dtype=np.int8)
    matrix[places[:, 0], places[:, 1]] = row[: len(places)]
    moved = matrix[orders[:, places[:, 0]], orders[:, places[:, 1]]]
    forward = moved.sum(axis=1) == row[: len(places)].sum()  # of a backward edge nothing is left above the diagonal
    operations = row[len(places) :][orders[:, 1:-1] - 1]
    return len(set(map(bytes, np.concatenate([moved, operations], axis=1)[forward])))


@lru_cache(maxsize=16)
def _orders(nodes: int, count: int) -> npt.NDArray[np.int64]:
    """All orders of the first ``count`` inner vertices, the others staying in place: (count!, nodes + 2)."""
    rest = range(count + 1, nodes + 2)
    return np.array([(0, *order, *rest) for order in permutations(range(1, count + 1))])


def distinct(nodes: int, max_edges: int) -> Indices:
    """The first index row of each distinct cell, padded with isolated vertices before the output: (cells, E + nodes),
    in order.
    """
    parts = []
    for count, chosen in enumerate(whole_matrices(nodes, max_edges)):
        operations = np.indices((len(OPERATIONS),) * count, dtype=np.int8).reshape(count, len(OPERATIONS) ** count).T
        operations = np.pad(operations, ((0, 0), (0, nodes - count)))
        parts.append(
            np.concatenate([np.repeat(chosen, len(operations), axis=0), np.tile(operations, (len(chosen), 1))], axis=1)
        )
    labelled = np.concatenate(parts)
    labelled = labelled[np.lexsort(labelled.T[::-1])]
    _, first = np.unique(LiveCells.of(labelled, nodes).keys(labelled[:, len(edges(nodes)) :]), return_index=True)
    cells: Indices = labelled[np.sort(first)]
    return cells
