"""Plugins by name, through Python entry points; ours are registered the same way as a third party's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import NNIPluginsError, closest

KINDS = ("spaces", "strategies", "evaluators", "objectives")


class RegistryError(NNIPluginsError):
    """Two plugins of one name, or one that cannot be imported."""


@cache
def found(kind: str) -> dict[str, EntryPoint]:
    """All plugins of one of :data:`KINDS`, by name; nothing is imported.

    Raises:
        RegistryError: two different plugins have one name.
    """
    plugins: dict[str, EntryPoint] = {}
    for entry in entry_points(group=f"nni_plugins.{kind}"):
        other = plugins.setdefault(entry.name, entry)
        if other.value != entry.value:
            origins = " and ".join(
                f"{e.value} ({e.dist.name if e.dist else 'unknown distribution'})" for e in (other, entry)
            )
            raise RegistryError(
                f"two {kind} are called {entry.name!r}: {origins}.", "Uninstall one of the two distributions."
            )
    return plugins


def get(kind: str, name: str) -> Callable[..., Any]:
    """The class that is registered as ``name``.

    Raises:
        ConfigError: no such plugin; the message has close matches.
        RegistryError: it cannot be imported.
    """
    plugins = found(kind)
    if name not in plugins:
        if not plugins:
            raise RegistryError(f"no {kind} are registered at all.", "Install the package: pip install -e .")
        raise ConfigError(f"unknown {_singular(kind)} {name!r}; {closest(name, plugins)}")
    try:
        return plugins[name].load()  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise RegistryError(
            f"{_singular(kind)} {name!r} ({plugins[name].value}) cannot be imported: {error}.", "Reinstall its package."
        ) from None


def _singular(kind: str) -> str:
    return "strategy" if kind == "strategies" else kind.removesuffix("s")
