"""Drawing distinct architectures; free of torch, so that NNI's tuner process can do it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace

from .limits import Limits

ENUMERATED = 100_000
"""Spaces of at most this many architectures are enumerated for a draw, so that one of all their distinct ones ends."""
PATIENCE = 1000
"""So many batches without a single new architecture say that no more of them meet the limits."""
REPEATED = 10
"""So many draws, each of twice as many architectures as are wanted, without a new one say that there are no more."""
LIMITED_BATCH = 1024
"""At least so many are drawn at once where most may be beyond the limits."""


def sample_within(space: SearchSpace, rng: np.random.Generator, n: int, limits: Limits) -> Indices:
    """``n`` rows (n, D), uniform and independent over those that meet ``limits``; fewer only after :data:`PATIENCE`
    batches without one. Without limits exactly ``space.sample(rng, n)``.
    """
    if not limits.given:
        return space.sample(rng, n)
    rows: Indices = np.empty((0, len(space.decisions)), dtype=np.int8)
    idle = 0
    while len(rows) < n and idle < PATIENCE:
        drawn = space.sample(rng, _batch(n - len(rows), limits))
        within = drawn[limits.mask(space, drawn)]
        rows, idle = np.concatenate([rows, within]), 0 if len(within) else idle + 1
    return rows[:n]


def _batch(missing: int, limits: Limits) -> int:
    return max(2 * missing, LIMITED_BATCH) if limits.given else 2 * missing


def draw(
    space: SearchSpace,
    n: int,
    rng: np.random.Generator,
    excluded: Iterable[Architecture] = (),
    limits: Limits | None = None,
) -> list[Architecture]:
    """``n`` distinct architectures, uniform over those that meet ``limits`` and are not in ``excluded``, in the order of
    the draw.

    Raises:
        ConfigError: there are not so many, as far as random draws tell.
    """
    known = set(excluded)
    if n > space.size - len(known):
        raise ConfigError(
            f"{n} distinct architectures are wanted, but {space!r} has {space.size - len(known)} to draw from."
        )
    limits = limits or Limits()
    drawn: list[Architecture] = []
    idle = 0
    while len(drawn) < n:
        rows = space.sample(rng, _batch(n - len(drawn), limits))
        before = len(drawn)
        for architecture in space.decode(rows[limits.mask(space, rows)]):
            if architecture not in known and len(drawn) < n:
                known.add(architecture)
                drawn.append(architecture)
        idle = 0 if len(drawn) > before else idle + 1
        if idle == PATIENCE:
            raise ConfigError(
                f"{n} distinct architectures are wanted, but only {len(drawn)} of {space!r} meet the limits {limits!r}.",
                "Raise the limits, or ask for fewer.",
            )
    return drawn


def draw_distinct(
    space: SearchSpace,
    n: int,
    rng: np.random.Generator,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Indices:
    """At most ``n`` architectures that meet ``limits``, drawn uniformly one after the other, of symmetric twins the
    first: (at most n, D), in the order of the draw.

    Fewer only where there are fewer distinct ones, in spaces of more than :data:`ENUMERATED` architectures as far as
    random draws tell.

    Raises:
        ConfigError: there is none.
    """
    rows: list[npt.NDArray[np.int8]] = []
    seen: set[str] = set()
    small, idle = space.size <= ENUMERATED, 0
    pool = rng.permutation(space.enumerate()) if small else sample_within(space, rng, 2 * n, limits)
    if small:
        pool = pool[limits.mask(space, pool)]
    if not len(pool):
        raise limits.unmet(space)
    while True:
        before = len(rows)
        for row, architecture in zip(pool, space.decode(pool), strict=True):
            form = space.canonical(architecture)
            if form not in seen:
                seen.add(form)
                rows.append(row)
            if len(rows) == n:
                break
        idle = 0 if len(rows) > before else idle + 1
        if small or len(rows) == n or idle == REPEATED:
            return np.array(rows, dtype=np.int8).reshape(-1, len(space.decisions))
        pool = sample_within(space, rng, 2 * n, limits)
