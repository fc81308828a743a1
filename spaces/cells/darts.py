"""The DARTS space and RobustDARTS' four subsets of it, described without weights.

Facts: Liu et al., "DARTS", ICLR 2019, section 3.1.1; Zela et al., "Understanding and Robustifying Differentiable
Architecture Search", ICLR 2020, section 3 (S1 to S4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..architecture import Architecture
from ..base import CostTable, Decision, ImageSize, Indices
from ..errors import SpaceError, closest, shown
from ..heads import Head
from ..images import sides
from .genotype import CellGenotype, Genotype, Pair
from .space import CELLS, DEAD, MACRO, CellSpace

if TYPE_CHECKING:
    from .edge_supernet import EdgeSupernet

NODES = 4
OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""In DARTS' order, after ``none``."""

Edge = tuple[int, int]
EDGES: tuple[Edge, ...] = tuple((i, j) for j in range(2, NODES + 2) for i in range(j))
"""(source, target), by target and then by source: the rows of DARTS' architecture weights."""


class EdgeSpace(CellSpace):
    """Four nodes that read two *different* earlier states each, through one operation of that edge's set.

    Decisions of a node: ``<cell>_<node>_inputs``, the two states it reads (node 2 has only one pair), and
    ``<cell>_<node>_op_0`` and ``op_1``, the operations on the lower and on the higher of them. So every combination is
    valid, and uniform sampling is uniform over cells. Parts are the 28 edges, ``none`` where a node does not read a
    state.
    """

    sets: Mapping[str, Mapping[Edge, tuple[str, ...]]]
    """Cell -> edge -> its operations."""
    positions: tuple[str, ...] | None = None
    """What a decision calls the operations, where the edges' sets differ."""

    def __init__(self, sets: Mapping[str, Mapping[Edge, tuple[str, ...]]], **macro: Any) -> None:
        self.sets = sets
        decisions = []
        for cell in CELLS:
            for node in range(2, NODES + 2):
                if node > 2:
                    decisions.append(
                        Decision(f"{cell}_{node}_inputs", tuple(f"{a}_{b}" for a, b in combinations(range(node), 2)))
                    )
                values = self.positions or sets[cell][0, node]
                decisions += [Decision(f"{cell}_{node}_op_{k}", values) for k in (0, 1)]
        super().__init__(decisions, NODES, **macro)

    # -- codecs --------------------------------------------------------------------------------------------------------
    def _rows(self, row: npt.NDArray[np.int8]) -> list[list[tuple[Pair, ...]]]:
        cells: list[list[tuple[Pair, ...]]] = []
        edges = iter(zip(row.tolist(), ((cell, edge) for cell in CELLS for edge in EDGES), strict=True))
        for _ in CELLS:
            nodes: list[list[Pair]] = [[] for _ in range(NODES)]
            for _ in EDGES:
                value, (cell, edge) = next(edges)
                if value:
                    nodes[edge[1] - 2].append((self.sets[cell][edge][value - 1], edge[0]))
            cells.append([tuple(node) for node in nodes])
        return cells

    def genotype(self, architecture: Architecture) -> Genotype:
        normal, reduce = self._rows(self.structure(self.encode([architecture]))[0])
        return Genotype(CellGenotype(tuple(normal), (2, 3, 4, 5)), CellGenotype(tuple(reduce), (2, 3, 4, 5)))

    def from_genotype(self, genotype: Genotype) -> Architecture:
        choices: dict[str, str] = {}
        for cell, built in zip(CELLS, (genotype.normal, genotype.reduce), strict=True):
            if built.concat != (2, 3, 4, 5):
                raise SpaceError(
                    f"{cell}_concat: cells of {self.name} join the states [2, 3, 4, 5], but got {list(built.concat)}."
                )
            for node, pairs in enumerate(built.nodes, start=2):
                place = f"{cell}.edges[{2 * (node - 2)}]"
                (first, a), (second, b) = sorted(pairs, key=lambda p: p[1])
                if a == b:
                    raise SpaceError(
                        f"{place}: node {node} reads state {a} twice; {self.name} has two different inputs a node.",
                        "See NASNet.",
                    )
                if node > 2:
                    choices[f"{cell}_{node}_inputs"] = f"{a}_{b}"
                for k, (name, source) in enumerate(((first, a), (second, b))):
                    allowed = self.sets[cell][source, node]
                    position = next(i for i, p in enumerate(pairs) if p[1] == source)
                    if name not in allowed:
                        where = f"{cell}.edges[{2 * (node - 2) + position}].operation"
                        raise SpaceError(
                            f"{where}: {name!r} is not an operation of {self.name} there; {closest(name, allowed)}"
                        )
                    choices[f"{cell}_{node}_op_{k}"] = self.positions[allowed.index(name)] if self.positions else name
        return self.architecture(choices)

    # -- structure and cost --------------------------------------------------------------------------------------------
    @cached_property
    def parts(self) -> tuple[Decision, ...]:  # type: ignore[override]
        return tuple(Decision(f"{cell}_{i}_{j}", ("none", *self.sets[cell][i, j])) for cell in CELLS for i, j in EDGES)

    def structure(self, indices: Indices) -> Indices:
        """(n, 28) int8: 0 where the edge is not there, otherwise 1 + the position in the edge's set."""
        rows = np.arange(len(indices))
        edges = np.zeros((len(indices), len(CELLS) * len(EDGES)), dtype=np.int8)
        column = base = 0
        for _ in CELLS:
            for node in range(2, NODES + 2):
                pairs = np.array(list(combinations(range(node), 2)), dtype=np.int64)
                chosen = pairs[indices[:, column]] if node > 2 else np.broadcast_to(pairs, (len(indices), 2))
                column += node > 2
                for k in (0, 1):
                    edges[rows, base + chosen[:, k]] = 1 + indices[:, column + k]
                column, base = column + 2, base + node
        return edges

    def _alive(self, structure: Indices) -> npt.NDArray[np.bool_]:
        table = np.zeros((len(self.parts), 1 + max(len(p.values) for p in self.parts)), dtype=np.bool_)
        for s, part in enumerate(self.parts):
            for v, name in enumerate(part.values):
                table[s, v] = name not in DEAD
        alive: npt.NDArray[np.bool_] = table[np.arange(len(self.parts)), structure]
        return alive

    def _flows(
        self, indices: Indices, last_node_only: bool = False
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Paths through each edge (n, 28), paths that end in each cell (n, 2), and whether the output depends on the
        image (n,). ``last_node_only``: of the paths only those that end in the last node.
        """
        alive = self._alive(self.structure(indices)).reshape(len(indices), 2, len(EDGES))
        into = np.zeros((len(indices), 2, NODES + 2), dtype=np.int64)
        reach = np.zeros((len(indices), 2, 2, NODES + 2), dtype=np.bool_)  # from input 0 and from input 1
        out = np.zeros_like(into)
        into[:, :, :2], out[:, :, NODES + 1 if last_node_only else 2 :] = 1, 1
        reach[:, :, 0, 0] = reach[:, :, 1, 1] = True
        for e, (i, j) in enumerate(EDGES):
            into[:, :, j] += into[:, :, i] * alive[:, :, e]
            reach[:, :, :, j] |= reach[:, :, :, i] & alive[:, :, e, None]
        for e, (i, j) in reversed(list(enumerate(EDGES))):
            out[:, :, i] += out[:, :, j] * alive[:, :, e]
        sources, targets = np.array(EDGES).T
        counts = into[:, :, sources] * out[:, :, targets] * alive
        reads: npt.NDArray[np.bool_] = np.asarray(reach[:, :, :, 2:].any(axis=3))
        depends = self.depends([[reads[:, kind, position] for position in (0, 1)] for kind in (0, 1)])
        return (counts * depends[:, None, None]).reshape(len(indices), -1), into[:, :, 2:].sum(axis=2), depends

    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Edge (i, j) lies on ``in(i) * out(j)`` paths of its cell, where every node also ends in the output (RLNAS' 30
        complete paths of the full cell); zero where the network's output does not depend on the image at all."""
        return self._flows(indices)[0]

    def last_node_path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """The same of the paths that end in the last node alone (AngleNAS' 16 of the full cell): (n, 28)."""
        return self._flows(indices, last_node_only=True)[0]

    def complete_paths(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Of both cells together."""
        _, ends, depends = self._flows(indices)
        paths: npt.NDArray[np.int64] = ends.sum(axis=1) * depends
        return paths

    def cost_table(self, image_size: ImageSize = 32) -> CostTable:
        image = sides(image_size)
        fixed = self.frame_costs((NODES, NODES), image)
        parameters = np.zeros((len(self.parts), max(len(p.values) for p in self.parts)), dtype=np.int64)
        macs = np.zeros_like(parameters)
        for s, ((kind, _), (source, _)) in enumerate((cell, edge) for cell in enumerate(CELLS) for edge in EDGES):
            for v, name in enumerate(self.parts[s].values):
                parameters[s, v], macs[s, v] = self.edge_costs(bool(kind), name, source, image)
            parameters[s, 0] = macs[s, 0] = 0
        return CostTable(self, *fixed, parameters, macs)

    # -- networks ------------------------------------------------------------------------------------------------------
    def supernet(self, affine: bool = True, pool_affine: bool | None = None) -> EdgeSupernet:
        """The weight-sharing network: every operation of its set on every edge of every cell, weights of its own in
        each.

        ``affine``: whether batch norms outside the stem learn scale and shift: as in RLNAS; without, it is the network
        of DARTS' search. ``pool_affine``: the same for the batch norms after pools, by default as ``affine``.
        """
        from .edge_supernet import EdgeSupernet

        return EdgeSupernet(self.name, affine, affine if pool_affine is None else pool_affine, **self.config())


class DARTS(EdgeSpace):
    __doc__ = f"""DARTS: 1.0377e9 normal times as many reduction cells.

    The defaults are DARTS' search network on CIFAR; its evaluation networks have ``channels=36, cells=20`` and, on ImageNet,
    ``channels=48, cells=14, classes=1000, stem="imagenet"``.

    Args:{MACRO}
    """

    name: ClassVar[str] = "darts"

    def __init__(
        self,
        channels: int = 16,
        cells: int = 8,
        classes: int = 10,
        stem: str = "cifar",
        reductions: int = 2,
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        sets = {cell: dict.fromkeys(EDGES, OPERATIONS) for cell in CELLS}
        super().__init__(
            sets,
            channels=channels,
            cells=cells,
            classes=classes,
            stem=stem,
            reductions=reductions,
            head=head,
            input_channels=input_channels,
        )

    def config(self) -> dict[str, Any]:
        return self._macro_config()

    def from_string(self, text: str) -> Architecture:
        """Also RLNAS' 28 integers, 0 for ``none`` and 1 to 7 for the operations, edges in our order."""
        numbers = (
            text.replace("|", " ").replace(",", " ").replace("[", " ").replace("]", " ").split()
            if len(text) < 1000
            else []
        )
        if numbers and all(re.fullmatch(r"-?[0-9]+", n) for n in numbers):
            return self._from_integers([int(n) for n in numbers])
        return super().from_string(text)

    def _from_integers(self, numbers: list[int]) -> Architecture:
        if len(numbers) != 2 * len(EDGES):
            raise SpaceError(
                f"{2 * len(EDGES)} integers are needed, one for each edge of both cells, but got {len(numbers)}."
            )
        cells = []
        for c, cell in enumerate(CELLS):
            nodes: list[list[Pair]] = [[] for _ in range(NODES)]
            for e, (i, j) in enumerate(EDGES):
                value = numbers[c * len(EDGES) + e]
                if not 0 <= value <= len(OPERATIONS):
                    raise SpaceError(f"{cell}_{i}_{j}: must be 0 (none) to {len(OPERATIONS)}, but got {value}.")
                if value:
                    nodes[j - 2].append((OPERATIONS[value - 1], i))
            for j, node in enumerate(nodes, start=2):
                if len(node) != 2:
                    raise SpaceError(f"{cell}: node {j} must read two states, but reads {len(node)}.")
            cells.append(CellGenotype(tuple(tuple(node) for node in nodes), (2, 3, 4, 5)))
        return self.from_genotype(Genotype(*cells))

    def to_integers(self, architecture: Architecture) -> list[int]:
        """RLNAS' form: the operation of each of the 28 edges, 0 for none."""
        row: list[int] = self.structure(self.encode([architecture]))[0].tolist()
        return row


_SHORT = {
    "skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3", "sep3": "sep_conv_3x3", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5",
}  # fmt: skip
_S1 = {
    "normal": "skip dil3, skip dil5, skip dil5, skip sep3, skip dil3, max skip, skip sep3, "
    "skip sep3, skip dil3, skip sep3, max skip, skip dil3, dil3 dil5, dil3 dil5",
    "reduce": "max avg, max dil3, max avg, max avg, skip dil5, max avg, max sep3, "
    "skip dil3, skip dil5, max avg, max avg, skip dil5, skip dil5, skip dil5",
}
_UNIFORM = {
    "S2": ("skip_connect", "sep_conv_3x3"),
    "S3": ("skip_connect", "sep_conv_3x3"),  # and none, which a derived cell never has
    "S4": ("noise", "sep_conv_3x3"),
}


class RobustDARTS(EdgeSpace):
    __doc__ = f"""RobustDARTS' spaces, two operations an edge.

    S1: a pair of its own for each edge, chosen by the authors among the strongest; decisions call them ``first`` and ``second``, and the
    genotype text names the operation. S2: skip connections and 3x3 separable convolutions. S3: the same and ``none``, which takes part
    in a differentiable search but never in its result. S4: noise and 3x3 separable convolutions.

    Args:
        variant: ``S1`` to ``S4``.{MACRO}
    """

    name: ClassVar[str] = "robustdarts"

    def __init__(
        self,
        variant: str = "S1",
        channels: int = 16,
        cells: int = 8,
        classes: int = 10,
        stem: str = "cifar",
        reductions: int = 2,
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        if variant not in ("S1", *_UNIFORM):
            raise SpaceError(f"variant: unknown variant {shown(variant)}; known: S1, S2, S3, S4")
        self.variant = variant
        if variant == "S1":
            self.positions = ("first", "second")
            listed = {
                cell: [tuple(_SHORT[n] for n in pair.split()) for pair in text.split(", ")]
                for cell, text in _S1.items()
            }
            sets = {cell: dict(zip(EDGES, listed[cell], strict=True)) for cell in CELLS}
        else:
            sets = {cell: dict.fromkeys(EDGES, _UNIFORM[variant]) for cell in CELLS}
        super().__init__(
            sets,
            channels=channels,
            cells=cells,
            classes=classes,
            stem=stem,
            reductions=reductions,
            head=head,
            input_channels=input_channels,
        )

    def config(self) -> dict[str, Any]:
        return {"variant": self.variant, **self._macro_config()}
