"""The tuners that bring our strategies into NNI's portal. Free of torch: NNI gives a tuner ten seconds to connect.

A tuner plans an experiment (:mod:`nni_plugins.experiment.jobs`), hands out trials, and writes down every
event before it answers. How NNI 3.0 calls a tuner, from two threads and with ids that start anew on resume, is the
reason for most of what stands here. What NNI does not tell - trials that it runs again, ends without a result, requests
that it drops at ``maxTrialNumber``, what the user changes in the portal - is looked up every few seconds.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import nni
from nni.tuner import Tuner

from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.files import atomic_write
from nni_plugins.spaces import registry
from nni_plugins.spaces.errors import NNIPluginsError

from ..experiment.base import Experiment
from ..experiment.jobs import Job, Plan, Value
from ..experiment.kinds import load_experiment
from ..experiment.store import Store
from .database import cancelled_by_user
from .journal import Journal
from .ledger import JOB, Ending, Ledger, job_in
from .manager import ENDED_WITHOUT_RESULT, Manager, ManagerError, Profile, address_for_others

_logger = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
STATE = "plan.jsonl"
ERROR = "error.txt"


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


def _needs_torch(arguments: dict[str, Any]) -> bool:
    """Whether the experiment's space is one that only modules describe."""
    space = arguments.get("space")
    name = space.get("name") if isinstance(space, dict) else None
    try:
        return isinstance(name, str) and bool(getattr(registry.get("spaces", name), "needs_torch", False))
    except NNIPluginsError:
        return False  # reading the arguments says what is wrong


class ExperimentTuner(Tuner):
    """Base of our tuners; subclasses say which settings they take. Constructor arguments are the YAML's
    ``tuner.classArgs``.
    """

    experiment_class: ClassVar[type[Experiment]]
    watch_seconds: ClassVar[float] = 5
    """How often the manager is asked; less often where its answers take longer than a twentieth of it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._send: Callable[[int, dict[str, Any]], None] | None = None
        self._ledger = Ledger()
        self._owed: list[int] = []
        self._resumed, self._begun, self._concluded, self._failed = False, False, False, False
        self._profile: Profile | None = None
        self._over = 0  # looks in a row that found no trial allowed
        self._manager = Manager.of_tuner()
        self._problem: NNIPluginsError | None = None
        self._waiting: dict[str, Any] | None = arguments
        if not _needs_torch(arguments):
            self._read_arguments()

    def _read_arguments(self) -> None:
        """Once: at the start, or, where that takes longer than the ten seconds in which a tuner must connect, when NNI
        first asks for something.
        """
        if self._waiting is None:
            return
        arguments, self._waiting = self._waiting, None
        try:
            self._begin(arguments)
        except NNIPluginsError as error:
            # Raising at the start would only show "Tuner did not connect in 10 seconds" in the portal; the first
            # request reports it instead.
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

    @property
    def _journal(self) -> Journal:
        return Journal(self.checkpoint_folder / STATE)

    @property
    def _dispatcher(self) -> Any:
        """NNI's, which calls this tuner."""
        return self._send.__self__  # type: ignore[union-attr]

    def _report(self, message: str) -> None:
        """Make the experiment's status ERROR; before the first request there is no way but to end the process.

        NNI's manager writes ``message`` into its log and shows a sentence of its own ("Dispatcher stream error"), so
        the message is also left in :data:`ERROR`.
        """
        _logger.error("%s", message)
        self._failed = True
        atomic_write(self.checkpoint_folder / ERROR, f"{message}\n".encode())
        if self._send is None:
            os._exit(2)
        self._dispatcher.report_error(message)

    def _save(self, names: Iterable[str]) -> None:
        self._journal.add([self.plan.entry(name) for name in names])

    # -- what NNI calls ------------------------------------------------------------------------------------------------
    def update_search_space(self, search_space: dict[str, Any]) -> None:
        """The axes of the portal's graphs; what is searched follows from ``classArgs.space``, also where the user
        changes them.
        """
        if self._begun:
            _logger.warning("the changed searchSpace only moves the portal's axes; what is searched is classArgs.space")

    @guarded
    def generate_multiple_parameters(self, parameter_id_list: list[int], **kwargs: Any) -> list[dict[str, Any]]:
        """As many trials as are ready; the other ids are owed and served by call-back when something becomes ready."""
        self._send = kwargs["st_callback"]
        self._read_arguments()
        if self._problem is not None:
            raise self._problem
        if not self._begun:
            self._begun = True
            self._first_request()
        given: list[dict[str, Any]] = []
        for number in parameter_id_list:
            job = None if self._owed else self.plan.next()
            if job is None:
                self._owed.append(number)
            else:
                given.append(self._issue(number, job))
        self._conclude()
        return given

    @guarded
    def receive_trial_result(self, parameter_id: int, parameters: Any, value: Any, **kwargs: Any) -> None:
        """A final metric. The job that it names counts, neither ``parameter_id`` nor ``parameters``."""
        name = job_in(value)
        if name is not None and name in self.plan.jobs:
            self._done(name, value)
        else:
            _logger.warning("a final metric names no job of this experiment: %s", str(value)[:200])

    @guarded
    def trial_end(self, parameter_id: int | None, success: bool, **kwargs: Any) -> None:
        """The end of any trial, perhaps before its result; trials that the user submitted in the portal have no id and do
        not concern the plan.
        """
        one = None if parameter_id is None else self._ledger.handed.get(parameter_id)
        if one is None:
            return
        one.ended = True  # whether with a result is seen when it is looked up, for that may come later
        if self._manager is None or (success and self.plan.jobs[one.job].status == "done"):
            del self._ledger.handed[one.number]
            if not success:
                self._crashed(one.job, None)
        elif not success:
            try:
                self._apply(self._ledger.end(one.number, self._manager, self._local))
            except ManagerError as error:
                _logger.warning("%s", error)  # the next look finds it
        self._conclude()
        if self._concluded:
            self._allow_trials()

    @guarded
    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Finished trials, after a resume; what names no job of ours, such as the user's own trials, is ignored."""
        if self._problem is not None:
            return
        for entry in data:
            value = entry.get("value")
            value = nni.load(value) if isinstance(value, str) else value
            name = job_in(value)
            if name is not None and name in self.plan.jobs:
                self._done(name, cast(Value, value))

    @guarded
    def load_checkpoint(self) -> None:
        """Called once, when the experiment is resumed, before anything else."""
        self._resumed = True
        self._read_arguments()
        if self._problem is not None:
            return
        for entry in self._journal.read():
            try:
                self.plan.replay(entry)
            except (KeyError, TypeError):
                raise CheckpointError(
                    f"{self._journal.path} is of another experiment: it has no job {entry.get('job')!r}.",
                    "Restore it, or start a new experiment.",
                ) from None
        (self.checkpoint_folder / ERROR).unlink(missing_ok=True)
        revived = [job.name for job in self.plan.try_again()]
        if revived:
            _logger.warning("tried again, for the experiment is resumed: %s", ", ".join(revived))
            self._save(revived)

    def save_checkpoint(self) -> None:
        """NNI 3.0 never calls it; every event is saved when it happens."""

    # -- events --------------------------------------------------------------------------------------------------------
    def _issue(self, number: int, job: Job) -> dict[str, Any]:
        self._ledger.hand_out(number, job.name)
        self._save([job.name])
        settings = {**self.experiment.settings.model_dump(mode="json"), "run_folder": str(self.folder)}
        trial = {
            "experiment": self.experiment.name,
            "job": job.name,
            "described": job.described(),
            "settings": settings,
            "manager": None if self._manager is None else address_for_others(self._manager, self._profile),
        }
        return {**self.experiment.parameters(job), "trial": {**trial, "known": self.plan.known(job)}}

    def _done(self, name: str, value: Value) -> None:
        if self.plan.jobs[name].status != "done":
            value = {key: part for key, part in value.items() if key != JOB}
            self.store.save(self.plan.jobs[name], value)
            self.plan.done(name, value)
            self._save([name])
        self._serve_owed()
        self._conclude()

    def _crashed(self, name: str, trial: str | None) -> None:
        if name not in self.plan.jobs or self.plan.jobs[name].status != "running":
            return
        cancelled = trial is not None and cancelled_by_user(self.checkpoint_folder.parent, trial)
        again = self.plan.crashed(name, again=not cancelled)
        _logger.warning(
            "job %s (trial %s) ended without a result%s", name, trial, "; it is tried again" if again else ""
        )
        self._save([name])
        failed = self.plan.fatal
        if failed is not None:
            what = "was cancelled" if cancelled else f"crashed {failed.crashes} times"
            self._report(
                f"{failed.name} {what}, so there is no result.\n{self._last_words(trial)}"
                "Mend the cause (the trial's folder has all it printed), then go on: nnictl stop, nnictl resume."
            )
            return
        self._allow_trials()
        self._serve_owed()

    def _last_words(self, trial: str | None) -> str:
        """The last lines that a trial on this machine wrote to its stderr."""
        path = self.checkpoint_folder.parent / "environments" / "local-env" / "trials" / str(trial) / "trial.stderr"
        lines = path.read_text(errors="replace").strip().splitlines()[-2:] if path.is_file() else []
        return "".join(f"The trial said: {line[:300]}\n" for line in lines)

    def _serve_owed(self) -> None:
        while self._owed and self._send is not None and not self._failed:
            job = self.plan.next()
            if job is None:
                return
            number = self._owed.pop(0)
            self._send(number, self._issue(number, job))

    def _conclude(self) -> None:
        """Write the results, once, and let NNI end the experiment."""
        if self._problem is None and not self._concluded and self.plan.finished and self.plan.fatal is None:
            self.experiment.conclude(self.plan, self.folder)
            self._concluded = True
            (self.checkpoint_folder / ERROR).unlink(missing_ok=True)
            self._allow_trials()

    # -- the manager ---------------------------------------------------------------------------------------------------
    @property
    def _local(self) -> bool:
        return self._profile is not None and self._profile.local

    def _first_request(self) -> None:
        if self._resumed:
            self._take_stock()
        self._allow_trials()
        if self._manager is not None:
            self._watch_in(self.watch_seconds)

    def _take_stock(self) -> None:
        """After a resume NNI runs again whatever was WAITING or RUNNING, keeps the ends of those trials to itself, and
        never runs the others, whatever state it shows them in: their jobs are handed out once more.
        """
        running, again = set(self.plan.running), set()
        for number, parameters in self._dispatcher.recovered_trial_params.items():
            name = job_of(parameters)
            if name in running:
                again.add(name)
                self._ledger.hand_out(number, name, resumed=True)
        lost = sorted(running - again)
        newest = {}
        if lost and self._manager is not None:
            newest = {job_of(row["parameters"]): row for row in self._manager.trials() if not row["customized"]}
        for name in lost:
            trial = newest.get(name)
            if trial is not None and trial["status"] in ENDED_WITHOUT_RESULT:
                self._crashed(name, trial["id"])
            else:
                self.plan.release(name)
                self._save([name])

    def _allow_trials(self) -> None:
        """Keep ``maxTrialNumber`` one above what the plan needs, for at that number NNI drops its requests and calls the
        experiment DONE, whatever is still to be done; and at what there is once the results are written.
        """
        if self._manager is None:
            return
        try:
            self._profile = self._manager.profile()
            self._ledger.see(self._manager)
            needed = self._manager.submissions() + self._ledger.unseen + self.plan.remaining + (not self._concluded)
            if self._profile.maximum != needed and (self._profile.maximum is not None or self._concluded):
                self._manager.set_max_trials(needed)
        except ManagerError as error:
            _logger.warning("%s", error)  # the next look tries it again

    def _watch_in(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._watch)
        timer.daemon = True
        timer.start()

    def _watch(self) -> None:
        started = time.monotonic()
        try:
            self.look()
        except Exception:
            return  # it was reported
        self._watch_in(max(self.watch_seconds, 20 * (time.monotonic() - started)))

    @guarded
    def look(self) -> None:
        """Compare the plan with what the manager knows, and mend what differs."""
        if self._manager is None or self._failed:
            return
        try:
            self._apply(self._ledger.look(self._manager, self._local, self.plan.running))
            self._allow_trials()
            self._ask_for_requests()
            self._say_why_nothing_happens()
        except ManagerError as error:
            _logger.warning("%s", error)

    def _apply(self, endings: Iterable[Ending]) -> None:
        for ending in endings:
            if ending.job not in self.plan.jobs:
                _logger.warning(
                    "trial %s names the job %s, which this experiment does not have", ending.trial, ending.job
                )
            elif ending.value is not None:
                self._done(ending.job, ending.value)
            elif ending.trial is not None:
                self._crashed(ending.job, ending.trial)
            else:
                _logger.warning("job %s was handed out, but no trial does it; it is handed out again", ending.job)
                self.plan.release(ending.job)
                self._save([ending.job])
        self._serve_owed()

    def _ask_for_requests(self) -> None:
        """NNI asks for a trial when another ends, but not while it may not start any, and never makes up for it."""
        if self._owed or self._failed or not self.plan.ready or self._profile is None:
            return
        idle = self._profile.concurrency - self._ledger.alive
        if idle > 0:
            from nni.runtime.tuner_command_channel import CommandType

            _logger.info("%d of %d places are free; asking for trials", idle, self._profile.concurrency)
            self._dispatcher.enqueue_command(CommandType.RequestTrialJobs, idle)

    def _say_why_nothing_happens(self) -> None:
        """``maxTrialNumber`` allows more, so if NNI starts none, the experiment's time is over."""
        assert self._manager is not None
        stopped = not self._concluded and self._manager.status()[0] in ("NO_MORE_TRIAL", "DONE")
        self._over = self._over + 1 if stopped else 0
        path = self.checkpoint_folder / ERROR
        if self._over == 2:
            identifier = self.checkpoint_folder.parent.name
            message = (
                f"maxExperimentDuration is over, and {self.plan.remaining + len(self.plan.running)} trials are left.\n"
                f"Go on with more time: nnictl update duration {identifier} --value 24h"
            )
            _logger.warning("%s", message)
            atomic_write(path, f"{message}\n".encode())
        elif not stopped and not self._concluded:
            path.unlink(missing_ok=True)
