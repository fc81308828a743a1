"""NAO-V2 and its baseline NAO-WS, declared. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.base import Indices

from ..base import Problem, Scorer, SearchResult, Setup, search_cost
from ..one_shot import OneShotPlugin
from .settings import NAOV2Settings, NAOV2Training, NAOWSSettings, NAOWSTraining, check_drop_path, check_found


class NAOV2Plugin(OneShotPlugin):
    """``tuner.name: NAOV2``."""

    name = "NAOV2"
    about = "a fresh supernet for every pool of architectures, and a controller that proposes the next pool"
    source = "Luo et al., 2019"
    training_settings = NAOV2Training
    search_settings = NAOV2Settings
    nni_strategy = "nni_plugins.strategies.naov2.search:NAOV2"

    def checks(self, setup: Setup) -> list[Callable[[], None]]:
        """No more results than the last evaluation ranks, and paths that can be dropped."""
        found = partial(check_found, setup.search, setup.found, "found")
        return [*super().checks(setup), found, partial(check_drop_path, setup.space, setup.training)]

    def search(self, problem: Problem) -> SearchResult:
        """Train, evaluate and propose pools. Only what the last pool has can be scored."""
        from .search import search

        p = problem
        more: dict[str, Any] = {"folder": p.folder, "report": p.report, "limits": p.limits}
        result = search(p.space, p.data, p.task, p.search, p.training, p.seed, p.found, **more)
        pool = {p.space.canonical(a) for a in p.space.decode(result.pool.indices)}

        def scorable(indices: Indices) -> npt.NDArray[np.bool_]:
            return np.array([p.space.canonical(a) in pool for a in p.space.decode(indices)], dtype=bool)

        iterations = [asdict(iteration) for iteration in result.iterations]
        details = {
            "scored": len(result.pool.rows),
            "iterations": [{k: v for k, v in iteration.items() if k != "curve"} for iteration in iterations],
            "final": [{"choices": one.architecture.as_dict(), "accuracy": one.score} for one in result.final],
            "exhausted": result.exhausted,
        }
        cost = search_cost(len(result.history))
        return SearchResult(result.ranked, result.history, result.score, scorable, details=details, cost=cost)

    def scorer(self, problem: Problem) -> Scorer:
        """One-shot accuracy with the last cycle's weights, on the images that the search itself evaluated with."""
        from nni_plugins.evaluators.training.stored import stored_weights

        from .search import shared_images

        p = problem
        shared = shared_images(p.space, p.data, p.task, p.search, p.training, p.seed)
        stored_weights(p.folder).load_into(shared.supernet)
        return shared.scores


class NAOWSPlugin(NAOV2Plugin):
    """``tuner.name: NAOWS``."""

    name = "NAOWS"
    about = "NAO with one supernet through all rounds and even draws: what NAO-V2 is measured against"
    training_settings = NAOWSTraining
    search_settings = NAOWSSettings
    nni_strategy = "nni_plugins.strategies.naov2.search:NAOWS"
