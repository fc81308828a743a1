"""Stand-alone training that is measured on held-out images after every epoch: what a sample study compares.

As in UnNAS (Liu et al., ECCV 2020): precise batch-norm statistics after every epoch, then the metric of the training's
own objective.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data import ImageSet
from ..objectives import Objective
from ..randomness import generator
from ..training import Training, evaluate
from ..training.loop import Report
from ..training.settings import StandAloneSettings


class MeasuredTraining(Training):
    """Rows of the curve also have ``measured``, the objective's own metric on ``test`` in percent, and ``test_``
    numbers of :func:`nni_plugins.evaluators.training.evaluate`, whose draws depend on ``seed`` alone. They are part of
    the checkpoints: a resumed training has them.

    Args:
        test: held-out images.
        precise: training images from which the statistics of batch norms are computed before each measurement; 0:
            running averages are used.
        others: as of :class:`Training`.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        train: ImageSet,
        test: ImageSet,
        settings: StandAloneSettings,
        seed: int,
        *,
        precise: int = 0,
        folder: Path | None = None,
        config: dict[str, Any] | None = None,
        report: Report | None = None,
    ) -> None:
        objective.check(test)
        identity = {
            "images": train.identity(),
            "test_images": test.identity(),
            "precise_batch_norm": precise,
            **(config or {}),
        }
        super().__init__(model, objective, train, settings, seed, folder=folder, config=identity, report=report)
        self.test, self.precise = test, precise

    def _note(self, epoch: int, total: torch.Tensor) -> None:
        super()._note(epoch, total)
        if self.precise:
            self._average_statistics(epoch)
        metrics = evaluate(self.model, self.test, self.objective, self.images.statistics(), self.seed)
        self.history[-1] |= {
            "measured": metrics[self.objective.metric],
            **{f"test_{name}": number for name, number in metrics.items()},
        }

    @torch.no_grad()
    def _average_statistics(self, epoch: int) -> None:
        """Replace running means and variances by their averages over batches of the epoch's crops (precise BN, as pycls
        has it).
        """
        norms, running = [], []
        for module in self.model.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
                norms.append(module)
                running += [module.running_mean, module.running_var]
        count = len(self.images)
        index = generator(self.seed, "precise batch norm", epoch).permutation(count)[: max(self.precise, 2)]
        drawn, own = (
            self.images.augmentation.draw(self.seed, epoch, count),
            self.objective.draw(self.seed, epoch, count),
        )
        uses = self._drawn(index, drawn[index], own[index])
        self.pixels.plan(uses.index)
        batches = max(1, len(index) // self.settings.batch_size)
        sums = [torch.zeros_like(numbers) for numbers in running]
        momenta = [norm.momentum for norm in norms]
        self.module.train()
        for norm in norms:
            norm.momentum = 1.0  # the running numbers are then those of the last batch
        try:
            for step in range(batches):
                self.module(self._prepared(uses, step)[0])
                for total, numbers in zip(sums, running, strict=True):
                    total += numbers
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        for total, numbers in zip(sums, running, strict=True):
            numbers.copy_(total / batches)
