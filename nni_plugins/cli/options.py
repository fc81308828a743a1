"""Options of the commands that take an architecture: the same names mean the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import key_value

if TYPE_CHECKING:
    from ..origins.origin import Origin

ARCHITECTURE = (
    "A name (ours or timm's), an architecture as text or JSON, a file of either, weights of nni-plugins retrain, the "
    "folder or result.json of a search, comparison, retraining or transfer, or an NNI experiment's id."
)
Architecture = Annotated[str, typer.Argument(help=ARCHITECTURE)]
OptionalArchitecture = Annotated[str | None, typer.Argument(help=ARCHITECTURE)]
Space = Annotated[
    str | None, typer.Option(help="The space's registered name, for a native text. \\[default: nasbench201]")
]
SpaceArgument = Annotated[
    list[str] | None,
    typer.Option("--space-argument", help="An argument of the space, such as channels=24; may be repeated."),
]
Rank = Annotated[int, typer.Option(help="Of a search or comparison: the architecture of this rank; 1 is best.")]
Job = Annotated[
    str | None,
    typer.Option(
        help="Of a search or comparison: this evaluation's job (stand_alone-found-0-1), or the best of random, of a "
        "baseline or of a policy."
    ),
]
Change = Annotated[
    list[str] | None,
    typer.Option("--set", help="A key of the recipe, such as optimizer.learning_rate=0.1; may be repeated."),
]
TrainingFolder = Annotated[
    Path | None, typer.Option("--output", help="Folder of everything. \\[default: one in runs/ for this very training]")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads. \\[default: torch's]")]


def key_values(texts: Iterable[str] | None, option: str = "--set") -> dict[str, Any]:
    """The pairs of a repeated option.

    Raises:
        ConfigError: see :func:`nni_plugins.cli.console.key_value`.
    """
    return dict(key_value(text, option) for text in texts or ())


def origin_of(
    architecture: str, space: str | None, argument: Iterable[str] | None, rank: int = 1, job: str | None = None
) -> Origin:
    """The network that the options mean; see :func:`nni_plugins.origins.origin.origin`."""
    from ..origins.origin import origin

    return origin(architecture, space, key_values(argument, "--space-argument"), rank, job)


def origin_line(about: Mapping[str, Any]) -> str | None:
    """In which file, of which job or experiment a network stands; None for names and texts."""
    if "file" not in about:
        return None
    job = f", {about['job']}" if about.get("job") else ""
    experiment = f" (NNI experiment {about['experiment']})" if "experiment" in about else ""
    return f"{about['file']}{job}{experiment}"
