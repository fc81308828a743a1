"""The recipes by name: YAML files in the folder beside this file. Free of torch."""

from __future__ import annotations

from pathlib import Path

from nni_plugins.spaces.errors import closest, shown

from ..errors import ConfigError
from ..files import read_yaml
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
