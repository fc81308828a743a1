"""What a network is trained to do: objectives turn images into inputs, targets, loss and metric.

Life cycle: the loop asks :meth:`Objective.head` once, :meth:`Objective.epoch_targets` at the start of every epoch, and
:meth:`Objective.loss` and :meth:`Objective.correct` at every step. An objective with ``label_free = True`` never touches
``images.labels``, so data whose labels raise can be used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch.nn import functional

from spaces.errors import closest

from .data import ImageSet
from .errors import ConfigError, DataError
from .randomness import generator


@dataclass(frozen=True)
class Head:
    """What the network must end in: ``classes`` logits."""

    classes: int


class Objective(ABC):
    """Base class of objectives with one class target an image."""

    label_free: ClassVar[bool]

    @abstractmethod
    def head(self, images: ImageSet) -> Head:
        """The head that a network for this objective on ``images`` needs."""

    @abstractmethod
    def epoch_targets(self, images: ImageSet, epoch: int) -> torch.Tensor:
        """The targets of all images in ``epoch`` (counted from 0): (N,) int64 in [0, classes). A pure function of its arguments."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy in nats of ``outputs: (B, classes)`` against ``targets: (B,)``."""
        return functional.cross_entropy(outputs, targets)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Number of images whose largest output is the target: () int64."""
        return (outputs.argmax(1) == targets).sum()


class Supervised(Objective):
    """The data's own labels."""

    label_free = False

    def head(self, images: ImageSet) -> Head:
        return Head(len(images.classes) or int(images.labels.max()) + 1)

    def epoch_targets(self, images: ImageSet, epoch: int) -> torch.Tensor:
        labels: torch.Tensor = images.labels
        return labels


class RandomLabels(Objective):
    """RLNAS: labels drawn uniformly at random (Zhang et al., CVPR 2021, section 3.1).

    Args:
        classes: number of random classes. The paper uses as many as the data set has.
        mode: ``"fixed"``: one label an image for the whole training, as the released CIFAR code has it; ``"resample"``: a new one at
            every use, as the authors' ImageNet loader had it (fact sheet, section 2).
        seed: of the labels alone; the other random numbers of a training do not depend on it.
    """

    label_free = True

    def __init__(self, classes: int, mode: Literal["fixed", "resample"] = "fixed", seed: int = 0) -> None:
        if not isinstance(classes, int) or classes < 2:
            raise ConfigError(f"classes >= 2 must hold, but got classes={classes!r}.")
        if mode not in ("fixed", "resample"):
            raise ConfigError(f"mode: unknown {mode!r}; {closest(str(mode), ('fixed', 'resample'))}")
        self.classes, self.mode, self.seed = classes, mode, seed

    def head(self, images: ImageSet) -> Head:
        return Head(self.classes)

    def epoch_targets(self, images: ImageSet, epoch: int) -> torch.Tensor:
        rng = generator(self.seed, "random labels", *((epoch,) if self.mode == "resample" else ()))
        return torch.from_numpy(rng.integers(0, self.classes, size=len(images)))


def check_targets(targets: torch.Tensor, images: ImageSet, classes: int) -> torch.Tensor:
    """``targets`` if they are one class in [0, classes) for each image.

    Raises:
        DataError: they are not.
    """
    if targets.shape != (len(images),) or targets.dtype != torch.int64:
        raise DataError(f"{images.name}: targets must be ({len(images)},) int64, but got {tuple(targets.shape)} {targets.dtype}.")
    low, high = cast(int, targets.min().item()), cast(int, targets.max().item())
    if low < 0 or high >= classes:
        raise DataError(f"{images.name}: targets lie in [{low}, {high}], but the network has {classes} classes.", f"Use classes={high + 1}.")
    return targets
