"""Figures of what a differentiable search left: probabilities by edge, entropies, skip connections, eigenvalues."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from nni_plugins.spaces.drawing import INK, colour

from ..reports.figures import SERIES, label, panels
from .search_record import Edge, SearchRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("solid", "dashed", "dashdot", "dotted")
COLUMNS = 5
"""Panels in a line of :func:`mixture_figure`, unless a cell has fewer edges."""


def look(operations: Sequence[str]) -> dict[str, dict[str, object]]:
    """How each operation's line looks: its colour of the drawings, and dashes where an earlier one has that colour.
    Skips are thick.
    """
    looks: dict[str, dict[str, object]] = {}
    for name in operations:
        ink = INK if name == "none" else colour(name)
        taken = sum(other["color"] == ink for other in looks.values())
        style = "dotted" if name == "none" else STYLES[taken % len(STYLES)]
        looks[name] = {"color": ink, "linestyle": style, "linewidth": 2.4 if name == "skip_connect" else 1.3}
    return looks


def _cells(edges: Sequence[Edge]) -> list[list[Edge]]:
    return [list(group) for _, group in groupby(edges, key=lambda edge: edge.cell)]


def _mark(ax: Axes, record: SearchRecord) -> None:
    for back in record.rollbacks:
        ax.axvline(back.epoch, color=INK, linewidth=1, linestyle="dotted")


def mixture_figure(record: SearchRecord) -> Figure:
    """One panel an edge, one line an operation: its probability, softmax of the architecture parameters (RF-DARTS,
    figure 5).
    """
    from matplotlib.lines import Line2D

    cells = _cells(record.edges)
    columns = min(COLUMNS, max(map(len, cells)))
    lines = [edges[i : i + columns] for edges in cells for i in range(0, len(edges), columns)]
    figure, axes = panels(
        len(lines),
        columns,
        (max(1.7, 6.6 / columns), 1.55 if len(lines) > 2 else 2.1),
        title=f"{record.name}: probability of each operation, by edge",
    )
    looks = look(list(dict.fromkeys(name for edge in record.edges for name in edge.operations)))
    for r, (row, edges) in enumerate(zip(axes, lines, strict=True)):
        for ax, edge in zip(row, edges, strict=False):
            for name, values in zip(edge.operations, edge.values.T, strict=True):
                ax.plot(record.epochs, values, **looks[name])  # type: ignore[arg-type]
            _mark(ax, record)
            label(ax, title=f"{edge.cell} {edge.name}")
        label(row[0], y="probability", title=row[0].get_title())
        for c, ax in enumerate(row):
            if c >= len(edges):
                ax.set_visible(False)
            elif r + 1 == len(lines) or c >= len(lines[r + 1]):
                ax.set_xlabel("epoch", fontsize=9, color=INK)
                ax.tick_params(labelbottom=True)
    handles = [Line2D([], [], label=name, **style) for name, style in looks.items()]  # type: ignore[arg-type]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(5, len(handles)),
        fontsize=8,
        frameon=False,
        handlelength=3,
    )
    return figure


def entropy_figure(record: SearchRecord) -> Figure:
    """Entropy of every edge over epochs, a panel a kind of cell; grey: where all operations are equally probable."""
    cells = _cells(record.edges)
    figure, axes = panels(1, len(cells), (3.9, 2.8), title=f"{record.name}: entropy of each edge")
    for ax, edges in zip(axes[0], cells, strict=True):
        for e, edge in enumerate(edges):
            colour, style = SERIES[e % len(SERIES)], STYLES[e // len(SERIES) % len(STYLES)]
            ax.plot(record.epochs, edge.entropy, color=colour, linestyle=style, linewidth=1.3, label=edge.name)
        for size in {len(edge.operations) for edge in edges}:
            ax.axhline(np.log(size), color="#aab7b8", linewidth=1)
        _mark(ax, record)
        label(ax, "epoch", "entropy (nats)" if ax is axes[0][0] else "", edges[0].cell)
    handles = max((ax.get_legend_handles_labels()[0] for ax in axes[0]), key=len)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(7 if len(cells) > 1 else 4, len(handles)),
        fontsize=8,
        frameon=False,
        handlelength=2,
    )
    return figure


def skip_figure(records: Sequence[SearchRecord]) -> Figure:
    """Skip connections of what would be derived after each epoch: a panel a kind of cell, a line a search; grey: as
    many as there are operations.
    """
    from matplotlib.ticker import MaxNLocator

    kinds = list(records[0].derived)
    figure, axes = panels(1, len(kinds), (3.9, 2.8))
    for ax, kind in zip(axes[0], kinds, strict=True):
        most = 0
        for r, record in enumerate(records):
            counts, shift = record.derived[kind], (r - (len(records) - 1) / 2) * 0.06  # so that equal lines are seen
            colour = SERIES[r % len(SERIES)]
            ax.step(record.epochs, counts[:, 0] + shift, where="mid", color=colour, linewidth=1.5, label=record.name)
            if record.stopped is not None:
                ax.plot(
                    [record.stopped],
                    [counts[record.epochs.index(record.stopped), 0] + shift],
                    "o",
                    color=colour,
                    markersize=5,
                )
            most = max(most, int(counts[:, 1].max()))
        ax.axhline(most, color="#aab7b8", linewidth=1, label="all operations")
        ax.set_ylim(-0.3, most + 0.4)
        ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
        label(ax, "epoch", "skip connections" if ax is axes[0][0] else "", kind)
    handles, names = axes[0][0].get_legend_handles_labels()
    entry = 0.55 + 0.075 * max(map(len, names))  # inches
    columns = max(1, min(int(figure.get_figwidth() / entry), len(handles)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return figure


def eigenvalue_figure(records: Sequence[SearchRecord]) -> Figure:
    """Dominant eigenvalue of the validation loss's Hessian by epoch (R-DARTS).

    A dotted line marks the epoch that a search went back to, a dashed curve what it gave up thereby.
    """
    figure, axes = panels(1, 1, (4.6, 3.0))
    ax = axes[0][0]
    for r, record in enumerate(records):
        colour = SERIES[r % len(SERIES)]
        points = sorted(record.eigenvalues.items())
        if points:
            ax.plot(*zip(*points, strict=True), color=colour, marker=".", linewidth=1.4, label=record.name)
        for back in record.rollbacks:
            kept = [point for point in points if point[0] <= back.epoch][-1:]
            ax.plot(
                *zip(*[*kept, *sorted(back.eigenvalues.items())], strict=True),
                color=colour,
                linestyle="dashed",
                linewidth=1,
                alpha=0.7,
            )
            done = "stopped at" if back.method == "early_stop" else "rolled back to"
            said = f"{record.name} {done} {back.epoch}"
            known = said in ax.get_legend_handles_labels()[1]  # an adaptive search may go back to one epoch twice
            ax.axvline(
                back.epoch, color=colour, linewidth=1.2, linestyle="dotted", label="_nolegend_" if known else said
            )
    label(ax, "epoch", "dominant eigenvalue", "Hessian of the validation loss")
    ax.legend(fontsize=8, frameon=False, loc="best")
    return figure
