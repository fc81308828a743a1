"""Cells as NAS-Bench-101 writes them: an adjacency matrix with an operation at each vertex, pruned and hashed as in
Ying et al., ICML 2019.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from ..architecture import MAX_JSON_BYTES
from ..errors import SpaceError, closest, shown

OPERATIONS = ("conv1x1", "conv3x3", "maxpool3x3")
OFFICIAL = {"conv1x1-bn-relu": "conv1x1", "conv3x3-bn-relu": "conv3x3"}
"""The benchmark's names of our operations, where they differ."""

LABELS = {"conv3x3": 0, "conv1x1": 1, "maxpool3x3": 2}
"""Numbers of the operations in the benchmark's hash; the input is -1 and the output -2."""

LONGEST = 1_000
MOST_VERTICES = 20
EXAMPLE = "A cell of three vertices reads 010,001,000:conv3x3 (rows of the matrix, then the operations between input and output)."


@dataclass(frozen=True)
class Cell:
    """``matrix[i][j]``: 1 where vertex i feeds vertex j > i; vertex 0 is the input, the last one the output.

    ``operations``: those of the vertices between input and output, by the names in :data:`OPERATIONS`.
    """

    matrix: tuple[tuple[int, ...], ...]
    operations: tuple[str, ...]

    @property
    def edges(self) -> int:
        """How many there are."""
        return sum(map(sum, self.matrix))

    def prune(self) -> Cell:
        """The cell without the vertices that lie on no path from input to output.

        Raises:
            SpaceError: there is no such path.
        """
        n = len(self.matrix)
        into, out = {0}, {n - 1}
        for v in range(1, n):
            if any(self.matrix[u][v] for u in into):
                into.add(v)
        for v in reversed(range(n - 1)):
            if any(self.matrix[v][w] for w in out):
                out.add(v)
        if 0 not in out:
            raise SpaceError("matrix: no path leads from the input to the output.", "Set an edge into the last column.")
        live = sorted(into & out)
        return Cell(
            tuple(tuple(self.matrix[u][v] for v in live) for u in live),
            tuple(self.operations[v - 1] for v in live[1:-1]),
        )

    def pad(self, vertices: int) -> Cell:
        """The same with isolated vertices before the output, up to ``vertices`` of them in all."""
        more = max(vertices - len(self.matrix), 0)
        rows = [(*row[:-1], *(0,) * more, row[-1]) for row in self.matrix[:-1]]
        return Cell(
            (*rows, *((0,) * (len(self.matrix) + more),) * (more + 1)), (*self.operations, *OPERATIONS[:1] * more)
        )

    def hash(self) -> str:
        """The benchmark's MD5 of the pruned cell: equal for isomorphic cells, and different for all others of up to
        seven vertices.
        """
        cell = self.prune()
        n = len(cell.matrix)
        sources = [[u for u in range(v) if cell.matrix[u][v]] for v in range(n)]
        targets = [[w for w in range(v + 1, n) if cell.matrix[v][w]] for v in range(n)]
        labels = [-1, *(LABELS[name] for name in cell.operations), -2]
        hashes = [_md5(str((len(t), len(s), label))) for t, s, label in zip(targets, sources, labels, strict=True)]
        for _ in range(n):
            hashes = [
                _md5(
                    "".join(sorted([hashes[u] for u in s])) + "|" + "".join(sorted([hashes[w] for w in t])) + "|" + own
                )
                for s, t, own in zip(sources, targets, hashes, strict=True)
            ]
        return _md5(str(sorted(hashes)))

    def __str__(self) -> str:
        return ",".join("".join(map(str, row)) for row in self.matrix) + ":" + ",".join(self.operations)


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def operation(name: object, place: str) -> str:
    """Our name of an operation, given that or the benchmark's."""
    if not isinstance(name, str):
        raise SpaceError(f"{place}: an operation's name is a string, but got {type(name).__name__}.")
    ours = OFFICIAL.get(name, name)
    if ours not in OPERATIONS:
        raise SpaceError(f"{place}: unknown operation {shown(name)}; {closest(name, OPERATIONS)}")
    return ours


def from_string(text: str) -> Cell:
    """Inverse of ``str(cell)``.

    Raises:
        SpaceError: which names the entry of the matrix or the operation that is wrong.
    """
    if len(text) > LONGEST:
        raise SpaceError(f"a NAS-Bench-101 string of {len(text):,} characters; at most {LONGEST:,} are read.")
    rows, colon, names = text.partition(":")
    if not colon or ":" in names:
        raise SpaceError(f"one ':' must stand between matrix and operations, but got {shown(text)}.", EXAMPLE)
    matrix = [[{"0": 0, "1": 1}.get(entry, entry) for entry in row] for row in rows.split(",")]
    return from_lists(matrix, names.split(",") if names else [])


def from_json(text: str | Mapping[str, Any]) -> Cell:
    """From ``{"matrix": [[0, 1, ...], ...], "operations": ["conv3x3", ...]}``; ``ops`` is as good as ``operations``.

    Raises:
        SpaceError: not of this form, or a cell that is wrong; the message names the place.
    """
    data: Any = text
    if isinstance(text, str):
        if len(text) > MAX_JSON_BYTES:
            raise SpaceError(f"cell JSON has {len(text):,} bytes; at most {MAX_JSON_BYTES:,} are read.")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpaceError(f"cell is not valid JSON: {type(error).__name__}: {str(error)[:80]}") from None
    keys = set(data)
    if keys not in ({"matrix", "operations"}, {"matrix", "ops"}):
        raise SpaceError(f"a cell has the keys matrix and operations, but got {shown(sorted(map(str, keys)))}.")
    values = [
        value.tolist() if hasattr(value, "tolist") else value
        for value in (data["matrix"], data.get("operations", data.get("ops")))
    ]
    for key, value in zip(("matrix", "operations"), values, strict=True):
        if not isinstance(value, list | tuple):
            raise SpaceError(
                f"{key}: must be a list, but got {shown(value) if isinstance(value, str) else type(value).__name__}."
            )
    return from_lists(*values)


def from_lists(matrix: Sequence[Any], operations: Sequence[Any]) -> Cell:
    """Check and build a cell. ``operations`` may begin with ``input`` and end with ``output``."""
    n = len(matrix)
    if not 2 <= n <= MOST_VERTICES:
        raise SpaceError(
            f"matrix: a cell has 2 to {MOST_VERTICES} vertices, so many rows and columns, but got {n:,} rows.", EXAMPLE
        )
    for i, row in enumerate(matrix):
        if not isinstance(row, list | tuple) or len(row) != n:
            found = f"{len(row):,}" if isinstance(row, list | tuple) else type(row).__name__
            raise SpaceError(f"matrix[{i}]: must have {n} entries, as there are {n} rows, but got {found}.")
        for j, entry in enumerate(row):
            if isinstance(entry, bool) or not isinstance(entry, int) or entry not in (0, 1):
                got = shown(entry) if isinstance(entry, str | int | float) else type(entry).__name__
                raise SpaceError(f"matrix[{i}][{j}]: must be 0 or 1, but got {got}.")
            if entry and j <= i:
                raise SpaceError(f"matrix[{i}][{j}]: must be 0 (upper triangular): a vertex feeds later ones only.")
    labelled = len(operations) == n and operations[0] == "input" and operations[-1] == "output"
    if len(operations) != n - 2 and not labelled:
        raise SpaceError(
            f"operations: {n - 2} are needed for {n} vertices, besides input and output, but got {len(operations):,}."
        )
    places = range(1, n - 1) if labelled else range(n - 2)
    names = tuple(operation(operations[k], f"operations[{k}]") for k in places)
    return Cell(tuple(tuple(row) for row in matrix), names)
