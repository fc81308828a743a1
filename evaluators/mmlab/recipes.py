"""The recipes by name: YAML files in the folder beside this file. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from nni_plugins.spaces.errors import closest, shown

from ..errors import ConfigError
from ..settings import read
from .settings import DetectionRecipe, SegmentationRecipe

FOLDER = Path(__file__).parent / "recipes"
RECIPES: dict[str, type[DetectionRecipe] | type[SegmentationRecipe]] = {
    "detection": DetectionRecipe,
    "segmentation": SegmentationRecipe,
}
AnyRecipe = DetectionRecipe | SegmentationRecipe
R = TypeVar("R", bound=AnyRecipe)


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
    try:
        values = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the recipe {file}: {getattr(error, 'strerror', None) or 'it is no text'}."
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is no YAML file: {str(error).splitlines()[0]}.") from None
    task = values.get("task") if isinstance(values, Mapping) else None
    if task not in RECIPES:
        raise ConfigError(f"{file}: task must be detection or segmentation, but got {shown(task)}.")
    return read(RECIPES[task], values, f"{name}: ")


def changed(given: R, changes: Mapping[str, Any]) -> R:
    """``given`` with other values, by dotted keys such as ``"optimizer.learning_rate"``.

    Raises:
        ConfigError: keys that do not exist, or values that are refused; all of them at once.
    """
    values = given.model_dump(mode="json")
    for key, value in changes.items():
        *path, last = key.split(".")
        place = values
        for part in path:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{key}: {part} holds a value, not more keys.")
            place = inner
        place[last] = value
    return read(type(given), values)
