"""Objectives with one given class an image: the data's own, or one drawn at random."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from nni_plugins.spaces.errors import closest

from ..data import ImageSet
from ..errors import ConfigError
from ..randomness import generator
from .base import Head, Objective, whole


class Smoothed(Objective):
    """One given class an image, with label smoothing: the target is (1 - s) of the class and s / K of each of all K
    (Szegedy et al., CVPR 2016, section 7).

    Args:
        smoothing: s, in [0, 1).
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        if not isinstance(smoothing, int | float) or isinstance(smoothing, bool) or not 0 <= smoothing < 1:
            raise ConfigError(f"0 <= smoothing < 1 must hold, but got smoothing={smoothing!r}.")
        self.smoothing = float(smoothing)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy in nats of ``outputs: (B, classes)`` against the smoothed ``targets: (B,)``."""
        return functional.cross_entropy(outputs, targets, label_smoothing=self.smoothing)


class Supervised(Smoothed):
    """The data's own labels."""

    label_free = False

    def check(self, images: ImageSet) -> None:
        _ = images.labels

    def head(self, images: ImageSet) -> Head:
        return Head(len(images.classes) or int(images.labels.max()) + 1)

    def epoch_targets(self, images: ImageSet, epoch: int) -> torch.Tensor:
        labels: torch.Tensor = images.labels
        return labels


class RandomLabels(Smoothed):
    """RLNAS: labels drawn uniformly at random (Zhang et al., CVPR 2021, section 3.1).

    Args:
        classes: number of random classes. The paper uses as many as the data set has.
        mode: ``"fixed"``: one label an image for the whole training, as the released CIFAR code has it; ``"resample"``:
            a new one at every use, as the authors' ImageNet loader had it.
        seed: of the labels alone; the other random numbers of a training do not depend on it.
        smoothing: see :class:`Smoothed`; 0.1 in the official trainings on ImageNet.
    """

    label_free = True

    def __init__(
        self, classes: int, mode: Literal["fixed", "resample"] = "fixed", seed: int = 0, smoothing: float = 0.0
    ) -> None:
        super().__init__(smoothing)
        whole("classes", classes, 2)
        if mode not in ("fixed", "resample"):
            raise ConfigError(f"mode: unknown {mode!r}; {closest(str(mode), ('fixed', 'resample'))}")
        self.classes, self.mode, self.seed = classes, mode, seed

    def head(self, images: ImageSet) -> Head:
        return Head(self.classes)

    def epoch_targets(self, images: ImageSet, epoch: int) -> torch.Tensor:
        rng = generator(self.seed, "random labels", *((epoch,) if self.mode == "resample" else ()))
        return torch.from_numpy(rng.integers(0, self.classes, size=len(images)))
