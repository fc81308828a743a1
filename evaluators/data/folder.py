"""A folder of image files, with or without one sub-folder a class, and with or without ``train`` and ``test`` above them."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from ..errors import DataError
from .images import Augmentation, ImageData, ImageSet, hold_out

DEFAULT_SIZE = 32
MAX_BYTES = 8 * 10**9
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # never EPS, which Pillow hands to Ghostscript whatever its suffix
HELD_OUT = ("test", "val", "valid", "validation")
LAYOUT = (
    "Expected image files, or one folder of image files a class, or folders train and test (or val) with either of them inside; see docs/data.md."
)
CHUNK = 64


@dataclass(frozen=True)
class _Part:
    """Files in a fixed order, and labels (N,) int64 where there are class folders."""

    files: list[str]
    labels: npt.NDArray[Any] | None
    classes: tuple[str, ...]

    def take(self, index: npt.NDArray[Any]) -> _Part:
        return _Part([self.files[i] for i in index], None if self.labels is None else self.labels[index], self.classes)


def load(path: str, image_size: int) -> ImageData:
    """Every image below ``path``, its shorter side resized to ``image_size`` pixels and its centre cropped: (N, 3, S, S) uint8.

    Without a test part, class folders give up a seeded uniform 20 % of their images for it; a flat folder has ``test=None``. Images
    that cannot be read are left out with a warning, as long as they are at most 1 % of all, or a single one.

    Raises:
        DataError: no such folder, no images, a layout that is none of ours, too many unreadable images, or more than 8 GB of pixels.
    """
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        found = "is a file, not a folder" if root.exists() else "no such folder"
        raise DataError(f"{root}: {found}.", LAYOUT)
    try:
        parts = _parts(root)
    except OSError as error:
        raise DataError(f"{root}: cannot be listed: {error}.", "Check the permissions.") from None
    if len(parts["train"].classes) == 1:
        only = parts["train"].classes[0]
        warnings.warn(f"{root}: {only} is taken for a class, the only one. If it is none, move its images up by one folder.", stacklevel=2)
    images = sum(len(part.files) for part in parts.values())
    needed = 3 * image_size**2 * images
    if needed > MAX_BYTES:
        raise DataError(
            f"{root}: {images:,} images of {image_size}x{image_size} pixels need {needed / 1e9:.1f} GB; at most {MAX_BYTES / 1e9:g} GB are held.",
            "Choose a smaller image_size, or put fewer files into the folder.",
        )
    sets, unreadable = {}, []
    for name, part in parts.items():
        pixels, kept, problems = _read(part.files, image_size)
        sets[name] = (pixels, None if part.labels is None else torch.from_numpy(part.labels[kept]))
        unreadable += problems
    _judge(root, images, unreadable)
    augmentation = Augmentation(padding=max(1, image_size // 8), flip=True)
    built = {name: ImageSet(f"{root.absolute().name}/{name}", *sets[name], parts[name].classes, augmentation) for name in parts}
    return ImageData(built["train"], built.get("test"))


def _parts(root: Path) -> dict[str, _Part]:
    """``train`` and, unless the images have no labels and no test part of their own, ``test``."""
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    held_out = next((folders[name] for name in HELD_OUT if name in folders), None)
    if held_out is not None:
        if "train" not in folders:
            raise DataError(f"{root}: has a folder {held_out.name}, but no folder train.", LAYOUT)
        parts = {"train": _part(folders["train"]), "test": _part(held_out)}
        train, test = set(parts["train"].classes), set(parts["test"].classes)
        if train != test:
            sides = [f"only in {name}: {_few(sorted(only))}" for name, only in (("train", train - test), (held_out.name, test - train)) if only]
            raise DataError(f"{root}: train and {held_out.name} have different class folders ({'; '.join(sides)}).", "Make them the same.")
        return parts
    alone = "train" in folders and [f for f in _folders(root) if any(_walk(f, _above(root)))] == [folders["train"]]
    whole = _part(folders["train"] if alone else root)
    if whole.labels is None:
        return {"train": whole}
    train_index, test_index = hold_out(len(whole.files))
    return {"train": whole.take(train_index), "test": whole.take(test_index)}


def _part(folder: Path) -> _Part:
    """The images of a flat folder, or of class folders. A sub-folder without images is no class."""
    seen = _above(folder) | {_identity(place) for place in _folders(folder)}
    classes = {place.name: files for place in _folders(folder) if (files := list(_walk(place, set(seen))))}
    flat = [str(file) for file in sorted(folder.iterdir()) if _is_image(file.name) and not file.is_dir()]
    if flat and classes:
        raise DataError(
            f"{folder}: holds {len(flat)} images directly (such as {Path(flat[0]).name}) and image folders as well ({_few(sorted(classes))}).",
            "Move one of the two elsewhere: an image has either a class folder around it, or none of them has.",
        )
    if flat:
        return _Part(flat, None, ())
    if not classes:
        kinds = Counter(Path(file).suffix.lower() or "no suffix" for _, _, files in os.walk(folder) for file in files)
        others = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
        raise DataError(f"{folder}: holds no images ({'found: ' + others if others else 'it is empty'}).", LAYOUT)
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    return _Part([file for files in classes.values() for file in files], labels.astype(np.int64), tuple(classes))


def _folders(folder: Path) -> list[Path]:
    """Sub-folders, sorted, without hidden ones and links back to where we come from."""
    above = _above(folder)
    return sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith(".") and _identity(place) not in above)


def _above(folder: Path) -> set[tuple[int, int]]:
    real = Path(os.path.realpath(folder))
    return {_identity(place) for place in (real, *real.parents)}


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Image files in ``folder`` and below, in a fixed order. Folders in ``seen``, which grows, are not entered: that ends loops of links."""

    def stop(error: OSError) -> None:
        raise error

    def enter(place: str) -> bool:
        identity = _identity(place)
        if identity in seen:
            return False
        seen.add(identity)
        return True

    for current, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        folders[:] = [f for f in sorted(folders) if not f.startswith(".") and enter(os.path.join(current, f))]
        yield from (os.path.join(current, file) for file in sorted(files) if _is_image(file))


def _identity(place: str | Path) -> tuple[int, int]:
    status = os.stat(place)
    return status.st_dev, status.st_ino


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def _read(files: list[str], size: int) -> tuple[torch.Tensor, npt.NDArray[Any], list[str]]:
    """Pixels (K, 3, S, S) uint8 of the readable files, their indices (K,), and for each other file its name and what is wrong with it."""
    pixels = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    rows = pixels.numpy()

    def read(start: int) -> dict[int, str]:
        return {i: problem for i in range(start, min(start + CHUNK, len(files))) if (problem := _decode(files[i], rows[i]))}

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        problems = {i: problem for chunk in pool.map(read, range(0, len(files), CHUNK)) for i, problem in chunk.items()}
    kept = np.array([i for i in range(len(files)) if i not in problems], dtype=np.int64)
    for new, old in enumerate(kept):
        if new != old:
            rows[new] = rows[old]
    return pixels[: len(kept)], kept, [f"{files[i]} ({problem})" for i, problem in problems.items()]


def _decode(file: str, row: npt.NDArray[Any]) -> str | None:
    """Fill ``row: (3, S, S)``, or say what is wrong with the file."""
    size = row.shape[1]
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # to open a pipe would wait for ever
            return "not a regular file"
        with Image.open(file, formats=FORMATS) as image:
            image.draft(None, (2 * size, 2 * size))  # JPEG: decode at a fraction of the size, but at least twice ours
            if image.mode in ("I", "F"):
                return f"mode {image.mode} has no fixed range"
            shallow = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode.startswith("I;16") else image
            side, (width, height) = min(image.size), image.size
            left, top = (width - side) // 2, (height - side) // 2
            square = shallow.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
            row[...] = np.asarray(square).transpose(2, 0, 1)
    except MemoryError:  # says nothing about the file
        raise
    except UnidentifiedImageError:
        return "no image format that we know"
    except Exception as error:
        return str(getattr(error, "strerror", None) or error or type(error).__name__)
    return None


def _judge(root: Path, images: int, unreadable: list[str]) -> None:
    if not unreadable:
        return
    budget = max(1, images // 100)
    what = f"{root}: {len(unreadable)} of {images} images cannot be read"
    if len(unreadable) > budget or len(unreadable) == images:
        raise DataError(f"{what} (at most {budget} may be): {_few(unreadable)}.", "Repair or remove them.")
    warnings.warn(f"{what} and are left out: {_few(unreadable)}.", stacklevel=3)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
