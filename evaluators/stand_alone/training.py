"""Stand-alone training: one architecture, its own weights, real labels or a pretext task, measured on held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

from ..data import ImageData, ImageSet, load
from ..data.settings import DataSettings
from ..errors import ConfigError, DataError
from ..objectives import Objective, Supervised, fitted
from ..randomness import torch_fork
from ..settings import read
from ..training import Training, evaluate
from ..training.loop import Report
from ..training.settings import StandAloneSettings


@dataclass(frozen=True)
class StandAloneResult:
    """``accuracy``: percent of the test images' targets; ``history``: one dictionary an epoch; ``metrics``: all that
    was measured on the test images, see :func:`nni_plugins.evaluators.training.evaluate`; ``validation``: the same on
    the held-out images, empty if there are none."""

    accuracy: float
    history: list[dict[str, float]]
    metrics: dict[str, float]
    validation: dict[str, float] = field(default_factory=dict)


class StandAlone:
    """Train from scratch and measure accuracy on the test images.

    Args:
        data: images, or the settings to load them (a dictionary will do).
        settings: the defaults are NAS-Bench-201's 200-epoch recipe.
        objective: labels by default; a pretext task makes this UnNAS' sample-based ranking without labels.
        held_out: images that take no part in the training, on which the network is measured too.
        space: needed to evaluate an :class:`Architecture`; a plain network needs none.
        seed: of initialisation, data order and augmentation.
        folder: for checkpoints and the curve; None keeps nothing.
        report: called with a dictionary at the end of every epoch.
    """

    def __init__(
        self,
        data: ImageData | DataSettings | dict[str, Any],
        settings: StandAloneSettings | dict[str, Any] | None = None,
        *,
        space: SearchSpace | None = None,
        seed: int = 0,
        folder: Path | None = None,
        report: Report | None = None,
        objective: Objective | None = None,
        held_out: ImageSet | None = None,
    ) -> None:
        self._data = data if isinstance(data, ImageData | DataSettings) else read(DataSettings, data, "data.")
        self.settings = (
            settings
            if isinstance(settings, StandAloneSettings)
            else read(StandAloneSettings, settings or {}, "settings.")
        )
        self.space, self.seed, self.folder, self.report = space, seed, folder, report
        self.objective, self.held_out = objective or Supervised(), held_out

    @property
    def data(self) -> ImageData:
        """The images, loaded when they are first needed."""
        if isinstance(self._data, DataSettings):
            self._data = load(self._data)
        return self._data

    def train(self, model: Architecture | nn.Module, identity: Mapping[str, Any] | None = None) -> StandAloneResult:
        """Train ``model``; an architecture gets fresh weights from ``seed``.

        Args:
            identity: what tells a network from others when its training is resumed, as JSON.

        Raises:
            DataError: there are no test images.
            LabelError: there are no labels, and the objective needs them.
            ConfigError: the objective does not fit the images or the network.
        """
        train, test, objective = self.data.train, self.data.test, self.objective
        if test is None:
            raise DataError(
                f"{train.name}: stand-alone training needs {'' if objective.label_free else 'labelled '}test images.",
                "Add a test folder, or labels to split off a part, or set data.held_out: 0.2 for a pretext task.",
            )
        measured = [test, *([] if self.held_out is None else [self.held_out])]
        for images in (train, *measured):
            objective.check(images)  # those that lack labels are refused now, not after the training
        config: dict[str, Any] = {"images": train.identity(), **(identity or {})}
        if isinstance(model, Architecture):
            if self.space is None:
                raise ConfigError(
                    "StandAlone needs its space to evaluate an Architecture.", "Pass space=..., or evaluate a network."
                )
            space = fitted(self.space, objective, train)
            config |= {"architecture": model.as_dict(), "space": [space.name, space.config()]}
            with torch_fork(self.seed, "initialisation"):
                model = space.network(model)
        training = Training(
            model, objective, train, self.settings, self.seed, folder=self.folder, config=config, report=self.report
        )
        history = training.run().history
        metrics, *held_out = (evaluate(model, part, objective, train.statistics(), self.seed) for part in measured)
        return StandAloneResult(metrics["accuracy"], history, metrics, *held_out)
