"""The architectures of a ranking study: a seeded draw, of any, of similar or of diverse sizes. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.reports.rank_study.rows import Sizes
from nni_plugins.evaluators.tables.table import Table
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices
from nni_plugins.strategies.drawing import draw_distinct

from .settings import RankStudySettings

IMAGE_SIZE = 32
"""Parameters are counted with images of this size; those of our spaces do not depend on it."""
PER_ARCHITECTURE = 20
"""Candidates that similar and diverse choose one from, where ``pool`` does not say."""


@dataclass(frozen=True)
class Drawn:
    """``rows: (n, D)``, their ``architectures``, and ``parameters: (n,)`` of the stand-alone networks with the
    supernet's width and depth. ``pool``: how many they were chosen from."""

    rows: Indices
    architectures: tuple[Architecture, ...]
    parameters: npt.NDArray[np.int64]
    pool: int


def draw(settings: RankStudySettings, sizes: Sizes, table: Table | None = None) -> Drawn:
    """``settings.architectures`` distinct ones (up to symmetry), in the order of the draw; with a table only what it
    knows.

    ``random``: the first of the pool. ``similar``: the nearest to the pool's median parameter count. ``diverse``: in
    the order of their sizes the middle one of each n-th part of the pool, so that they spread evenly over the
    quantiles.

    Raises:
        ConfigError: the space, or the table, has fewer.
    """
    space, n = settings.search_space, settings.architectures
    wanted = settings.pool or PER_ARCHITECTURE * n
    rng = generator(settings.random_seed, "rank study pool")
    if table is None:
        pool = draw_distinct(space, wanted, rng)
    else:
        assert settings.truth is not None
        known = np.isfinite(table.metric(settings.truth.metric))
        encoded = rng.permutation(
            table.space.encode([a for a, has in zip(table.architectures, known, strict=True) if has])
        )
        forms = {space.canonical(a): i for i, a in reversed(list(enumerate(space.decode(encoded))))}
        pool = encoded[sorted(forms.values())[:wanted]]
    if len(pool) < n:
        where = "the table" if table is not None else repr(space)
        raise ConfigError(
            f"architectures: {n} distinct ones are wanted, but {where} has only {len(pool)}.", "Lower architectures."
        )
    parameters = space.cost_table(IMAGE_SIZE)(pool).parameters
    order = np.argsort(parameters, kind="stable")
    chosen = np.arange(n)
    if sizes == "similar":
        chosen = np.sort(np.argsort(np.abs(parameters - np.median(parameters)), kind="stable")[:n])
    elif sizes == "diverse":
        chosen = np.sort(order[((np.arange(n) + 0.5) * len(pool) / n).astype(np.int64)])
    rows = pool[chosen]
    return Drawn(rows, tuple(space.decode(rows)), parameters[chosen], len(pool))
