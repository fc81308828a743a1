"""RLNAS, declared: a supernet on random labels, ranked by angle. Free of torch."""

from __future__ import annotations

from nni_plugins.evaluators.training.settings import SinglePathSettings

from ..base import Problem, Scorer, SearchResult, Setup, StrategyPlugin, search_cost
from ..one_shot import initial_supernet
from ..score import ANGLE
from .settings import RLNASSettings


class RLNASPlugin(StrategyPlugin):
    """``tuner.name: RLNAS``."""

    name = "RLNAS"
    about = "a supernet trained on random labels, ranked by how far its weights turned"
    source = "Zhang et al., CVPR 2021"
    objective = {"name": "random_labels", "classes": 10}
    training_settings = SinglePathSettings
    search_settings = RLNASSettings
    score = ANGLE
    nni_strategy = "nni_plugins.strategies.rlnas.search:RLNAS"

    def check(self, setup: Setup) -> None:
        """An angle's variant that the space does not have."""
        setup.search.variant(setup.space)

    def search(self, problem: Problem) -> SearchResult:
        """Train, and rank all architectures or evolve."""
        from .search import search

        result = search(*initial_supernet(problem), problem.search, problem.found, problem.limits)
        history = result.trained.history
        details = {
            "scored": len(result.angles),
            "initial_sha256": result.trained.initial_sha256,
            "angle": problem.search.variant(problem.space),
        }
        cost = search_cost(len(history))
        return SearchResult(result.ranked, history, result.table, details=details, cost=cost)

    def scorer(self, problem: Problem) -> Scorer:
        """Angles between the initial and the last weights in the folder."""
        from .search import restored_angles

        return restored_angles(problem)
