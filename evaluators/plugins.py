"""Evaluators by name, and their settings. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_plugins.spaces import registry
from nni_plugins.spaces.errors import closest

from .base import EvaluationSettings, EvaluatorPlugin
from .errors import ConfigError
from .settings import read


def evaluator_plugin(name: str) -> type[EvaluatorPlugin]:
    """The evaluator that is registered as ``name``.

    Raises:
        ConfigError: no such evaluator; RegistryError: it cannot be imported, or is none.
    """
    plugin = registry.get("evaluators", name)
    if not (isinstance(plugin, type) and issubclass(plugin, EvaluatorPlugin)):
        raise registry.RegistryError(
            f"evaluator {name!r} is {plugin!r}, but must be a subclass of nni_plugins.evaluators.EvaluatorPlugin.",
            "Correct the entry point of its package.",
        )
    return plugin


def read_evaluation(value: Any, where: str) -> EvaluationSettings:
    """One entry of ``evaluations``, by the settings of its evaluator.

    Args:
        where: what stands before its keys in messages.

    Raises:
        ConfigError: every problem of it.
    """
    name = value.get("evaluator") if isinstance(value, Mapping) else None
    known = registry.found("evaluators")
    if not isinstance(name, str) or name not in known:
        raise ConfigError(f"{where}evaluator: unknown {name!r}; {closest(str(name), known)}")
    return read(evaluator_plugin(name).settings_class, value, where)
