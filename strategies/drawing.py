"""Drawing distinct architectures; free of torch, so that NNI's tuner process can do it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace


def draw(
    space: SearchSpace, n: int, rng: np.random.Generator, excluded: Iterable[Architecture] = ()
) -> list[Architecture]:
    """``n`` distinct architectures, uniform over those not in ``excluded``, in the order of the draw.

    Raises:
        ConfigError: the space does not have that many.
    """
    known = set(excluded)
    if n > space.size - len(known):
        raise ConfigError(
            f"{n} distinct architectures are wanted, but {space!r} has {space.size - len(known)} to draw from."
        )
    drawn: list[Architecture] = []
    while len(drawn) < n:
        for architecture in space.decode(space.sample(rng, 2 * (n - len(drawn)))):
            if architecture not in known and len(drawn) < n:
                known.add(architecture)
                drawn.append(architecture)
    return drawn
