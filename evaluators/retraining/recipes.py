"""Recipes by name, and recipes that differ from others in some values. Free of torch and timm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from nni_plugins.spaces.errors import closest, shown

from .. import overrides
from ..errors import ConfigError
from ..files import read_yaml
from ..overrides import laid_over
from ..published_width import own_channels
from ..settings import read
from .settings import MAY_CHANGE_IN_RETRAINING, Recipe

FOLDER = Path(__file__).with_name("recipes")
SUFFIXES = (".yml", ".yaml")


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
    """``recipe`` with other values, see :func:`nni_plugins.evaluators.overrides.changed`. Its ``source`` says which ones
    differ. Channels or limits of the width among them precede the width that a paper gave an architecture.
    """
    told = {str(key) for key in changes} - MAY_CHANGE_IN_RETRAINING - {"source"}
    new = overrides.changed(recipe, changes)
    if own_channels(recipe.network, new.network):
        new = new.model_copy(update={"network": new.network.model_copy(update={"published": None})})
    if not told or new.source != recipe.source:
        return new
    before, _, earlier = recipe.source.partition(CHANGED)
    every = sorted({*told, *filter(None, earlier.split(", "))})
    return new.model_copy(update={"source": before + CHANGED + ", ".join(every)})


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
    values = read_yaml(Path(name).expanduser() if own else FOLDER / f"{name}.yml", "a recipe")
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
    laid = cast(dict[str, Any], laid_over(below, values))
    network = values.get("network")
    if isinstance(network, Mapping) and "published" not in network and _says_width(network):
        laid["network"]["published"] = None  # the width of this file precedes
    return laid


def _says_width(network: Mapping[str, Any]) -> bool:
    sizes = network.get("sizes")
    given = sizes.values() if isinstance(sizes, Mapping) else ()
    return "width" in network or any(isinstance(one, Mapping) and "channels" in one for one in given)
