"""``tuner.name: Compare``: a comparison whose searches and measurements are NNI's trials. Free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read

from ...portal.tuner import PhasedTuner
from .evaluation_settings import TableEvaluation
from .jobs import save, save_config
from .plan import ComparePlan
from .policy_settings import PrecomputedPolicy
from .settings import CompareSettings

EXPERIMENT = "compare"
"""What a trial's parameters name as its experiment."""


class CompareTuner(PhasedTuner):
    """Constructor arguments are the YAML's ``tuner.classArgs``, see :class:`CompareSettings`."""

    settings: CompareSettings  # type: ignore[assignment]
    plan: ComparePlan

    def _begin(self, arguments: dict[str, Any]) -> None:
        self.settings = read(CompareSettings, arguments, "tuner.classArgs.")
        self._reported, self._written = False, set[str]()
        self._refuse_relative_paths()
        self.plan = ComparePlan(self.settings)
        save_config(self.settings, self.folder)

    def _refuse_relative_paths(self) -> None:
        given: list[tuple[str, str | None]] = [("run_folder", self.settings.run_folder)]
        if isinstance(self.settings.evaluation, TableEvaluation) and self.settings.evaluation.table != "digits":
            given.append(("evaluation.table", self.settings.evaluation.table))
        given += [
            (f"policies.{name}.file", policy.file)
            for name, policy in self.settings.policies.items()
            if isinstance(policy, PrecomputedPolicy)
        ]
        for key, path in given:
            if path is not None and not Path(path).expanduser().is_absolute():
                raise ConfigError(
                    f"tuner.classArgs.{key}: must be an absolute path, but got {path!r}: NNI runs a tuner in a folder of its own."
                )

    @property
    def experiment_key(self) -> str:
        """See :data:`EXPERIMENT`."""
        return EXPERIMENT

    def _save(self) -> None:
        super()._save()
        for name, job in self.plan.jobs.items():
            if job.status == "done" and name not in self._written:
                save(self.settings, job, self.folder)
                self._written.add(name)

    def _conclude(self) -> None:
        if self._problem is None and self.plan.finished and self.plan.failed_search is None and not self._reported:
            from .result import conclude

            self._reported = True
            conclude(self.settings, self.plan, self.folder)
