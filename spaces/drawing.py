"""Pictures of cells. matplotlib is imported when a picture is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from .architecture import Architecture
from .base import GraphEdge, SearchSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"skip": "#7f8c8d", "identity": "#7f8c8d", "sep": "#2471a3", "dil": "#7d3c98", "avg": "#1e8449", "max": "#b7950b", "noise": "#c0392b"}
"""By the first part of an operation's name; others, convolutions among them, are red."""
OTHER = "#b03a2e"


def colour(operation: str) -> str:
    """The colour of an operation."""
    return COLOURS.get(operation.partition("_")[0], OTHER if operation else "#566573")


def levels(edges: Sequence[GraphEdge]) -> dict[str, int]:
    """Column of every node: inputs first, ``output`` last, every other node in a column of its own, in the order of its name's arrows."""
    names = list(dict.fromkeys(name for e in edges for name in (e.source, e.target)))
    inputs = sorted(n for n in names if n.startswith("input"))
    inner: list[str] = []
    waiting = [n for n in names if n not in inputs and n != "output"]
    while waiting:  # a node comes after all that it reads
        ready = [n for n in waiting if all(e.source not in waiting for e in edges if e.target == n)] or waiting[:1]
        inner += ready
        waiting = [n for n in waiting if n not in ready]
    return {**dict.fromkeys(inputs, 0), **{n: i for i, n in enumerate(inner, start=1)}, "output": len(inner) + 1}


def draw_graph(axes: Axes, edges: Sequence[GraphEdge], title: str = "") -> None:
    """One cell on ``axes``: nodes from left to right, a labelled arrow for each operation; dead ones are dashed and pale."""
    from matplotlib.patches import FancyArrowPatch

    columns = levels(edges)
    inputs = [n for n in columns if n.startswith("input")]
    place: dict[str, tuple[float, float]] = {}
    for name, column in columns.items():
        if name in inputs and len(inputs) > 1:
            place[name] = (0.0, 2.2 - 4.4 * inputs.index(name) / (len(inputs) - 1))
        elif name in inputs or name == "output":
            place[name] = (3.2 * column, 0.0)
        else:
            place[name] = (3.2 * column, 1.1 if column % 2 else -1.1)
    seen: dict[tuple[str, str], int] = {}
    heights = [y for _, y in place.values()]
    for e in edges:
        nth = seen[e.source, e.target] = seen.get((e.source, e.target), 0) + 1
        (x0, y0), (x1, y1) = place[e.source], place[e.target]
        span = columns[e.target] - columns[e.source]
        up = 1 if (y0 + y1 >= 0) == (nth == 1) else -1
        bend = 0.0 if span <= 1 and nth == 1 else up * (0.55 * (span - 1) + 0.8 * (nth - 1))
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        arrow = FancyArrowPatch(
            (x0, y0), (x1, y1), connectionstyle=f"arc3,rad={-2 * bend / length}", arrowstyle="-|>", mutation_scale=14, shrinkA=17, shrinkB=17,
            color=colour(e.operation), linestyle="solid" if e.live else "dashed", linewidth=1.8, alpha=1.0 if e.live else 0.45,
        )  # fmt: skip
        axes.add_patch(arrow)
        # A quadratic arc peaks half-way, at ``bend`` from the chord, perpendicular to it. Labels sit at a third, where fewer arrows cross.
        t = 0.36 if span > 1 else 0.5
        off = 4 * t * (1 - t) * bend
        x, y = x0 + t * (x1 - x0) - off * (y1 - y0) / length, y0 + t * (y1 - y0) + off * (x1 - x0) / length
        heights.append(y0 + 0.5 * (y1 - y0) + bend)
        if e.operation:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": colour(e.operation), "linewidth": 0.8}
            axes.text(x, y, e.operation, ha="center", va="center", fontsize=9, color=colour(e.operation), bbox=box, zorder=5)
    circle = {"boxstyle": "round,pad=0.45", "facecolor": "#ecf0f1", "edgecolor": "#2c3e50"}
    for name, (x, y) in place.items():
        axes.text(x, y, name.replace("input_", "input\n"), ha="center", va="center", fontsize=9, bbox=circle, zorder=6)
    axes.set(xlim=(-0.9, 3.2 * max(columns.values()) + 0.9), ylim=(min(heights) - 0.7, max(heights) + 0.7), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=11)


def draw_chain(axes: Axes, edges: Sequence[GraphEdge], title: str = "", row: int = 7) -> None:
    """A chain of blocks on ``axes``, ``row`` to a line, each with its operation."""
    for i, e in enumerate(edges):
        x, y = i % row, -(i // row)
        box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour(e.operation), "linewidth": 1.6}
        axes.text(x, y, f"{e.target}\n{e.operation}", ha="center", va="center", fontsize=8, color=colour(e.operation), bbox=box)
        if i % row:
            axes.annotate("", (x - 0.36, y), (x - 0.62, y), arrowprops={"arrowstyle": "-|>", "color": "#566573"})
    axes.set(xlim=(-0.6, row - 0.4), ylim=(-(len(edges) - 1) // row - 0.2, 0.6))
    axes.set_axis_off()
    axes.set_title(title, fontsize=11)


def is_chain(edges: Sequence[GraphEdge]) -> bool:
    """Whether every node is read once, by the next one, and there are many."""
    return len(edges) > 12 and all(a.target == b.source for a, b in pairwise(edges))


def draw(graphs: Mapping[str, Sequence[GraphEdge]], title: str = "") -> Figure:
    """A figure with one panel a graph, one below the other."""
    from matplotlib.figure import Figure

    width = max(3.0 + 1.55 * len(levels(edges)) if not is_chain(edges) else 10.0 for edges in graphs.values())
    figure = Figure(figsize=(width, 0.5 + 3.6 * len(graphs)), layout="constrained")
    for i, (name, edges) in enumerate(graphs.items(), start=1):
        axes = figure.add_subplot(len(graphs), 1, i)
        (draw_chain if is_chain(edges) else draw_graph)(axes, edges, name if len(graphs) > 1 else "")
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def draw_cell(space: SearchSpace, architecture: Architecture, path: Path, title: str = "") -> Path:
    """Write a picture of all cells of ``architecture``: PNG, SVG or PDF, by the ending of ``path``."""
    text = space.to_string(architecture)
    figure = draw(space.graph(architecture), title or (text if len(text) <= 100 else space.name))
    figure.savefig(path, dpi=120)
    return path
