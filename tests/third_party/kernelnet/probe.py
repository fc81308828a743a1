"""An example of an evaluator in a package of its own: a ridge classifier on the features of an untrained network.

A network's accuracy in seconds, without training it; how well that ranks networks is another matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from nni_plugins.evaluators.base import EvaluationSettings, EvaluatorPlugin, Measured, Metric, Network, Report
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError, DataError
from nni_plugins.spaces.architecture import Architecture

if TYPE_CHECKING:
    from nni_plugins.evaluators.data import ImageData, ImageSet


class ProbeSettings(EvaluationSettings):
    """``ridge``: penalty on the squared weights."""

    data: DataSettings | None = Field(None, description="default: the experiment's")
    ridge: float = Field(1.0, gt=0)


class LinearProbe(EvaluatorPlugin):
    """``evaluator: linear_probe``."""

    name = "linear_probe"
    about = "a ridge classifier on the features of an untrained network"
    settings_class = ProbeSettings
    looks_up = True  # it is done in a second: nothing to resume, and no curve
    curve_file = None
    settings: ProbeSettings

    @property
    def metric(self) -> Metric:
        return Metric("probe accuracy", "%")

    def check(self) -> None:
        if not self.space.takes_images:
            raise ConfigError(f"networks of {self.space.name} take no images")
        if self.settings.data is None and self.data is None:
            raise ConfigError("data: must be given, for the experiment has none")

    def images(self) -> ImageData:
        from nni_plugins.evaluators.data import load

        return load(self.settings.data or self.data)

    def prepare(self, names: Any = ()) -> None:
        images = self.images()
        for part in (images.train, images.test):
            if part is None:
                raise DataError(f"{images.train.name}: there are no test images to measure on.", "Add a test part.")
            _ = part.labels

    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        images = self.images()
        assert images.test is not None
        return self._probe(network, seed, images.train, images.test)

    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        """On every fifth training image, fitted on the others."""
        import numpy as np

        train = self.images().train
        held_out = np.arange(len(train)) % 5 == 0
        fit, rest = train.subset(np.flatnonzero(~held_out)), train.subset(np.flatnonzero(held_out))
        return self._probe(architecture, seed, fit, rest).value

    def _probe(self, network: Network, seed: int, fit: ImageSet, rest: ImageSet) -> Measured:
        from nni_plugins.evaluators.randomness import torch_fork

        assert isinstance(network, Architecture)
        with torch_fork(seed, "initialisation"):
            built = self.space.with_classes(64).network(network)
        accuracy = _ridge_accuracy(built, fit, rest, self.settings.ridge)
        costs = self.space.cost_table(fit.input_size)(self.space.encode([network]))
        return Measured(accuracy, cost={"parameters": float(costs.parameters[0]), "macs": float(costs.macs[0])})


def _ridge_accuracy(network: Any, fit: ImageSet, rest: ImageSet, ridge: float) -> float:
    import numpy as np
    import torch
    from sklearn.linear_model import RidgeClassifier

    def features(images: ImageSet) -> Any:
        index = torch.arange(len(images))
        pixels = images.on("cpu")
        pixels.plan(index)
        x = pixels.gather(index).float() / 255
        with torch.no_grad():
            return network.train()(x).double().numpy()

    model = RidgeClassifier(alpha=ridge).fit(features(fit), np.asarray(fit.labels))
    return 100.0 * float(model.score(features(rest), np.asarray(rest.labels)))
