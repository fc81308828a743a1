"""Image and label files to arrays of one size."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "WEBP",
    "TIFF",
    "PPM",
)  # never EPS, which Pillow hands to Ghostscript whatever its suffix


class Reader(Protocol):
    """Fills ``row: (3, H, W)`` or ``(H, W)`` uint8 from a file, or says what is wrong with the file."""

    def __call__(self, file: str, row: npt.NDArray[np.uint8]) -> str | None: ...


class Unusable(Exception):
    """The file can be opened, but is not what is wanted."""


def is_image(name: str) -> bool:
    """By its suffix. Hidden files are none."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def box(size: tuple[int, int], height: int, width: int) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of the largest centred part of ``size`` (width, height) with the shape of ``height``
    by ``width``.
    """
    w, h = min(size[0], size[1] * width / height), min(size[1], size[0] * height / width)
    left, top = (size[0] - w) // 2, (size[1] - h) // 2
    return left, top, left + w, top + h


def read_image(file: str, row: npt.NDArray[np.uint8]) -> str | None:
    """RGB: the centre with the shape of ``row: (3, H, W)``, bilinearly resized (Pillow's, which averages when it
    shrinks).
    """
    _, height, width = row.shape

    def read(image: Image.Image) -> None:
        # JPEG: decode at a fraction of the size, but at least twice ours
        image.draft(None, (2 * width, 2 * height))  # type: ignore[arg-type]
        resized = _rgb(image).resize((width, height), Image.Resampling.BILINEAR, box=box(image.size, height, width))
        row[...] = np.asarray(resized).transpose(2, 0, 1)

    return _attempt(file, read)


def open_rgb(file: str) -> Image.Image | str:
    """The image in RGB at its own size, decoded, or what is wrong with the file. A camera's rotation mark is not
    applied.
    """
    found: list[Image.Image] = []
    return _attempt(file, lambda image: found.append(_rgb(image))) or found[0]


def _rgb(image: Image.Image) -> Image.Image:
    """16-bit grey keeps its upper eight bits."""
    _ranged(image)
    shallow = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode.startswith("I;16") else image
    return shallow.convert("RGB")


@dataclass(frozen=True)
class MapReader:
    """Label images.

    Args:
        table: (256,) int16: the class of each number in the file, 255 where it is ignored, negative where it may not
            occur.
        images: the image of each label file; both must have the same size.
    """

    table: npt.NDArray[np.int16]
    images: Mapping[str, str] = field(repr=False)

    def __call__(self, file: str, row: npt.NDArray[np.uint8]) -> str | None:
        height, width = row.shape

        def read(image: Image.Image) -> None:
            if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
                raise Unusable(f"mode {image.mode}; a label image has one number a pixel")
            numbers = np.asarray(image).astype(np.int64)
            if numbers.min() < 0 or numbers.max() > 255:
                raise Unusable(f"numbers from {numbers.min()} to {numbers.max()}")
            classes = self.table[numbers]
            if classes.min() < 0:
                known = int((self.table[:255] >= 0).nonzero()[0].max())
                raise Unusable(
                    f"label {numbers[classes < 0].max()}, but labels go from 0 to {known}, and 255 is no label"
                )
            with Image.open(self.images[file], formats=FORMATS) as partner:
                if partner.size != image.size:
                    raise Unusable(
                        f"{image.size[0]}x{image.size[1]} pixels, but its image has {partner.size[0]}x{partner.size[1]}"
                    )
            resized = Image.fromarray(classes.astype(np.uint8)).resize(
                (width, height), Image.Resampling.NEAREST, box=box(image.size, height, width)
            )
            row[...] = np.asarray(resized)

        return _attempt(file, read)


def inspect(file: str) -> tuple[int, str | None]:
    """The file's size in bytes, and what its header shows to be wrong with it."""
    try:
        size = os.stat(file).st_size
    except OSError as error:
        return 0, error.strerror
    return size, _attempt(file, _ranged)


def measure(file: str) -> tuple[int, tuple[int, int], str | None]:
    """By the header: the file's size in bytes, (height, width) in pixels, and what is wrong with it (then the sizes are
    0).
    """
    found: list[tuple[int, int]] = []

    def look(image: Image.Image) -> None:
        _ranged(image)
        found.append((image.size[1], image.size[0]))

    problem = _attempt(file, look)
    return (0, (0, 0), problem) if problem is not None else (os.path.getsize(file), found[0], None)


def image_size(file: str) -> tuple[int, int] | None:
    """(height, width) by the header; None if it cannot be read."""
    found: list[tuple[int, int]] = []
    _attempt(file, lambda image: found.append((image.size[1], image.size[0])))
    return found[0] if found else None


def _ranged(image: Image.Image) -> None:
    if image.mode in ("I", "F"):
        raise Unusable(f"mode {image.mode} has no fixed range")


def _attempt(file: str, use: Any) -> str | None:
    """``use(image)`` of the opened file, or what went wrong."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # to open a pipe would wait for ever
            return "not a regular file"
        with Image.open(file, formats=FORMATS) as image:
            use(image)
    except MemoryError:  # says nothing about the file
        raise
    except UnidentifiedImageError:
        return "no image format that we know"
    except Exception as error:
        return str(getattr(error, "strerror", None) or error or type(error).__name__)
    return None
