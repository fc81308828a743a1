"""Training from scratch, measured on held-out images. Free of torch until it trains."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import Field, field_validator

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.spaces.registry import build_space

from ..base import EvaluationSettings, EvaluatorPlugin, Measured, Metric, Network, Report, lasting
from ..data.settings import DataSettings
from ..errors import ConfigError, DataError, LabelError
from ..objectives.registered import build_objective, check_objective_name
from ..training.settings import StandAloneSettings

if TYPE_CHECKING:
    from ..data import ImageData
    from ..objectives import Objective


class StandAloneEvaluation(EvaluationSettings):
    """Training from scratch on images; measured on the test images."""

    data: DataSettings | None = Field(None, description="default: the experiment's")
    training: StandAloneSettings = StandAloneSettings.model_validate({})
    objective: dict[str, Any] | None = Field(
        None,
        description="what is trained, by name and arguments; default: segmentation where the images are for it, else "
        "supervised",
    )
    network: dict[str, Any] = Field(
        default={}, description="arguments of the space that differ in the trained networks, such as channels: 36"
    )
    validation: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the training images, drawn by the seed, on which strategies that ask are answered",
    )

    @field_validator("objective")
    @classmethod
    def _known(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                check_objective_name(value)
            except ConfigError as error:
                raise ValueError(error.problem) from None
        return value


class StandAlonePlugin(EvaluatorPlugin):
    """``evaluator: stand_alone``."""

    name = "stand_alone"
    about = "training from scratch on images, measured on held-out ones"
    settings_class = StandAloneEvaluation
    takes_names = True
    settings: StandAloneEvaluation

    @property
    def images(self) -> DataSettings:
        """What it trains and measures on."""
        return self.settings.data or cast(DataSettings, self.data) or DataSettings.model_validate({})

    @property
    def target(self) -> dict[str, Any]:
        """The objective of the trainings."""
        return self.settings.objective or {
            "name": "segmentation" if self.images.source == "segmentation" else "supervised"
        }

    @property
    def metric(self) -> Metric:
        """Accuracy, or for segmentation the mean intersection over union; both in percent."""
        return Metric("miou" if self.target["name"] == "segmentation" else "accuracy", "%")

    @property
    def network_space(self) -> SearchSpace:
        """The space that builds the networks which are trained: the same decisions, perhaps another size."""
        return build_space({"name": self.space.name, **_arguments(self.space), **self.settings.network})

    def identity(self) -> dict[str, Any]:
        """The images, the objective, the training and the size of the networks."""
        settings = self.settings.model_dump(mode="json", include={"evaluator", "training", "network"})
        return {"settings": lasting(settings), "objective": self.target, "data": self.images.model_dump(mode="json")}

    def check(self) -> None:
        """Networks of images, in a size that the space has."""
        if not self.space.takes_images:
            raise ConfigError(
                f"networks of {self.space.name} take no images; evaluate with language_model, or look up a table"
            )
        try:
            _ = self.network_space
        except NNIPluginsError as error:
            raise ConfigError(f"network: {error.problem}", error.remedy) from None

    def prepare(self) -> None:
        """The images are read, and have what the objective needs."""
        images, target = load_images(self.images), build_objective(self.target)
        unless = "Leave the evaluation out (then what is found is listed, not trained), or "
        try:
            for part in (images.train, images.test):
                if part is not None:
                    target.check(part)
        except LabelError as error:
            more = "add an image of labels for each image (docs/data.md)."
            raise LabelError(
                error.problem, unless + (more if target.wants_maps else "put the images into one folder a class.")
            ) from None
        if images.test is None:
            raise LabelError(
                f"{images.train.name}: there are no images that stand-alone trainings could be measured on.",
                unless + "add a test part with labels (docs/data.md).",
            )

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        """Train, and measure on the test images."""
        return self._train(network, load_images(self.images), seed, folder, report)

    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        """Train on a part of the training images, and measure on the rest; the test images take no part."""
        return self._train(architecture, self.split(), seed, folder, None).value

    def split(self) -> ImageData:
        """The training images in two: what questions train on, and, as ``test``, what they are answered with.

        Raises:
            DataError: none is left to train on.
        """
        import numpy as np

        from ..data import ImageData
        from ..randomness import generator

        images = load_images(self.images).train
        order = generator(self.settings.seed, "comparison validation").permutation(len(images))
        held_out = max(1, round(self.settings.validation * len(images)))
        if held_out >= len(images):
            raise DataError(f"{images.name}: of {len(images)} images none is left to train on.", "Lower validation.")
        return ImageData(images.subset(np.sort(order[held_out:])), images.subset(np.sort(order[:held_out])))

    def _train(
        self, network: Network, images: ImageData, seed: int, folder: Path | None, report: Report | None
    ) -> Measured:
        from ..objectives import fitted
        from .training import StandAlone

        target, space = build_objective(self.target), self.network_space
        evaluator = StandAlone(
            images, self.settings.training, space=space, seed=seed, folder=folder, report=report, objective=target
        )
        if isinstance(network, Architecture):
            result = evaluator.train(network)
            headed = fitted(space, target, images.train)
            costs = headed.cost_table(images.train.input_size)(headed.encode([network]))
            cost = {"parameters": float(costs.parameters[0]), "macs": float(costs.macs[0])}
        else:
            result, cost = self._train_named(network, evaluator, target, images)
        # the loss of training in the last epoch, as the curve has it; that of the test images stands beside it
        metrics = {key: number for key, number in result.metrics.items() if key not in ("loss", target.metric)}
        metrics |= {"loss": result.history[-1]["loss"], "test_loss": result.metrics["loss"]}
        named = {target.metric: result.metrics[target.metric]}
        return Measured(result.metrics[target.metric], {**named, **metrics}, result.history, cost)

    def _train_named(
        self, name: str, evaluator: Any, target: Objective, images: ImageData
    ) -> tuple[Any, dict[str, float]]:
        raise NotImplementedError


def _arguments(space: SearchSpace) -> dict[str, Any]:
    return {key: value for key, value in space.config().items() if key not in ("classes", "head", "input_channels")}


def load_images(settings: DataSettings) -> ImageData:
    """The images, once in a process."""
    return _load_images(settings.model_dump_json())


@lru_cache(maxsize=2)
def _load_images(dumped: str) -> ImageData:
    from ..data import load

    return load(DataSettings.model_validate_json(dumped))
