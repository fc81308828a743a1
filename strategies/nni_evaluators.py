"""NNI's own ``Classification`` evaluator as the source of a supernet training: images, batch size, epochs, learning
rate, weight decay.
"""

from __future__ import annotations

from typing import Any

import torch
from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Classification
from torch.utils.data import DataLoader

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import ConfigError, DataError
from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training.settings import SupernetSettings


def from_classification(evaluator: Evaluator | None, classes: int, seed: int) -> SupernetTraining:
    """Random labels on the training images of ``evaluator``; the labels in its loader are dropped unread.

    Its learning rate starts the cosine, which ends at 1/25 of it, as RLNAS' does; momentum and the rest are RLNAS'.

    Raises:
        ConfigError: another kind of evaluator.
        DataError: its loader does not give images of shape (3, H, W) or (1, H, W) and of one size.
    """
    if not isinstance(evaluator, Classification):
        raise ConfigError(
            f"RLNAS trains with SupernetTraining or NNI's Classification, but got {type(evaluator).__name__}.",
            "Pass nni_plugins.evaluators.SupernetTraining(images, RandomLabels(classes=10)).",
        )
    loader = evaluator.train_dataloaders
    if not isinstance(loader, DataLoader):
        raise ConfigError(
            f"Classification needs train_dataloaders to be a DataLoader, but got {type(loader).__name__}."
        )
    options = evaluator.trace_kwargs
    rate = float(options.get("learning_rate", 0.001))
    values: dict[str, Any] = {
        "learning_rate": rate,
        "final_learning_rate": rate / 25,
        "weight_decay": float(options.get("weight_decay", 0.0)),
    }
    epochs = evaluator.trainer.max_epochs
    if epochs is None or epochs < 1:
        raise ConfigError("Classification needs max_epochs of at least 1.", "Pass max_epochs=250, as the paper has it.")
    settings = read(SupernetSettings, {**values, "epochs": epochs, "batch_size": loader.batch_size})
    return SupernetTraining(images_of(loader), RandomLabels(classes, seed=seed), settings, seed=seed)


def images_of(loader: DataLoader[Any]) -> ImageSet:
    """All images of the loader's data set as bytes; values outside [0, 1] (normalised ones) are scaled by their common
    range.
    """
    dataset: Any = loader.dataset
    if not hasattr(dataset, "__len__"):
        raise DataError(
            f"a data set with a length is needed, but got {type(dataset).__name__}.",
            "Pass one with __len__ and __getitem__.",
        )
    tensors = [_tensor(dataset[i]) for i in range(len(dataset))]
    shapes = {tuple(t.shape) for t in tensors}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3 or next(iter(shapes))[0] not in (1, 3):
        raise DataError(
            f"images must all have one shape (3, H, W) or (1, H, W), but have {sorted(shapes)[:3]}.",
            "Resize them in the data set.",
        )
    pixels = torch.stack(tensors)
    if pixels.dtype != torch.uint8:
        low, high = pixels.min(), pixels.max()
        if not torch.isfinite(high - low):
            raise DataError("the images hold values that are not finite.", "Check the data set's transforms.")
        unit = pixels if low >= 0 and high <= 1 else (pixels - low) / (high - low).clamp_min(1e-12)
        pixels = unit.mul(255).round().to(torch.uint8)
    return ImageSet("Classification's training images", pixels.expand(-1, 3, -1, -1).contiguous(), None)


def _tensor(sample: Any) -> torch.Tensor:
    image = sample[0] if isinstance(sample, tuple | list) else sample
    if not isinstance(image, torch.Tensor):
        raise DataError(
            f"the data set gives {type(image).__name__} instead of tensors.", "Add a ToTensor transform to it."
        )
    return image
