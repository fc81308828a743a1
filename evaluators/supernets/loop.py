"""The training of a supernet that is judged by its weights: RLNAS' optimization on ImageNet (Zhang et al., CVPR 2021;
official ``train_supernet``).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from ..training.loop import Training
from ..training.schedule import line, sgd
from ..training.settings import SinglePathSettings


def decayed_parameters(model: nn.Module, which: str) -> list[nn.Parameter]:
    """The parameters of ``model`` that weight decay is for, in the order of their names: ``all``; ``convolutions``, the
    weights with four dimensions; ``convolutions_and_classifier``, and the classifier's weight and bias.
    """
    return [
        p
        for name, p in model.named_parameters()
        if which == "all" or p.ndim == 4 or (which == "convolutions_and_classifier" and name.startswith("classifier."))
    ]


class SinglePathTraining(Training):
    """:class:`nni_plugins.evaluators.training.Training` with the settings of :class:`SinglePathSettings`."""

    settings: SinglePathSettings

    def rate(self, epoch: int) -> float:
        """Learning rate of ``epoch``, at its beginning."""
        if self.settings.schedule == "linear":
            return line(self.settings, epoch * self.steps_per_epoch, self.settings.epochs * self.steps_per_epoch)
        return super().rate(epoch)

    def _optimizer(self) -> torch.optim.SGD:
        decayed = decayed_parameters(self.model, self.settings.decayed)
        chosen = set(map(id, decayed))
        rest = [p for p in self.model.parameters() if id(p) not in chosen]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
        return sgd([group for group in groups if group["params"]], self.settings)

    def _begin_training(self) -> None:
        super()._begin_training()
        if not self.settings.normalise:
            self.mean, self.std = torch.zeros_like(self.mean), torch.ones_like(self.std)

    def _before_step(self, epoch: int, step: int) -> None:
        if self.settings.schedule == "linear":
            done, total = epoch * self.steps_per_epoch + step, self.settings.epochs * self.steps_per_epoch
            for group in self.optimizer.param_groups:
                group["lr"] = line(self.settings, done, total)

    def _clip(self) -> None:
        super()._clip()
        if self.settings.clip_value is not None:
            self.fabric.clip_gradients(cast(nn.Module, self.module), self.stepper, clip_val=self.settings.clip_value)
