"""Memory that runs out during a training, as an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import TrainingError


@contextmanager
def named_shortage(batch_size: int) -> Iterator[None]:
    """Inside, an allocation that fails, on the CPU or the accelerator, is a :class:`TrainingError`; ``batch_size`` is shown.

    PyTorch has a type for accelerators only; on the CPU its allocator raises ``RuntimeError``.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        message = str(error)
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in message:
            raise
        detail = message.splitlines()[0] if message else type(error).__name__
        raise TrainingError(
            f"memory ran out with batch_size={batch_size}: {detail}", "Use smaller images or crops, a smaller batch_size, or a smaller network."
        ) from error
