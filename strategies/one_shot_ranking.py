"""What searches share that end by evaluating architectures with a supernet's weights: the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import Objective, RandomLabels
from nni_plugins.evaluators.supernets.one_shot import one_shot_accuracy
from nni_plugins.spaces.base import Indices

from .one_shot import unpredictable
from .random.settings import OneShotSettings


@dataclass(frozen=True)
class OneShotScore:
    """One-shot accuracy in percent of any architectures of ``supernet``, as the search that trained it measures it.

    ``images``: held-out ones. ``moments``: mean and standard deviation of the training images, each (3,).
    """

    supernet: nn.Module
    images: ImageSet
    objective: Objective
    settings: OneShotSettings
    moments: tuple[torch.Tensor, torch.Tensor]
    seed: int

    def __call__(self, indices: Indices) -> npt.NDArray[np.float64]:
        """Of ``indices: (n, D)``: (n,)."""
        s = self.settings
        return one_shot_accuracy(
            self.supernet,
            indices,
            self.images,
            self.objective,
            s.statistics,
            self.seed,
            count=s.evaluation_images,
            batch_size=s.evaluation_batch,
            moments=self.moments,
        )


def check_objective(method: str, objective: Objective) -> None:
    """Refuse targets that say nothing of held-out images.

    Raises:
        ConfigError: random labels.
    """
    if isinstance(objective, RandomLabels):
        raise unpredictable(method)
