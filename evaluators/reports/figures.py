"""The look of all figures, and how they are saved. matplotlib is imported when a figure is drawn."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nni_plugins.spaces.drawing import INK, SUFFIXES, UNNAMED
from nni_plugins.spaces.errors import shown

from ..errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = ("#2471a3", "#b03a2e", "#1e8449", "#b7950b", "#7d3c98", "#5d6d7e")
"""Colours of curves that stand for no operation."""
DOTS = 130
"""Dots an inch of PNG."""


def panels(
    rows: int, columns: int, size: tuple[float, float], share_y: bool = True, title: str = ""
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``rows`` x ``columns`` axes, each of ``size`` inches."""
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(columns * size[0], rows * size[1] + (0.35 if title else 0)), facecolor="white", layout="constrained"
    )
    if title:
        figure.suptitle(title, fontsize=9.5, color=INK)
    grid = figure.subplots(rows, columns, sharex=True, sharey=share_y, squeeze=False)
    for axes in grid.flat:
        tidy(axes)
    return figure, [list(row) for row in grid]


def tidy(axes: Axes) -> None:
    """The house's look: two spines, small grey ticks, whole epochs."""
    from matplotlib.ticker import MaxNLocator

    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(UNNAMED)
    axes.tick_params(labelsize=8, colors=UNNAMED, length=3)
    axes.grid(True, color="#e5e8e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def label(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Labels and title in the house's sizes."""
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.set_title(title, fontsize=9, color=INK)


def save(figure: Figure, path: Path) -> Path:
    """Write PNG, SVG or PDF by the ending of ``path``.

    Raises:
        ConfigError: another ending than those known, or no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"picture: {shown(path.name)} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    if not path.parent.is_dir():
        raise ConfigError(
            f"picture: there is no folder {shown(str(path.parent))} to write {shown(path.name)} into.",
            "Create it first.",
        )
    path.write_bytes(_content(figure, path.suffix.lower()))
    return path


def svg(figure: Figure) -> bytes:
    """Its letters are outlines, so that every viewer shows the same."""
    return _content(figure, ".svg")


def literal(figure: Figure) -> None:
    """Names and titles are shown as they are: a ``$`` in them begins no formula. Numbers on axes keep theirs, such as
    powers of ten.
    """
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    named = (FixedFormatter, FuncFormatter, StrCategoryFormatter)
    formulas = set[Any]()
    for axes in figure.get_axes():
        for axis in (axes.xaxis, axes.yaxis):
            if not isinstance(axis.get_major_formatter(), named):
                formulas |= {*axis.get_ticklabels(), axis.get_offset_text()}
            formulas |= {*axis.get_ticklabels(minor=True)}
    for text in figure.findobj(Text):
        if text not in formulas:
            text.set_parse_math(False)  # type: ignore[attr-defined]


def _content(figure: Figure, suffix: str) -> bytes:
    """Of a file. Equal figures are equal bytes: no date, and fixed names inside SVG."""
    from matplotlib import rc_context

    undated: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    literal(figure)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "nni_plugins"}):
        figure.savefig(buffer, format=suffix[1:], dpi=DOTS, metadata=undated.get(suffix))
    return buffer.getvalue()
