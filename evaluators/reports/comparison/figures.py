"""Figures of a comparison, each readable at the width of a page. matplotlib is imported when a figure is drawn; torch
never is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.drawing import INK, UNNAMED

from ...randomness import generator
from .analysis import Analysis
from .record import Comparison
from .sentences import amount, p_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a")
"""Okabe and Ito's, which colour-blind readers tell apart; the baseline is grey."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
"""Of the lines that stand for baselines."""
RANDOM = "#4d4d4d"
WIDTH = 7.2
"""Inches."""
AXES = ("epoch", "step", "round", "iteration", "query")
"""What a curve may be drawn over, best first."""
Floats = npt.NDArray[np.float64]


def looks(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """(colour, marker) of each policy, the same in all figures."""
    names = [name for name in comparison.policies if name != comparison.baseline]
    found = {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}
    return {**found, comparison.baseline: (RANDOM, "o")}


def _figure(height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), facecolor="white", layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for ax in axes:
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            ax.spines[side].set_color(UNNAMED)
        ax.tick_params(labelsize=9, colors=INK, length=3)
        ax.grid(True, color="#e5e8e8", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def named(metric: str, unit: str) -> str:
    """The label of an axis."""
    return f"{metric} ({unit})" if unit else metric


def _rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(False, axis="y")


def distribution_figure(analysis: Analysis) -> Figure:
    """A row a policy: a dot a seed, the box from quartile to quartile with the median, and below it the mean with its
    95 % t interval. A line through all rows stands for a baseline, or for the mean of the real best.

    The axis spans what seeds and baselines span and a little more: the interval of two or three seeds may leave it.
    """
    comparison = analysis.comparison
    lines = [(one.name, one.value) for one in comparison.baselines]
    lines += [] if analysis.real_best is None else [("real best", analysis.real_best.mean)]
    figure, (ax,) = _figure(0.9 + 0.62 * len(comparison.policies) + 0.25 * bool(lines))
    for y, (policy, (colour, marker)) in enumerate(looks(comparison).items()):
        x = np.array([run.value for run in comparison.first_choices(policy)])
        shift = generator(y, "comparison jitter").uniform(-0.11, 0.11, size=len(x)) - 0.12
        box: dict[str, Any] = {"color": colour, "linewidth": 1.0}
        ax.boxplot(
            x, positions=[y - 0.12], orientation="horizontal", widths=0.36, showfliers=False, showcaps=False, whis=(0, 100),
            boxprops=box, whiskerprops=box, medianprops={**box, "linewidth": 2.0}, manage_ticks=False,
        )  # fmt: skip
        ax.scatter(x, y + shift, s=20, color=colour, marker=marker, alpha=0.75, linewidths=0, zorder=3)
        found = analysis.summaries[policy]
        ends = [[found.mean - found.t_interval.low], [found.t_interval.high - found.mean]]
        ax.errorbar(
            found.mean,
            y + 0.25,
            xerr=ends,
            color=colour,
            marker="|",
            markersize=9,
            markeredgewidth=2,
            capsize=3,
            linewidth=1.6,
        )
    for i, (name, value) in enumerate(lines):
        ax.axvline(value, color=INK, linewidth=1.1, linestyle=DASHES[i % len(DASHES)], label=name, zorder=1)
    values = [run.value for run in comparison.runs if run.rank == 0] + [value for _, value in lines]
    room = 0.12 * (max(values) - min(values)) or 1.0
    ax.set_xlim(min(values) - room, max(values) + room)
    _rows(ax, comparison.policies)
    better = "larger is better" if comparison.larger_is_better else "smaller is better"
    ax.set_xlabel(f"{named(comparison.metric, comparison.unit)}, {better}", fontsize=9, color=INK)
    if lines:
        figure.legend(loc="outside lower center", ncols=min(4, len(lines)), fontsize=9, frameon=False)
    return figure


def difference_figure(analysis: Analysis, baseline: str) -> Figure:
    """A row a policy: its mean improvement over ``baseline`` with the 95 % interval; right of zero is better. Its
    numbers stand beside it.
    """
    comparison, differences = analysis.comparison, analysis.against(baseline)
    figure, (ax,) = _figure(1.1 + 0.42 * len(differences))
    appearance = looks(comparison)
    for y, d in enumerate(differences):
        colour, marker = appearance[d.policy]
        sure = d.verdict in ("better", "worse")
        drawn: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 7,
            "markerfacecolor": colour if sure else "white",
            "capsize": 3,
        }
        ends = (d.t_test.interval.low, d.t_test.interval.high)
        ax.errorbar(
            d.improvement, y, xerr=None if np.isnan(ends[0]) else (ends[1] - ends[0]) / 2, linewidth=1.8, **drawn
        )
        text = f"{d.improvement:+.{analysis.decimals}f}, {p_text(d.p_holm)}"
        ax.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=INK)
    ax.axvline(0, color=RANDOM, linewidth=1.2)
    _rows(ax, [d.policy for d in differences])
    unit = amount(0, comparison.unit, 0).removeprefix("0").strip()
    ax.set_xlabel(
        f"improvement over {baseline}{f' ({unit})' if unit else ''}: worse < 0 < better",
        fontsize=9,
        color=INK,
    )
    return figure


def curve_measure(comparison: Comparison, which: str = "curve") -> tuple[str, str] | None:
    """(axis, measure) that the rows of all first choices have: of the measures one that validates, else the best so
    far, accuracy, perplexity, loss, else the first; None where there are no curves, or no common measure."""
    curves = [getattr(run, which) for run in comparison.runs if run.rank == 0 and getattr(run, which)]
    if not curves:
        return None
    common = [name for name in curves[0][-1] if all(name in row for rows in curves for row in (rows[0], rows[-1]))]
    axis = next((name for name in AXES if name in common), None)
    measures = [name for name in common if name not in AXES and "learning_rate" not in name]
    if axis is None or not measures:
        return None
    wanted = [m for part in ("valid", "best", "accuracy", "perplexity", "loss") for m in measures if part in m]
    return axis, (wanted or measures)[0]


def curve_figure(comparison: Comparison, which: str = "curve", measure: str | None = None) -> Figure | None:
    """Learning curves of the first choices: left the mean over seeds and a band of one sample deviation, right the seed
    with the best value.

    Args:
        comparison: the runs.
        which: ``curve`` (stand-alone training) or ``search_curve``.
        measure: what to draw; None: :func:`curve_measure`.

    Returns:
        None where no policy has such curves.
    """
    found = curve_measure(comparison, which)
    if found is None:
        return None
    axis, measure = found[0], measure or found[1]
    figure, (mean_axes, best_axes) = _figure(3.1, 2)
    for policy, (colour, marker) in looks(comparison).items():
        runs = [run for run in comparison.first_choices(policy) if getattr(run, which)]
        if not runs:
            continue
        xs, ys = _aligned([getattr(run, which) for run in runs], axis, measure)
        drawn: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 3.5,
            "markevery": max(1, len(xs) // 8),
            "linewidth": 1.5,
        }
        mean_axes.plot(xs, ys.mean(axis=0), label=policy, **drawn)
        if len(ys) > 1:
            band = ys.std(axis=0, ddof=1)
            mean_axes.fill_between(
                xs, ys.mean(axis=0) - band, ys.mean(axis=0) + band, color=colour, alpha=0.15, linewidth=0
            )
        best = (max if comparison.larger_is_better else min)(runs, key=lambda run: run.value)
        x, y = _aligned([getattr(best, which)], axis, measure)
        best_axes.plot(x, y[0], **drawn)
    for ax, title in ((mean_axes, "mean and one deviation"), (best_axes, "the best seed")):
        ax.set_xlabel(axis, fontsize=9, color=INK)
        ax.set_title(title, fontsize=9, color=INK)
    mean_axes.set_ylabel(measure.replace("_", " "), fontsize=9, color=INK)
    _robust_limits([mean_axes, best_axes])
    figure.legend(
        *mean_axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(6, len(comparison.policies)),
        fontsize=9,
        frameon=False,
    )
    return figure


def _aligned(curves: Sequence[Sequence[Mapping[str, float]]], axis: str, measure: str) -> tuple[Floats, Floats]:
    """x: (k,), those that all curves have, and y: (curves, k)."""
    tables = [{row[axis]: row[measure] for row in rows if axis in row and measure in row} for rows in curves]
    xs = sorted(set.intersection(*(set(table) for table in tables)))
    return np.array(xs, dtype=np.float64), _finite(
        np.array([[table[x] for x in xs] for table in tables], dtype=np.float64)
    )


def _finite(values: Floats) -> Floats:
    """A perplexity may overflow in the first epochs; such points are not drawn."""
    found: Floats = np.where(np.isfinite(values), values, np.nan)
    return found


def _robust_limits(axes: Sequence[Axes]) -> None:
    """The same limits for all, without the first quarter of the curves: a perplexity begins at thousands and ends at a
    hundred.
    """
    drawn = [np.asarray(line.get_ydata(), dtype=np.float64) for ax in axes for line in ax.lines]
    late = np.concatenate([y[len(y) // 4 :] for y in drawn] or [np.zeros(1)])
    late = late[np.isfinite(late)]
    if len(late) and np.ptp(late) > 0:
        room = 0.06 * np.ptp(late)
        for ax in axes:
            ax.set_ylim(late.min() - room, late.max() + room)
