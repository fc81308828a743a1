"""The one command of every trial: ``python -m nni_plugins.trial``. NNI says which phase it is and what to train.

A trial that NNI stopped and runs again, or that crashed and is tried again, continues from its own checkpoints.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Point = Callable[[Mapping[str, Any]], dict[str, Any]]


def main() -> int:
    """Run one trial; returns the exit status."""
    from nni_plugins.spaces.errors import NNIPluginsError

    try:
        _run()
    except NNIPluginsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:  # nnictl stop; the same trial continues after nnictl resume
        print("stopped; the last checkpoint is kept.", file=sys.stderr)
        return 130
    return 0


def _run() -> None:
    import nni
    from nni.runtime.env_vars import trial_env_vars

    from nni_plugins.evaluators.errors import ConfigError

    from .experiment.settings import EXPERIMENTS, SampleStudyExperiment, SearchExperiment, check

    parameters = own_parameters()
    if not isinstance(parameters, dict) or not isinstance(parameters.get("trial"), dict):
        raise ConfigError(
            "this trial got no job.",
            "Start it through nnictl create with one of our tuners; nni-plugins search runs without NNI.",
        )
    trial = parameters["trial"]
    if trial["experiment"] == "compare":
        from .studies.compare.trial import run_trial

        nni.report_final_result(run_trial(parameters, Path(trial_env_vars.NNI_OUTPUT_DIR or ".").resolve()))
        return
    settings = check(EXPERIMENTS[trial["experiment"]], trial["settings"], "settings.")
    from .experiment import phases

    phases.use_threads(settings)
    output = Path(trial_env_vars.NNI_OUTPUT_DIR or ".").resolve()
    folder = _folder(settings.run_folder, trial["job"], output)
    report = Reporter(output / "reported", folder / "metrics.jsonl")
    if parameters["phase"] == "search":
        assert isinstance(settings, SearchExperiment)
        report.point = settings.curve_point
        _, value = phases.run_search(settings, int(trial["seed"]), folder, report)
    elif isinstance(settings, SearchExperiment) and parameters["phase"] in settings.follow_ups:
        from .experiment.follow_ups import reporter, run_follow_up

        name = str(parameters["phase"])
        choices = {label: parameters[label] for label in settings.search_space.labels}
        report = reporter(settings, name, output, folder)
        value = run_follow_up(settings, name, choices, folder, report)
    elif isinstance(settings, SampleStudyExperiment):
        from .studies.sample.trials import run_sample

        report.point = settings.curve_point
        choices = {label: parameters[label] for label in settings.search_space.labels}
        value = run_sample(settings, str(parameters["objective"]), int(trial["seed"]), choices, folder, report)
    else:
        choices = {label: parameters[label] for label in settings.search_space.labels}
        value = phases.run_stand_alone(settings, choices, folder, report)
    report.catch_up()
    nni.report_final_result(value)


def own_parameters() -> Any:
    """The parameters under which NNI shows this trial.

    NNI 3.0 hands parameters to whichever trial asks first, so of two trials that start together each may be given the
    other's, and the portal then shows the metrics of one beside the choices of the other. The manager is asked which
    are this trial's.
    """
    import nni

    from .portal.manager import Manager

    given = nni.get_next_parameter()
    manager, trial = Manager.of_trial(), nni.get_trial_id()
    if manager is None:
        return given
    nni.trial._params = manager.record(trial)
    return nni.trial._params["parameters"]


def _folder(shared: str | None, job: str, output: Path) -> Path:
    """Below the experiment's run folder where this machine can reach it, so that another attempt finds the checkpoints;
    else in the trial's own.
    """
    if shared is not None and Path(shared).is_dir():
        return Path(shared) / job
    return output / "run"


class Reporter:
    """Sends each epoch to NNI once, also across restarts: the portal's curve has no gap and no double points.

    Args:
        mark: file that remembers how many epochs this trial has reported.
        metrics: the training's ``metrics.jsonl``, whose epochs an earlier attempt may have trained.
        point: makes what NNI gets out of a row of it.
    """

    def __init__(self, mark: Path, metrics: Path, point: Point | None = None) -> None:
        self.mark, self.metrics = mark, metrics
        self.point = point or (lambda row: {"default": row["loss"], **row})
        self.reported = int(mark.read_text()) if mark.exists() else 0

    def __call__(self, row: dict[str, float]) -> None:
        if row["epoch"] > self.reported + 1:
            self.catch_up(before=row["epoch"])
        if row["epoch"] > self.reported:
            self._send(row)

    def catch_up(self, before: float = float("inf")) -> None:
        """Send the epochs that an earlier attempt trained and this trial has not reported."""
        if self.metrics.exists():
            for row in map(json.loads, self.metrics.read_text().splitlines()):
                if self.reported < row["epoch"] < before:
                    self._send(row)

    def _send(self, row: dict[str, Any]) -> None:
        import nni

        from nni_plugins.evaluators.files import atomic_write

        nni.trial.overwrite_intermediate_seq(int(row["epoch"]) - 1)
        nni.report_intermediate_result(self.point(row))
        self.reported = int(row["epoch"])
        atomic_write(self.mark, str(self.reported).encode())


if __name__ == "__main__":
    sys.exit(main())
