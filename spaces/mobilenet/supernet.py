"""The weight-sharing network of the MobileNet-like space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from typing_extensions import Self

from .. import head_modules
from ..path_supernet import PathSupernet, fixed_parameters, parameters_of
from ..prefixes import Piece, run_pieces
from ..staged import check_images
from ..supernet import Role, WeightBlock, WeightBlocks
from .network import candidate, conv_bn, initialise, stem
from .space import IDENTITY, MobileNetLike


class MobileNetLikeSupernet(PathSupernet):
    """Every block holds all of its operations; initial weights as in RLNAS' official supernet (``network.initialise``)."""

    search_space: MobileNetLike

    def __init__(self, **space_config: Any) -> None:
        super().__init__()
        self.search_space = space = MobileNetLike(**space_config)
        self.stem = stem(space)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({name: candidate(name, block) for name in block.values}) for block in space.blocks
        )
        self.last = conv_bn(space.blocks[-1].outputs, space.last_channels)
        initialise((self.stem, self.blocks, self.last))
        self.classifier = head_modules.build(space.head, space.last_channels, space.classes)
        self.smallest = 2 ** (1 + sum(block.stride == 2 for block in space.blocks))
        self.add_selectors(space)

    @classmethod
    def space_of(cls, **space_config: Any) -> MobileNetLike:
        return MobileNetLike(**space_config)

    def fresh(self) -> Self:
        return type(self)(**self.search_space.config())

    def _candidates(self, block: int) -> list[nn.Module]:
        return list(cast(nn.ModuleDict, self.blocks[block]).values())

    def _enter(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 5:  # the tiles of a jigsaw
            x = x.flatten(0, 1)
        check_images(x, self.search_space.input_channels, self.smallest)
        return cast(torch.Tensor, self.stem(x))

    def _leave(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return cast(torch.Tensor, self.classifier(self.last(x), size))

    def forward_path(self, x: torch.Tensor, path: npt.NDArray[np.int8]) -> torch.Tensor:
        """``x: (B, C, H, W)``, ``path: (1, blocks)``; returns what the head says, (B, classes) for a linear one."""
        return cast(torch.Tensor, run_pieces(self.pieces(path, (x.shape[-2], x.shape[-1])), x))

    def pieces(self, path: npt.NDArray[np.int8], size: tuple[int, int]) -> list[Piece]:
        """``path: (1, blocks)`` as a chain from images of ``size`` (H, W) to what the head says."""
        blocks = [Piece(value, self._candidates(block)[value]) for block, value in enumerate(path[0].tolist())]
        return [Piece(None, self._enter), *blocks, Piece(None, partial(self._leave, size=size))]

    def forward_mixed(self, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        y = self._enter(x)
        for block, values in enumerate(weights):
            y = reduce(
                torch.add,
                [weight * operation(y) for weight, operation in zip(values, self._candidates(block), strict=True)],
            )
        return self._leave(y, (x.shape[-2], x.shape[-1]))

    def weight_blocks(self) -> WeightBlocks:
        """One block of weights for each operation of each searched block; an identity stands as the C x C identity
        matrix. The batch norm after a block's projection is ``last_bn``.
        """
        searched: set[str] = set()
        choices = []
        for i, block in enumerate(self.search_space.blocks):
            row = []
            for name, module in zip(block.values, self._candidates(i), strict=True):
                place = f"blocks.{i}.{name}."
                entries: tuple[tuple[str, Role], ...] = tuple(
                    (entry, "last_bn" if role == "bn" and entry.startswith(f"{place}project.") else role)
                    for entry, role in parameters_of(module, place)
                )
                constants: tuple[tuple[Role, float], ...] = (
                    (("identity", float(block.outputs)),) if name == IDENTITY else ()
                )
                searched |= {entry for entry, _ in entries}
                row.append(WeightBlock(entries, constants))
            choices.append(tuple(row))
        return WeightBlocks(WeightBlock(tuple(fixed_parameters(self, searched))), tuple(choices))
