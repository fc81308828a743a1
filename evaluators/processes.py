"""Which of the processes of a training on several devices this one is, as launchers say in the environment, and how many
cores there are. Free of torch.
"""

from __future__ import annotations

import os

TORCHRUN = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"})
"""What torchrun sets in every process; Fabric, which starts processes itself, sets no ``RANK``."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def started_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return set(os.environ) >= TORCHRUN


def first_process() -> bool:
    """Whether this is the process that prints, reports and writes results."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def process_counts() -> tuple[int, int]:
    """How many processes torchrun started: in all, and on this machine; (1, 1) where it did not start this one."""
    if not started_by_torchrun():
        return 1, 1
    return int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])


def use_threads(threads: int | None) -> None:
    """Of torch in this process; None: torch's own number."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
