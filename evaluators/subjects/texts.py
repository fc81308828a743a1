"""Names and texts: a published architecture, a model of timm's, native text or JSON of a registered space. Free of torch
and, for all but unknown names, of timm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import SpaceError, closest, shown
from nni_plugins.spaces.published import names, published
from nni_plugins.spaces.registry import changed_space, found, named_space

from ..backends import require
from ..errors import ConfigError, MissingBackend
from .subject import Subject

WORD = re.compile(r"[A-Za-z0-9][\w.-]*")
"""Names of architectures and models; ids of NNI's experiments look like one, too."""
DEFAULT_SPACE = "nasbench201"
"""Of a native text for which no space is said."""
OURS_IN_TIMM = "nni_plugins.evaluators.interchange.timm_models"

Space = SearchSpace | str | None
"""A space, the name of a registered one, or that none is said."""


def named_subject(name: str, space: Space = None, arguments: Mapping[str, Any] | None = None) -> Subject | None:
    """The published architecture, or where no ``space`` is said the model of timm's, that is called ``name``; None if
    nothing is, as far as can be known: timm may not be installed.

    Args:
        arguments: of the space, where they differ from what was published; of ``timm.create_model``.

    Raises:
        ConfigError: a published architecture of another space, or the name of a whole space's networks.
    """
    given = dict(arguments or {})
    if name in names():
        entry = published(name)
        check_space(name, entry.space_name, space)
        built = changed_space(space, given) if isinstance(space, SearchSpace) else entry.space_with(**given)
        return Subject(name, built, built.check(entry.architecture))
    if space is not None:
        return None
    family = name.removesuffix("_network")
    if family != name and family in found("spaces"):
        raise ConfigError(
            f"{name}: which architecture of {family}?",
            f"Pass its text or JSON, and the space {family}: --space {family} on the command line.",
        )
    try:
        return Subject(name, None, None, given) if _timm().is_model(name) else None
    except MissingBackend:
        return None


def parsed_subject(
    given: str | Architecture | Mapping[str, Any], space: Space = None, arguments: Mapping[str, Any] | None = None
) -> Subject:
    """What a name, a text, JSON or a dictionary means.

    Args:
        given: a dictionary is JSON's, or one of choices.
        space: of a native text or of choices; default: :data:`DEFAULT_SPACE`.
        arguments: of the space, where they differ from ``space``, from what was published, or from its default.

    Raises:
        ConfigError: nothing of that name, an architecture of another space, or no such argument.
        SpaceError: no architecture of the space.
        MissingBackend: a name that may be timm's, where timm is not installed.
    """
    changes = dict(arguments or {})
    point = _architecture(given)
    if point is not None:
        check_space("the architecture", point.space, space)
        built = _space(space or point.space, changes)
        return Subject(built.name, built, built.check(point))
    text = given.strip() if isinstance(given, str) else given
    assert isinstance(text, str | Mapping)
    word = text if isinstance(text, str) and WORD.fullmatch(text) else ""
    named = named_subject(word, space, changes) if word else None
    if named is not None:
        return named
    if word and space is None:
        raise unknown_name(word)
    built = _space(space or DEFAULT_SPACE, changes)
    try:
        return Subject(built.name, built, built.parse(text))
    except SpaceError as error:
        if word:
            problem = f"{word} is neither a published architecture nor an architecture of {built.name}: {error.problem}"
            raise SpaceError(problem, _alike(word, names())) from None
        if space is not None:
            raise
        raise SpaceError(
            f"{shown(text)} is no architecture of {DEFAULT_SPACE}: {error.problem}",
            f"Of another space: say which (--space NAME on the command line). {error.remedy}".rstrip(),
        ) from None


def unknown_name(name: str) -> ConfigError | MissingBackend:
    """The error for a name that nothing has, as far as can be known."""
    theirs, missing = list[str](), None
    try:
        theirs = _timm().list_models()
    except MissingBackend as error:
        missing = error
    problem = (
        f"unknown architecture {shown(name)}; {_alike(name, {*names(), *theirs}) or 'nothing is called like that.'}"
    )
    if missing is not None:
        return MissingBackend(f"{problem} It may be a model of timm's, but {missing.problem}", missing.remedy)
    return ConfigError(
        problem, "Names: nni-plugins list --architectures shows ours, timm.list_models() in Python timm's own."
    )


def _alike(name: str, known: Iterable[str]) -> str:
    """``did you mean ...?``, or ``""`` where nothing is called much the same."""
    matches = closest(name, known)
    return matches if matches.startswith("did you mean") else ""


def _timm() -> Any:
    """timm, which knows our names, too, whatever was imported before.

    Raises:
        MissingBackend: it is not installed.
    """
    require(OURS_IN_TIMM, "timm")
    return require("timm", "timm")


def _architecture(given: str | Architecture | Mapping[str, Any]) -> Architecture | None:
    """The architecture, where ``given`` is one or its JSON."""
    if isinstance(given, Architecture):
        return given
    if isinstance(given, str) and not (given.lstrip().startswith("{") and '"choices"' in given):
        return None
    return Architecture.from_json(given) if isinstance(given, str) or "choices" in given else None


def _space(space: SearchSpace | str, arguments: Mapping[str, Any]) -> SearchSpace:
    return named_space(space, arguments) if isinstance(space, str) else changed_space(space, arguments)


def check_space(what: str, own: str, space: Space) -> None:
    """Refuse ``what``, which is of the space ``own``, where another one was said.

    Raises:
        ConfigError: another one was.
    """
    given = space.name if isinstance(space, SearchSpace) else space
    if given not in (None, own):
        raise ConfigError(f"{what} is of the space {own!r}, but the space given is {given!r}.", "Leave the space out.")
