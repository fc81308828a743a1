"""Batches of a training and of a test: order, shares of processes and of accumulated parts, mixing, normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..backends import require
from ..data.streaming import CHUNK, each
from ..devices import pins
from ..errors import DataError
from ..randomness import generator
from .augmented import Augmented, Loaded, Loader, Planned, global_fork, seed_everything
from .pictures import Pictures
from .settings import MixSettings, Recipe, Three
from .transforms import test_transform, test_view, training_transform

SAMPLE = 10_000
"""At most this many images are looked at for their mean and standard deviation."""
Normalisation = tuple[Three, Three]
"""Mean and standard deviation of R, G, B in [0, 1]."""


@dataclass(frozen=True)
class Part:
    """What one process computes at once, on its device.

    Args:
        images: (B, 3, S, S) float32, normalised.
        targets: (B,) int64 classes, or where images are mixed (B, K) float32 shares of the classes.
        labels: (B,) int64 classes of the images before mixing.
        weight: of the part's mean loss. Summed over the parts and averaged over the processes, weighted mean losses are
            the mean over the batch.
    """

    images: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor
    weight: float


def share(images: int, part: int, parts: int, symmetric: bool) -> npt.NDArray[np.int64]:
    """Places in a batch of ``images`` that belong to ``part`` of ``parts``, ascending.

    Args:
        symmetric: with place i also ``images - 1 - i``. timm mixes a batch with itself backwards, so that a part by
            itself mixes the pairs that the whole batch would mix.
    """
    length = images // 2 if symmetric else images
    first = np.arange(part * length // parts, (part + 1) * length // parts)
    if not symmetric:
        return first
    middle = np.arange(length, images - length) if part == parts - 1 else first[:0]
    chosen: npt.NDArray[np.int64] = np.concatenate([first, middle, images - 1 - first[::-1]])
    return chosen


class TrainingBatches:
    """The batches of every epoch, as functions of (seed, epoch): of nothing else, so neither of the number of workers,
    nor of the update that a run was resumed at. Order and augmentation do not depend on processes and parts either.

    Args:
        pictures: what is trained on; at least two images for each part of a batch.
        normalisation: see :func:`normalisation`.
        rank, world: this process, and how many there are.
        device: where the parts go.

    Raises:
        DataError: the images are too few or too small.
        ConfigError: an augmentation that timm does not know.
    """

    def __init__(
        self,
        pictures: Pictures,
        recipe: Recipe,
        normalisation: Normalisation,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        pictures.check_size(recipe.input.size)
        self.pictures, self.recipe, self.seed, self.device = pictures, recipe, seed, torch.device(device)
        self._rank, self._world, self._parts = rank, world, world * recipe.accumulate
        whole, rest = divmod(len(pictures), recipe.batch_size)
        self.updates = whole + (not recipe.drop_last and rest >= 2 * self._parts)
        if self.updates == 0:
            least = recipe.batch_size if recipe.drop_last else 2 * self._parts
            raise DataError(
                f"{pictures.name}: {len(pictures)} images do not fill one batch: at least {least} are needed.",
                "Use more images, or lower the recipe's "
                + ("batch_size or leave out drop_last." if recipe.drop_last else "accumulate or devices."),
            )
        self._loader = Loader(
            Augmented(pictures, training_transform(recipe, *normalisation), seed), recipe.workers, self.device
        )
        self._mixup = None if recipe.mix is None else mixup(recipe.mix, len(pictures.classes))

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[Part]]:
        """The parts of each update of ``epoch`` (from 0), from update ``first`` on: ``recipe.accumulate`` parts each.

        Only one epoch at a time: the iterator of an earlier one must not be used any more.

        Raises:
            DataError: a file cannot be decoded.
        """
        mix = self.recipe.mix
        mixes = mix is not None and (mix.epochs is None or epoch < mix.epochs)
        planned, weights = self._planned(epoch, first, mixes)
        loaded = self._loader.load(planned)
        for update in range(first, self.updates):
            parts = []
            for weight in weights[update - first]:
                images, labels = (x.to(self.device, non_blocking=pins(self.device)) for x in next(loaded))
                images, targets = self._mixed(images, labels, epoch, update) if mixes else (images, labels)
                parts.append(Part(images, targets, labels, weight))
            yield parts

    def close(self) -> None:
        """End the worker processes, if there are any; a later epoch starts new ones."""
        self._loader.close()

    def _planned(self, epoch: int, first: int, mixes: bool) -> tuple[list[Planned], list[list[float]]]:
        """Epoch and indices of each part of this process, and the weights of the parts of each update."""
        size, order = self.recipe.batch_size, generator(self.seed, "data order", epoch).permutation(len(self.pictures))
        planned: list[Planned] = []
        weights = []
        for update in range(first, self.updates):
            batch = order[update * size : (update + 1) * size]
            batch = batch[: len(batch) - len(batch) % 2] if mixes else batch  # timm mixes pairs
            mine = [
                batch[share(len(batch), part * self._world + self._rank, self._parts, self.recipe.mix is not None)]
                for part in range(self.recipe.accumulate)
            ]
            planned += [(epoch, index) for index in mine]
            weights.append([len(index) * self._world / len(batch) for index in mine])
        return planned, weights

    def _mixed(self, images: torch.Tensor, labels: torch.Tensor, epoch: int, update: int) -> Loaded:
        """The same draw for all parts of a batch in all processes."""
        assert self._mixup is not None
        with global_fork():
            seed_everything(self.seed, "mix", epoch, update)
            mixed, targets = self._mixup(images, labels)
        return mixed, targets


def mixup(settings: MixSettings, classes: int) -> Any:
    """timm's ``Mixup``, one draw a batch; label smoothing is the loss' affair."""
    return require("timm.data.mixup", "timm").Mixup(
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        prob=settings.probability,
        switch_prob=settings.switch,
        mode="batch",
        label_smoothing=0.0,
        num_classes=classes,
    )


def test_batches(
    pictures: Pictures,
    recipe: Recipe,
    normalisation: Normalisation,
    device: torch.device | str,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Loaded]:
    """Images and labels on ``device``, each image once over all processes; at most ``recipe.part_size`` at once.

    Raises:
        DataError: the images are too small, or a file cannot be decoded.
    """
    pictures.check_size(recipe.input.size)
    target, mine = torch.device(device), np.arange(rank, len(pictures), world, dtype=np.int64)
    planned = [(-1, mine[i : i + recipe.part_size]) for i in range(0, len(mine), recipe.part_size)]
    loader = Loader(Augmented(pictures, test_transform(recipe, *normalisation), None), recipe.workers, target)
    try:
        for images, labels in loader.load(planned):
            yield (
                images.to(target, non_blocking=pins(target)),
                labels.to(target, non_blocking=pins(target)),
            )
    finally:
        loader.close()


def normalisation(recipe: Recipe, pictures: Pictures) -> Normalisation:
    """The recipe's mean and standard deviation, or else those of the training images as tests see them (resized and
    cropped).

    Of at most 10,000 images, a draw with a fixed seed; population standard deviations, at least 0.001.

    Raises:
        DataError: the images are too small, or a file cannot be decoded.
    """
    pictures.check_size(recipe.input.size)
    if recipe.input.mean is not None and recipe.input.std is not None:
        return recipe.input.mean, recipe.input.std
    view, index = test_view(recipe), np.sort(generator(0, "statistics").permutation(len(pictures))[:SAMPLE])

    def levels(chunk: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How often each of 256 levels occurs in each channel: (3, 256)."""
        found = np.zeros((3, 256), dtype=np.int64)
        for i in chunk:
            pixels = np.asarray(view(pictures.image(int(i))))
            found += np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
        return found

    counts: npt.NDArray[np.int64] = sum(
        each(levels, [index[i : i + CHUNK] for i in range(0, len(index), CHUNK)]), np.zeros((3, 256), dtype=np.int64)
    )
    shares, values = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1)).clip(min=1e-3)
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))
