"""SVHN's cropped digits (format 2) as torchvision stores them: MATLAB files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import DataError
from .augmentation import Augmentation
from .images import ImageData, ImageSet

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
AGAIN = "Download it again."


def load(path: str) -> ImageData:
    """(N, 3, 32, 32) uint8; label 10 of the files is the digit 0. The additional training images (``extra_32x32.mat``)
    are left alone. Crops and flips are those of R-DARTS' search (official code), which flips digits, too.

    Args:
        path: the folder that holds both files.

    Raises:
        DataError: a file is missing or damaged, or does not hold what it should.
    """
    folder = Path(os.path.expanduser(path))
    missing = [name for name in FILES.values() if not (folder / name).is_file()]
    if missing:
        where = str(folder) if folder.is_dir() else f"{folder} (no such folder)"
        raise DataError(
            f"{where}: {' and '.join(missing)} missing; expected {' and '.join(FILES.values())}.",
            "torchvision downloads them: datasets.SVHN(root, split, download=True) for split 'train' and 'test'.",
        )
    names = tuple(str(digit) for digit in range(10))
    crops = Augmentation(padding=4, flip=True)
    sets = {part: ImageSet(f"svhn/{part}", *_read(folder / name), names, crops) for part, name in FILES.items()}
    return ImageData(sets["train"], sets["test"])


def _read(file: Path) -> tuple[torch.Tensor, torch.Tensor]:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(file, variable_names=["X", "y"])
    except Exception as error:  # SciPy names many kinds of damage in as many ways
        raise DataError(
            f"{file}: truncated, damaged or no MATLAB file ({str(error) or type(error).__name__}).", AGAIN
        ) from None
    images, labels = content.get("X"), content.get("y")
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[:3] != (32, 32, 3)
    ):
        raise DataError(f"{file}: X must be (32, 32, 3, N) uint8, but is {_shown(images)}.", AGAIN)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.size != images.shape[3]:
        raise DataError(
            f"{file}: y must be {images.shape[3]} integers, one for each image, but is {_shown(labels)}.", AGAIN
        )
    digits: npt.NDArray[np.int64] = labels.reshape(-1).astype(np.int64)
    if len(digits) and (digits.min() < 0 or digits.max() > 10):
        raise DataError(f"{file}: y must lie in 1 ... 10, but lies in {digits.min()} ... {digits.max()}.", AGAIN)
    return torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1))), torch.from_numpy(digits % 10)


def _shown(array: object) -> str:
    return (
        f"{array.shape} {array.dtype}"
        if isinstance(array, np.ndarray)
        else "missing"
        if array is None
        else type(array).__name__
    )
