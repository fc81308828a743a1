"""Found cells that cannot learn features, and searches that decided nothing. Free of torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

DECIDED = 1.25
"""Times the probability of equal ones: a search whose largest probability is below that decided nothing."""


def undecided(probabilities: Iterable[Sequence[float]]) -> list[str]:
    """A sentence if no decision prefers anything; ``probabilities``: of each decision's values."""
    rows = [row for row in probabilities if len(row) > 1]
    clearest = max(rows, key=lambda row: max(row) * len(row), default=[1.0])
    if max(clearest) * len(clearest) >= DECIDED or not rows:
        return []
    return [
        f"this search decided nothing: its clearest choice has a probability of {max(clearest):.3f}, where equal ones have "
        f"{1 / len(clearest):.3f}; what it found is hardly more than a draw. Search for longer, or let the architecture learn faster."
    ]


def cells_without_convolution(space: SearchSpace, architecture: Architecture) -> list[str]:
    """The kinds of cell, by the titles of their pictures, on none of whose paths a convolution lies. Empty for spaces that
    call no operation a convolution.
    """
    if not any("conv" in value for decision in space.decisions for value in decision.values):
        return []
    return [
        title
        for title, edges in space.graph(architecture).items()
        if not any(edge.live and "conv" in f"{edge.operation} {edge.source} {edge.target}" for edge in edges)
    ]


def degenerate(space: SearchSpace, found: Iterable[Architecture]) -> list[str]:
    """One sentence for each of ``found``, best first, that has a cell without any convolution."""
    problems = []
    for place, architecture in enumerate(found, start=1):
        cells = cells_without_convolution(space, architecture)
        if cells:
            named = "cell" if cells == ["cell"] else f"{' and '.join(cells)} cell{'s' if len(cells) > 1 else ''}"
            problems.append(
                f"found architecture {place} has no convolution in its {named}: {space.to_string(architecture)}"
            )
    return problems


def warn_if_degenerate(space: SearchSpace, found: Iterable[Architecture]) -> None:
    """A :class:`UserWarning` with the sentences of :func:`degenerate`, if there are any."""
    problems = degenerate(space, found)
    if problems:
        more = f"; and {len(problems) - 1:,} more" if len(problems) > 1 else ""
        warnings.warn(
            f"{problems[0]}{more}. Such a cell computes little; look at the search's settings before you train it.",
            UserWarning,
            stacklevel=3,
        )
