"""Copies to a device that the host need not wait for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

PINNED = frozenset({"cuda"})
"""Kinds of devices that read pinned memory of the host by themselves; a copy from other memory waits for all that the
device has to do.
"""


def pins(device: torch.device) -> bool:
    """Whether memory that ``device`` is to read should be pinned."""
    return device.type in PINNED


def moved(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """``host``, a tensor of the CPU, on ``device``; where that can be, the host goes on while it is copied."""
    return host.pin_memory().to(device, non_blocking=True) if pins(device) else host.to(device)


def constant(values: Sequence[Any], like: torch.Tensor) -> torch.Tensor:
    """``values``, numbers in tuples, of the type and on the device of ``like``: copied there once. Not to be changed."""
    return _constant(tuple(values), like.dtype, like.device)


@cache
def _constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, device=device)
