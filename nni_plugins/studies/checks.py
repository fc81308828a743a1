"""Checks that the settings of several studies share. They raise ValueError, as pydantic wants it. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nni_plugins.evaluators.objectives.registered import check_objective_name
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.spaces.registry import build_space

from ..experiment.names import one_line


def image_space(value: dict[str, Any]) -> dict[str, Any]:
    """``value``, if it describes a space of networks that take images."""
    try:
        space = build_space(value)
    except NNIPluginsError as error:
        raise ValueError(one_line(error)) from None
    if not space.takes_images:
        raise ValueError(f"networks of {space.name} take no images, and this study trains on images")
    return value


def known_objective(value: Mapping[str, Any], predictable: bool) -> None:
    """Refuse names of no objective, and where targets of held-out images must be ``predictable``, random labels."""
    try:
        check_objective_name(value)
    except NNIPluginsError as error:
        raise ValueError(one_line(error)) from None
    if predictable and value["name"] == "random_labels":
        raise ValueError("random labels of held-out images cannot be predicted, so there is no accuracy to compare")


def repeated(settings: Any, *keys: str) -> list[str]:
    """A problem for each of ``keys`` whose sequence has an entry twice."""
    given: dict[str, Sequence[Any]] = {key: getattr(settings, key) for key in keys}
    return [
        f"{key}: each may stand there once, but got {list(values)}"
        for key, values in given.items()
        if len(set(values)) != len(values)
    ]
