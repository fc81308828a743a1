"""Pictures of cells, one or many to a file. matplotlib is imported when a picture is drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from .architecture import Architecture
from .base import GraphEdge, SearchSpace
from .drawing_layout import LABEL_FONT, MARGIN, NODE_FONT, TITLE_FONT, Box, Curve, Picture, layout, text_size
from .errors import SpaceError, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Graphs = Mapping[str, Sequence[GraphEdge]]

COLOURS = {
    "skip": "#7f8c8d", "identity": "#7f8c8d", "sep": "#2471a3", "dil": "#7d3c98", "avg": "#1e8449", "max": "#b7950b", "noise": "#c0392b",
    "tanh": "#2471a3", "relu": "#b7950b", "sigmoid": "#7d3c98", "k3": "#2471a3", "k5": "#7d3c98",
}  # fmt: skip
"""By how an operation's name begins; others, convolutions among them, are red, those of single pixels orange."""
POINTWISE = "#ca6f1e"
OTHER, UNNAMED, INK = "#b03a2e", "#566573", "#2c3e50"
CELL_DOTS, SHEET_DOTS = 200, 120
"""Dots an inch of PNG."""
SUFFIXES = (".png", ".svg", ".pdf")
_MOST_DOTS, _LONGEST_SIDE = 2e8, 60_000  # matplotlib refuses sides from 65,536 on
_PALE = 0.5


def colour(operation: str) -> str:
    """The colour of an operation."""
    other = POINTWISE if kernel(operation) == 1 else OTHER
    return next(
        (value for start, value in COLOURS.items() if operation.startswith(start)), other if operation else UNNAMED
    )


def kernel(operation: str) -> int | None:
    """The largest side of an operation's window, as its name says it (``sep_conv_5x5``, ``conv_7x1_1x7``, ``k5e6``)."""
    sides = [int(side) for sides in re.findall(r"(\d+)x(\d+)|\bk(\d+)", operation) for side in sides if side]
    return max(sides, default=None)


def _line(operation: str, plain: float) -> float:
    """Points: the larger an operation's window, the thicker its line; ``plain`` where it has none."""
    window = kernel(operation)
    return plain if window is None else plain * (0.8 + 0.1 * min(window, 11))


@dataclass(frozen=True)
class _Panel:
    """An architecture's graphs, one below the other under its title; sizes in points."""

    title: str
    parts: tuple[tuple[str, Picture], ...]
    width: float
    height: float

    @classmethod
    def of(cls, title: str, graphs: Graphs) -> _Panel:
        parts = tuple((name if len(graphs) > 1 else "", layout(edges)) for name, edges in graphs.items())
        width = max(
            [
                240.0,
                *(picture.width for _, picture in parts),
                *(text_size(name, NODE_FONT)[0] + 2 * MARGIN for name, _ in parts),
            ]
        )
        letters = int((width - 2 * MARGIN) / text_size("x", TITLE_FONT)[0])
        title = "\n".join(line for given in title.splitlines() for line in wrap(given, letters) or [""])
        height = cls._heading(title, TITLE_FONT) + sum(
            cls._heading(name, NODE_FONT) + picture.height for name, picture in parts
        )
        return cls(title, parts, width, height)

    @staticmethod
    def _heading(text: str, font: float) -> float:
        return text_size(text, font)[1] + MARGIN if text else 0.0

    def paint(self, axes: Axes, left: float, top: float) -> None:
        """Draw everything with the upper left corner at (left, top)."""
        centre = left + self.width / 2
        _write(axes, centre, top + self._heading(self.title, TITLE_FONT) / 2 + MARGIN / 4, self.title, TITLE_FONT, INK)
        top += self._heading(self.title, TITLE_FONT)
        for name, picture in self.parts:
            _write(axes, centre, top + self._heading(name, NODE_FONT) / 2, name, NODE_FONT, UNNAMED)
            top += self._heading(name, NODE_FONT)
            x = centre - picture.width / 2
            for curve in picture.curves:
                _paint_curve(axes, curve, x, top)
            for box in picture.boxes:
                _paint_box(axes, box, x, top)
            top += picture.height


def _write(axes: Axes, x: float, y: float, text: str, font: float, ink: str, pale: bool = False) -> None:
    if text:
        axes.text(
            x, y, text, ha="center", va="center", fontsize=font, color=ink, alpha=_PALE if pale else 1.0, family="DejaVu Sans Mono",
            linespacing=1.1, parse_math=False, usetex=False, zorder=4,
        )  # fmt: skip


def _paint_box(axes: Axes, box: Box, x: float, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    ink = colour(box.operation) if box.operation else INK
    axes.add_patch(FancyBboxPatch(
        (x + box.x - box.width / 2, y + box.y - box.height / 2), box.width, box.height,
        boxstyle=f"round,pad=0,rounding_size={3 if box.label else 5}", facecolor="white" if box.label or box.operation else "#ecf0f1",
        edgecolor=(ink, 1.0 if box.live else _PALE), linewidth=_line(box.operation, 0.8 if box.label else 1.2),
        linestyle="solid" if box.live else "dashed", zorder=3,
    ))  # fmt: skip
    _write(axes, x + box.x, y + box.y, box.text, LABEL_FONT if box.label else NODE_FONT, ink, not box.live)


def _paint_curve(axes: Axes, curve: Curve, x: float, y: float) -> None:
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path as Outline

    points = [(x + a, y + b) for a, b in curve.points]
    tip = points[-1]
    points[-1] = (tip[0] - 4, tip[1])  # the line ends inside the arrow's head
    corners, codes = [points[0]], [int(Outline.MOVETO)]
    for (a, b), (c, d) in pairwise(points):
        corners += [((a + c) / 2, b), ((a + c) / 2, d), (c, d)]
        codes += [int(Outline.CURVE4)] * 3
    ink, alpha = colour(curve.operation), 1.0 if curve.live else _PALE
    axes.add_patch(PathPatch(
        Outline(corners, codes), facecolor="none", edgecolor=ink, alpha=alpha, linewidth=_line(curve.operation, 1.3 if curve.operation else 0.9),
        linestyle="solid" if curve.live else "dashed", zorder=1,
    ))  # fmt: skip
    head = [(tip[0] - 6.5, tip[1] - 2.6), tip, (tip[0] - 6.5, tip[1] + 2.6)]
    axes.add_patch(Polygon(head, facecolor=ink, edgecolor="none", alpha=alpha, zorder=2))


def _figure(panels: Sequence[_Panel], columns: int, gap: float = 0.0) -> Figure:
    """Panels from left to right and from top to bottom, framed if there is a ``gap`` between them."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns = min(columns, len(panels))
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    widths = [max(row[c].width for row in rows if c < len(row)) for c in range(columns)]
    heights = [max(panel.height for panel in row) for row in rows]
    width, height = sum(widths) + gap * (columns + 1), sum(heights) + gap * (len(rows) + 1)
    figure = Figure(figsize=(width / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # a unit is a point
    axes.set_axis_off()
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            left, top = sum(widths[:c]) + gap * (c + 1), sum(heights[:r]) + gap * (r + 1)
            if gap:
                axes.add_patch(
                    Rectangle(
                        (left, top),
                        widths[c],
                        heights[r],
                        facecolor="none",
                        edgecolor="#d5d8dc",
                        linewidth=0.8,
                        zorder=0,
                    )
                )
            panel.paint(axes, left + (widths[c] - panel.width) / 2, top)
    return figure


def _check_path(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise SpaceError(f"picture: {shown(path.name)} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    if not path.parent.is_dir():
        raise SpaceError(
            f"picture: there is no folder {shown(str(path.parent))} to write {shown(path.name)} into.",
            "Create it first.",
        )


def _save(figure: Figure, path: Path, dots: float) -> Path:
    """Equal pictures are equal files: no date, and fixed names inside SVG."""
    from matplotlib import rc_context

    width, height = figure.get_size_inches()
    dots = min(dots, _LONGEST_SIDE / max(width, height), (_MOST_DOTS / (width * height)) ** 0.5)
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "nni_plugins.spaces.drawing"}):
        figure.savefig(path, dpi=dots, metadata=undated.get(path.suffix.lower()))
    return path


def draw(graphs: Graphs, title: str = "") -> Figure:
    """A figure with all ``graphs``, one below the other, each with its name if there are several."""
    return _figure([_Panel.of(title, graphs)], 1)


def draw_cell(space: SearchSpace, architecture: Architecture, path: Path, title: str = "") -> Path:
    """Write a picture of all cells of ``architecture``: PNG, SVG or PDF, by the ending of ``path``."""
    _check_path(path)
    text = space.to_string(architecture)
    return _save(draw(space.graph(architecture), title or (text if len(text) <= 100 else space.name)), path, CELL_DOTS)


def draw_sheet(entries: Sequence[tuple[str, Graphs]], path: Path, columns: int = 4) -> Path:
    """Write one picture of many architectures, ``columns`` to a line: each entry is a title and the architecture's
    graphs.

    Text has the size it has in :func:`draw_cell`, in points; PNG has 120 dots an inch, fewer only beyond 60,000 dots a
    side or 200 million in all.
    """
    _check_path(path)
    if not entries or columns < 1:
        raise SpaceError(
            f"a sheet needs entries and at least one column, but got {len(entries)} entries and columns={columns!r}."
        )
    return _save(_figure([_Panel.of(title, graphs) for title, graphs in entries], columns, gap=12.0), path, SHEET_DOTS)
