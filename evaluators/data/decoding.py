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

from .colours import ColourTable, unpacked

FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "WEBP",
    "TIFF",
    "PPM",
)  # never EPS, which Pillow hands to Ghostscript whatever its suffix
ORIENTATION = 0x0112
"""EXIF's tag of how a camera was held."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image with that mark upright (JEITA CP-3451, tag Orientation; Pillow turns anticlockwise)."""


class Reader(Protocol):
    """Fills ``row: (3, H, W)`` or ``(H, W)`` uint8 from a file, or says what is wrong with the file."""

    def __call__(self, file: str, row: npt.NDArray[np.uint8]) -> str | None: ...


Table = npt.NDArray[np.int16] | ColourTable
"""The class of each number of a label image, or of each colour."""


class Unusable(Exception):
    """The file can be opened, but is not what is wanted."""


def orientation(image: Image.Image) -> int:
    """1 (upright) to 8, of an image that was opened but not decoded. Pillow turns TIFF files itself."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1  # a mark behind the pixels of a PNG would be known only after decoding them
    try:
        mark = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow's errors of damaged EXIF data have no common type, and the pixels may be in order
        return 1
    return mark if mark in TURNS else 1


def turned(size: tuple[int, int], mark: int) -> tuple[int, int]:
    """The size of an upright image, of that of its stored pixels."""
    return (size[1], size[0]) if mark >= 5 else size


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
        image.draft(None, turned((2 * width, 2 * height), orientation(image)))  # type: ignore[arg-type]
        rgb = _rgb(image)
        resized = rgb.resize((width, height), Image.Resampling.BILINEAR, box=box(rgb.size, height, width))
        row[...] = np.asarray(resized).transpose(2, 0, 1)

    return _attempt(file, read)


def open_rgb(file: str, upright: bool = True) -> Image.Image | str:
    """The image in RGB at its own size, decoded, or what is wrong with the file.

    Args:
        upright: turned as a camera's mark says; False: the pixels as they are stored.
    """
    found: list[Image.Image] = []
    return _attempt(file, lambda image: found.append(_rgb(image, upright))) or found[0]


def _rgb(image: Image.Image, upright: bool = True) -> Image.Image:
    """Upright; 16-bit grey keeps its upper eight bits."""
    _ranged(image)
    mark = orientation(image) if upright else 1
    shallow = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if image.mode.startswith("I;16") else image
    rgb = shallow.convert("RGB")
    return rgb.transpose(TURNS[mark]) if mark in TURNS else rgb


@dataclass(frozen=True)
class MapReader:
    """Label images.

    Args:
        table: (256,) int16: the class of each number in the file, 255 where it is ignored, negative where it may not
            occur.
        images: the image of each label file; both must have the same size.
    """

    table: Table
    images: Mapping[str, str] = field(repr=False)

    def __call__(self, file: str, row: npt.NDArray[np.uint8]) -> str | None:
        height, width = row.shape

        def read(image: Image.Image) -> None:
            classes = label_classes(image, self.table, self.images[file])
            labels = Image.fromarray(classes)
            resized = labels.resize((width, height), Image.Resampling.NEAREST, box=box(labels.size, height, width))
            row[...] = np.asarray(resized)

        return _attempt(file, read)


def label_numbers(image: Image.Image) -> npt.NDArray[np.int64]:
    """(H, W): the number of each pixel of an opened label image.

    Raises:
        Unusable: it has colours, or numbers above 255.
    """
    if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
        raise Unusable(f"has mode {image.mode}; a label image has one number a pixel")
    numbers = np.asarray(image).astype(np.int64)
    if numbers.min() < 0 or numbers.max() > 255:
        raise Unusable(f"holds numbers from {numbers.min()} to {numbers.max()}")
    return numbers


def label_classes(image: Image.Image, table: Table, partner: str | None) -> npt.NDArray[np.uint8]:
    """(H, W): the class of each pixel of an opened label image, 255 where there is none, as upright as the image in the
    file ``partner`` is read.

    Args:
        table: (256,) the class of each number, negative for none that may occur; or of each colour.

    Raises:
        Unusable: it holds something else than classes, or its size is not its partner's.
    """
    if isinstance(table, ColourTable):
        classes, colours = table.look_up(image)
        if classes.min() < 0:
            unknown = unpacked(int(colours[classes < 0].max()))
            raise Unusable(f"holds the colour {unknown}, which the table of colours does not name")
    elif (classes := table[numbers := label_numbers(image)]).min() < 0:
        known = int((table[:255] >= 0).nonzero()[0].max())
        raise Unusable(
            f"holds the label {numbers[classes < 0].max()}, but labels go from 0 to {known}, and 255 is no label"
        )
    if partner is None:
        return classes.astype(np.uint8)
    with Image.open(partner, formats=FORMATS) as opened:
        stored, mark = opened.size, orientation(opened)
    labels = classes.astype(np.uint8)
    if image.size == turned(stored, mark):
        return labels
    if image.size == stored:  # drawn on the pixels as they are stored
        return np.asarray(Image.fromarray(labels).transpose(TURNS[mark]))
    width, height = turned(stored, mark)
    raise Unusable(f"has {image.size[0]}x{image.size[1]} pixels, but its image has {width}x{height}")


def read_label_classes(file: str, table: Table, partner: str | None) -> npt.NDArray[np.uint8] | str:
    """:func:`label_classes` of the file, or what is wrong with it."""
    found: list[npt.NDArray[np.uint8]] = []
    return _attempt(file, lambda image: found.append(label_classes(image, table, partner))) or found[0]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says: ``length`` in bytes; ``size``: (height, width) in pixels of the upright image; ``mark``:
    how it is stored, see :func:`orientation`; ``problem``: what is wrong with it, and then the others are 0.
    """

    length: int = 0
    size: tuple[int, int] = (0, 0)
    mark: int = 1
    problem: str | None = None

    @property
    def stored(self) -> tuple[int, int]:
        """(height, width) in pixels as they are stored."""
        return turned(self.size, self.mark)


def header(file: str) -> Header:
    """Of an image file; nothing is decoded."""
    found: list[Header] = []

    def look(image: Image.Image) -> None:
        _ranged(image)
        mark = orientation(image)
        width, height = turned(image.size, mark)
        found.append(Header(os.path.getsize(file), (height, width), mark))

    problem = _attempt(file, look)
    return found[0] if problem is None else Header(problem=problem)


def image_size(file: str) -> tuple[int, int] | None:
    """(height, width) of the upright image by the header; None if it cannot be read."""
    seen = header(file)
    return None if seen.problem is not None else seen.size


def image_mode(file: str) -> str | None:
    """Pillow's name of what a pixel is, by the header; None if it cannot be read."""
    found: list[str] = []
    _attempt(file, lambda image: found.append(image.mode))
    return found[0] if found else None


def _ranged(image: Image.Image) -> None:
    if image.mode in ("I", "F"):
        raise Unusable(f"mode {image.mode} has no fixed range")


def _attempt(file: str, use: Any) -> str | None:
    """``use(image)`` of the opened file, or what went wrong."""
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
            return "not a regular file"
        if not status.st_size:
            return "the file is empty"
        with Image.open(file, formats=FORMATS) as image:
            use(image)
    except MemoryError:  # says nothing about the file
        raise
    except UnidentifiedImageError:
        return "no image format that we know"
    except Exception as error:
        return str(getattr(error, "strerror", None) or error or type(error).__name__)
    return None
