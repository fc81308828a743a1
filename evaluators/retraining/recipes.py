"""Recipes by name, and recipes that differ from others in some values. Free of torch and timm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nni_plugins.spaces.errors import closest, shown

from ..errors import ConfigError
from ..settings import read
from .settings import MAY_CHANGE_IN_RETRAINING, Recipe

FOLDER = Path(__file__).with_name("recipes")
SUFFIXES = (".yml", ".yaml")
MAX_BYTES = 1_000_000


def names() -> tuple[str, ...]:
    """The recipes that come with this package, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yml")))


def recipe(name: str) -> Recipe:
    """The recipe called ``name``, or the one in a file of yours, whose name ends in ``.yml`` or ``.yaml``.

    A file has the keys of :class:`Recipe`, and may have ``base``: the name of a recipe that it changes. Mappings are
    then laid over those of the base, key by key; other values replace the base's.

    Raises:
        ConfigError: no such recipe or file, a file that is not YAML, or settings that cannot be; all problems of a file
            at once.
    """
    return read(Recipe, _values(name, ()), f"{name}: ")


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """``recipe`` with other values, checked again. Its ``source`` says which ones differ.

    Args:
        changes: dotted keys, such as
            ``{"optimizer.learning_rate": 0.1, "network.sizes.darts.channels": 24, "mix": None}``. A mapping is laid
            over the one that is there, key by key.

    Raises:
        ConfigError: unknown keys, or values that cannot be; all of them at once.
    """
    if not changes:
        return recipe
    values: dict[str, Any] = recipe.model_dump()
    for key, value in changes.items():
        for part in reversed(str(key).split(".")):
            value = {part: value}
        values = _laid_over(values, value)
    told = sorted(str(key) for key in changes if str(key) not in MAY_CHANGE_IN_RETRAINING | {"source"})
    if told and values["source"] == recipe.source:
        before, _, earlier = recipe.source.partition(CHANGED)
        values["source"] = before + CHANGED + ", ".join(sorted({*told, *filter(None, earlier.split(", "))}))
    return read(Recipe, values)


CHANGED = "; changed: "


def _values(name: str, users: tuple[str, ...]) -> dict[str, Any]:
    """What the recipe's file says, laid over its base. ``users``: the files that name this one as their base, in turn."""
    own = name.endswith(SUFFIXES)
    if not own and name not in names():
        wanted = f"base: unknown recipe {shown(name)}" if users else f"unknown recipe {shown(name)}"
        raise ConfigError(
            f"{wanted}; {closest(str(name), names())}", "The name of a file of yours must end in .yml or .yaml."
        )
    if name in users:
        raise ConfigError(
            f"{name}: base: the file is based on itself: {' -> '.join((*users, name))}.", "Base it on another recipe."
        )
    values = _parsed(Path(name) if own else FOLDER / f"{name}.yml")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{name}: base: must be a recipe's name, but got {shown(base)}.")
    path = Path(base)
    beside = str(Path(name).parent / path) if own and base.endswith(SUFFIXES) and not path.is_absolute() else base
    below = _values(beside, (*users, name))
    if "source" not in values and "source" in below:
        values["source"] = (
            f"{below['source']}{CHANGED}{', '.join(sorted(map(str, values)))}" if values else below["source"]
        )
    return _laid_over(below, values)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(
                f"{path}: {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read.", "Is this a recipe?"
            )
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path}: must be a mapping of a recipe's keys, but got {type(values).__name__}.")
    return values


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``below`` with the values of ``above``, mappings merged. A mapping of another ``kind`` replaces what was there."""
    merged: dict[str, Any] = dict(below)
    for key, value in above.items():
        there = merged.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            other_kind = "kind" in value and value["kind"] != there.get("kind", value["kind"])
            merged[key] = _laid_over({} if other_kind else there, value)
        else:
            merged[key] = value
    return merged
