"""What a person sees of ``result.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from nni_plugins.spaces.drawing import draw_cell

from ..experiment.settings import EXPERIMENTS, build_space

METRICS = {"accuracy": "accuracy", "miou": "mIoU"}
LONGEST = 60
"""Characters of an architecture that still stands in the table; longer ones are listed below it."""


def result_table(result: dict[str, Any]) -> Group:
    """Found and random architectures side by side, and what they say together."""
    metric = result.get("metric", "accuracy")  # absent where an older version wrote it
    quality = METRICS[metric]
    trained = any(row["accuracy"] is not None for row in result["architectures"])
    score = EXPERIMENTS[result["strategy"].lower()].score
    first = (
        f"found and random architectures, best stand-alone {quality} first"
        if trained
        else f"found architectures, largest {score.name} first"
    )
    table = Table(title=f"{result['strategy']}: {first}")
    table.add_column("architecture", overflow="fold")
    table.add_column("source")
    for column in (score.heading, f"{quality} (%)", "true rank", "parameters"):
        table.add_column(column, justify="right")
    total = result["architectures_in_table"]
    numbers: dict[str, str] = {}
    for row in result["architectures"]:
        architecture = row["architecture"]
        if len(architecture) > LONGEST:
            architecture = numbers.setdefault(architecture, str(len(numbers) + 1))
        rank = "-" if row["true_rank"] is None else f"{row['true_rank']:g} of {total}"
        style = "bold" if row["source"] == "found" else ""
        numeric = _number(row["score"], ".4f"), _number(row[metric], ".2f"), rank, _number(row["parameters"], ",")
        table.add_row(Text(architecture), row["source"], *numeric, style=style)
    lines = ["nothing was trained stand-alone (stand_alone: null)"] if result["settings"]["stand_alone"] is None else []
    if trained:
        mean = result[f"mean_{metric}"]
        lines.append(
            f"mean {quality}: "
            + ", ".join(f"{source} {value:.2f} %" for source, value in mean.items() if value is not None)
        )
    if result["kendall_tau"]["trained"] is not None:
        lines.append(
            f"Kendall tau-b of {score.name} against {quality}: {result['kendall_tau']['trained']:.3f} over the architectures above"
        )
    searches = iter(result.get("searches", []))
    for tau in result["kendall_tau"]["table"]:
        search: dict[str, Any] = next(searches, {})
        if tau is not None:
            scored = search.get("result", {}).get("scored_in_table", total)  # of the others no weights were trained
            some = (
                f"all {total} architectures"
                if scored == total
                else f"the {scored} of {total} architectures whose weights were trained"
            )
            lines.append(f"Kendall tau-b of {score.name} against true accuracy: {tau:.3f} over {some}")
    if result["failed"]:
        lines.append(f"failed: {', '.join(result['failed'])}")
    later = [_follow_up(name, one, numbers) for name, one in result.get("follow_ups", {}).items()]
    return Group(table, *later, *([_listed(numbers)] if numbers else []), *lines)


def _follow_up(name: str, follow: dict[str, Any], numbers: dict[str, str]) -> Table:
    """Best first; long architectures by their number in the list below."""
    table = Table(title=f"{name}: {follow['task']} by {follow['recipe']}")
    table.add_column("architecture", overflow="fold")
    table.add_column("source")
    table.add_column(f"{follow['metric']} (%)", justify="right")
    for row in follow["rows"]:
        text = row["architecture"]
        text = numbers.setdefault(text, str(len(numbers) + 1)) if len(text) > LONGEST else text
        value = row["status"] if row["value"] is None else f"{row['value']:.2f}"
        table.add_row(Text(text), row["source"], value, style="bold" if row["source"] == "found" else "")
    return table


def _listed(numbers: dict[str, str]) -> Table:
    """``1 Genotype(...)``, folded beside its number."""
    listed = Table.grid(padding=(0, 1))
    listed.add_column(justify="right", no_wrap=True)
    listed.add_column(overflow="fold")
    for architecture, number in numbers.items():
        listed.add_row(number, Text(architecture))
    return listed


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def best(result: dict[str, Any]) -> dict[str, Any] | None:
    """The best architecture that the search found, by score if none was trained; of random search, the best of all."""
    rows = [row for row in result["architectures"] if row["accuracy"] is not None or row["status"] == "listed"]
    found = [row for row in rows if row["source"] == "found"] or rows
    return found[0] if found else None


def draw_best(result: dict[str, Any], folder: Path) -> Path | None:
    """``best.png`` in ``folder``: the cell of :func:`best`."""
    row = best(result)
    if row is None:
        return None
    space, metric = build_space(result["settings"]["space"]), result.get("metric", "accuracy")
    stand_alone = "stand-alone" if metric == "accuracy" else f"{METRICS[metric]} stand-alone"
    quality = (
        EXPERIMENTS[result["strategy"].lower()].score.text(row["score"])
        if row["accuracy"] is None
        else f"{row[metric]:.2f} % {stand_alone}"
    )
    title = f"{row['architecture']}\n{quality}, {row['parameters']:,} parameters"
    return draw_cell(space, space.architecture(row["choices"]), folder / "best.png", title)
