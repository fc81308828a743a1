"""The number of channels with which a paper trained an architecture that it published. Free of torch."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import ImageSize, SearchSpace
from nni_plugins.spaces.images import sides
from nni_plugins.spaces.published import names, published


class PaperWidth(NamedTuple):
    """``channels`` of the first cells, and the ``source`` that has a network of this width."""

    channels: int
    source: str


def paper_width(
    name: str, space: SearchSpace, architecture: Architecture, paper: str | None, image_size: ImageSize
) -> PaperWidth | None:
    """The width that ``paper`` (how its sources begin, such as ``UnNAS``) gives the published architecture ``name`` on
    images of ``image_size``; None if it is none of ours, or the paper has none.
    """
    if paper is None or name not in names(space.name):
        return None
    entry = published(name)
    if entry.architecture != architecture:
        return None
    for count in entry.counts:
        of_paper = count.source.startswith(paper) and count.image_size is not None
        channels = {**entry.arguments, **count.space}.get("channels")
        if of_paper and channels is not None and sides(count.image_size or 1) == sides(image_size):
            return PaperWidth(int(channels), count.source)
    return None


def width_note(name: str, paper: str | None, found: PaperWidth | None, channels: Any) -> list[str]:
    """Which width a network has and why, where a recipe names a paper; ``channels``: of the network that was built."""
    if paper is None or channels is None:
        return []
    if found is not None:
        return [f"{channels} channels, with which {name} stands in {found.source}; channels given by you would precede"]
    return [
        f"{channels} channels, the recipe's own, for {paper} has no width of this architecture; see nni-plugins width"
    ]


def own_channels(before: BaseModel, after: BaseModel) -> bool:
    """Whether ``after``, the settings ``before`` of a network with some changes, says a width of its own: other
    ``sizes.*.channels``, or ``width``, and not another paper.
    """
    widths = [
        [{key: one.get("channels") for key, one in settings.sizes.items()}, getattr(settings, "width", None)]  # type: ignore[attr-defined]
        for settings in (before, after)
    ]
    return widths[0] != widths[1] and before.published == after.published  # type: ignore[attr-defined]
