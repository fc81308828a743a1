"""Genotypes: two cells as lists of (operation, input) pairs, and the texts in which papers print them."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SpaceError, shown
from ..operation_costs import parse as parse_operation

Pair = tuple[str, int]
"""(operation, index of the state that it reads); states 0 and 1 are the cell's inputs, 2 the first node."""

MAX_CHARACTERS = 20_000
KEYS = ("normal", "normal_concat", "reduce", "reduce_concat")


@dataclass(frozen=True)
class CellGenotype:
    """``nodes[i]``: the pairs that node ``i`` (state ``i + 2``) adds up; ``concat``: the states that are the output,
    side by side.
    """

    nodes: tuple[tuple[Pair, ...], ...]
    concat: tuple[int, ...]

    @property
    def loose_ends(self) -> tuple[int, ...]:
        """States that no node reads, in order; the cell's inputs among them."""
        used = {state for node in self.nodes for _, state in node}
        return tuple(state for state in range(len(self.nodes) + 2) if state not in used)

    def edges(self) -> list[Pair]:
        """All pairs in order."""
        return [pair for node in self.nodes for pair in node]


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell."""

    normal: CellGenotype
    reduce: CellGenotype

    def __str__(self) -> str:
        parts = []
        for name, cell in (("normal", self.normal), ("reduce", self.reduce)):
            parts += [f"{name}={cell.edges()!r}", f"{name}_concat={list(cell.concat)!r}"]
        return f"Genotype({', '.join(parts)})"


WRAPPERS = re.compile(r"(u?int\d*|str_?|tensor|array|list|tuple)")
"""What NumPy 2, PyTorch and Python print around a value."""


class _Unwrapped(ast.NodeTransformer):
    """``np.int64(1)``, ``tensor(1)`` and ``array([2, 3], dtype=int64)`` are what stands in them."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return node.args[0] if len(node.args) == 1 and WRAPPERS.fullmatch(name) else node


def _evaluate(node: ast.expr, place: str) -> Any:
    """Literals, what is printed around them, and ``range(a, b)`` of two small integers."""
    try:
        node = _Unwrapped().visit(node)
    except RecursionError:
        raise SpaceError(f"{place}: it is nested too deeply.") from None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
        bounds = [_evaluate(a, place) for a in node.args]
        if len(bounds) == 2 and all(isinstance(b, int) and 0 <= b <= 100 for b in bounds):
            return list(range(*bounds))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise SpaceError(f"{place}: expected a list of literals, but got {shown(type(node).__name__)}.") from None


ASSIGNED = re.compile(r"^\w+\s*=\s*(?=[\[({])")
CALL = re.compile(r"\bGenotype\s*\(")


def _call(text: str) -> str | None:
    """``Genotype(...)`` within a line of Python or of a log; None if there is none.

    Raises:
        SpaceError: there are several.
    """
    starts = [match.start() for match in CALL.finditer(text)]
    if not starts:
        return None
    if len(starts) > 1:
        raise SpaceError(f"{len(starts)} genotypes stand in one text, but one architecture is needed.")
    depth = 0
    for place in range(starts[0], len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0 and text[place] == ")":
            return text[starts[0] : place + 1]
    return text[starts[0] :]


def _fields(text: str) -> dict[str, Any]:
    """The four fields of ``Genotype(...)``, of a list of four, or of a dictionary."""
    if len(text) > MAX_CHARACTERS:
        raise SpaceError(f"a genotype of {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.")
    text = _call(text) or ASSIGNED.sub("", text.strip())
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise SpaceError(
            f"not a genotype: {shown(text)}.",
            "Expected Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=..., ...).",
        ) from None
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "Genotype":
        given = dict(zip(KEYS, tree.args, strict=False))
        given |= {k.arg: k.value for k in tree.keywords if k.arg}
        if len(tree.args) > 4:
            raise SpaceError(f"genotype: {len(tree.args)} fields; there are four: {', '.join(KEYS)}.")
    elif isinstance(tree, ast.List | ast.Tuple) and len(tree.elts) == 4:
        given = dict(zip(KEYS, tree.elts, strict=True))
    elif isinstance(tree, ast.Dict):
        given = {str(_evaluate(k, "genotype")): v for k, v in zip(tree.keys, tree.values, strict=True) if k is not None}
    else:
        raise SpaceError(
            f"not a genotype: {shown(text)}.", f"Expected Genotype(...), a dictionary or a list with {', '.join(KEYS)}."
        )
    return {key: _evaluate(value, key) for key, value in given.items()}


def _pair(entry: Any, place: str, state: int) -> Pair:
    """One pair in either order of print: ``('sep_conv_3x3', 1)`` or ``(1, 'sep_conv_3x3')``."""
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise SpaceError(f"{place}: expected a pair ('operation', input), but got {shown(entry)}.")
    operation, source = entry if isinstance(entry[0], str) else (entry[1], entry[0])
    if not isinstance(operation, str):
        raise SpaceError(f"{place}.operation: expected a name, but got {shown(operation)}.")
    try:
        parse_operation(operation)
    except SpaceError as error:
        raise SpaceError(f"{place}.operation: {error.problem}", error.remedy) from None
    if not isinstance(source, int) or isinstance(source, bool) or not 0 <= source < state:
        raise SpaceError(f"{place}.input: node {state} reads states 0 to {state - 1}, but got {shown(source)}.")
    return operation, source


def _cell(name: str, edges: Any, concat: Any, nodes: int) -> CellGenotype:
    if not isinstance(edges, list | tuple):
        raise SpaceError(f"{name}: expected a list of pairs, but got {shown(edges)}.")
    if edges and all(
        isinstance(e, list | tuple) and len(e) == 2 and all(isinstance(p, list | tuple) for p in e) for e in edges
    ):
        edges = [pair for node in edges for pair in node]  # AutoDL's print: two pairs a node, nested
    if len(edges) != 2 * nodes:
        raise SpaceError(f"{name}: {2 * nodes} edges are needed, two for each of {nodes} nodes, but got {len(edges)}.")
    pairs = [_pair(entry, f"{name}.edges[{i}]", i // 2 + 2) for i, entry in enumerate(edges)]
    listed = list(range(2, nodes + 2)) if concat is None else concat
    if (
        not isinstance(listed, list | tuple)
        or not listed
        or not all(isinstance(s, int) and 0 <= s < nodes + 2 for s in listed)
    ):
        raise SpaceError(f"{name}_concat: states 0 to {nodes + 1} exist, but got {shown(concat)}.")
    if len(set(listed)) != len(listed):
        raise SpaceError(f"{name}_concat: a state stands twice in {shown(concat)}.")
    return CellGenotype(tuple((pairs[2 * i], pairs[2 * i + 1]) for i in range(nodes)), tuple(sorted(listed)))


def parse(value: str | Mapping[str, Any], nodes: int) -> Genotype:
    """Read a genotype with ``nodes`` nodes in each cell.

    Accepted: ``Genotype(normal=[...], normal_concat=range(2, 6), reduce=[...], reduce_concat=[2, 3, 4, 5])`` with
    keywords in any order or by position, a list of the four fields (UnNAS), a dictionary; pairs with the operation
    first or the input first, flat or nested by node. A missing concat means all nodes.

    Raises:
        SpaceError: names the place, such as ``normal.edges[3].operation``, and what is allowed there.
    """
    fields = _fields(value) if isinstance(value, str) else dict(value)
    foreign = [key for key in fields if key not in KEYS]
    missing = [key for key in ("normal", "reduce") if key not in fields]
    if foreign or missing:
        raise SpaceError(f"genotype: the fields are {', '.join(KEYS)}; missing: {missing}, unknown: {shown(foreign)}.")
    cells = [_cell(name, fields[name], fields.get(f"{name}_concat"), nodes) for name in ("normal", "reduce")]
    return Genotype(*cells)
