"""Architectures that papers and official repositories published, by name: one JSON file each beside this one."""

from __future__ import annotations

from pathlib import Path

from ..errors import SpaceError, closest, shown
from ..registry import check_name
from .record import Count, Published, Result, Source, read

__all__ = ["Count", "Published", "Result", "Source", "names", "published"]

FOLDER = Path(__file__).parent


def names(space: str | None = None) -> list[str]:
    """The names of all published architectures, or of those of one space.

    Raises:
        ConfigError: no such space.
    """
    listed = sorted(path.stem for path in FOLDER.glob("*.json"))
    if space is None:
        return listed
    check_name("spaces", space)
    return [name for name in listed if published(name).space_name == space]


def published(name: str) -> Published:
    """The published architecture called ``name``.

    Raises:
        SpaceError: no such name, with close matches; or its file does not hold together.
    """
    known = names()
    if name not in known:
        raise SpaceError(
            f"unknown published architecture {shown(name)}; {closest(str(name), known)}",
            "List them: nni-plugins list --architectures",
        )
    return read(FOLDER / f"{name}.json")
