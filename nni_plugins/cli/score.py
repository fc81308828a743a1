"""``nni-plugins score``: architectures with the weights that a search trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nni_plugins.evaluators.errors import ConfigError

from .console import SEARCH, AsJson, app, emit, grid
from .options import ARCHITECTURE


@app.command(rich_help_panel=SEARCH)
def score(
    config: Annotated[Path, typer.Argument(help="The experiment file of the search.")],
    architectures: Annotated[list[str], typer.Argument(help=ARCHITECTURE)],
    supernet: Annotated[Path, typer.Option(help="The search's folder of checkpoints.")] = Path("runs/search/search-0"),
    as_json: AsJson = False,
) -> None:
    """Scores of given architectures by a finished search. Example: nni-plugins score x.yml
    '|nor_conv_3x3~0|+|skip_connect~0|none~1|'
    """
    from ..experiment.file import read_experiment
    from ..experiment.search import SearchExperiment
    from ..origins.origin import origin

    experiment = read_experiment(config)
    if not isinstance(experiment, SearchExperiment):
        raise ConfigError(f"{config}: {experiment.name} is no search.", "Pass the experiment file of a search.")
    arguments = dict(experiment.settings.space)
    space = str(arguments.pop("name"))
    chosen = [origin(text, space, arguments).subject.in_space("it has no score")[1] for text in architectures]
    from ..experiment.score import score_architectures

    rows, by = score_architectures(experiment, supernet, chosen), experiment.strategy.score
    table = grid(by.heading, "architecture")
    for row in rows:
        table.add_row(f"{row[by.key]:.6f}", escape(row["architecture"]))
    emit(rows, as_json, table)
