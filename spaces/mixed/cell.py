"""Mixed cells: every node is the sum, over its incoming edges, of a weighted sum of all operations.

Edges that leave one state share what they compute of it: ReLU, pools with their batch norms, and the skip connection;
the node's shares of pools and identity are one small matrix product. ``none`` adds zero and is not computed. An
operation's weight in the mixture is folded into its last batch norm. Exact: the plain form gives the same outputs and
gradients (Liu et al., 2019, equation 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ..cells.network import drop_path
from ..convolutions import is_channels_last
from ..operation_costs import parse
from ..operations import FactorizedReduce, ReLUConvBN, average_pool
from .edge import Gain, MixedEdge, is_pool, joint, pooled
from .functional import combined, relu, shuffle
from .options import MixedOptions

Edge = tuple[int, int]


class MixedCell(nn.Module):
    """A cell of any space whose nodes sum mixtures over edges.

    Args:
        edges: (source, target) of each edge, states counted from the cell's first input.
        names: the operations of each edge; pools and skip connections of one name are the same function on all edges of
            a state.
        channels: of every state.
        reduction: edges from the first two states have stride 2.
        inputs: number of states that are given.
        pool_norms: whether pools are followed by a batch norm; NAS-Bench-201's are not.
    """

    drop_path: float = 0.0
    beta: float = 0.0
    """Weight of auxiliary skip connections."""

    def __init__(
        self,
        edges: Sequence[Edge],
        names: Sequence[tuple[str, ...]],
        channels: int,
        reduction: bool,
        options: MixedOptions,
        inputs: int,
        pool_norms: bool = True,
    ) -> None:
        super().__init__()
        k = options.partial_channels
        self.edge_list, self.names, self.inputs, self.options, self.reduction = (
            list(edges),
            list(names),
            inputs,
            options,
            reduction,
        )
        self.channels = channels // k
        self.nodes = 1 + max(j for _, j in edges)
        self.frozen = not options.convolutions
        self.edges = nn.ModuleList()
        self.pools = nn.ModuleDict()  # by state: its pools, each with the batch norm that all edges share
        self.gains = nn.ModuleList()  # by edge: scale and shift of those batch norms, where they learn
        self.auxiliary = nn.ModuleList()  # by edge, of DARTS-
        affine = options.affine and options.pool_affine
        for (i, _), listed in zip(edges, names, strict=True):
            stride = 2 if reduction and i < inputs else 1
            self.edges.append(MixedEdge(listed, self.channels, stride, options.affine))
            if options.auxiliary_skip:
                reduced = stride > 1
                self.auxiliary.append(
                    FactorizedReduce(channels, channels, options.affine) if reduced else nn.Identity()
                )
            pooled = [name for name in listed if is_pool(name)]
            if str(i) not in self.pools:
                self.pools[str(i)] = nn.ModuleDict()
            for name in pooled:
                if name not in cast(nn.ModuleDict, self.pools[str(i)]):
                    family, kernel = parse(name)
                    pool = (
                        average_pool(kernel, stride)
                        if family == "avg_pool"
                        else nn.MaxPool2d(kernel, stride, padding=kernel // 2)
                    )
                    bn = nn.BatchNorm2d(self.channels, affine=False) if pool_norms else nn.Identity()
                    cast(nn.ModuleDict, self.pools[str(i)])[name] = nn.ModuleList([pool, bn])
            self.gains.append(nn.ModuleDict({name: Gain(self.channels) for name in pooled} if affine else {}))

    def states(
        self, given: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], shares: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """All states from those ``given``. ``weights[e]``: (O,) of each edge, ``shares``: (E,) of the edges, or None
        for ones.
        """
        if shares is not None and self.options.shared:  # a weighted edge is an edge with weighted operations
            weights = [w * s for w, s in zip(weights, shares.unbind(), strict=True)]
        totals: list[torch.Tensor | None] = [*given, *[None] * (self.nodes - len(given))]
        bypass: list[torch.Tensor | None] = [None] * self.nodes
        for i in range(self.nodes - 1):
            leaving = [e for e, (source, _) in enumerate(self.edge_list) if source == i]
            if not leaving:
                continue
            if i >= len(given):
                totals[i] = self._close(totals[i], bypass[i])
            state = cast(torch.Tensor, totals[i])
            x = state[:, : self.channels] if self.options.partial_channels > 1 else state
            run = self._shared if self.options.shared else self._plain
            for e, y in zip(leaving, run(i, leaving, x, weights), strict=True):
                if len(self.auxiliary):
                    y = y + self.beta * self.auxiliary[e](x)
                if self.training and self.drop_path > 0:
                    y = drop_path(y, self.drop_path)
                j = self.edge_list[e][1]
                if self.options.partial_channels > 1:
                    y, rest = self._partial(e, y, state, shares)
                    bypass[j] = rest if bypass[j] is None else cast(torch.Tensor, bypass[j]) + rest
                elif shares is not None and not self.options.shared:
                    y = y * shares[e]
                totals[j] = y if totals[j] is None else cast(torch.Tensor, totals[j]) + y
        totals[-1] = self._close(totals[-1], bypass[-1])
        return [cast(torch.Tensor, t) for t in totals]

    # -- partial channels ----------------------------------------------------------------------------------------------
    def _partial(
        self, e: int, y: torch.Tensor, state: torch.Tensor, shares: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mixture of the first channels, and the others, which bypass it; joined and shuffled once a node, both
        being linear.
        """
        rest = state[:, self.channels :]
        rest = F.max_pool2d(rest, 2, 2, ceil_mode=True) if cast(MixedEdge, self.edges[e]).stride == 2 else rest
        if self.options.shared:
            return y, rest if shares is None else rest * shares[e]
        k = self.options.partial_channels
        whole = shuffle(torch.cat([y, rest], 1), k)
        return (whole if shares is None else whole * shares[e]), torch.zeros((), dtype=y.dtype, device=y.device)

    def _close(self, total: torch.Tensor | None, bypass: torch.Tensor | None) -> torch.Tensor | None:
        if bypass is None or total is None or not self.options.shared or self.options.partial_channels == 1:
            return total
        return shuffle(torch.cat([total, bypass], 1), self.options.partial_channels)

    # -- the two forms -------------------------------------------------------------------------------------------------
    def _plain(
        self, i: int, leaving: list[int], x: torch.Tensor, weights: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        pools, results = cast(nn.ModuleDict, self.pools[str(i)]), []
        seen: set[str] = set()  # a pool's statistics are the same on every edge of the state: they move once
        for e in leaving:
            gains = cast(nn.ModuleDict, self.gains[e])
            results.append(self._edge(e).plain(x, weights[e], pools, gains if len(gains) else None, seen))
            seen.update(self.names[e])
        return results

    def _edge(self, e: int) -> MixedEdge:
        return cast(MixedEdge, self.edges[e])

    def _shared(
        self, i: int, leaving: list[int], x: torch.Tensor, weights: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        edges = [self._edge(e) for e in leaving]
        named = [dict(zip(self.names[e], weights[e].unbind(), strict=True)) for e in leaving]
        parts: dict[str, torch.Tensor] = {}
        for name, pair in cast(nn.ModuleDict, self.pools[str(i)]).items():
            pool, bn = cast(nn.ModuleList, pair)
            parts[name] = pooled(pool, bn, x, fast=True)
        if edges[0].stride == 1 and any("skip_connect" in edge.names for edge in edges):
            parts["skip_connect"] = x
        needs = any(not isinstance(m, nn.Identity) for edge in edges for m in edge.operations.values())
        positive = relu(x, self.frozen) if needs else x
        dense = [
            n
            for n, m in edges[0].operations.items()
            if isinstance(m, ReLUConvBN) and all(n in edge.names for edge in edges)
        ]
        # dense convolutions of several edges are one where channels come first; depthwise ones are faster apart on a CPU
        dense = dense if len(edges) > 1 and not is_channels_last(x) else []
        results = [edge.convolved(x, positive, named[n], self.frozen, dense) for n, edge in enumerate(edges)]
        together = [joint(edges, name, positive, [w[name] for w in named]) for name in dense]
        if parts and any(len(cast(nn.ModuleDict, self.gains[e])) for e in leaving):
            extra = [self._gained(e, parts, named[n]) for n, e in enumerate(leaving)]
            results = [y if r is None else r.add_(y) for r, y in zip(results, extra, strict=True)]
        elif parts:
            zero = x.new_zeros(())
            table = torch.stack([torch.stack([w.get(name, zero).to(x.dtype) for name in parts]) for w in named])
            together.append(combined(table, list(parts.values())))
        if together:
            total = together[0]
            for y in together[1:]:
                total = total.add_(y)
            results = [y if r is None else r.add_(y) for r, y in zip(results, total.unbind(1), strict=True)]
        return [cast(torch.Tensor, r) for r in results]

    def _gained(self, e: int, parts: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> torch.Tensor:
        """Pools whose batch norms' scale and shift differ by edge."""
        gains, total = cast(nn.ModuleDict, self.gains[e]), None
        for name, y in parts.items():
            if name in weights:
                y = (cast(Gain, gains[name])(y) if name in gains else y) * weights[name]
                total = y if total is None else total + y
        return cast(torch.Tensor, total)
