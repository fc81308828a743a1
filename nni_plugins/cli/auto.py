"""``nni-plugins auto``: from a folder of images to a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Group
from rich.markup import escape

from .console import START, AsJson, app, console, emit


@app.command(rich_help_panel=START)
def auto(
    path: Annotated[Path, typer.Argument(help="A folder of images, with or without labels, boxes or masks.")],
    output: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run in it continues.")] = Path(
        "runs/auto"
    ),
    minutes: Annotated[float, typer.Option(min=0.1, help="How long it may take.")] = 15.0,
    parameters: Annotated[int | None, typer.Option(min=1, help="At most this many parameters.")] = None,
    macs: Annotated[
        int | None,
        typer.Option(min=1, help="At most this many multiply-adds an image. \\[default: half the largest network's]"),
    ] = None,
    latency: Annotated[
        float | None, typer.Option(min=0.001, help="At most this many milliseconds an image on one CPU thread here.")
    ] = None,
    beside: Annotated[
        list[str] | None, typer.Option(help="A network by name, such as resnet18, trained alike; may be repeated.")
    ] = None,
    pretext: Annotated[
        Literal["rotation", "colorization", "jigsaw"],
        typer.Option(help="What networks are judged by where the folder has neither labels, boxes nor masks."),
    ] = "rotation",
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    portal: Annotated[bool, typer.Option("--portal", help="Run it under NNI, and show it in its portal.")] = False,
    port: Annotated[int | None, typer.Option(help="Of the portal. \\[default: a free one]")] = None,
    as_json: AsJson = False,
) -> None:
    """Search a network for a folder of images, and say whether it is better than random ones and than the largest of its
    size. Example: nni-plugins auto photos --minutes 15
    """
    from ..auto.plan import Request
    from ..auto.run import auto as run_auto
    from ..auto.run import under_nni
    from .progress import Bars

    request = Request(
        path=path.expanduser().resolve(),
        minutes=minutes,
        max_parameters=parameters,
        max_macs=macs,
        max_latency=latency,
        beside=tuple(beside or ()),
        pretext=pretext,
        seed=seed,
    )

    def say(sentence: str) -> None:
        if not as_json:
            console.print(escape(sentence), highlight=False)

    with Bars(console, as_json) as progress:
        outcome = run_auto(request, output, say, progress, under_nni(port, minutes, say) if portal else None)
    value = {
        "sentence": outcome.verdict.sentence,
        "details": outcome.verdict.details,
        "page": str(outcome.page),
        "model": str(outcome.model),
        "files": outcome.files,
    }
    lines = [outcome.verdict.sentence, *outcome.verdict.details, f"page: {outcome.page}", f"weights: {outcome.model}"]
    emit(value, as_json, Group("", *map(escape, lines)))
