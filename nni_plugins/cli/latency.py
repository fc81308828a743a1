"""``nni-plugins latency``: the table that a limit of latency needs, measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nni_plugins.evaluators.errors import ConfigError

from .console import SEARCH, AsJson, app, emit, grid


@app.command(rich_help_panel=SEARCH)
def latency(
    config: Annotated[Path, typer.Argument(help="An experiment file; its space is measured.")],
    table: Annotated[Path, typer.Argument(help="The CSV file to write. One that is there is only judged.")],
    networks: Annotated[int, typer.Option(min=10, help="How many random networks.")] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Images in a run.")] = 1,
    image_size: Annotated[int, typer.Option(min=1, help="Pixels a side.")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each network, whose median counts.")] = 20,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="As torch calls it, such as cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure the latency of random networks, and say how well others are predicted from them.
    Example: nni-plugins latency x.yml latency.csv --networks 200
    """
    from nni_plugins.evaluators.latency import Measurement, held_out_error, read_latencies
    from nni_plugins.spaces.registry import build_space

    from ..experiment.file import load_yaml

    tuner = load_yaml(config).get("tuner")
    arguments = tuner.get("classArgs") if isinstance(tuner, Mapping) else None
    if not isinstance(arguments, Mapping):
        raise ConfigError(
            f"{config} has no tuner.classArgs.", "Pass an experiment file, such as nni-plugins init writes."
        )
    space = build_space(arguments.get("space", {"name": "nasbench201"}))
    if not table.exists():
        how = Measurement(batch=batch, image_size=image_size, repeats=repeats, threads=threads, device=device)
        _measure(table, space, min(networks, space.size), seed, how)
    rows, milliseconds = read_latencies(table, space)
    error = held_out_error(space, rows, milliseconds)
    low, high = float(milliseconds.min()), float(milliseconds.max())
    values = {
        "table": str(table.resolve()),
        "networks": len(rows),
        "smallest_ms": low,
        "largest_ms": high,
        "held_out_error_ms": error.milliseconds,
        "held_out_error_percent": error.percent,
        "held_out_kendall_tau": error.tau,
    }
    shown = grid("", "")
    shown.add_row("networks", f"{len(rows)}, {low:.3f} to {high:.3f} ms")
    shown.add_row("error of a prediction", f"{error.milliseconds:.3f} ms, {error.percent:.1f} %")
    shown.add_row("Kendall tau-b", f"{error.tau:.3f}")
    shown.add_row("in the file", f"limits: {{max_latency: MILLISECONDS, latency_table: {table.resolve()}}}")
    emit(values, as_json, shown)


def _measure(table: Path, space: object, networks: int, seed: int, how: object) -> None:
    from nni_plugins.evaluators.latency import Measurement, measure_latencies, write_latencies
    from nni_plugins.evaluators.randomness import generator
    from nni_plugins.spaces.base import SearchSpace
    from nni_plugins.strategies.drawing import draw

    assert isinstance(space, SearchSpace) and isinstance(how, Measurement)
    architectures = draw(space, networks, generator(seed, "latency"))
    with Console(stderr=True).status("measuring") as status:
        milliseconds = measure_latencies(
            space, architectures, how, lambda done: status.update(f"measuring: {done} of {networks} networks")
        )
    write_latencies(table, space, architectures, milliseconds)
