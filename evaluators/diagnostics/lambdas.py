"""How strong a skip connection a residual network wants: trainable lambda in [0, 1] over epochs (RF-DARTS, figure 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..data import ImageSet
from ..objectives import Objective
from ..randomness import torch_fork
from ..training.loop import Report
from ..training.settings import TrainingSettings
from .curves import LambdaCurve
from .recorded import classes, train_recorded
from .residual import ResidualNetwork, freeze
from .settings import NetworkSettings, Trainable


def lambda_curve(
    images: ImageSet,
    objective: Objective,
    network: NetworkSettings,
    training: TrainingSettings,
    trainable: Trainable,
    initial: float,
    seed: int,
    *,
    skips: Literal["block", "network"] = "block",
    folder: Path | None = None,
    report: Report | None = None,
) -> LambdaCurve:
    """Train a residual network with trainable skip connections that start at ``initial``. Errors are those of
    :func:`train_recorded`.

    Lambda is a parameter like any other: the optimizer's weight decay pulls at it too.
    """
    with torch_fork(seed, "initialisation"):
        model = ResidualNetwork(network, classes(objective, images), skips, initial)
    freeze(model, trainable)
    config = {
        "network": network.model_dump(),
        "trainable": trainable,
        "images": images.identity(),
        "skips": skips,
        "initial": initial,
    }
    values, history = train_recorded(
        model, lambda: model.lambdas, objective, images, training, seed, folder=folder, config=config, report=report
    )
    return LambdaCurve(trainable, initial, model.lambda_names, values, history)
