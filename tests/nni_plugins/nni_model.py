"""NNI 3.0's manager in Python, counting as ``nnimanager.js`` counts, around NNI's own dispatcher and a tuner of ours.

No process, no port and no clock: a test says what trials do and when the manager's loop goes round. What NNI 3.0 does
with states, requests, numbers and parameters is kept, its losses included: at ``maxTrialNumber`` requests for trials are
dropped, after a resume only what was WAITING or RUNNING is run again, and on other machines parameters go to whichever
trial asks first.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nni.runtime import msg_dispatcher
from nni.runtime.tuner_command_channel import CommandType

from nni_plugins.portal.ledger import JOB, SAYS
from nni_plugins.portal.manager import ALIVE, Profile
from nni_plugins.portal.tuner import ExperimentTuner, job_of


@dataclass
class Trial:
    """``form``: the record that NNI shows it with; ``took``: the one that its process got. ``metrics``: of the manager's
    database.
    """

    id: str
    form: dict[str, Any]
    status: str = "WAITING"
    took: dict[str, Any] | None = None
    metrics: list[tuple[str, Any]] = field(default_factory=list)
    log: str = ""
    told: str = ""

    @property
    def job(self) -> str:
        """The one that it does."""
        return job_of((self.took or self.form)["parameters"])

    @property
    def row(self) -> dict[str, Any]:
        """As the manager's REST interface says it."""
        final = [value for kind, value in self.metrics if kind == "FINAL"]
        return {
            "id": self.id,
            "status": self.status,
            "number": self.form["parameter_id"],
            "parameters": self.form["parameters"],
            "customized": self.form["parameter_id"] is None,
            "final": final[-1] if final and self.status == "SUCCEEDED" else None,
        }


class NNI:
    """One experiment; :meth:`start` it.

    Args:
        tuner: makes the tuner, once for each session.
        maximum: ``maxTrialNumber``. concurrency: ``trialConcurrency``.
        local: trials ask the manager for their own parameters.
    """

    url = "http://localhost:8080"

    def __init__(
        self, tuner: Callable[[], ExperimentTuner], maximum: int, concurrency: int, *, local: bool = True
    ) -> None:
        self.make, self.maximum, self.concurrency, self.local = tuner, maximum, concurrency, local
        self.all: dict[str, Trial] = {}  # the database, which outlives a manager
        self.errors: list[str] = []
        self.time_is_over = False
        self.seen: list[str] = []  # the states that the experiment was in
        self.around: Callable[[Callable[[], None]], None] = lambda work: (
            work()
        )  # every call of the tuner goes through it

    # -- sessions ------------------------------------------------------------------------------------------------------
    def start(self, resume: bool = False, connects: bool = True) -> None:
        """``nnictl create``, or ``resume``. ``connects=False``: the tuner needs longer than ten seconds."""
        self.state, self.finished, self.change = "RUNNING", 0, 0
        self.active: dict[str, Trial] = {}
        self.queue: deque[tuple[dict[str, Any], Trial | None]] = deque()
        self.parameters: deque[dict[str, Any]] = deque()
        self.messages: deque[tuple[CommandType, Any]] = deque()
        recovered = [one for one in self.all.values() if one.status in ("WAITING", "RUNNING")] if resume else []
        self.submitted = len(self.all) - len(recovered)
        self.finished = self.submitted
        for one in recovered:
            one.status = "ADD_RESUMED"
            self.queue.append((one.form, one))
        if not connects:
            self.state = "ERROR"
            return
        self.tuner = self.make()
        self.tuner._manager = self  # type: ignore[assignment]
        self.tuner._watch_in = lambda seconds: None  # type: ignore[method-assign]  # a test looks when it likes
        msg_dispatcher._next_parameter_id = 0
        msg_dispatcher._trial_params.clear()
        self.dispatcher = msg_dispatcher.MsgDispatcher("ws://_unittest_placeholder_", self.tuner)
        self.dispatcher.send = self._from_tuner
        self.dispatcher.enqueue_command = lambda command, data: self.messages.append((command, data))
        self.dispatcher.report_error = self._error
        if resume:
            self.around(self.dispatcher.load_checkpoint)
        self._round()  # the manager does not wait for the tuner
        self.messages.append((CommandType.Initialize, {}))
        if resume:
            ended = [one for one in self.all.values() if one.status == "SUCCEEDED" and one.row["final"] is not None]
            data = [{"parameter": one.form["parameters"], "value": json.dumps(one.row["final"])} for one in ended]
            self.messages.append((CommandType.ImportData, data))
            again = [{**one.form, "parameter_source": "resumed"} for one in recovered]
            self.messages.append((CommandType.AddCustomizedTrialJob, again))
        self.messages.append((CommandType.RequestTrialJobs, self.concurrency))
        self.pump()
        self.loop()

    def stop(self) -> None:
        """``nnictl stop``: trials that have not ended stay WAITING or RUNNING in the database."""
        self.active.clear()
        self.queue.clear()

    def pump(self) -> None:
        """Deliver what waits for the tuner."""
        while self.messages:
            command, data = self.messages.popleft()
            self.around(lambda: self.dispatcher.process_command(command, data))  # noqa: B023

    def _from_tuner(self, command: CommandType, data: str) -> None:
        if command is CommandType.NewTrialJob:
            self.queue.append((json.loads(data), None))
            if self.state == "TUNER_NO_MORE_TRIAL":
                self._turn("RUNNING")
        elif command is CommandType.NoMoreTrialJobs:
            self._turn("TUNER_NO_MORE_TRIAL")

    def _error(self, message: str) -> None:
        self.errors.append(message)
        self._turn("ERROR")

    def _turn(self, state: str) -> None:
        if self.state not in ("ERROR", state):
            self.state = state
            self.seen.append(state)

    def loop(self) -> None:
        """Once round ``manageTrials``, and whatever the tuner answers."""
        self._round()
        self.pump()

    def _round(self) -> None:
        if self.state == "ERROR":
            return
        finished = 0
        for one in list(self.active.values()):
            if one.status not in ALIVE:
                del self.active[one.id]
                finished += 1
                event = {"trial_job_id": one.id, "event": one.status, "hyper_params": json.dumps(one.form)}
                self.messages.append((CommandType.TrialEnd, event))
        self.finished += finished
        wanted = self.change + finished
        self.change = min(wanted, 0)
        if self.time_is_over or self.submitted >= self.maximum:
            if self.state != "DONE":
                self._turn("NO_MORE_TRIAL")
                if self.finished >= self.submitted:
                    self._turn("DONE")
        else:
            if wanted > 0:
                self.messages.append((CommandType.RequestTrialJobs, wanted))
            if self.state != "TUNER_NO_MORE_TRIAL":
                self._turn("RUNNING")
            while len(self.active) < self.concurrency and self.queue and self.submitted < self.maximum:
                self._submit(*self.queue.popleft())

    def _submit(self, form: dict[str, Any], again: Trial | None) -> None:
        self.submitted += 1
        trial = again or Trial(f"T{len(self.all)}", form)
        trial.status = "WAITING"
        self.all[trial.id] = self.active[trial.id] = trial
        if again is not None:
            trial.told = trial.id  # NNI keeps them for this trial
        else:
            self.parameters.append(form)

    # -- what trials do ------------------------------------------------------------------------------------------------
    def run(self, trial: Trial) -> None:
        """Its process starts, and asks for its parameters."""
        trial.status = "RUNNING"
        if self.local or trial.told:
            trial.took = trial.form
            if not trial.told:
                self.parameters.popleft()
        else:
            trial.took = self.parameters.popleft()
        if trial.form["parameter_id"] is not None:
            trial.log += f"[now] INFO {SAYS}{trial.job}\n"

    def report(self, trial: Trial, value: dict[str, Any]) -> None:
        """Its result, which names its job unless the user submitted it."""
        assert trial.took is not None
        number = trial.took["parameter_id"]
        value = value if number is None else {**value, JOB: trial.job}
        trial.metrics.append(("FINAL", value))
        metric = {"parameter_id": number, "trial_job_id": trial.id, "type": "FINAL", "value": json.dumps(value)}
        self.messages.append((CommandType.ReportMetricData, metric))

    def end(self, trial: Trial, status: str = "SUCCEEDED") -> None:
        """Its process ends; the manager notices when it goes round."""
        trial.status = status

    def customize(self, parameters: dict[str, Any]) -> None:
        """The user submits a trial in the portal."""
        assert self.submitted < self.maximum, "reach maxTrialNum"
        self.queue.append(({"parameter_id": None, "parameter_source": "customized", "parameters": parameters}, None))

    def of(self, job: str) -> Trial:
        """The newest trial that NNI shows with ``job``, but for the user's own."""
        shown = [one for one in self.all.values() if one.form["parameter_id"] is not None]
        return [one for one in shown if job_of(one.form["parameters"]) == job][-1]

    # -- what the tuner asks of a manager --------------------------------------------------------------------------------
    def profile(self) -> Profile:
        return Profile(self.maximum, self.concurrency, self.local, "10.0.0.1")

    def status(self) -> tuple[str, list[str]]:
        return self.state, self.errors

    def submissions(self) -> int:
        return len(self.all)

    def trials(self) -> list[dict[str, Any]]:
        return [one.row for one in self.all.values()]

    def alive(self) -> list[dict[str, Any]]:
        return [one.row for one in self.active.values() if one.status in ALIVE]

    def trial_state(self, trial: str) -> str:
        return self.all[trial].status

    def metrics(self, trial: str) -> list[tuple[str, Any]]:
        return self.all[trial].metrics

    def log(self, trial: str) -> str:
        return self.all[trial].log

    def set_max_trials(self, number: int) -> None:
        self.maximum = number
