"""A whole experiment in this process, without NNI: the same plan, phases and ``result.json`` as under
``nnictl create``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.training.checkpoint import diff
from nni_plugins.evaluators.training.settings import MAY_CHANGE

from ..studies.sample.trials import run_sample
from . import phases
from .plan import Job, Plan
from .result import write_result
from .settings import SampleStudyExperiment, SearchExperiment, StudySettings

Progress = Callable[[Job, dict[str, float] | None], None]
"""Called with a job and the epoch that it has just finished, or None when the job itself is finished."""


def run_experiment(settings: StudySettings, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Run or resume the experiment in ``folder``; returns the content of ``result.json``.

    Raises:
        ConfigChanged: ``folder`` holds an experiment with other settings.
    """
    config, state = folder / "config.json", folder / "plan.json"
    current = settings.model_dump(mode="json")
    if config.exists():
        changes = diff(_harmless(_read(config), settings.may_change), _harmless(current, settings.may_change))
        if changes and _begun(folder):
            raise ConfigChanged(
                f"{folder} was started with other settings: {'; '.join(changes)}.",
                "Restore them to resume, or choose another folder to start over.",
            )
    write_json(config, current)
    phases.use_threads(settings)
    plan = Plan(settings)
    if state.exists():
        plan.restore(_read(state))
        for name in plan.jobs:
            plan.release(name)
    while (job := plan.next()) is not None:
        plan.done(job.name, _run(settings, job, folder / job.name, progress))
        write_json(state, plan.state())
        if progress is not None:
            progress(job, None)
    return json.loads(write_result(settings, plan, folder).read_text())  # type: ignore[no-any-return]


def _begun(folder: Path) -> bool:
    """Whether a job of the experiment in ``folder`` has left anything; before that, corrected settings may take its
    place.
    """
    return any(path.is_dir() or path.name == "plan.json" for path in folder.iterdir())


def _read(path: Path) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged ({type(error).__name__}).", f"Restore it, or delete {path.parent} to start over."
        ) from None


def _harmless(settings: dict[str, Any], may_change: frozenset[str]) -> dict[str, Any]:
    """Settings without those that a resumed run may change: of the experiment ``may_change``, below it MAY_CHANGE."""
    return {key: _trainings(part) for key, part in settings.items() if key not in may_change}


def _trainings(part: Any) -> Any:
    return (
        {key: _trainings(value) for key, value in part.items() if key not in MAY_CHANGE}
        if isinstance(part, dict)
        else part
    )


def _run(settings: StudySettings, job: Job, folder: Path, progress: Progress | None) -> dict[str, Any]:
    def report(row: dict[str, float]) -> None:
        if progress is not None:
            progress(job, row)

    if job.phase == "search":
        assert isinstance(settings, SearchExperiment)
        return phases.run_search(settings, job.seed, folder, report)[1]
    if job.follow_up is not None:
        assert isinstance(settings, SearchExperiment)
        from .follow_ups import run_follow_up

        return run_follow_up(settings, job.follow_up, job.choices or {}, folder, report)
    if job.objective is not None:
        assert isinstance(settings, SampleStudyExperiment)
        return run_sample(settings, job.objective, job.seed, job.choices or {}, folder, report)
    return phases.run_stand_alone(settings, job.choices or {}, folder, report)
