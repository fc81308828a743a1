"""A whole experiment on this machine, without NNI: the same plan, jobs and files as under ``nnictl create``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.locks import FolderLock
from nni_plugins.evaluators.processes import cores, started_by_torchrun, use_threads

from .alone import run_job
from .base import Experiment
from .jobs import Job, Plan, Value
from .kinds import load_experiment
from .store import Store

Progress = Callable[[Job, "dict[str, float] | None", Plan], None]
"""Called with a job and the row of its curve that it has just finished, or None when the job itself is finished."""


def run_experiment(
    experiment: Experiment,
    folder: Path,
    progress: Progress | None = None,
    *,
    only: Callable[[Job], bool] | None = None,
    processes: int | None = 1,
) -> dict[str, Any]:
    """Run or resume ``experiment`` in ``folder``; finished jobs are never repeated. Returns what its ``conclude`` does.

    Args:
        experiment: may have grown since the last time, such as by seeds.
        folder: gets ``config.json``, ``jobs/``, a folder of checkpoints for each job, and the results.
        progress: see :data:`Progress`; of jobs that run side by side only the finished ones are reported.
        only: run just these jobs now; the finished ones among the others are reported all the same.
        processes: so many jobs are run side by side; no value depends on it. None: :func:`side_by_side`. (More than one
            starts Python anew, so a script needs its ``if __name__ == "__main__"``.)

    Raises:
        ConfigError: torchrun started this process.
        ConfigChanged: a finished job was done with other settings.
        CheckpointError: another process runs an experiment in ``folder``.
        TrainingError: a process was killed more often than ``retries`` allow; and what the jobs raise.
    """
    if started_by_torchrun():
        raise ConfigError(
            "torchrun starts processes that would all run this experiment in one folder.",
            "Leave it out, and set devices in the file: each job starts its own.",
        )
    with FolderLock(folder):
        return _run(Store(experiment, folder), progress, only, processes)


def _run(
    store: Store, progress: Progress | None, only: Callable[[Job], bool] | None, processes: int | None
) -> dict[str, Any]:
    experiment, plan = store.experiment, store.recalled()
    if any(job.status == "waiting" for job in plan.jobs.values()):
        experiment.prepare()
    store.save_settings()
    use_threads(experiment.settings.threads)
    count = side_by_side(experiment.settings.threads) if processes is None else processes
    if count == 1:
        _run_here(store, plan, progress, only)
    else:
        _run_in_processes(store, plan, progress, only, count, single_here=processes is None)
    return experiment.conclude(plan, store.folder)


def report_experiment(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Report what is finished in ``folder`` once more, without running anything."""
    return experiment.conclude(Store(experiment, folder).recalled(), folder)


def side_by_side(threads: int | None) -> int:
    """How many jobs of so many threads are run at once where nobody says: as many as this machine has cores for.

    Two jobs of one thread each take 0.6 to 0.85 of the time that two threads take for one after the other
    (benchmarks/README.md). One where ``threads`` is not given, for then each takes all cores, and where a GPU would be
    shared.
    """
    import torch

    if threads is None or torch.cuda.is_available():
        return 1
    return max(1, cores() // threads)


def _next(plan: Plan, only: Callable[[Job], bool] | None, set_aside: list[Job]) -> Job | None:
    """The next job to run; those that are not wanted now are set aside as they come."""
    while (job := plan.next()) is not None:
        if only is None or only(job):
            return job
        plan.set_aside(job)
        set_aside.append(job)
    return None


def _finish(store: Store, plan: Plan, job: Job, value: Value, progress: Progress | None) -> None:
    store.save(job, value)
    plan.done(job.name, value)
    if progress is not None:
        progress(job, None, plan)


def _run_here(store: Store, plan: Plan, progress: Progress | None, only: Callable[[Job], bool] | None) -> None:
    set_aside: list[Job] = []
    while (job := _next(plan, only, set_aside)) is not None:
        _run_one(store, plan, job, progress)
    _take_back(plan, set_aside)


def _run_one(store: Store, plan: Plan, job: Job, progress: Progress | None) -> None:
    value = plan.known(job)
    if value is None:
        value = run_job(store.experiment, job, store.job_folder(job), _reporter(progress, job, plan))
    _finish(store, plan, job, value, progress)


def _take_back(plan: Plan, set_aside: Collection[Job]) -> None:
    for job in set_aside:
        plan.take_back(job)


def _reporter(progress: Progress | None, job: Job, plan: Plan) -> Report | None:
    return None if progress is None else lambda row: progress(job, row, plan)


def _run_in_processes(
    store: Store,
    plan: Plan,
    progress: Progress | None,
    only: Callable[[Job], bool] | None,
    processes: int,
    single_here: bool,
) -> None:
    """A process that is killed takes the pool with it: its jobs are tried again in another one. ``single_here``: a job
    that nothing could run beside is run in this process, where its progress can be seen.
    """
    set_aside: list[Job] = []
    while not _pool(store, plan, progress, only, processes, set_aside, single_here):
        for job in plan.of_status("running"):
            if not plan.crashed(job.name, again=True):
                raise TrainingError(
                    f"a process was killed {job.crashes} times while it ran {job.name}.",
                    "If memory was short, run fewer processes; then run the same command again.",
                )
    _take_back(plan, set_aside)


def _pool(
    store: Store,
    plan: Plan,
    progress: Progress | None,
    only: Callable[[Job], bool] | None,
    processes: int,
    set_aside: list[Job],
    single_here: bool,
) -> bool:
    """Run jobs in a pool of processes until none is left; False if one of its processes was killed."""
    experiment = store.experiment
    dumped = experiment.settings.model_dump_json()
    running: dict[Future[Value], Job] = {}
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        while True:
            ready: list[Job] = []
            while len(running) + len(ready) < processes and (job := _next(plan, only, set_aside)) is not None:
                known = plan.known(job)
                if known is None:
                    ready.append(job)
                else:
                    _finish(store, plan, job, known, progress)
            if single_here and len(ready) == 1 and not running:
                _run_one(store, plan, ready[0], progress)
                continue
            for job in ready:
                future = pool.submit(_in_process, experiment.name, dumped, job.described(), store.job_folder(job))
                running[future] = job
            if not running:
                return True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                _finish(store, plan, running[future], future.result(), progress)
                del running[future]
    except BrokenProcessPool:
        return False
    except BaseException:  # Ctrl-C, or a job that failed: Python would wait until the others have run to their end
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@lru_cache(maxsize=1)
def _loaded(name: str, dumped: str) -> Experiment:
    """The experiment, once in a process."""
    import json

    experiment = load_experiment(name, json.loads(dumped), "settings.")
    use_threads(experiment.settings.threads)
    experiment.prepare()
    return experiment


def _end_with_parent() -> None:
    """In a process of the pool: it ends when the main one is gone, also after SIGKILL. Ctrl-C is for the main one, which
    ends the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main = multiprocessing.parent_process()

    def watch() -> None:
        if main is not None:
            main.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_process(name: str, dumped: str, described: dict[str, Any], folder: Path) -> Value:
    return run_job(_loaded(name, dumped), Job(**described), folder, None)
