"""Crops that change scale, in batches on the device: ImageNet's random resized crop, and the scaled crop of UnNAS'
Cityscapes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..randomness import generator
from .augmentation import ImageAugmentation
from .colour import Colour

TRIES = 10
UNCHANGED = Colour()


class Window(NamedTuple):
    """Per image, each (B,): output pixel i shows the source at ``start + (i + 0.5) * step - 0.5``, held within [low,
    high].
    """

    start: torch.Tensor
    step: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def coordinates(self, pixels: int, flip: torch.Tensor | None = None) -> torch.Tensor:
        """(B, pixels), backwards where ``flip: (B,)``."""
        i = torch.arange(pixels, device=self.start.device, dtype=self.start.dtype) + 0.5
        i = i[None].expand(len(self.start), -1)
        if flip is not None:
            i = torch.where(flip[:, None], i.flip(1), i)
        at = self.start[:, None] + i * self.step[:, None] - 0.5
        return torch.minimum(torch.maximum(at, self.low[:, None]), self.high[:, None])

    def nearest(self, pixels: int, flip: torch.Tensor) -> torch.Tensor:
        """(B, pixels) int64: the source pixel that an output pixel's centre lies in."""
        return torch.floor(self.coordinates(pixels, flip) + 0.5).long().minimum(self.high[:, None].long())


@dataclass(frozen=True)
class Scaling(ImageAugmentation):
    """Base of crops of ``size`` by ``size`` pixels that change scale, bilinearly and without averaging (no antialias),
    with a flip with probability one half if ``flip``, and with changes of ``colours``.
    """

    size: int
    flip: bool = True
    colours: Colour = UNCHANGED

    @abstractmethod
    def geometry(self, rng: np.random.Generator, uses: int) -> npt.NDArray[np.float32]:
        """(uses, g) of numbers in [0, 1), independent of the images' size."""

    @abstractmethod
    def windows(self, size: tuple[int, int], drawn: torch.Tensor) -> tuple[Window, Window]:
        """Of rows and of columns of images of ``size`` (height, width); ``drawn: (B, g)`` from :meth:`geometry`."""

    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[Any]:
        """(uses, 1 + g + c) float32: flip, geometry, colours."""
        rng = generator(seed, "augmentation", epoch)
        flips = rng.integers(0, 2, size=(uses, 1)) if self.flip else np.zeros((uses, 1), dtype=np.int64)
        return np.concatenate(
            [flips, self.geometry(rng, uses), self.colours.draw(seed, epoch, uses)], axis=1, dtype=np.float32
        )

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.size, self.size

    def apply(self, batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Bytes are rounded; floating-point images stay as they are."""
        height, width = batch.shape[2:]
        rows, columns, flip = self._windows(batch, drawn)
        y = rows.coordinates(self.size)  # grid_sample counts from -1 (left edge of the first pixel) to 1
        x = columns.coordinates(self.size, flip)
        y, x = (2 * y + 1) / height - 1, (2 * x + 1) / width - 1
        grid = torch.stack([x[:, None].expand(-1, self.size, -1), y[:, :, None].expand(-1, -1, self.size)], dim=-1)
        source = batch if batch.is_floating_point() else batch.float()
        crops = torch.nn.functional.grid_sample(
            source, grid.to(source.dtype), mode="bilinear", padding_mode="border", align_corners=False
        )
        return crops if batch.is_floating_point() else crops.round_().clamp_(0, 255).to(batch.dtype)

    def apply_maps(self, maps: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        rows, columns, flip = self._windows(maps, drawn)
        image = torch.arange(len(maps), device=maps.device)[:, None, None]
        y, x = rows.nearest(self.size, torch.zeros_like(flip)), columns.nearest(self.size, flip)
        return maps[image, y[:, :, None], x[:, None, :]]

    def colour(self, x: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        return self.colours.apply(x, drawn[:, drawn.shape[1] - self.colours.columns :])

    def _windows(self, batch: torch.Tensor, drawn: torch.Tensor) -> tuple[Window, Window, torch.Tensor]:
        exact = torch.float32 if drawn.device.type == "mps" else torch.float64  # Apple's devices have nothing finer
        geometry = drawn[:, 1 : drawn.shape[1] - self.colours.columns].to(exact)
        return *self.windows((batch.shape[-2], batch.shape[-1]), geometry), drawn[:, 0] > 0


def below(unit: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
    """An integer in [0, bound) for each of ``unit`` in [0, 1)."""
    return torch.minimum(torch.floor(unit * bound), bound - 1)


@dataclass(frozen=True)
class ResizedCrop(Scaling):
    """A part of the image with ``scale`` of its area and a ratio of width to height in ``ratio``, both drawn (the ratio
    uniformly in its logarithm), resized to ``size`` (Szegedy et al., CVPR 2015, section 6; ten tries and the fall-back
    are torchvision's).
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def geometry(self, rng: np.random.Generator, uses: int) -> npt.NDArray[np.float32]:
        """Ten tries of area and of ratio, and the place."""
        return rng.random((uses, 2 * TRIES + 2), dtype=np.float32)

    def windows(self, size: tuple[int, int], drawn: torch.Tensor) -> tuple[Window, Window]:
        height, width = size
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * drawn[:, :TRIES])
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = torch.exp(low + (high - low) * drawn[:, TRIES : 2 * TRIES])
        w, h = torch.round(torch.sqrt(area * ratio)), torch.round(torch.sqrt(area / ratio))
        fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        first = fits.long().argmax(1, keepdim=True)
        w, h, fitting = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0], fits.any(1)
        whole_w, whole_h = self._whole(height, width)
        top, left = below(drawn[:, -2], height - h + 1), below(drawn[:, -1], width - w + 1)
        top, left = (
            torch.where(fitting, top, (height - whole_h) // 2),
            torch.where(fitting, left, (width - whole_w) // 2),
        )
        h, w = torch.where(fitting, h, whole_h), torch.where(fitting, w, whole_w)
        return Window(top, h / self.size, top, top + h - 1), Window(left, w / self.size, left, left + w - 1)

    def _whole(self, height: int, width: int) -> tuple[int, int]:
        """Width and height of the largest part whose ratio is allowed: what is taken if no try fits."""
        if width / height < self.ratio[0]:
            return width, round(width / self.ratio[0])
        if width / height > self.ratio[1]:
            return round(height * self.ratio[1]), height
        return width, height


@dataclass(frozen=True)
class ScaledCrop(Scaling):
    """The image at a random scale, its shorter side ``int(max(size, nominal * 2 ** U(-1, 1)))`` pixels long, and a
    random crop of it (UnNAS, ECCV 2020, official code; its crop never takes the last offset, ours does).
    """

    nominal: int = 512

    def geometry(self, rng: np.random.Generator, uses: int) -> npt.NDArray[np.float32]:
        """Scale, and the place."""
        return rng.random((uses, 3), dtype=np.float32)

    def windows(self, size: tuple[int, int], drawn: torch.Tensor) -> tuple[Window, Window]:
        shorter = torch.floor((self.nominal * 2 ** (2 * drawn[:, 0] - 1)).clamp_min(self.size))
        height, width = (
            torch.floor(shorter * side / min(size) + 1e-9) for side in size
        )  # 1e-9: no side may round below itself
        top, left = below(drawn[:, 1], height - self.size + 1), below(drawn[:, 2], width - self.size + 1)
        return _scaled(top, size[0], height), _scaled(left, size[1], width)


def _scaled(offset: torch.Tensor, side: int, scaled: torch.Tensor) -> Window:
    """Of a crop at ``offset`` of an image whose ``side`` was resized to ``scaled`` pixels."""
    step = side / scaled
    return Window(offset * step, step, torch.zeros_like(step), torch.full_like(step, side - 1))
