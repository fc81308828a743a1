"""Where the nodes, labels and arrows of a cell go: arithmetic only, in points (1/72 inch), x to the right and y
downwards.

Layers as by Sugiyama, Tagawa & Toda, 1981: a node stands one column after the last that it reads, and an arrow over
several columns gets a slot in each of them. Labels have layers of their own, before their arrow's target. As whatever
stands in one layer is spread without overlap, no label can cover a node or another label, and no arrow runs behind
either.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from .base import GraphEdge
from .errors import SpaceError, shown

NODE_FONT, LABEL_FONT, TITLE_FONT = 9.0, 8.0, 10.0
MARGIN, SEPARATION, PORT = 10.0, 6.0, 7.0
"""Points around a picture, between what stands in one layer, and between arrows at one side of a node."""
ROW = 8
"""Blocks to a line of a chain, at most."""
_ADVANCE, _LINE = 0.6021, 1.25
"""Width of a character of DejaVu Sans Mono and height of a line, in font sizes."""


@dataclass(frozen=True)
class Box:
    """A node, or an arrow's label: centre, size and what to write into it."""

    text: str
    x: float
    y: float
    width: float
    height: float
    operation: str = ""
    live: bool = True
    label: bool = False


@dataclass(frozen=True)
class Curve:
    """An arrow through ``points``, horizontal at each of them."""

    points: tuple[tuple[float, float], ...]
    operation: str = ""
    live: bool = True


@dataclass(frozen=True)
class Picture:
    """A cell, laid out: everything lies within (0, 0) and (width, height)."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]


def text_size(text: str, font: float) -> tuple[float, float]:
    """(width, height) in points of ``text`` in DejaVu Sans Mono."""
    lines = text.split("\n")
    return _ADVANCE * font * max(map(len, lines)), _LINE * font * len(lines)


def _node_size(text: str) -> tuple[float, float]:
    width, height = text_size(text, NODE_FONT)
    return max(width + 12, 22.0), height + 10


def levels(edges: Sequence[GraphEdge]) -> dict[str, int]:
    """Column of every node: inputs in 0, others after all that they read, ``output`` last. A node that reads nothing
    stands in column 1.
    """
    names = list(dict.fromkeys(name for e in edges for name in (e.source, e.target)))
    names = (
        ([] if any(n.startswith("input") for n in names) else ["input"])
        + names
        + ([] if "output" in names else ["output"])
    )
    sources = {n: {e.source for e in edges if e.target == n} for n in names}
    columns: dict[str, int] = {}
    while len(columns) < len(names):
        ready = [n for n in names if n not in columns and sources[n] <= columns.keys()]
        if not ready:
            raise SpaceError(
                f"a cell to draw must have no cycle, but {shown([n for n in names if n not in columns])} wait for one another."
            )
        columns.update(
            {
                n: 0
                if n.startswith("input") and not sources[n]
                else 1 + max((columns[s] for s in sources[n]), default=0)
                for n in ready
            }
        )
    if not any(e.source == "output" for e in edges):
        columns["output"] = 1 + max(c for n, c in columns.items() if n != "output")
    return {n: columns[n] for n in names}


def is_chain(edges: Sequence[GraphEdge]) -> bool:
    """Whether every node is read once, by the next one, and there are many."""
    return (
        len(edges) > 12
        and all(a.target == b.source for a, b in pairwise(edges))
        and len({e.source for e in edges}) == len(edges)
    )


def layout(edges: Sequence[GraphEdge]) -> Picture:
    """Place a cell: in lines if it is a long chain, in layers otherwise."""
    return _chain(edges) if is_chain(edges) else Layers(edges).picture()


def _chain(edges: Sequence[GraphEdge]) -> Picture:
    """Lines of blocks, each with its operation; an arrow leaves every line and enters the next."""
    texts = [
        (edges[0].source, "", True),
        *((f"{e.target}\n{e.operation}".rstrip(), e.operation, e.live) for e in edges),
    ]
    row = -(-len(texts) // -(-len(texts) // ROW))  # lines as equal as can be
    sizes = [_node_size(text) for text, _, _ in texts]
    width, height, gap = max(w for w, _ in sizes), max(h for _, h in sizes), 26.0
    boxes, curves = [], []
    for i, (text, operation, live) in enumerate(texts):
        x, y = MARGIN + gap + (i % row) * (width + gap) + width / 2, MARGIN + (i // row) * (height + 14) + height / 2
        boxes.append(Box(text, x, y, width, height, operation, live))
        if i:
            curves.append(Curve(((x - width / 2 - gap, y), (x - width / 2, y)), "", live))
        if i % row == row - 1 and i + 1 < len(texts):
            curves.append(Curve(((x + width / 2, y), (x + width / 2 + gap, y)), "", texts[i + 1][2]))
    return Picture(
        2 * MARGIN + gap + row * (width + gap), boxes[-1].y + height / 2 + MARGIN, tuple(boxes), tuple(curves)
    )


@dataclass(eq=False)
class Item:
    """A node, or the slot of an arrow (no ``text``), with its centre, its ``place`` in its layer and the arrows' pieces
    to its sides.
    """

    width: float
    height: float
    text: str = ""
    x: float = 0.0
    y: float = 0.0
    place: int = 0
    left: list[Link] = field(default_factory=list)
    right: list[Link] = field(default_factory=list)


@dataclass(eq=False)
class Link:
    """A piece of an arrow, from one layer to the next. ``leave`` and ``enter``: how far below their centres it leaves
    and enters.
    """

    tail: Item
    head: Item
    leave: float = 0.0
    enter: float = 0.0


Ranks = list[list[Item]]


def _number(ranks: Ranks) -> None:
    for rank in ranks:
        for place, item in enumerate(rank):
            item.place = place


def crossings(ranks: Ranks) -> int:
    """How many pairs of arrows' pieces cross."""
    ends = [[(link.tail.place, link.head.place) for item in rank for link in item.right] for rank in ranks]
    return sum(a[0] < b[0] and a[1] > b[1] for pieces in ends for a in pieces for b in pieces)


def _crossed(above: Item, below: Item) -> int:
    """How many pieces at ``above`` cross pieces at ``below``."""
    ahead = sum(a.head.place > b.head.place for a in above.right for b in below.right)
    return ahead + sum(a.tail.place > b.tail.place for a in above.left for b in below.left)


def _swap_neighbours(ranks: Ranks) -> None:
    """Swap what stands above one another for as long as that saves crossings."""
    swapped = True
    while swapped:
        swapped = False
        for rank in ranks:
            for i in range(len(rank) - 1):
                a, b = rank[i], rank[i + 1]
                if _crossed(a, b) > _crossed(b, a):
                    rank[i : i + 2] = b, a
                    b.place, a.place, swapped = i, i + 1, True


def _sweep(ranks: Ranks, forward: bool) -> None:
    """Sort each layer by the mean place of what its items are joined to in the layer before (after, if not
    ``forward``).
    """
    for rank in ranks if forward else reversed(ranks):
        near = {
            item: [link.tail.place for link in item.left] if forward else [link.head.place for link in item.right]
            for item in rank
        }
        means = {item: sum(places) / len(places) if places else item.place for item, places in near.items()}
        rank.sort(key=means.__getitem__)
        _number([rank])


def order(ranks: Ranks, starts: int = 40, sweeps: int = 2) -> None:
    """Sort every layer so that few arrows cross: in place, from some shuffled orders, and a function of the given order
    only.
    """
    rng = random.Random(0)
    best, fewest = ranks, -1
    for _ in range(starts):
        trial = [list(rank) for rank in ranks]
        for rank in trial:
            rng.shuffle(rank)
        _number(trial)
        for k in range(sweeps):
            _sweep(trial, forward=k % 2 == 0)
        _swap_neighbours(trial)
        count = crossings(trial)
        if fewest < 0 or count < fewest:
            best, fewest = trial, count
        if not fewest:
            break
    ranks[:] = best
    _number(ranks)


def settle(wanted: Sequence[float], weights: Sequence[float], apart: Sequence[float]) -> list[float]:
    """The positions nearest to ``wanted`` (weighted squares) with ``apart[i]`` at least between the i-th and the next
    one.

    Less what must lie between, positions ascend: pooling neighbours that do not is the exact solution (isotonic
    regression).
    """
    offsets = list(accumulate(apart, initial=0.0))
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, members = want - offset, 1
        while pools and pools[-1][0] > mean:
            other, heavy, several = pools.pop()
            mean, weight, members = (
                (mean * weight + other * heavy) / (weight + heavy),
                weight + heavy,
                members + several,
            )
        pools.append((mean, weight, members))
    flat = [mean for mean, _, members in pools for _ in range(members)]
    return [position + offset for position, offset in zip(flat, offsets, strict=True)]


def spread(ranks: Ranks, sweeps: int = 60) -> None:
    """Set every item's ``y``: arrows as level as possible, long ones first, and nothing nearer than :data:`SEPARATION`
    to its neighbour.
    """
    for sweep in range(sweeps):
        for rank in ranks if sweep % 2 == 0 else reversed(ranks):
            wanted, weights = [], []
            for item in rank:
                pulls = [(link.tail, link.tail.y + link.leave - link.enter) for link in item.left]
                pulls += [(link.head, link.head.y + link.enter - link.leave) for link in item.right]
                heavy = [(1.0 if item.text or other.text else 4.0, y) for other, y in pulls] or [(1.0, 0.0)]
                weights.append(sum(weight for weight, _ in heavy))
                wanted.append(sum(weight * y for weight, y in heavy) / weights[-1])
            apart = [(a.height + b.height) / 2 + SEPARATION for a, b in pairwise(rank)]
            for item, y in zip(rank, settle(wanted, weights, apart), strict=True):
                item.y = y


class Layers:
    """A cell in layers. ``ranks``: what stands in each, from left to right and from top to bottom."""

    def __init__(self, edges: Sequence[GraphEdge]) -> None:
        self.edges = edges
        columns = levels(edges)
        labelled = {columns[e.target] for e in edges if e.operation}
        ranks_until = list(accumulate(1 + (column in labelled) for column in range(1 + max(columns.values()))))
        self.ranks: Ranks = [[] for _ in range(ranks_until[-1])]
        self.nodes = {name: self._node(name, ranks_until[column] - 1) for name, column in columns.items()}
        self.routes = [
            self._route(e, ranks_until[columns[e.source]], ranks_until[columns[e.target]] - 1) for e in edges
        ]
        order(self.ranks)
        inputs = [item.text for item in self.ranks[0] if item.text]
        if inputs == sorted(inputs, reverse=True):  # as good upside down
            for rank in self.ranks:
                rank.reverse()
            _number(self.ranks)
        for item in self.nodes.values():  # arrows leave and enter beside one another, in the order in which they go on
            for k, link in enumerate(sorted(item.right, key=lambda link: link.head.place)):
                link.leave = PORT * (k - (len(item.right) - 1) / 2)
            for k, link in enumerate(sorted(item.left, key=lambda link: link.tail.place)):
                link.enter = PORT * (k - (len(item.left) - 1) / 2)
        spread(self.ranks)

    def _node(self, name: str, rank: int) -> Item:
        width, height = _node_size(name)
        arrows = max(sum(e.source == name for e in self.edges), sum(e.target == name for e in self.edges))
        self.ranks[rank].append(Item(width, max(height, 8 + PORT * arrows), name))
        return self.ranks[rank][-1]

    def _route(self, edge: GraphEdge, first: int, last: int) -> list[Link]:
        """Slots for ``edge`` in the ranks ``first`` to ``last - 1``, its label in the last of them, and the pieces
        between.
        """
        stops = [self.nodes[edge.source], *(Item(0.0, 4.0) for _ in range(first, last)), self.nodes[edge.target]]
        if edge.operation:
            width, height = text_size(edge.operation, LABEL_FONT)
            stops[-2].width, stops[-2].height = width + 6, height + 4
        for rank, slot in enumerate(stops[1:-1], start=first):
            self.ranks[rank].append(slot)
        links = [Link(tail, head) for tail, head in pairwise(stops)]
        for link in links:
            link.tail.right.append(link)
            link.head.left.append(link)
        return links

    def picture(self) -> Picture:
        """Layers from left to right, as far apart as the arrows between them are steep."""
        x, half = MARGIN, {}
        for rank in self.ranks:
            rise = max(
                (abs(link.head.y + link.enter - link.tail.y - link.leave) for item in rank for link in item.left),
                default=0.0,
            )
            x += min(max(16.0, 0.4 * rise), 70.0) if rank is not self.ranks[0] else 0.0
            width = max((item.width for item in rank), default=0.0)
            for item in rank:
                item.x, half[item] = x + width / 2, width / 2
            x += width
        everything = [item for rank in self.ranks for item in rank]
        top = min(item.y - item.height / 2 for item in everything) - MARGIN
        for item in everything:
            item.y -= top
        alive = {name for e in self.edges if e.live for name in (e.source, e.target)} or self.nodes
        boxes = [
            Box(n, i.x, i.y, i.width, i.height, n.partition(" ")[2], n in alive) for n, i in self.nodes.items()
        ]  # "1 conv3x3": its operation
        curves = []
        for edge, links in zip(self.edges, self.routes, strict=True):
            points = [(links[0].tail.x + links[0].tail.width / 2, links[0].tail.y + links[0].leave)]
            for link in links:  # level through a layer, so that nothing in it is touched
                points.append((link.tail.x + half[link.tail], link.tail.y + link.leave))
                points.append((link.head.x - half[link.head], link.head.y + link.enter))
            points.append((links[-1].head.x - links[-1].head.width / 2, points[-1][1]))
            curves.append(Curve(tuple(dict.fromkeys(points)), edge.operation, edge.live))
            if edge.operation:
                slot = links[-1].tail
                boxes.append(
                    Box(edge.operation, slot.x, slot.y, slot.width, slot.height, edge.operation, edge.live, label=True)
                )
        return Picture(
            x + MARGIN, max(item.y + item.height / 2 for item in everything) + MARGIN, tuple(boxes), tuple(curves)
        )
