"""The networks of a space as backbones of detectors and of segmentation networks, trained from scratch with mmdet and
mmseg. Free of torch and of OpenMMLab's packages until they train.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.published import names as published_names

from ..backends import require
from ..base import EvaluationSettings, EvaluatorPlugin, Measured, Metric, Network, Report
from ..errors import ConfigError
from ..randomness import generator
from ..subjects.resolver import image_subject
from .recipes import AnyRecipe, changed, recipe
from .watch import METRICS

if TYPE_CHECKING:
    from .config import BackboneChoice
    from .transfer import Transfer

PACKAGES = {"detection": "mmdet", "segmentation": "mmseg"}
HARMLESS_IN_RECIPES = {"source", "checkpoint_every"}


class TransferEvaluation(EvaluationSettings):
    """What detection and segmentation have in common."""

    task: ClassVar[Literal["detection", "segmentation"]]

    recipe: str = Field(description="of nni-plugins transfer --recipes, or a YAML file")
    data: str = Field(min_length=1, description="the folder of the data set (nni-plugins docs transfer)")
    changes: dict[str, Any] = Field(
        default_factory=dict, description="to the recipe, by dotted keys such as optimizer.learning_rate"
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="to the written configuration file, by dotted keys such as model.neck.num_outs",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            backbone = self.resolved().backbone
        except ConfigError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
        if backbone.pretrained or backbone.frozen_stages > 0 or backbone.norm_eval:
            raise ValueError(
                f"the recipe {self.recipe} starts from a trained backbone, which evaluations do not have; change it by "
                "changes: {backbone.pretrained: false, backbone.frozen_stages: -1, backbone.norm_eval: false}, or choose "
                "another"
            )
        return self

    def resolved(self) -> AnyRecipe:
        """The recipe with its changes.

        Raises:
            ConfigError: no such recipe, one of another task, or keys that do not exist.
        """
        given = recipe(self.recipe)
        if given.task != self.task:
            raise ConfigError(f"the recipe {self.recipe} is for {given.task}, not for {self.task}.")
        return changed(given, self.changes)


class DetectionEvaluation(TransferEvaluation):
    """Training of a detector on a folder in COCO's format; measured on its test part, or on the validation part where
    that is all there is.
    """

    task = "detection"


class SegmentationEvaluation(TransferEvaluation):
    """Training of a segmentation network; measured on its validation part."""

    task = "segmentation"


class TransferPlugin(EvaluatorPlugin):
    """Base of both."""

    takes_names = True
    curve_file = None  # a resumed training reports every row again by itself
    paths = ("data", "recipe")
    settings: TransferEvaluation

    @property
    def metric(self) -> Metric:
        """Average precision of boxes, or the mean intersection over union; both in percent."""
        return Metric(METRICS[PACKAGES[self.settings.task]][0], "%")

    @cached_property
    def recipe(self) -> AnyRecipe:
        """With its changes."""
        return self.settings.resolved()

    def identity(self) -> dict[str, Any]:
        """The recipe as it is, whatever it is called, the data set, and the changes to the configuration file."""
        described = self.recipe.model_dump(mode="json", exclude=HARMLESS_IN_RECIPES)
        settings = self.settings
        return {"evaluator": self.name, "recipe": described, "data": settings.data, "options": settings.options}

    def check(self) -> None:
        """Networks of images."""
        if not isinstance(self.space, ImageSpace):
            raise ConfigError(f"networks of {self.space.name} take no images, so they have no feature maps")

    def prepare(self, names: Sequence[str] = ()) -> None:
        """OpenMMLab's packages are there, the data set holds together, and the recipe fits one architecture of the
        space and the networks called ``names``.
        """
        import torch

        from .config import config
        from .installation import check, cpu_only, for_cuda
        from .run import printed_to

        with printed_to(Path(os.devnull)):
            check("mmcv", "mmengine", PACKAGES[self.settings.task])
        cuda = torch.cuda.is_available()
        if cuda and self.settings.task == "detection" and not for_cuda():
            raise cpu_only()
        options: dict[str, Any] = {"changes": self.settings.options, "recipe_name": self.settings.recipe, "cuda": cuda}
        data = self._transfer(0).dataset
        networks: list[Network] = [*self.space.decode(self.space.sample(generator(0, "prepare"), 1)), *names]
        for network in networks:
            config(self.recipe, self.backbone(network), data, Path("unused"), **options)

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        """Train and test."""
        if folder is None:
            with tempfile.TemporaryDirectory() as place:
                return self.evaluate(network, seed, Path(place), report)
        told = None if report is None else lambda row: report(counted(row))
        result = self._transfer(seed).train(self.backbone(network), folder, report=told)
        cost = {
            "parameters": float(result["parameters"]["model"]),
            "backbone_parameters": float(result["parameters"]["backbone"]),
        }
        curve = [counted(row) for row in result["history"]]
        return Measured(result["metrics"][self.metric.name], result["metrics"], curve, cost)

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: the metric on the validation images. ``loss`` is that of training since the evaluation before."""
        return {"default": row[self.metric.name], **row}

    def _transfer(self, seed: int) -> Transfer:
        from .transfer import Transfer

        settings = self.settings
        return Transfer(
            settings.task, settings.recipe, settings.data, seed, changes=settings.changes, options=settings.options
        )

    def backbone(self, network: Network) -> BackboneChoice:
        """What stands in the configuration file for ``network``, at the recipe's size."""
        from .transfer import backbone

        if isinstance(network, str):
            if network not in published_names():
                require("timm", "timm")
            named = image_subject(network)
            return backbone(named.name, named.space, named.architecture, self.recipe)
        assert isinstance(self.space, ImageSpace)
        return backbone(self.space.name, self.space, network, self.recipe)


class DetectionPlugin(TransferPlugin):
    """``evaluator: detection``."""

    name = "detection"
    about = "training of a detector with mmdet, the network as its backbone"
    settings_class = DetectionEvaluation


class SegmentationPlugin(TransferPlugin):
    """``evaluator: segmentation``."""

    name = "segmentation"
    about = "training of a segmentation network with mmseg, the network as its backbone"
    settings_class = SegmentationEvaluation


def counted(row: Mapping[str, Any]) -> dict[str, float]:
    """A row whose ``epoch`` counts evaluations, which may lie several epochs, or less than one, apart; ``at_epoch`` says
    where they lie. One that a killed training had not made has no loss.
    """
    numbers = {key: value for key, value in row.items() if key != "evaluation" and value is not None}
    return {**numbers, "epoch": row["evaluation"], "at_epoch": row["epoch"]}
