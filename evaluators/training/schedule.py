"""The optimizer of a training, its learning rate, and how many steps an epoch has."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from .settings import TrainingSettings


def cosine(settings: TrainingSettings, epoch: int, period: int | None = None) -> float:
    """Learning rate of ``epoch`` (from 0): half a cosine from ``learning_rate`` towards ``final_learning_rate`` over
    ``period`` epochs, by default all of them. In the first n = ``learning_rate_warmup`` epochs it is a line from
    ``learning_rate / n`` to ``learning_rate`` instead (PC-DARTS' search on ImageNet, official code).
    """
    low, high, period = settings.final_learning_rate, settings.learning_rate, period or settings.epochs
    if epoch < settings.learning_rate_warmup:
        return high * (epoch + 1) / settings.learning_rate_warmup
    return low + (high - low) * (1 + math.cos(math.pi * min(epoch, period) / period)) / 2


def rate_sum(settings: TrainingSettings, steps_per_epoch: int) -> float:
    """The learning rates of all steps, added up: how far gradients of one size could move a weight."""
    return steps_per_epoch * sum(cosine(settings, epoch) for epoch in range(settings.epochs))


def line(settings: TrainingSettings, step: int, steps: int) -> float:
    """Learning rate of ``step`` (from 0) of ``steps``: from ``learning_rate`` straight to ``final_learning_rate``, which
    would be that of step ``steps``.
    """
    low, high = settings.final_learning_rate, settings.learning_rate
    return high + (low - high) * step / steps


def sgd(parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], settings: TrainingSettings) -> torch.optim.SGD:
    """Stochastic gradient descent as ``settings`` have it."""
    return torch.optim.SGD(
        parameters,
        settings.learning_rate,
        settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov and settings.momentum > 0,
        foreach=True,
    )


def steps(images: int, settings: TrainingSettings) -> int:
    """Batches in an epoch of ``images`` images. A last batch with less than two images a device is left out: batch norm
    has no variance there.
    """
    full, rest = divmod(images, settings.batch_size)
    return full + (rest >= 2 * settings.devices)
