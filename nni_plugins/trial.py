"""The one command of every trial: ``python -m nni_plugins.trial``. NNI says which job of which experiment it is.

A trial that NNI stopped and runs again, or that crashed and is tried again, continues from its own checkpoints.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experiment.base import Experiment
    from .experiment.jobs import Job


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

    from .experiment.runner import use_threads
    from .portal.reporting import Reporter, own_parameters

    parameters = own_parameters()
    if not isinstance(parameters, dict) or not isinstance(parameters.get("trial"), dict):
        raise ConfigError(
            "this trial got no job.",
            "Start it through nnictl create with one of our tuners; nni-plugins search runs without NNI.",
        )
    trial = parameters["trial"]
    if trial.get("known") is not None:
        nni.report_final_result(trial["known"])
        return
    experiment, job = _asked(trial)
    use_threads(experiment.settings.threads)
    output = Path(trial_env_vars.NNI_OUTPUT_DIR or ".").resolve()
    folder = _folder(experiment.settings.run_folder, job.name, output)
    file = experiment.curve_file(job)
    curve = folder / file if file is not None else None
    report = Reporter(output / "reported", curve, lambda row: experiment.curve_point(job, row))
    experiment.prepare()
    value = experiment.run(job, folder, report)
    report.catch_up()
    nni.report_final_result(value)


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
    else in the trial's own. A folder in which no tuner of ours has written its settings is none.
    """
    from .experiment.store import CONFIG

    if shared is not None and (Path(shared) / CONFIG).is_file():
        return Path(shared) / job
    return output / "run"


if __name__ == "__main__":
    sys.exit(main())
