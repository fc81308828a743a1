"""What a job of a sample study does: train one architecture on one objective, and measure it on held-out images after
every epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.data import ImageData, ImageSet, load
from nni_plugins.evaluators.data.report import DataReport, tell
from nni_plugins.evaluators.errors import ConfigError, DataError, LabelError
from nni_plugins.evaluators.objectives import Crops, Objective, fitted
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.stand_alone.measured import MeasuredTraining
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError

from .settings import SampleStudySettings, SampleTraining


@dataclass(frozen=True)
class Part:
    """What one objective is trained and measured on, and the space whose networks end as it needs them."""

    objective: Objective
    space: SearchSpace
    train: ImageSet
    test: ImageSet
    training: SampleTraining
    report: DataReport | None


def parts_of(settings: SampleStudySettings) -> dict[str, Part]:
    """For each of ``settings.objectives`` its part. All have been checked, by a network too.

    Raises:
        DataError: there are no held-out images, or an objective cannot use them; LabelError: for want of labels.
        ConfigError: their size fits neither an objective nor the networks.
    """
    loaded: dict[str, ImageData] = {}
    parts = {}
    for name, one in settings.objectives.items():
        given = settings.data_of(name)
        key, seed = given.model_dump_json(), given.limit_seed
        if key not in loaded:
            loaded[key] = load(given)
        data = loaded[key]
        if data.test is None:
            raise DataError(
                f"{data.train.name}: a sample study measures accuracies on held-out images, and there are none.",
                "Add a test folder, or labels to split off a part, or set data.held_out: 0.2 for a pretext task.",
            )
        objective = build_objective(one.objective)
        train = _first(data.train, one.limit, seed, "sample study images")
        test = _first(data.test, one.test_limit, seed, "sample study test images")
        try:
            part = Part(
                objective, fitted(settings.space_of(name), objective, train), train, test, one.training, data.report
            )
            objective.check(test)
            _try(part)
        except LabelError:
            raise
        except NNIPluginsError as error:
            raise ConfigError(f"objectives.{name}: {error.problem}", error.remedy) from None
        parts[name] = part
    return parts


def _first(images: ImageSet, limit: int | None, seed: int, purpose: str) -> ImageSet:
    """At most ``limit`` of the images, a seeded draw; larger limits hold the images of smaller ones."""
    if limit is None or limit >= len(images):
        return images
    return images.subset(np.sort(generator(seed, purpose).permutation(len(images))[:limit]))


@torch.no_grad()
def _try(part: Part) -> None:
    """Pass two images through a network: the inputs of some objectives are smaller than the images, and may be too
    small.
    """
    objective, images = part.objective, part.train
    index = torch.arange(min(2, len(images)))
    pixels = images.on("cpu")
    pixels.plan(index)
    targets = objective.epoch_targets(images, 0)
    labels = None if targets is None else targets[index]
    maps = images.augmentation.centre(pixels.gather_maps(index)) if objective.wants_maps else None
    mean, std = (numbers[:, None, None] for numbers in images.statistics())
    drawn = torch.from_numpy(objective.draw_evaluation(0, len(index)))
    crops = images.augmentation.centre(pixels.gather(index))
    (architecture,) = part.space.decode(part.space.sample(generator(0, "sample study check"), 1))
    with torch_fork(0, "sample study check"):
        network = part.space.network(architecture).eval()
    network(objective.prepare(Crops(crops, labels, maps, drawn, mean, std))[0])


def train_sample(
    part: Part, choices: dict[str, str], seed: int, folder: Path | None, report: Report | None
) -> dict[str, Any]:
    """Train ``choices``; returns ``last``, ``best``: the objective's metric on the held-out images after the last
    epoch, and after its best one (``best_epoch``, from 1), in percent; ``accuracy``: percent of the targets after the
    last epoch; ``loss``: nats, in training; ``test_loss``; ``parameters`` and ``macs`` of the network.

    Raises:
        ConfigChanged: ``folder`` holds another training; TrainingError, CheckpointError: as
            :class:`nni_plugins.evaluators.training.Training`.
    """
    tell(part.report, folder)
    architecture = part.space.architecture(choices)
    with torch_fork(seed, "initialisation"):
        model = part.space.network(architecture)
    history = (
        MeasuredTraining(
            model,
            part.objective,
            part.train,
            part.test,
            part.training,
            seed,
            precise=part.training.precise_batch_norm,
            folder=folder,
            config={"architecture": architecture.as_dict(), "space": [part.space.name, part.space.config()]},
            report=report,
        )
        .run()
        .history
    )
    costs = part.space.cost_table(part.train.input_size)(part.space.encode([architecture]))
    measured, last = [row["measured"] for row in history], history[-1]
    best = max(measured)
    return {
        "last": measured[-1],
        "best": best,
        "best_epoch": int(history[measured.index(best)]["epoch"]),
        **{key.removeprefix("test_"): last[key] for key in last if key in _shown(part.objective)},
        "loss": last["loss"],
        "test_loss": last["test_loss"],
        "parameters": int(costs.parameters[0]),
        "macs": int(costs.macs[0]),
    }


def _shown(objective: Objective) -> tuple[str, str]:
    return "test_accuracy", f"test_{objective.metric}"
