"""Searches of recurrent cells on text, declared: DARTS, and NAO, ENAS and random search with shared weights. Free of
torch.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.text.settings import LanguageSearchSettings
from nni_plugins.evaluators.text.shared_settings import SharedTextSettings
from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.recurrent import RecurrentCell

from ..base import Problem, SearchResult, Setup, StrategyPlugin, search_cost
from ..degenerate import undecided
from ..enas.settings import RecurrentENASSettings, check_search
from ..naov2.settings import check_found
from ..random.settings import check_candidates
from ..score import LOG_PROBABILITY, Score
from .settings import CandidateSettings, ENASTextTraining, NAOTextTraining, RecurrentNAOSettings

if TYPE_CHECKING:
    from nni_plugins.evaluators.text.shared import SharedText

SHARED_PERPLEXITY = Score("minus_perplexity", "minus perplexity")
"""Of the validation text, with shared weights."""


class RecurrentPlugin(StrategyPlugin):
    """Base of searches of recurrent cells."""

    data = "text"
    objective = None

    def check(self, setup: Setup) -> None:
        """A space of recurrent cells, and :meth:`check_settings`."""
        cells_of(setup)
        self.check_settings(setup)

    def check_settings(self, setup: Setup) -> None:
        """What is wrong with the settings.

        Raises:
            ConfigError: see there.
        """


class RecurrentDARTSPlugin(RecurrentPlugin):
    """``tuner.name: RecurrentDARTS``."""

    name = "RecurrentDARTS"
    about = "DARTS on recurrent cells: one training of the mixed cell, then the most probable cells"
    source = "Liu et al., ICLR 2019"
    training_settings = LanguageSearchSettings
    score = LOG_PROBABILITY

    def search(self, problem: Problem) -> SearchResult:
        """Train the mixed cell."""
        from .darts import search

        p, space = problem, cells_of(problem)
        result = search(space, p.data, p.training, p.seed, p.found, folder=p.folder, report=p.report, limits=p.limits)

        def score(indices: Indices) -> npt.NDArray[np.float64]:
            return result.mixture.score(space, indices)

        history = result.trained.history
        details = {"genotypes": result.genotypes}
        said = undecided(result.mixture.probabilities)
        return SearchResult(
            result.ranked, history, score, details=details, cost=search_cost(len(history)), warnings=said
        )


class SharedPlugin(RecurrentPlugin):
    """Base of those that share weights."""

    score = SHARED_PERPLEXITY

    def search(self, problem: Problem) -> SearchResult:
        """Train shared weights, and rank by them."""
        from nni_plugins.evaluators.text.shared import SharedText

        p, space = problem, cells_of(problem)
        shared = SharedText(space, p.data, p.training, seed=p.seed, folder=p.folder, report=p.report)
        return self.search_with(shared, problem)

    @abstractmethod
    def search_with(self, shared: SharedText, problem: Problem) -> SearchResult:
        """As the method does."""


class RecurrentNAOPlugin(SharedPlugin):
    """``tuner.name: RecurrentNAO``."""

    name = "RecurrentNAO"
    about = "NAO with shared weights on recurrent cells"
    source = "Luo et al., NeurIPS 2018"
    training_settings = NAOTextTraining
    search_settings = RecurrentNAOSettings

    def check_settings(self, setup: Setup) -> None:
        """No more are found than the last evaluation ranks."""
        check_found(setup.search, setup.found, "found")

    def search_with(self, shared: SharedText, problem: Problem) -> SearchResult:
        """Cycles of shared weights on pools of cells."""
        from ..naov2.search import naov2

        p = problem
        more: dict[str, Any] = {"folder": p.folder, "config": {"text": p.data.identity()}, "limits": p.limits}
        result = naov2(shared, p.search, epochs=p.training.epochs, **more)
        trained = {p.space.canonical(a) for a in p.space.decode(result.pool.indices)}

        def scorable(indices: Indices) -> npt.NDArray[np.bool_]:
            return np.array([p.space.canonical(a) in trained for a in p.space.decode(indices)], dtype=bool)

        return SearchResult(
            result.ranked[: p.found], result.history, result.score, scorable, cost=search_cost(len(result.history))
        )


class RecurrentENASPlugin(SharedPlugin):
    """``tuner.name: RecurrentENAS``."""

    name = "RecurrentENAS"
    about = "ENAS on recurrent cells: a controller learns which ones to sample from shared weights"
    source = "Pham et al., ICML 2018"
    training_settings = ENASTextTraining
    search_settings = RecurrentENASSettings

    def check_settings(self, setup: Setup) -> None:
        """As many candidates, and an epoch that trains the controller."""
        check_search(setup.space, setup.search, setup.training.epochs, setup.found, "found")

    def search_with(self, shared: SharedText, problem: Problem) -> SearchResult:
        """One training of shared weights and controller."""
        from ..enas.search import enas

        p = problem
        result = enas(shared, p.search, epochs=p.training.epochs, top_k=p.found, limits=p.limits)
        return SearchResult(result.ranked, result.history, result.score, cost=search_cost(len(result.history)))


class RecurrentRandomNASPlugin(SharedPlugin):
    """``tuner.name: RecurrentRandomNAS``."""

    name = "RecurrentRandomNAS"
    about = "random search with shared weights on recurrent cells"
    source = "Li & Talwalkar, UAI 2019"
    training_settings = SharedTextSettings
    search_settings = CandidateSettings

    def check_settings(self, setup: Setup) -> None:
        """As many candidates as are found."""
        check_candidates(setup.search.candidates, setup.found, "found")

    def search_with(self, shared: SharedText, problem: Problem) -> SearchResult:
        """Uniform draws train the weights, and random cells are ranked by them."""
        from nni_plugins.evaluators.randomness import generator
        from nni_plugins.evaluators.supernets.shared_weights import Cycle

        from ..drawing import draw_distinct
        from ..ranking import best

        p = problem

        def draw(epoch: int, steps: int) -> Indices:
            return p.space.sample(generator(p.seed, "paths", epoch), steps)

        history = shared.train(draw, Cycle(epochs=p.training.epochs))
        indices = draw_distinct(p.space, p.search.candidates, generator(p.seed, "candidates"), p.limits)
        ranked = best(p.space, indices, shared.scores(indices), p.found)
        return SearchResult(ranked, history, shared.scores, cost=search_cost(len(history)))


def cells_of(setup: Setup) -> RecurrentCell:
    """The space.

    Raises:
        ConfigError: it is no space of recurrent cells.
    """
    if not isinstance(setup.space, RecurrentCell):
        raise ConfigError(f"space: {setup.space.name} has no recurrent cells.", "Choose the space recurrent.")
    return setup.space
