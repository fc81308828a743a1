"""From what a person writes to a network; results of runs are added by :mod:`nni_plugins.origins`. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_plugins.spaces.architecture import Architecture

from .files import path_in, subject_in
from .subject import ImageSubject, Subject, of_images
from .texts import WORD, Space, named_subject, parsed_subject


def subject(
    given: str | Architecture | Mapping[str, Any], space: Space = None, arguments: Mapping[str, Any] | None = None
) -> Subject:
    """Which network is meant.

    Args:
        given: the name of a published architecture or of a model of timm's, an architecture, its JSON (also as a
            dictionary), a native text, or the path of a file with one of these or with weights of ``nni-plugins
            retrain``. A name hides a file of that name.
        space: a space or the name of a registered one; needed for native texts of others than NAS-Bench-201.
        arguments: of the space, where they differ from ``space``, from its default, from what was published or from
            what was trained; of ``timm.create_model`` for timm's models.

    Raises:
        ConfigError: no such name, file, space or argument, or an architecture of another space.
        SpaceError: no architecture of the space.
        CheckpointError: weights that do not say what they are of.
        MissingBackend: a name that may be timm's, where timm is not installed.
    """
    if isinstance(given, str):
        text = given.strip()
        named = named_subject(text, space, arguments) if WORD.fullmatch(text) else None
        if named is not None:
            return named
        path = path_in(text)
        if path is not None:
            return subject_in(path, space, arguments)
    return parsed_subject(given, space, arguments)


def image_subject(
    given: str | Architecture | Mapping[str, Any], space: Space = None, arguments: Mapping[str, Any] | None = None
) -> ImageSubject:
    """The same where only networks of images can be used.

    Raises:
        ConfigError: its networks take none; and what :func:`subject` raises.
    """
    return of_images(subject(given, space, arguments))
