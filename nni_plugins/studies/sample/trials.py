"""What a trial of a sample study does: train one architecture on one objective, and measure it on held-out images after
every epoch.
"""

from __future__ import annotations

import contextlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from nni_plugins.evaluators.data import ImageData, ImageSet, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError, DataError, LabelError
from nni_plugins.evaluators.files import differences, write_json
from nni_plugins.evaluators.objectives import Crops, Objective, fitted
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.stand_alone.measured import MeasuredTraining
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import MAY_CHANGE
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError

from ...experiment.objectives import build_objective
from ...experiment.settings import SampleStudyExperiment
from .settings import SampleObjective

SAMPLE = "sample.json"
"""What a finished training leaves of itself, besides its curve."""


@lru_cache(maxsize=1)
def _loaded(settings: DataSettings) -> ImageData:
    """The images, once for all trainings in this process."""
    return load(settings)


def _first(images: ImageSet, limit: int | None, seed: int, purpose: str) -> ImageSet:
    """At most ``limit`` of the images, a seeded draw; larger limits hold the images of smaller ones."""
    if limit is None or limit >= len(images):
        return images
    return images.subset(np.sort(generator(seed, purpose).permutation(len(images))[:limit]))


Part = tuple[Objective, ImageSet, ImageSet]
"""An objective, its training and its held-out images."""


def images_of(settings: SampleStudyExperiment) -> dict[str, Part]:
    """For each of ``settings.objectives``: it, and its training and held-out images. All have been checked, by a
    network too.

    Raises:
        DataError: there are no held-out images, or an objective cannot use them; LabelError: for want of labels.
        ConfigError: their size fits neither an objective nor the networks.
    """
    return _images_of(settings.model_dump_json())


@lru_cache(maxsize=1)
def _images_of(dumped: str) -> dict[str, Part]:
    settings = SampleStudyExperiment.model_validate_json(dumped)
    data, seed = _loaded(settings.data), settings.data.limit_seed
    if data.test is None:
        raise DataError(
            f"{data.train.name}: a sample study measures accuracies on held-out images, and there are none.",
            "Add a test folder, or labels to split off a part.",
        )
    parts = {}
    for name, one in settings.objectives.items():
        objective = build_objective(one.objective)
        train = _first(data.train, one.limit, seed, "sample study images")
        test = _first(data.test, one.test_limit, seed, "sample study test images")
        try:
            space = fitted(settings.search_space, objective, train)
            objective.check(test)
            _try(objective, space, train)
        except LabelError:
            raise
        except NNIPluginsError as error:
            raise ConfigError(f"objectives.{name}: {error.problem}", error.remedy) from None
        parts[name] = objective, train, test
    return parts


@torch.no_grad()
def _try(objective: Objective, space: SearchSpace, images: ImageSet) -> None:
    """Pass two images through a network of ``space``: the inputs of some objectives are smaller than the images, and
    may be too small.
    """
    index = torch.arange(min(2, len(images)))
    pixels = images.on("cpu")
    pixels.plan(index)
    targets = objective.epoch_targets(images, 0)
    labels, maps = (
        None if targets is None else targets[index],
        pixels.gather_maps(index) if objective.wants_maps else None,
    )
    mean, std = (numbers[:, None, None] for numbers in images.statistics())
    drawn = torch.from_numpy(objective.draw_evaluation(0, len(index)))
    crops = images.augmentation.centre(pixels.gather(index))
    if maps is not None:
        maps = images.augmentation.centre(maps)
    (architecture,) = space.decode(space.sample(generator(0, "sample study check"), 1))
    with torch_fork(0, "sample study check"):
        network = space.network(architecture).eval()
    network(objective.prepare(Crops(crops, labels, maps, drawn, mean, std))[0])


def run_sample(
    settings: SampleStudyExperiment,
    name: str,
    seed: int,
    choices: dict[str, str],
    folder: Path | None,
    report: Report | None,
) -> dict[str, Any]:
    """Train ``choices`` on objective ``name``; returns what its trial reports: ``default``, which is ``last`` or
    ``best`` as ``settings.measure`` says, and the numbers of :func:`_value`.

    A training that has finished in ``folder`` is not repeated; its weights are deleted when it has, for a study has
    thousands.

    Raises:
        ConfigChanged: ``folder`` holds another training.
    """
    objective, train, test = images_of(settings)[name]
    one, space = settings.objectives[name], fitted(settings.search_space, objective, train)
    architecture = space.architecture(choices)
    identity = _identity(settings, one, seed, choices)
    if folder is not None and (folder / SAMPLE).exists():
        return _reported(_finished(folder / SAMPLE, identity), settings.measure)
    with torch_fork(seed, "initialisation"):
        model = space.network(architecture)
    config = {"architecture": architecture.as_dict(), "space": [space.name, space.config()]}
    training = MeasuredTraining(
        model,
        objective,
        train,
        test,
        one.training,
        seed,
        precise=one.training.precise_batch_norm,
        folder=folder,
        config=config,
        report=report,
    )
    history = training.run().history
    costs = space.cost_table(train.input_size)(space.encode([architecture]))
    value = {**_value(history, objective.metric), "parameters": int(costs.parameters[0]), "macs": int(costs.macs[0])}
    if folder is not None:
        write_json(folder / SAMPLE, {"identity": identity, "value": value})
        for weights in (*folder.glob("step-*"), *folder.glob("initial.*")):
            with contextlib.suppress(OSError):
                weights.unlink()
    return _reported(value, settings.measure)


def _reported(value: dict[str, Any], measure: str) -> dict[str, Any]:
    return {"default": value[measure], **value}


def _identity(
    settings: SampleStudyExperiment, one: SampleObjective, seed: int, choices: dict[str, str]
) -> dict[str, Any]:
    described = one.model_dump(mode="json")
    described["training"] = {key: value for key, value in described["training"].items() if key not in MAY_CHANGE}
    data = settings.data.model_dump(mode="json")
    return {"objective": described, "seed": seed, "choices": choices, "space": settings.space, "data": data}


def _finished(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        stored, value = content["identity"], content["value"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"{path} is damaged.", f"Delete {path.parent} to train this architecture again."
        ) from None
    changes = differences(stored, json.loads(json.dumps(identity)))
    if changes:
        raise ConfigChanged(
            f"{path.parent} holds another training: {'; '.join(changes)}.", "Choose another folder to start over."
        )
    return cast(dict[str, Any], value)


def _value(history: list[dict[str, float]], metric: str) -> dict[str, Any]:
    """``last``, ``best``: the objective's metric on the held-out images after the last epoch, and after its best one
    (``best_epoch``, from 1), in percent. ``accuracy``: percent of the targets after the last epoch; ``loss``: nats, in
    training."""
    measured = [row["measured"] for row in history]
    best = max(measured)
    last = {
        key.removeprefix("test_"): number
        for key, number in history[-1].items()
        if key in ("test_accuracy", f"test_{metric}")
    }
    return {
        "last": measured[-1],
        "best": best,
        "best_epoch": int(history[measured.index(best)]["epoch"]),
        **last,
        "loss": history[-1]["loss"],
        "test_loss": history[-1]["test_loss"],
    }
