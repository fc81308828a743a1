"""Plugins by name, through Python entry points; ours are registered the same way as a third party's.

The registry stands on the ground floor because every floor looks things up in it; it imports nothing but what an entry
point names. Free of torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from .base import SearchSpace
from .errors import ConfigError, NNIPluginsError, closest, shown

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


def check_name(kind: str, name: object) -> str:
    """``name``, if a plugin is called so.

    Raises:
        ConfigError: none is; the message has close matches.
    """
    plugins = found(kind)
    if not plugins:
        raise RegistryError(
            f"no {kind} are registered at all.",
            "Install the package: make install in a clone, or pip install of its wheel.",
        )
    if not isinstance(name, str) or name not in plugins:
        raise ConfigError(f"unknown {_singular(kind)} {shown(name)}; {closest(str(name), plugins)}")
    return name


def get(kind: str, name: str) -> Callable[..., Any]:
    """What is registered as ``name``.

    Raises:
        ConfigError: no such plugin, see :func:`check_name`; RegistryError: it cannot be imported.
    """
    entry = found(kind)[check_name(kind, name)]
    try:
        return entry.load()  # type: ignore[no-any-return]
    except Exception as error:  # whatever a package of somebody's raises while it is imported
        raise RegistryError(
            f"{_singular(kind)} {name!r} ({entry.value}) cannot be imported: {type(error).__name__}: {error}.",
            "Reinstall or mend its package.",
        ) from None


MOST, MOST_NODES = 10_000, 100
"""Larger numbers in a file are errors of typing: channels, cells, ...; nodes, whose edges grow with their square."""


def _singular(kind: str) -> str:
    return {"strategies": "strategy", "studies": "study"}.get(kind, kind.removesuffix("s"))


def build_space(value: Mapping[str, Any]) -> SearchSpace:
    """``{"name": ..., **arguments}`` -> the space; ``classes`` is not asked for, it follows from data or objective.

    Raises:
        ConfigError: no such space or argument; SpaceError: a value that the space refuses.
    """
    arguments = dict(value)
    name = str(arguments.pop("name", "(no name)"))
    return _called(get("spaces", name), arguments, without=("classes",))


def named_space(name: str, arguments: Mapping[str, Any] | None = None) -> SearchSpace:
    """The space that is registered as ``name`` with any of its arguments.

    Raises:
        ConfigError: no such space or argument; SpaceError: a value that the space refuses.
    """
    return _called(get("spaces", name), arguments or {})


def complete(name: str) -> bool:
    """Whether the space that is registered as ``name`` can be made without arguments.

    Raises:
        ConfigError, RegistryError: as :func:`get`.
    """
    parameters = inspect.signature(get("spaces", name)).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)


def changed_space(space: SearchSpace, arguments: Mapping[str, Any]) -> SearchSpace:
    """``space`` with other arguments, whether it is registered or not; errors are those of :func:`named_space`."""
    return _called(type(space), {**space.config(), **arguments}) if arguments else space


def _called(factory: Callable[..., Any], arguments: Mapping[str, Any], without: Sequence[str] = ()) -> SearchSpace:
    """What ``factory`` makes of ``arguments``, which are to be parameters of it, but not of those in ``without``."""
    known = [name for name in inspect.signature(factory).parameters if name not in without]
    unknown = [f"{key}: no such argument of the space; {closest(key, known)}" for key in arguments if key not in known]
    if unknown:
        raise ConfigError("; ".join(unknown))
    missing = [
        name
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    lacking = [name for name in missing if name not in arguments]
    if lacking:
        raise ConfigError(f"{lacking[0]}: this argument of the space is needed.")
    for key, value in arguments.items():
        most = MOST_NODES if key == "nodes" else MOST
        if isinstance(value, int) and value > most and key != "classes":
            raise ConfigError(f"{key}: at most {most:,} is possible, but got {value:,}.")
    return cast(SearchSpace, factory(**arguments))


def space_settings(space: SearchSpace) -> dict[str, Any]:
    """What :func:`build_space` makes a space of the same architectures and sizes from, as JSON."""
    return {"name": space.name, **{key: value for key, value in space.config().items() if key != "classes"}}
