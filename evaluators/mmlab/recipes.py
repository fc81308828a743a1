"""The recipes by name: YAML files in the folder beside this file. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_plugins.spaces.errors import closest, shown

from .. import overrides
from ..errors import ConfigError
from ..files import read_yaml
from ..published_width import own_channels
from ..settings import read
from .settings import DetectionRecipe, SegmentationRecipe

FOLDER = Path(__file__).parent / "recipes"
RECIPES: dict[str, type[DetectionRecipe] | type[SegmentationRecipe]] = {
    "detection": DetectionRecipe,
    "segmentation": SegmentationRecipe,
}
AnyRecipe = DetectionRecipe | SegmentationRecipe


def names(task: str | None = None) -> tuple[str, ...]:
    """Of all recipes, or of those of ``detection`` or ``segmentation``."""
    listed = sorted(path.stem for path in FOLDER.glob("*.yml"))
    return tuple(name for name in listed if task in (None, recipe(name).task))


def recipe(name: str) -> AnyRecipe:
    """The recipe called ``name``, or that of a YAML file (``name`` ends in .yml or .yaml).

    Raises:
        ConfigError: no such recipe or file, or one that cannot be used.
    """
    own = name.endswith((".yml", ".yaml"))
    file = Path(name).expanduser() if own else FOLDER / f"{name}.yml"
    if not own and name not in {path.stem for path in FOLDER.glob("*.yml")}:
        raise ConfigError(
            f"unknown recipe {shown(name)}; {closest(name, names())}",
            f"There are: {', '.join(names())}; or pass a YAML file.",
        )
    values = read_yaml(file, "a recipe")
    task = values.get("task")
    if task not in RECIPES:
        raise ConfigError(f"{file}: task must be detection or segmentation, but got {shown(task)}.")
    return read(RECIPES[task], values, f"{name}: ")


def changed(given: AnyRecipe, changes: Mapping[str, Any]) -> AnyRecipe:
    """``given`` with other values by dotted keys, see :func:`nni_plugins.evaluators.overrides.changed`. Channels among
    them precede the width that a paper gave an architecture.
    """
    new = overrides.changed(given, changes)
    if own_channels(given.backbone, new.backbone):
        return new.model_copy(update={"backbone": new.backbone.model_copy(update={"published": None})})
    return new
