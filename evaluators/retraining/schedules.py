"""The learning rate as timm's schedulers, each a pure function of epoch and update."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from ..backends import require
from .settings import Recipe, ScheduleSettings

TAIL = 5
"""Epochs at the end of ``linear_tail``, whose slope is a fifth of the others'."""


def scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, updates_per_epoch: int) -> Any:
    """A timm ``Scheduler`` (the groups' ``lr_scale`` is heeded): timm's own where it says what the recipe says,
    otherwise one of ours.

    Raises:
        MissingBackend: timm is not installed.
    """
    s = recipe.schedule
    period, per_epoch = recipe.epochs - s.cooldown_epochs, s.per == "epoch"
    warmup = s.warmup_epochs if s.warmup == "replace" and s.name != "linear_tail" else 0
    if s.name == "linear_tail":
        made = _ours().LinearTail(optimizer, period)
    else:
        names = {"constant": "step", "cosine": "cosine", "exponential": "step", "linear": "poly"}
        made, _ = require("timm.scheduler", "timm").create_scheduler_v2(
            optimizer,
            sched=names[s.name],
            num_epochs=period,
            decay_epochs=1,
            decay_rate=s.rate if s.name == "exponential" else 1.0,  # of poly it is the power
            min_lr=s.final,
            warmup_lr=s.warmup_from * recipe.optimizer.learning_rate,
            warmup_epochs=warmup,
            step_on_epochs=per_epoch,
            updates_per_epoch=updates_per_epoch,
        )
    if s.warmup_epochs and not warmup:
        made = _ours().Warmed(made, s, 1 if per_epoch else updates_per_epoch)
    return made


def set_rate(scheduler: Any, recipe: Recipe, epoch: int, update: int) -> None:
    """Set the rates of all groups for update number ``update`` (from 0 through the whole training), which lies in
    ``epoch`` (from 0).
    """
    if recipe.schedule.per == "epoch":
        scheduler.step(epoch)
    else:
        scheduler.step_update(update)


def rate(recipe: Recipe, epoch: int, update: int, updates_per_epoch: int) -> float:
    """The learning rate that :func:`set_rate` sets for a group without ``lr_scale``."""
    one = torch.optim.SGD([torch.zeros(1)], recipe.optimizer.learning_rate)
    set_rate(scheduler(one, recipe, updates_per_epoch), recipe, epoch, update)
    return float(one.param_groups[0]["lr"])


class _Ours:
    """Two subclasses of timm's ``Scheduler``, made when they are first needed: timm is optional."""

    def __init__(self) -> None:
        base: Any = require("timm.scheduler.scheduler", "timm").Scheduler

        class LinearTail(base):  # type: ignore[misc]
            """PC-DARTS' rate on ImageNet: linear, with a slope five times smaller in the last five epochs."""

            def __init__(self, optimizer: torch.optim.Optimizer, epochs: int) -> None:
                super().__init__(optimizer, param_group_field="lr")
                self.epochs = epochs

            def _get_lr(self, t: int) -> list[float]:
                left, falling = self.epochs - t, self.epochs - TAIL
                share = (left - TAIL) / falling if left > TAIL else left / (TAIL * falling)
                return [value * share for value in self.base_values]

        class Warmed(base):  # type: ignore[misc]
            """Another schedule with a warm-up that timm's do not have."""

            def __init__(self, inner: Any, settings: ScheduleSettings, steps: int) -> None:
                super().__init__(inner.optimizer, param_group_field="lr", t_in_epochs=inner.t_in_epochs)
                self.inner, self.settings, self.steps = inner, settings, steps

            def _get_lr(self, t: int) -> list[float]:
                rates: list[float] = self.inner._get_lr(t)
                s, e = self.settings, t / self.steps
                if e >= s.warmup_epochs:
                    return rates
                stairs = s.warmup.startswith("step")
                factor = (
                    (int(e) + 1) / s.warmup_epochs
                    if stairs
                    else s.warmup_from + (1 - s.warmup_from) * e / s.warmup_epochs
                )
                return [factor * value for value in (rates if s.warmup.endswith("multiply") else self.base_values)]

        self.LinearTail, self.Warmed = LinearTail, Warmed


@cache
def _ours() -> _Ours:
    return _Ours()
