"""What can be trained: an architecture of one of our spaces, or one of timm's own models by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import shown
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.published import names, published
from nni_plugins.spaces.registered import build

from ..backends import require
from ..errors import ConfigError

OURS = "nni_plugins.evaluators.interchange.timm_models"


@dataclass(frozen=True)
class Subject:
    """What is trained. ``name``: a published architecture's, that of one of timm's own models, or that of the space.

    ``space`` and ``architecture`` are None for timm's own models, whose further ``arguments`` are those of
    ``timm.create_model``.
    """

    name: str
    space: ImageSpace | None
    architecture: Architecture | None
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)


def subject(model: str | Architecture, space: ImageSpace | None = None) -> Subject:
    """Find out what ``model`` means.

    Args:
        model: a published architecture's name, the name of one of timm's own models, an architecture, its JSON, or the
            native text of ``space``. NAS-Bench-201's text is known by its first ``|`` and needs no ``space``.
        space: with the arguments that the recipe does not change.

    Raises:
        ConfigError: no such name, a name of another space, an architecture that takes no images, or a text whose space
            is not said.
        SpaceError: a text that is no architecture of the space.
        MissingBackend: a name that may be timm's, where timm is not installed.
    """
    if isinstance(model, Architecture):
        return _of(space or build(model.space, {}), model)
    text = model.strip()
    if text in names():
        item = published(text)
        if space is not None and item.space_name != space.name:
            raise ConfigError(
                f"{text} is an architecture of {item.space_name}, but the space is {space.name}.",
                "Leave the space out.",
            )
        return _of(space or item.space, item.architecture, text)
    if space is not None:
        return _of(space, space.parse(text))
    if text.startswith("{") and '"choices"' in text:
        architecture = Architecture.from_json(text)
        return _of(build(architecture.space, {}), architecture)
    if text.startswith("|"):
        known = build("nasbench201", {})
        return _of(known, known.parse(text))
    if not text or not text.replace(".", "_").replace("-", "_").isidentifier():
        raise ConfigError(
            f"{shown(text)}: neither a name nor JSON of an architecture.",
            "The native text of an architecture needs its space.",
        )
    return _of_timm(text)


def _of(space: SearchSpace, architecture: Architecture, name: str = "") -> Subject:
    if not isinstance(space, ImageSpace):
        raise ConfigError(
            f"networks of {space.name} take no images, so they cannot be trained here.",
            "Choose a space of image networks.",
        )
    return Subject(name or space.name, space, space.check(architecture))


def _of_timm(name: str) -> Subject:
    timm = require("timm", "timm")
    require(OURS, "timm")  # so that our own names are known to timm whatever was imported before
    if not timm.is_model(name):
        known = sorted({*names(), *timm.list_models()})
        matches = difflib.get_close_matches(name[:100], known, n=3, cutoff=0.5)
        meant = f"did you mean {' or '.join(map(repr, matches))}?" if matches else "nothing is called like that."
        raise ConfigError(
            f"unknown model {shown(name)}; {meant}",
            "nni-plugins list --architectures shows ours, timm.list_models() in Python timm's own.",
        )
    entrance = timm.model_entrypoint(name)
    if entrance.__module__ == OURS:
        space = name.removesuffix("_network")
        raise ConfigError(
            f"{name} takes any architecture of {space}: which?", f"Give the architecture, and {space} as its space."
        )
    return Subject(name, None, None)
