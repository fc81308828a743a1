"""Memory that runs out during a training, as an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import TrainingError


def shortage(error: BaseException) -> str | None:
    """The allocator's words if ``error`` is of memory that ran out, on the CPU or the accelerator; None if it is not.

    PyTorch has a type for accelerators only; on the CPU its allocator raises ``RuntimeError``.
    """
    message = str(error)
    if isinstance(error, TrainingError) and isinstance(error.__cause__, BaseException):
        return shortage(error.__cause__)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in message
    ):
        return message.splitlines()[0] if message else type(error).__name__
    return None


@contextmanager
def named_shortage(batch_size: int, smaller: str = "smaller images or crops") -> Iterator[None]:
    """Inside, an allocation that fails is a :class:`TrainingError`.

    Args:
        batch_size: shown.
        smaller: what the remedy names first.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        detail = shortage(error)
        if detail is None:
            raise
        raise TrainingError(
            f"memory ran out with batch_size={batch_size}: {detail}",
            f"Use {smaller}, a smaller batch_size, or a smaller network.",
        ) from error
