"""Images with an augmentation that is a function of (seed, epoch, image), in whichever process and order they are asked
for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from ..devices import pins
from ..errors import DataError, TrainingError
from ..randomness import sequence
from .pictures import Pictures
from .transforms import Transform

Key = tuple[int, int]
"""Epoch and index of an image; for tests the epoch is -1."""
Planned = tuple[int, npt.NDArray[np.int64]]
"""Epoch and indices of a batch."""


def seed_everything(seed: int, purpose: str, *step: int) -> None:
    """Seed the global generators of Python, NumPy and torch (on the CPU), which timm's and torchvision's transforms
    draw from.
    """
    words = sequence(seed, purpose, *step).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.default_generator.manual_seed(int(words[2]) << 31 ^ int(words[3]))


@contextmanager
def global_fork() -> Iterator[None]:
    """After the block the global generators of Python, NumPy and torch (on the CPU) are as they were before."""
    before = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.default_generator.set_state(before[2])


@dataclass(frozen=True)
class Broken:
    """A file that cannot be decoded. As an exception it would reach the caller wrapped in a worker's traceback."""

    problem: str
    remedy: str


Item = tuple[torch.Tensor, int] | Broken


class Augmented(Dataset[Item]):
    """Transformed images with their labels, by :data:`Key`."""

    def __init__(self, pictures: Pictures, transform: Transform, seed: int | None) -> None:
        self.pictures, self.transform, self.seed = pictures, transform, seed  # no seed: the transform draws nothing

    def __getitem__(self, key: Key) -> Item:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: list[Key]) -> list[Item]:
        """What torch's loader calls for a batch."""
        with global_fork():
            return [self._item(epoch, i) for epoch, i in keys]

    def _item(self, epoch: int, i: int) -> Item:
        try:
            image = self.pictures.image(i)
        except DataError as error:
            return Broken(error.problem, error.remedy)
        if self.seed is not None:
            seed_everything(self.seed, "augmentation", epoch, i)
        return self.transform(image), int(self.pictures.labels[i])


class Keys(Sampler[list[Key]]):
    """The batches of keys that the loader is to make next. Lives in the main process, so it may change between two
    iterations.
    """

    def __init__(self) -> None:
        self.planned: Sequence[Planned] = ()

    def __len__(self) -> int:
        return len(self.planned)

    def __iter__(self) -> Iterator[list[Key]]:
        for epoch, index in tuple(self.planned):
            yield [(epoch, int(i)) for i in index]


Loaded = tuple[torch.Tensor, torch.Tensor]
"""Images (B, 3, S, S) float32 and labels (B,) int64, in memory that a CUDA device reads at once if it is to go there.
"""


class Loader:
    """torch's loader with batches that are said before each pass. Its worker processes stay from one pass to the next."""

    def __init__(self, dataset: Augmented, workers: int, device: torch.device) -> None:
        self._keys = Keys()
        self._loader: DataLoader[Loaded] = DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_sampler=self._keys,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_collated,
            pin_memory=pins(device),
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # otherwise every pass draws from the global one
        )

    def load(self, planned: Sequence[Planned]) -> Iterator[Loaded]:
        """One batch for each (epoch, indices).

        Raises:
            DataError: a file cannot be decoded.
            TrainingError: a worker process died.
        """
        self._keys.planned = planned
        try:
            for batch in self._loader:
                if isinstance(batch, Broken):
                    raise DataError(batch.problem, batch.remedy)
                yield batch
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise TrainingError(
                f"a process that reads images died ({str(error).splitlines()[0]})",
                "Probably memory, or shared memory (/dev/shm), ran out: lower workers; --set workers=0 reads images in the main process.",
            ) from None

    def close(self) -> None:
        """End the worker processes; a later pass starts new ones. Left to Python's garbage collector, this can take
        five seconds: it may close the workers' queues before torch tells them through these to stop.
        """
        iterator, self._loader._iterator = self._loader._iterator, None
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()  # type: ignore[no-untyped-call]


def _collated(items: list[Item]) -> Loaded | Broken:
    for item in items:
        if isinstance(item, Broken):
            return item
    images, labels = default_collate(items)
    return images, labels
