"""Strategies that ask for the values of architectures and end with the best of them, declared. Free of torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from ..base import Problem, SearchResult, Setup, StrategyPlugin, refused, search_cost
from ..score import VALIDATION
from .questions import Questions
from .settings import EvolutionSearchSettings, NAOSearchSettings, QueriesSettings, TPESearchSettings


class QueriesPlugin(StrategyPlugin):
    """Base of strategies that ask ``search.queries`` times. What was asked is ranked by its answers."""

    data = "none"
    objective = None
    asks = True
    score = VALIDATION

    def check(self, setup: Setup) -> None:
        """At least as many questions as architectures that are listed."""
        if setup.search.queries < setup.found:
            refused([f"search.queries: {setup.search.queries} give no {setup.found} different architectures (found)"])

    def search(self, problem: Problem) -> SearchResult:
        """Ask, and rank."""
        from .methods import quiet_nni

        questions = Questions(problem, problem.search.queries)
        with quiet_nni():
            self.ask(questions, problem)
        cost = search_cost(queries=len(questions.curve))
        return SearchResult(questions.ranked(), questions.curve, details={**questions.counts}, cost=cost)

    @abstractmethod
    def ask(self, questions: Questions, problem: Problem) -> None:
        """Ask until no question is left, or there is nothing to be asked for."""

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The best value so far."""
        return {"default": row["best"], **row}


class BestOfRandomPlugin(QueriesPlugin):
    """``tuner.name: BestOfRandom``."""

    name = "BestOfRandom"
    about = "random architectures, of which the best by its evaluation is taken"
    search_settings = QueriesSettings

    def ask(self, questions: Questions, problem: Problem) -> None:
        """Draw."""
        from .methods import ask_at_random

        ask_at_random(questions, problem.seed)


class TPESearchPlugin(QueriesPlugin):
    """``tuner.name: TPESearch``."""

    name = "TPESearch"
    about = "NNI's tree-structured Parzen estimator, one evaluation after the other"
    source = "Bergstra et al., NeurIPS 2011"
    search_settings = TPESearchSettings

    def ask(self, questions: Questions, problem: Problem) -> None:
        """Estimate which values are good."""
        from .methods import ask_by_tpe

        ask_by_tpe(questions, problem.search, problem.seed)


class EvolutionSearchPlugin(QueriesPlugin):
    """``tuner.name: EvolutionSearch``."""

    name = "EvolutionSearch"
    about = "NNI's regularised evolution, one evaluation after the other"
    source = "Real et al., AAAI 2019"
    search_settings = EvolutionSearchSettings

    def ask(self, questions: Questions, problem: Problem) -> None:
        """Evolve."""
        from .methods import ask_by_evolution

        ask_by_evolution(questions, problem.search, problem.seed)


class NAOSearchPlugin(QueriesPlugin):
    """``tuner.name: NAOSearch``."""

    name = "NAOSearch"
    about = "NAO without shared weights: gradient ascent in a learned space, one evaluation after the other"
    source = "Luo et al., NeurIPS 2018"
    search_settings = NAOSearchSettings

    def ask(self, questions: Questions, problem: Problem) -> None:
        """Move the best ones uphill."""
        from .methods import ask_by_nao

        ask_by_nao(questions, problem.search, problem.seed)
