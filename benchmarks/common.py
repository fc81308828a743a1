"""What the benchmarks share: timing that waits for the device, and timm's plain steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Spread:
    """Of several measurements of one thing."""

    least: float
    median: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values), len(values))


def synchronise(device: str | torch.device) -> None:
    """Wait until ``device`` has done what was queued."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function: Callable[[], Any], runs: int, device: str | torch.device = "cpu", warm: int = 1) -> list[float]:
    """Of each of ``runs`` calls, the device's work included, after ``warm`` calls that are not counted."""
    found = []
    for run in range(warm + runs):
        synchronise(device)
        start = time.perf_counter()
        function()
        synchronise(device)
        if run >= warm:
            found.append(time.perf_counter() - start)
    return found


class TimmStep:
    """An update as timm's training script makes it on one device: forward, loss, backward, clipping, step.

    Args:
        criterion: of logits and targets.
        optimizer: arguments of ``timm.optim.create_optimizer_v2`` beside the network.
        half: the type that mixed precision computes in; None: float32.
        auxiliary: weight of the loss of the second output of networks that have two.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        criterion: Callable[..., torch.Tensor],
        optimizer: dict[str, Any],
        *,
        half: torch.dtype | None = None,
        clip: float | None = None,
        auxiliary: float = 0.0,
    ) -> None:
        from timm.optim import create_optimizer_v2

        self.network, self.criterion, self.half, self.clip, self.auxiliary = network, criterion, half, clip, auxiliary
        self.device = next(network.parameters()).device
        self.optimizer = create_optimizer_v2(network, **optimizer)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half is torch.float16)

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, self.half or torch.bfloat16, enabled=self.half is not None):
            outputs = self.network(images)
            logits = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
            loss = self.criterion(logits, targets)
            if logits is not outputs:
                loss = loss + self.auxiliary * self.criterion(outputs[1], targets)
        self.scaler.scale(loss).backward()
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        return loss.detach()
