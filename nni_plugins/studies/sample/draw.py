"""The architectures of a sample study: uniform draws without twins, within bounds of their size. Free of torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace

from .settings import SampleStudySettings

COUNTED = 100_000
"""In spaces of at most this many architectures those that can be drawn are counted; in others drawing ends when nothing
new comes.
"""
BATCH = 1024
PATIENCE = 200
"""So many batches without a single new architecture say that there are no more."""


def draw_samples(settings: SampleStudySettings) -> list[Architecture]:
    """``settings.random`` architectures, a function of ``random_seed``, their number and the limits alone.

    Each is drawn uniformly over the space; one that breaks the limits, or that computes the same as an earlier one up
    to symmetry, is drawn again (Liu et al., ECCV 2020, and fact sheet, section 4.1: distinct architectures within a
    range of sizes).

    Raises:
        ConfigError: there are not so many.
    """
    space, wanted = settings.search_space, settings.random
    if space.size <= COUNTED:
        rows = space.enumerate()
        admissible = rows[_within(settings, space, rows)]
        distinct = (
            len({space.canonical(a) for a in space.decode(admissible)}) if len(admissible) < 20 * wanted else wanted
        )
        if distinct < wanted:
            raise _too_few(settings, space, distinct)
    rng, seen, drawn, idle = generator(settings.random_seed, "sample study"), set[str](), list[Architecture](), 0
    while len(drawn) < wanted:
        proposed = space.sample(rng, BATCH)
        before = len(drawn)
        for architecture in space.decode(proposed[_within(settings, space, proposed)]):
            form = space.canonical(architecture)
            if form not in seen and len(drawn) < wanted:
                seen.add(form)
                drawn.append(architecture)
        idle = 0 if len(drawn) > before else idle + 1
        if idle == PATIENCE:
            raise _too_few(settings, space, len(drawn))
    return drawn


def _within(settings: SampleStudySettings, space: SearchSpace, rows: Indices) -> npt.NDArray[np.bool_]:
    low, high = settings.limits.min_parameters, settings.limits.max_parameters
    mask: npt.NDArray[np.bool_] = np.ones(len(rows), dtype=bool)
    if low is not None or high is not None:
        parameters = space.cost_table(32)(rows).parameters
        mask = (parameters >= (low or 0)) & (parameters <= (high or np.inf))
    return mask


def _too_few(settings: SampleStudySettings, space: SearchSpace, found: int) -> ConfigError:
    limited = settings.limits.min_parameters is not None or settings.limits.max_parameters is not None
    return ConfigError(
        f"random: {settings.random} distinct architectures are wanted, but {space!r} has only "
        f"{found}{' within the limits' if limited else ''}.",
        f"Lower tuner.classArgs.random{', or widen tuner.classArgs.limits' if limited else ''}.",
    )
