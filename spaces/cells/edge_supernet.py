"""The weight-sharing network of :class:`nni_plugins.spaces.cells.darts.EdgeSpace`: one module for each cell, edge and
operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .. import head_modules
from ..operations import State, candidate
from ..path_supernet import PathSupernet, fixed_parameters, parameters_of, skip_parameters
from ..prefixes import Piece, run_pieces
from ..supernet import Role, WeightBlock, WeightBlocks
from .darts import DARTS, EDGES, NODES, EdgeSpace, RobustDARTS
from .macro import CellShape
from .network import CellStem, calibration, chain_of_cells, drop_path
from .space import CELLS

SPACES: dict[str, type[EdgeSpace]] = {"darts": DARTS, "robustdarts": RobustDARTS}


class EdgeCell(nn.Module):
    """All operations on all edges of one cell; drop-path as in
    :class:`nni_plugins.spaces.cells.slot_supernet.SlotCell`.
    """

    drop_path: float = 0.0
    drop_identity: bool = True

    def __init__(
        self, space: EdgeSpace, shape: CellShape, inputs: tuple[int, int], affine: bool, pool_affine: bool
    ) -> None:
        super().__init__()
        self.kind = int(shape.reduction)
        self.channels = shape.channels
        self.calibrations = nn.ModuleList(calibration(space.macro, shape, p, inputs[p], affine) for p in (0, 1))
        self.edges = nn.ModuleList()
        self.names = [space.sets[CELLS[self.kind]][edge] for edge in EDGES]
        for (i, _), names in zip(EDGES, self.names, strict=True):
            stride = 2 if shape.reduction and i < 2 else 1
            self.edges.append(
                nn.ModuleList(candidate(name, shape.channels, stride, affine, pool_affine) for name in names)
            )

    def run(self, s0: torch.Tensor, s1: torch.Tensor, weights: Sequence[Sequence[Any]]) -> torch.Tensor:
        """``weights[edge][operation]``: a number or a 0-d tensor; operations whose weight is the number 0 are not run."""
        states = [State(calibrate(s)) for calibrate, s in zip(self.calibrations, (s0, s1), strict=True)]
        edge = 0
        for node in range(2, NODES + 2):
            total: torch.Tensor | None = None
            for i in range(node):
                for name, operation, weight in zip(
                    self.names[edge], cast(nn.ModuleList, self.edges[edge]), weights[edge], strict=True
                ):
                    if isinstance(weight, torch.Tensor) or weight:
                        y = states[i].through(operation)
                        if self.training and self.drop_path > 0 and (self.drop_identity or name != "skip_connect"):
                            y = drop_path(y, self.drop_path)
                        y = y * weight if isinstance(weight, torch.Tensor) else y
                        total = y if total is None else total + y
                edge += 1
            states.append(State(cast(torch.Tensor, total)))
        return torch.cat([state.x for state in states[2:]], 1)


class EdgeSupernet(PathSupernet):
    """See :meth:`nni_plugins.spaces.cells.darts.EdgeSpace.supernet`."""

    search_space: EdgeSpace

    def __init__(self, space_name: str, affine: bool, pool_affine: bool, **space_config: Any) -> None:
        super().__init__()
        self.affine, self.pool_affine = affine, pool_affine
        self.search_space = space = SPACES[space_name](**space_config)
        macro = space.macro
        shapes = macro.shapes()
        self.stem = CellStem(macro.stem, macro.input_channels)
        self.cells = nn.ModuleList()
        for shape in shapes:
            inputs = [macro.source_channels(shapes, shape, p, (NODES, NODES)) for p in (0, 1)]
            self.cells.append(EdgeCell(space, shape, (inputs[0], inputs[1]), affine, pool_affine))
        self.classifier = head_modules.build(
            space.head, macro.output_channels(shapes[-1], (NODES, NODES)), space.classes
        )
        self.add_selectors(space)

    @classmethod
    def space_of(cls, space_name: str, affine: bool, pool_affine: bool, **space_config: Any) -> EdgeSpace:
        return SPACES[space_name](**space_config)

    def fresh(self) -> EdgeSupernet:
        return EdgeSupernet(self.search_space.name, self.affine, self.pool_affine, **self.search_space.config())

    def set_drop_path(self, probability: float, identity: bool = True) -> None:
        """As :meth:`nni_plugins.spaces.cells.slot_supernet.SlotSupernet.set_drop_path`."""
        for k, module in enumerate(self.cells):
            cell = cast(EdgeCell, module)
            cell.drop_path, cell.drop_identity = probability * (k + 1) / len(self.cells), identity

    def _chain(self, weights: Sequence[Sequence[Sequence[Any]]], size: tuple[int, int]) -> list[Piece]:
        """``weights[cell][edge][operation]``."""
        return chain_of_cells(self, [(weight,) for weight in weights], size)

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        return cast(torch.Tensor, run_pieces(self.pieces(path, (x.shape[-2], x.shape[-1])), x))

    def pieces(self, path: npt.NDArray[np.int8], size: tuple[int, int]) -> list[Piece]:
        """``path: (cells, D)`` as a chain from images of ``size`` (H, W) to what the head says."""
        same = path.strides[0] == 0  # one architecture, broadcast to all cells
        structure = self.search_space.structure(path[:1] if same else path).reshape(-1, len(CELLS), len(EDGES)).tolist()
        rows = structure * len(self.cells) if same else structure
        weights = []
        for cell, row in zip(self.cells, rows, strict=True):
            kind = cast(EdgeCell, cell)
            weights.append(
                [
                    [int(value == o + 1) for o in range(len(names))]
                    for value, names in zip(row[kind.kind], kind.names, strict=True)
                ]
            )
        return self._chain(weights, size)

    def forward_mixed(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """The weight of operation o on edge (i, j) is the sum, over the pairs of inputs with i, of the pair's weight
        times o's.
        """
        edges = self.edge_weights(weights)
        chain = self._chain([edges[cast(EdgeCell, cell).kind] for cell in self.cells], (x.shape[-2], x.shape[-1]))
        return cast(torch.Tensor, run_pieces(chain, x))

    def edge_weights(self, weights: Sequence[torch.Tensor]) -> list[list[list[torch.Tensor]]]:
        """``[kind of cell][edge][operation]`` from the weights of the decisions."""
        remaining = iter(weights)
        kinds = []
        for _ in CELLS:
            kind: list[list[torch.Tensor]] = []
            for node in range(2, NODES + 2):
                pairs = list(combinations(range(node), 2))
                pair_weights = next(remaining) if node > 2 else None
                lower, higher = next(remaining), next(remaining)
                for i in range(node):
                    total = torch.zeros_like(lower)
                    for p, pair in enumerate(pairs):
                        if i in pair:
                            share = lower if pair[0] == i else higher
                            total = total + (share if pair_weights is None else pair_weights[p] * share)
                    kind.append(list(total.unbind()))
            kinds.append(kind)
        return kinds

    def weight_blocks(self) -> WeightBlocks:
        """Blocks in the sense of RLNAS' angle: all cells' weights of one (edge, operation) are one block.

        A pool also stands for its constant kernel, a skip connection of stride 1 for the identity matrix; one of stride
        2 has weights. (The official code counts the dilated convolutions' scale twice and never their shift; we count
        each once.)
        """
        choices: list[tuple[WeightBlock, ...]] = []
        searched: set[str] = set()
        for kind in range(len(CELLS)):
            cells = [(k, cast(EdgeCell, c)) for k, c in enumerate(self.cells) if cast(EdgeCell, c).kind == kind]
            for e, (i, _) in enumerate(EDGES):
                values = [WeightBlock()]
                for o, name in enumerate(self.search_space.sets[CELLS[kind]][EDGES[e]]):
                    entries: list[tuple[str, Role]] = []
                    constants: list[tuple[Role, float]] = []
                    described = skip_parameters if name == "skip_connect" else parameters_of
                    for k, cell in cells:
                        operation = cast(nn.ModuleList, cell.edges[e])[o]
                        entries += described(operation, f"cells.{k}.edges.{e}.{o}.")
                        if "pool" in name:
                            constants.append(("pool", cell.channels / 9))
                        elif name == "skip_connect" and not (kind and i < 2):
                            constants.append(("identity", float(cell.channels)))
                    searched.update(name for name, _ in entries)
                    values.append(WeightBlock(tuple(entries), tuple(constants)))
                choices.append(tuple(values))
        return WeightBlocks(WeightBlock(tuple(fixed_parameters(self, searched))), tuple(choices))
