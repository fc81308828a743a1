"""In which order the tiles of an image stand: Noroozi & Favaro, ECCV 2016, as UnNAS trains it (Liu et al., ECCV 2020;
official ``prepare_jig``).
"""

from __future__ import annotations

from functools import cache
from math import factorial

import numpy as np
import numpy.typing as npt
import torch

from nni_plugins.spaces import heads

from ..data import ImageSet
from ..errors import ConfigError
from ..randomness import generator
from .base import RESOLUTION, Crops, Head, Objective, Size, fractions, whole
from .permutations import permutations

TILE = 0.76
"""Side of a tile in its cell of the grid; the rest is room for the random offset, so that edges do not give the
neighbour away.
"""
GREY = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue (ITU-R BT.709, as scikit-image's ``rgb2gray``, which the official code calls, rounds
them)."""
LEAST = 3
"""Pixels of a cell, at least: then a tile has two."""
FLAT = 1e-3
"""Least deviation of a tile, so that one of a single colour becomes zeros."""


@cache
def _places(grid: int, count: int, seed: int, device: torch.device) -> torch.Tensor:
    """(count, tiles): which tile stands in each slot."""
    return torch.from_numpy(permutations(grid, count, seed).argsort(1)).to(device)


class Jigsaw(Objective):
    """One class a permutation. The tiles pass the network one by one; a linear layer sees their pooled features in the
    given order.

    Args:
        grid: tiles a side, 2 or 3.
        permutations: how many; None: all 24 of a 2 x 2 grid, 1000 of a 3 x 3 grid.
        seed: of the set of permutations alone.
        gray: probability that an image is made grey, so that colours at the edges do not give the neighbour away.
    """

    label_free = True

    def __init__(self, grid: int = 3, permutations: int | None = None, seed: int = 0, gray: float = 0.3) -> None:
        if grid not in (2, 3) or isinstance(grid, bool):
            raise ConfigError(
                f"grid must be 2 or 3, but got grid={grid!r}.",
                "Permutations of more tiles are too many to choose among.",
            )
        most = factorial(grid**2)
        permutations = min(most, 1000) if permutations is None else permutations
        whole("permutations", permutations, 2)
        whole("seed", seed, 0)
        if permutations > most:
            raise ConfigError(
                f"permutations <= {most} must hold for a {grid} x {grid} grid, but got permutations={permutations}."
            )
        if isinstance(gray, bool) or not isinstance(gray, int | float) or not 0 <= gray <= 1:
            raise ConfigError(f"gray must be a probability, but got gray={gray!r}.")
        self.grid, self.permutations, self.seed, self.gray = grid, permutations, seed, gray

    @property
    def tiles(self) -> int:
        """Tiles of an image."""
        return self.grid**2

    @property
    def form(self) -> heads.Head:
        return heads.Head("jigsaw", tiles=self.tiles)

    def head(self, images: ImageSet) -> Head:
        return Head(self.permutations, self.form)

    def check(self, images: ImageSet) -> None:
        size, least = images.input_size, LEAST * self.grid
        if min(size) < least:
            raise ConfigError(
                f"{images.name}: a jigsaw of {self.grid} x {self.grid} tiles needs images of at least {least} x {least} pixels, but these "
                f"are {size[0]} x {size[1]}.",
                f"Use images of {least} x {least} or more (the paper: 32 for grid 2, 255 for grid 3).",
            )

    def tile(self, size: Size) -> tuple[Size, Size]:
        """(height, width) of a cell of the grid and of a tile, for images of ``size``."""
        height, width = size[0] // self.grid, size[1] // self.grid
        return (height, width), (int(TILE * height), int(TILE * width))

    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[np.int32]:
        """(uses, 2 + 2 tiles): the permutation, and as fractions whether to make it grey and the offsets of the tiles."""
        return self._draw(generator(seed, "jigsaw", epoch), uses)

    def draw_evaluation(self, seed: int, uses: int) -> npt.NDArray[np.int32]:
        """Nothing becomes grey; permutations and offsets are drawn as in training (UnNAS, which draws them anew each
        time).
        """
        drawn = self._draw(generator(seed, "jigsaw evaluation"), uses)
        drawn[:, 1] = 1 << RESOLUTION
        return drawn

    def _draw(self, rng: np.random.Generator, uses: int) -> npt.NDArray[np.int32]:
        orders = rng.integers(0, self.permutations, size=(uses, 1), dtype=np.int32)
        drawn: npt.NDArray[np.int32] = np.concatenate([orders, fractions(rng, (uses, 1 + 2 * self.tiles))], axis=1)
        return drawn

    def prepare(self, crops: Crops) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, tiles, 3, h, w), each tile with mean 0 and deviation 1 over all of its numbers; (B,).

        Tile k (row by row) of an image stands in slot p[k], where p is the drawn permutation.
        """
        _, tile = self.tile((crops.images.shape[2], crops.images.shape[3]))
        x = torch.empty(len(crops.images), self.tiles, 3, *tile, device=crops.images.device)
        for part, some in crops.parts():
            x[part] = self._tiles(some)
        return x, crops.drawn[:, 0].long()

    def _tiles(self, crops: Crops) -> torch.Tensor:
        batch, device = len(crops.images), crops.images.device
        drawn = crops.drawn.long()
        source = _places(self.grid, self.permutations, self.seed, device)[
            drawn[:, 0]
        ]  # (B, tiles): which tile stands in each slot
        cell, tile = self.tile((crops.images.shape[2], crops.images.shape[3]))
        places = drawn[:, 2:].view(batch, self.tiles, 2).gather(1, source[:, :, None].expand(-1, -1, 2))
        top, left = (places[:, :, i] * (cell[i] - tile[i] + 1) >> RESOLUTION for i in range(2))
        rows = (source // self.grid * cell[0] + top)[:, :, None] + torch.arange(tile[0], device=device)
        columns = (source % self.grid * cell[1] + left)[:, :, None] + torch.arange(tile[1], device=device)
        x = crops.standardised(self._greyed(crops.images, drawn[:, 1])).permute(0, 2, 3, 1)
        x = x[
            torch.arange(batch, device=device)[:, None, None, None], rows[:, :, :, None], columns[:, :, None, :]
        ]  # (B, tiles, h, w, 3)
        x = x.sub_(x.mean((2, 3, 4), keepdim=True))
        deviation = x.square().mean((2, 3, 4), keepdim=True).sqrt_()
        return x.div_(deviation.clamp_min_(FLAT)).permute(0, 1, 4, 2, 3)

    def _greyed(self, images: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
        """``images`` as float, in [0, 255]; grey ones are no whole numbers."""
        x = images.float()
        red, green, blue = x.unbind(1)
        grey = (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])[:, None]
        chosen = (fraction < self.gray * (1 << RESOLUTION))[:, None, None, None]
        return torch.where(chosen, grey, x)
