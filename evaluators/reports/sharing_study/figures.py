"""Pictures of a weight-sharing study, after figure 4 of the paper and two of its released scripts. matplotlib is
imported when one is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nni_plugins.spaces.drawing import INK, UNNAMED

from ...statistics.ranking_metrics import position_changes
from ..figures import SERIES, label, panels, tidy
from .amount import Amounts
from .measures import KeyAgreement, Study, positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 10
"""Cells in a panel: the truly best ones."""


def short(name: str) -> str:
    """``tanh 0, relu 1`` of a genotype in DARTS' text."""
    pairs = name.partition("[(")[2].partition(")]")[0].split("), (")
    return ", ".join(pair.replace("'", "").replace(", ", " ") for pair in pairs)


def _chosen(agreement: KeyAgreement) -> list[tuple[str, int]]:
    return [("best run", agreement.best), ("average run", agreement.average), ("worst run", agreement.worst)]


def rank_change_figure(study: Study, agreements: Sequence[KeyAgreement]) -> Figure:
    """A row a sharing key, a column the best, the average and the worst run. Points are the ten truly best cells, in
    their order; colour and number are how many positions the shared weights misplace them."""
    figure, grid = panels(len(agreements), 3, (3.3, 2.6))
    order = np.argsort(study.truth, kind="stable")[:SHOWN]
    for row, found in zip(grid, agreements, strict=True):
        for ax, (title, run) in zip(row, _chosen(found), strict=True):
            values = study.shared[found.key][run]
            changes = np.abs(position_changes(-values, -study.truth))[order]
            x = np.arange(1, len(order) + 1)
            ax.scatter(
                x,
                positions(values)[order],
                c=changes,
                cmap="RdYlGn_r",
                vmin=0,
                vmax=len(study.truth) - 1,
                s=180,
                edgecolors=INK,
                linewidths=0.5,
            )
            for place, height, change in zip(x, positions(values)[order], changes, strict=True):
                ax.text(float(place), float(height), f"{change:g}", ha="center", va="center", fontsize=7, color=INK)
            ax.plot([1, len(order)], [1, len(order)], color=UNNAMED, linewidth=0.8, zorder=0)
            ax.set_ylim(len(study.truth) + 2, -1)
            label(
                ax, "true position", "position by shared weights", f"{found.key}: {title}, seed {study.run_seeds[run]}"
            )
    return figure


def line_figure(study: Study, agreements: Sequence[KeyAgreement]) -> Figure:
    """Positions of the ten truly best cells over the epochs of the best, average and worst run of each key; the last
    column is the truth.
    """
    figure, grid = panels(len(agreements), 3, (3.6, 2.8))
    order = np.argsort(study.truth, kind="stable")[:SHOWN]
    true = positions(study.truth)
    marks = np.arange(len(study.epochs) + 1)
    for row, found in zip(grid, agreements, strict=True):
        for ax, (title, run) in zip(row, _chosen(found), strict=True):
            ranks = np.stack([*(positions(values) for values in study.curves[found.key][run]), true])
            for shade, cell in zip(np.linspace(0.9, 0.25, len(order)), order, strict=True):
                ax.plot(marks, ranks[:, cell], color=SERIES[0], alpha=float(shade), marker=".", linewidth=1.2)
            ax.set_xticks(marks, [*map(str, study.epochs), "true"], fontsize=7)
            ax.set_ylim(len(true) + 1, 0)
            label(ax, "epochs", "position", f"{found.key}: {title}, seed {study.run_seeds[run]}")
    return figure


def truth_figure(study: Study, agreements: Sequence[KeyAgreement]) -> Figure:
    """Bars: stand-alone perplexity, mean and one standard deviation over seeds, truly best cell first. Lines, on an
    axis of their own: mean perplexity with shared weights, a line a sharing key."""
    from matplotlib.figure import Figure

    order = np.argsort(study.truth, kind="stable")
    figure = Figure(figsize=(max(5.0, 0.34 * len(order)), 4.2), facecolor="white", layout="constrained")
    ax = figure.subplots()
    tidy(ax)
    x = np.arange(len(order))
    deviation = study.stand_alone.std(1, ddof=1) if study.stand_alone.shape[1] > 1 else np.zeros(len(order))
    ax.bar(x, study.truth[order], yerr=deviation[order], color="#aab7b8", ecolor=INK, capsize=2, width=0.7)
    low, high = (study.truth - deviation).min(), (study.truth + deviation).max()
    ax.set_ylim(low - 0.15 * (high - low), high + 0.1 * (high - low))
    ax.set_xticks(x, [short(study.cells.names[i]) for i in order], rotation=90, fontsize=6.5)
    label(ax, "", "stand-alone perplexity (bars)")
    _shared_lines(ax, study, agreements, order)
    return figure


def _shared_lines(
    ax: Axes, study: Study, agreements: Sequence[KeyAgreement], order: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> None:
    other = ax.twinx()
    for found, colour in zip(agreements, SERIES, strict=False):
        other.plot(
            np.arange(len(order)),
            study.shared[found.key].mean(0)[order],
            color=colour,
            marker=".",
            linewidth=1.2,
            label=f"shared: {found.key}",
        )
    other.set_ylabel("perplexity with shared weights (lines)", fontsize=9, color=INK)
    other.tick_params(labelsize=8, colors=UNNAMED, length=3)
    other.legend(fontsize=8, frameon=False, loc="upper left")


def amount_figure(study: Study, found: Sequence[Amounts]) -> Figure:
    """A panel a sharing key: stand-alone position and mean position over the runs of every cell, by the number of
    shared matrices.
    """
    figure, grid = panels(1, len(found), (3.4, 3.0))
    groups = study.cells.groups
    assert groups is not None
    true = positions(study.truth)
    for ax, one in zip(grid[0], found, strict=True):
        mean = np.stack([positions(row) for row in study.shared[one.key]]).mean(0)
        for shift, values, colour, name in (
            (-0.12, true, "#5d6d7e", "stand-alone"),
            (0.12, mean, SERIES[1], "shared weights"),
        ):
            ax.scatter(groups + shift, values, color=colour, s=26, label=name, alpha=0.8, linewidths=0)
        ax.set_ylim(len(true) + 0.7, 0.3)
        label(ax, "shared matrices before the searched node", "position", f"sharing: {one.key}")
    figure.legend(
        *grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    return figure
