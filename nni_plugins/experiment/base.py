"""The contract of an experiment: its jobs, and what is made of their values. A study is one of these. Free of torch.

Strategies and evaluators are plugged into experiments; the engine (:mod:`nni_plugins.experiment.runner`, and
:mod:`nni_plugins.portal.tuner` under NNI) runs any of them and knows none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from nni_plugins.evaluators.base import EvaluatorPlugin, Report
from nni_plugins.evaluators.settings import Settings, read

from .jobs import Job, Plan, Value

WHOLE_SPACE = "all"
"""Stands on every axis of a job that has no architecture of its own, such as a search, which searches all at once."""
Axes = dict[str, dict[str, Any]]
"""An NNI search space: the axes of the portal's graphs."""


class ExperimentSettings(Settings):
    """What every experiment has. These are ``tuner.classArgs`` of its file."""

    retries: int = Field(2, ge=0, description="how often a job that crashed is tried again")
    threads: int | None = Field(None, ge=1, le=1024, description="CPU threads of each job; default: torch's")
    run_folder: str | None = Field(
        None, description="where checkpoints and results go; default: the NNI experiment's folder"
    )


HARMLESS = frozenset({"retries", "threads", "run_folder", "optimize_mode"})
"""Keys of any experiment's settings that no value depends on."""


class Experiment(ABC):
    """Base class of experiments. Subclasses set the class variables and fill the abstract methods; nothing but
    :meth:`prepare`, :meth:`run` and :meth:`conclude` may import torch.
    """

    name: ClassVar[str]
    """As experiment files say it: ``tuner.name``."""
    about: ClassVar[str]
    """One sentence, for lists."""
    command: ClassVar[str] = "search"
    """Of ``nni-plugins``, which runs it in this process."""
    settings_class: ClassVar[type[ExperimentSettings]]
    paths: ClassVar[tuple[str, ...]] = ()
    """Dotted keys of the settings that hold paths, relative to the file that they stand in; ``*`` is any key."""
    harmless: ClassVar[frozenset[str]] = HARMLESS
    """Keys of the settings that no value of a job depends on: they may be changed when all jobs are done."""
    keeps_weights: ClassVar[bool] = True
    """False: checkpoints of finished jobs are deleted, for weights are large and a study has many trainings."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod
    def read_settings(cls, arguments: Any, where: str) -> ExperimentSettings:
        """Of ``tuner.classArgs``; ``where`` stands before each key in messages.

        Raises:
            ConfigError: with every problem.
        """
        return read(cls.settings_class, arguments, where)

    @classmethod
    def paths_in(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """:attr:`paths`, and those that plugins say which ``arguments`` name."""
        return cls.paths

    # -- jobs ----------------------------------------------------------------------------------------------------------
    @property
    def retries(self) -> int:
        """How often a job that crashed is tried again."""
        return int(self.settings.retries)

    @property
    @abstractmethod
    def phases(self) -> tuple[str, ...]:
        """What is done, in the order in which jobs are handed out."""

    @abstractmethod
    def first_jobs(self) -> Iterable[Job]:
        """All jobs that are known before the first has run."""

    def following_jobs(self, job: Job) -> Iterable[Job]:
        """The jobs that follow from a finished one."""
        return ()

    def followers(self, job: Job) -> int:
        """How many jobs will follow from an unfinished one."""
        return 0

    def is_essential(self, job: Job) -> bool:
        """Whether the experiment has no result without it."""
        return False

    @property
    def trials(self) -> int:
        """``maxTrialNumber``: how many jobs there are in all."""
        return sum(1 + self.followers(job) for job in self.first_jobs())

    @property
    def counted(self) -> str:
        """What the trials are, in a few words, for the comment beside ``maxTrialNumber``."""
        return "the jobs of the study"

    @abstractmethod
    def identity(self, job: Job) -> dict[str, Any]:
        """All that the job's value depends on, as JSON. Jobs of equal identity share one value."""

    # -- work ----------------------------------------------------------------------------------------------------------
    @property
    def objectives(self) -> dict[str, dict[str, Any]]:
        """Name and arguments of objectives by the keys under which they stand, whose arguments are tried before a run."""
        return {}

    @property
    def evaluators(self) -> Mapping[str, EvaluatorPlugin]:
        """What evaluates its architectures, by names of the file."""
        return {}

    def check(self) -> None:
        """What the settings' own validation cannot see, without torch.

        Raises:
            ConfigError: every problem at once; DataError, TableError: of files that they name.
        """

    def prepare(self) -> None:
        """Try whatever could fail after hours, before the first job. Called in every process that runs jobs.

        Raises:
            NNIPluginsError: what would fail, and what mends it.
        """

    @abstractmethod
    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        """Do one job.

        Args:
            job: of :meth:`first_jobs` or :meth:`following_jobs`.
            folder: the job's own, for checkpoints; a call with the folder of a killed one goes on where that stopped.
            report: called with every row of its curve.
        """

    def devices(self, job: Job) -> int:
        """How many processes its training takes, which :meth:`run` starts."""
        return 1

    @abstractmethod
    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write what the finished jobs say into ``folder``, and return the content of its main file."""

    # -- what people see ---------------------------------------------------------------------------------------------
    @property
    def optimize_mode(self) -> str:
        """Of ``default``, as NNI calls it: ``maximize`` or ``minimize``."""
        return "maximize"

    @abstractmethod
    def axes(self) -> Axes:
        """The axes of the portal's graphs, of which :meth:`parameters` gives each job a value."""

    @abstractmethod
    def parameters(self, job: Job) -> dict[str, Any]:
        """The job's place on each of :meth:`axes`."""

    def curve_point(self, job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the portal gets of a row of the job's curve: ``default`` and every other number."""
        return {"default": row["loss"], **row}

    def curve_file(self, job: Job) -> str | None:
        """Below the job's folder, the rows of its curve as JSON lines; None: it keeps none."""
        return "metrics.jsonl"

    def outcome(self, job: Job) -> str:
        """A finished job's value in a few words."""
        return f"{job.value['default']:.4g}"


def choice(values: Iterable[str]) -> dict[str, Any]:
    """One of NNI's axes."""
    return {"_type": "choice", "_value": list(values)}
