"""Memory that runs out during a training, as an error that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def free_memory(device: torch.device) -> int:
    """Bytes of the accelerator, or of the machine with its swap, or what is left of what a container is allowed of it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available + psutil.swap_memory().free)
    group = Path("/sys/fs/cgroup")
    try:
        most, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if most == "max" else min(free, int(most) - int(used))
    except (OSError, ValueError):
        return free


@contextmanager
def within_free_memory(device: torch.device, processes: int = 1) -> Iterator[None]:
    """Inside, an allocation on a CPU beyond what is free now fails, where the operating system would kill the process
    without a word (Linux only). ``processes`` share it evenly.
    """
    if device.type != "cpu" or sys.platform != "linux":
        yield
        return
    import resource

    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    lines = Path("/proc/self/status").read_text().splitlines()
    taken = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    limit = taken + free_memory(device) // processes
    if before != resource.RLIM_INFINITY:
        limit = min(limit, before)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))
