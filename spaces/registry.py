"""Plugins by name, through Python entry points; ours are registered the same way as a third party's.

The registry stands on the ground floor because every floor looks things up in it; it imports nothing but what an entry
point names. Free of torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from .base import SearchSpace
from .errors import ConfigError, NNIPluginsError, closest

KINDS = ("spaces", "strategies", "evaluators", "objectives", "studies")


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
    """What is registered as ``name``.

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
    except Exception as error:  # whatever a package of somebody's raises while it is imported
        what = f"{_singular(kind)} {name!r} ({plugins[name].value})"
        raise RegistryError(
            f"{what} cannot be imported: {type(error).__name__}: {error}.", "Reinstall or mend its package."
        ) from None


def _singular(kind: str) -> str:
    return {"strategies": "strategy", "studies": "study"}.get(kind, kind.removesuffix("s"))


def build_space(value: Mapping[str, Any]) -> SearchSpace:
    """``{"name": ..., **arguments}`` -> the space; ``classes`` is not asked for, it follows from data or objective.

    Raises:
        ConfigError: no such space or argument; SpaceError: a value that the space refuses.
    """
    arguments = dict(value)
    factory = get("spaces", str(arguments.pop("name", "(no name)")))
    known = [name for name in inspect.signature(factory).parameters if name != "classes"]
    unknown = [f"{key}: no such argument of the space; {closest(key, known)}" for key in arguments if key not in known]
    if unknown:
        raise ConfigError("; ".join(unknown))
    return cast(SearchSpace, factory(**arguments))
