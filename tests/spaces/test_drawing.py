"""Pictures of cells: nothing covers anything, measured after drawing; files are equal where pictures are."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.transforms import Bbox

from nni_plugins.spaces import NASBench201, SpaceError
from nni_plugins.spaces.base import GraphEdge
from nni_plugins.spaces.drawing import colour, draw, draw_cell, draw_sheet, kernel
from nni_plugins.spaces.drawing_layout import is_chain, layout, levels, settle

Edges = list[GraphEdge]
LONG = {
    "sep3": "sep_conv_3x3", "sep5": "sep_conv_5x5", "sep7": "sep_conv_7x7", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5",
    "max": "max_pool_3x3", "avg": "avg_pool_3x3", "skip": "skip_connect",
}  # fmt: skip
DARTS = {
    "DARTS_V1 normal": "sep3@1 sep3@0 | skip@0 sep3@1 | skip@0 sep3@1 | sep3@0 skip@2",
    "DARTS_V1 reduce": "max@0 max@1 | skip@2 max@0 | max@0 skip@2 | skip@2 avg@0",
    "DARTS_V2 normal": "sep3@0 sep3@1 | sep3@0 sep3@1 | sep3@1 skip@0 | skip@0 dil3@2",
    "DARTS_V2 reduce": "max@0 max@1 | skip@2 max@1 | max@0 skip@2 | skip@2 max@1",
    "PC_DARTS_image reduce": "sep3@0 skip@1 | dil5@2 max@1 | sep3@2 sep3@1 | sep5@0 sep3@3",
    "RLNAS normal": "sep5@0 sep3@1 | dil3@0 sep5@2 | sep3@0 dil5@3 | dil5@1 dil3@2",
    "NASNet-A normal": "sep5@1 sep3@0 | sep5@0 sep3@0 | avg@1 skip@0 | avg@0 avg@0 | sep3@1 skip@1; 23456",
    "NASNet-A reduce": "sep5@1 sep7@0 | max@1 sep7@0 | avg@1 sep5@0 | skip@3 avg@2 | sep3@2 max@1; 456",
    "AmoebaNet-A normal": "avg@0 max@1 | sep3@0 sep5@2 | sep3@0 avg@3 | sep3@1 skip@1 | skip@0 avg@1; 456",
    "AmoebaNet-A reduce": "avg@0 sep3@1 | max@0 sep7@2 | sep7@0 avg@1 | max@0 max@1 | conv_7x1_1x7@0 sep3@5; 346",
    "PNAS": "sep5@0 max@0 | sep7@1 max@1 | sep5@1 sep3@1 | sep3@4 max@1 | sep3@0 skip@1; 23456",
    "chain of four": "sep3@0 sep3@1 | sep3@2 sep5@2 | max@3 skip@0 | dil5@4 skip@1",
}
"""Published cells, ``operation@state``; states 0 and 1 are inputs. After ``;`` the states that the output joins, 2 to 5
if none are given.
"""
NAONET_V2 = "1 1 0 1 2 4 0 0 0 0 2 1 0 0 0 2 0 3 0 0", "0 2 0 2 2 2 1 0 0 0 0 1 0 0 0 3 0 0 0 1"
NAO_OPERATIONS = ["sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect"]


def state(index: int) -> str:
    return f"input_{index}" if index < 2 else str(index)


def darts(text: str) -> Edges:
    nodes, _, joined = text.partition("; ")
    edges = []
    for node, inputs in enumerate(nodes.split(" | "), start=2):
        for operation, source in (entry.split("@") for entry in inputs.split()):
            edges.append(GraphEdge(state(int(source)), str(node), LONG.get(operation, operation)))
    return edges + [GraphEdge(node, "output", "") for node in joined or "2345"]


def nao(text: str) -> Edges:
    numbers = [int(n) for n in text.split()]
    pairs = [(numbers[i], numbers[i + 1], str(2 + i // 4)) for i in range(0, len(numbers), 2)]
    used = {source for source, _, _ in pairs}
    edges = [GraphEdge(state(source), node, NAO_OPERATIONS[operation]) for source, operation, node in pairs]
    return edges + [GraphEdge(state(i), "output", "skip_connect" if i < 2 else "") for i in range(7) if i not in used]


def recurrent(previous: str, activations: str) -> Edges:
    names = {"t": "tanh", "r": "relu", "s": "sigmoid", "i": "identity"}
    inner = zip(map(int, previous.split()), activations, strict=True)
    edges = [GraphEdge("input" if p == 0 else str(p), str(i), names[a]) for i, (p, a) in enumerate(inner, start=1)]
    return edges + [GraphEdge(str(i), "output", "") for i in range(1, len(activations) + 1)]


def all_pairs(names: list[str], operation: str) -> Edges:
    return [GraphEdge(a, b, operation) for a, b in combinations(names, 2)]


NB101 = [
    GraphEdge(a, b, "")
    for a, b in pairwise(["input", "1 conv3x3", "2 conv1x1", "3 conv3x3", "4 maxpool3x3", "5 conv1x1", "output"])
] + [GraphEdge("input", "3 conv3x3", ""), GraphEdge("input", "output", ""), GraphEdge("1 conv3x3", "5 conv1x1", "")]  # fmt: skip
BLOCKS = ["input", *map(str, range(1, 21)), "output"]
GRAPHS: dict[str, Edges] = {
    **{name: darts(text) for name, text in DARTS.items()},
    "NAONet-V2 normal": nao(NAONET_V2[0]),
    "NAONet-V2 reduce": nao(NAONET_V2[1]),
    "NAS-Bench-101": NB101,
    "NAS-Bench-201": all_pairs(["input", "1", "2", "output"], "nor_conv_3x3"),
    "NAS-Bench-201, six nodes": all_pairs(["input", "1", "2", "3", "4", "output"], "nor_conv_3x3"),
    "NAS-Bench-201, dead": [
        GraphEdge("input", "1", "skip_connect", live=False), GraphEdge("2", "output", "avg_pool_3x3", live=False),
        GraphEdge("input", "output", "nor_conv_1x1"),
    ],
    "NAS-Bench-201, nothing": [],
    "recurrent, 8 nodes": recurrent("0 1 2 2 2 2 3 5", "rriirtrt"),
    "recurrent, 11 nodes": recurrent("0 0 1 3 4 4 5 1 7 1 1", "rtttssrsrsi"),
    "recurrent, a line": recurrent("0 1 2 3 4 5 6 7 8 9 10", "trsitrsitrs"),
    "MobileNet": [GraphEdge(a, b, f"mb_k{3 + 2 * (i % 3)}_e{3 + 3 * (i % 2)}") for i, (a, b) in enumerate(pairwise(BLOCKS))],
    "two pairs of twins": [
        GraphEdge("input", "1", "avg_pool_3x3"), GraphEdge("input", "1", "avg_pool_3x3"), GraphEdge("1", "output", ""), GraphEdge("1", "output", ""),
    ],
}  # fmt: skip
drawn = pytest.mark.parametrize("name", GRAPHS)


# What is measured on a finished figure


def rendered(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text of a drawn figure, titles too, with its bounding box in dots."""
    return [(text.get_text(), text.get_window_extent()) for axes in figure.axes for text in axes.texts]


def frames(figure: Figure) -> list[Bbox]:
    """The outlines of nodes and labels, in dots."""
    return [
        patch.get_window_extent() for axes in figure.axes for patch in axes.patches if isinstance(patch, FancyBboxPatch)
    ]


def overlap(a: Bbox, b: Bbox) -> bool:
    return min(a.x1, b.x1) > max(a.x0, b.x0) and min(a.y1, b.y1) > max(a.y0, b.y0)


def contains(outer: Bbox, inner: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def check(figure: Figure) -> None:
    """No text and no outline covers another; every text lies in the figure; no arrow runs behind an outline but those
    it belongs to.
    """
    rendered(figure)
    texts, outlines = text_boxes(figure), frames(figure)
    for (name, a), (other, b) in combinations(texts, 2):
        assert not overlap(a, b), f"{name!r} covers {other!r}"
    assert not any(overlap(a, b) for a, b in combinations(outlines, 2))
    assert all(contains(figure.bbox, box) for box in [*outlines, *(box for _, box in texts)])
    titles = [box for _, box in texts if not any(contains(outline, box) for outline in outlines)]
    assert len(texts) - len(titles) == len(outlines)  # every outline holds a text
    assert not any(overlap(title, outline) for title in titles for outline in outlines)
    for patch in (p for axes in figure.axes for p in axes.patches if isinstance(p, PathPatch)):
        (points,) = patch.get_transform().transform_path(patch.get_path()).to_polygons(closed_only=False)
        fine = np.concatenate([np.linspace(p, q, 20) for p, q in pairwise(points)])
        touched = 0
        for box in outlines:
            inside = (
                (fine[:, 0] > box.x0 + 1)
                & (fine[:, 0] < box.x1 - 1)
                & (fine[:, 1] > box.y0 + 1)
                & (fine[:, 1] < box.y1 - 1)
            )
            touched += bool(inside.any())
        assert touched <= 1, "an arrow runs behind more than its own label"


def own_labels(edges: Edges) -> None:
    """Every labelled arrow passes through the middle of one label with its operation, and each label belongs to one
    arrow.
    """
    picture = layout(edges)
    labels = {(box.x, box.y): box.text for box in picture.boxes if box.label}
    assert len(labels) == sum(bool(e.operation) for e in edges)
    for edge, curve in zip(edges, picture.curves, strict=True):
        on = [
            text
            for (x, y), text in labels.items()
            if any(a[0] < x < b[0] and abs(a[1] - y) + abs(b[1] - y) < 1e-6 for a, b in pairwise(curve.points))
        ]
        assert on == ([edge.operation] if edge.operation else [])


# Layout


@drawn
def test_nothing_covers_anything(name: str) -> None:
    check(
        draw(
            {"normal": GRAPHS[name]},
            f"the cell {name}, drawn by a test with a title that is long enough to be broken into lines",
        )
    )


@drawn
def test_arrows_carry_their_labels(name: str) -> None:
    if not is_chain(GRAPHS[name]):
        own_labels(GRAPHS[name])


@pytest.mark.parametrize("seed", range(25))
def test_random_cells(seed: int) -> None:
    """Cells that no space would give: many nodes, repeated arrows, dead ends, orphans, names and operations of any
    length.
    """
    rng = np.random.default_rng(seed)
    names = [
        "input_0",
        "input_1",
        *("n" * int(rng.integers(1, 12)) + str(i) for i in range(int(rng.integers(1, 9)))),
        "output",
    ]
    edges = []
    for _ in range(int(rng.integers(1, 25))):
        a, b = sorted(rng.choice(len(names), size=2, replace=False).tolist())
        if b > 1:
            edges.append(GraphEdge(names[a], names[b], "o" * int(rng.choice([0, 1, 5, 20])), bool(rng.random() < 0.7)))
    check(draw({"cell": edges}))
    own_labels(edges)


def test_columns() -> None:
    assert levels(GRAPHS["NASNet-A normal"]) == {
        "input_0": 0,
        "input_1": 0,
        "2": 1,
        "3": 1,
        "4": 1,
        "5": 1,
        "6": 1,
        "output": 2,
    }
    assert levels(darts(DARTS["chain of four"]))["5"] == 4
    assert levels(GRAPHS["NAS-Bench-201, dead"]) == {"input": 0, "1": 1, "2": 1, "output": 2}
    assert levels([]) == {"input": 0, "output": 1}


def test_inputs_stand_in_their_order_where_both_orders_are_as_good() -> None:
    boxes = {box.text: box for box in layout(GRAPHS["PNAS"]).boxes}
    assert boxes["input_0"].y < boxes["input_1"].y


def test_a_cycle_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"no cycle, but \['a', 'b'\]"):
        layout([GraphEdge("input", "a", ""), GraphEdge("a", "b", ""), GraphEdge("b", "a", "")])


def test_settle_by_hand() -> None:
    assert settle([0, 0], [1, 1], [2]) == [-1, 1]
    assert settle([0, 0], [3, 1], [2]) == [-0.5, 1.5]
    assert settle([0, 5, 5], [1, 1, 1], [2, 2]) == [0, 4, 6]


def test_a_chain_fills_lines() -> None:
    assert (
        is_chain(GRAPHS["MobileNet"])
        and not is_chain(GRAPHS["recurrent, a line"])
        and not is_chain(GRAPHS["MobileNet"][:12])
    )
    rows = [box.y for box in layout(GRAPHS["MobileNet"]).boxes]
    assert sorted(rows.count(y) for y in set(rows)) == [6, 8, 8]


# Drawing


def test_colours() -> None:
    assert len({colour(f"k{kernel}e6") for kernel in (3, 5, 7)}) == 3
    assert colour("sep_conv_3x3") == colour("sep_conv_5x5") != colour("dil_conv_3x3")
    assert (
        colour("max_pool_3x3") == colour("maxpool3x3")
        and colour("nor_conv_3x3") == colour("conv3x3") == colour("conv_7x1_1x7")
        and colour("nor_conv_1x1") == colour("conv1x1") != colour("nor_conv_3x3")
        and colour("") != colour("conv")
    )


def test_lines_are_as_thick_as_windows_are_large() -> None:
    """Also those that share a colour."""
    figure = draw({"cell": GRAPHS["NAS-Bench-201, dead"]})
    assert [kernel(name) for name in ("nor_conv_1x1", "conv3x3", "sep_conv_5x5", "conv_7x1_1x7", "k5e6")] == [
        1,
        3,
        5,
        7,
        5,
    ]
    assert [kernel(name) for name in ("skip_connect", "identity", "tanh", "", "conv")] == [None] * 5
    widths = [patch.get_linewidth() for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
    assert len(set(widths)) == 3  # a skip connection, a window of 3 x 3, one of 1 x 1


def test_dead_arrows_are_dashed_and_pale() -> None:
    figure = draw({"cell": GRAPHS["NAS-Bench-201, dead"]})
    curves = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
    assert [(patch.get_linestyle(), patch.get_alpha()) for patch in curves] == [
        ("dashed", 0.5),
        ("dashed", 0.5),
        ("solid", 1.0),
    ]
    texts = {text.get_text(): text.get_alpha() for text in figure.axes[0].texts}
    assert texts == {
        "input": 1.0,
        "1": 0.5,
        "2": 0.5,
        "output": 1.0,
        "skip_connect": 0.5,
        "avg_pool_3x3": 0.5,
        "nor_conv_1x1": 1.0,
    }


def test_several_graphs_have_names_and_one_has_none() -> None:
    both = draw({"normal": GRAPHS["DARTS_V2 normal"], "reduce": GRAPHS["DARTS_V2 reduce"]}, "DARTS $V$2")
    check(both)
    assert {"normal", "reduce", "DARTS $V$2"} <= {text for text, _ in text_boxes(rendered(both))}
    assert "normal" not in {text for text, _ in text_boxes(rendered(draw({"normal": GRAPHS["DARTS_V2 normal"]})))}
    assert draw({}, "nothing to draw").axes


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_equal_cells_are_equal_files(tmp_path: Path, suffix: str) -> None:
    space = NASBench201()
    cell = space.decode(space.sample(np.random.default_rng(0), 1))[0]
    first, second = (draw_cell(space, cell, tmp_path / f"{name}{suffix}") for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 2000


@pytest.mark.parametrize("name", ["cell.txt", "cell", "x" * 1000])
def test_endings(tmp_path: Path, name: str) -> None:
    space = NASBench201(nodes=3)
    with pytest.raises(SpaceError, match=r"must end in \.png, \.svg or \.pdf"):
        draw_cell(space, space.decode(space.enumerate()[:1])[0], tmp_path / name)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"no folder .*nowhere"):
        draw_sheet([("a", {"cell": NB101})], tmp_path / "nowhere/sheet.png")


@pytest.mark.slow
def test_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cells of this file in one picture: still nothing covers anything, and text is as large as in a picture of its
    own.
    """
    kept: list[Figure] = []
    saved = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kwargs: (kept.append(self), saved(self, *args, **kwargs))[1]
    )
    entries = [
        (name, {"cell": edges} if i % 3 else {"one": edges, "two": edges})
        for i, (name, edges) in enumerate(GRAPHS.items())
    ]
    assert draw_sheet(entries, tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"
    check(kept[0])
    assert {text.get_fontsize() for text in kept[0].axes[0].texts} == {8.0, 9.0, 10.0}
    wide, narrow = (
        draw_sheet(entries[:4], tmp_path / f"{c}.svg", columns=c).read_text().split("<metadata>")[0] for c in (9, 1)
    )
    assert wide != narrow


def test_a_sheet_needs_something(tmp_path: Path) -> None:
    for entries, columns in (([], 4), ([("a", {"cell": NB101})], 0)):
        with pytest.raises(SpaceError, match="a sheet needs"):
            draw_sheet(entries, tmp_path / "sheet.png", columns)


def test_a_huge_sheet_is_coarser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dots: list[float] = []
    monkeypatch.setattr(
        Figure, "savefig", lambda self, path, dpi, metadata: dots.append(max(self.get_size_inches()) * dpi)
    )
    draw_sheet([(str(i), {"cell": []}) for i in range(600)], tmp_path / "sheet.png", columns=1)
    assert dots == [pytest.approx(60_000)]
