"""The memory layout that networks are trained in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Layout = Literal["auto", "contiguous", "channels_last"]
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def layout_on(layout: Layout, device: torch.device, precision: str) -> Layout:
    """What ``auto`` means; ``contiguous`` and ``channels_last`` as they are.

    A rule and no trial, for a trial's winner may change from run to run, and with it the last bits of all numbers. On a
    CPU ``channels_last``: benchmarks/steps.py has no network that is slower so (benchmarks/README.md). On a GPU
    ``channels_last`` in mixed precision, whose tensor cores want it, and ``contiguous`` otherwise; not measured.
    """
    if layout != "auto":
        return layout
    return "channels_last" if device.type == "cpu" or precision.endswith("mixed") else "contiguous"


def lay_out(model: nn.Module, layout: str) -> None:
    """Move the weights of convolutions in ``model`` to ``layout``; values stay."""
    model.to(memory_format=FORMATS[layout])  # type: ignore[call-overload]


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """``x: (B, C, H, W)`` in ``layout``; tiles of a jigsaw, which have a dimension more, as they are."""
    return x.contiguous(memory_format=FORMATS[layout]) if x.ndim == 4 else x
