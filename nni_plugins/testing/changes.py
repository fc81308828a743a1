"""Settings that differ in one key, for tests of what depends on which key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

S = TypeVar("S", bound=BaseModel)


def leaves(settings: BaseModel, before: str = "") -> Iterator[str]:
    """Dotted keys of all of ``settings`` that hold no more settings, but for those that only say their kind."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{before}{name}.")
        elif len([*_literals(field.annotation)]) != 1:
            yield f"{before}{name}"


def changed(settings: S, key: str, value: Any) -> S:
    """``settings`` with ``value`` at the dotted ``key``.

    Raises:
        ValidationError: they cannot have it.
    """
    values = settings.model_dump()
    place = values
    *path, last = key.split(".")
    for name in path:
        place = place[name]
    place[last] = value
    return type(settings).model_validate(values)


def with_another_value(settings: S, key: str) -> S:
    """``settings`` with some other possible value at the dotted ``key``.

    Raises:
        LookupError: none could be guessed.
    """
    *path, last = key.split(".")
    holder: Any = settings
    for name in path:
        holder = getattr(holder, name)
    old = getattr(holder, last)
    for value in [*_guesses(old), *_literals(type(holder).model_fields[last].annotation)]:
        try:
            other = changed(settings, key, value)
        except (ValidationError, TypeError):
            continue
        if other != settings:
            return other
    raise LookupError(f"{key} is {old!r}, and no other value could be guessed")


def unchecked(settings: S, key: str, value: Any) -> S:
    """``settings`` with ``value`` at the dotted ``key``, possible or not."""
    first, _, rest = key.partition(".")
    return settings.model_copy(update={first: unchecked(getattr(settings, first), rest, value) if rest else value})


def with_any_other_value(settings: S, key: str) -> S:
    """:func:`with_another_value`, or any where none is possible as long as the other keys stay as they are."""
    try:
        return with_another_value(settings, key)
    except LookupError:
        return unchecked(settings, key, 1)


def _guesses(value: Any) -> list[Any]:
    """Values of its type near to ``value``."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1, value + 2, 2 * value, value / 2, 0.5]
    if isinstance(value, str):
        return [f"{value}x"]
    if isinstance(value, Mapping):
        return [{**value, "another": {}}]
    if isinstance(value, list | tuple) and value:
        return [type(value)([first, *value[1:]]) for first in _guesses(value[0])]
    return [1, 2, 16, 0.5, "x"]


def _literals(annotation: Any) -> Iterator[Any]:
    """What a key may be that can be nothing but certain words."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)
