"""Evaluators of differentiable search: ours, and what is taken over of NNI's own ``Classification``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Classification

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Objective, Supervised
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training.bilevel import Bilevel
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.mixed import MixedSupernet

from ..nni_evaluators import taken_from
from .search import train


class DifferentiableTraining(Evaluator):
    """Configuration of a differentiable search: images and objective in, trained mixed supernet out.

    Args:
        images: one half trains the weights, the other the architecture parameters.
        objective: ``Supervised`` in the papers; any other will do.
        settings: None: those of the strategy's paper on CIFAR-10.
        seed: of initialisation, data order, augmentation and whatever forward passes draw.
        folder: for checkpoints and the curve; None keeps nothing.
        report: called with a dictionary at the end of every epoch.
    """

    def __init__(
        self,
        images: ImageSet,
        objective: Objective | None = None,
        settings: BilevelSettings | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        report: Report | None = None,
    ) -> None:
        self.images, self.objective, self.settings = images, objective or Supervised(), settings
        self.seed, self.folder, self.report = seed, folder, report

    def evaluate(self, model: Any) -> Bilevel:
        """Train ``model``, a :class:`nni_plugins.spaces.mixed.MixedSupernet`."""
        if not isinstance(model, MixedSupernet):
            raise ConfigError(
                f"{type(model).__name__} is not a mixed supernet.",
                "Pass nni_plugins.spaces.mixed.MixedSupernet(space).",
            )
        settings = self.settings or BilevelSettings()
        return train(model, self.images, self.objective, settings, self.seed, folder=self.folder, report=self.report)


def from_classification(
    evaluator: Evaluator | None, strategy: str, defaults: BilevelSettings, seed: int
) -> DifferentiableTraining:
    """Supervised search on the images of NNI's evaluator: the training images train the weights, the validation images
    the architecture.

    Without validation images the training images are halved. Epochs, batch size, learning rate and weight decay are
    taken over, the final learning rate stays the same share of the first; the rest is ``defaults``.

    Raises:
        ConfigError: another kind of evaluator, or values that cannot be used. DataError: as ``taken_from``.
    """
    if not isinstance(evaluator, Classification):
        raise ConfigError(
            f"{strategy} trains with DifferentiableTraining or NNI's Classification, but got {type(evaluator).__name__}.",
            "Pass nni_plugins.strategies.DifferentiableTraining(images).",
        )
    taken = taken_from(evaluator, defaults.epochs)
    values = {
        **defaults.model_dump(),
        **{key: value for key, value in vars(taken).items() if key in BilevelSettings.model_fields},
        "final_learning_rate": taken.learning_rate * defaults.final_learning_rate / defaults.learning_rate,
        "portion": defaults.portion if taken.portion is None else taken.portion,
    }
    return DifferentiableTraining(taken.images, Supervised(), read(BilevelSettings, values), seed=seed)
