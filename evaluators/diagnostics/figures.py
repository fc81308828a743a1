"""Figures of diagnostics: functions from numbers to a figure. Free of torch; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nni_plugins.spaces.drawing import INK

from ..reports.figures import SERIES, label, panels
from .curves import EtaCurve, LambdaCurve
from .settings import TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _by_trainable(curves: Sequence[Any]) -> dict[str, list[Any]]:
    return {
        kind: [c for c in curves if c.trainable == kind] for kind in TITLES if any(c.trainable == kind for c in curves)
    }


def lambda_figure(curves: Sequence[LambdaCurve]) -> Figure:
    """One panel a way of training; a colour an initial lambda: the mean over the blocks thick, each block thin."""
    groups, initials = _by_trainable(curves), sorted({curve.initial for curve in curves})
    figure, axes = panels(1, len(groups), (3.6, 2.9))
    for ax, (kind, group) in zip(axes[0], groups.items(), strict=True):
        for curve in group:
            colour, epochs = SERIES[initials.index(curve.initial) % len(SERIES)], np.arange(len(curve.values))
            if curve.values.shape[1] > 1:
                ax.plot(epochs, curve.values, color=colour, linewidth=0.6, alpha=0.35)
            ax.plot(epochs, curve.values.mean(axis=1), color=colour, linewidth=2, label=f"starts at {curve.initial:g}")
        ax.set_ylim(-0.03, 1.03)
        label(ax, "epoch", "λ of skip connections" if ax is axes[0][0] else "", TITLES[kind])
    handles = axes[0][0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    return figure


def eta_figure(curves: Sequence[EtaCurve]) -> Figure:
    """Geometric mean over the layers, their 10 % to 90 % and whole range, on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = panels(1, 1, (4.6, 3.2))
    ax = axes[0][0]
    for curve, colour in zip(curves, SERIES, strict=False):
        eta, epochs = np.maximum(curve.eta, 1e-12), np.arange(len(curve.eta))
        low, high = np.quantile(eta, [0.1, 0.9], axis=1)
        ax.fill_between(epochs, eta.min(axis=1), eta.max(axis=1), color=colour, alpha=0.10, linewidth=0)
        ax.fill_between(epochs, low, high, color=colour, alpha=0.22, linewidth=0)
        ax.plot(epochs, np.exp(np.log(eta).mean(axis=1)), color=colour, linewidth=2, label=TITLES[curve.trainable])
    ax.axhline(1, color=INK, linewidth=0.8, linestyle="dotted")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_minor_locator(NullLocator())
    label(ax, "epoch", "η: Var[Wγ/σ] / Var[W at the start]", f"relative variance of {curves[0].eta.shape[1]} layers")
    key: dict[str, Any] = {
        "ncols": 2,
        "fontsize": 8,
        "frameon": False,
        "title": "line: mean; shaded: 10–90 % of the layers, and all of them",
        "title_fontsize": 8,
    }
    figure.legend(handles=ax.get_legend_handles_labels()[0], loc="outside lower center", **key)
    return figure


def bars(ax: Axes, groups: Sequence[str], series: Mapping[str, Sequence[Sequence[float]]], unit: str = "") -> None:
    """For each group a bar a series: the mean of its values, which stand on it as dots; its number above it."""
    width = 0.8 / len(series)
    top = max((v for values in series.values() for several in values for v in several), default=1.0)
    for s, (name, values) in enumerate(series.items()):
        for g, several in enumerate(values):
            if not several:
                continue
            x, mean = g + (s - (len(series) - 1) / 2) * width, float(np.mean(several))
            ax.bar(x, mean, 0.92 * width, color=SERIES[s], alpha=0.75, label=name if g == 0 else None, linewidth=0)
            if len(several) > 1:
                ax.scatter([x] * len(several), several, s=7, color=INK, zorder=3, linewidths=0)
            ax.annotate(
                f"{mean:.1f}{unit}",
                (x, max(several)),
                (0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=INK,
            )
    ax.set_xticks(range(len(groups)), groups)
    ax.set_ylim(0, 1.15 * top)
    ax.grid(False, axis="x")


def option_figure(rows: Mapping[str, Sequence[tuple[float, float]]], title: str = "") -> Figure:
    """Option -> (supernet accuracy, accuracy of what it found) of every seed, both in percent (RF-DARTS, figure 1)."""
    figure, axes = panels(1, 1, (4.4, 3.0))
    series = {
        "supernet, all operations mixed": [[pair[0] for pair in rows[option]] for option in rows],
        "architecture found": [[pair[1] for pair in rows[option]] for option in rows],
    }
    bars(axes[0][0], [f"option {option}" for option in rows], series)
    label(axes[0][0], "", "accuracy (%)", title)
    figure.legend(
        handles=axes[0][0].get_legend_handles_labels()[0],
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    return figure


def depth_figure(rows: Mapping[tuple[str, str], tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """(trainable, network) -> training and test errors of every seed in percent; the latter may be empty (RF-DARTS,
    figure 2).
    """
    kinds = [kind for kind in TITLES if any(key[0] == kind for key in rows)]
    networks = list(dict.fromkeys(key[1] for key in rows))
    figure, axes = panels(1, len(kinds), (3.2, 2.9))
    for ax, kind in zip(axes[0], kinds, strict=True):
        pairs = [rows.get((kind, network), ((), ())) for network in networks]
        series = {"training error": [p[0] for p in pairs], "test error": [p[1] for p in pairs]}
        bars(ax, networks, {name: values for name, values in series.items() if any(values)})
        label(ax, "", "error (%)" if ax is axes[0][0] else "", TITLES[kind])
    top = max(ax.get_ylim()[1] for ax in axes[0])
    axes[0][0].set_ylim(0, top)
    handles = max((ax.get_legend_handles_labels()[0] for ax in axes[0]), key=len)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
