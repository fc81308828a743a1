"""Random search: distinct architectures drawn uniformly, without weights. The baseline that every result stands beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

from ..drawing import draw
from ..limits import Limits
from ..nni_base import RankedStrategy
from ..ranking import Ranked


class RandomSearch(RankedStrategy):
    """``samples`` random architectures, each scored by the experiment's evaluator in this process, best first.

    Args:
        samples: how many distinct architectures are drawn.
        seed: of the draw.
        limits: what every one of them meets.
    """

    def __init__(self, samples: int = 10, *, seed: int = 0, limits: Limits | None = None) -> None:
        super().__init__()
        if samples < 1:
            raise ConfigError(f"samples >= 1 must hold, but got samples={samples}.")
        self.samples, self.seed, self.limits = samples, seed, limits or Limits()
        self.ranked: list[Ranked] | None = None

    def _initialize(self, model_space: Any, engine: Any) -> Any:
        if not isinstance(getattr(getattr(model_space, "model_space", None), "search_space", None), SearchSpace):
            raise ConfigError(
                "RandomSearch needs a supernet of this package.",
                "Pass space.supernet(), such as NASBench201().supernet().",
            )
        return model_space

    def _run(self) -> None:
        space = cast(SearchSpace, self.model_space.model_space.search_space)
        self.ranked = search(space, self.model_space.evaluator.evaluate, self.samples, self.seed, self.limits)

    def ranking(self) -> Sequence[Ranked] | None:
        """Best first."""
        return self.ranked


def search(
    space: SearchSpace,
    evaluate: Callable[[Architecture], float],
    samples: int,
    seed: int,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> list[Ranked]:
    """Draw ``samples`` distinct architectures within ``limits`` and rank them by ``evaluate`` (larger is better; ties in
    the order of the draw).

    Raises:
        ConfigError: there are not so many.
    """
    drawn = draw(space, samples, generator(seed, "random search"), limits=limits)
    scores = np.array([evaluate(architecture) for architecture in drawn])
    return [Ranked(drawn[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")]
