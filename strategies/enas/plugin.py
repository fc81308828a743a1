"""ENAS, declared. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..base import Problem, Scorer, SearchResult, Setup, search_cost
from ..one_shot import OneShotPlugin
from .masks import check_decisions
from .settings import ENASSettings, ENASTraining, check_search


class ENASPlugin(OneShotPlugin):
    """``tuner.name: ENAS``."""

    name = "ENAS"
    about = "a controller learns by REINFORCE which architectures of a supernet to train and, at the end, to rank"
    source = "Pham et al., ICML 2018"
    training_settings = ENASTraining
    search_settings = ENASSettings
    nni_strategy = "nni_plugins.strategies.enas.search:ENAS"

    def checks(self, setup: Setup) -> list[Callable[[], None]]:
        """What the controller can sample, and its settings."""
        s = setup
        return [
            *super().checks(s),
            partial(check_decisions, s.space),
            partial(check_search, s.space, s.search, s.training.epochs, s.found, "found"),
        ]

    def search(self, problem: Problem) -> SearchResult:
        """Train supernet and controller in turns, and rank what the controller samples."""
        from .search import search

        p = problem
        more: dict[str, Any] = {"folder": p.folder, "report": p.report, "limits": p.limits}
        result = search(p.space, p.data, p.task, p.search, p.training, p.seed, p.found, **more)
        last = result.history[-1]
        return SearchResult(
            result.ranked,
            result.history,
            result.score,
            numbers={key: last[key] for key in ("reward", "entropy") if key in last},
            details={"scored": len(result.scores)},
            cost=search_cost(len(result.history)),
        )

    def scorer(self, problem: Problem) -> Scorer:
        """One-shot accuracy on the images that the search itself evaluated with."""
        from nni_plugins.evaluators.training.stored import stored_weights

        from .search import shared_images

        p = problem
        shared = shared_images(p.space, p.data, p.task, p.search, p.training, p.seed)
        stored_weights(p.folder).load_into(shared.supernet)
        return shared.scores
