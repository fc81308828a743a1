"""One published architecture: what its file holds, read and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..architecture import Architecture
from ..base import ImageSize, SearchSpace
from ..errors import ConfigError, SpaceError, shown
from ..images import sides
from ..registry import check_name, named_space

if TYPE_CHECKING:
    from torch import nn

SCHEMA_VERSION = 1
MAX_BYTES = 1_000_000
LINEAR = ("in out", "(2 in - 1) out")
"""How a source may count a linear layer: as multiply-adds, or as RLNAS' code does."""


@dataclass(frozen=True)
class Source:
    """Who published an architecture, and where it stands."""

    paper: str
    year: int
    where: str


@dataclass(frozen=True)
class Count:
    """A network's size as its ``source`` prints it.

    ``space``: arguments in which that network's space differs from the file's. ``image_size``: None for one token of a
    language model. ``parameters``, ``macs``: such as ``4.7M`` or ``98.9G``, right to the last digit; ``macs``
    (multiply-adds) may be missing, and count a linear layer as :data:`LINEAR` says.
    """

    space: Mapping[str, Any] = field(hash=False)
    image_size: ImageSize | None
    parameters: str
    macs: str | None
    linear: str
    source: str


@dataclass(frozen=True)
class Result:
    """A number that its ``source`` reports of the trained network; nothing here was trained by us."""

    on: str
    metric: str
    value: str
    source: str


@dataclass(frozen=True)
class Published:
    """A published architecture. ``arguments``: of its space, with the ``name``; ``text``: native text of the
    architecture.
    """

    name: str
    title: str
    arguments: Mapping[str, Any] = field(hash=False)
    text: str
    source: Source
    counts: tuple[Count, ...]
    results: tuple[Result, ...]
    notes: str

    @property
    def space_name(self) -> str:
        """The registered name of its space."""
        return str(self.arguments["name"])

    def space_with(self, **changes: Any) -> SearchSpace:
        """The space of its network, but for some of its arguments: other classes, channels, head."""
        if "name" in changes:
            raise SpaceError("name: a published architecture has a space of its own.")
        arguments = {key: value for key, value in self.arguments.items() if key != "name"}
        return named_space(self.space_name, {**arguments, **changes})

    @cached_property
    def space(self) -> SearchSpace:
        """The space of the network that the first of its counts is for."""
        return self.space_with()

    @cached_property
    def architecture(self) -> Architecture:
        """A point of :attr:`space`, and of every space that differs in the network's size only."""
        return self.space.parse(self.text)

    @property
    def image_size(self) -> ImageSize:
        """What the first count is for; 32 where that says nothing."""
        return (self.counts[0].image_size if self.counts else None) or 32

    @property
    def input(self) -> str:
        """The same in words: ``224x224``, or ``one token`` of a language model."""
        if self.counts and self.counts[0].image_size is None:
            return "one token"
        return "x".join(map(str, sides(self.image_size)))

    def network(self) -> nn.Module:
        """An ordinary network with newly drawn weights."""
        return self.space.network(self.architecture)


def read(path: Path) -> Published:
    """The architecture in the file ``path``, whose name without ``.json`` it bears.

    Raises:
        SpaceError: the file and the place in it that is not as it should be. That the architecture is one of its space
            is checked when either is asked for.
    """
    if path.stat().st_size > MAX_BYTES:
        raise SpaceError(f"{path.name}: {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SpaceError(f"{path.name} is not valid JSON: {type(error).__name__}: {str(error)[:80]}") from None
    place = path.name
    if isinstance(data, dict) and not (type(data.get("schema")) is int and 1 <= data["schema"] <= SCHEMA_VERSION):
        remedy = "Upgrade nni-plugins." if isinstance(data.get("schema"), int) else ""
        raise SpaceError(
            f"{place}: schema {shown(data.get('schema'))}; this version reads 1 to {SCHEMA_VERSION}.", remedy
        )
    data = _fields(
        data, place, ("schema", "name", "title", "space", "architecture", "source", "counts"), ("results", "notes")
    )
    if data["name"] != path.stem:
        raise SpaceError(f"{place}: name: must be {path.stem!r}, as the file is called, but got {shown(data['name'])}.")
    if not isinstance(data["space"], dict) or "name" not in data["space"]:
        raise SpaceError(
            f"{place}: space: must be an object with the space's name and its arguments, but got {shown(data['space'])}."
        )
    try:
        check_name("spaces", data["space"]["name"])
    except ConfigError as error:
        raise SpaceError(f"{place}: space: {error.problem}") from None
    return Published(
        name=data["name"],
        title=_text(data["title"], f"{place}: title"),
        arguments=data["space"],
        text=_text(data["architecture"], f"{place}: architecture"),
        source=_source(data["source"], f"{place}: source"),
        counts=tuple(
            _count(value, f"{place}: counts[{i}]") for i, value in enumerate(_list(data["counts"], f"{place}: counts"))
        ),
        results=tuple(
            _result(value, f"{place}: results[{i}]")
            for i, value in enumerate(_list(data.get("results", []), f"{place}: results"))
        ),
        notes=_text(data.get("notes", ""), f"{place}: notes"),
    )


def _source(value: Any, place: str) -> Source:
    given = _fields(value, place, ("paper", "year", "where"))
    if type(given["year"]) is not int:
        raise SpaceError(f"{place}.year: must be a whole number, but got {shown(given['year'])}.")
    return Source(_text(given["paper"], f"{place}.paper"), given["year"], _text(given["where"], f"{place}.where"))


def _count(value: Any, place: str) -> Count:
    given = _fields(value, place, ("space", "image_size", "parameters", "source"), ("macs", "linear"))
    if not isinstance(given["space"], dict) or "name" in given["space"]:
        raise SpaceError(
            f"{place}.space: must be an object of the arguments that differ, but got {shown(given['space'])}."
        )
    size = given["image_size"]
    pair = tuple(size) if isinstance(size, list) and len(size) == 2 else (size, size)
    if size is not None and not all(type(side) is int and side >= 1 for side in pair):
        raise SpaceError(f"{place}.image_size: must be a side, [height, width] or null, but got {shown(size)}.")
    for key in ("parameters", "macs"):
        printed = given.get(key)
        if (key in given) and not (
            isinstance(printed, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?[MG]", printed, re.ASCII)
        ):
            raise SpaceError(f"{place}.{key}: must be printed like '4.7M' or '98.9G', but got {shown(printed)}.")
    linear = given.get("linear", LINEAR[0])
    if linear not in LINEAR:
        raise SpaceError(f"{place}.linear: must be one of {', '.join(map(repr, LINEAR))}, but got {shown(linear)}.")
    image_size: ImageSize | None = (pair[0], pair[1]) if isinstance(size, list) else size
    return Count(
        given["space"],
        image_size,
        given["parameters"],
        given.get("macs"),
        linear,
        _text(given["source"], f"{place}.source"),
    )


def _result(value: Any, place: str) -> Result:
    keys = ("on", "metric", "value", "source")
    given = _fields(value, place, keys)
    return Result(*(_text(given[key], f"{place}.{key}") for key in keys))


def _fields(value: Any, place: str, needed: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """``value`` if it is an object with these keys."""
    if not isinstance(value, dict):
        raise SpaceError(f"{place}: must be an object, but got {shown(value)}.")
    missing, foreign = (
        [key for key in needed if key not in value],
        [key for key in value if key not in {*needed, *optional}],
    )
    if missing or foreign:
        raise SpaceError(
            f"{place}: missing keys: {', '.join(missing) or 'none'}; unknown keys: {shown(foreign) if foreign else 'none'}."
        )
    return value


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise SpaceError(f"{place}: must be a list, but got {shown(value)}.")
    return value


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise SpaceError(f"{place}: must be text, but got {shown(value)}.")
    return value
