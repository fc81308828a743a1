"""What a trial says to NNI: its curve, each point once, and which parameters are its own."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import TrainingError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.processes import first_process, started_by_torchrun

from .manager import Manager, ManagerError

Point = Callable[[Mapping[str, Any]], dict[str, Any]]
PASSED_ON = "NNI_PLUGINS_PARAMETERS"
"""The environment variable with which the processes that this one starts are told where its parameters are."""
PASSED_ON_FILE = "parameters.json"
WAIT_SECONDS = 300


def own_record() -> dict[str, Any]:
    """The parameter record (``parameter_id``, None for a trial that the user submitted in the portal; ``parameters``)
    under which NNI shows this trial.

    Of several processes of a trial only the first speaks with NNI, which has one set of parameters for it and lets
    whoever asks for a second wait for ever; the others get what it got.

    Raises:
        TrainingError: this is not the first process, and that one got nothing.
    """
    import nni
    from nni.runtime.env_vars import trial_env_vars

    file = Path(trial_env_vars.NNI_OUTPUT_DIR or ".").resolve() / PASSED_ON_FILE
    if not first_process():
        nni.trial._params = _passed_on(file)
        return dict(nni.trial._params)
    record = _ask()
    if trial_env_vars.NNI_OUTPUT_DIR:
        write_json(file, {"started_by": os.getppid(), "record": record})
        os.environ[PASSED_ON] = str(file)
    return record


def own_parameters() -> Any:
    """Those of :func:`own_record`."""
    return own_record()["parameters"]


def _ask() -> dict[str, Any]:
    """NNI 3.0 hands parameters to whichever trial asks first, so of two trials that start together each may be given the
    other's, and the portal then shows the metrics of one beside the choices of the other. Where the manager can be asked
    which are this trial's, it is.
    """
    import nni

    given = nni.get_next_parameter()
    manager = Manager.of_trial()
    if manager is not None:
        nni.trial._params = manager.record(nni.get_trial_id())
        return dict(nni.trial._params)
    trial = given.get("trial") if isinstance(given, Mapping) else None
    address = trial.get("manager") if isinstance(trial, Mapping) else None
    if address is not None:
        # one that is not reached is of another network; the tuner believes what this trial says it does
        with contextlib.suppress(ManagerError):
            nni.trial._params = Manager(address, timeout=5).record(nni.get_trial_id(), seconds=0)
    return dict(nni.trial._params or {"parameter_id": None, "parameters": given})


def _passed_on(file: Path) -> dict[str, Any]:
    """What the first process got. One that torchrun started beside it waits for that."""
    named = os.environ.get(PASSED_ON)
    if named is not None:
        return dict(json.loads(Path(named).read_text())["record"])
    deadline = time.monotonic() + WAIT_SECONDS
    while started_by_torchrun():
        if file.exists():
            content = json.loads(file.read_text())
            if content["started_by"] == os.getppid():  # and not by an earlier attempt of this trial
                return dict(content["record"])
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    raise TrainingError(
        f"the first process of this trial got no parameters in {WAIT_SECONDS} seconds.",
        "Read what it printed, in the trial's folder.",
    )


def _count(mark: Path) -> int:
    """How many rows were reported; none where the mark is missing or damaged, for NNI forgets those that come twice."""
    try:
        return int(mark.read_text())
    except (OSError, ValueError):
        return 0


def _row(line: str) -> dict[str, Any] | None:
    """None of a line that a kill has cut short."""
    from nni_plugins.evaluators.files import parse_json

    try:
        row = parse_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("epoch"), int | float) else None


class Reporter:
    """Sends each row of a curve to NNI once, also across restarts: the portal's curve has no gap and no double points.

    Args:
        mark: file that remembers how many rows this trial has reported.
        metrics: the training's rows as JSON lines, which an earlier attempt may have written; None: it keeps none.
        point: makes what NNI gets out of a row.
    """

    def __init__(self, mark: Path, metrics: Path | None, point: Point) -> None:
        self.mark, self.metrics, self.point = mark, metrics, point
        self.reported = _count(mark)

    def __call__(self, row: dict[str, float]) -> None:
        if row["epoch"] > self.reported + 1:
            self.catch_up(before=row["epoch"])
        if row["epoch"] > self.reported:
            self._send(row)

    def catch_up(self, before: float = float("inf")) -> None:
        """Send the rows that an earlier attempt wrote and this trial has not reported."""
        if self.metrics is not None and self.metrics.exists():
            for row in map(_row, self.metrics.read_text(errors="replace").splitlines()):
                if row is not None and self.reported < row["epoch"] < before:
                    self._send(row)

    def _send(self, row: dict[str, Any]) -> None:
        import nni

        from nni_plugins.evaluators.files import atomic_write

        nni.trial.overwrite_intermediate_seq(int(row["epoch"]) - 1)
        nni.report_intermediate_result(self.point(row))
        self.reported = int(row["epoch"])
        atomic_write(self.mark, str(self.reported).encode())
