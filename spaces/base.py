"""The contract of a search space.

A space is described without weights: its decisions, which combinations are valid, how to draw, mutate, cross and
enumerate them, what they cost and how their edges lie on paths from input to output. All of that works on integer
arrays ``indices: (n, D)``, one row an architecture, entry ``d`` the position of the chosen value among
``decisions[d].values``, so a million architectures take seconds. Only :meth:`SearchSpace.supernet` and
:meth:`SearchSpace.network` need torch, and import it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from .architecture import Architecture
from .errors import SpaceError, closest, shown

if TYPE_CHECKING:
    from torch import nn

Indices = npt.NDArray[np.int8]
"""(n, D) int8: one architecture a row, one decision a column."""

Structure = npt.NDArray[np.int8] | npt.NDArray[np.int16]
"""(n, S): one architecture a row, one part a column; int16 where parts have more values than decisions."""

ImageSize = int | tuple[int, int]
"""Pixels a side, or (height, width)."""

ENUMERATION_LIMIT = 10_000_000


@dataclass(frozen=True)
class Decision:
    """One choice of a space: its label (no ``/``, so that NNI's portal can show it) and its allowed values, in order."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Costs:
    """``parameters`` and ``macs`` (multiply-adds of convolutions and linear layers for one image), each (n,) int64."""

    parameters: npt.NDArray[np.int64]
    macs: npt.NDArray[np.int64]


class CostModel(Protocol):
    """Costs of any number of architectures, without building one."""

    def __call__(self, indices: Indices) -> Costs:
        """Costs of ``indices: (n, D)``."""
        ...


@dataclass(frozen=True)
class CostTable:
    """Additive costs: a fixed part and a (S, V) int64 table over the space's parts, zero where part ``s`` has no value
    ``v``.
    """

    space: SearchSpace
    fixed_parameters: int
    fixed_macs: int
    parameters: npt.NDArray[np.int64]
    macs: npt.NDArray[np.int64]

    def __call__(self, indices: Indices) -> Costs:
        """Costs of ``indices: (n, D)``."""
        structure = self.space.structure(indices)
        parameters = np.full(len(indices), self.fixed_parameters, dtype=np.int64)
        macs = np.full(len(indices), self.fixed_macs, dtype=np.int64)
        for s in range(structure.shape[1]):  # column by column: a million rows need no (n, S) table of int64
            parameters += self.parameters[s, structure[:, s]]
            macs += self.macs[s, structure[:, s]]
        return Costs(parameters, macs)


@dataclass(frozen=True)
class GraphEdge:
    """One arrow of a cell's picture. ``live``: whether it lies on a path from input to output."""

    source: str
    target: str
    operation: str
    live: bool = True


class SearchSpace(ABC):
    """Base class of every search space. Subclasses set ``name``, call ``__init__`` with their decisions, and fill the
    abstract methods.
    """

    name: ClassVar[str]
    shares_paths: ClassVar[bool] = True
    """Whether single-path supernets of this space train, in each step, one path for all cells (one normal and one
    reduction cell, where there are both) in the official code of the methods that were published with it."""
    takes_images: ClassVar[bool] = True
    """Whether networks take images (B, C, H, W), as all experiments' data are; a language model's take tokens."""
    needs_torch: ClassVar[bool] = False
    """Whether already its decisions are known from modules alone, so that NNI's tuner first connects and then asks."""
    drops_paths: ClassVar[bool] = False
    """Whether its supernets drop paths: they have ``set_drop_path(probability, identity)``."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = tuple(decisions)

    # -- identity ------------------------------------------------------------------------------------------------------
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as JSON-able values: ``type(space)(**space.config())`` is an equal space."""

    def with_classes(self, classes: int) -> Self:
        """The same space whose networks end in ``classes`` outputs; architectures do not depend on it."""
        return type(self)(**{**self.config(), "classes": classes})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.config() == other.config()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self.name))  # a configuration may hold lists

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"

    @property
    def size(self) -> int:
        """Number of architectures."""
        size = 1
        for decision in self.decisions:
            size *= len(decision.values)
        return size

    @property
    def labels(self) -> tuple[str, ...]:
        """The decisions' labels, in order."""
        return tuple(d.label for d in self.decisions)

    @cached_property
    def _positions(self) -> list[dict[str, int]]:
        return [{value: i for i, value in enumerate(d.values)} for d in self.decisions]

    # -- architectures and index rows ----------------------------------------------------------------------------------
    def architecture(self, choices: Mapping[str, str]) -> Architecture:
        """Check ``{label: value}`` and return the architecture.

        Raises:
            SpaceError: an unknown, missing or misvalued decision; all of them are named at once.
        """
        unknown = [label for label in choices if label not in self.labels]
        problems = [f"{shown(label)}: no such decision; {closest(str(label), self.labels)}" for label in unknown[:3]]
        if len(unknown) > 3:
            problems.append(f"{len(unknown) - 3:,} more that do not exist")
        missing = [label for label in self.labels if label not in choices]
        if missing:
            problems.append(
                f"{len(self.labels)} decisions are needed, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
            )
        for decision in self.decisions:
            value = choices.get(decision.label, decision.values[0])
            if value not in decision.values:
                problems.append(
                    f"{decision.label}: unknown value {shown(value)}; {closest(str(value), decision.values)}"
                )
        if problems:
            raise SpaceError(f"not an architecture of {self!r}: " + "; ".join(problems))
        return Architecture(self.name, tuple((label, choices[label]) for label in self.labels))

    def check(self, architecture: Architecture) -> Architecture:
        """Return ``architecture`` in this space's order of decisions, or raise :class:`SpaceError`."""
        if architecture.space != self.name:
            raise SpaceError(
                f"space: the architecture is of {shown(architecture.space)}, but this space is {self.name!r}."
            )
        return self.architecture(architecture.as_dict())

    def encode(self, architectures: Iterable[Architecture]) -> Indices:
        """Architectures -> indices (n, D) int8."""
        rows = []
        for architecture in architectures:
            choices = self.check(architecture).choices
            rows.append([positions[value] for positions, (_, value) in zip(self._positions, choices, strict=True)])
        return np.array(rows, dtype=np.int8).reshape(-1, len(self.decisions))

    def decode(self, indices: Indices) -> list[Architecture]:
        """indices (n, D) -> architectures."""
        return [
            Architecture(self.name, tuple((d.label, d.values[i]) for d, i in zip(self.decisions, row, strict=True)))
            for row in indices.tolist()
        ]

    def parse(self, text: str | Mapping[str, Any]) -> Architecture:
        """Read an architecture from any form that this space knows: our JSON, a dictionary of choices, or its native
        string.
        """
        if isinstance(text, Mapping):
            return self.check(Architecture.from_json(text)) if "choices" in text else self.architecture(text)
        stripped = text.strip()
        if not stripped.startswith("{"):
            return self.from_string(stripped)
        if '"choices"' in stripped:
            return self.check(Architecture.from_json(stripped))
        wrapped = Architecture.from_json(f'{{"schema": 1, "space": "{self.name}", "choices": {stripped}}}')
        return self.architecture(wrapped.as_dict())

    @abstractmethod
    def to_string(self, architecture: Architecture) -> str:
        """The field's native one-line form."""

    @abstractmethod
    def from_string(self, text: str) -> Architecture:
        """Inverse of :meth:`to_string`; raises :class:`SpaceError` that names the place."""

    @abstractmethod
    def canonical(self, architecture: Architecture) -> str:
        """A string that is equal for architectures which compute the same function up to symmetry."""

    # -- drawing at random ---------------------------------------------------------------------------------------------
    def sample(self, rng: np.random.Generator, n: int) -> Indices:
        """``n`` architectures drawn uniformly and independently: (n, D) int8."""
        return np.stack([rng.integers(0, len(d.values), size=n, dtype=np.int8) for d in self.decisions], axis=1)

    def sample_paths(self, rng: np.random.Generator, n: int, shared: bool) -> npt.NDArray[np.int8]:
        """``n`` single paths for training a supernet: (n, repeats, D), repeats = cells of the network.

        ``shared``: all repeats of one path are equal; otherwise each is drawn for itself, where the method's official
        code does so.
        """
        repeats = self.repeats
        drawn = self.sample(rng, n if shared else n * repeats).reshape(n, -1, len(self.decisions))
        return np.broadcast_to(drawn, (n, repeats, len(self.decisions)))

    @property
    def repeats(self) -> int:
        """How many times the decisions are repeated through the network (its cells)."""
        return 1

    def mutate(self, rng: np.random.Generator, parents: Indices, probability: float) -> Indices:
        """Change each decision with ``probability`` to a uniformly drawn *other* value; valid and, per row, never
        unchanged.
        """
        n, decisions = parents.shape
        counts = np.array([len(d.values) for d in self.decisions])
        free = np.flatnonzero(counts > 1)
        change = (rng.random((n, decisions)) < probability) & (counts > 1)
        change[np.arange(n), free[rng.integers(0, len(free), size=n)]] |= ~change.any(axis=1)
        shift = 1 + rng.integers(0, np.maximum(counts - 1, 1), size=(n, decisions))
        return np.where(change, (parents + shift) % counts, parents).astype(np.int8)

    def crossover(self, rng: np.random.Generator, first: Indices, second: Indices) -> Indices:
        """Each decision from one of the two parents, with equal probability; valid."""
        return np.where(rng.random(first.shape) < 0.5, first, second).astype(np.int8)

    def enumerate(self) -> Indices:
        """All architectures, the last decision running fastest: (size, D) int8.

        Raises:
            SpaceError: the space has more than 10 million architectures.
        """
        if self.size > ENUMERATION_LIMIT:
            raise SpaceError(
                f"{self!r} has {self.size:,} architectures; at most {ENUMERATION_LIMIT:,} are enumerated.",
                "Use evolution instead.",
            )
        grids = np.indices([len(d.values) for d in self.decisions], dtype=np.int8)
        return grids.reshape(len(self.decisions), -1).T.copy()

    def sample_distinct(self, rng: np.random.Generator, n: int) -> Indices:
        """As :meth:`sample`, but all classes of symmetric twins are equally likely, in spaces that can draw so: where a
        benchmark's table has one row a class. In others :meth:`sample`.
        """
        return self.sample(rng, n)

    # -- structure and cost --------------------------------------------------------------------------------------------
    @property
    def parts(self) -> tuple[Decision, ...]:
        """What costs, paths and weights are counted by: the decisions themselves, unless the cost of one depends on
        another.

        Where a decision says "take inputs 0 and 2" and another "the first operation is a skip connection", the parts
        are the edges, each with its operation or none.
        """
        return self.decisions

    def structure(self, indices: Indices) -> Structure:
        """``indices: (n, D)`` as parts: (n, S) int8 or int16, the position of each part's value."""
        return indices

    def simplified(self, indices: Indices) -> Indices:
        """``indices: (n, D)`` with nothing in place of what lies on no path from input to output, where the space has a
        choice that says so: rows that become equal have the same network. By default as they are.
        """
        return indices

    @abstractmethod
    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Number of complete input-to-output paths on which each part lies: (n, S) int64, for ``indices: (n, D)``.

        Zero for a dead part; all zero for an architecture whose output does not depend on its input.
        """

    def complete_paths(self, indices: Indices) -> npt.NDArray[np.int64]:
        """Number of complete paths of each architecture: (n,) int64. The default holds where some part lies on all of
        them.
        """
        counts: npt.NDArray[np.int64] = self.path_counts(indices).max(axis=1)
        return counts

    @abstractmethod
    def cost_table(self, image_size: ImageSize = 32) -> CostModel:
        """Parameters and multiply-adds of ``network()`` for one input of ``image_size``; an additive table wherever
        that is possible.
        """

    def nni_search_space(self) -> dict[str, dict[str, Any]]:
        """NNI search-space JSON: any of NNI's own tuners can search it."""
        return {d.label: {"_type": "choice", "_value": list(d.values)} for d in self.decisions}

    # -- networks (torch) ----------------------------------------------------------------------------------------------
    @abstractmethod
    def supernet(self) -> nn.Module:
        """The weight-sharing network: an ``nni.nas.nn.pytorch.ModelSpace`` that also satisfies
        :class:`nni_plugins.spaces.supernet.Supernet`.
        """

    @abstractmethod
    def network(self, architecture: Architecture) -> nn.Module:
        """An ordinary network of one architecture, for stand-alone training. Images (B, 3, H, W) give (B, classes)."""

    @abstractmethod
    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        """What there is to draw: one graph for each kind of cell, by its title. Nodes are named ``input...`` and
        ``output`` at the ends.
        """
