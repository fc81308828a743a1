"""From a policy and a seed to architectures, best first: what a search of a comparison does."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import ConfigError

from .evaluation_settings import LanguageEvaluation, StandAloneEvaluation, TableEvaluation
from .measure import Report, Value, ask, corpus_of
from .policy_settings import ExperimentPolicy, QueriesPolicy, RecurrentPolicy, StrategyPolicy
from .settings import CompareSettings

Found = dict[str, Any]
"""``choices``, and ``score``: what the search ranked them by, None where that is not known."""


def found(architectures: Iterable[tuple[dict[str, str], float | None]]) -> list[Found]:
    """As results have them; scores that are not finite (the logarithm of 0) are None."""
    return [
        {"choices": choices, "score": s if s is not None and math.isfinite(s) else None} for choices, s in architectures
    ]


def search(settings: CompareSettings, name: str, seed: int, folder: Path | None, report: Report | None = None) -> Value:
    """One search: ``found``, best first, ``per_search`` of them; ``curve``; ``cost``, its budget by name; ``seconds``.

    Raises:
        ConfigError: it found fewer; and whatever the search itself raises.
    """
    start = time.monotonic()
    with _quiet():
        value = _METHODS[type(settings.policies[name])](settings, name, seed, folder, report)
    if len(value["found"]) < settings.per_search:
        raise ConfigError(
            f"policies.{name}: per_search asks for {settings.per_search} architectures, but seed {seed} found {len(value['found'])}.",
            "Lower per_search, or let the policy find more.",
        )
    return {**value, "found": value["found"][: settings.per_search], "seconds": time.monotonic() - start}


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block NNI's strategies and tuners keep their progress to themselves: a line for every query."""
    logger = logging.getLogger("nni")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def _experiment(settings: CompareSettings, name: str, seed: int, folder: Path | None, report: Report | None) -> Value:
    from ...experiment import phases

    experiment = settings.experiment(name, seed)
    result, value = phases.run_search(experiment, seed, folder, report)
    curve = [{key: float(n) for key, n in row.items() if isinstance(n, int | float)} for row in _history(result)]
    pairs = [(entry["choices"], entry["score"]) for entry in value["result"]["found"]]
    return {"found": found(pairs), "curve": curve, "cost": {"search_epochs": float(len(curve)), "queries": 0.0}}


def _history(result: Any) -> list[dict[str, Any]]:
    """The curve of a search: of all its cycles, or of the training of its one supernet."""
    history: list[dict[str, Any]] = result.history if hasattr(result, "history") else result.trained.history
    return history


def _queries(settings: CompareSettings, name: str, seed: int, folder: Path | None, report: Report | None) -> Value:
    from . import queries

    policy, evaluation = settings.policies[name], settings.evaluation
    assert isinstance(policy, QueriesPolicy)
    looked_up = isinstance(evaluation, TableEvaluation)

    def answer(choices: dict[str, str]) -> float:
        below = None if folder is None or looked_up else folder / f"query-{queries.digest(choices)}"
        return ask(settings, choices, below)

    path = None if folder is None or looked_up else folder / "answers.json"
    asked = queries.Asked(settings.search_space, answer, path, report)
    queries.search(policy.method, settings.search_space, asked, policy.queries, seed, policy.arguments)
    cost = {"queries": float(len(asked.curve)), "search_epochs": 0.0}
    if isinstance(evaluation, StandAloneEvaluation | LanguageEvaluation):
        cost["search_epochs"] = float(len(asked.values) * evaluation.settings.epochs)
    return {"found": found(asked.best(settings.per_search)), "curve": asked.curve, "cost": cost}


def _strategy(settings: CompareSettings, name: str, seed: int, folder: Path | None, report: Report | None) -> Value:
    from .plugins import run_strategy

    return {"found": found(run_strategy(settings, name, seed, folder, report)), "curve": [], "cost": {}}


def _recurrent(settings: CompareSettings, name: str, seed: int, folder: Path | None, report: Report | None) -> Value:
    from nni_plugins.spaces.recurrent import RecurrentCell

    from . import recurrent
    from .recurrent_settings import read_recurrent

    policy, evaluation, space = settings.policies[name], settings.evaluation, settings.search_space
    assert (
        isinstance(policy, RecurrentPolicy)
        and isinstance(evaluation, LanguageEvaluation)
        and isinstance(space, RecurrentCell)
    )
    method = recurrent.METHODS[policy.method]
    result = method(seed, corpus_of(evaluation), space, read_recurrent(policy), settings.per_search, folder, report)
    pairs = [(ranked.architecture.as_dict(), ranked.score) for ranked in result.ranked]
    return {
        "found": found(pairs),
        "curve": result.curve,
        "cost": {"search_epochs": float(len(result.curve)), "queries": 0.0},
    }


_METHODS = {
    ExperimentPolicy: _experiment,
    QueriesPolicy: _queries,
    StrategyPolicy: _strategy,
    RecurrentPolicy: _recurrent,
}
