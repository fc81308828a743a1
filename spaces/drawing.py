"""Pictures of cells. matplotlib is imported when a picture is drawn."""

from __future__ import annotations

from pathlib import Path

from .architecture import Architecture
from .base import SearchSpace

COLOURS = {"skip_connect": "#7f8c8d", "nor_conv_1x1": "#2980b9", "nor_conv_3x3": "#c0392b", "avg_pool_3x3": "#27ae60"}
"""By operation; others are drawn in violet. ``none`` is left out of the picture."""


def draw_cell(space: SearchSpace, architecture: Architecture, path: Path, title: str = "") -> Path:
    """Write a picture of the cell: nodes from left to right, one labelled arrow an operation; dead edges are dashed. PNG, SVG or PDF."""
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch

    graph = space.graph(architecture)
    alive = space.path_counts(space.encode([architecture]))[0] > 0
    nodes = list(dict.fromkeys(name for source, target, _ in graph for name in (source, target)))
    nodes.sort(key=lambda name: (name == "output", name != "input"))
    place = {name: 3.0 * i for i, name in enumerate(nodes)}
    side = {}
    for source, target, _ in graph:
        span = round((place[target] - place[source]) / 3)
        side[source, target] = 0.0 if span == 1 else 0.8 * (span - 1) * (1 if nodes.index(source) % 2 == 0 else -1)
    reach = max([0.6, *(abs(h) for h in side.values())]) + 0.5
    width = max(place.values()) + 1.8
    figure = Figure(figsize=(1.1 * width, 1.1 * 2 * reach + 0.6), layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlim=(-0.9, width - 0.9), ylim=(-reach, reach))
    for (source, target, operation), live in zip(graph, alive, strict=True):
        if operation == "none":
            continue
        start, end, height = place[source], place[target], side[source, target]
        colour = COLOURS.get(operation, "#8e44ad")
        # A quadratic arc of curvature r peaks at r / 2 times its chord.
        curvature = -2 * height / (end - start)
        style = "solid" if live else "dashed"
        arrow = FancyArrowPatch(
            (start, 0), (end, 0), connectionstyle=f"arc3,rad={curvature}", arrowstyle="-|>", mutation_scale=18, shrinkA=24, shrinkB=24,
            color=colour, linestyle=style, linewidth=2,
        )  # fmt: skip
        axes.add_patch(arrow)
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour}
        axes.text((start + end) / 2, height, operation, ha="center", va="center", fontsize=11, color=colour, bbox=box)
    circle = {"boxstyle": "circle,pad=0.5", "facecolor": "#ecf0f1", "edgecolor": "#2c3e50"}
    for name, x in place.items():
        axes.text(x, 0, name, ha="center", va="center", fontsize=12, bbox=circle)
    axes.set_axis_off()
    axes.set_title(title or space.to_string(architecture), fontsize=12)
    figure.savefig(path, dpi=120)
    return path
