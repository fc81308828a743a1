"""Objectives from their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from nni_plugins.evaluators.errors import ConfigError

from .. import registry

if TYPE_CHECKING:
    from nni_plugins.evaluators.objectives import Objective


def build_objective(value: dict[str, Any]) -> Objective:
    """``{"name": ..., **arguments}`` -> the objective.

    Raises:
        ConfigError: an unknown name or argument.
    """
    arguments = dict(value)
    factory = registry.get("objectives", str(arguments.pop("name", "(no name)")))
    try:
        return cast("Objective", factory(**arguments))
    except TypeError as error:
        raise ConfigError(f"{error}.", "Correct tuner.classArgs.objective.") from None
