"""Training from scratch, measured on held-out images. Free of torch until it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import Field, field_validator

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError, SpaceError
from nni_plugins.spaces.registry import build_space, space_settings

from ..base import EvaluationSettings, EvaluatorPlugin, Measured, Metric, Network, Report, lasting
from ..data.report import tell
from ..data.settings import DataSettings
from ..errors import ConfigError, DataError, LabelError
from ..objectives.registered import build_objective, check_objective_name
from ..randomness import generator, torch_fork
from ..training.settings import StandAloneSettings

if TYPE_CHECKING:
    from ..data import ImageData, ImageSet
    from ..objectives import Objective


class StandAloneEvaluation(EvaluationSettings):
    """Training from scratch on a part of the training images; measured on the test images, and on the rest of the
    training images, by which the best architecture is chosen.
    """

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
        ge=0,
        lt=1,
        description="share of the training images, drawn by the seed, that is held out: the best architecture is chosen "
        "by it, and strategies that ask are answered by it. 0: all images train, and nothing is chosen by this evaluation",
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
    def holds_out(self) -> bool:
        """A part of the training images, unless ``validation`` is 0."""
        return self.settings.validation > 0

    @property
    def devices(self) -> int:
        """Of the training."""
        return self.settings.training.devices

    @property
    def network_space(self) -> SearchSpace:
        """The space that builds the networks which are trained: the same decisions, perhaps another size."""
        changes = self.settings.network
        return build_space({**space_settings(self.space), **changes}) if changes else self.space

    def identity(self) -> dict[str, Any]:
        """The images and which of them are held out, the objective, the training and the size of the networks."""
        settings = self.settings.model_dump(mode="json", include={"evaluator", "training", "network", "validation"})
        images = self.images.model_dump(mode="json")
        return {"settings": lasting(settings), "objective": self.target, "data": lasting(images)}

    def check(self) -> None:
        """Networks of images, in a size that the space has."""
        if not self.space.takes_images:
            raise ConfigError(
                f"networks of {self.space.name} take no images; evaluate with language_model, or look up a table"
            )
        try:
            changed = self.network_space
        except NNIPluginsError as error:
            raise ConfigError(f"network: {error.problem}", error.remedy) from None
        if changed.decisions != self.space.decisions:
            raise ConfigError(
                f"network: {', '.join(self.settings.network)} change which architectures there are; only sizes may differ"
            )

    def prepare(self, names: Sequence[str] = ()) -> None:
        """The images are read, and have what the objective needs; one architecture of the space and the networks called
        ``names`` are run on two of them.
        """
        images, target = load_images(self.images), build_objective(self.target)
        unless = "Leave the evaluation out (then what is found is listed, not trained), or "
        try:
            for part in (images.train, images.test):
                if part is not None:
                    target.check(part)
        except LabelError as error:
            more = "add an image of labels for each image (nni-plugins docs data)."
            raise LabelError(
                error.problem, unless + (more if target.wants_maps else "put the images into one folder a class.")
            ) from None
        if images.test is None:
            raise LabelError(
                f"{images.train.name}: there are no images that stand-alone trainings could be measured on.",
                unless
                + (
                    "set data.held_out: 0.2, which sets a part of them aside."
                    if target.label_free
                    else "add a test part with labels (nni-plugins docs data)."
                ),
            )
        networks: list[Network] = [*self.space.decode(self.space.sample(generator(0, "prepare"), 1)), *names]
        for network in networks:
            self._try(network, target, images.train)

    def _try(self, network: Network, target: Objective, images: ImageSet) -> None:
        """Run ``network`` on two of ``images``.

        Raises:
            ConfigError: it cannot be run.
        """
        import torch

        from ..objectives import fitted
        from ..training import evaluate
        from .named import named_network

        if isinstance(network, str):
            name, module = network, named_network(network, target, images, 0).network
        else:
            with torch_fork(0, "prepare"):
                name, module = (
                    f"a network of {self.space.name}",
                    fitted(self.network_space, target, images).network(network),
                )
        try:
            evaluate(module, images.subset(np.arange(min(2, len(images)))), target, (torch.zeros(3), torch.ones(3)))
        except (RuntimeError, ValueError, IndexError, SpaceError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            size = " x ".join(map(str, images.input_size))
            raise ConfigError(
                f"{name} cannot be run on {images.name}, whose images have {size} pixels: {reason}",
                "Choose larger images, or networks that reduce them less.",
            ) from None

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        """Train, and measure on the test images and on those that are held out."""
        images = load_images(self.images)
        tell(images.report, folder)
        if not self.settings.validation:
            return self._train(network, images, None, seed, folder, report)
        parts = self.split(seed)
        return self._train(network, replace(images, train=parts.train), parts.test, seed, folder, report)

    @property
    def ask_cost(self) -> dict[str, float]:
        """The epochs of a training."""
        return {"search_epochs": float(self.settings.training.epochs)}

    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        """Train on a part of the training images, and measure on the rest; the test images take no part.

        Raises:
            ConfigError: nothing is held out.
        """
        if not self.settings.validation:
            raise ConfigError(
                "validation: 0 holds no images out, so no strategy can be answered by them.", "Set it to 0.2."
            )
        tell(load_images(self.images).report, folder)
        return self._train(architecture, self.split(seed), None, seed, folder, None).value

    def split(self, seed: int) -> ImageData:
        """The training images in two: those that train, with one of each class at least, and, as ``test``, those that are
        held out.

        Raises:
            DataError: none is left to train on.
        """
        from ..data import ImageData
        from ..data.images import keep_classes

        images = load_images(self.images).train
        order = generator(seed, "comparison validation").permutation(len(images))
        held_out = max(1, round(self.settings.validation * len(images)))
        if held_out >= len(images):
            raise DataError(f"{images.name}: of {len(images)} images none is left to train on.", "Lower validation.")
        labels = images.labels.numpy() if self.target["name"] == "supervised" else None
        kept, rest = keep_classes(np.sort(order[held_out:]), np.sort(order[:held_out]), labels)
        return ImageData(images.subset(kept), images.subset(rest))

    def _train(
        self,
        network: Network,
        images: ImageData,
        held_out: ImageSet | None,
        seed: int,
        folder: Path | None,
        report: Report | None,
    ) -> Measured:
        from ..objectives import fitted
        from .named import named_network
        from .training import StandAlone

        target, space = build_objective(self.target), self.network_space
        given: dict[str, Any] = {"folder": folder, "report": report, "objective": target, "held_out": held_out}
        evaluator = StandAlone(images, self.settings.training, space=space, seed=seed, **given)
        if isinstance(network, str):
            named = named_network(network, target, images.train, seed)
            result, cost = evaluator.train(named.network, named.identity), named.cost
        else:
            result, headed = evaluator.train(network), fitted(space, target, images.train)
            costs = headed.cost_table(images.train.input_size)(headed.encode([network]))
            cost = {"parameters": float(costs.parameters[0]), "macs": float(costs.macs[0])}
        # the loss of training in the last epoch, as the curve has it; that of the test images stands beside it
        metrics = {key: number for key, number in result.metrics.items() if key not in ("loss", target.metric)}
        metrics |= {"loss": result.history[-1]["loss"], "test_loss": result.metrics["loss"]}
        value, validation = result.metrics[target.metric], result.validation.get(target.metric)
        if validation is not None:
            metrics[f"validation_{target.metric}"] = validation
        return Measured(value, {target.metric: value, **metrics}, result.history, cost, validation)


def load_images(settings: DataSettings) -> ImageData:
    """The images, once in a process."""
    return _load_images(settings.model_dump_json())


@lru_cache(maxsize=2)
def _load_images(dumped: str) -> ImageData:
    from ..data import load

    return load(DataSettings.model_validate_json(dumped))
