"""Does a deeper plain network do worse? Errors of plain networks by depth, fully trained or with random convolutions
(RF-DARTS, figure 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..data import ImageData
from ..errors import DataError
from ..objectives import Objective, RandomLabels, Supervised
from ..randomness import torch_fork
from ..training import Training, evaluate
from ..training.loop import Report
from ..training.settings import TrainingSettings
from .recorded import classes
from .residual import ResidualNetwork, Skips, freeze
from .settings import NetworkSettings, Trainable


@dataclass(frozen=True)
class DepthErrors:
    """``train_error``: percent of the objective's targets missed in the last epoch, in training mode and with
    augmentation; ``test_error``: the same of the test images, in evaluation mode; None under random labels, which no
    network could know, and without test images.
    """

    depth: int
    trainable: Trainable
    train_error: float
    test_error: float | None
    history: list[dict[str, float]]


def depth_errors(
    data: ImageData,
    objective: Objective,
    network: NetworkSettings,
    training: TrainingSettings,
    trainable: Trainable,
    seed: int,
    *,
    skips: Skips = "none",
    folder: Path | None = None,
    report: Report | None = None,
) -> DepthErrors:
    """Train one network, by default plain, and measure its errors.

    Raises:
        DataError, LabelError: labels are trained on, but there are no test images, or images cannot serve the
            objective.
        TrainingError, CheckpointError: as :class:`nni_plugins.evaluators.training.Training`.
    """
    test = None if isinstance(objective, RandomLabels) else data.test
    if test is None and isinstance(objective, Supervised):
        raise DataError(
            f"{data.train.name}: there are no test images to measure the test error on.", "Add a test folder."
        )
    if test is not None:
        objective.check(test)  # what cannot serve is refused now, not after the training
    with torch_fork(seed, "initialisation"):
        model = ResidualNetwork(network, classes(objective, data.train), skips)
    freeze(model, trainable)
    config = {"network": network.model_dump(), "trainable": trainable, "images": data.train.identity(), "skips": skips}
    history = (
        Training(model, objective, data.train, training, seed, folder=folder, config=config, report=report)
        .run()
        .history
    )
    test_error = None if test is None else 100 - evaluate(model, test, objective, data.train.statistics())["accuracy"]
    return DepthErrors(network.depth, trainable, 100 - history[-1]["accuracy"], test_error, history)
