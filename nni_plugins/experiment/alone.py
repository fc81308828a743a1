"""A job whose training takes several processes, in processes of its own that end with it: ``python -m
nni_plugins.experiment.alone FILE``.

Fabric starts the others by the command of the first, and they do whatever that does. In the process of a whole
experiment they would go on to its next jobs, in the same folders; here there is one job.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nni_plugins.evaluators import errors
from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.errors import TrainingError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.processes import first_process, use_threads
from nni_plugins.spaces.errors import NNIPluginsError

from .base import Experiment
from .jobs import Job, Value

REQUEST, ANSWER = "request.json", "answer.json"


def run_job(experiment: Experiment, job: Job, folder: Path | None, report: Report | None) -> Value:
    """Do one job: here, or where its training takes several processes, in those; see :meth:`Experiment.run`.

    Raises:
        TrainingError: they ended without an answer; and what the job raises.
    """
    if experiment.devices(job) == 1:
        return experiment.run(job, folder, report)
    request = {
        "experiment": experiment.name,
        "settings": experiment.settings.model_dump(mode="json"),
        "job": job.described(),
        "folder": None if folder is None else str(folder),
    }
    with TemporaryDirectory() as place:
        write_json(Path(place) / REQUEST, request)
        command = [sys.executable, "-m", __name__, str(Path(place) / REQUEST)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                row = _row(line)
                if row is not None and report is not None:
                    report(row)
        return _answer(Path(place) / ANSWER, job, process.returncode)


def _row(line: str) -> dict[str, float] | None:
    """A row of the curve; None for what else is printed."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _answer(path: Path, job: Job, status: int) -> Value:
    if not path.exists():
        raise TrainingError(
            f"the processes of {job.name} ended with status {status}.",
            "What they printed above says why; run the same command again to go on from the last checkpoint.",
        )
    answer = json.loads(path.read_text())
    if "value" in answer:
        return dict(answer["value"])
    kind = getattr(errors, answer["kind"], TrainingError)
    raise kind(answer["problem"], answer["remedy"])


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(TrainingError.exit_status)


def main(file: Path) -> int:
    """Run the job; the first process answers. Returns the exit status."""

    from .kinds import load_experiment

    request: dict[str, Any] = json.loads(file.read_text())
    first = first_process()
    if first:  # the others end with this one
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        experiment = load_experiment(request["experiment"], request["settings"], "settings.")
        use_threads(experiment.settings.threads)
        folder = None if request["folder"] is None else Path(request["folder"])
        value = experiment.run(Job(**request["job"]), folder, _print if first else None)
        answer: dict[str, Any] = {"value": value}
    except NNIPluginsError as error:
        answer = {"kind": type(error).__name__, "problem": error.problem, "remedy": error.remedy}
    except KeyboardInterrupt:
        return 130
    if first:
        write_json(file.with_name(ANSWER), answer)
    return 0 if "value" in answer else TrainingError.exit_status


def _print(row: dict[str, float]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
