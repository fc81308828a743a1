"""What happens to images between two epochs, in whole batches on the device; and the padded crop of CIFAR."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..randomness import generator

IGNORED = 255
"""What label maps have where there is no label."""


class ImageAugmentation(ABC):
    """Base class. Life cycle: :meth:`draw` once an epoch, then for every batch :meth:`apply`, where there are label
    maps :meth:`apply_maps`, and :meth:`colour` on the result in [0, 1], each with the batch's rows of what was drawn.
    """

    @abstractmethod
    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[Any]:
        """What happens to each use of an image in ``epoch``: (uses, k), a pure function of its arguments."""

    @abstractmethod
    def apply(self, batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The geometry. ``batch: (B, 3, H, W)`` uint8, ``drawn: (B, k)``, on one device; (B, 3, h, w) uint8 of
        :meth:`output_size`.
        """

    @abstractmethod
    def apply_maps(self, maps: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """The same geometry for ``maps: (B, H, W)`` of class numbers: nearest neighbour, 255 outside the image; (B, h,
        w).
        """

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) that :meth:`apply` gives images of ``size``."""
        return size

    def colour(self, x: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Changes of colour of ``x: (B, 3, h, w)`` float, RGB in [0, 1]. None by default."""
        return x

    def centre(self, batch: torch.Tensor) -> torch.Tensor:
        """``batch: (..., H, W)``, or its centre of :meth:`output_size` where that is smaller: what an evaluation
        without chance sees.
        """
        (height, width), (h, w) = batch.shape[-2:], self.output_size((batch.shape[-2], batch.shape[-1]))
        h, w = min(h, height), min(w, width)
        top, left = (height - h) // 2, (width - w) // 2
        return batch[..., top : top + h, left : left + w]

    def describe(self) -> dict[str, Any]:
        """Kind and settings, JSON-able: part of the identity of a training."""
        return {"kind": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Augmentation(ImageAugmentation):
    """Random crop after zero padding by ``padding`` pixels, and horizontal flip with probability one half if ``flip``.
    The size stays.
    """

    padding: int = 0
    flip: bool = False

    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[Any]:
        """(uses, 3) int64 of row offset, column offset, flip."""
        rng = generator(seed, "augmentation", epoch)
        offsets = rng.integers(0, 2 * self.padding + 1, size=(uses, 2))
        flips = rng.integers(0, 2, size=(uses, 1)) if self.flip else np.zeros((uses, 1), dtype=np.int64)
        return np.concatenate([offsets, flips], axis=1)

    def apply(self, batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """``batch: (B, C, H, W)`` of any type."""
        return self._crop(batch.permute(0, 2, 3, 1), drawn, 0).permute(0, 3, 1, 2)

    def apply_maps(self, maps: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        return self._crop(maps[..., None], drawn, IGNORED)[..., 0]

    def describe(self) -> dict[str, Any]:
        return asdict(self)

    def _crop(self, batch: torch.Tensor, drawn: torch.Tensor, outside: int) -> torch.Tensor:
        """``batch: (B, H, W, C)``."""
        height, width = batch.shape[1:3]
        if self.padding:
            batch = torch.nn.functional.pad(batch, [0, 0, *[self.padding] * 4], value=outside)
        columns = torch.arange(width, device=batch.device)
        columns = torch.where(drawn[:, 2:3] > 0, columns.flip(0), columns) + drawn[:, 1:2]
        rows = torch.arange(height, device=batch.device) + drawn[:, :1]
        index = torch.arange(len(batch), device=batch.device)[:, None, None]
        return batch[index, rows[:, :, None], columns[:, None, :]]


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Besides, a square of side ``cutout`` around a pixel drawn uniformly gets the mean colour ``fill``, which normalises
    to zero (DeVries & Taylor, 2017). With ``ramp`` epochs its probability grows linearly from 0 in the first to 1 in the
    last of them (R-DARTS' search with drop path; Zela et al., ICLR 2020, official code); otherwise it is 1.
    """

    cutout: int = 16
    ramp: int = 0
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[Any]:
        """(uses, 6) int64: that of a padded crop, the square's middle as parts of 2 ** 31, and whether there is one."""
        rng = generator(seed, "cutout", epoch)
        share = min(1.0, epoch / max(self.ramp - 1, 1)) if self.ramp else 1.0
        middles, cut = rng.integers(0, 1 << 31, size=(uses, 2)), rng.random((uses, 1)) < share
        return np.concatenate([super().draw(seed, epoch, uses), middles, cut.astype(np.int64)], axis=1)

    def colour(self, x: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """``x: (B, 3, h, w)`` in [0, 1]; the square is cut off at the border."""
        half, inside = self.cutout // 2, []
        for axis, length in enumerate(x.shape[2:]):
            middle = (drawn[:, 3 + axis, None] * length) >> 31
            pixels = torch.arange(length, device=x.device)[None]
            inside.append((pixels >= middle - half) & (pixels < middle + half))
        cut = inside[0][:, None, :, None] & inside[1][:, None, None, :] & (drawn[:, 5] > 0)[:, None, None, None]
        return torch.where(cut, x.new_tensor(self.fill)[None, :, None, None], x)

    def describe(self) -> dict[str, Any]:
        return {"kind": type(self).__name__, **asdict(self)}
