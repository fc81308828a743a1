"""Which files of a folder can be read, and whether their pixels are held in memory or streamed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch

from ..errors import DataError
from . import streaming
from .decoding import Header, header, read_image
from .images import ImageData
from .names import few
from .streaming import CHUNK, Files, each

Held = tuple[torch.Tensor | Files, npt.NDArray[np.int64]]
"""Images, and the indices (K,) of the files that they come from."""


def room(resident: bool | None) -> int:
    """Bytes of pixels that are held in memory: all that are free (True), none (False), or ``streaming.MAX_BYTES``."""
    if resident is None:
        return streaming.MAX_BYTES
    return int(psutil.virtual_memory().available) if resident else 0


def held(
    root: Path, parts: Mapping[str, Sequence[str]], shape: tuple[int, int, int], resident: bool | None
) -> dict[str, Held]:
    """The readable files of each part: pixels if there is room for those of all parts together, otherwise files to
    stream.

    To be held, files are decoded; to be streamed, their headers are read, so what is wrong behind a header shows only
    later.

    Args:
        root: for messages; what the files' names are relative to.
        resident: True: hold whatever there is memory for; False: stream; None: hold up to 8 GB.

    Raises:
        DataError: more than 1 % of the files, and more than one, cannot be read.
    """
    count = sum(len(files) for files in parts.values())
    hold = count * int(np.prod(shape)) <= room(resident)
    found = {name: (_decoded if hold else _inspected)(root, files, shape) for name, files in parts.items()}
    judge(root, count, [problem for _, problems in found.values() for problem in problems])
    return {name: part for name, (part, _) in found.items()}


Measured = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Indices (K,) of files, their sizes in bytes (K,), and (height, width) in pixels (K, 2)."""


def measured(root: Path, parts: Mapping[str, Sequence[str]]) -> dict[str, Measured]:
    """The readable files of each part by their headers.

    Raises:
        DataError: as :func:`held`.
    """

    found, problems = {}, []
    for name, files in parts.items():
        seen = headers(files)
        problems += [
            f"{file} ({one.problem})" for file, one in zip(files, seen, strict=True) if one.problem is not None
        ]
        kept = np.array([i for i, one in enumerate(seen) if one.problem is None], dtype=np.int64)
        sizes = np.array([one.size for one in seen], dtype=np.int64).reshape(-1, 2)[kept]
        found[name] = kept, np.array([one.length for one in seen], dtype=np.int64)[kept], sizes
    judge(root, sum(map(len, parts.values())), problems)
    return found


def headers(files: Sequence[str]) -> list[Header]:
    """Of image files, by threads."""

    def look(start: int) -> list[Header]:
        return [header(file) for file in files[start : start + CHUNK]]

    return [one for chunk in each(look, range(0, len(files), CHUNK)) for one in chunk]


def settled(data: ImageData, resident: bool | None) -> ImageData:
    """``data`` as it is used: decoded if it is streamed, but what was chosen of it fits into memory.

    Raises:
        DataError: it does not, but ``resident`` is True; or a file cannot be read.
    """
    sets = [images for images in (data.train, data.test) if images is not None]
    needed, free = sum(images.pixel_bytes for images in sets), room(resident)
    if not any(images.streamed for images in sets):
        return data
    if needed <= free:
        return replace(data, train=data.train.in_memory(), test=None if data.test is None else data.test.in_memory())
    if resident:
        height, width = data.train.size
        raise DataError(
            f"{data.train.name}: {sum(map(len, sets)):,} images of {height}x{width} pixels need {needed / 1e9:.1f} GB, "
            f"but {free / 1e9:.1f} GB are free.",
            "Leave out resident: true, choose a smaller image_size, or use fewer images (limit, per_class).",
        )
    return data


def judge(root: Path, images: int, unreadable: list[str]) -> None:
    """Warn of a few unreadable files; refuse many."""
    if not unreadable:
        return
    budget = max(1, images // 100)
    what = f"{root}: {len(unreadable)} of {images} images cannot be read"
    if len(unreadable) > budget or len(unreadable) == images:
        raise DataError(f"{what} (at most {budget} may be): {few(unreadable)}.", "Repair or remove them.")
    warnings.warn(f"{what} and are left out: {few(unreadable)}.", stacklevel=4)


def _decoded(root: Path, files: Sequence[str], shape: tuple[int, int, int]) -> tuple[Held, list[str]]:
    """(K, 3, H, W) uint8 of the readable files, and for each other file its name and what is wrong with it."""
    pixels = torch.empty(len(files), *shape, dtype=torch.uint8)
    rows = pixels.numpy()

    def read(start: int) -> dict[int, str]:
        return {
            i: problem
            for i in range(start, min(start + CHUNK, len(files)))
            if (problem := read_image(files[i], rows[i]))
        }

    problems = {i: problem for chunk in each(read, range(0, len(files), CHUNK)) for i, problem in chunk.items()}
    kept = _others(len(files), problems)
    for new, old in enumerate(kept):
        if new != old:
            rows[new] = rows[old]
    return (pixels[: len(kept)], kept), [f"{files[i]} ({problem})" for i, problem in problems.items()]


def _inspected(root: Path, files: Sequence[str], shape: tuple[int, int, int]) -> tuple[Held, list[str]]:
    """The same by the headers alone, without pixels."""

    seen = headers(files)
    problems = {i: one.problem for i, one in enumerate(seen) if one.problem is not None}
    kept = _others(len(files), problems)
    sizes = np.array([one.length for one in seen], dtype=np.int64)
    whole = Files(os.fspath(root), files, shape, read_image, sizes)
    return (whole.take(kept), kept), [f"{files[i]} ({problem})" for i, problem in problems.items()]


def _others(count: int, problems: Mapping[int, Any]) -> npt.NDArray[np.int64]:
    kept: npt.NDArray[np.int64] = np.array([i for i in range(count) if i not in problems], dtype=np.int64)
    return kept
