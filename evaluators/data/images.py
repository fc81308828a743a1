"""A set of images that lives on the device as bytes, and the augmentation that happens there."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import DataError, LabelError
from ..randomness import generator


@dataclass(frozen=True)
class Augmentation:
    """Random crop after zero padding by ``padding`` pixels, and horizontal flip with probability one half if ``flip``."""

    padding: int = 0
    flip: bool = False

    def draw(self, seed: int, epoch: int, images: int) -> npt.NDArray[Any]:
        """What happens to each image in ``epoch``: (images, 3) int64 of row offset, column offset, flip."""
        rng = generator(seed, "augmentation", epoch)
        offsets = rng.integers(0, 2 * self.padding + 1, size=(images, 2))
        flips = rng.integers(0, 2, size=(images, 1)) if self.flip else np.zeros((images, 1), dtype=np.int64)
        return np.concatenate([offsets, flips], axis=1)

    def apply(self, batch: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """``batch: (B, C, H, W)`` of any type, ``drawn: (B, 3)`` from :meth:`draw`, on one device; the shape stays."""
        height, width = batch.shape[2:]
        if self.padding:
            batch = torch.nn.functional.pad(batch, [self.padding] * 4)
        columns = torch.arange(width, device=batch.device)
        columns = torch.where(drawn[:, 2:] > 0, columns.flip(0), columns) + drawn[:, 1:2]
        rows = torch.arange(height, device=batch.device) + drawn[:, :1]
        index = torch.arange(len(batch), device=batch.device)[:, None, None]
        return batch.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


class ImageSet:
    """Images and, perhaps, labels.

    Args:
        name: for messages, such as ``"digits/train"``.
        images: (N, 3, H, W) uint8; grey images have three equal channels.
        labels: (N,) int64, or a function that returns them when they are first asked for, or None. A label-free objective never asks.
        classes: the classes' names, in the order of the labels.
        augmentation: what suits this kind of image.
    """

    def __init__(
        self,
        name: str,
        images: torch.Tensor,
        labels: torch.Tensor | Callable[[], torch.Tensor] | None,
        classes: tuple[str, ...] = (),
        augmentation: Augmentation = Augmentation(),
    ) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise DataError(f"{name}: images must be (N, 3, H, W) uint8, but got {tuple(images.shape)} {images.dtype}.")
        if len(images) == 0:
            raise DataError(f"{name}: there are no images.", "Check the path and the split.")
        self.name, self.images, self.classes, self.augmentation = name, images, classes, augmentation
        self._labels = labels if labels is None or isinstance(labels, torch.Tensor) else cache(labels)  # one call serves subsets too

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.images.shape[2]), int(self.images.shape[3])

    @property
    def labels(self) -> torch.Tensor:
        """(N,) int64.

        Raises:
            LabelError: the data has no labels.
        """
        if self._labels is None:
            raise LabelError(
                f"{self.name}: these images have no labels.",
                "Use a label-free objective (random_labels), or put the images into one folder a class.",
            )
        labels = self._labels if isinstance(self._labels, torch.Tensor) else self._labels()
        if labels.shape != (len(self),):
            raise DataError(f"{self.name}: {len(self)} images need as many labels, but got {tuple(labels.shape)}.")
        self._labels = labels
        return labels

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and (population) standard deviation of each channel, in [0, 1]: (3,) and (3,) float32. Uses at most 10,000 evenly spaced images."""
        step = -(-len(self) // 10_000)
        counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in self.images[::step].unbind(1)]).double()
        share, levels = counts / counts.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64) / 255
        mean = share @ levels
        variance = (share * (levels - mean[:, None]) ** 2).sum(1)
        return mean.float(), variance.sqrt().clamp_min(1e-3).float()

    def identity(self) -> dict[str, object]:
        """What tells these images from others when a training is resumed: name, number, size, augmentation, checksum of the pixels."""
        checksum = zlib.crc32(np.ascontiguousarray(self.images.numpy()).data)
        return {"name": self.name, "images": len(self), "size": self.size, "augmentation": asdict(self.augmentation), "crc32": checksum}

    def subset(self, index: npt.NDArray[Any], name: str | None = None) -> ImageSet:
        """The images at ``index``, labels still only on demand."""
        chosen = torch.from_numpy(np.ascontiguousarray(index))
        whole = self._labels
        labels = None if whole is None else lambda: (whole if isinstance(whole, torch.Tensor) else whole())[chosen]
        return ImageSet(name or self.name, self.images[chosen], labels, self.classes, self.augmentation)


@dataclass(frozen=True)
class ImageData:
    """``train`` is what searches and trainings see, ``test`` what accuracies are measured on (None: only label-free use)."""

    train: ImageSet
    test: ImageSet | None

    def limited(self, limit: int | None, seed: int) -> ImageData:
        """The same with at most ``limit`` training images, a seeded uniform draw."""
        if limit is None or limit >= len(self.train):
            return self
        index = np.sort(generator(seed, "data limit").permutation(len(self.train))[:limit])
        return replace(self, train=self.train.subset(index))


def hold_out(images: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Indices of a training and a test part of ``images`` images, both sorted: 20 %, at least one, are the test part, a draw with a fixed seed.

    Raises:
        DataError: fewer than two images.
    """
    if images < 2:
        raise DataError(f"{images} labelled image(s) cannot be split into a training and a test part.", "Give more images, or a test part.")
    order = generator(0, "folder split").permutation(images)
    test = max(1, images // 5)
    return np.sort(order[test:]), np.sort(order[:test])
