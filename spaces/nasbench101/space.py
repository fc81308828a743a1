"""The NAS-Bench-101 space described without weights: Ying et al., "NAS-Bench-101", ICML 2019; networks as in UnNAS'
official code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..architecture import Architecture
from ..base import ENUMERATION_LIMIT, Decision, GraphEdge, ImageSize, Indices
from ..errors import SpaceError
from ..heads import Head
from ..images import ImageSpace, at_least, sides
from ..stems import Stem
from . import codec, live, matrices
from .codec import Cell
from .costs import CHUNK, CellCosts, CellShape

if TYPE_CHECKING:
    from .network import NASBench101Network
    from .supernet import NASBench101Supernet

ATTEMPTS = 10
"""How often a mutation or crossover that is not valid is drawn again."""


class NASBench101(ImageSpace):
    """Cells of up to ``nodes`` operations and ``max_edges`` edges between an input and an output.

    An architecture is a matrix, ``e_0_1`` to ``e_<nodes>_<nodes + 1>``, and an operation for each vertex between input
    and output, ``op_1`` to ``op_<nodes>``. It is valid if it has at most ``max_edges`` edges and a path from input to
    output. Vertices on no such path are allowed and change nothing, so cells of fewer vertices are in the space too;
    :meth:`canonical` is equal for equal cells. The default space has the benchmark's 423,624 distinct cells in
    139,359,042 architectures.

    The network is a stem, ``stacks`` stages of ``cells_per_stack`` equal cells, with 2x2 max pooling and twice the
    channels from one stage to the next, and a head.

    Args:
        nodes: operations of a cell, 1 to 5; a cell has two vertices more.
        max_edges: at most this many edges in a cell.
        channels: width of the first stage, at least ``nodes``.
        stacks: stages.
        cells_per_stack: cells of each stage.
        classes: outputs of the head.
        stem: ``cifar``, a 3x3 convolution; ``imagenet``, three of stride 2.
        head: see :class:`nni_plugins.spaces.heads.Head`.
        input_channels: channels of an image.
    """

    name: ClassVar[str] = "nasbench101"

    def __init__(
        self,
        nodes: int = 5,
        max_edges: int = 9,
        channels: int = 128,
        stacks: int = 3,
        cells_per_stack: int = 3,
        classes: int = 10,
        stem: str = "cifar",
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        at_least(nodes=(nodes, 1), max_edges=(max_edges, 1), stacks=(stacks, 1), cells_per_stack=(cells_per_stack, 1))
        if nodes > 5:
            raise SpaceError(f"nodes <= 5 must hold, but got nodes={nodes}.")
        at_least(
            channels=(channels, nodes)
        )  # each operation may feed the output, and then takes its share of the channels
        self.nodes, self.max_edges, self.channels, self.stacks, self.cells_per_stack = (
            nodes,
            max_edges,
            channels,
            stacks,
            cells_per_stack,
        )
        self.stem = Stem.of(stem, self.name, channels)
        self.edges = matrices.edges(nodes)
        decisions = [Decision(f"e_{i}_{j}", ("0", "1")) for i, j in self.edges]
        decisions += [Decision(f"op_{v}", codec.OPERATIONS) for v in range(1, nodes + 1)]
        super().__init__(decisions, classes, head, input_channels)

    def config(self) -> dict[str, Any]:
        cell = {"nodes": self.nodes, "max_edges": self.max_edges}
        macro = {
            "channels": self.channels,
            "stacks": self.stacks,
            "cells_per_stack": self.cells_per_stack,
            "stem": self.stem.kind,
        }
        return {**cell, **macro, **self._head_config()}

    @property
    def repeats(self) -> int:
        return self.stacks * self.cells_per_stack

    @property
    def size(self) -> int:
        """Number of valid architectures, counted when it is first asked for."""
        return int(len(matrices.valid_codes(self.nodes, self.max_edges)) * len(codec.OPERATIONS) ** self.nodes)

    def widths(self) -> list[tuple[int, int]]:
        """(channels that enter, channels that leave) of each cell of the network."""
        outputs = [self.channels * 2**stack for stack in range(self.stacks) for _ in range(self.cells_per_stack)]
        return list(zip([self.channels, *outputs], outputs, strict=False))

    def valid(self, indices: Indices) -> npt.NDArray[np.bool_]:
        """Whether each of ``indices: (n, D)`` has at most ``max_edges`` edges and a path from input to output: (n,)."""
        found: npt.NDArray[np.bool_] = matrices.valid_matrices(self.nodes, self.max_edges)[
            matrices.codes(indices, len(self.edges))
        ]
        return found

    # -- codecs --------------------------------------------------------------------------------------------------------
    def architecture(self, choices: Mapping[str, str]) -> Architecture:
        """Also accepts the benchmark's names of operations (``conv3x3-bn-relu``)."""
        names = {
            label: codec.OFFICIAL.get(value, value) if isinstance(value, str) else value
            for label, value in choices.items()
        }
        architecture = super().architecture(names)
        problem = self.problem(architecture.as_dict())
        if problem is not None:
            raise SpaceError(f"not an architecture of {self!r}: {problem[0]}", problem[1])
        return architecture

    def problem(self, choices: Mapping[str, str]) -> tuple[str, str] | None:
        """What keeps ``choices``, one of its values for each decision, from being valid, and what to do about it."""
        present = [choices[f"e_{i}_{j}"] for i, j in self.edges]
        if matrices.valid_matrices(self.nodes, self.max_edges)[int("".join(present), 2)]:
            return None
        count = present.count("1")
        if count > self.max_edges:
            return (
                f"matrix: at most max_edges={self.max_edges} edges are allowed, but got {count}.",
                "Leave edges out, or raise max_edges.",
            )
        return (
            "matrix: no path leads from the input to the output.",
            f"Set an edge into vertex {self.nodes + 1}, such as e_0_{self.nodes + 1}.",
        )

    def parse(self, text: str | Mapping[str, Any]) -> Architecture:
        """Also reads ``{"matrix": [[0, 1, ...], ...], "operations": [...]}``, as JSON or dictionary; see
        :meth:`from_cell`.
        """
        if isinstance(text, Mapping):
            return self.from_cell(codec.from_json(text)) if "matrix" in text else super().parse(text)
        start = text.lstrip()
        if start.startswith("{") and '"matrix"' in start:
            return self.from_cell(codec.from_json(start))
        return super().parse(text)

    def cell(self, architecture: Architecture) -> Cell:
        """The cell of an architecture: matrix and operations, not pruned."""
        return self._cell(self.encode([architecture])[0].tolist())

    def _cell(self, row: list[int]) -> Cell:
        entries = iter(row)
        vertices = range(self.nodes + 2)
        matrix = tuple((0,) * (i + 1) + tuple(next(entries) for _ in vertices[i + 1 :]) for i in vertices)
        return Cell(matrix, tuple(codec.OPERATIONS[value] for value in entries))

    def from_cell(self, cell: Cell) -> Architecture:
        """The architecture of a cell. One of fewer vertices gets isolated ones; one of too many vertices or edges is
        pruned first.

        Raises:
            SpaceError: no path from input to output, or too many vertices or edges after pruning.
        """
        if len(cell.matrix) > self.nodes + 2 or cell.edges > self.max_edges:
            cell = cell.prune()
        if len(cell.matrix) > self.nodes + 2:
            most = self.nodes + 2
            raise SpaceError(
                f"matrix: at most {most} vertices are allowed as nodes={self.nodes}, but {len(cell.matrix)} are connected."
            )
        cell = cell.pad(self.nodes + 2)
        choices = {f"e_{i}_{j}": str(cell.matrix[i][j]) for i, j in self.edges}
        return self.architecture({**choices, **{f"op_{v}": name for v, name in enumerate(cell.operations, start=1)}})

    def to_string(self, architecture: Architecture) -> str:
        """``<rows of the matrix>:<operations>``, for example ``010,001,000:conv3x3``."""
        return str(self.cell(architecture))

    def from_string(self, text: str) -> Architecture:
        return self.from_cell(codec.from_string(text))

    def canonical(self, architecture: Architecture) -> str:
        """The benchmark's MD5 of the pruned cell, by which its records are found."""
        return self.cell(architecture).hash()

    def keys(self, indices: Indices) -> npt.NDArray[np.uint64]:
        """A number for each of ``indices: (n, D)`` that is equal exactly where :meth:`canonical` is: (n,). Fit to find
        duplicates.
        """
        keys = np.empty(len(indices), dtype=np.uint64)
        for start in range(0, len(indices), CHUNK):
            part = indices[start : start + CHUNK]
            keys[start : start + CHUNK] = live.LiveCells.of(part, self.nodes).keys(part[:, len(self.edges) :])
        return keys

    def hash_many(self, indices: Indices) -> list[str]:
        """:meth:`canonical` of ``indices: (n, D)``: one MD5 for each distinct cell among them."""
        _, first, inverse = np.unique(self.keys(indices), return_index=True, return_inverse=True)
        digests = [self._cell(row).hash() for row in indices[first].tolist()]
        return [digests[k] for k in inverse.tolist()]

    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        cell = self.cell(architecture)
        alive = self.structure(self.encode([architecture]))[0].tolist()
        names = ["input", *(f"{v} {name}" for v, name in enumerate(cell.operations, start=1)), "output"]
        drawn = [(i, j, bool(a)) for (i, j), a in zip(self.edges, alive, strict=False) if cell.matrix[i][j]]
        return {"cell": [GraphEdge(names[i], names[j], "" if i else "projection", a) for i, j, a in drawn]}

    # -- drawing at random ---------------------------------------------------------------------------------------------
    def sample(self, rng: np.random.Generator, n: int) -> Indices:
        """Uniform over all valid architectures: a valid matrix, and an operation for each vertex."""
        valid = matrices.valid_codes(self.nodes, self.max_edges)
        edges = matrices.bits(valid[rng.integers(0, len(valid), size=n)], len(self.edges))
        return np.concatenate(
            [edges, rng.integers(0, len(codec.OPERATIONS), size=(n, self.nodes), dtype=np.int8)], axis=1
        )

    def enumerate(self) -> Indices:
        if self.size > ENUMERATION_LIMIT:
            return super().enumerate()  # says so
        edges = matrices.bits(matrices.valid_codes(self.nodes, self.max_edges), len(self.edges))
        operations = np.indices((len(codec.OPERATIONS),) * self.nodes, dtype=np.int8).reshape(self.nodes, -1).T
        return np.concatenate([np.repeat(edges, len(operations), axis=0), np.tile(operations, (len(edges), 1))], axis=1)

    def distinct(self) -> Indices:
        """One architecture of each distinct cell: (cells, D). The default space takes ten seconds."""
        return live.distinct(self.nodes, self.max_edges)

    def sample_distinct(self, rng: np.random.Generator, n: int) -> Indices:
        """Uniform over the distinct cells, as a sample of the benchmark's table is (UnNAS took one); :meth:`sample` draws
        matrices, most of which prune to small cells.
        """
        return live.sample_distinct(rng, n, self.nodes, self.max_edges)

    def _until_valid(
        self, draw: Callable[..., Indices], rng: np.random.Generator, *rows: Any
    ) -> tuple[Indices, npt.NDArray[np.intp]]:
        """``draw(rng, *rows)``, again where the child is not valid, and the numbers of those that are still not valid
        after ten times.
        """
        children = draw(rng, *rows)
        wrong = np.flatnonzero(~self.valid(children))
        for _ in range(ATTEMPTS):
            if not wrong.size:
                break
            children[wrong] = draw(rng, *(row[wrong] for row in rows))
            wrong = wrong[~self.valid(children[wrong])]
        return children, wrong

    def mutate(self, rng: np.random.Generator, parents: Indices, probability: float) -> Indices:
        """As in every space, drawn again while the child is not valid; after ten times one decision changes, to a valid
        cell.
        """
        draw = super().mutate
        children, wrong = self._until_valid(lambda rng, rows: draw(rng, rows, probability), rng, parents)
        children[wrong] = self._change_one(rng, parents[wrong])
        return children

    def _change_one(self, rng: np.random.Generator, parents: Indices) -> Indices:
        """One decision of each, drawn uniformly from those whose change leaves a valid cell; an operation's always
        does.
        """
        count = len(self.edges)
        flips = np.int32(1) << np.arange(count - 1, -1, -1, dtype=np.int32)
        flipped = matrices.valid_matrices(self.nodes, self.max_edges)[matrices.codes(parents, count)[:, None] ^ flips]
        allowed = np.concatenate([flipped, np.ones((len(parents), self.nodes), dtype=np.bool_)], axis=1)
        chosen = (rng.random(allowed.shape) * allowed).argmax(axis=1)
        values = np.array([len(d.values) for d in self.decisions])[chosen]
        rows, children = np.arange(len(parents)), parents.copy()
        children[rows, chosen] = (parents[rows, chosen] + 1 + rng.integers(0, values - 1)) % values
        return children

    def crossover(self, rng: np.random.Generator, first: Indices, second: Indices) -> Indices:
        """As in every space, drawn again while the child is not valid; after ten times the child is the first parent."""
        children, wrong = self._until_valid(super().crossover, rng, first, second)
        children[wrong] = first[wrong]
        return children

    # -- structure and cost --------------------------------------------------------------------------------------------
    def structure(self, indices: Indices) -> Indices:
        """Parts are the decisions, without the edges that lie on no path from input to output."""
        alive = live.LiveCells.of(indices, self.nodes).edges.T.astype(np.int8)
        return np.concatenate([alive, indices[:, len(self.edges) :]], axis=1)

    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        return np.ascontiguousarray(live.LiveCells.of(indices, self.nodes).path_counts().T)

    def complete_paths(self, indices: Indices) -> npt.NDArray[np.int64]:
        into_output = [e for e, (_, j) in enumerate(self.edges) if j == self.nodes + 1]
        counts: npt.NDArray[np.int64] = self.path_counts(indices)[:, into_output].sum(axis=1)
        return counts

    def cost_table(self, image_size: ImageSize = 32) -> CellCosts:
        height, width = self.stem.reduced(sides(image_size), stages=1)[0]
        pixels = [(height >> stack) * (width >> stack) for stack in range(self.stacks)]  # max pooling rounds down
        alike = Counter(
            (inputs, outputs, pixels[k // self.cells_per_stack]) for k, (inputs, outputs) in enumerate(self.widths())
        )
        shapes = tuple(CellShape(*shape, count) for shape, count in alike.items())
        last = self.widths()[-1][1]
        parameters = self.stem.parameters(self.input_channels) + self.head.parameters(last, self.classes)
        macs = self.head.images * self.stem.macs(self.input_channels, sides(image_size)) + self.head.macs(
            last, self.classes, pixels[-1]
        )
        return CellCosts(self.nodes, parameters, macs, shapes, self.head.images)

    # -- networks ------------------------------------------------------------------------------------------------------
    def supernet(self) -> NASBench101Supernet:
        """The weight-sharing network, an NNI ``ModelSpace``; NNI's random search and evolution draw valid cells from it
        only.
        """
        from .supernet import NASBench101Supernet

        return NASBench101Supernet(**self.config())

    def network(self, architecture: Architecture) -> NASBench101Network:
        from .network import NASBench101Network

        return NASBench101Network(self, self.encode([architecture])[0])
