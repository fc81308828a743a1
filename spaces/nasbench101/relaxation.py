"""A cell of NAS-Bench-101 whose edges are there with a weight p in [0, 1], as differentiable search needs it.

What the discrete cell decides, the relaxed one takes the expectation of, as if edges and vertices were drawn
independently: vertex v is reached from the input with r_v = 1 - prod_u (1 - p_uv r_u), it feeds the output with q_v =
p_v,out r_v, and with a(k, m) it is the m-th of k that do. Each (k, m) gives it a width and a place in the output (both
as in :meth:`nni_plugins.spaces.nasbench101.live.LiveCells.channels`), and a vertex that does not feed the output keeps
a channel if any vertex that it feeds does. Where all p are 0 or 1, so are r, q, a and the masks of channels, and the
relaxed cell is the discrete one. Vertices are independent only at such corners; in between this is a smooth
interpolation and not the mean over all cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch

from .matrices import Edge


@dataclass(frozen=True)
class Piece:
    """The first ``length`` channels of a vertex, at channel ``start`` of the output, with a 0-d ``weight``."""

    start: int
    length: int
    weight: torch.Tensor


class Relaxed:
    """``edges``: the 0-d weight p of each possible edge."""

    def __init__(self, nodes: int, edges: Mapping[Edge, torch.Tensor]) -> None:
        self.nodes, self.edges = nodes, dict(edges)
        one = torch.ones_like(self.edges[0, 1])
        self.reached = {0: one}
        for v in range(1, nodes + 1):
            self.reached[v] = 1 - prod((1 - self.edges[u, v] * self.reached[u] for u in range(v)), start=one)
        self.feeds = {v: self.edges[v, nodes + 1] * self.reached[v] for v in range(1, nodes + 1)}
        self.shares = {v: self._shares(v) for v in range(1, nodes + 1)}

    def _shares(self, v: int) -> dict[tuple[int, int], torch.Tensor]:
        """{(k, m): weight} of vertex v being the m-th, from 0, of k that feed the output."""
        before = self._count(range(1, v))
        after = self._count(range(v + 1, self.nodes + 1))
        return {(m + n + 1, m): self.feeds[v] * b * a for m, b in enumerate(before) for n, a in enumerate(after)}

    def _count(self, vertices: range) -> list[torch.Tensor]:
        """The weight of exactly 0, 1, ... of ``vertices`` feeding the output."""
        counts = [torch.ones_like(self.edges[0, 1])]
        for v in vertices:
            q = self.feeds[v]
            some = [c * q for c in counts]
            none = [c * (1 - q) for c in counts]
            counts = [none[0], *(n + s for n, s in zip(none[1:], some, strict=False)), some[-1]]
        return counts

    def pieces(self, outputs: int) -> dict[int, list[Piece]]:
        """What each vertex gives to an output of ``outputs`` channels."""
        pieces = {}
        for v, shares in self.shares.items():
            pieces[v] = [
                Piece(m * (outputs // k) + min(m, outputs % k), outputs // k + (m < outputs % k), w)
                for (k, m), w in shares.items()
            ]
        return pieces

    def masks(self, outputs: int) -> dict[int, torch.Tensor]:
        """How much of each channel of each vertex there is: (outputs,) in [0, 1]."""
        pieces = self.pieces(outputs)
        masks: dict[int, torch.Tensor] = {}
        channel = torch.arange(outputs, device=self.feeds[1].device)
        for v in range(self.nodes, 0, -1):
            own = sum(
                (piece.weight * (channel < piece.length) for piece in pieces[v][1:]),
                pieces[v][0].weight * (channel < pieces[v][0].length),
            )
            unused = prod(
                (1 - self.edges[v, w] * masks[w] for w in range(v + 1, self.nodes + 1)), start=torch.ones_like(own)
            )
            masks[v] = own + (1 - self.feeds[v]) * (1 - unused)
        return masks
