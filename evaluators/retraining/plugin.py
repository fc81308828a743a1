"""Training to the end by a recipe, measured on labelled test images. Free of torch and timm until it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.spaces.images import ImageSpace

from ..backends import require
from ..base import EvaluationSettings, EvaluatorPlugin, Measured, Metric, Network, Report
from ..errors import ConfigError
from ..randomness import generator
from ..subjects.resolver import image_subject
from ..subjects.subject import ImageSubject
from . import recipes
from .settings import MAY_CHANGE_IN_RETRAINING, PictureSettings, Recipe

NOT_OF_THE_CURVE = ("images_per_second",)
"""Not in ``metrics.jsonl``, so epochs that are reported late could not have it."""


class RetrainEvaluation(EvaluationSettings):
    """Training from scratch by a recipe, built from timm's parts; measured on the test images after the last epoch, or
    after the best one by images that ``data.validation`` holds out.
    """

    recipe: str = Field(description="of nni-plugins recipes, or a YAML file")
    data: PictureSettings = Field(description="a folder or file of labelled images, digits, or more of their settings")
    changes: dict[str, Any] = Field(
        default_factory=dict, description="to the recipe, by dotted keys such as optimizer.learning_rate"
    )

    @field_validator("data", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            self.resolved()
        except ConfigError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
        return self

    def resolved(self) -> Recipe:
        """The recipe with its changes.

        Raises:
            ConfigError: no such recipe, or keys that do not exist.
        """
        return recipes.changed(recipes.recipe(self.recipe), self.changes)


class RetrainPlugin(EvaluatorPlugin):
    """``evaluator: retrain``."""

    name = "retrain"
    about = "training to the end by a recipe, with timm's parts"
    settings_class = RetrainEvaluation
    takes_names = True
    curve_file = "training/metrics.jsonl"
    paths = ("data", "data.path", "recipe")
    settings: RetrainEvaluation

    @property
    def metric(self) -> Metric:
        """Of the test images, which nothing was chosen by."""
        return Metric("top1", "%")

    @property
    def holds_out(self) -> bool:
        """Where ``data.validation`` says so."""
        return self.settings.data.holds_out

    @property
    def devices(self) -> int:
        """Of the recipe."""
        return self.recipe.devices

    @cached_property
    def recipe(self) -> Recipe:
        """With its changes."""
        return self.settings.resolved()

    def identity(self) -> dict[str, Any]:
        """The recipe as it is, whatever it is called, and the images."""
        recipe = self.recipe.model_dump(mode="json", exclude={*MAY_CHANGE_IN_RETRAINING, "source"})
        return {"evaluator": self.name, "recipe": recipe, "data": self.settings.data.model_dump(mode="json")}

    def check(self) -> None:
        """Networks of images."""
        if not isinstance(self.space, ImageSpace):
            raise ConfigError(f"networks of {self.space.name} take no images, so they cannot be retrained")

    def prepare(self, names: Sequence[str] = ()) -> None:
        """timm is there, the images can be read and are large enough, and the recipe fits one architecture of the space
        and the networks called ``names``.
        """
        require("timm", "timm")
        from .network import describe
        from .pictures import open_pictures

        pictures = open_pictures(self.settings.data)
        for images in pictures.parts.values():
            images.check_size(self.recipe.input.size)
        networks: list[Network] = [*self.space.decode(self.space.sample(generator(0, "prepare"), 1)), *names]
        for network in networks:
            describe(self._subject(network), self.recipe, len(pictures.train.classes))

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        """Train to the last epoch; ``validation`` is the best epoch's."""
        from .evaluator import TimmRetrain

        retraining = TimmRetrain(
            self.settings.data,
            self.recipe,
            recipe_name=Path(self.settings.recipe).stem,
            seed=seed,
            folder=folder,
            report=report,
        )
        result = retraining.train(self._subject(network))
        # loss: of training in the last epoch, as the curve has it; that of the test images stands beside it
        numbers = {**result.metrics, "loss": result.history[-1]["loss"], "test_loss": result.loss}
        cost = {key: float(numbers.pop(key)) for key in ("parameters", "macs")}
        validation = result.best_top1 if result.validated else None
        return Measured(result.top1, numbers, result.history, cost, validation)

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """See :func:`curve_point`."""
        return curve_point(row)

    def _subject(self, network: Network) -> ImageSubject:
        if isinstance(network, str):
            return image_subject(network)
        assert isinstance(self.space, ImageSpace)
        return ImageSubject(self.space.name, self.space, network)


def curve_point(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the portal gets of a row; ``default``: top-1 accuracy of the held-out images after the epoch, or of the test
    images where none are held out, in percent.
    """
    return {
        "default": row.get("validation_top1", row.get("top1")),
        **{key: value for key, value in row.items() if key not in NOT_OF_THE_CURVE},
    }
