"""Figures of a ranking study. matplotlib is imported when a figure is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from nni_plugins.spaces.drawing import INK, UNNAMED

from ...statistics.ranking_metrics import null_deviations
from ..figures import SERIES, label, panels
from .rows import Condition, Floats, Row, Schedule, Sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
Kind = tuple[Sizes, Schedule]


def epochs_figure(rows: Sequence[Row], title: str = "") -> Figure:
    """PA and rho against the epochs: a line a kind of training through the means over its seeds, a dot a seed with its
    bootstrap interval; grey is where 95 % of unrelated scores lie."""
    figure, axes = panels(1, 2, (4.3, 3.1), share_y=False, title=title)
    kinds: list[Kind] = list(dict.fromkeys((row.condition.sizes, row.condition.schedule) for row in rows))
    epochs = sorted({row.condition.epochs for row in rows})
    null = null_deviations(rows[0].agreement.architectures)
    width = 0.5 * min([b - a for a, b in pairwise(epochs)] or [1])
    for ax, measure, centre, deviation, text in (
        (axes[0][0], "pairwise", 0.5, null.pairwise, "pairwise accuracy"),
        (axes[0][1], "spearman", 0.0, null.spearman, "Spearman's ρ"),
    ):
        ax.axhspan(centre - 1.96 * deviation, centre + 1.96 * deviation, color=UNNAMED, alpha=0.13, linewidth=0)
        ax.axhline(centre, color=UNNAMED, linewidth=0.8)
        for k, kind in enumerate(kinds):
            colour = SERIES[k % len(SERIES)]
            chosen = [row for row in rows if (row.condition.sizes, row.condition.schedule) == kind]
            means = [
                np.mean([getattr(r.agreement, measure).value for r in chosen if r.condition.epochs == e])
                for e in epochs
            ]
            ax.plot(epochs, means, color=colour, linewidth=1.6, label=f"{kind[0]}, {kind[1]}")
            seeds = sorted({row.condition.seed for row in chosen})
            for row in chosen:
                one = getattr(row.agreement, measure)
                place = (k * len(seeds) + seeds.index(row.condition.seed) + 0.5) / (len(kinds) * len(seeds)) - 0.5
                x = row.condition.epochs + width * place  # beside one another, so that intervals can be told apart
                ax.plot([x, x], [one.low, one.high], color=colour, linewidth=0.9, alpha=0.55)
                ax.scatter([x], [one.value], color=colour, s=13, zorder=3, linewidths=0)
        ax.set_xticks(epochs)
        label(ax, "epochs of the supernet's training", text)
    figure.legend(
        handles=axes[0][0].get_legend_handles_labels()[0],
        loc="outside lower center",
        ncols=min(4, len(kinds)),
        fontsize=8,
        frameon=False,
    )
    return figure


def scatter_figure(points: Mapping[Condition, tuple[Floats, Floats]], rows: Sequence[Row]) -> Figure:
    """A panel a condition, of its first seed: one-shot score against truth, a dot an architecture, both in percent.
    Truths far below the rest, such as of cells without any path, are triangles at the left border."""
    first: dict[tuple[Sizes, Schedule, int], Row] = {}
    for row in rows:
        first.setdefault((row.condition.sizes, row.condition.schedule, row.condition.epochs), row)
    columns = min(COLUMNS, len(first))
    figure, grid = panels(-(-len(first) // columns), columns, (2.6, 2.4), share_y=False)
    flat = [ax for line in grid for ax in line]
    kinds = list(dict.fromkeys(key[:2] for key in first))
    for ax, (key, row) in zip(flat, first.items(), strict=False):
        scores, truth = points[row.condition]
        fence = _fence(truth)
        for inside, marker in ((truth >= fence, "o"), (truth < fence, "<")):
            x = np.maximum(truth[inside], fence)
            ax.scatter(
                x,
                scores[inside],
                s=12,
                marker=marker,
                color=SERIES[kinds.index(key[:2]) % len(SERIES)],
                alpha=0.65,
                linewidths=0,
            )
        a = row.agreement
        label(ax, "", "", f"{key[0]}, {key[1]}, {key[2]} epochs\nPA {a.pairwise.value:.2f}, ρ {a.spearman.value:.2f}")
        ax.tick_params(labelbottom=True)
    for ax in flat[len(first) :]:
        ax.set_visible(False)
    figure.supxlabel("true accuracy (%)", fontsize=9, color=INK)
    figure.supylabel("one-shot accuracy (%)", fontsize=9, color=INK)
    return figure


def _fence(truth: Floats) -> float:
    """Four interquartile ranges below the lower quartile: a dead cell must not press all others into one column."""
    low, high = np.percentile(truth, [25, 75])
    return float(low - 4 * (high - low)) if high > low else float(truth.min())
