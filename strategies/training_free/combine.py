"""A search by several scores together, declared: training-free ones, the angle, one-shot accuracies. Free of torch until
it runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives.registered import build_objective, check_objective_name
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces import registry
from nni_plugins.spaces.errors import NNIPluginsError, closest

from ..base import Problem, Setup, StrategyPlugin, refused, run_checks, search_cost
from ..plugins import strategy_plugin
from ..score import Score
from .names import SCORES, score_settings
from .plugin import TrainingFreePlugin, candidate_problems
from .settings import CombineSearch, Component

if TYPE_CHECKING:
    from .measures import Measure
    from .search import Scoring

S = TypeVar("S", bound=Setup)
OF_SUPERNETS = {"angle": "rlnas", "one_shot": "randomnas"}
"""Short names of strategies by what they score with."""


def strategy_of(component: Component) -> StrategyPlugin:
    """The strategy whose search a component is, where it is no training-free score.

    Raises:
        ConfigError: there is none of that name, or it cannot score any architecture.
    """
    name = OF_SUPERNETS.get(component.score, component.score)
    if name not in registry.found("strategies"):
        known = (*SCORES, *OF_SUPERNETS, *registry.found("strategies"))
        raise ConfigError(f"unknown score {component.score!r}; {closest(component.score, known)}")
    plugin = strategy_plugin(name)
    if plugin.data != "images" or not plugin.searches or isinstance(plugin, TrainingFreePlugin):
        raise ConfigError(
            f"{plugin.name} scores no architectures that others do, too.",
            f"Known: {', '.join((*SCORES, *OF_SUPERNETS))}.",
        )
    return plugin


def setup_of(given: S, component: Component) -> S:
    """What the strategy of ``component`` is asked, where ``given`` is asked for the combination.

    Raises:
        ConfigError: settings that it does not have.
    """
    plugin = strategy_of(component)
    search = read(plugin.search_settings, component.settings, "settings.")
    training = read(plugin.training_settings, component.training, "training.")
    return replace(given, search=search, training=training, objective=component.objective or given.objective, found=1)


class CombinePlugin(TrainingFreePlugin):
    """``tuner.name: Combine``."""

    name = "Combine"
    about = "several scores together, training-free ones, angles or one-shot accuracies, by the ranks that they give"
    source = "Lee & Ham, CVPR 2024"
    search_settings = CombineSearch
    score = Score("rank", "combined rank")
    among = True

    def check(self, setup: Setup) -> None:
        """Every score and its settings."""
        run_checks(
            lambda: refused(candidate_problems(setup)),
            *(partial(_check, setup, component) for component in setup.search.scores),
        )

    def check_files(self, setup: Setup) -> None:
        """Those of the strategies."""
        for one in setup.search.scores:
            if one.score not in SCORES:
                strategy_of(one).check_files(setup_of(setup, one))

    def contents(self, setup: Setup) -> dict[str, Any]:
        """Those of the strategies."""
        others = [one for one in setup.search.scores if one.score not in SCORES]
        return {
            f"{one.score}.{key}": value
            for one in others
            for key, value in strategy_of(one).contents(setup_of(setup, one)).items()
        }

    def scoring(self, problem: Problem, train: bool) -> tuple[Scoring, dict[str, float]]:
        """The training-free measures, and those of supernets, trained or read."""
        from .search import Scoring, identity
        from .stored import StoredScores

        stored = StoredScores(problem.folder, identity(problem))
        rows: list[dict[str, float]] = []
        measures: list[Measure] = []
        cost = search_cost()
        # What needs no training comes first: it refuses a space that it cannot judge before a supernet is trained.
        for component in sorted(problem.search.scores, key=lambda one: one.score not in SCORES):
            made, spent = _measure(problem, component, train, rows, measures)
            measures.append(made)
            cost = {key: value + spent.get(key, 0.0) for key, value in cost.items()}
        scoring = Scoring(measures, problem.search.rule, stored, problem.report)
        scoring.curve += rows
        return scoring, cost


def _check(setup: Setup, component: Component) -> None:
    where = f"search.scores.{component.score}: "
    try:
        if component.objective is not None:
            check_objective_name(component.objective)
        if component.score not in SCORES:
            own = setup_of(setup, component)
            strategy_of(component).check(own)
            return
        score_settings(component.score, component.settings)
        if component.training:
            raise ConfigError("training: it trains nothing; leave it out.")
    except NNIPluginsError as error:
        raise ConfigError(where + error.problem, error.remedy) from None


def _measure(
    problem: Problem, component: Component, train: bool, rows: list[dict[str, float]], before: list[Measure]
) -> tuple[Measure, dict[str, float]]:
    """What scores by ``component``, and what that cost; epochs of a supernet are reported and added to ``rows``."""
    from .measures import StrategyMeasure, measure
    from .search import first_candidate

    p, objective = problem, component.objective
    task = p.task if objective is None else build_objective(objective)
    if component.score in SCORES:
        settings = component.settings
        return measure(p.space, p.data, component.score, objective=task, settings=settings, seed=p.seed), {}
    plugin, folder = strategy_of(component), None if p.folder is None else p.folder / component.score
    own = replace(setup_of(p, component), task=task, folder=folder, report=_epochs(p, len(rows)))
    if not train:
        return StrategyMeasure(p.space, component.score, plugin.scorer(own)), {}
    row = first_candidate(p)
    for one in before:
        one.require(row)
    with warnings.catch_warnings():  # what this one finds is not what is found
        warnings.filterwarnings("ignore", message="found architecture")
        result = plugin.search(own)
    if result.score is None:
        raise ConfigError(f"search.scores.{component.score}: {plugin.name} leaves nothing to score others with.")
    rows += [{"epoch": float(len(rows) + i), "scored": 0.0} for i in range(1, len(result.curve) + 1)]
    return StrategyMeasure(p.space, component.score, result.scores), result.cost


def _epochs(problem: Problem, before: int) -> Callable[[Mapping[str, float]], None] | None:
    """A report of a supernet's epochs as rows of the whole search."""
    if problem.report is None:
        return None
    told = problem.report
    return lambda row: told({"epoch": before + row["epoch"], "scored": 0.0})
