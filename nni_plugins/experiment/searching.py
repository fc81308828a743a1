"""One search of an experiment: what it is given, what its value depends on, and what its trial reports. Free of torch until
it runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.strategies.base import Problem, SearchResult
from nni_plugins.strategies.degenerate import degenerate
from nni_plugins.strategies.ranking import best

from .asking import Asked
from .evaluations import Evaluations, require_evaluation
from .jobs import Value
from .search_settings import SearchSettings
from .truth import truth_table

COUNTED = 100_000
"""In spaces of at most this many architectures those that meet the limits are counted before the search."""


def search_identity(settings: SearchSettings, evaluations: Evaluations, seed: int) -> dict[str, Any]:
    """All that decides what a search finds; ``evaluations`` answer strategies that ask."""
    from nni_plugins.evaluators.base import lasting

    keys = {"space", "data", "objective", "training", "search", "limits", "found", "search_limit"}
    described = lasting(settings.model_dump(mode="json", include=keys))
    identity = {"strategy": settings.strategy.name, **described, "seed": seed}
    identity["contents"] = {**settings.limits.contents(), **settings.strategy.contents(settings.setup())}
    if settings.strategy.asks:
        primary, name = require_evaluation(evaluations, settings.strategy.name), next(iter(settings.evaluations))
        identity["asks"] = {**primary.ask_identity(), "seed": settings.evaluations[name].seed}
    return identity


def search_devices(settings: SearchSettings, evaluations: Evaluations) -> int:
    """How many processes a search takes; ``evaluations`` answer strategies that ask."""
    if settings.strategy.asks:
        return require_evaluation(evaluations, settings.strategy.name).devices
    return int(getattr(settings.training, "devices", 1))


def require_found(settings: SearchSettings, key: str = "found") -> None:
    """The search must be able to find as many architectures as are wanted, by ``key`` of the file.

    Raises:
        ConfigError: it cannot.
    """
    space = settings.search_space
    if space.size > COUNTED or not settings.strategy.searches:
        return
    indices = space.enumerate()
    indices = indices[settings.limits.mask(space, indices)]
    _enough(settings, len(best(space, indices, np.zeros(len(indices)), settings.found)) if len(indices) else 0, key)


def _enough(settings: SearchSettings, distinct: int, key: str) -> None:
    if distinct < settings.found:
        limited = settings.limits.given
        raise ConfigError(
            f"{key}: {settings.found} architectures are wanted, but only {distinct} distinct ones "
            f"{'meet the limits' if limited else 'exist'}.",
            f"Lower tuner.classArgs.{key}{', or raise tuner.classArgs.limits' if limited else ''}.",
        )


def problem_of(
    settings: SearchSettings,
    evaluations: Evaluations,
    seed: int,
    folder: Path | None,
    report: Report | None,
) -> Problem:
    """What a search is given, with its data loaded."""
    setup = settings.setup()
    data = load_training_data(settings, folder)
    task = None if settings.objective is None else build_objective(settings.objective)
    ask = None
    if settings.strategy.asks:
        primary, name = require_evaluation(evaluations, settings.strategy.name), next(iter(settings.evaluations))
        ask = Asked(primary, settings.evaluations[name].seed, None if primary.looks_up else folder)
    return Problem(**vars(setup), data=data, task=task, seed=seed, folder=folder, report=report, ask=ask)


def load_training_data(settings: SearchSettings, folder: Path | None = None) -> Any:
    """The training part of the images, or the texts; None for strategies without data. ``folder`` gets ``data.json``."""
    if settings.strategy.data == "none":
        return None
    if settings.strategy.data == "text":
        from nni_plugins.evaluators.text.corpus import read_corpus

        return read_corpus(settings.data)
    from nni_plugins.evaluators.data import load
    from nni_plugins.evaluators.data.report import tell

    data = load(settings.data)
    train = data.limited(settings.search_limit, settings.data.limit_seed).train
    if data.report is not None:
        tell(data.report.limited("train", len(train), "not drawn (search_limit)"), folder)
    return train


def run_search(
    settings: SearchSettings,
    evaluations: Evaluations,
    seed: int,
    folder: Path | None,
    report: Report | None,
    random: list[dict[str, str]],
    key: str = "found",
) -> Value:
    """One search; returns what its trial reports: ``default`` (the largest score), the same by its name, ``loss`` of the
    last epoch, ``tau``, and ``result`` with what was found.

    Raises:
        ConfigError: it found fewer than ``key`` of the file asks for; and what the strategy raises.
    """
    started = time.monotonic()
    problem = problem_of(settings, evaluations, seed, folder, report)
    result = settings.strategy.search(problem)
    _enough(settings, len(result.ranked), key)
    space, score = settings.search_space, settings.strategy.score
    top = result.ranked[0].score
    value: Value = {
        "default": top,
        score.key: top,
        **({"loss": result.curve[-1]["loss"]} if result.curve and "loss" in result.curve[-1] else {}),
        **result.numbers,
        # One key for everything that is not a number: the portal draws an axis for each key.
        "result": {
            "found": [{"choices": one.architecture.as_dict(), "score": _finite(one.score)} for one in result.ranked],
            "random": [
                None if score is None else _finite(score)
                for score in result.scores(space.encode([space.architecture(choices) for choices in random]))
            ],
            "warnings": [*result.warnings, *degenerate(space, [one.architecture for one in result.ranked])],
            **_counted_as(settings, problem),
            "curve": [_numbers(row) for row in result.curve],
            "cost": {**result.cost, **_asked_cost(problem, result)},
            **result.details,
        },
    }
    _judge(settings, space, result, value)
    return {**value, "seconds": time.monotonic() - started}


def _asked_cost(problem: Problem, result: SearchResult) -> dict[str, float]:
    """The budget of what was asked, with what the strategy spent of the same name."""
    asked = problem.ask.cost if isinstance(problem.ask, Asked) else {}
    return {name: result.cost.get(name, 0.0) + spent for name, spent in asked.items()}


def _judge(settings: SearchSettings, space: SearchSpace, result: SearchResult, value: Value) -> None:
    """``tau`` of the scores of all architectures of the table of truth, as far as they can be scored."""
    table = truth_table(settings.truth, space, settings.data)
    if table is None or settings.truth is None or result.score is None:
        return
    scores = result.scores(space.encode(table.architectures))
    true = table.metric(settings.truth.metric)
    pairs = [(s, t) for s, t in zip(scores, true.tolist(), strict=True) if s is not None and np.isfinite(t)]
    known = np.array([s for s, _ in pairs])
    if len(known) > 1:
        value["tau"] = kendall_tau(_below_all(known), [t for _, t in pairs])
        value["result"]["scored_in_table"] = len(known)


def _counted_as(settings: SearchSettings, problem: Problem) -> dict[str, Any]:
    """The images' size and the head with which parameters and multiply-adds are counted."""
    if settings.strategy.data != "images" or problem.task is None:
        return {}
    from nni_plugins.evaluators.objectives import fitted

    counted = fitted(problem.space, problem.task, problem.data)
    size = {"image_size": list(problem.data.input_size)}
    if not isinstance(counted, ImageSpace):
        return size
    return {**size, "head": [counted.head.config(), counted.classes, counted.input_channels]}


def _below_all(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``scores`` with one below all others in place of those that are undefined (-inf)."""
    defined = np.isfinite(scores)
    least = scores[defined].min() if defined.any() else 0.0
    return np.where(defined, scores, least - max(1.0, abs(least)))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(number) for key, number in row.items() if isinstance(number, int | float)}
