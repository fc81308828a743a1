"""Retraining: a network, a recipe and images in; accuracy, weights for timm and a report out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.drawing import draw_cell
from nni_plugins.spaces.images import ImageSpace

from ..backends import require
from ..data.report import tell
from ..errors import ConfigError
from ..files import atomic_write, write_shareable
from ..interchange.weights import read_weights, weights_of
from ..processes import first_process
from ..settings import read
from ..subjects.resolver import image_subject
from ..subjects.subject import ImageSubject, Subject, of_images
from ..training.base import Report
from ..training.checkpoint import CheckpointStore
from ..training.memory import shortage
from . import checkpoints, recipes
from .card import write_card
from .checkpoints import BEST, LAST
from .foresight import check_fits, foresee, sentence
from .hub import write_hub
from .loop import Processes, Progress, Retraining
from .network import build, describe
from .pictures import PictureData, open_pictures
from .settings import MAY_CHANGE_IN_RETRAINING, PictureSettings, Recipe
from .summary import Summary

DRAWING, RESULT = "architecture.png", "result.json"
SCHEMA_VERSION = 1
"""Of ``result.json``."""


@dataclass(frozen=True)
class RetrainResult:
    """What a retraining measured, in percent of images, with the moving average's weights where there is one.

    ``top1``, ``top5`` (from 6 classes on) and ``loss`` (nats): of the test images, after ``epoch`` (from 1), whose
    weights are in the file ``weights``. Where images are held out (``validated``), that is the epoch with the best
    top-1 accuracy on them, and the test images were shown to the network once; otherwise it is the last one.
    ``best_epoch`` has the best top-1 accuracy, ``best_top1``: on the held-out images, or else on the test images, and
    then it flatters, as it was chosen on the very images that it is measured on. ``description``: see
    :func:`nni_plugins.evaluators.retraining.network.describe`.
    """

    top1: float
    top5: float | None
    loss: float
    best_top1: float
    best_epoch: int
    validated: bool
    history: list[dict[str, float]]
    description: dict[str, Any]
    folder: Path | None

    @property
    def epoch(self) -> int:
        """After which the numbers of the test images were measured."""
        return self.best_epoch if self.validated else int(self.history[-1]["epoch"])

    @property
    def weights(self) -> str:
        """The file with the weights that they were measured with."""
        return BEST if self.validated else LAST

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers of it, with ``parameters`` and ``macs``; ``best_top1`` is called ``validation_top1``, or
        ``best_on_test_top1`` where it flatters.
        """
        numbers = {
            "top1": self.top1,
            **({} if self.top5 is None else {"top5": self.top5}),
            "loss": self.loss,
            "validation_top1" if self.validated else "best_on_test_top1": self.best_top1,
        }
        return numbers | {name: self.description[name] for name in ("parameters", "macs")}


class TimmRetrain:
    """Train from scratch by a recipe, built from timm's parts.

    Args:
        data: where the images are.
        recipe: a recipe's name, a recipe, or its values.
        recipe_name: what the recipe is called in reports; by default its own name, or "own".
        space: needed for architectures given as native text.
        seed: of initialisation, order, augmentation and the network's own randomness.
        folder: gets ``last.pth.tar`` and ``model_best.pth.tar`` (timm's format), ``summary.csv``, ``README.md`` (the
            model card), ``architecture.png``, ``recipe.yml``, ``data.json``, ``result.json``, and ``training/`` for resuming; None
            keeps nothing.
        report: called with a dictionary at the end of every epoch.
        progress: see :data:`nni_plugins.evaluators.retraining.loop.Progress`.
        tensorboard: write event files besides, into ``folder/tensorboard``.
    """

    def __init__(
        self,
        data: PictureData | PictureSettings | Mapping[str, Any],
        recipe: str | Recipe | Mapping[str, Any],
        *,
        recipe_name: str | None = None,
        space: ImageSpace | None = None,
        seed: int = 0,
        folder: Path | str | None = None,
        report: Report | None = None,
        progress: Progress | None = None,
        tensorboard: bool = False,
    ) -> None:
        require("timm", "timm")
        self._data = data if isinstance(data, PictureData | PictureSettings) else read(PictureSettings, data, "data.")
        given = (
            recipes.recipe(recipe)
            if isinstance(recipe, str)
            else recipe
            if isinstance(recipe, Recipe)
            else read(Recipe, recipe, "recipe.")
        )
        self.recipe_name = recipe_name or (recipe if isinstance(recipe, str) else "own")
        self.recipe = _for_processes(given)
        self.space, self.seed = space, seed
        self.folder = None if folder is None else Path(folder)
        self.report, self.progress, self.tensorboard = report, progress, tensorboard
        if tensorboard:
            require("tensorboard", "tensorboard")
            if folder is None:
                raise ConfigError("tensorboard needs a folder to write into.", "Pass folder=....")

    @property
    def data(self) -> PictureData:
        """The images, opened when they are first needed."""
        if isinstance(self._data, PictureSettings):
            self._data = open_pictures(self._data)
        return self._data

    def train(self, model: str | Architecture | Subject | nn.Module) -> RetrainResult:
        """Train ``model`` to the last epoch, from where an earlier call with the same folder was stopped.

        Args:
            model: an architecture or a name gets fresh weights from ``seed``; a network is trained as it is, and its
                checkpoints hold weights that only it can load.

        Raises:
            ConfigError: the recipe does not fit the network or the images, or the training does not fit the memory.
            DataError: images that cannot be read or are too small, or classes that differ between train and test.
            CheckpointError: the folder belongs to another training.
            TrainingError: a loss that is not finite, or too little memory.
        """
        data, recipe = self.data, self.recipe
        for images in data.parts.values():  # the test images may be shown only at the end
            images.check_size(recipe.input.size)
        classes = data.train.classes
        chosen: ImageSubject | None = None
        if isinstance(model, nn.Module):
            network, description = model, _own(model)
        else:
            chosen = of_images(model) if isinstance(model, Subject) else image_subject(model, self.space)
            description = describe(chosen, recipe, len(classes))
            network = build(chosen, recipe, len(classes), self.seed)
        store = None
        if self.folder is not None:
            identity = {
                "recipe": recipe.model_dump(mode="json", exclude=set(MAY_CHANGE_IN_RETRAINING)),
                "network": description,
                "seed": self.seed,
                **{name: images.identity() for name, images in data.parts.items()},
                "classes": list(classes),
            }
            store = CheckpointStore(self.folder / "training", identity)
        outputs = None if self.folder is None else _Outputs(self, self.folder, description, chosen)
        training = Retraining(
            network,
            data,
            recipe,
            self.seed,
            store=store,
            after_epoch=outputs,
            report=self.report,
            progress=self.progress,
        )
        tell(data.report, self.folder)
        if first_process() and not (self.folder is not None and (self.folder / RESULT).exists()):
            self._look_ahead(network, description, training.fabric.device)
        training.run()
        result = _result(training, description, self.folder)
        if outputs is not None and training.fabric.is_global_zero:
            outputs.close(training, result)
        return result

    def _look_ahead(self, network: nn.Module, description: dict[str, Any], device: torch.device) -> None:
        """Say what the training will take, and refuse what cannot fit; where not even a few images fit, the training says
        it itself.
        """
        train = self.data.train
        try:
            foreseen = foresee(network, self.recipe, len(train), device)
        except Exception as error:
            if shortage(error) is None:
                raise
            return
        check_fits(foreseen, self.recipe)
        print(sentence(foreseen, description, self.recipe, len(train), len(train.classes)), file=sys.stderr)


def _for_processes(recipe: Recipe) -> Recipe:
    """Under torchrun the number of devices is that of its processes."""
    world = Processes.of(recipe).world
    return recipe if world == recipe.devices else read(Recipe, {**recipe.model_dump(), "devices": world}, "recipe.")


def _own(network: nn.Module) -> dict[str, Any]:
    """The description of a network that no name makes again; multiply-adds are not counted."""
    count = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("auxiliary."))
    name = type(network).__name__
    return {
        "name": name,
        "space": None,
        "architecture": None,
        "text": None,
        "timm": None,
        "parameters": count,
        "macs": None,
    }


def _result(training: Retraining, description: dict[str, Any], folder: Path | None) -> RetrainResult:
    history, best, validated = training.history, training.best, training.pictures.validation is not None
    tested = training.tested if validated else {**history[-1], "loss": history[-1]["test_loss"]}
    return RetrainResult(
        tested["top1"],
        tested.get("top5"),
        tested["loss"],
        best[f"{training.measured}top1"],
        int(best["epoch"]),
        validated,
        history,
        description,
        folder,
    )


class _Outputs:
    """What a retraining writes for others to read, after every epoch and at the end."""

    def __init__(
        self, evaluator: TimmRetrain, folder: Path, description: dict[str, Any], subject: ImageSubject | None
    ) -> None:
        self.evaluator, self.folder, self.description, self.subject = evaluator, folder, description, subject
        self.summary: Summary | None = None

    def __call__(self, training: Retraining) -> None:
        if self.summary is None:
            self.summary = Summary(self.folder, tensorboard=self.evaluator.tensorboard)
        self.summary(training.history)
        self._checkpoint(training, LAST)
        if training.best is training.history[-1]:
            self._checkpoint(training, BEST)

    def _checkpoint(self, training: Retraining, name: str) -> None:
        evaluator, row = self.evaluator, training.history[-1]
        checkpoints.save(
            self.folder / name,
            network=training.model,
            ema=None if training.ema is None else training.ema.module,
            description=self.description,
            recipe=evaluator.recipe,
            classes=training.pictures.train.classes,
            normalisation=training.normalisation,
            epoch=int(row["epoch"]),
            metrics=row,
            seed=evaluator.seed,
            data=self._data(training),
            recipe_name=evaluator.recipe_name,
        )

    def _data(self, training: Retraining) -> dict[str, Any]:
        parts = training.pictures.parts
        return {"name": parts["train"].name, **{name: len(images) for name, images in parts.items()}}

    def _drawn(self) -> str | None:
        """A picture of the cell, for the card; none of networks that are not of a space."""
        if self.subject is None or self.subject.space is None or self.subject.architecture is None:
            return None
        draw_cell(self.subject.space, self.subject.architecture, self.folder / DRAWING, self.description["name"])
        return DRAWING

    def close(self, training: Retraining, result: RetrainResult) -> None:
        """The model card, the recipe and ``result.json``; and the weights, where a training that was finished before lacks
        what can be written anew.
        """
        evaluator = self.evaluator
        last = len(training.history)
        if not checkpoints.is_intact(self.folder / LAST, last):
            self._checkpoint(training, LAST)
        if int(training.best["epoch"]) == last and not checkpoints.is_intact(self.folder / BEST, last):
            self._checkpoint(training, BEST)
        state = weights_of(read_weights(self.folder / result.weights))
        inputs = evaluator.recipe.input
        shown = {
            "size": inputs.size,
            "crop_pct": inputs.crop_pct,
            "interpolation": inputs.interpolation.replace("random", "bicubic"),
        }
        write_hub(self.folder, state, self.description, training.pictures.train.classes, training.normalisation, shown)
        write_card(
            self.folder,
            description=self.description,
            recipe=evaluator.recipe,
            recipe_name=evaluator.recipe_name,
            classes=training.pictures.train.classes,
            normalisation=training.normalisation,
            data=self._data(training),
            seed=evaluator.seed,
            history=result.history,
            tested={"epoch": result.epoch, **training.tested} if result.validated else None,
            drawing=self._drawn(),
        )
        atomic_write(
            self.folder / "recipe.yml",
            yaml.safe_dump(evaluator.recipe.model_dump(mode="json"), sort_keys=False).encode(),
        )
        write_shareable(
            self.folder / RESULT,
            {
                "schema": SCHEMA_VERSION,
                "recipe": evaluator.recipe_name,
                "seed": evaluator.seed,
                "data": self._data(training),
                "network": self.description,
                **result.metrics,
                "epoch": result.epoch,
                "best_epoch": result.best_epoch,
                "weights": result.weights,
                "history": result.history,
                "versions": checkpoints.versions(),
            },
        )
