"""Random search, declared: with an evaluation for each architecture, and with shared weights. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nni_plugins.evaluators.errors import ConfigError

from ..base import Problem, Scorer, SearchResult, Setup, StrategyPlugin, search_cost
from ..one_shot import OneShotPlugin, initial_supernet
from ..score import VALIDATION
from .settings import RandomNASSettings, RandomNASTraining, check_candidates


class RandomSearchPlugin(StrategyPlugin):
    """``tuner.name: RandomSearch``. Its random architectures are drawn and evaluated by the experiment."""

    name = "RandomSearch"
    about = "random architectures, each evaluated for itself: what every search has to beat"
    source = "Li & Talwalkar, UAI 2019"
    objective = None
    searches = False
    score = VALIDATION
    nni_strategy = "nni_plugins.strategies.random.random_search:RandomSearch"

    def search(self, problem: Problem) -> SearchResult:
        """There is none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.name} has nothing to search.", "Evaluate its random architectures.")


class RandomNASPlugin(OneShotPlugin):
    """``tuner.name: RandomNAS``."""

    name = "RandomNAS"
    about = "random architectures, ranked by their accuracy with the weights of a supernet"
    source = "Li & Talwalkar, UAI 2019"
    training_settings = RandomNASTraining
    search_settings = RandomNASSettings
    nni_strategy = "nni_plugins.strategies.random.random_nas:RandomNAS"

    def checks(self, setup: Setup) -> list[Callable[[], None]]:
        """No more results than candidates."""
        return [*super().checks(setup), partial(check_candidates, setup.search.candidates, setup.found, "found")]

    def search(self, problem: Problem) -> SearchResult:
        """Train on random paths, and rank random architectures."""
        from .random_nas import search

        result = search(*initial_supernet(problem), problem.search, problem.found, problem.limits)
        history = result.trained.history
        details = {"scored": len(result.indices), "initial_sha256": result.trained.initial_sha256}
        cost = search_cost(len(history))
        return SearchResult(result.ranked, history, result.score, details=details, cost=cost)

    def scorer(self, problem: Problem) -> Scorer:
        """One-shot accuracy on the images that the search itself evaluated with."""
        from nni_plugins.evaluators.objectives import fitted
        from nni_plugins.evaluators.training.stored import stored_weights

        from ..rlnas.search import initialise
        from .random_nas import one_shot_score

        p = problem
        supernet = initialise(fitted(p.space, p.task, p.data), p.seed)
        stored_weights(p.folder).load_into(supernet)
        return one_shot_score(supernet, p.data, p.task, p.search, p.seed)
