"""CIFAR-10 and CIFAR-100 as torchvision stores them: pickles, read without trusting them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import DataError
from .augmentation import Augmentation
from .images import ImageData, ImageSet
from .pickles import unpickle


@dataclass(frozen=True)
class _Format:
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str
    classes: int


FORMATS = {
    "cifar10": _Format(
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
        "batches.meta",
        "labels",
        "label_names",
        10,
    ),
    "cifar100": _Format("cifar-100-python", ("train",), "test", "meta", "fine_labels", "fine_label_names", 100),
}


def load(path: str, source: str) -> ImageData:
    """All images of ``source`` (``"cifar10"`` or ``"cifar100"``): (N, 3, 32, 32) uint8, CIFAR-100 with its fine labels.

    Args:
        path: the folder that torchvision was given as ``root``, or the folder of batches inside it.

    Raises:
        DataError: a file is missing or damaged, does not hold what it should, or wants to import something.
    """
    kind, root = FORMATS[source], Path(os.path.expanduser(path))
    folder = root / kind.folder if (root / kind.folder).is_dir() else root
    missing = [name for name in (*kind.train, kind.test) if not (folder / name).is_file()]
    if missing:
        other = next(
            (
                name
                for name, f in FORMATS.items()
                if name != source and any((root / p / f.train[0]).is_file() for p in ("", f.folder))
            ),
            None,
        )
        remedy = (
            f"It looks like {other}: set source to that."
            if other
            else f"torchvision downloads it: datasets.{source.upper()}(root, download=True)."
        )
        where = str(folder) if folder.is_dir() else f"{folder} (no such folder)"
        raise DataError(
            f"{where}: {', '.join(missing)} missing; expected {kind.folder}/ with {', '.join((*kind.train, kind.test))}.",
            remedy,
        )
    names = _names(folder / kind.meta, kind)

    def part(name: str, files: tuple[str, ...]) -> ImageSet:
        batches = [_batch(folder / file, kind) for file in files]
        pixels = np.concatenate([images for images, _ in batches]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([labels for _, labels in batches])
        return ImageSet(
            f"{source}/{name}",
            torch.from_numpy(pixels),
            torch.from_numpy(labels),
            names,
            Augmentation(padding=4, flip=True),
        )

    return ImageData(part("train", kind.train), part("test", (kind.test,)))


def _batch(file: Path, kind: _Format) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(N, 3072) uint8 and (N,) int64."""
    content = unpickle(file)
    absent = [key for key in ("data", kind.labels) if key not in content]
    if absent:
        raise DataError(
            f"{file}: has no {' and no '.join(absent)}; it has {', '.join(map(str, content)) or 'nothing'}.",
            "Download it again.",
        )
    images, given = content["data"], content[kind.labels]
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072:
        found = f"{images.shape} {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(f"{file}: data must be (N, 3072) uint8, but is {found}.", "Download it again.")
    if not isinstance(given, np.ndarray) and not (
        isinstance(given, list) and all(type(label) is int for label in given)
    ):
        raise DataError(f"{file}: {kind.labels} must be a list of integers.", "Download it again.")
    labels = np.asarray(given)
    if labels.shape != (len(images),):
        raise DataError(
            f"{file}: {len(images)} images need as many {kind.labels}, but there are {labels.shape}.",
            "Download it again.",
        )
    if len(labels) and (labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= kind.classes):
        raise DataError(
            f"{file}: {kind.labels} must be integers in [0, {kind.classes - 1}], but are {labels.dtype} in [{labels.min()}, {labels.max()}]."
        )
    return images, labels.astype(np.int64)


def _names(file: Path, kind: _Format) -> tuple[str, ...]:
    """The classes' names; numbers where the file that names them is missing."""
    if not file.is_file():
        return tuple(str(i) for i in range(kind.classes))
    names = unpickle(file).get(kind.names)
    if not isinstance(names, list) or len(names) != kind.classes:
        raise DataError(
            f"{file}: {kind.names} must be a list of {kind.classes} names.",
            "Download it again, or delete it: then numbers are the names.",
        )
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)
