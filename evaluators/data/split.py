"""The two parts of the training images that a search needs: one trains the weights, the other judges architectures."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..objectives import Objective, Supervised
from ..randomness import generator
from ..training.settings import BilevelSettings
from . import ImageSet

Index = npt.NDArray[np.int64]
EXPECTED = 10
"""A class of which a random draw would give a part at least so many images on average is missing there only if the
images are sorted.
"""


def halves(images: int, settings: BilevelSettings, seed: int) -> tuple[Index, Index]:
    """Indices of the images that train the weights, and of those that train the architecture parameters; both sorted."""
    order: Index = generator(seed, "split").permutation(images) if settings.shuffle_split else np.arange(images)
    split = math.floor(settings.portion * images + 1e-9)  # 0.29 * 100 is a little less than 29
    weights: Index = np.sort(order[:split])
    architecture: Index = np.sort(order[split:])
    return weights, architecture


def check_classes(images: ImageSet, objective: Objective, parts: tuple[Index, Index]) -> None:
    """Both parts must show the same classes; in a folder of classes the images come one class after the other.

    Raises:
        ConfigError: a class of many images is missing from one of ``parts``, and ``objective`` learns classes.
    """
    if not isinstance(objective, Supervised):
        return
    labels = images.labels.numpy()
    count = int(labels.max(initial=0)) + 1
    counts = [np.bincount(labels[part], minlength=count) for part in parts]
    for here, there, which in ((0, 1, "first"), (1, 0, "second")):
        missing = (counts[here] == 0) & (counts[there] * len(parts[here]) >= EXPECTED * (len(parts[0]) + len(parts[1])))
        if missing.any():
            raise ConfigError(
                f"{images.name}: {int(missing.sum())} of {count} classes have no image in the {which} part, for the images are sorted by class.",
                "Set shuffle_split: true, which draws the two parts, or data.split_per_class: true.",
            )
