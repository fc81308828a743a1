"""The width at which a network has a given size: UnNAS (Liu et al., ECCV 2020, tables 1 and 2) and RLNAS (Zhang et al.,
CVPR 2021, table 3) train every architecture at the channels that bring its multiply-adds, or its parameters, into one
range. Free of torch: all sizes are closed forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import ImageSize
from nni_plugins.spaces.cells.space import CellSpace
from nni_plugins.spaces.errors import SpaceError
from nni_plugins.spaces.images import ImageSpace

from ..errors import ConfigError
from .settings import WidthSettings

MOST_CHANNELS = 4096
"""No wider network is looked at."""


class Width(NamedTuple):
    """A network's size at a width: ``channels`` of the first cells, ``parameters``, and ``macs`` (multiply-adds) of one
    image.
    """

    channels: int
    parameters: int
    macs: int


def with_channels(space: ImageSpace, channels: int) -> ImageSpace:
    """``space`` at another width."""
    return type(space)(**{**space.config(), "channels": channels})


def widths(
    space: ImageSpace, architecture: Architecture, settings: WidthSettings, image_size: ImageSize
) -> list[Width]:
    """All widths that meet the limits, the smallest first; none may do so. An auxiliary head is not counted, the
    space's own head is.

    Raises:
        ConfigError: the space has no ``channels``.
        SpaceError: an architecture of another space.
    """
    return [
        width
        for width in _sizes(space, architecture, settings, image_size)
        if not _below(width, settings) and not _above(width, settings)
    ]


def width(space: ImageSpace, architecture: Architecture, settings: WidthSettings, image_size: ImageSize) -> Width:
    """The largest or smallest of :func:`widths`, as ``settings.choose`` says.

    Raises:
        ConfigError: the space has no ``channels``, or no width meets the limits; the nearest on both sides are named.
        SpaceError: an architecture of another space.
    """
    seen = list(_sizes(space, architecture, settings, image_size))
    fitting = [one for one in seen if not _below(one, settings) and not _above(one, settings)]
    if fitting:
        return fitting[-1 if settings.choose == "largest" else 0]
    near = [
        *[one for one in seen if not _above(one, settings)][-1:],
        *[one for one in seen if not _below(one, settings)][:1],
    ]
    listed = "; ".join(
        f"{c} channels: {p / 1e6:,.3f} M parameters, {m / 1e6:,.1f} M multiply-adds" for c, p, m in dict.fromkeys(near)
    )
    raise ConfigError(
        f"no width that {settings.multiple} divides has {limits(settings)}. Nearest: {listed}.", "Widen the limits."
    )


def limits(settings: WidthSettings) -> str:
    """The limits in words."""
    given = {"multiply-adds": settings.macs, "parameters": settings.parameters}
    return " and ".join(
        f"{pair[0] / 1e6:,.10g} to {pair[1] / 1e6:,.10g} M {name}" for name, pair in given.items() if pair is not None
    )


def _sizes(
    space: ImageSpace, architecture: Architecture, settings: WidthSettings, image_size: ImageSize
) -> Iterator[Width]:
    """Sizes at growing widths, up to and including the first that is too large in any way and too small in none."""
    if "channels" not in space.config():
        raise ConfigError(
            f"network.width: networks of {space.name} have no number of channels to choose.", "Leave network.width out."
        )
    space.check(architecture)
    for channels in range(settings.multiple, MOST_CHANNELS + 1, settings.multiple):
        try:
            wider = with_channels(space, channels)
        except SpaceError:  # a stem that halves the width takes even ones only
            continue
        size = _size(wider, architecture, image_size)
        yield size
        if _above(size, settings) and not _below(size, settings):
            return


def _size(space: ImageSpace, architecture: Architecture, image_size: ImageSize) -> Width:
    channels = cast(int, space.config()["channels"])
    if isinstance(space, CellSpace):  # without the costs of all the operations that this architecture does not have
        return Width(channels, *space.genotype_costs(space.genotype(architecture), image_size))
    costs = space.cost_table(image_size)(space.encode([architecture]))
    return Width(channels, int(costs.parameters[0]), int(costs.macs[0]))


def _below(size: Width, settings: WidthSettings) -> bool:
    pairs = ((size.parameters, settings.parameters), (size.macs, settings.macs))
    return any(limit is not None and value < limit[0] for value, limit in pairs)


def _above(size: Width, settings: WidthSettings) -> bool:
    pairs = ((size.parameters, settings.parameters), (size.macs, settings.macs))
    return any(limit is not None and value > limit[1] for value, limit in pairs)
