"""The experiment of a strategy: one search a seed, then the named evaluations of what it found. Free of torch until it
runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from pydantic import Field, create_model, field_validator, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.base import EvaluatorPlugin, Report
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives.registered import build_objective, check_objective_name
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.evaluators.text.settings import TextSettings
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.strategies.base import Problem, SearchResult, Setup, StrategyPlugin
from nni_plugins.strategies.plugins import strategy_plugin
from nni_plugins.strategies.ranking import best

from .asking import Asked
from .base import WHOLE_SPACE, Axes, Experiment, choice
from .evaluations import EvaluatedSettings, Evaluations, evaluation_paths, require_evaluation
from .jobs import Job, Plan, Value
from .names import one_line
from .truth import TruthSettings, truth_table

COUNTED = 100_000
"""In spaces of at most this many architectures those that meet the limits are counted before the search."""
EXPERIMENT_PATHS = ("data.path", "truth.table", "search.file", "limits.latency_table")


class SearchSettings(EvaluatedSettings):
    """An experiment with searches: one a seed, then its best architectures beside random ones and baselines.

    ``evaluations: {}`` leaves it at the searches, for images without labels: what they find is listed with its score.
    """

    strategy: ClassVar[StrategyPlugin]

    data: Any = None
    objective: dict[str, Any] | None = Field(None, description="name of a registered objective, and its arguments")
    training: Any = None
    search: Any = None
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="one search for each")
    found: int = Field(5, ge=1, le=10_000, description="how many architectures of each search are listed")
    random: int = Field(5, ge=0, description="how many random architectures stand beside them")
    random_seed: int = Field(0, ge=0)
    truth: TruthSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_compare_with(cls, values: Any) -> Any:
        """Without evaluations, ``random`` is 0 unless it is given."""
        without = isinstance(values, Mapping) and "evaluations" in values and not values["evaluations"]
        return {"random": 0, **values} if without else values

    @field_validator("objective")
    @classmethod
    def _objective(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and cls.strategy.objective is None:
            raise ValueError(f"leave it out, for {cls.strategy.name} has no objective")
        if value is not None:
            try:
                check_objective_name(value)
            except NNIPluginsError as error:
                raise ValueError(one_line(error)) from None
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("seeds must be distinct and not negative")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems, space, strategy = [], self.search_space, self.strategy
        if not self.evaluations and self.random:
            problems.append(
                f"random: {self.random} architectures are evaluated by nothing; leave random out, or set it to 0"
            )
        if not self.evaluations and not strategy.searches:
            problems.append(f"evaluations: {strategy.name} has nothing to do without one")
        if strategy.data == "images" and strategy.searches and not space.takes_images:
            problems.append(f"space: networks of {space.name} take no images, and {strategy.name} searches on images")
        if strategy.data == "text" and space.takes_images:
            problems.append(f"space: networks of {space.name} take images, and {strategy.name} searches on text")
        try:
            strategy.check(self.setup())
        except NNIPluginsError as error:
            problems.append(one_line(error))
        evaluations = Evaluations(self, self.data)
        problems += evaluations.problems(self.found, self.random)
        if strategy.asks and not self.evaluations:
            problems.append(f"evaluations: {strategy.name} asks for the values of architectures, and nothing answers")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def setup(self) -> Setup:
        """What the strategy is asked."""
        space, objective = self.search_space, self.objective
        return Setup(space, self.search, self.training, objective, self.limits, self.found, self.seeds)


class SearchExperiment(Experiment):
    """Base of the experiments of all strategies; :func:`search_experiment` makes them."""

    command = "search"
    strategy: ClassVar[StrategyPlugin]
    settings: SearchSettings

    @classmethod
    def paths_in(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of the evaluations too."""
        return (*cls.paths, *evaluation_paths(arguments))

    # -- jobs ----------------------------------------------------------------------------------------------------------
    @cached_property
    def evaluations(self) -> Evaluations:
        """The named evaluations."""
        return Evaluations(self.settings, self.settings.data)

    @property
    def evaluators(self) -> Mapping[str, EvaluatorPlugin]:
        """Of the named evaluations."""
        return self.evaluations.evaluators

    @property
    def phases(self) -> tuple[str, ...]:
        """The searches, then the evaluations in their order."""
        return ("search", *self.settings.evaluations)

    def first_jobs(self) -> Iterable[Job]:
        """The searches, random architectures and baselines."""
        if self.strategy.searches:
            for seed in self.settings.seeds:
                yield Job(f"search-{seed}", "search", seed)
        random = [(choices, None) for choices in self.random_architectures]
        yield from self.evaluations.jobs("random", self.settings.random_seed, random)
        yield from self.evaluations.baseline_jobs()

    @cached_property
    def random_architectures(self) -> list[dict[str, str]]:
        """The experiment's random architectures: distinct, a function of ``random_seed`` and their number alone."""
        return self.evaluations.draw(self.settings.random, self.settings.random_seed, "random search")

    def following_jobs(self, job: Job) -> Iterable[Job]:
        """The evaluations of what a search found."""
        if job.phase != "search":
            return ()
        found = [(dict(one["choices"]), one["score"]) for one in job.value["result"]["found"]]
        return self.evaluations.jobs("found", job.seed, found)

    def followers(self, job: Job) -> int:
        """Of a search, the evaluations of what it will find."""
        return self.evaluations.count("found", self.settings.found) if job.phase == "search" else 0

    def is_essential(self, job: Job) -> bool:
        """Without one of its searches the experiment has no result."""
        return job.phase == "search"

    @property
    def counted(self) -> str:
        """What the trials are."""
        return "searches + what they find + random ones + baselines"

    def identity(self, job: Job) -> dict[str, Any]:
        """Of a search all that decides what it finds; of evaluations see :meth:`Evaluations.identity`."""
        if job.phase != "search":
            return self.evaluations.identity(job)
        return search_identity(self.settings, self.evaluations, job.seed)

    # -- work ----------------------------------------------------------------------------------------------------------
    def check(self) -> None:
        """The table of truth, the files of strategy and evaluations, and how many architectures there are."""
        truth_table(self.settings.truth, self.settings.search_space)
        self.strategy.check_files(self.settings.setup())
        self.evaluations.check_files()
        require_found(self.settings)

    @property
    def objectives(self) -> dict[str, dict[str, Any]]:
        """What is searched and evaluated with."""
        own = {} if self.settings.objective is None else {"objective": self.settings.objective}
        return {**own, **self.evaluations.objectives}

    def prepare(self) -> None:
        """What could fail after the search is tried before it."""
        self.check()
        self.evaluations.prepare(self.first_jobs())

    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        """One search, or one evaluation."""
        if job.phase != "search":
            return self.evaluations.run(job, folder, report)
        return run_search(self.settings, self.evaluations, job.seed, folder, report, self.random_architectures)

    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """``result.json``, ``architectures.csv`` and the report."""
        from .result import write_result

        return write_result(self, plan, folder)

    # -- what people see -----------------------------------------------------------------------------------------------
    @property
    def optimize_mode(self) -> str:
        """Of the first evaluation."""
        primary = self.evaluations.primary
        return "maximize" if primary is None else primary.metric.mode

    def axes(self) -> Axes:
        """One for the phase, one for where architectures come from, and one for each decision."""
        searched = [WHOLE_SPACE] if self.strategy.searches else []
        sources = [*(["search", "found"] if searched else []), "random", *self.settings.baselines]
        return {
            "phase": choice(self.phases if searched else self.phases[1:]),
            "source": choice(sources),
            **decision_axes(self.settings, bool(searched)),
        }

    def parameters(self, job: Job) -> dict[str, Any]:
        """The choices, or :data:`WHOLE_SPACE` on every axis."""
        chosen = job.choices or dict.fromkeys(self.settings.search_space.labels, WHOLE_SPACE)
        return {"phase": job.phase, "source": job.source or "search", **chosen}

    def curve_point(self, job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
        """As strategy or evaluator say."""
        if job.phase == "search":
            return self.strategy.curve_point(row)
        return self.evaluations.evaluators[job.phase].curve_point(row)

    def curve_file(self, job: Job) -> str | None:
        """As the evaluator says."""
        return "metrics.jsonl" if job.phase == "search" else self.evaluations.evaluators[job.phase].curve_file

    def outcome(self, job: Job) -> str:
        """The best score of a search, or the metric of an evaluation."""
        if job.phase == "search":
            return f"largest {self.strategy.score.text(job.value['default'])}"
        return self.evaluations.evaluators[job.phase].metric.text(job.value["default"])


@cache
def search_experiment(name: str) -> type[SearchExperiment]:
    """The experiment of the strategy that is registered as ``name``.

    Raises:
        ConfigError: no such strategy; RegistryError: it cannot be imported.
    """
    return experiment_of(strategy_plugin(name))


def experiment_of(plugin: StrategyPlugin) -> type[SearchExperiment]:
    """The experiment of ``plugin``, made from its description."""
    data: Any = {"text": TextSettings, "images": DataSettings, "none": DataSettings | None}[plugin.data]
    fields: dict[str, Any] = {
        "data": (data, ... if plugin.data == "text" else data.model_validate({}) if plugin.data == "images" else None),
        "training": _field(plugin.training_settings),
        "search": _field(plugin.search_settings),
    }
    if plugin.objective is not None:
        default = Field(dict(plugin.objective), description="name of a registered objective, and its arguments")
        fields["objective"] = (dict[str, Any], default)
    if not plugin.searches:
        fields["random"] = (int, Field(10, ge=1, description="how many random architectures are evaluated"))
    made: Any = create_model(f"{plugin.name}Settings", __base__=SearchSettings, __module__=__name__, **fields)
    made.strategy = plugin
    return type(
        f"{plugin.name}Experiment",
        (SearchExperiment,),
        {
            "name": plugin.name,
            "about": plugin.about,
            "settings_class": made,
            "strategy": plugin,
            "paths": EXPERIMENT_PATHS,
        },
    )


def _field(model: type[Settings]) -> Any:
    """A key whose default is the model's own."""
    try:
        return (model, model.model_validate({}))
    except ValueError:  # something of it must be given
        return (model, ...)


def search_identity(settings: SearchSettings, evaluations: Evaluations, seed: int) -> dict[str, Any]:
    """All that decides what a search finds; ``evaluations`` answer strategies that ask."""
    from nni_plugins.evaluators.base import lasting

    keys = {"space", "data", "objective", "training", "search", "limits", "found"}
    described = lasting(settings.model_dump(mode="json", include=keys))
    identity = {"strategy": settings.strategy.name, **described, "seed": seed}
    identity["contents"] = {**settings.limits.contents(), **settings.strategy.contents(settings.setup())}
    if settings.strategy.asks:
        primary, name = require_evaluation(evaluations, settings.strategy.name), next(iter(settings.evaluations))
        identity["asks"] = {**primary.ask_identity(), "seed": settings.evaluations[name].seed}
    return identity


def decision_axes(settings: EvaluatedSettings, searched: bool) -> Axes:
    """One for each decision of the space, with :data:`WHOLE_SPACE` where there are jobs without an architecture."""
    more = [WHOLE_SPACE] if searched or any(name for name in settings.baselines) else []
    axes = settings.search_space.nni_search_space()
    return {label: {**axis, "_value": [*axis["_value"], *more]} for label, axis in axes.items()}


# -- one search ------------------------------------------------------------------------------------------------------------
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
    data = load_training_data(settings)
    task = None if settings.objective is None else build_objective(settings.objective)
    ask = None
    if settings.strategy.asks:
        primary, name = require_evaluation(evaluations, settings.strategy.name), next(iter(settings.evaluations))
        ask = Asked(primary, settings.evaluations[name].seed, None if primary.looks_up else folder)
    return Problem(**vars(setup), data=data, task=task, seed=seed, folder=folder, report=report, ask=ask)


def load_training_data(settings: SearchSettings) -> Any:
    """The training part of the images, or the texts; None for strategies without data."""
    if settings.strategy.data == "none":
        return None
    if settings.strategy.data == "text":
        from nni_plugins.evaluators.text.corpus import read_corpus

        return read_corpus(settings.data)
    from nni_plugins.evaluators.data import load

    return load(settings.data).train


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
            "random": result.scores(space.encode([space.architecture(choices) for choices in random])),
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
    table = truth_table(settings.truth, space)
    if table is None or settings.truth is None or result.score is None:
        return
    scores = result.scores(space.encode(table.architectures))
    known = [score is not None for score in scores]
    if sum(known) > 1:
        given = [score for score in scores if score is not None]
        value["tau"] = kendall_tau(given, table.metric(settings.truth.metric)[known])
        value["result"]["scored_in_table"] = sum(known)


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


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(number) for key, number in row.items() if isinstance(number, int | float)}


def settings_of(strategy: str, arguments: Mapping[str, Any], where: str) -> SearchSettings:
    """The settings of one search by ``strategy``, as comparisons make them.

    Raises:
        ConfigError: no such strategy, or settings that do not suit it.
    """
    from nni_plugins.evaluators.settings import read

    return cast(SearchSettings, read(search_experiment(strategy.lower()).settings_class, arguments, where))
