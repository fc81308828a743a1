"""What a differentiable search left in its folder: probabilities, skip connections and eigenvalues by epoch. Imports no
torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.errors import SpaceError

from ..errors import DataError
from ..files import parse_json

Floats = npt.NDArray[np.float64]

COLLAPSED = 0.5
"""A cell has collapsed if more than this share of the operations that it takes are skip connections. DARTS' failures on
RobustDARTS' S1 have 7 of 8 (RobustDARTS' published runs), while DARTS' own best cells have up to 3 of
8."""


@dataclass(frozen=True)
class Edge:
    """``operations``: names in the order of the probabilities; ``values``: (epochs, operations) probabilities."""

    cell: str
    name: str
    operations: tuple[str, ...]
    values: Floats

    @property
    def entropy(self) -> Floats:
        """(epochs,) nats; the logarithm of the number of operations where all are equally probable."""
        p = np.clip(self.values, 1e-300, 1.0)
        entropy: Floats = -(p * np.log(p)).sum(axis=1)
        return entropy


@dataclass(frozen=True)
class Rollback:
    """The search went back to the end of ``epoch`` and stopped there (``early_stop``) or went on with more decay
    (``adaptive``).

    ``eigenvalues``: those of the epochs after it that were given up.
    """

    method: str
    epoch: int
    eigenvalues: dict[int, float]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Rollback:
        """From an entry of ``rollbacks`` in ``result.json``."""
        return cls(str(value["method"]), int(value["epoch"]), _eigenvalues(value.get("abandoned") or []))


def _eigenvalues(rows: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    return {int(row["epoch"]): float(row["eigenvalue"]) for row in rows if row.get("eigenvalue") is not None}


@dataclass(frozen=True)
class SearchRecord:
    """One search. Lists have an entry an epoch; ``eigenvalues`` only those epochs (from 1) in which one was computed.

    ``derived``: cell -> (skip connections, operations, skips and pools) of what would be derived after each epoch:
    (epochs, 3). ``edges``: empty if the search wrote no ``mixtures.jsonl``. ``shares``: kind -> (epochs, edges), of
    PC-DARTS' edge normalization.
    """

    name: str
    epochs: list[int]
    genotypes: list[str]
    derived: dict[str, npt.NDArray[np.int64]]
    eigenvalues: dict[int, float]
    rollbacks: list[Rollback]
    edges: list[Edge] = field(default_factory=list)
    shares: dict[str, Floats] = field(default_factory=dict)

    @property
    def stopped(self) -> int | None:
        """The epoch that early stopping went back to, if it did."""
        return next((back.epoch for back in self.rollbacks if back.method == "early_stop"), None)

    @property
    def skips(self) -> npt.NDArray[np.int64]:
        """(epochs,): skip connections in all cells of what would be derived."""
        total: npt.NDArray[np.int64] = np.sum([counts[:, 0] for counts in self.derived.values()], axis=0)
        return total

    @property
    def result_epoch(self) -> int:
        """The epoch whose architecture is the search's result."""
        return self.stopped if self.stopped is not None else self.epochs[-1]

    @property
    def collapsed(self) -> list[str]:
        """Cells of the result in which skip connections prevail; see :data:`COLLAPSED`."""
        row = self.epochs.index(self.result_epoch)
        return [cell for cell, counts in self.derived.items() if counts[row, 0] > COLLAPSED * counts[row, 1]]

    def reading(self) -> str:
        """Whether the search collapsed, in a sentence with the numbers."""
        row = self.epochs.index(self.result_epoch)
        counted = ", ".join(
            f"{skips} of {taken} operations of the {_cell(cell)} ({free} with pools, which have no weights either)"
            for cell, (skips, taken, free) in ((cell, counts[row].tolist()) for cell, counts in self.derived.items())
        )
        verdict = "collapsed to skip connections" if self.collapsed else "did not collapse to skip connections"
        return (
            f"{self.name} {verdict}: after epoch {self.result_epoch}, {counted} are skips (collapse: more than half)."
        )


def _cell(kind: str) -> str:
    return kind if kind == "cell" else f"{kind} cell"


def _lines(path: Path) -> list[dict[str, Any]]:
    """A JSON mapping a line.

    Raises:
        DataError: unreadable or damaged.
    """
    try:
        rows = [parse_json(line) for line in path.read_text().splitlines()]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.", "Pass the folder of a search.") from None
    except ValueError:
        raise DataError(
            f"{path} is damaged: not one JSON document a line.",
            "Run the search again in this folder; it rewrites the file.",
        ) from None
    if not rows or not all(isinstance(row, dict) and "epoch" in row for row in rows):
        raise DataError(f"{path} has no epochs yet.", "Wait until the first epoch has ended.")
    return rows


def _place(label: str) -> tuple[str, str]:
    """``normal_0_2`` -> (normal, 0→2), ``e_0_1`` -> (cell, 0→1)."""
    kind, i, j = label.rsplit("_", 2)
    return "cell" if kind == "e" else kind, f"{i}→{j}"


def count_skips(space: SearchSpace, genotypes: list[str]) -> dict[str, npt.NDArray[np.int64]]:
    """Cell -> (genotypes, 3): skip connections, operations that are taken (``none`` is not), and skip connections and
    pools together.
    """
    structure = space.structure(space.encode([space.from_string(text) for text in genotypes]))
    counts: dict[str, npt.NDArray[np.int64]] = {}
    for column, part in zip(structure.T, space.parts, strict=True):
        cell, _ = _place(part.label)
        names = np.array(part.values)[column]
        skip, free = (
            names == "skip_connect",
            np.array(["skip" in name or "pool" in name for name in part.values])[column],
        )
        found = np.stack([skip, names != "none", free], axis=1).astype(np.int64)
        counts[cell] = counts[cell] + found if cell in counts else found
    return counts


def _edges(space: SearchSpace, rows: list[dict[str, Any]], path: Path) -> tuple[list[Edge], dict[str, Floats]]:
    try:
        tables = {
            kind: np.array([row["operations"][kind] for row in rows], dtype=np.float64)
            for kind in rows[0]["operations"]
        }
        shares = {
            kind: np.array([row["shares"][kind] for row in rows], dtype=np.float64)
            for kind in rows[0].get("shares") or {}
        }
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{path} is damaged: its epochs do not have the same edges and operations.",
            "Run the search again in this folder.",
        ) from None
    columns = [(kind, table[:, edge]) for kind, table in tables.items() for edge in range(table.shape[1])]
    if len(columns) != len(space.parts):
        raise DataError(
            f"{path} has {len(columns)} edges, but {space!r} has {len(space.parts)}.",
            "Pass the folder of a search in this space.",
        )
    edges = []
    for (kind, values), part in zip(columns, space.parts, strict=True):
        edges.append(
            Edge(kind, _place(part.label)[1], tuple(part.values[len(part.values) - values.shape[1] :]), values)
        )
    return edges, shares


def read_search(folder: Path, space: SearchSpace, rollbacks: Sequence[Rollback] = ()) -> SearchRecord:
    """The record of the search whose checkpoints are in ``folder``. ``rollbacks``: of R-DARTS, which ``result.json``
    has.

    Raises:
        DataError: there is no such search, or it is of another kind or space.
    """
    rows = _lines(folder / "metrics.jsonl")
    if not all("genotype" in row for row in rows):
        raise DataError(
            f"{folder} holds no differentiable search: its epochs have no architecture.",
            "Pass the folder of a DARTS-like search.",
        )
    genotypes = [str(row["genotype"]) for row in rows]
    try:
        derived = count_skips(space, genotypes)
    except SpaceError as error:
        raise DataError(f"{folder}: {error.problem}", "Pass the folder of a search in this space.") from None
    mixtures = folder / "mixtures.jsonl"
    edges, shares = (
        _edges(space, _lines(mixtures), mixtures) if mixtures.exists() else ([], cast("dict[str, Floats]", {}))
    )
    epochs = [int(row["epoch"]) for row in rows]
    return SearchRecord(folder.name, epochs, genotypes, derived, _eigenvalues(rows), list(rollbacks), edges, shares)
