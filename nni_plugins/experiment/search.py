"""The experiment of a strategy: one search a seed, then the named evaluations of what it found. Free of torch until it
runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import Field, create_model

from nni_plugins.evaluators.base import EvaluatorPlugin, Report
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.text.settings import TextSettings
from nni_plugins.strategies.base import StrategyPlugin
from nni_plugins.strategies.plugins import strategy_plugin

from .base import WHOLE_SPACE, Axes, Experiment, choice
from .evaluations import EvaluatedSettings, Evaluations, evaluation_paths
from .jobs import Job, Plan, Value
from .search_settings import SearchSettings
from .searching import require_found, run_search, search_devices, search_identity
from .truth import truth_table

EXPERIMENT_PATHS = ("data.path", "truth.table", "search.file", "limits.latency_table")


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
        truth_table(self.settings.truth, self.settings.search_space, self.settings.data)
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

    def devices(self, job: Job) -> int:
        """As the search's training or the evaluation says."""
        if job.phase != "search":
            return self.evaluations.devices(job)
        return search_devices(self.settings, self.evaluations)

    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """``result.json``, ``architectures.csv`` and the report."""
        from .result import write_result

        return write_result(self.settings, self.evaluations, self.random_architectures, plan, folder)

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
        return self.evaluations.evaluators[job.phase].metric.text(job.value["result"]["value"])


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


def decision_axes(settings: EvaluatedSettings, searched: bool) -> Axes:
    """One for each decision of the space, with :data:`WHOLE_SPACE` where there are jobs without an architecture."""
    more = [WHOLE_SPACE] if searched or any(name for name in settings.baselines) else []
    axes = settings.search_space.nni_search_space()
    return {label: {**axis, "_value": [*axis["_value"], *more]} for label, axis in axes.items()}


def settings_of(strategy: str, arguments: Mapping[str, Any], where: str) -> SearchSettings:
    """The settings of one search by ``strategy``, as comparisons make them.

    Raises:
        ConfigError: no such strategy, or settings that do not suit it.
    """
    from nni_plugins.evaluators.settings import read

    return cast(SearchSettings, read(search_experiment(strategy.lower()).settings_class, arguments, where))
