"""Other values by dotted keys, such as ``optimizer.learning_rate``: of settings, and of plain values. Free of torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from nni_plugins.spaces.errors import closest

from .errors import ConfigError
from .settings import read

T = TypeVar("T", bound=BaseModel)
KINDS = ("kind", "type")
"""Keys that say what a mapping is of, in our settings and in OpenMMLab's configuration files."""
REMEDY = "Correct the keys named above."


def changed(settings: T, changes: Mapping[str, Any], where: str = "") -> T:
    """``settings`` with other values, checked again.

    Args:
        changes: by dotted keys, such as ``{"optimizer.learning_rate": 0.1, "mix": None}``. A mapping is laid over the
            one that is there, see :func:`laid_over`; another ``kind`` takes what belongs to the old one away.
        where: what stands before each key in messages.

    Raises:
        ConfigError: unknown keys, or values that cannot be; all of them at once.
    """
    if not changes:
        return settings
    values, problems = _changed(settings.model_dump(), changes, only_known=False)
    try:
        new = read(type(settings), values, where)
    except ConfigError as error:
        problems.append(error.problem)
    if problems:
        raise ConfigError("; ".join(problems), REMEDY)
    return new


def changed_values(values: Mapping[str, Any], changes: Mapping[str, Any], remedy: str = REMEDY) -> dict[str, Any]:
    """Plain ``values`` with other ones, by dotted keys; entries of lists are counted from 0. The last part of a key may
    be new, unless it is the only one.

    Raises:
        ConfigError: keys whose other parts do not exist; all of them at once.
    """
    new, problems = _changed(values, changes, only_known=True)
    if problems:
        raise ConfigError("; ".join(problems), remedy)
    return new


def laid_over(below: Any, above: Any) -> Any:
    """``above``, or where both are mappings ``below`` with the values of ``above``, key by key. An empty mapping, and one
    of another kind (see :data:`KINDS`), replaces the one that was there.
    """
    if not (isinstance(below, Mapping) and isinstance(above, Mapping) and above):
        return above
    if any(key in above and above[key] != below.get(key, above[key]) for key in KINDS):
        return above
    return {**below, **{key: laid_over(below.get(key), value) for key, value in above.items()}}


def _changed(
    values: Mapping[str, Any], changes: Mapping[str, Any], only_known: bool
) -> tuple[dict[str, Any], list[str]]:
    """The new values, and what is wrong with the keys; ``only_known``: see :func:`changed_values`."""
    new = copy.deepcopy(dict(values))
    problems = [_put(new, str(key), value, only_known) for key, value in changes.items()]
    return new, [problem for problem in problems if problem]


def _put(values: dict[str, Any], key: str, value: Any, only_known: bool) -> str:
    """Set one value in ``values``; returns what is wrong with its key, ``""`` if nothing."""
    parts, place = key.split("."), values
    for depth, part in enumerate(parts, start=1):
        known = _entries(place)
        if known is None:
            return f"{key}: {'.'.join(parts[: depth - 1])} holds a value, not more keys"
        last = depth == len(parts)
        if part not in known and (isinstance(place, list) or (only_known and (not last or depth == 1))):
            return f"{'.'.join(parts[:depth])}: no such key; {closest(part, list(known) or ['(none)'])}"
        index: Any = known.get(part, part)
        there = place[index] if part in known else None
        if last and part == "kind" and there not in (None, value):
            place.clear()
        if last or (there is None and not only_known):
            place[index] = laid_over(there, value) if last else {}
        place = place[index]
    return ""


def _entries(place: Any) -> dict[str, Any] | None:
    """The parts of keys that lie in ``place``, with what they are indexed by there; None for a value without any."""
    if isinstance(place, dict):
        return {str(key): key for key in place}
    return {str(i): i for i in range(len(place))} if isinstance(place, list) else None
