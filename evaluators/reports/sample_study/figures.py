"""Figures of a sample study in the form of UnNAS' figures 2 to 5. matplotlib is imported when a figure is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nni_plugins.spaces.drawing import INK

from ...statistics.correlation import Correlation
from ..figures import SERIES, label, panels, tidy
from .measurements import Experiments, Measurements, robust_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4
Pair = tuple[str, str]
"""(what ranks, what it is compared with)."""


def scatter_figure(measured: Measurements, correlations: Mapping[Pair, Correlation], title: str = "") -> Figure:
    """A panel a pair: x is the truth, y what ranks, both in percent; a dot an architecture; the line is Theil and
    Sen's; rho above it.
    """
    rows = -(-len(correlations) // COLUMNS)
    figure, axes = _separate(rows, min(COLUMNS, len(correlations)), title)
    for ax, ((score, truth), found), colour in zip(axes, correlations.items(), _colours(correlations), strict=False):
        both = measured.complete([score, truth])
        x, y = both.column(truth), both.column(score)
        ax.scatter(x, y, s=12, color=colour, alpha=0.65, linewidths=0)
        slope, intercept = robust_line(x, y)
        if np.isfinite(slope):
            ends = np.array([x.min(), x.max()])
            ax.plot(ends, slope * ends + intercept, color=INK, linewidth=1.2)
        rho = found.spearman
        text = (
            f"ρ = {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}]"
            if np.isfinite(rho.value)
            else "ρ undefined: all equal"
        )
        label(ax, f"{truth} (%)", f"{score} (%)", text)
    for ax in axes[len(correlations) :]:
        ax.set_visible(False)
    return figure


def _separate(rows: int, columns: int, title: str) -> tuple[Figure, list[Axes]]:
    """Axes that share nothing: the panels of one figure have different truths."""
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(2.7 * columns, 2.6 * rows + (0.35 if title else 0)), facecolor="white", layout="constrained"
    )
    if title:
        figure.suptitle(title, fontsize=9.5, color=INK)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        tidy(ax)
    return figure, axes


def _colours(pairs: Mapping[Pair, Correlation]) -> list[str]:
    """One a ranking list, wherever it stands."""
    names = list(dict.fromkeys(score for score, _ in pairs))
    return [SERIES[names.index(score) % len(SERIES)] for score, _ in pairs]


def efficiency_figure(curves: Mapping[Pair, Sequence[Experiments]], title: str = "") -> Figure:
    """A panel a truth, a curve a ranking list: mean truth of the winners by the size of the random experiment, and two
    deviations about it.
    """
    truths = list(dict.fromkeys(truth for _, truth in curves))
    names = list(dict.fromkeys(score for score, _ in curves))
    figure, grid = panels(1, len(truths), (3.7, 3.0), share_y=False, title=title)
    for ax, truth in zip(grid[0], truths, strict=True):
        for s, name in enumerate(names):
            curve = curves.get((name, truth))
            if curve is None:
                continue
            budgets, colour = [point.budget for point in curve], SERIES[s % len(SERIES)]
            ax.plot(
                budgets,
                [point.mean for point in curve],
                color=colour,
                marker=".",
                linewidth=1.5,
                label=f"best by {name}",
            )
            ax.fill_between(
                budgets, [p.low for p in curve], [p.high for p in curve], color=colour, alpha=0.12, linewidth=0
            )
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
        label(ax, "architectures in a random experiment", f"{truth} of the best (%)")
    handles = {text: handle for ax in grid[0] for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles=list(handles.values()),
        loc="outside lower center",
        ncols=min(4, len(handles)),
        fontsize=8,
        frameon=False,
    )
    return figure
