"""The weight-sharing network of the NAS-Bench-101 space: operations at full width, of which a cell takes the first
channels.

As in Yu et al., "Evaluating the Search Phase of Neural Architecture Search", ICLR 2020: an operation on
c channels uses the first c rows and columns of the convolution on all channels, and the first c entries of its batch
norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import Self

from .. import head_modules, stem_modules
from ..path_supernet import PathSupernet, fixed_parameters, parameters_of
from ..prefixes import Piece, run_pieces
from ..staged import check_images
from ..supernet import Role, WeightBlock, WeightBlocks
from . import codec
from .constraint import constrain
from .live import plan
from .matrices import Edge, edges
from .network import ConvBNReLU, operation, reductions, run
from .relaxation import Relaxed
from .space import NASBench101


def first_channels(module: nn.Module, x: torch.Tensor, outputs: int) -> torch.Tensor:
    """``module`` as if it had as many input channels as ``x`` and ``outputs`` output channels."""
    if not isinstance(module, ConvBNReLU):
        return cast(torch.Tensor, module(x))
    conv, norm = cast(nn.Conv2d, module[0]), cast(nn.BatchNorm2d, module[1])
    y = F.conv2d(x, conv.weight[:outputs, : x.shape[1]], padding=cast(tuple[int, int], conv.padding))
    mean, variance, scale, shift = (
        cast(torch.Tensor, t)[:outputs] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return F.relu_(F.batch_norm(y, mean, variance, scale, shift, norm.training, cast(float, norm.momentum), norm.eps))


class SearchCell(nn.Module):
    """All operations of all vertices, and a projection of the input to each vertex and to the output, in ``outputs``
    channels.
    """

    def __init__(self, nodes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.nodes, self.outputs = nodes, outputs
        self.operations = nn.ModuleDict(
            {
                str(v): nn.ModuleDict({name: operation(name, outputs) for name in codec.OPERATIONS})
                for v in range(1, nodes + 1)
            }
        )
        self.projections = nn.ModuleDict({str(v): ConvBNReLU(inputs, outputs, 1) for v in range(1, nodes + 2)})

    def forward_path(self, x: torch.Tensor, row: list[int]) -> torch.Tensor:
        """``row``: (D,) indices. Zeros where no path leads to the output."""
        count = len(row) - self.nodes
        cell = plan(tuple(row[:count]), self.nodes, self.outputs)

        def project(v: int, y: torch.Tensor) -> torch.Tensor:
            return first_channels(self.projections[str(v)], y, cell.channels[v])

        def operate(v: int, y: torch.Tensor) -> torch.Tensor:
            candidates = cast(nn.ModuleDict, self.operations[str(v)])
            return first_channels(candidates[codec.OPERATIONS[row[count + v - 1]]], y, cell.channels[v])

        output = run(cell, x, project, operate)
        return x.new_zeros(x.shape[0], self.outputs, *x.shape[2:]) if output is None else output

    def forward_mixed(self, x: torch.Tensor, cell: Relaxed, operations: Sequence[torch.Tensor]) -> torch.Tensor:
        """``cell``: the weights of the edges and what follows from them; ``operations[v - 1]``: (3,) weights of vertex
        v's operations.
        """
        masks, pieces = cell.masks(self.outputs), cell.pieces(self.outputs)
        last = self.nodes + 1
        output: torch.Tensor = cell.edges[0, last] * self.projections[str(last)](x)
        states: dict[int, torch.Tensor] = {}
        for v in range(1, last):
            y = cell.edges[0, v] * self.projections[str(v)](x)
            for u, state in states.items():
                y = y + cell.edges[u, v] * cell.reached[u] * state
            y = y * masks[v][:, None, None]
            candidates = cast(nn.ModuleDict, self.operations[str(v)])
            mixed = [
                weight * candidates[name](y) for weight, name in zip(operations[v - 1], codec.OPERATIONS, strict=True)
            ]
            states[v] = state = sum(mixed[1:], mixed[0])
            for piece in pieces[v]:
                wide = (0, 0, 0, 0, piece.start, self.outputs - piece.start - piece.length)
                output = output + piece.weight * F.pad(state[:, : piece.length], wide)
        return output


CellStep = Callable[[SearchCell, torch.Tensor], torch.Tensor]


class NASBench101Supernet(PathSupernet):
    """See :meth:`nni_plugins.spaces.NASBench101.supernet`."""

    search_space: NASBench101

    def __init__(self, **space_config: Any) -> None:
        super().__init__()
        self.search_space = space = NASBench101(**space_config)
        self.smallest = space.stem.stride * 2 ** (space.stacks - 1)
        self.stem = stem_modules.build(space.stem, space.input_channels, last_activation=True)
        self.pools = reductions(space.stacks)
        self.cells = nn.ModuleList(SearchCell(space.nodes, inputs, outputs) for inputs, outputs in space.widths())
        self.classifier = head_modules.build(space.head, space.widths()[-1][1], space.classes)
        self.add_selectors(space)
        constrain(self.selectors, space)

    @classmethod
    def space_of(cls, **space_config: Any) -> NASBench101:
        return NASBench101(**space_config)

    def fresh(self) -> Self:
        return type(self)(**self.search_space.config())

    def _chain(self, cells: Sequence[tuple[Any, CellStep]], size: tuple[int, int]) -> list[Piece]:
        """``cells``: of each cell a key and what it does. In between stem, pools and head."""
        steps = [Piece(key, partial(self._cell, k, step)) for k, (key, step) in enumerate(cells)]
        return [Piece(None, self._enter), *steps, Piece(None, partial(self.classifier, size=size))]

    def _enter(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 5:  # the tiles of a jigsaw
            x = x.flatten(0, 1)
        check_images(x, self.search_space.input_channels, self.smallest)
        return cast(torch.Tensor, self.stem(x))

    def _cell(self, k: int, step: CellStep, x: torch.Tensor) -> torch.Tensor:
        """Cell k, with the pool before it where a stack begins."""
        if k and k % self.search_space.cells_per_stack == 0:
            x = self.pools[k // self.search_space.cells_per_stack - 1](x)
        return step(cast(SearchCell, self.cells[k]), x)

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        """``x: (B, C, H, W)``, ``path: (cells, D)``; returns what the head says, (B, classes) for a linear one.

        Any path is run, also one of too many edges, or cut, which NNI's one-shot strategies may draw; a cut cell gives
        zeros.
        """
        return cast(torch.Tensor, run_pieces(self.pieces(path, (x.shape[-2], x.shape[-1])), x))

    def pieces(self, path: npt.NDArray[np.int8], size: tuple[int, int]) -> list[Piece]:
        """``path: (cells, D)`` as a chain from images of ``size`` (H, W) to what the head says."""
        return self._chain([(row, partial(SearchCell.forward_path, row=row)) for row in path.tolist()], size)

    def forward_mixed(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """The smooth form of a path that :mod:`nni_plugins.spaces.nasbench101.relaxation` describes; at one-hot weights
        it is that path.
        """
        pairs: list[Edge] = edges(self.search_space.nodes)
        cell = Relaxed(self.search_space.nodes, {edge: weight[1] for edge, weight in zip(pairs, weights, strict=False)})
        operations = weights[len(pairs) :]
        step = partial(SearchCell.forward_mixed, cell=cell, operations=operations)
        steps = [(None, step)] * len(self.cells)
        return cast(torch.Tensor, run_pieces(self._chain(steps, (x.shape[-2], x.shape[-1])), x))

    def weight_blocks(self) -> WeightBlocks:
        """The projection to vertex v belongs to the edge from the input to v, an operation of v to that choice; all
        cells' make one block.

        Blocks have all channels of the cell, whatever part of them an architecture uses. Max pooling stands for its
        constant kernel of nine weights 1/9, as in the other spaces.
        """
        cells = [(f"cells.{k}.", cast(SearchCell, cell)) for k, cell in enumerate(self.cells)]
        searched: set[str] = set()

        def block(place: str, constant: bool = False) -> WeightBlock:
            entries = [
                entry
                for prefix, cell in cells
                for entry in parameters_of(cell.get_submodule(place), f"{prefix}{place}.")
            ]
            searched.update(name for name, _ in entries)
            constants: list[tuple[Role, float]] = [("pool", cell.outputs / 9) for _, cell in cells] if constant else []
            return WeightBlock(tuple(entries), tuple(constants))

        choices: list[tuple[WeightBlock, ...]] = []
        for i, j in edges(self.search_space.nodes):
            choices.append((WeightBlock(), WeightBlock() if i else block(f"projections.{j}")))
        for v in range(1, self.search_space.nodes + 1):
            choices.append(
                tuple(block(f"operations.{v}.{name}", constant=name == "maxpool3x3") for name in codec.OPERATIONS)
            )
        return WeightBlocks(WeightBlock(tuple(fixed_parameters(self, searched))), tuple(choices))
