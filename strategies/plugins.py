"""Strategies by name. Free of torch."""

from __future__ import annotations

from functools import cache

from nni_plugins.spaces import registry

from .base import StrategyPlugin


@cache
def strategy_plugin(name: str) -> StrategyPlugin:
    """The strategy that is registered as ``name`` (in lower case).

    Raises:
        ConfigError: no such strategy; RegistryError: it cannot be imported, or is none.
    """
    plugin = registry.get("strategies", name)
    if not (isinstance(plugin, type) and issubclass(plugin, StrategyPlugin)):
        raise registry.RegistryError(
            f"strategy {name!r} is {plugin!r}, but must be a subclass of nni_plugins.strategies.StrategyPlugin.",
            "Correct the entry point of its package.",
        )
    if plugin.name.lower() != name:
        raise registry.RegistryError(
            f"strategy {name!r} calls itself {plugin.name!r}; the entry point must be its name in lower case.",
            "Correct the entry point of its package.",
        )
    return plugin()
