"""Images in one NumPy archive, as :func:`numpy.savez` writes it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nni_plugins.spaces.errors import closest

from ..errors import DataError
from .augmentation import Augmentation
from .images import ImageData, ImageSet, hold_out

KNOWN = ("images", "labels", "test_images", "test_labels")
MAX_CLASSES = 100_000
EXPECTED = "Expected an archive of numpy.savez(path, images=..., labels=...); see nni-plugins docs data."


def load(path: str) -> ImageData:
    """``images`` (N, H, W) or (N, H, W, 3) uint8, and where there are any ``labels`` (N,) integers, ``test_images``,
    ``test_labels``.

    Grey images get three equal channels. Labels without test images: a seeded uniform 20 % become the test part.

    Raises:
        DataError: no such file, no archive, damaged, a pickle inside, an array that is missing or has the wrong type or
            shape.
    """
    file = Path(os.path.expanduser(path))
    arrays = _read(file)
    if "images" not in arrays:
        found = closest("images", arrays) if arrays else "it is empty"
        raise DataError(f"{file}: has no array 'images'; {found}", EXPECTED)
    unknown = sorted(set(arrays) - set(KNOWN))
    if unknown:
        hints = "; ".join(f"{name!r}: {closest(name, KNOWN)}" for name in unknown[:4])
        warnings.warn(f"{file}: arrays that nothing reads: {hints}", stacklevel=2)
    images, labels = _images(file, arrays, "images"), _labels(file, arrays, "labels", "images")
    test_images, test_labels = None, _labels(file, arrays, "test_labels", "test_images")
    if "test_images" in arrays:
        test_images = _images(file, arrays, "test_images")
        if images.shape[1:] != test_images.shape[1:]:
            raise DataError(
                f"{file}: images are {tuple(images.shape[2:])} pixels, but test_images {tuple(test_images.shape[2:])}.",
                EXPECTED,
            )
        if (labels is None) != (test_labels is None):
            given = "labels" if test_labels is None else "test_labels"
            raise DataError(
                f"{file}: has test_images, but of labels and test_labels only {given}.", "Give both or none."
            )
    elif labels is not None:
        train, test = (torch.from_numpy(index) for index in hold_out(len(images), labels=labels.numpy()))
        images, labels, test_images, test_labels = images[train], labels[train], images[test], labels[test]
    count = 1 + max((int(y.max()) for y in (labels, test_labels) if y is not None), default=-1)
    classes = tuple(str(i) for i in range(count))
    augmentation = Augmentation(padding=max(1, images.shape[2] // 8), flip=True)
    train_set = ImageSet(f"{file.stem}/train", images, labels, classes, augmentation)
    return ImageData(
        train_set,
        None if test_images is None else ImageSet(f"{file.stem}/test", test_images, test_labels, classes, augmentation),
    )


def _read(file: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of the archive that we know; of others only the name."""
    if not file.is_file():
        raise DataError(f"{file}: {'is a folder, not a file' if file.is_dir() else 'no such file'}.", EXPECTED)
    try:
        archive = np.load(file, allow_pickle=False)
    except Exception:
        raise DataError(f"{file}: no NumPy archive, or a truncated one. (A pickle is refused.)", EXPECTED) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{file}: holds a single array, not an archive of named ones.", EXPECTED)
    arrays = {}
    with archive:
        for name in archive.files:
            try:
                arrays[name] = archive[name] if name in KNOWN else np.empty(0)
            except Exception as error:
                if "pickle" in str(error):  # NumPy's own message goes on to recommend trusting it
                    raise DataError(
                        f"{file}: {name} holds Python objects (a pickle) and is refused.",
                        "Store plain arrays of numbers.",
                    ) from None
                raise DataError(
                    f"{file}: {name} is truncated or damaged ({str(error) or type(error).__name__}).",
                    "Write the file again.",
                ) from None
            if not isinstance(arrays[name], np.ndarray):
                raise DataError(f"{file}: {name} is not a NumPy array.", EXPECTED)
    return arrays


def _images(file: Path, arrays: dict[str, npt.NDArray[Any]], name: str) -> torch.Tensor:
    """(N, 3, H, W) uint8."""
    array = arrays[name]
    if (
        array.dtype != np.uint8
        or not (array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 3))
        or 0 in array.shape
    ):
        raise DataError(
            f"{file}: {name} must be (N, H, W) or (N, H, W, 3) uint8, but is {array.shape} {array.dtype}.", EXPECTED
        )
    if array.ndim == 3:
        return torch.from_numpy(np.repeat(array[:, None], 3, axis=1))
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def _labels(file: Path, arrays: dict[str, npt.NDArray[Any]], name: str, images: str) -> torch.Tensor | None:
    """(N,) int64."""
    if name not in arrays:
        return None
    if images not in arrays:
        raise DataError(f"{file}: has {name}, but no {images}.", EXPECTED)
    array, needed = arrays[name], len(arrays[images])
    if array.dtype.kind not in "iu" or array.shape != (needed,):
        raise DataError(
            f"{file}: {name} must be ({needed},) integers, one for each of {images}, but is {array.shape} {array.dtype}.",
            EXPECTED,
        )
    if array.min() < 0 or array.max() >= MAX_CLASSES:
        raise DataError(
            f"{file}: {name} must count classes from 0 to at most {MAX_CLASSES - 1}, but go from {array.min()} to {array.max()}.",
            EXPECTED,
        )
    return torch.from_numpy(array.astype(np.int64))
