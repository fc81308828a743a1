"""The tuners that bring our strategies into NNI's portal. Free of torch: NNI gives a tuner ten seconds to connect.

A tuner plans an experiment (:mod:`nni_plugins.experiment.jobs`), hands out trials, and writes down every
event before it answers. How NNI 3.0 calls a tuner, from two threads and with ids that start anew on resume, is the
reason for most of what stands here.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import nni
from nni.tuner import Tuner

from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.files import atomic_write, read_json, write_json
from nni_plugins.spaces.errors import NNIPluginsError

from ..experiment.base import Experiment
from ..experiment.jobs import Job, Plan, Value
from ..experiment.kinds import load_experiment
from ..experiment.store import Store
from .database import cancelled_by_user
from .manager import Manager

_logger = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
STATE = "plan.json"
SCHEMA_VERSION = 1
ERROR = "error.txt"
ENDED_WITHOUT_RESULT = ("FAILED", "USER_CANCELED", "SYS_CANCELED", "EARLY_STOPPED")


def job_of(parameters: Any) -> str:
    """The job that a trial's parameters name, or ``""`` for a trial of the user's own."""
    trial = parameters.get("trial") if isinstance(parameters, dict) else None
    return str(trial.get("job", "")) if isinstance(trial, dict) else ""


def guarded(method: F) -> F:
    """One caller at a time, and errors that reach the portal: otherwise NNI leaves the experiment RUNNING for ever."""

    @functools.wraps(method)
    def wrapper(self: ExperimentTuner, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            try:
                return method(self, *args, **kwargs)
            except nni.NoMoreTrialError:
                raise
            except Exception as error:
                self._report(str(error) if isinstance(error, NNIPluginsError) else traceback.format_exc())
                raise

    return cast(F, wrapper)


class ExperimentTuner(Tuner):
    """Base of our tuners; subclasses say which settings they take. Constructor arguments are the YAML's
    ``tuner.classArgs``.
    """

    experiment_class: ClassVar[type[Experiment]]

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._send: Callable[[int, dict[str, Any]], None] | None = None
        self._names: dict[int, str] = {}
        self._owed: list[int] = []
        self._issued = 0
        self._resumed = False
        self._concluded = False
        self._manager = Manager.of_tuner()
        self._problem: NNIPluginsError | None = None
        try:
            self._begin(arguments)
        except NNIPluginsError as error:
            # Raising here would only show "Tuner did not connect in 10 seconds" in the portal; the first request
            # reports it instead.
            self._problem = error
            _logger.error("%s", error)

    def _begin(self, arguments: dict[str, Any]) -> None:
        """Check the arguments and plan the experiment; whatever is wrong is raised here."""
        self.experiment = load_experiment(self.experiment_class.name, arguments)
        self.plan = Plan(self.experiment)
        given = self.experiment.settings.run_folder
        if given is not None and not Path(given).expanduser().is_absolute():
            raise ConfigError(
                f"tuner.classArgs.run_folder: must be an absolute path, but got {given!r}: NNI runs a tuner in a folder "
                "of its own."
            )
        self.experiment.check()  # a table that cannot be read is noticed now, not after the search
        self.store.save_settings()

    @property
    def store(self) -> Store:
        """Where the values of finished jobs are kept."""
        return Store(self.experiment, self.folder)

    @property
    def checkpoint_folder(self) -> Path:
        """NNI's checkpoint folder of this experiment."""
        return Path(self.get_checkpoint_path() or ".")

    @property
    def folder(self) -> Path:
        """Where results and, if the trials can reach it, their checkpoints go."""
        return Path(self.experiment.settings.run_folder or self.checkpoint_folder.parent / "run").expanduser().resolve()

    def _report(self, message: str) -> None:
        """Make the experiment's status ERROR; before the first request there is no way but to end the process.

        NNI's manager writes ``message`` into its log and shows a sentence of its own ("Dispatcher stream error"), so
        the message is also left in :data:`ERROR`.
        """
        _logger.error("%s", message)
        atomic_write(self.checkpoint_folder / ERROR, f"{message}\n".encode())
        if self._send is None:
            os._exit(2)
        self._send.__self__.report_error(message)  # type: ignore[attr-defined]

    def _save(self) -> None:
        write_json(
            self.checkpoint_folder / STATE, {"schema": SCHEMA_VERSION, "issued": self._issued, **self.plan.state()}
        )

    # -- what NNI calls ------------------------------------------------------------------------------------------------
    def update_search_space(self, search_space: dict[str, Any]) -> None:
        """The axes of the portal's graphs; what is searched follows from ``classArgs.space``."""

    @guarded
    def generate_multiple_parameters(self, parameter_id_list: list[int], **kwargs: Any) -> list[dict[str, Any]]:
        """As many trials as are ready; the other ids are owed and served by call-back when something becomes ready."""
        self._send = kwargs["st_callback"]
        if self._problem is not None:
            raise self._problem
        self._reconcile()
        given: list[dict[str, Any]] = []
        for number in parameter_id_list:
            job = None if self._owed else self.plan.next()
            if job is None:
                self._owed.append(number)
            else:
                given.append(self._issue(number, job))
        self._save()
        return given

    @guarded
    def receive_trial_result(self, parameter_id: int, parameters: Any, value: Any, **kwargs: Any) -> None:
        """A final metric. ``parameters`` is not trusted: NNI overwrites it when trials run out."""
        if parameter_id in self._names:
            self._done(self._names[parameter_id], value)

    @guarded
    def trial_end(self, parameter_id: int | None, success: bool, **kwargs: Any) -> None:
        """The end of any trial; trials that the user submitted in the portal have no id and do not concern the plan."""
        name = None if parameter_id is None else self._names.get(parameter_id)
        if not success and name is not None:
            self._crashed(name)
        self._conclude()

    @guarded
    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Finished trials, after a resume; entries that are not ours are ignored."""
        if self._problem is not None:
            return
        for entry in data:
            parameters, value = entry.get("parameter"), entry.get("value")
            value = json.loads(value) if isinstance(value, str) else value
            name = job_of(parameters)
            if name in self.plan.jobs and isinstance(value, dict):
                self._done(name, value)

    @guarded
    def load_checkpoint(self) -> None:
        """Called once, when the experiment is resumed, before anything else."""
        path = self.checkpoint_folder / STATE
        if self._problem is None and path.exists():
            remedy = f"Restore {path}, or start the experiment again: finished jobs are not repeated in its run_folder."
            state = read_json(path, remedy, SCHEMA_VERSION)
            try:
                issued = int(state["issued"])
                self.plan.restore(state)
            except (KeyError, TypeError, ValueError, AttributeError, ConfigError):
                raise CheckpointError(f"{path} is damaged.", remedy) from None
            self._issued, self._resumed = issued, True

    def save_checkpoint(self) -> None:
        """NNI 3.0 never calls it; every event is saved when it happens."""

    # -- events --------------------------------------------------------------------------------------------------------
    def _issue(self, number: int, job: Job) -> dict[str, Any]:
        self._names[number] = job.name
        self._issued += 1
        settings = {**self.experiment.settings.model_dump(mode="json"), "run_folder": str(self.folder)}
        trial = {
            "experiment": self.experiment.name,
            "job": job.name,
            "described": job.described(),
            "settings": settings,
        }
        return {**self.experiment.parameters(job), "trial": {**trial, "known": self.plan.known(job)}}

    def _done(self, name: str, value: Value) -> None:
        if self.plan.jobs[name].status != "done":
            self.store.save(self.plan.jobs[name], value)
            self._concluded = False
        self.plan.done(name, value)
        self._save()
        self._serve_owed()
        self._conclude()

    def _crashed(self, name: str) -> None:
        trial = self._trials().get(name)
        cancelled = trial is not None and cancelled_by_user(self.checkpoint_folder.parent, trial["id"])
        again = self.plan.crashed(name, again=not cancelled)
        _logger.warning(
            "job %s (trial %s) ended without a result%s",
            name,
            trial and trial["id"],
            "; it is tried again" if again else "",
        )
        self._save()
        failed = self.plan.fatal
        if failed is not None:
            what = "was cancelled" if cancelled else f"crashed {failed.crashes} times"
            words = self._last_words(None if trial is None else trial["id"])
            self._report(
                f"{failed.name} {what}, so there is no result.\n{words}"
                f"Mend the cause (the trial's folder has all it printed), and start the experiment again."
            )
        elif again:
            self._adjust_max_trials()
            self._serve_owed()

    def _last_words(self, trial: str | None) -> str:
        """The last lines that a trial on this machine wrote to its stderr."""
        path = self.checkpoint_folder.parent / "environments" / "local-env" / "trials" / str(trial) / "trial.stderr"
        lines = path.read_text(errors="replace").strip().splitlines()[-2:] if path.is_file() else []
        return "".join(f"The trial said: {line[:300]}\n" for line in lines)

    def _serve_owed(self) -> None:
        while self._owed and self._send is not None:
            job = self.plan.next()
            if job is None:
                return
            number = self._owed.pop(0)
            parameters = self._issue(number, job)
            self._save()
            self._send(number, parameters)

    def _conclude(self) -> None:
        """Write the results, once: NNI tells the last trial's result and its end one after the other."""
        if self._problem is None and not self._concluded and self.plan.finished and self.plan.fatal is None:
            self.experiment.conclude(self.plan, self.folder)
            self._concluded = True

    # -- the manager ---------------------------------------------------------------------------------------------------
    def _trials(self) -> dict[str, dict[str, Any]]:
        """The newest trial of each job, as the manager knows them; those that the user submitted in the portal are left
        out.
        """
        trials = [] if self._manager is None else self._manager.trials()
        return {job_of(trial["parameters"]): trial for trial in trials if not trial["customized"]}

    def _adjust_max_trials(self) -> None:
        """A trial more than planned needs a larger ``maxTrialNumber``, or NNI ends the experiment before its last
        trial.
        """
        if self._manager is not None:
            foreign = sum(trial["customized"] for trial in self._manager.trials())
            self._manager.set_max_trials(foreign + self._issued + self.plan.remaining)

    def _reconcile(self) -> None:
        """After a resume NNI keeps the end of re-run trials to itself: ask the manager which of them ended without a
        result.
        """
        if not self._resumed or self._manager is None:
            return
        trials = self._trials()
        for job in list(self.plan.jobs.values()):
            if job.status != "running" or job.name in self._names.values():
                continue
            trial = trials.get(job.name)
            if trial is None:  # it was still in the manager's queue, which does not outlive the manager
                self._issued -= 1
                self.plan.release(job.name)
            elif trial["status"] in ENDED_WITHOUT_RESULT:
                self._crashed(job.name)
