"""Evaluators of differentiable search: ours, and what is taken over of NNI's own ``Classification``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Classification
from torch.utils.data import DataLoader

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Objective, Supervised
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training.bilevel import Bilevel
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.mixed import MixedSupernet

from ..nni_evaluators import images_of
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
        ConfigError: another kind of evaluator, or values that cannot be used.
        DataError: its loaders do not give images of shape (3, H, W) or (1, H, W) and of one size.
    """
    if not isinstance(evaluator, Classification):
        raise ConfigError(
            f"{strategy} trains with DifferentiableTraining or NNI's Classification, but got {type(evaluator).__name__}.",
            "Pass nni_plugins.strategies.DifferentiableTraining(images).",
        )
    loaders = [loader for loader in (evaluator.train_dataloaders, evaluator.val_dataloaders) if loader is not None]
    wrong = [type(loader).__name__ for loader in (loaders or [None]) if not isinstance(loader, DataLoader)]
    if wrong or evaluator.train_dataloaders is None:
        raise ConfigError(
            f"Classification needs train_dataloaders to be a DataLoader, but got {(wrong or ['NoneType'])[0]}."
        )
    epochs = evaluator.trainer.max_epochs
    if epochs is None or epochs < 1:
        raise ConfigError(
            "Classification needs max_epochs of at least 1.", f"Pass max_epochs={defaults.epochs}, as the paper has it."
        )
    options = evaluator.trace_kwargs
    rate = float(options.get("learning_rate", 0.001))
    parts = [images_of(loader) for loader in loaders]
    images = _joined(parts, loaders, options.get("num_classes"))
    values = {
        **defaults.model_dump(),
        "epochs": epochs,
        "batch_size": loaders[0].batch_size,
        "learning_rate": rate,
        "final_learning_rate": rate * defaults.final_learning_rate / defaults.learning_rate,
        "weight_decay": float(options.get("weight_decay", 0.0)),
        "portion": len(parts[0]) / len(images) if len(parts) > 1 else defaults.portion,
    }
    return DifferentiableTraining(images, Supervised(), read(BilevelSettings, values), seed=seed)


def _joined(parts: list[ImageSet], loaders: list[DataLoader[Any]], classes: int | None) -> ImageSet:
    """All parts as one set, whose labels are read when they are first asked for."""

    def labels() -> torch.Tensor:
        datasets: list[Any] = [loader.dataset for loader in loaders]
        found = [int(dataset[i][1]) for dataset in datasets for i in range(len(dataset))]
        return torch.tensor(found, dtype=torch.int64)

    if len({part.size for part in parts}) > 1:
        raise ConfigError(
            f"training and validation images must have one size, but have {' and '.join(str(part.size) for part in parts)}."
        )
    names = tuple(str(i) for i in range(classes or 0))
    return ImageSet("Classification's images", torch.cat([part.images for part in parts]), labels, names)
