"""What an objective is: it turns images into inputs, targets, loss and metric.

Life cycle: :meth:`Objective.check` refuses images that cannot serve, :meth:`Objective.head` says what the network must
end in. A loop then asks :meth:`Objective.epoch_targets` and :meth:`Objective.draw` at the start of every epoch, and
:meth:`Objective.prepare`, :meth:`Objective.loss`, :meth:`Objective.correct` and :meth:`Objective.count` at every step.
An objective with ``label_free = True`` never touches ``images.labels`` nor ``images.maps``, so data whose labels raise
can be used.

An objective's attributes are its constructor's arguments, by the same names, and JSON-able: they identify a run that is
resumed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from nni_plugins.spaces import heads
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.images import ImageSpace

from ..data import ImageSet
from ..errors import ConfigError, DataError

Size = tuple[int, int]
LINEAR = heads.Head()
CACHED = 1 << 16
"""Pixels that a CPU works on at a time."""
RESOLUTION = 30
"""Bits of a drawn fraction: ``(fraction * n) >> RESOLUTION`` is a whole number in [0, n), the same on every device."""


@dataclass(frozen=True)
class Head:
    """What a network must end in: ``classes`` outputs of a :class:`nni_plugins.spaces.heads.Head`, on images of
    ``input_channels`` channels.
    """

    classes: int
    form: heads.Head = LINEAR
    input_channels: int = 3


@dataclass(frozen=True)
class Crops:
    """A batch before the objective has had it, on the device.

    ``images``: (B, 3, H, W) uint8, cropped and flipped. ``labels``: (B,) int64, those of
    :meth:`Objective.epoch_targets`, or None. ``maps``: (B, H, W) uint8 label maps of an objective that ``wants_maps``,
    or None. ``drawn``: (B, k), rows of :meth:`Objective.draw`. ``mean``, ``std``: (3, 1, 1), of the training images, in
    [0, 1]. ``colour``: the augmentation of colours, of (B, 3, H, W) in [0, 1] and the rows ``augmented`` that were
    drawn for it, or None.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    maps: torch.Tensor | None
    drawn: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    colour: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    augmented: torch.Tensor | None = None

    def standardised(self, images: torch.Tensor | None = None) -> torch.Tensor:
        """(B, 3, H, W) bytes -> float32 with colours augmented, less the mean, by the deviation. ``images``: others
        than these, and if they are float already, overwritten."""
        x = (self.images if images is None else images).float().div_(255)
        if self.colour is None or self.augmented is None:
            return x.sub_(self.mean).div_(self.std)
        return self.colour(x, self.augmented).sub(self.mean).div(self.std)

    def parts(self) -> Iterator[tuple[slice, Crops]]:
        """All at once on an accelerator; on a CPU so many images at a time that what is computed from them stays in its
        cache.
        """
        count = len(self.images)
        size = max(1, CACHED // math.prod(self.images.shape[2:])) if self.images.device.type == "cpu" else count
        for start in range(0, count, size):
            part = slice(start, start + size)
            labels, maps, augmented = (
                None if rows is None else rows[part] for rows in (self.labels, self.maps, self.augmented)
            )
            yield (
                part,
                replace(
                    self,
                    images=self.images[part],
                    labels=labels,
                    maps=maps,
                    drawn=self.drawn[part],
                    augmented=augmented,
                ),
            )


class Objective(ABC):
    """Base class. By default every image is one input with one class as target."""

    label_free: ClassVar[bool]
    wants_maps: ClassVar[bool] = False
    """Whether :meth:`prepare` needs label maps."""
    even: ClassVar[bool] = True
    """Whether all images have equally many targets; if not, processes weigh their losses by :meth:`count`."""
    metric: ClassVar[str] = "accuracy"
    """Which number of :meth:`summary` says how good a network is; larger is better."""

    @property
    def form(self) -> heads.Head:
        """The kind of head that :meth:`head` asks for."""
        return LINEAR

    @property
    def input_channels(self) -> int:
        """Channels of the inputs that :meth:`prepare` makes."""
        return 3

    @abstractmethod
    def head(self, images: ImageSet) -> Head:
        """The head that a network for this objective on ``images`` needs."""

    def check(self, images: ImageSet) -> None:
        """Refuse ``images`` that cannot serve, before anything is built.

        Raises:
            ConfigError: their size does not fit.
            DataError: their contents do not; LabelError: the labels that are needed are missing.
        """

    def epoch_targets(self, images: ImageSet, epoch: int) -> torch.Tensor | None:
        """The classes of all images in ``epoch`` (counted from 0): (N,) int64 in [0, classes), or None where
        :meth:`prepare` makes the targets from the images themselves. A pure function of its arguments."""
        return None

    def draw(self, seed: int, epoch: int, uses: int) -> npt.NDArray[np.int32]:
        """What is random about each use of an image in ``epoch``: (uses, k). A pure function of its arguments."""
        return np.zeros((uses, 0), dtype=np.int32)

    def draw_evaluation(self, seed: int, uses: int) -> npt.NDArray[np.int32]:
        """The same for an evaluation."""
        return self.draw(seed, 0, uses)

    def prepare(self, crops: Crops) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of a batch, on the device. By default (B, 3, H, W) float32 and the labels (B,) int64."""
        if crops.labels is None:
            raise ConfigError(
                f"{type(self).__name__} gives no targets.", "Return them from epoch_targets, or make them in prepare."
            )
        return crops.standardised(), crops.labels

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy in nats of ``outputs: (B, classes, ...)`` against ``targets: (B, ...)``."""
        return functional.cross_entropy(outputs, targets)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Number of targets that are the largest output: () int64."""
        return (outputs.argmax(1) == targets).sum()

    def count(self, targets: torch.Tensor) -> torch.Tensor:
        """Number of targets that :meth:`loss` is the mean of: () int64."""
        return torch.full((), targets.numel(), device=targets.device)  # torch.tensor would wait for the device

    def tally(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What an evaluation adds up over its batches: (3,) float64 of loss, correct and counted targets; subclasses
        may append.
        """
        count = self.count(targets).double()
        return torch.stack(
            [self.loss(outputs, targets).double() * count, self.correct(outputs, targets).double(), count]
        )

    def summary(self, tally: torch.Tensor) -> dict[str, float]:
        """Numbers of an evaluation from its summed tallies: ``loss`` in nats a target, ``accuracy`` in percent of the
        targets.
        """
        loss, correct, count = tally[:3].tolist()
        return (
            {"loss": loss / count, "accuracy": 100 * correct / count}
            if count
            else {"loss": float("nan"), "accuracy": float("nan")}
        )


def fractions(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Uniform fractions of ``2 ** RESOLUTION``, for draws whose range only the device knows."""
    return rng.integers(0, 1 << RESOLUTION, size=shape, dtype=np.int32)


def check_targets(targets: torch.Tensor, images: ImageSet, classes: int) -> torch.Tensor:
    """``targets`` if they are one class in [0, classes) for each image.

    Raises:
        DataError: they are not.
    """
    if targets.shape != (len(images),) or targets.dtype != torch.int64:
        raise DataError(
            f"{images.name}: targets must be ({len(images)},) int64, but got {tuple(targets.shape)} {targets.dtype}."
        )
    low, high = cast(int, targets.min().item()), cast(int, targets.max().item())
    if low < 0 or high >= classes:
        raise DataError(
            f"{images.name}: targets lie in [{low}, {high}], but the network has {classes} classes.",
            f"Use classes={high + 1}.",
        )
    return targets


def whole(name: str, value: object, least: int) -> None:
    """Refuse an argument that is not a whole number >= ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} >= {least} must hold, but got {name}={value!r}.")


def fitted(space: SearchSpace, objective: Objective, images: ImageSet) -> SearchSpace:
    """``space`` with the head and the input channels that ``objective`` needs on ``images``; architectures do not
    depend on them.

    Raises:
        ConfigError: its networks take no images or cannot end so, or the images' size does not fit.
        DataError, LabelError: see :meth:`Objective.check`.
    """
    if not space.takes_images:
        raise ConfigError(
            f"networks of {space.name} take no images, which {type(objective).__name__} needs.",
            "Choose a space of image networks.",
        )
    objective.check(images)
    head = objective.head(images)
    if isinstance(space, ImageSpace):
        return space.with_head(head.form, head.classes, head.input_channels)
    if head.form != LINEAR or head.input_channels != 3:
        raise ConfigError(
            f"{type(objective).__name__} needs networks with a {head.form.kind!r} head on {head.input_channels} channels, but those of "
            f"{space.name} end in linear classifiers of colour images.",
            "Derive the space from nni_plugins.spaces.ImageSpace, or choose supervised or random_labels.",
        )
    return space.with_classes(head.classes)


def check_fitted(space: SearchSpace, objective: Objective, images: ImageSet) -> None:
    """Refuse a network of ``space`` that does not end as ``objective`` needs it.

    Raises:
        ConfigError: and as :func:`fitted`.
    """
    needed = fitted(space, objective, images)
    classes, wanted = getattr(space, "classes", None), getattr(needed, "classes", None)
    if classes != wanted:
        raise ConfigError(
            f"the supernet has {classes} classes, but the objective needs {wanted}.", f"Use classes={wanted}."
        )
    if needed.config() != space.config():
        assert isinstance(space, ImageSpace) and isinstance(needed, ImageSpace)
        ours, theirs = ((s.head.config(), s.input_channels) for s in (space, needed))
        raise ConfigError(
            f"the supernet has head {ours[0]!r} on {ours[1]} channels, but {type(objective).__name__} needs {theirs[0]!r} on {theirs[1]}.",
            "Build it from evaluators.fitted(space, objective, images).",
        )
