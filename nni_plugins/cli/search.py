"""``nni-plugins search``: an experiment in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nni_plugins.evaluators.errors import ConfigError

from .console import AsJson, app, console, emit


@app.command()
def search(
    config: Annotated[Path, typer.Argument(help="An experiment file, as nnictl create takes it.")],
    output: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it continues.")] = Path(
        "runs/search"
    ),
    as_json: AsJson = False,
) -> None:
    """Run an experiment in this process, without NNI's manager. Example: nni-plugins search examples/rlnas_digits.yml"""
    from ..experiment.file import from_yaml
    from ..experiment.settings import SampleStudyExperiment
    from .progress import Bars

    _, settings = from_yaml(config)
    if isinstance(settings, SampleStudyExperiment):
        raise ConfigError(f"{config} is a sample study, not a search.", f"nni-plugins sample-study {config}")
    from ..experiment.run import run_experiment
    from .report import draw_best, result_table

    with Bars(console, quiet=as_json) as progress:
        result = run_experiment(settings, output.resolve(), progress)
    draw_best(result, output)
    emit(result, as_json, result_table(result))
