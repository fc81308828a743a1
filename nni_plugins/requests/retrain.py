"""One retraining as it is asked for. Imports no torch before it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.processes import first_process
from nni_plugins.evaluators.retraining import recipes
from nni_plugins.evaluators.retraining.plugin import curve_point
from nni_plugins.evaluators.retraining.settings import MAY_CHANGE_IN_RETRAINING, PictureSettings, Recipe

from .request import Report, Request

if TYPE_CHECKING:
    from nni_plugins.evaluators.retraining.evaluator import RetrainResult

ORIGIN = "origin.json"
"""In the folder of a training: where its architecture comes from."""
TRAINED, SEARCHED = ("retraining", "weights"), ("search", "comparison")
"""Kinds of origins whose networks have a size."""


@dataclass(frozen=True, kw_only=True)
class RetrainRequest(Request["RetrainResult"]):
    """``recipe_size``: take the recipe's size of network, not that of the search; ``tensorboard``: write TensorBoard's
    files, too.
    """

    output = Path("runs/retrain")
    trial_folder = "retrain"
    curve_file = "training/metrics.jsonl"

    data: PictureSettings
    recipe_size: bool = False
    tensorboard: bool = False

    @property
    def keeps_size(self) -> bool:
        """Whether the network stays as large as where it comes from."""
        kind = self.origin.about["kind"]
        return kind in TRAINED or (kind in SEARCHED and not self.recipe_size)

    @cached_property
    def resolved(self) -> Recipe:
        """The recipe with all changes. Arguments of the space that the user names precede the recipe's
        ``network.sizes``; so does the size of a network that was trained or searched before.
        """
        base = recipes.recipe(self.recipe)
        recipe = recipes.changed(base, self.changes)  # mistakes in a recipe are found before files are read
        space = self.subject.space
        if space is None:
            return recipe
        if self.keeps_size:
            others = {key: own for key, own in base.network.sizes.items() if key.partition(":")[0] != space.name}
            network = base.network.model_copy(update={"sizes": others, "width": None, "published": None})
            recipe = recipes.changed(base.model_copy(update={"network": network}), self.changes)
        sizes = {
            key: {**own, **self.space_arguments} if key.partition(":")[0] == space.name else own
            for key, own in recipe.network.sizes.items()
        }
        paper = None if "channels" in self.space_arguments else recipe.network.published
        network = recipe.network.model_copy(update={"sizes": sizes, "published": paper})
        return recipe.model_copy(update={"network": network})

    @property
    def identity(self) -> dict[str, Any]:
        """Network, recipe, images and seed."""
        recipe, one = self.resolved.model_dump(mode="json"), self.subject
        architecture = one.name if one.architecture is None else one.architecture.as_dict()
        return {
            "architecture": architecture,
            "space": one.arguments if one.space is None else [one.space.name, one.space.config()],
            "recipe": {key: value for key, value in recipe.items() if key not in {*MAY_CHANGE_IN_RETRAINING, "source"}},
            "data": self.data.model_dump(mode="json"),
            "seed": self.seed,
        }

    @property
    def data_name(self) -> str:
        """Of the folder or file."""
        return Path(self.data.path).name or "data"

    def train(self, folder: Path, report: Report | None = None, progress: Report | None = None) -> RetrainResult:
        """See :class:`nni_plugins.evaluators.retraining.evaluator.TimmRetrain`."""
        recipe, one = self.resolved, self.subject
        from nni_plugins.evaluators.retraining.evaluator import TimmRetrain

        training = TimmRetrain(
            self.data,
            recipe,
            recipe_name=self.recipe_name,
            seed=self.seed,
            folder=folder,
            report=report,
            progress=progress,
            tensorboard=self.tensorboard,
        )
        result = training.train(one)
        if first_process():
            write_json(folder / ORIGIN, {"architecture": one.text, **self.origin.about})
        return result

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """See :func:`nni_plugins.evaluators.retraining.plugin.curve_point`."""
        return curve_point(row)

    def final_value(self, result: RetrainResult) -> dict[str, float]:
        """``default``: of the held-out images after the best epoch; where none are held out, of the test images after
        the last one.
        """
        numbers = {key: value for key, value in result.metrics.items() if value is not None}
        return {"default": result.best_top1 if result.validated else result.top1, **numbers}
