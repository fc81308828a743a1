"""One retraining as it is asked for: on the command line, or by the parameters of an NNI trial. Imports no torch before
it trains.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.retraining import recipes
from nni_plugins.evaluators.retraining.settings import MAY_CHANGE_IN_RETRAINING, PictureSettings, Recipe
from nni_plugins.spaces.errors import shown

from ..origins.origin import Origin, origin

if TYPE_CHECKING:
    from nni_plugins.evaluators.retraining.evaluator import RetrainResult

OUTPUT = Path("runs/retrain")
ORIGIN = "origin.json"
"""In the folder of a training: where its architecture comes from."""
OWN = {"architecture": str, "recipe": str, "seed": int, "rank": int, "job": str}
"""Parameters of a trial that are not keys of the recipe, with their types."""
Report = Callable[[dict[str, float]], None]


def first_process() -> bool:
    """Whether this process is the one, of several on several devices, that prints and reports."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def sorted_out(parameters: Any, own: Mapping[str, type]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an NNI tuner chose: the parameters that ``own`` lists, and the others, which are keys of a recipe.

    Raises:
        ConfigError: not a mapping, or a value of another type than ``own`` says.
    """
    if not isinstance(parameters, Mapping):
        raise ConfigError(f"the tuner's parameters must be a mapping, but got {type(parameters).__name__}.")
    given = {str(key): value for key, value in parameters.items()}
    taken = {key: given.pop(key) for key in own if key in given}
    for key, value in taken.items():
        if not isinstance(value, own[key]) or isinstance(value, bool):
            raise ConfigError(
                f"{key}: must be of type {own[key].__name__}, but the tuner gave {shown(value)}.",
                "Correct searchSpace.",
            )
    return taken, given


@dataclass(frozen=True)
class Request:
    """``architecture``, ``space``, ``arguments``, ``rank`` and ``job``: as :func:`nni_plugins.origins.origin.origin`
    takes them.

    ``recipe``: a name, or a YAML file; ``changes``: to it, by dotted keys.
    """

    architecture: str | None
    recipe: str
    data: PictureSettings
    seed: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    space: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    rank: int = 1
    job: str | None = None

    def with_parameters(self, parameters: Any) -> Request:
        """What an NNI tuner chose precedes; errors are those of :func:`sorted_out`."""
        own, given = sorted_out(parameters, OWN)
        return replace(self, **own, changes={**self.changes, **given})

    @cached_property
    def origin(self) -> Origin:
        """The architecture, and where it comes from."""
        if self.architecture is None:
            raise ConfigError(
                "which architecture?",
                "Pass it as argument; in an NNI trial the tuner may give it as the parameter 'architecture'.",
            )
        return origin(self.architecture, self.space, self.arguments, self.rank, self.job)

    @cached_property
    def resolved(self) -> Recipe:
        """The recipe with all changes. Arguments of the space that the user names precede the recipe's
        ``network.sizes``; so does the size of a network that was trained before."""
        base = recipes.recipe(self.recipe)
        recipe, space = (
            recipes.changed(base, self.changes),
            self.origin.space,
        )  # mistakes in a recipe are found before files are read
        if space is not None and self.origin.about["kind"] == "retraining":
            kept = {key: own for key, own in base.network.sizes.items() if key.partition(":")[0] != space.name}
            trained = base.model_copy(
                update={"network": base.network.model_copy(update={"sizes": kept, "width": None})}
            )
            recipe = recipes.changed(trained, self.changes)
        if space is None or not self.arguments:
            return recipe
        sizes = {
            key: {**own, **self.arguments} if key.partition(":")[0] == space.name else own
            for key, own in recipe.network.sizes.items()
        }
        return recipe.model_copy(update={"network": recipe.network.model_copy(update={"sizes": sizes})})

    @property
    def recipe_name(self) -> str:
        """The recipe's name, or that of its file."""
        return Path(self.recipe).stem if self.recipe.endswith(recipes.SUFFIXES) else self.recipe

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the result depends on, as JSON."""
        recipe, space = self.resolved.model_dump(mode="json"), self.origin.space
        return {
            "architecture": self.origin.text
            if space is None or self.origin.architecture is None
            else space.to_string(self.origin.architecture),
            "space": None if space is None else [space.name, space.config()],
            "recipe": {key: value for key, value in recipe.items() if key not in {*MAY_CHANGE_IN_RETRAINING, "source"}},
            "data": self.data.model_dump(mode="json"),
            "seed": self.seed,
        }

    def folder(self) -> Path:
        """Below :data:`OUTPUT`, a function of :attr:`identity`: the same command finds its checkpoints, another one
        never does.
        """
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:6]
        space = self.origin.space
        words = (
            self.origin.name or (space.name if space is not None else ""),
            self.recipe_name,
            Path(self.data.path).name or "data",
            str(self.seed),
        )
        return OUTPUT / "-".join([*(re.sub(r"[^\w.]+", "_", word) for word in words), digest])

    def train(
        self, folder: Path, report: Report | None = None, progress: Report | None = None, tensorboard: bool = False
    ) -> RetrainResult:
        """Train, or go on in ``folder``.

        Raises:
            ConfigError: what the request asks for does not exist or does not fit together; DataError: of the images.
            TrainingError, CheckpointError: see :class:`nni_plugins.evaluators.retraining.loop.Retraining`.
        """
        found, recipe = self.origin, self.resolved
        from nni_plugins.evaluators.retraining.evaluator import TimmRetrain
        from nni_plugins.evaluators.retraining.network import subject

        what = subject(found.name or "") if found.architecture is None else subject(found.architecture, found.space)
        if found.name is not None:
            what = replace(what, name=found.name)
        result = TimmRetrain(
            self.data,
            recipe,
            recipe_name=self.recipe_name,
            seed=self.seed,
            folder=folder,
            report=report,
            progress=progress,
            tensorboard=tensorboard,
        ).train(what)
        if first_process():
            write_json(folder / ORIGIN, {"architecture": found.text, **found.about})
        return result
