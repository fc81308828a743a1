"""The value object: which network is meant. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.images import ImageSpace

from ..errors import ConfigError


@dataclass(frozen=True)
class Subject:
    """An architecture of a space, or one of timm's own models.

    ``name``: a published architecture's, that of timm's model, or that of the space. ``space`` and ``architecture``:
    None for timm's models, whose further ``arguments`` are those of ``timm.create_model``. ``weights``: the file of
    trained weights that was named, if one was.
    """

    name: str
    space: SearchSpace | None
    architecture: Architecture | None
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    weights: Path | None = None

    @property
    def has_own_name(self) -> bool:
        """Whether it is called something, and not only of a space."""
        return self.space is None or self.name != self.space.name

    @property
    def text(self) -> str:
        """Its own name, or the architecture in its space's native text."""
        if self.space is None or self.architecture is None or self.has_own_name:
            return self.name
        return self.space.to_string(self.architecture)

    def in_space(self, why: str) -> tuple[SearchSpace, Architecture]:
        """Space and architecture.

        Args:
            why: what cannot be done with a model of timm's, such as "a width is chosen for networks of our spaces only".

        Raises:
            ConfigError: it is a model of timm's.
        """
        if self.space is None or self.architecture is None:
            raise ConfigError(f"{self.name} is a model of timm's; {why}.", "Pass an architecture of one of our spaces.")
        return self.space, self.architecture


@dataclass(frozen=True)
class ImageSubject(Subject):
    """One whose networks take images."""

    space: ImageSpace | None

    def in_space(self, why: str) -> tuple[ImageSpace, Architecture]:
        """See :meth:`Subject.in_space`."""
        space, architecture = super().in_space(why)
        assert isinstance(space, ImageSpace)
        return space, architecture


def of_images(one: Subject) -> ImageSubject:
    """``one``, if its networks take images.

    Raises:
        ConfigError: they do not.
    """
    if one.space is not None and not isinstance(one.space, ImageSpace):
        raise ConfigError(
            f"{one.text[:80]} is of the space {one.space.name!r}, whose networks take no images.",
            "Choose an architecture of a space of image networks; for language models see nni-plugins docs language_models.",
        )
    return ImageSubject(one.name, one.space, one.architecture, one.arguments, one.weights)
