"""``tuner.name: NAO``: a plain NNI tuner over any exported search space, without weight sharing. Free of torch until
the first round.

Your own trial command trains what it gets from ``nni.get_next_parameter()``. The tuner learns an encoder and a decoder
of the parameters, and moves the best ones uphill (:mod:`nni_plugins.strategies.nao`). Its controller is trained in a
thread, while NNI's messages are answered. Everything that happened is in :data:`STATE` before NNI hears an answer; what
a round proposes is a function of that file.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from nni.tuner import Tuner
from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.files import atomic_write, read_json, write_json
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces.errors import NNIPluginsError, shown
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.nao.ask_tell import AskTell, Proposed, work
from nni_plugins.strategies.nao.codecs import ParameterCodec
from nni_plugins.strategies.nao.settings import TrialsSettings

from .manager import ENDED_WITHOUT_RESULT, NOT_RESUMED, Manager, ManagerError
from .tuner import ERROR, guarded

_logger = logging.getLogger(__name__)
STATE = "nao.json"
SCHEMA_VERSION = 1
GRACE_SECONDS = 10.0
"""A trial's end and its final metric reach a tuner through two threads: so long a trial that succeeded may be without a
metric.
"""
WATCH_SECONDS = 10.0
"""How often the manager is asked about trials that an earlier process of this tuner started: NNI keeps their ends to
itself.
"""


class NAOTunerSettings(TrialsSettings):
    """``tuner.classArgs``."""

    optimize_mode: Literal["maximize", "minimize"] = Field(
        "maximize", description="of the final metric, or of its key ``default``"
    )
    space: dict[str, Any] | None = Field(
        None,
        description="the registered space that searchSpace was exported from, with its arguments: symmetric twins are then tried once",
    )
    rounds: int | None = Field(None, ge=0, description="default: until maxTrialNumber or maxExperimentDuration")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _space(self) -> Self:
        if self.space is not None:
            try:
                build_space(self.space)
            except NNIPluginsError as error:
                raise ValueError(f"space: {error}".replace("\n", " ")) from None
        return self


def metric_of(value: Any) -> float:
    """The number in a trial's final metric.

    Raises:
        ConfigError: neither a number nor a dictionary with a number as ``default``.
    """
    number = value.get("default") if isinstance(value, Mapping) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ConfigError(
            f"the final metric must be a number, or a dictionary with a number as 'default', but a trial reported {shown(value)}.",
            "Mend the trial's nni.report_final_result(...).",
        )
    return float(number)


class NAOTuner(Tuner):  # type: ignore[misc]
    """The tuner. Constructor arguments are the YAML's ``tuner.classArgs``, see :class:`NAOTunerSettings`.

    ``threaded=False`` computes rounds at once, in the thread that reports the last result: for studies that drive the
    class directly.
    """

    def __init__(self, *, threaded: bool = True, **arguments: Any) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._threaded = threaded
        self._send: Callable[[int, dict[str, Any]], None] | None = None
        self._numbers: dict[int, int] = {}  # NNI's parameter ids, which start anew on resume -> trials
        self._owed: list[int] = []
        self._recovered: set[int] = set()
        self._resumed: dict[str, Any] | None = None
        self._worker: threading.Thread | None = None
        self._watched = False
        self._manager = Manager.of_tuner()
        self._problem: NNIPluginsError | None = None
        self.codec: ParameterCodec | None = None
        try:
            self.settings = read(NAOTunerSettings, arguments, "tuner.classArgs.")
        except NNIPluginsError as error:
            self._refuse(error)

    def _refuse(self, error: NNIPluginsError) -> None:
        """Raising at the start would only show "Tuner did not connect in 10 seconds" in the portal; the first request
        reports it instead.
        """
        self._problem = self._problem or error
        _logger.error("%s", error)

    @property
    def checkpoint_folder(self) -> Path:
        """NNI's checkpoint folder of this experiment."""
        return Path(self.get_checkpoint_path() or ".")

    def _report(self, message: str) -> None:
        """Make the experiment's status ERROR, and leave ``message`` where people find it."""
        _logger.error("%s", message)
        atomic_write(self.checkpoint_folder / ERROR, f"{message}\n".encode())
        if self._send is None:
            os._exit(2)
        dispatcher = getattr(self._send, "__self__", None)
        if dispatcher is not None:
            dispatcher.report_error(message)

    def _save(self) -> None:
        assert self.codec is not None
        write_json(self.checkpoint_folder / STATE, {"schema": SCHEMA_VERSION, **self._identity(), **self.state.state()})

    def _identity(self) -> dict[str, Any]:
        """What a resumed experiment must have in common with its state."""
        assert self.codec is not None
        settings = self.settings.model_dump(mode="json", exclude={"rounds"})
        return {"values": self.codec.values, "settings": settings}

    # -- what NNI calls ------------------------------------------------------------------------------------------------
    @guarded
    def update_search_space(self, search_space: dict[str, Any]) -> None:
        """Once at the start; a change of a running experiment's search space is refused."""
        if self._problem is not None:
            return
        try:
            space = None if self.settings.space is None else build_space(self.settings.space)
            codec = ParameterCodec(search_space, space)
            if self.codec is not None and self.codec.values != codec.values:
                raise ConfigError(
                    "searchSpace: changed while NAO searches it; its trials would mean something else.",
                    "Start a new experiment.",
                )
        except NNIPluginsError as error:
            if self._send is not None:
                raise
            self._refuse(error)
            return
        if self.codec is not None:
            return
        self.codec = codec
        s = self.settings
        self.state = AskTell(codec, s.initial, s.rounds, s.controller, s.proposals, s.seed)
        if self._resumed is not None:
            mine = json.loads(json.dumps(self._identity()))
            changed = [key for key, value in mine.items() if self._resumed.get(key) != value]
            if changed:
                self._refuse(
                    ConfigError(
                        f"this experiment was started with other {' and other '.join(changed)}.",
                        "Start a new experiment.",
                    )
                )
                return
            try:
                self.state.restore(self._resumed)
            except (KeyError, TypeError, ValueError):
                damaged = f"{self.checkpoint_folder / STATE} is damaged."
                self._refuse(CheckpointError(damaged, "Restore it, or start the experiment again."))
                return
            self._recovered = {number for number, trial in enumerate(self.state.trials) if trial.status == "running"}

    @guarded
    def generate_multiple_parameters(self, parameter_id_list: list[int], **kwargs: Any) -> list[dict[str, Any]]:
        """As many trials as are ready; the other ids are owed, and served by call-back when a round is ready."""
        self._send = kwargs["st_callback"]
        if self._problem is not None:
            raise self._problem
        self._reconcile()
        given: list[dict[str, Any]] = []
        for number in parameter_id_list:
            parameters = None if self._owed else self._issue(number)
            if parameters is None:
                self._owed.append(number)
            else:
                given.append(parameters)
        self._save()
        self._advance()
        return given

    @guarded
    def receive_trial_result(self, parameter_id: int, parameters: Any, value: Any, **kwargs: Any) -> None:
        """A final metric. ``parameters`` is not trusted: NNI overwrites it when trials run out."""
        if parameter_id in self._numbers:
            self._tell(self._numbers[parameter_id], value)
            self._next()

    @guarded
    def trial_end(self, parameter_id: int | None, success: bool, **kwargs: Any) -> None:
        """The end of any trial, perhaps before its metric. Trials that the user submitted in the portal have no id."""
        number = None if parameter_id is None else self._numbers.get(parameter_id)
        if number is None or self.state.trials[number].status != "running":
            return
        if success:
            self._timer(GRACE_SECONDS, lambda: self._expire(number))
            return
        _logger.warning("trial %d %s ended without a result; it is left out", number, self._parameters(number))
        self.state.fail(number)
        self._next()

    @guarded
    def import_data(self, data: list[dict[str, Any]]) -> None:
        """Finished trials: after a resume our own, or any that the user imports."""
        if self._problem is not None or self.codec is None:
            return
        for entry in data:
            row, value = self.codec.row(entry.get("parameter")), entry.get("value")
            value = json.loads(value) if isinstance(value, str) else value
            if row is None or value is None:
                _logger.warning("not imported, for it is not of this search space or has no value: %s", shown(entry))
                continue
            number = self.state.find(row)
            if number is None:
                self.state.add(row, self._signed(value))
            elif self.state.trials[number].value is None:
                self._tell(number, value)
        self._next()

    @guarded
    def load_checkpoint(self) -> None:
        """Called once, when the experiment is resumed, before anything else."""
        path = self.checkpoint_folder / STATE
        if path.exists():
            remedy = f"Restore {path}, or start the experiment again."
            self._resumed = read_json(path, remedy, SCHEMA_VERSION)

    def save_checkpoint(self) -> None:
        """NNI 3.0 never calls it; every event is saved when it happens."""

    # -- trials --------------------------------------------------------------------------------------------------------
    def _parameters(self, trial: int) -> dict[str, Any]:
        import numpy as np

        assert self.codec is not None
        return self.codec.parameters(np.array(self.state.trials[trial].row))

    def _issue(self, number: int) -> dict[str, Any] | None:
        trial = self.state.ask()
        if trial is None:
            return None
        self._numbers[number] = trial
        return self._parameters(trial)

    def _signed(self, value: Any) -> float:
        return metric_of(value) * (1 if self.settings.optimize_mode == "maximize" else -1)

    def _tell(self, trial: int, value: Any) -> None:
        signed = self._signed(value)
        if not math.isfinite(signed):
            _logger.warning("trial %d %s reported %s; it is left out", trial, self._parameters(trial), signed)
        self.state.tell(trial, signed)
        self._recovered.discard(trial)

    @guarded
    def _expire(self, trial: int) -> None:
        if self.state.trials[trial].status == "running":
            _logger.warning(
                "trial %d %s succeeded without a final metric; it is left out", trial, self._parameters(trial)
            )
            self.state.fail(trial)
            self._next()

    def _timer(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()

    def _next(self) -> None:
        self._save()
        self._serve()
        self._advance()

    def _serve(self) -> None:
        while self._owed and self._send is not None:
            parameters = self._issue(self._owed[0])
            if parameters is None:
                return
            number = self._owed.pop(0)
            self._save()
            self._send(number, parameters)

    # -- rounds --------------------------------------------------------------------------------------------------------
    def _advance(self) -> None:
        """Compute the next round if it is due and somebody waits for it."""
        if not self.state.due or not self._owed or self._worker is not None:
            return
        if not self._threaded:
            self._take(self._compute())
            return
        self._worker = threading.Thread(target=self._work, name="NAO controller", daemon=True)
        self._worker.start()

    def _compute(self) -> Proposed:
        with self._lock:
            job = self.state.job()
        return work(self.state.codec, job, self.settings.controller, self.settings.proposals, self.settings.seed)

    def _work(self) -> None:
        try:
            import torch

            torch.set_num_threads(1)  # of this thread: the machine is the trials'
            proposed = self._compute()
            with self._lock:
                self._worker = None
                self._take(proposed)
        except Exception as error:
            self._report(str(error) if isinstance(error, NNIPluginsError) else traceback.format_exc())

    def _take(self, proposed: Proposed) -> None:
        if proposed.step != self.state.step or not self.state.due:
            return  # imported trials came first
        self.state.extend(proposed)
        _logger.info("round %d: %s", proposed.step, proposed.numbers)
        if not proposed.rows:
            _logger.warning("NAO found nothing new: the search space is exhausted, or fill is none")
        self._save()
        self._serve()

    # -- after a resume ------------------------------------------------------------------------------------------------
    def _reconcile(self) -> None:
        """Ask the manager what became of the trials that an earlier process started, now and every few seconds until
        all have ended.
        """
        if not self._recovered or self._manager is None or self.codec is None:
            return
        try:
            trials = self._manager.trials()
        except ManagerError as error:
            _logger.warning("%s", error)
        else:
            newest = {}
            for trial in trials:
                row = None if trial["customized"] else self.codec.row(trial["parameters"])
                if row is not None:
                    newest[tuple(row.tolist())] = trial
            for number in sorted(self._recovered):
                self._recover(number, newest.get(tuple(self.state.trials[number].row)))
        if self._recovered and not self._watched:
            self._watched = True
            self._timer(WATCH_SECONDS, self._watch)

    @property
    def _run_again(self) -> dict[int, Any]:
        """Parameters of the trials that NNI runs again in this session, by their numbers."""
        given: dict[int, Any] = getattr(getattr(self._send, "__self__", None), "recovered_trial_params", {})
        return given

    def _recover(self, number: int, trial: dict[str, Any] | None) -> None:
        if self.state.trials[number].status != "running":
            self._recovered.discard(number)
        elif trial is None:  # it was still in the manager's queue, which does not outlive the manager
            self._recovered.discard(number)
            self.state.release(number)
        elif trial["final"] is not None:
            self._tell(number, trial["final"])
        elif trial["status"] in NOT_RESUMED and trial["number"] not in self._run_again:
            self._recovered.discard(number)  # an earlier manager was to run it, and this one never does
            self.state.release(number)
        elif trial["status"] in (*ENDED_WITHOUT_RESULT, "SUCCEEDED"):
            self._recovered.discard(number)
            self.state.fail(number)

    @guarded
    def _watch(self) -> None:
        self._watched = False
        self._reconcile()
        self._next()
