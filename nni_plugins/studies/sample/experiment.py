"""UnNAS' sample-based experiment: every architecture of a draw, trained on every objective. Free of torch until
it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.base import Report, lasting
from nni_plugins.evaluators.reports.sample_study.report import write_study
from nni_plugins.spaces.architecture import Architecture

from ...experiment.base import HARMLESS, Axes, Experiment, choice
from ...experiment.jobs import Job, Plan, Value
from ...experiment.truth import truth_table
from .comparison import STRATEGY, study_of
from .draw import draw_samples
from .settings import SampleStudySettings

if TYPE_CHECKING:
    from .training import Part


class SampleStudyExperiment(Experiment):
    """``tuner.name: SampleStudy``. Of a job, ``variant`` is the objective and ``rank`` the architecture's place in the
    draw.
    """

    name = STRATEGY
    about = "how well accuracies on pretext tasks rank random architectures"
    command = "sample-study"
    settings_class = SampleStudySettings
    paths = ("data.path", "truth.table", "architectures", "objectives.*.data.path")
    harmless = HARMLESS | {"reference", "figures", "measure", "truth", "analysis"}
    keeps_weights = False
    settings: SampleStudySettings

    # -- jobs ----------------------------------------------------------------------------------------------------------
    @property
    def phases(self) -> tuple[str, ...]:
        """Trainings only."""
        return ("sample",)

    @cached_property
    def architectures(self) -> list[Architecture]:
        """What is drawn."""
        return draw_samples(self.settings)

    def first_jobs(self) -> Iterable[Job]:
        """One training for each seed, architecture and objective, in this order: a study that is stopped early has
        whole architectures.
        """
        for seed in self.settings.seeds:
            for i, architecture in enumerate(self.architectures, start=1):
                for name in self.settings.objectives:
                    choices = architecture.as_dict()
                    yield Job(f"sample-{i}-{name}-{seed}", "sample", seed, rank=i, choices=choices, variant=name)

    @property
    def counted(self) -> str:
        """What the trials are."""
        return "architectures x objectives x seeds"

    def identity(self, job: Job) -> dict[str, Any]:
        """The objective with its images and training, the architecture, and the seed."""
        return {
            "space": self.settings.space,
            "data": self.settings.data_of(job.variant).model_dump(mode="json"),
            "objective": lasting(self.settings.objectives[job.variant].model_dump(mode="json")),
            "choices": job.choices,
            "seed": job.seed,
        }

    # -- work ----------------------------------------------------------------------------------------------------------
    @property
    def objectives(self) -> dict[str, dict[str, Any]]:
        """All that are trained on."""
        return {f"objectives.{name}.objective": one.objective for name, one in self.settings.objectives.items()}

    def check(self) -> None:
        """The table of truth, and how many architectures there are."""
        truth_table(self.settings.truth, self.settings.search_space, self.settings.data)
        _ = self.architectures

    def prepare(self) -> None:
        """Every objective is tried on two images."""
        _ = self._parts

    @cached_property
    def _parts(self) -> dict[str, Part]:
        from .training import parts_of

        return parts_of(self.settings)

    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        """One training. ``default`` is the metric after the last epoch, whatever is compared later."""
        from .training import train_sample

        value = train_sample(self._parts[job.variant], job.choices or {}, job.seed, folder, report)
        return {"default": value["last"], **value}

    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """``study.json``, ``study.csv`` and the report."""
        return write_study(study_of(self.settings, self.architectures, plan), folder)

    # -- what people see -----------------------------------------------------------------------------------------------
    def axes(self) -> Axes:
        """One for the objective, one for the seed, and one for each decision."""
        settings = self.settings
        fixed = {"objective": choice(settings.objectives), "seed": choice(map(str, settings.seeds))}
        return {**fixed, **settings.search_space.nni_search_space()}

    def parameters(self, job: Job) -> dict[str, Any]:
        """The job's place on them."""
        return {"objective": job.variant, "seed": str(job.seed), **(job.choices or {})}

    def curve_point(self, job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: the metric on the held-out images."""
        return {"default": row["measured"], **row}

    def outcome(self, job: Job) -> str:
        """The metric after the last epoch."""
        return f"{job.value['default']:.2f} %"
