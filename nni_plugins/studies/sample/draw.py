"""The architectures of a sample study: uniform draws without twins, within bounds of their size, or those of a file.
Free of torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import parse_json
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import Indices, SearchSpace
from nni_plugins.spaces.errors import SpaceError

from .settings import LEAST, SampleStudySettings

COUNTED = 100_000
"""In spaces of at most this many architectures those that can be drawn are counted; in others drawing ends when nothing
new comes.
"""
BATCH = 1024
PATIENCE = 200
"""So many batches without a single new architecture say that there are no more."""


def draw_samples(settings: SampleStudySettings) -> list[Architecture]:
    """The architectures of ``settings.architectures``; or ``settings.random``, a function of ``random_seed``, their
    number and the limits alone.

    Each is drawn by :meth:`nni_plugins.spaces.SearchSpace.sample_distinct`, uniformly over the space or, in NAS-Bench-101,
    over its distinct cells, the rows of the benchmark's table; one that breaks the limits, or that computes the same as an earlier one up
    to symmetry, is drawn again (Liu et al., ECCV 2020: distinct architectures within a range of sizes).

    Raises:
        ConfigError: there are not so many, or the file does not hold three different ones.
    """
    space, wanted = settings.search_space, settings.random
    if settings.architectures is not None:
        return read_architectures(Path(settings.architectures).expanduser(), space)
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
        proposed = space.sample_distinct(rng, BATCH)
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


def read_architectures(path: Path, space: SearchSpace) -> list[Architecture]:
    """A JSON list of architectures in any form that ``space`` reads, or a text file with one a line.

    Raises:
        ConfigError: it cannot be read, holds something else, fewer than three, or two that are the same up to symmetry.
    """
    if not path.is_absolute():
        raise ConfigError(f"architectures: must be an absolute path, but got {str(path)!r}.")
    try:
        text = path.read_text()
        given = parse_json(text) if text.lstrip().startswith("[") else [one for one in text.splitlines() if one.strip()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"architectures: cannot read {path}: {str(error)[:100]}.") from None
    listed: list[Architecture] = []
    forms: dict[str, int] = {}
    for number, one in enumerate(given, start=1):
        try:
            listed.append(space.parse(one))
        except (SpaceError, AttributeError, TypeError) as error:
            problem = error.problem if isinstance(error, SpaceError) else f"got {type(one).__name__}"
            raise ConfigError(f"architectures: {path}, number {number}: {problem}") from None
        first = forms.setdefault(space.canonical(listed[-1]), number)
        if first != number:
            raise ConfigError(f"architectures: {path}: numbers {first} and {number} are the same architecture.")
    if len(listed) < LEAST:
        raise ConfigError(f"architectures: {path} has {len(listed)}; a correlation needs {LEAST}.")
    return listed


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
