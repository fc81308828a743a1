"""``nni-plugins score``: architectures on a trained supernet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nni_plugins.evaluators.errors import ConfigError

from .console import AsJson, app, emit, grid


@app.command()
def score(
    config: Annotated[Path, typer.Argument(help="The experiment file of the search.")],
    architectures: Annotated[list[str], typer.Argument(help="Architectures as native strings or JSON.")],
    supernet: Annotated[Path, typer.Option(help="The search's folder of checkpoints.")] = Path("runs/search/search-0"),
    as_json: AsJson = False,
) -> None:
    """Scores of given architectures on a trained supernet. Example: nni-plugins score x.yml
    '|nor_conv_3x3~0|+|skip_connect~0|none~1|'
    """
    from ..experiment.file import from_yaml
    from ..experiment.settings import SearchExperiment

    tuner, settings = from_yaml(config)
    if not isinstance(settings, SearchExperiment):
        raise ConfigError(
            f"{config}: tuner {tuner} trains no supernet.", "Pass the experiment file of a search with a supernet."
        )
    from ..experiment import score as scoring

    rows = scoring.score(settings, supernet, architectures)
    table = grid(settings.score.heading, "architecture")
    for row in rows:
        table.add_row(f"{row[settings.score.key]:.6f}", row["architecture"])
    emit(rows, as_json, table)
