"""Settings of data and training, checked by pydantic. Free of torch, so that NNI's tuner process can read them.

The defaults are the papers' values for NAS-Bench-201 on CIFAR-10; an example that is smaller says so in its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from nni_plugins.spaces.errors import closest, shown

from .errors import ConfigError

T = TypeVar("T", bound=BaseModel)
LARGEST = 2**63 - 1


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that nobody reads is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read(model: type[T], values: Any, where: str = "") -> T:
    """``model(**values)``, with every problem in one :class:`ConfigError` and close matches for unknown keys.

    Args:
        where: what stands before each key in the message, such as ``"tuner.classArgs."``.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{where.rstrip('.') or 'configuration'}: must be a mapping, but got {type(values).__name__}."
        )
    try:
        _bounded(values, where.rstrip("."))
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = error.errors()
        places = [e["loc"] for e in problems]
        # a list whose only entry is wrong is "too short", too
        problems = [
            e
            for e in problems
            if e["type"] != "too_short" or all(at == e["loc"] or at[: len(e["loc"])] != e["loc"] for at in places)
        ]
        raise ConfigError(
            "; ".join(_sentence(model, where, e) for e in problems), "Correct the keys named above."
        ) from None


def _bounded(value: Any, place: str) -> None:
    """Raises ConfigError for a whole number that no library below us can hold; ``place`` is its key."""
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ConfigError(
            f"{place}: whole numbers must lie between -2^63 and 2^63, but got one of {value.bit_length()} bits."
        )
    if isinstance(value, Mapping):
        for key, part in value.items():
            _bounded(part, f"{place}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            _bounded(part, f"{place}.{i}".removeprefix("."))


def _sentence(model: type[BaseModel], where: str, error: Any) -> str:
    keys, known = _keys(model, error["loc"])
    place = where + ".".join(keys)
    if error["type"] == "extra_forbidden":
        return f"{place}: no such key; {closest(keys[-1], known)}"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    got = "" if error["type"] == "missing" or isinstance(given, Mapping) else f", but got {shown(given)}"
    return f"{place.rstrip('.') or 'configuration'}: {message[0].lower()}{message[1:]}{got}"


def _keys(model: type[BaseModel], place: tuple[Any, ...]) -> tuple[list[str], list[str]]:
    """``place`` as it is written in a file, that is without the tags of unions; and the known keys beside its last one."""
    models: list[Any] = [model]
    keys, known = [], ["(none)"]
    for part in place:
        tagged = [m for m in models if part in get_args(getattr(m.model_fields.get("kind"), "annotation", None))]
        if len(models) > 1 and tagged:  # such as ``resized_crop`` in ``augmentation.resized_crop.size``
            models = tagged
            continue
        known = list(models[0].model_fields) if models else ["(none)"]
        keys.append(str(part))
        field = models[0].model_fields.get(part) if models else None
        annotation = None if field is None else field.annotation
        union = get_origin(annotation) in (Union, UnionType)  # such as ``EvolutionSettings | None``
        models = [
            option for option in (get_args(annotation) if union else [annotation]) if hasattr(option, "model_fields")
        ]
    return keys, known
