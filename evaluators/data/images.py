"""A set of images, in memory or in files, with what is known of them: labels, label maps, statistics, augmentation."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import DataError, LabelError
from ..randomness import generator
from .augmentation import Augmentation, ImageAugmentation
from .report import DataReport
from .streaming import Files, Pixels, Resident, Streamed

SAMPLE = 10_000
CHUNK = 256
PLAIN = Augmentation()


class ImageSet:
    """Images and, perhaps, labels.

    Args:
        name: for messages, such as ``"digits/train"``.
        images: (N, 3, H, W) uint8, grey images with three equal channels; or the files that they are read from.
        labels: (N,) int64, or a function that returns them when they are first asked for, or None. A label-free
            objective never asks.
        classes: the classes' names, in the order of the labels.
        augmentation: what suits this kind of image.
        maps: (N, H, W) uint8, a class for each pixel and 255 where there is none; or the files that they are read from,
            or None.
    """

    def __init__(
        self,
        name: str,
        images: torch.Tensor | Files,
        labels: torch.Tensor | Callable[[], torch.Tensor] | None,
        classes: tuple[str, ...] = (),
        augmentation: ImageAugmentation = PLAIN,
        maps: torch.Tensor | Files | None = None,
    ) -> None:
        if isinstance(images, torch.Tensor) and (
            images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3
        ):
            raise DataError(f"{name}: images must be (N, 3, H, W) uint8, but got {tuple(images.shape)} {images.dtype}.")
        if len(images) == 0:
            raise DataError(f"{name}: there are no images.", "Check the path and the split.")
        shape = (len(images), *images.shape[-2:])
        if isinstance(maps, torch.Tensor) and (maps.dtype != torch.uint8 or maps.shape != shape):
            raise DataError(f"{name}: label maps must be {shape} uint8, but got {tuple(maps.shape)} {maps.dtype}.")
        if isinstance(maps, Files) and (len(maps), *maps.shape) != shape:
            raise DataError(f"{name}: label maps must be {shape}, but got {(len(maps), *maps.shape)}.")
        self.name, self.classes, self.augmentation = name, classes, augmentation
        self._images, self._maps = images, maps
        self._labels = (
            labels if labels is None or isinstance(labels, torch.Tensor) else cache(labels)
        )  # one call serves subsets too
        self._statistics: tuple[torch.Tensor, torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self._images)

    @property
    def streamed(self) -> bool:
        """Whether the images are read from their files when they are needed."""
        return isinstance(self._images, Files)

    @property
    def images(self) -> torch.Tensor:
        """(N, 3, H, W) uint8, of images in memory.

        Raises:
            DataError: the images are streamed.
        """
        if isinstance(self._images, Files):
            raise DataError(
                f"{self.name}: these images are streamed, not held in memory.",
                "Use on(device).gather(index), or data.resident: true.",
            )
        return self._images

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, as they are stored."""
        return int(self._images.shape[-2]), int(self._images.shape[-1])

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels of what a network is trained on: after the augmentation."""
        return self.augmentation.output_size(self.size)

    @property
    def pixel_bytes(self) -> int:
        """Of all images when decoded."""
        return 3 * len(self) * self.size[0] * self.size[1]

    def on(self, device: torch.device | str) -> Pixels:
        """The images, and the label maps when they are asked for, for use on ``device``."""
        if isinstance(self._images, torch.Tensor):
            return Resident(self._images.to(device), lambda: self.maps.to(device))
        return Streamed(self._images, self._map_source, device)

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

    @property
    def maps(self) -> torch.Tensor:
        """(N, H, W) uint8: the class of each pixel, 255 where there is none. Read when they are first asked for.

        Raises:
            LabelError: the data has none.
            DataError: a file cannot be read, or holds something else.
        """
        source = self._map_source()
        if isinstance(source, Files):
            self._maps = source = source.read_all()
        return source

    def _map_source(self) -> torch.Tensor | Files:
        if self._maps is None:
            raise LabelError(
                f"{self.name}: these images have no label maps.",
                "Use a label-free objective, or images with label files (data.source: segmentation; see nni-plugins docs data).",
            )
        return self._maps

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and (population) standard deviation of each channel, in [0, 1]: (3,) and (3,) float32.

        Of at most 10,000 images: evenly spaced ones in memory, a draw with a fixed seed of streamed ones, for files lie
        side by side that were taken one after the other, and this part is read once.
        """
        if self._statistics is None:
            if isinstance(self._images, Files):
                index = np.sort(generator(0, "statistics").permutation(len(self))[:SAMPLE])
                pixels = self.on("cpu")
                pixels.plan(index)
                parts = (pixels.gather(torch.from_numpy(index[i : i + CHUNK])) for i in range(0, len(index), CHUNK))
                counts = sum((_levels(part) for part in parts), torch.zeros(3, 256, dtype=torch.float64))
            else:
                counts = _levels(self._images[:: -(-len(self) // SAMPLE)])
            share, levels = counts / counts.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64) / 255
            mean = share @ levels
            variance = (share * (levels - mean[:, None]) ** 2).sum(1)
            self._statistics = mean.float(), variance.sqrt().clamp_min(1e-3).float()
        return self._statistics

    def identity(self) -> dict[str, object]:
        """What tells these images from others when a training is resumed: name, number, size, augmentation, and a
        checksum of the pixels, or, where the images are streamed, of their files' names and sizes.
        """
        known = {
            "name": self.name,
            "images": len(self),
            "size": self.size,
            "augmentation": self.augmentation.describe(),
        }
        if isinstance(self._images, Files):
            return {**known, "files": self._images.checksum()}
        return {**known, "crc32": zlib.crc32(np.ascontiguousarray(self._images.numpy()).data)}

    def subset(self, index: npt.NDArray[Any], name: str | None = None) -> ImageSet:
        """The images at ``index``, in that order; labels and label maps still only on demand."""
        chosen = torch.from_numpy(np.ascontiguousarray(index))
        whole = self._labels
        labels = None if whole is None else lambda: (whole if isinstance(whole, torch.Tensor) else whole())[chosen]
        images = self._images.take(index) if isinstance(self._images, Files) else self._images[chosen]
        maps = (
            self._maps.take(index)
            if isinstance(self._maps, Files)
            else None
            if self._maps is None
            else self._maps[chosen]
        )
        return ImageSet(name or self.name, images, labels, self.classes, self.augmentation, maps)

    def in_memory(self) -> ImageSet:
        """The same with all images decoded.

        Raises:
            DataError: a file cannot be read.
        """
        if isinstance(self._images, torch.Tensor):
            return self
        return ImageSet(self.name, self._images.read_all(), self._labels, self.classes, self.augmentation, self._maps)


def _levels(images: torch.Tensor) -> torch.Tensor:
    """How often each grey level occurs in ``images: (N, 3, H, W)`` uint8: (3, 256) float64."""
    return torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]).double()


@dataclass(frozen=True)
class ImageData:
    """``train`` is what searches and trainings see, ``test`` what accuracies are measured on (None: only label-free
    use). ``report``: what is there, and what of it is used.
    """

    train: ImageSet
    test: ImageSet | None
    report: DataReport | None = None

    def with_test_part(self, share: float) -> ImageData:
        """The same where there is a test part; otherwise ``share`` of the images become one, see :func:`hold_out`.

        Raises:
            DataError: fewer than two images, or folders of classes of which none has two.
        """
        if self.test is not None:
            return self
        told = self.report is not None and self.report.parts["train"].classes
        train, test = hold_out(len(self.train), share, self.train.labels.numpy() if told else None)
        return replace(self, train=self.train.subset(train), test=self.train.subset(test))

    def limited(self, limit: int | None, seed: int) -> ImageData:
        """The same with at most ``limit`` training images, a seeded uniform draw."""
        if limit is None or limit >= len(self.train):
            return self
        index = np.sort(generator(seed, "data limit").permutation(len(self.train))[:limit])
        return replace(self, train=self.train.subset(index))

    def per_class(self, share: float, seed: int) -> ImageData:
        """The same with the ``share`` of the training images of every class, rounded, but at least one: a seeded draw.

        Raises:
            DataError: the images have no labels.
        """
        rng = generator(seed, "data per class")
        chosen = [
            rng.permutation(members)[: max(1, math.floor(share * len(members) + 0.5))]
            for members in self._members("per_class")
        ]
        return replace(self, train=self.train.subset(np.sort(np.concatenate(chosen))))

    def stratified(self, seed: int) -> ImageData:
        """The same with the training images in such an order that any number of first images holds the same share of
        every class, to within about one image: so do then the two parts of a differentiable search that takes the first
        ``portion`` for its weights.

        Raises:
            DataError: the images have no labels.
        """
        rng, members = generator(seed, "data order per class"), self._members("split_per_class")
        # Image j of a class of n belongs at (j + offset) / n; offsets that are spread evenly keep small classes from
        # coming all at once.
        offsets = (rng.permutation(len(members)) + 0.5) / len(members)
        index = np.concatenate([rng.permutation(of_class) for of_class in members])
        place = np.concatenate(
            [
                (np.arange(len(of_class)) + offset) / len(of_class)
                for of_class, offset in zip(members, offsets, strict=True)
            ]
        )
        return replace(self, train=self.train.subset(index[np.argsort(place, kind="stable")]))

    def _members(self, setting: str) -> list[npt.NDArray[np.int64]]:
        """The indices of the training images of each class that has any."""
        try:
            labels = self.train.labels.numpy()
        except LabelError:
            raise DataError(
                f"{self.train.name}: {setting} needs to know the images' classes, but they have no labels.",
                "Put the images into one folder a class, or use limit, which needs none.",
            ) from None
        order = np.argsort(labels, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def hold_out(
    images: int, share: float = 0.2, labels: npt.NDArray[Any] | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Indices of a training and a test part of ``images`` images, both sorted: ``share``, at least one, are the test
    part, a draw with a fixed seed. A class of ``labels`` that would lose all its images keeps its first one.

    Raises:
        DataError: fewer than two images, or no class has two.
    """
    if images < 2:
        raise DataError(
            f"{images} image(s) cannot be split into a training and a test part.",
            "Give more images, or a test part.",
        )
    order = generator(0, "folder split").permutation(images)
    test = min(max(1, math.floor(share * images + 1e-9)), images - 1)
    return keep_classes(np.sort(order[test:]), np.sort(order[:test]), labels)


def keep_classes(
    kept: npt.NDArray[Any], held_out: npt.NDArray[Any], labels: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The two parts, where a class of ``labels`` without an image among ``kept`` gets its first of ``held_out``.

    Raises:
        DataError: every class has one image.
    """
    if labels is None:
        return kept, held_out
    lost, first = np.unique(labels[held_out], return_index=True)
    back = held_out[first[~np.isin(lost, labels[kept])]]
    if not len(back):
        return kept, held_out
    kept, rest = np.sort(np.concatenate([kept, back])), np.setdiff1d(held_out, back)
    if not len(rest):  # then the largest class gives up one
        found, count = np.unique(labels[kept], return_counts=True)
        if count.max() < 2:
            raise DataError(
                f"of {len(kept)} images none can be held out: every class has one.",
                "Give more images of each class, or a test part.",
            )
        rest = kept[labels[kept] == found[count.argmax()]][-1:]
        kept = np.setdiff1d(kept, rest)
    return kept, rest
