"""One condition of a ranking study: train a supernet on a fixed set of architectures, evaluate all of them with the
shared weights.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.base import Indices

from ...errors import ConfigError
from ...randomness import generator
from ...supernets.shared_weights import Cycle, Draw, SharedWeights
from .rows import Schedule

DEPENDENT = 3
"""Trainings that the cosine of a dependent schedule takes (NAO-V2, section 3; NAO-WS stops three times within one
schedule).
"""


def pool_draw(pool: Indices, seed: int, probabilities: npt.NDArray[np.float64] | None = None) -> Draw:
    """Each step trains one architecture of ``pool: (n, D)``, drawn uniformly or with ``probabilities: (n,)``.

    Raises:
        ConfigError: probabilities that are no distribution over the pool.
    """
    if probabilities is not None and (
        probabilities.shape != (len(pool),) or (probabilities < 0).any() or not np.isclose(probabilities.sum(), 1)
    ):
        raise ConfigError(
            f"probabilities: {len(pool)} that are not negative and add up to 1 are needed, but got {probabilities}."
        )

    def draw(epoch: int, steps: int) -> Indices:
        rng = generator(seed, "rank study architectures", epoch)
        return pool[rng.choice(len(pool), size=steps, p=probabilities)]

    return draw


def cycle_of(epochs: int, schedule: Schedule) -> Cycle:
    """One training of ``epochs`` epochs; with a dependent schedule the learning rate ends where a third of its cosine
    is done.
    """
    return Cycle(epochs=epochs, period=epochs if schedule == "independent" else DEPENDENT * epochs)


def one_shot_scores(
    shared: SharedWeights,
    pool: Indices,
    epochs: int,
    schedule: Schedule,
    probabilities: npt.NDArray[np.float64] | None = None,
) -> tuple[npt.NDArray[np.float64], list[dict[str, float]]]:
    """Train ``shared`` anew on ``pool: (n, D)`` and return its scores (n,), all on the same held-out images, and the
    curve of the training.

    Raises:
        TrainingError, CheckpointError: as :meth:`nni_plugins.evaluators.supernets.shared_weights.SharedWeights.train`.
    """
    curve = shared.train(pool_draw(pool, shared.seed, probabilities), cycle_of(epochs, schedule))
    return shared.scores(pool), curve
