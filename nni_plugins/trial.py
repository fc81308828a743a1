"""The one command of every trial: ``python -m nni_plugins.trial``. NNI says which job of which experiment it is.

A trial that NNI stopped and runs again, or that crashed and is tried again, continues from its own checkpoints.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .experiment.jobs import Job

if TYPE_CHECKING:
    from .experiment.base import Experiment

_logger = logging.getLogger(__name__)


def main() -> int:
    """Run one trial; returns the exit status."""
    from nni_plugins.spaces.errors import NNIPluginsError, printable

    try:
        _run()
    except NNIPluginsError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:  # nnictl stop; the same trial continues after nnictl resume
        print("stopped; the last checkpoint is kept.", file=sys.stderr)
        return 130
    return 0


def _run() -> None:
    import nni
    from nni.runtime.env_vars import trial_env_vars

    from nni_plugins.evaluators.errors import ConfigError
    from nni_plugins.evaluators.processes import first_process, use_threads

    from .portal.ledger import JOB, SAYS
    from .portal.reporting import Reporter, own_record

    record = own_record()
    parameters = record["parameters"]
    if not isinstance(parameters, dict) or not isinstance(parameters.get("trial"), dict):
        raise ConfigError(
            "this trial got no job.",
            "Start it through nnictl create with one of our tuners; nni-plugins search runs without NNI.",
        )
    trial, users = parameters["trial"], record["parameter_id"] is None
    experiment, job = _asked(trial)
    said = {} if users else {JOB: job.name}
    if first_process():
        _logger.info("%s%s", SAYS if not users else "submitted by the user, as a copy of ", job.name)
    if trial.get("known") is not None and not users:
        if first_process():
            nni.report_final_result({**trial["known"], **said})
        return
    if users:
        job = _as_the_user_says(experiment, job, parameters)
    use_threads(experiment.settings.threads)
    output = Path(trial_env_vars.NNI_OUTPUT_DIR or ".").resolve()
    folder = _folder(None if users else experiment.settings.run_folder, job.name, output)
    file = experiment.curve_file(job)
    curve = folder / file if file is not None else None
    report = Reporter(output / f"reported-{job.name}", curve, lambda row: {**experiment.curve_point(job, row), **said})
    experiment.prepare()
    value = experiment.run(job, folder, report if first_process() else None)
    if first_process():
        report.catch_up()
        nni.report_final_result({**value, **said})


def _asked(trial: dict[str, Any]) -> tuple[Experiment, Job]:
    """What the tuner sent, or anybody who reaches the portal posted.

    Raises:
        ConfigError: it is no job of an experiment of ours.
    """
    from nni_plugins.evaluators.errors import ConfigError
    from nni_plugins.spaces.errors import shown

    from .experiment.jobs import Job
    from .experiment.kinds import load_experiment

    try:
        settings, described = dict(trial["settings"]), dict(trial["described"])
        experiment, job = load_experiment(str(trial["experiment"]), settings, "settings."), Job(**described)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"this trial's job is damaged: {type(error).__name__} {error}.") from None
    if job.phase not in experiment.phases:
        raise ConfigError(f"this trial's job is of the phase {shown(job.phase)}, which the experiment has not.")
    return experiment, job


def _folder(shared: str | None, job: str, output: Path) -> Path:
    """Below the experiment's run folder where this machine can reach it, so that another attempt finds the checkpoints;
    else in the trial's own, where each job has one too, for NNI may give a trial that it runs again another one. A folder
    in which no tuner of ours has written its settings is no run folder.
    """
    from .experiment.store import CONFIG

    if shared is not None and (Path(shared) / CONFIG).is_file():
        return Path(shared) / job
    return output / "run" / job


def _as_the_user_says(experiment: Experiment, job: Job, parameters: dict[str, Any]) -> Job:
    """*Customized trial* of the portal copies all parameters of one of ours, of which the user may have changed the
    choices.

    Raises:
        ConfigError: other axes were changed, or the choices are no architecture.
    """
    from nni_plugins.evaluators.errors import ConfigError

    changed = {
        key: parameters.get(key) for key, value in experiment.parameters(job).items() if parameters.get(key) != value
    }
    if not changed:
        return job
    wrong = [key for key in changed if key not in (job.choices or {})]
    if wrong:
        raise ConfigError(
            f"{wrong[0]}: a customized trial may change the choices of an architecture, but got {changed[wrong[0]]!r}.",
            "Copy the trial of an evaluated architecture, and leave its other parameters.",
        )
    return replace(job, choices={**(job.choices or {}), **{key: str(value) for key, value in changed.items()}})


if __name__ == "__main__":
    sys.exit(main())
