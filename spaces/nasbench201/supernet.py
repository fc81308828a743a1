"""The weight-sharing network of the NAS-Bench-201 space: an NNI ``ModelSpace`` with a fast single-path forward of its
own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch import nn

from .. import head_modules, stem_modules
from ..operations import State, candidate
from ..path_supernet import stand_alone
from ..prefixes import Piece, run_pieces
from ..staged import check_images
from ..supernet import Role, WeightBlock, WeightBlocks
from . import codec
from .network import ResidualReduction, last_activation

if TYPE_CHECKING:
    from nni.mutable import Sample


class SearchCell(nn.Module):
    """A cell whose edges hold all five operations."""

    def __init__(self, nodes: int, channels: int, affine: bool) -> None:
        super().__init__()
        self.nodes = nodes
        self.edges = nn.ModuleDict(
            {
                f"{i}_{j}": LayerChoice(
                    {name: candidate(name, channels, affine=affine) for name in codec.OPERATIONS},
                    label=codec.label((i, j)),
                )
                for i, j in codec.edges(nodes)
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [x]
        for j in range(1, self.nodes):
            total = self.edges[f"0_{j}"](x)
            for i in range(1, j):
                total = total + self.edges[f"{i}_{j}"](states[i])
            states.append(total)
        return states[-1]

    def forward_path(self, x: torch.Tensor, path: list[int]) -> torch.Tensor:
        """``path``: (edges,) operation indices. A ``none`` adds zero, so it is left out."""
        states, edge = [State(x)], 0
        for j in range(1, self.nodes):
            total: torch.Tensor | None = None
            for i in range(j):
                name = codec.OPERATIONS[path[edge]]
                edge += 1
                if name != "none":
                    y = states[i].through(cast(LayerChoice, self.edges[f"{i}_{j}"])[name])
                    total = y if total is None else total + y
            states.append(State(torch.zeros_like(x) if total is None else total))
        return states[-1].x


class NASBench201Supernet(ModelSpace):
    """See :meth:`nni_plugins.spaces.NASBench201.supernet`. ``forward`` is for NNI's strategies, ``forward_path`` for
    ours.
    """

    def __init__(self, affine: bool = False, **space_config: Any) -> None:
        super().__init__()
        from .space import NASBench201

        self.affine = affine
        self.search_space = space = NASBench201(**space_config)
        width = space.channels
        self.smallest = 4 * space.stem.stride
        self.stem = stem_modules.build(space.stem, space.input_channels)
        self.cells = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.cells.append(ResidualReduction(width, 2 * width))
                width *= 2
            self.cells.extend(SearchCell(space.nodes, width, affine) for _ in range(space.cells_per_stage))
        self.lastact = last_activation(width)
        self.classifier = head_modules.build(space.head, width, space.classes)

    def fresh(self) -> NASBench201Supernet:
        """Another supernet of the same kind, with newly drawn initial weights."""
        return NASBench201Supernet(affine=self.affine, **self.search_space.config())

    @classmethod
    def create_fixed_module(cls, sample: Sample, affine: bool = False, **space_config: Any) -> nn.Module:  # type: ignore[override]
        """What the constructor makes within NNI's ``model_context(sample)``: the same as :meth:`freeze`."""
        from .space import NASBench201

        return stand_alone(NASBench201(**space_config), sample)

    def freeze(self, sample: Sample) -> nn.Module:
        """The stand-alone network, with fresh weights: the benchmark's batch norms have scale and shift, those of the
        supernet's operations have not.
        """
        self.validate(sample)
        return stand_alone(self.search_space, sample)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self._enter(x)
        for cell in self.cells:
            y = cell(y)
        return self._leave(y, (x.shape[-2], x.shape[-1]))

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        """``x: (B, C, H, W)``, ``path: (cells, edges)``; returns what the head says, (B, classes) for a linear one."""
        return cast(torch.Tensor, run_pieces(self.pieces(path, (x.shape[-2], x.shape[-1])), x))

    def pieces(self, path: npt.NDArray[np.int8], size: tuple[int, int]) -> list[Piece]:
        """``path: (cells, edges)`` as a chain from images of ``size`` (H, W) to what the head says."""
        rows = iter(path.tolist())
        cells = []
        for cell in self.cells:
            row = next(rows) if isinstance(cell, SearchCell) else None
            cells.append(Piece(row, cell if row is None else partial(cast(SearchCell, cell).forward_path, path=row)))
        return [Piece(None, self._enter), *cells, Piece(None, partial(self._leave, size=size))]

    def _enter(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 5:  # the tiles of a jigsaw
            x = x.flatten(0, 1)
        check_images(x, self.search_space.input_channels, self.smallest)
        return cast(torch.Tensor, self.stem(x))

    def _leave(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return cast(torch.Tensor, self.classifier(self.lastact(x), size))

    def weight_blocks(self) -> WeightBlocks:
        """Blocks in the sense of RLNAS' angle (official ``weight_angle.py``): all cells' weights of one (edge,
        operation) are one block.
        """
        head = set(self.classifier.modules())
        search_cells = {f"cells.{k}.": cell for k, cell in enumerate(self.cells) if isinstance(cell, SearchCell)}

        def role(name: str, module: nn.Module) -> Role:
            if module in head:
                return "classifier_weight" if name == "weight" else "classifier_bias"
            return "bn" if isinstance(module, nn.BatchNorm2d) else "conv"

        def parameters(module: nn.Module, prefix: str) -> list[tuple[str, Role]]:
            return [
                (f"{prefix}{path}.{name}" if path else f"{prefix}{name}", role(name, child))
                for path, child in module.named_modules()
                for name, _ in child.named_parameters(recurse=False)
            ]

        fixed: list[tuple[str, Role]] = [
            (name, "fixed_bn" if kind == "bn" else kind)
            for name, kind in parameters(self, "")
            if not name.startswith(tuple(search_cells))
        ]
        choices = []
        for i, j in codec.edges(self.search_space.nodes):
            values = []
            for name in codec.OPERATIONS:
                entries: list[tuple[str, Role]] = []
                constants: list[tuple[Role, float]] = []
                for prefix, cell in search_cells.items():
                    module = cast(LayerChoice, cell.edges[f"{i}_{j}"])[name]
                    entries += parameters(module, f"{prefix}edges.{i}_{j}.{name}.")
                    channels = self._width(prefix)
                    if name == "avg_pool_3x3":  # C kernels of nine weights 1/9: squared norm 9 C / 81
                        constants.append(("pool", channels / 9))
                    elif name == "skip_connect":  # the C x C identity matrix
                        constants.append(("identity", float(channels)))
                values.append(WeightBlock(tuple(entries), tuple(constants)))
            choices.append(tuple(values))
        return WeightBlocks(WeightBlock(tuple(fixed)), tuple(choices))

    def _width(self, prefix: str) -> int:
        stage = int(prefix.split(".")[1]) // (self.search_space.cells_per_stage + 1)
        return int(self.search_space.channels * 2**stage)
