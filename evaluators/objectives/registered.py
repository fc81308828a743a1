"""Objectives by name. Free of torch until one is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from nni_plugins.spaces import registry
from nni_plugins.spaces.errors import closest, shown

from ..errors import ConfigError

if TYPE_CHECKING:
    from .base import Objective


def check_objective_name(value: Mapping[str, Any]) -> None:
    """
    Raises:
        ConfigError: ``value["name"]`` is not that of an objective.
    """
    name, known = value.get("name"), registry.found("objectives")
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"unknown objective {shown(name)}; {closest(str(name), known)}")


def build_objective(value: Mapping[str, Any]) -> Objective:
    """``{"name": ..., **arguments}`` -> the objective.

    Raises:
        ConfigError: an unknown name or argument.
    """
    arguments = dict(value)
    factory = registry.get("objectives", str(arguments.pop("name", "(no name)")))
    try:
        return cast("Objective", factory(**arguments))
    except TypeError as error:
        raise ConfigError(f"{error}.", "Correct the objective's arguments.") from None
