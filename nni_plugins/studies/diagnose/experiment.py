"""Diagnoses as experiments: ``study`` of the file says which of the four it is. Free of torch until it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.base import Report, lasting
from nni_plugins.evaluators.data.report import tell
from nni_plugins.evaluators.diagnostics.report import write_diagnosis
from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces.errors import closest

from ...experiment.base import Axes, Experiment, choice
from ...experiment.jobs import Job, Plan, Value
from ...experiment.result import versions
from .networks import DepthQuestion, EtaQuestion, LambdaQuestion
from .options import OptionsQuestion
from .question import Condition, Question
from .settings import DiagnosisSettings

QUESTIONS: dict[str, type[Question]] = {
    "lambda": LambdaQuestion,
    "eta": EtaQuestion,
    "depth": DepthQuestion,
    "options": OptionsQuestion,
}
"""By ``study``."""


class DiagnoseExperiment(Experiment):
    """``tuner.name: Diagnose``. Of a job, ``variant`` is the name of a condition."""

    name = "Diagnose"
    about = "why differentiable searches go as they go: lambda, eta, depth or options"
    command = "diagnose"
    settings_class = DiagnosisSettings
    paths = ("data.path", "truth.table")
    settings: DiagnosisSettings

    @classmethod
    def read_settings(cls, arguments: Any, where: str) -> DiagnosisSettings:
        """Those of the diagnosis that ``study`` names."""
        study = arguments.get("study") if isinstance(arguments, Mapping) else None
        if study not in QUESTIONS:
            raise ConfigError(f"{where}study: unknown {study!r}; {closest(str(study), QUESTIONS)}")
        return read(QUESTIONS[study].settings_class, arguments, where)

    @cached_property
    def question(self) -> Question:
        """What is trained, and what it says."""
        return QUESTIONS[self.settings.study](self.settings)

    # -- jobs ----------------------------------------------------------------------------------------------------------
    @property
    def phases(self) -> tuple[str, ...]:
        """Trainings only."""
        return (self.settings.study,)

    @cached_property
    def _conditions(self) -> dict[str, Condition]:
        return self.question.conditions

    def first_jobs(self) -> Iterable[Job]:
        """One for each condition."""
        for name, condition in self._conditions.items():
            yield Job(name, self.settings.study, condition.get("seed", 0), variant=name)

    @property
    def counted(self) -> str:
        """What the trials are."""
        return " x ".join(next(iter(self._conditions.values())))

    def identity(self, job: Job) -> dict[str, Any]:
        """What the question says, the images, the objective, and the settings of the training."""
        return {
            "study": self.settings.study,
            "data": self.settings.data.model_dump(mode="json"),
            "objective": self.settings.objective,
            "training": lasting(self.settings.training.model_dump(mode="json")),
            **self.question.identity(self._conditions[job.variant]),
        }

    # -- work ----------------------------------------------------------------------------------------------------------
    @property
    def objectives(self) -> dict[str, dict[str, Any]]:
        """What is trained on."""
        return {"objective": self.settings.objective}

    def check(self) -> None:
        """As the question wants it."""
        self.question.check()

    def prepare(self) -> None:
        """Images and objective are tried."""
        self.question.prepare()

    def run(self, job: Job, folder: Path | None, report: Report | None) -> Value:
        """One training."""
        tell(self.question.data.report, folder)
        return self.question.run(self._conditions[job.variant], folder, report)

    def conclude(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """``diagnosis.json``, ``parts.csv`` and the report."""
        done = [job for job in plan.jobs.values() if job.status == "done"]
        failed = [job.name for job in plan.jobs.values() if job.status == "failed"]
        if not done:
            raise TrainingError("no training of the diagnosis has finished.", "Mend what stopped them; run it again.")
        question = self.question
        results = {
            job.variant: {key: value for key, value in job.value["result"].items() if key != "reused"} for job in done
        }
        about = {
            "study": self.settings.study,
            "title": f"Diagnosis: {question.about}",
            "settings": self.settings.model_dump(mode="json"),
            "parts": question.parts(results),
            "reading": question.reading(results),
            "failed": failed,
            "versions": versions(),
        }
        return write_diagnosis(folder, about, question.rows(results), lambda: question.figures(results))

    # -- what people see -----------------------------------------------------------------------------------------------
    def axes(self) -> Axes:
        """What is varied."""
        conditions = self._conditions.values()
        return {key: choice(dict.fromkeys(_text(c[key]) for c in conditions)) for key in next(iter(conditions))}

    def parameters(self, job: Job) -> dict[str, Any]:
        """The job's place on them."""
        return {key: _text(value) for key, value in self._conditions[job.variant].items()}

    def curve_point(self, job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
        """The loss and all other numbers; searches also say which architecture they would derive."""
        return {"default": row["loss"], **{key: value for key, value in row.items() if not isinstance(value, str)}}

    def curve_file(self, job: Job) -> str | None:
        """As the question says."""
        return self.question.curve_file


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
