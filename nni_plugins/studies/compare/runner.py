"""A whole comparison in this process: the same plan, jobs and files as under ``nnictl create``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces.errors import closest

from .jobs import CONFIG, load, run_job, save, save_config
from .measure import prepare
from .plan import CompareJob, ComparePlan
from .result import Outcome, conclude
from .settings import CompareSettings

Progress = Callable[[CompareJob, dict[str, float] | None, ComparePlan], None]
"""Called with a job and the epoch (or query) that it has just finished, or None when the job itself is finished."""


def run_comparison(
    settings: CompareSettings, folder: Path, progress: Progress | None = None, only: Collection[str] = ()
) -> Outcome:
    """Run or resume the comparison in ``folder``; finished jobs are never repeated.

    Args:
        settings: policies and seeds may have been added since the last time.
        folder: ``runs/`` has a file for each finished job, ``searches/`` and ``trained/`` checkpoints, ``report/`` the
            report.
        progress: see :data:`Progress`.
        only: run just these policies now; the others' finished jobs are reported all the same.

    Raises:
        ConfigChanged: a finished job was done with other settings.
        ConfigError: ``only`` names no policy; and what the jobs raise.
    """
    names = (*settings.policies, settings.baseline)
    unknown = [name for name in only if name not in names]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: no such policy; {closest(unknown[0], names)}")
    plan = recalled(settings, folder)
    if any(job.status == "waiting" for job in plan.jobs.values()):
        prepare(settings)
    save_config(settings, folder)
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    skipped = [job for job in plan.jobs.values() if only and job.policy not in only and job.status == "waiting"]
    for one in skipped:
        one.status = "listed"
    while (job := plan.next()) is not None:
        report = None if progress is None else _reporter(progress, job, plan)
        plan.done(job.name, run_job(settings, job, folder, report, plan.known(job)))
        save(settings, job, folder)
        if progress is not None:
            progress(job, None, plan)
    for one in skipped:
        one.status = "waiting"
    return conclude(settings, plan, folder)


def _reporter(progress: Progress, job: CompareJob, plan: ComparePlan) -> Callable[[dict[str, float]], None]:
    return lambda row: progress(job, row, plan)


def recalled(settings: CompareSettings, folder: Path) -> ComparePlan:
    """The plan, in which the jobs that are finished in ``folder`` are done.

    Raises:
        ConfigChanged, CheckpointError: see :func:`jobs.load`.
    """
    plan = ComparePlan(settings)
    looked: set[str] = set()
    while names := [name for name in plan.jobs if name not in looked]:  # a finished search adds jobs
        for name in names:
            looked.add(name)
            value = load(settings, plan.jobs[name], folder)
            if value is not None:
                plan.done(name, value)
    return plan


def report_only(folder: Path, settings: CompareSettings | None = None) -> Outcome:
    """Report what is finished in ``folder`` once more, without running anything; ``settings``: the folder's own, by
    default.

    Raises:
        ConfigError: no comparison was run there, or too little of it is finished.
    """
    if settings is None:
        path = folder / CONFIG
        if not path.exists():
            raise ConfigError(
                f"{folder} holds no comparison: there is no {CONFIG}.",
                "Pass the --output folder of nni-plugins compare.",
            )
        settings = read(CompareSettings, yaml.safe_load(path.read_text()), f"{path}: ")
    outcome = conclude(settings, recalled(settings, folder), folder)
    if not outcome.files:
        raise ConfigError(
            f"{folder}: too little is finished for a report; missing: {', '.join(outcome.missing[:5])} ...",
            "Run it further first.",
        )
    return outcome
