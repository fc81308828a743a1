"""Pixels on the device: a tensor that lies there, or files that threads decode shortly before their turn."""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..devices import moved, pins
from ..errors import DataError, LabelError
from ..processes import cores
from .decoding import Reader

MAX_BYTES = 8 * 10**9
"""Images that take more are streamed unless the settings say otherwise."""
AHEAD_BYTES = 256 * 10**6
"""So much is decoded ahead, but at least ``AHEAD_IMAGES``."""
AHEAD_IMAGES = 16
CHUNK = 64


def threads() -> int:
    """As many as there are processors for us, at most 16."""
    return min(16, cores())


@dataclass(frozen=True)
class Files:
    """Image or label files in a fixed order.

    Args:
        root: what their names are relative to.
        paths: of N files.
        shape: of what each gives: (3, H, W), or (H, W) for label maps; uint8.
        reader: see :class:`Reader`.
        sizes: (N,) bytes of each file, for :meth:`checksum`.
    """

    root: str
    paths: Sequence[str]
    shape: tuple[int, ...]
    reader: Reader
    sizes: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def pixel_bytes(self) -> int:
        """Of all files when decoded."""
        return len(self) * int(np.prod(self.shape))

    def take(self, index: npt.NDArray[Any]) -> Files:
        """The files at ``index``, in that order."""
        return replace(
            self, paths=[self.paths[i] for i in index], sizes=None if self.sizes is None else self.sizes[index]
        )

    def read(self, i: int, row: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
        """What file ``i`` holds.

        Raises:
            DataError: it cannot be read; the message names it. A ``LabelError`` if it is a label map that does not
                exist.
        """
        row = np.empty(self.shape, dtype=np.uint8) if row is None else row
        problem = self.reader(self.paths[i], row)
        if problem is not None and len(self.shape) == 2 and not os.path.exists(self.paths[i]):
            raise LabelError(
                f"{self.paths[i]}: this label image is missing.",
                "Add it, remove its image, or use a label-free objective.",
            )
        if problem is not None:
            raise DataError(f"{self.paths[i]}: cannot be read ({problem}).", "Repair or remove it.")
        return row

    def read_all(self) -> torch.Tensor:
        """(N, ...) uint8, by threads. Errors as in :meth:`read`, of the first file that has any."""
        pixels = torch.empty(len(self), *self.shape, dtype=torch.uint8)
        rows = pixels.numpy()

        def read(start: int) -> None:
            for i in range(start, min(start + CHUNK, len(self))):
                self.read(i, rows[i])

        with ThreadPoolExecutor(threads()) as pool:
            for _ in pool.map(read, range(0, len(self), CHUNK)):
                pass
        return pixels

    def checksum(self) -> int:
        """Of names and file sizes; not of times, which copies change."""
        sizes = np.zeros(len(self), dtype=np.int64) if self.sizes is None else self.sizes
        sum_of_sizes = zlib.crc32(np.ascontiguousarray(sizes).tobytes())
        return zlib.crc32(
            "\0".join(os.path.relpath(path, self.root) for path in self.paths).encode("utf-8", "surrogateescape"),
            sum_of_sizes,
        )


class Pixels(ABC):
    """Images, and label maps where there are any, for one device.

    A caller that knows which images come next says so by :meth:`plan`; it changes no result, only the time that
    :meth:`gather` takes.
    """

    @abstractmethod
    def plan(self, order: torch.Tensor | npt.NDArray[Any] | Sequence[int]) -> None:
        """The indices of the images that are used next, in that order, instead of those of an earlier plan."""

    @abstractmethod
    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """The images at ``index: (B,)`` int64: (B, 3, H, W) uint8 on the device."""

    @abstractmethod
    def gather_maps(self, index: torch.Tensor) -> torch.Tensor:
        """The label maps at ``index: (B,)`` int64: (B, H, W) uint8 on the device, 255 where there is no label.

        Raises:
            LabelError: the images have none.
        """


class Resident(Pixels):
    """All of them lie on the device.

    Args:
        images: (N, 3, H, W) uint8 on the device.
        maps: gives (N, H, W) uint8 on the device; called when they are first asked for.
    """

    def __init__(self, images: torch.Tensor, maps: Callable[[], torch.Tensor]) -> None:
        self.images, self._maps = images, maps
        self._kept: torch.Tensor | None = None

    def plan(self, order: torch.Tensor | npt.NDArray[Any] | Sequence[int]) -> None:
        """Nothing has to be prepared."""

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        return self.images[index]

    def gather_maps(self, index: torch.Tensor) -> torch.Tensor:
        if self._kept is None:
            self._kept = self._maps()
        return self._kept[index]


class Streamed(Pixels):
    """Files that are decoded when they are needed, and by a plan ahead of that.

    Args:
        images: of the images.
        maps: gives the label maps' files, or (N, H, W) uint8; called when they are first asked for.
        device: where batches go.
    """

    def __init__(self, images: Files, maps: Callable[[], torch.Tensor | Files], device: torch.device | str) -> None:
        self.device = torch.device(device)
        self._pool = ThreadPoolExecutor(threads(), thread_name_prefix="decode")
        self._images, self._source = Ahead(images, self._pool), maps
        self._maps: Ahead | torch.Tensor | None = None

    def plan(self, order: torch.Tensor | npt.NDArray[Any] | Sequence[int]) -> None:
        uses = np.asarray(order.cpu() if isinstance(order, torch.Tensor) else order, dtype=np.int64)
        self._images.plan(uses)
        if isinstance(self._maps, Ahead):
            self._maps.plan(uses)

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        return self._moved(self._images, index)

    def gather_maps(self, index: torch.Tensor) -> torch.Tensor:
        if self._maps is None:
            source = self._source()
            self._maps = source if isinstance(source, torch.Tensor) else Ahead(source, self._pool)
            if isinstance(self._maps, Ahead):
                self._maps.plan(self._images.remaining)
        return (
            moved(self._maps[index.cpu()], self.device)
            if isinstance(self._maps, torch.Tensor)
            else self._moved(self._maps, index)
        )

    def _moved(self, source: Ahead, index: torch.Tensor) -> torch.Tensor:
        pinned = pins(self.device)
        batch = torch.empty(len(index), *source.files.shape, dtype=torch.uint8, pin_memory=pinned)
        source.take(index.tolist(), batch.numpy())
        return batch.to(self.device, non_blocking=pinned)


class Ahead:
    """Files decoded ahead by ``pool``, at most :data:`AHEAD_BYTES` of them. Which thread is when ready with what
    decides nothing.
    """

    def __init__(self, files: Files, pool: ThreadPoolExecutor) -> None:
        self.files, self._pool = files, pool
        self.window = max(AHEAD_IMAGES, AHEAD_BYTES // max(1, int(np.prod(files.shape))))
        self._futures: defaultdict[int, deque[Future[npt.NDArray[np.uint8]]]] = defaultdict(deque)
        self._ready = 0  # futures in the queues; several where an image is used more than once
        self._order, self._next = np.empty(0, dtype=np.int64), 0

    @property
    def remaining(self) -> npt.NDArray[np.int64]:
        """The part of the plan that nothing was begun of."""
        return self._order[self._next :]

    def plan(self, order: npt.NDArray[np.int64]) -> None:
        """Forget the earlier plan, and begin with this one."""
        for queue in self._futures.values():
            for future in queue:
                future.cancel()
        self._futures, self._ready = defaultdict(deque), 0
        self._order, self._next = order, 0
        self._fill()

    def take(self, index: list[int], rows: npt.NDArray[np.uint8]) -> None:
        """Fill ``rows: (B, ...)`` with the files at ``index``; those that were not planned are decoded now."""
        futures = [self._planned(i) or self._pool.submit(self.files.read, i) for i in index]
        self._fill()
        for row, future in zip(rows, futures, strict=True):
            row[...] = future.result()

    def _planned(self, i: int) -> Future[npt.NDArray[np.uint8]] | None:
        queue = self._futures.get(i)
        if not queue:
            return None
        future = queue.popleft()
        if not queue:
            del self._futures[i]
        self._ready -= 1
        return future

    def _fill(self) -> None:
        end = min(len(self._order), self._next + self.window - self._ready)
        for i in self._order[self._next : end].tolist():
            self._futures[i].append(self._pool.submit(self.files.read, i))
            self._ready += 1
        self._next = max(self._next, end)


def each(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """``map`` by threads, in order."""
    with ThreadPoolExecutor(threads()) as pool:
        yield from pool.map(function, items)
