"""scikit-learn's ``digits``: 1,797 real 8x8 images of handwritten digits that every installation has. The embedded
default.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..randomness import generator
from .augmentation import Augmentation
from .images import ImageData, ImageSet

TEST_IMAGES = 1197


def load() -> ImageData:
    """600 training and 1,197 test images, split once and for all by a fixed seed; (N, 3, 8, 8), crops by one pixel, no
    flips (a digit has a side).
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = torch.from_numpy(np.repeat(grey[:, None], 3, axis=1))
    labels = torch.from_numpy(digits.target.astype(np.int64))
    order = generator(0, "digits split").permutation(len(images))
    names = tuple(str(i) for i in range(10))
    augmentation = Augmentation(padding=1)

    def part(name: str, index: npt.NDArray[Any]) -> ImageSet:
        chosen = torch.from_numpy(np.sort(index))
        return ImageSet(f"digits/{name}", images[chosen], labels[chosen], names, augmentation)

    return ImageData(part("train", order[TEST_IMAGES:]), part("test", order[:TEST_IMAGES]))
