"""The weight-sharing network of the NAS-Bench-201 space: an NNI ``ModelSpace`` with a fast single-path forward of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from torch import nn

from ..operations import candidate
from ..supernet import Role, WeightBlock, WeightBlocks
from . import codec
from .network import ResidualReduction, check_image, last_activation, stem

if TYPE_CHECKING:
    from .space import NASBench201


class SearchCell(nn.Module):
    """A cell whose edges hold all five operations; NNI replaces an edge by the chosen operation when it freezes the space."""

    def __init__(self, nodes: int, channels: int, affine: bool) -> None:
        super().__init__()
        self.nodes = nodes
        self.edges = nn.ModuleDict(
            {
                f"{i}_{j}": LayerChoice({name: candidate(name, channels, affine) for name in codec.OPERATIONS}, label=codec.label((i, j)))
                for i, j in codec.edges(nodes)
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [x]
        for j in range(1, self.nodes):
            states.append(torch.stack([self.edges[f"{i}_{j}"](states[i]) for i in range(j)]).sum(0))
        return states[-1]

    def forward_path(self, x: torch.Tensor, path: list[int]) -> torch.Tensor:
        """``path``: (edges,) operation indices. A ``none`` adds zero, so it is left out."""
        states, edge = [x], 0
        for j in range(1, self.nodes):
            total: torch.Tensor | None = None
            for i in range(j):
                name = codec.OPERATIONS[path[edge]]
                edge += 1
                if name != "none":
                    y = cast(LayerChoice, self.edges[f"{i}_{j}"])[name](states[i])
                    total = y if total is None else total + y
            states.append(torch.zeros_like(x) if total is None else total)
        return states[-1]


class NASBench201Supernet(ModelSpace):
    """See :meth:`spaces.NASBench201.supernet`. ``forward`` is for NNI's strategies, ``forward_path`` for ours."""

    def __init__(self, nodes: int = 4, channels: int = 16, cells_per_stage: int = 5, classes: int = 10, affine: bool = False) -> None:
        super().__init__()
        self.space_config = {"nodes": nodes, "channels": channels, "cells_per_stage": cells_per_stage, "classes": classes}
        self.affine = affine
        width = channels
        self.stem = stem(width)
        self.cells = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.cells.append(ResidualReduction(width, 2 * width))
                width *= 2
            self.cells.extend(SearchCell(nodes, width, affine) for _ in range(cells_per_stage))
        self.lastact = last_activation(width)
        self.classifier = nn.Linear(width, classes)

    @property
    def search_space(self) -> NASBench201:
        """The space that this network belongs to."""
        from .space import NASBench201

        return NASBench201(**self.space_config)

    def fresh(self) -> NASBench201Supernet:
        """Another supernet of the same kind, with newly drawn initial weights."""
        return NASBench201Supernet(**self.space_config, affine=self.affine)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_image(x)
        x = self.stem(x)
        for cell in self.cells:
            x = cell(x)
        return cast(torch.Tensor, self.classifier(self.lastact(x).mean((2, 3))))

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        """``x: (B, 3, H, W)``, ``path: (cells, edges)``; returns logits (B, classes)."""
        check_image(x)
        x = self.stem(x)
        rows = iter(path.tolist())
        for cell in self.cells:
            x = cell.forward_path(x, next(rows)) if isinstance(cell, SearchCell) else cell(x)
        return cast(torch.Tensor, self.classifier(self.lastact(x).mean((2, 3))))

    def weight_blocks(self) -> WeightBlocks:
        """Blocks in the sense of RLNAS' angle (official ``weight_angle.py``): all cells' weights of one (edge, operation) are one block."""
        search_cells = {f"cells.{k}.": cell for k, cell in enumerate(self.cells) if isinstance(cell, SearchCell)}

        def role(name: str, module: nn.Module) -> Role:
            if module is self.classifier:
                return "classifier_weight" if name == "weight" else "classifier_bias"
            return "bn" if isinstance(module, nn.BatchNorm2d) else "conv"

        def parameters(module: nn.Module, prefix: str) -> list[tuple[str, Role]]:
            return [
                (f"{prefix}{path}.{name}" if path else f"{prefix}{name}", role(name, child))
                for path, child in module.named_modules()
                for name, _ in child.named_parameters(recurse=False)
            ]

        fixed = [entry for entry in parameters(self, "") if not entry[0].startswith(tuple(search_cells))]
        choices = []
        for i, j in codec.edges(self.space_config["nodes"]):
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
        stage = int(prefix.split(".")[1]) // (self.space_config["cells_per_stage"] + 1)
        return int(self.space_config["channels"] * 2**stage)
