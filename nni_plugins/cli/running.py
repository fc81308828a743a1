"""What the commands share that run an experiment file in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nni_plugins.evaluators.errors import ConfigError

from .console import console

Output = Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it continues.")]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How many jobs run side by side; by default as many as there are cores for their `threads`, one where "
        "the file does not say `threads`, or on a GPU.",
    ),
]


def run_file(config: Path, command: str, output: Path, processes: int | None, quiet: bool) -> dict[str, Any]:
    """Run or resume the experiment of a file in ``output``, with bars unless ``quiet``; returns its result.

    Raises:
        ConfigError: what is wrong with the file, or that another command runs its experiments; and what its jobs raise.
    """
    from ..experiment.file import read_experiment
    from ..experiment.runner import run_experiment
    from .progress import Bars

    experiment = read_experiment(config)
    if experiment.command != command:
        raise ConfigError(
            f"{config}: experiments of the tuner {experiment.name} are not run by nni-plugins {command}.",
            f"Run it: nni-plugins {experiment.command} {config}",
        )
    with Bars(console, quiet) as progress:
        return run_experiment(experiment, output.resolve(), progress, processes=processes)
