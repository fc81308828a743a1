"""ImageNet16-120: the first 120 classes of ImageNet at 16 x 16 pixels, the third data set of NAS-Bench-201.

Chrabaszcz et al., "A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets", 2017; Dong & Yang,
"NAS-Bench-201", ICLR 2020, section 2.2.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from .augmentation import Augmentation
from .images import ImageData, ImageSet
from .pickles import unpickle

NAME = "imagenet16_120"
CLASSES, OF = 120, 1000
TRAIN, TEST = tuple(f"train_data_batch_{i}" for i in range(1, 11)), ("val_data",)
SIDE = 16


def load(path: str) -> ImageData:
    """The images of the first 120 of the files' 1,000 classes: 151,700 and, as test part, the 6,000 of the validation
    files, (N, 3, 16, 16) uint8 with labels from 0. (The benchmark divides the 6,000 into a validation and a test part.)

    Args:
        path: the folder with ``train_data_batch_1`` to ``10`` and ``val_data``.

    Raises:
        DataError: a file is missing or damaged, or does not hold what it should.
    """
    root = Path(os.path.expanduser(path))
    missing = [name for name in (*TRAIN, *TEST) if not (root / name).is_file()]
    if missing:
        where = str(root) if root.is_dir() else f"{root} (no such folder)"
        raise DataError(
            f"{where}: {', '.join(missing)} missing; expected {TRAIN[0]} to {TRAIN[-1]} and {TEST[0]}.",
            "ImageNet's site has them as the 16 x 16 version of downsampled ImageNet; unpack it there.",
        )

    def part(name: str, files: tuple[str, ...]) -> ImageSet:
        batches = [_batch(root / file) for file in files]
        images, labels = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))
        classes = tuple(str(i) for i in range(CLASSES))
        return ImageSet(f"{NAME}/{name}", images, labels, classes, Augmentation(padding=2, flip=True))

    return ImageData(part("train", TRAIN), part("test", TEST))


def _batch(file: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 3, 16, 16) uint8 and (n,) int64 from 0, of the first 120 classes."""
    content = unpickle(file)
    images, labels = content.get("data"), np.asarray(content.get("labels", ()))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (3 * SIDE**2,):
        found = f"{images.shape} {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"{file}: data must be (N, {3 * SIDE**2}) uint8, but is {found}.", "Download it again.")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{file}: {len(images)} images need as many whole numbers as labels, but there are {labels.shape} "
            f"{labels.dtype}.",
            "Download it again.",
        )
    if len(labels) and not (labels.min() >= 1 and labels.max() <= OF):
        raise DataError(f"{file}: labels must lie in [1, {OF}], but lie in [{labels.min()}, {labels.max()}].")
    kept = np.flatnonzero(labels <= CLASSES)
    pixels = np.ascontiguousarray(images[kept]).reshape(-1, 3, SIDE, SIDE)
    return torch.from_numpy(pixels), torch.from_numpy(labels[kept].astype(np.int64) - 1)
