"""The smallest things that can be trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.training import Training
from nni_plugins.evaluators.training.settings import TrainingSettings

CLASSES = 4


class Interrupted(BaseException):
    """Stands for whatever ends a process: nothing of ours may catch it."""


class Interrupting(RandomLabels):
    """Random labels, and a hook before every loss, given the number of the call, that may raise."""

    hook: ClassVar[Callable[[int], None]]  # on the class, because vars(objective) identifies a run
    calls: ClassVar[int]

    def __init__(self, hook: Callable[[int], None] = lambda call: None) -> None:
        super().__init__(CLASSES)
        Interrupting.hook, Interrupting.calls = hook, 0

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        Interrupting.calls += 1
        Interrupting.hook(Interrupting.calls)
        return super().loss(outputs, targets)


def at(step: int) -> Callable[[int], None]:
    """A hook that interrupts before the loss of ``step``, counted from 1."""

    def hook(call: int) -> None:
        if call == step:
            raise Interrupted

    return hook


def images(count: int, size: int = 4, seed: int = 0, **more: Any) -> ImageSet:
    """``count`` images of noise without labels: (count, 3, size, size)."""
    pixels = torch.randint(
        0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    return ImageSet("noise", pixels, more.pop("labels", None), **more)


def linear(size: int = 4) -> nn.Module:
    """A linear classifier with fixed initial weights."""
    with torch_fork(0, "test"):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, CLASSES))


class TwoPaths(nn.Module):
    """Two linear classifiers; a path names the one that is used."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = linear(), linear()

    def forward_path(self, x: torch.Tensor, path: np.ndarray) -> torch.Tensor:
        return (self.a, self.b)[int(path)](x)  # type: ignore[no-any-return]


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"epochs": 3, "batch_size": 5, "accelerator": "cpu", "checkpoint_seconds": 0, **changes})


def training(
    folder: Path | None = None, hook: Callable[[int], None] = lambda call: None, count: int = 14, **changes: Any
) -> Training:
    """``linear`` on ``count`` images of noise: by default three epochs of three steps."""
    return Training(linear(), Interrupting(hook), images(count), settings(**changes), 0, folder=folder)
