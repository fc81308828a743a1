"""Where an experiment keeps what its finished jobs gave: a file each, so that nothing is done twice. Free of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, ConfigError
from nni_plugins.evaluators.files import delete_weights, differences, read_json, write_json

from .base import Experiment
from .jobs import Job, Plan, Value

SCHEMA_VERSION = 1
CONFIG = "config.json"
JOBS = "jobs"


class Store:
    """The files of one experiment below ``folder``: ``config.json``, and ``jobs/NAME.json`` for each finished job."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder

    def path(self, job: Job) -> Path:
        """The file of a finished job."""
        return self.folder / JOBS / f"{job.name}.json"

    def job_folder(self, job: Job) -> Path:
        """For its checkpoints."""
        return self.folder / job.name

    def save_settings(self) -> None:
        """Write down the settings, complete, and the experiment's name."""
        settings = self.experiment.settings.model_dump(mode="json")
        content = {"schema": SCHEMA_VERSION, "experiment": self.experiment.name, "settings": settings}
        write_json(self.folder / CONFIG, content)

    def save(self, job: Job, value: Value) -> None:
        """Write down what a finished job gave; then its checkpoints may go."""
        content = {"schema": SCHEMA_VERSION, "job": job.described(), "identity": self._identity(job), "value": value}
        write_json(self.path(job), content)
        if not self.experiment.keeps_weights:
            delete_weights(self.job_folder(job))

    def load(self, job: Job) -> Value | None:
        """The value of a job that was finished in this folder, or None.

        Raises:
            ConfigChanged: it was done with other settings; the message names them.
            CheckpointError: the file is damaged.
        """
        path = self.path(job)
        if not path.exists():
            return None
        content = read_json(path, "Delete it to run this job again.", SCHEMA_VERSION)
        try:
            stored, value = content["identity"], cast(Value, content["value"])
            _ = value["default"]
        except (KeyError, TypeError):
            raise CheckpointError(f"{path} is damaged.", "Delete it to run this job again.") from None
        changes = differences(stored, self._identity(job))
        if changes:
            raise ConfigChanged(
                f"{path} was made with other settings: {'; '.join(changes)}.",
                "Restore them to go on, or choose another folder to start over.",
            )
        return value

    def _identity(self, job: Job) -> Any:
        return json.loads(json.dumps(self.experiment.identity(job)))

    def recalled(self) -> Plan:
        """The plan, in which the jobs that are finished in this folder are done.

        Raises:
            ConfigChanged, CheckpointError: see :meth:`load`.
        """
        plan, looked = Plan(self.experiment), set[str]()
        while names := [name for name in plan.jobs if name not in looked]:  # a finished job may add others
            for name in names:
                looked.add(name)
                value = self.load(plan.jobs[name])
                if value is not None:
                    plan.done(name, value)
        return plan


def read_settings(folder: Path) -> tuple[str, dict[str, Any]]:
    """(name of the experiment, its settings as JSON) that was run in ``folder``.

    Raises:
        ConfigError: none was; CheckpointError: its file is damaged.
    """
    path = folder / CONFIG
    if not path.exists():
        raise ConfigError(f"{folder} holds no experiment: there is no {CONFIG}.", "Pass the --output folder of a run.")
    content = read_json(path, "Pass the experiment's file.", SCHEMA_VERSION)
    try:
        return str(content["experiment"]), dict(content["settings"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path} is damaged.", "Pass the experiment's file.") from None
