"""Arithmetic on many cells at once: what is live in them, on how many paths it lies, how wide it is and which cells are
isomorphic.

V vertices, E possible edges and n cells as in :mod:`nni_plugins.spaces.nasbench101.matrices`; arrays have the cells
last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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


def distinct(nodes: int, max_edges: int) -> Indices:
    """The first index row of each distinct cell, padded with isolated vertices before the output: (cells, E + nodes),
    in order.
    """
    matrices = bits(valid_codes(nodes, max_edges), len(edges(nodes)))
    live = LiveCells.of(matrices, nodes)
    inner = live.vertices[1:-1]
    whole = (matrices == live.edges.T).all(axis=1) & (inner[:-1] >= inner[1:]).all(axis=0)
    parts = []
    for count in range(nodes + 1):
        chosen = matrices[whole & (inner.sum(axis=0) == count)]
        operations = np.indices((len(OPERATIONS),) * count, dtype=np.int8).reshape(count, len(OPERATIONS) ** count).T
        operations = np.pad(operations, ((0, 0), (0, nodes - count)))
        parts.append(
            np.concatenate([np.repeat(chosen, len(operations), axis=0), np.tile(operations, (len(chosen), 1))], axis=1)
        )
    labelled = np.concatenate(parts)
    labelled = labelled[np.lexsort(labelled.T[::-1])]
    _, first = np.unique(LiveCells.of(labelled, nodes).keys(labelled[:, matrices.shape[1] :]), return_index=True)
    cells: Indices = labelled[np.sort(first)]
    return cells
