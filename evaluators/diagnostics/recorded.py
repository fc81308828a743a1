"""A training that writes down a measurement of its network at the start and after every epoch, exactly, however often
it is killed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..data import ImageSet
from ..errors import ConfigError
from ..objectives import Objective
from ..training.loop import Report, Training
from ..training.settings import TrainingSettings

Floats = npt.NDArray[np.float64]
Measure = Callable[[], torch.Tensor]
"""What is measured: (n,) floats, the same n every time; it must not change the network."""


class Recorded(nn.Module):
    """``network``, measured at the first forward pass of every epoch.

    The record and the count of steps are buffers: they are in every checkpoint, so that a resumed training has neither
    gaps nor doubles.
    """

    record: torch.Tensor
    step: torch.Tensor

    def __init__(self, network: nn.Module, measure: Measure, epochs: int) -> None:
        super().__init__()
        self.network, self.measure, self.steps_per_epoch = network, measure, 1
        self.register_buffer("record", torch.full((epochs, len(measure())), torch.nan))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self._count = 0  # the same as ``step``, which may be on a GPU, where reading it would stop the stream
        self.register_load_state_dict_post_hook(lambda module, _: module._recount())  # type: ignore[no-untyped-call]

    def _recount(self) -> None:
        self._count = int(self.step)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            epoch, step = divmod(self._count, self.steps_per_epoch)
            if step == 0 and epoch < len(self.record):
                with torch.no_grad():
                    self.record[epoch] = self.measure().to(self.record)
            self._count += 1
            self.step += 1
        return cast(torch.Tensor, self.network(x))

    def values(self) -> Floats:
        """(epochs + 1, n): the measurement before the training, and after each epoch."""
        with torch.no_grad():
            rows: Floats = torch.cat([self.record.double().cpu(), self.measure().double().cpu()[None]]).numpy()
        return rows


def classes(objective: Objective, images: ImageSet) -> int:
    """How many outputs a network for ``objective`` has.

    Raises:
        ConfigError: it wants other outputs than one number a class, or other inputs than colour images.
        DataError, LabelError: ``images`` cannot serve it.
    """
    objective.check(images)
    head = objective.head(images)
    if head.form.kind != "linear" or head.input_channels != 3:
        raise ConfigError(
            f"{type(objective).__name__} needs another head than one logit a class of a colour image, which these "
            "networks do not have.",
            "Use supervised, random_labels or another objective with classes.",
        )
    count: int = head.classes
    return count


@torch.no_grad()
def settle_on(network: nn.Module, images: ImageSet, most: int = 256) -> None:
    """Set the running statistics of batch norms to those of the first ``most`` images, standardised and not augmented.

    Without it the first measurement would see running variances of 1, which no layer has.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta, training = [norm.momentum for norm in norms], network.training
    mean, std = (s[:, None, None] for s in images.statistics())
    for norm in norms:
        norm.momentum = 1.0
    first = images.on("cpu").gather(torch.arange(min(most, len(images))))
    network.train()(first.float().div(255).sub(mean).div(std))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(training)


def train_recorded(
    network: nn.Module,
    measure: Measure,
    objective: Objective,
    images: ImageSet,
    settings: TrainingSettings,
    seed: int,
    *,
    folder: Path | None = None,
    config: dict[str, Any] | None = None,
    report: Report | None = None,
) -> tuple[Floats, list[dict[str, float]]]:
    """Train ``network`` in place; returns (epochs + 1, n) measurements and the curve of the training.

    Raises:
        ConfigError, TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.training.Training`.
    """
    recorded = Recorded(network, measure, settings.epochs)
    training = Training(recorded, objective, images, settings, seed, folder=folder, config=config, report=report)
    recorded.steps_per_epoch = training.steps_per_epoch
    history = training.run().history
    return recorded.values(), history
