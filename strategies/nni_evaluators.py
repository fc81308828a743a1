"""NNI's own ``Classification`` evaluator as the source of a supernet training: images, batch size, epochs, learning
rate, weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Taken:
    """What NNI's ``Classification`` says of a training.

    ``images``: the training images, then the validation images, if there are any; labels are read when they are first
    asked for. ``portion``: share of the training images, None without validation images.
    """

    images: ImageSet
    portion: float | None
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float


def taken_from(evaluator: Classification, usual_epochs: int, validation: bool = True) -> Taken:
    """Of ``evaluator``; its validation images only if ``validation``.

    Raises:
        ConfigError: it says too little.
        DataError: its loaders do not give images of shape (3, H, W) or (1, H, W) and of one size.
    """
    given = [evaluator.train_dataloaders, *([evaluator.val_dataloaders] if validation else [])]
    loaders = [loader for loader in given if loader is not None]
    wrong = [type(loader).__name__ for loader in (loaders or [None]) if not isinstance(loader, DataLoader)]
    if wrong or evaluator.train_dataloaders is None:
        raise ConfigError(
            f"Classification needs train_dataloaders to be a DataLoader, but got {(wrong or ['NoneType'])[0]}."
        )
    epochs = evaluator.trainer.max_epochs
    if epochs is None or epochs < 1:
        raise ConfigError(
            "Classification needs max_epochs of at least 1.", f"Pass max_epochs={usual_epochs}, as the paper has it."
        )
    options = evaluator.trace_kwargs
    parts = [images_of(loader) for loader in loaders]
    images = _joined(parts, loaders, options.get("num_classes"))
    return Taken(
        images,
        len(parts[0]) / len(images) if len(parts) > 1 else None,
        int(epochs),
        int(loaders[0].batch_size),
        float(options.get("learning_rate", 0.001)),
        float(options.get("weight_decay", 0.0)),
    )


def from_classification(evaluator: Evaluator | None, classes: int, seed: int) -> SupernetTraining:
    """Random labels on the training images of ``evaluator``; the labels in its loader are dropped unread.

    Its learning rate starts the cosine, which ends at 1/25 of it, as RLNAS' does; momentum and the rest are RLNAS'.

    Raises:
        ConfigError: another kind of evaluator, or as :func:`taken_from`. DataError: as :func:`taken_from`.
    """
    if not isinstance(evaluator, Classification):
        raise ConfigError(
            f"RLNAS trains with SupernetTraining or NNI's Classification, but got {type(evaluator).__name__}.",
            "Pass nni_plugins.evaluators.SupernetTraining(images, RandomLabels(classes=10)).",
        )
    taken = taken_from(evaluator, 250, validation=False)
    values = {key: value for key, value in vars(taken).items() if key in SupernetSettings.model_fields}
    settings = read(SupernetSettings, {**values, "final_learning_rate": taken.learning_rate / 25})
    images = ImageSet("Classification's training images", taken.images.images, None)
    return SupernetTraining(images, RandomLabels(classes, seed=seed), settings, seed=seed)


def _joined(parts: list[ImageSet], loaders: list[DataLoader[Any]], classes: int | None) -> ImageSet:
    """All parts as one set."""

    def labels() -> torch.Tensor:
        datasets: list[Any] = [loader.dataset for loader in loaders]
        read_labels = [int(dataset[i][1]) for dataset in datasets for i in range(len(dataset))]
        return torch.tensor(read_labels, dtype=torch.int64)

    if len({part.size for part in parts}) > 1:
        raise ConfigError(
            f"training and validation images must have one size, but have {' and '.join(str(part.size) for part in parts)}."
        )
    names = tuple(str(i) for i in range(classes or 0))
    return ImageSet("Classification's images", torch.cat([part.images for part in parts]), labels, names)


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
