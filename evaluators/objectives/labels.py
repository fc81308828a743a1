"""Objectives with one given class an image: the data's own, or one drawn at random."""

from __future__ import annotations

from typing import Literal

import torch

from nni_plugins.spaces.errors import closest

from ..data import ImageSet
from ..errors import ConfigError
from ..randomness import generator
from .base import Head, Objective, whole


class Supervised(Objective):
    """The data's own labels."""

    label_free = False

    def check(self, images: ImageSet) -> None:
        _ = images.labels

    def head(self, images: ImageSet) -> Head:
        return Head(len(images.classes) or int(images.labels.max()) + 1)

    def epoch_targets(self, images: ImageSet, epoch: int) -> torch.Tensor:
        labels: torch.Tensor = images.labels
        return labels


class RandomLabels(Objective):
    """RLNAS: labels drawn uniformly at random (Zhang et al., CVPR 2021, section 3.1).

    Args:
        classes: number of random classes. The paper uses as many as the data set has.
        mode: ``"fixed"``: one label an image for the whole training, as the released CIFAR code has it; ``"resample"``:
            a new one at every use, as the authors' ImageNet loader had it (fact sheet, section 2).
        seed: of the labels alone; the other random numbers of a training do not depend on it.
    """

    label_free = True

    def __init__(self, classes: int, mode: Literal["fixed", "resample"] = "fixed", seed: int = 0) -> None:
        whole("classes", classes, 2)
        if mode not in ("fixed", "resample"):
            raise ConfigError(f"mode: unknown {mode!r}; {closest(str(mode), ('fixed', 'resample'))}")
        self.classes, self.mode, self.seed = classes, mode, seed

    def head(self, images: ImageSet) -> Head:
        return Head(self.classes)

    def epoch_targets(self, images: ImageSet, epoch: int) -> torch.Tensor:
        rng = generator(self.seed, "random labels", *((epoch,) if self.mode == "resample" else ()))
        return torch.from_numpy(rng.integers(0, self.classes, size=len(images)))
