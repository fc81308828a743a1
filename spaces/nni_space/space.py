"""NNI's model spaces, of its hub or anybody's, as a search space."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..architecture import Architecture
from ..base import ENUMERATION_LIMIT, CostModel, Decision, GraphEdge, ImageSize, Indices, Structure
from ..errors import SpaceError, shown
from ..heads import Head
from ..images import ImageSpace

if TYPE_CHECKING:
    from .model import NNIModel
    from .network import NNINetwork
    from .structure import Structure as Parts
    from .supernet import NNISupernet

MOST_DRAWS = 10_000
"""Draws in a row of which NNI's constraints allow none, before it is said that they allow nothing."""


class NNISpace(ImageSpace):
    """All networks of an ``nni.nas.nn.pytorch.ModelSpace``: LayerChoice, InputChoice, Repeat, Cell and choices of
    arguments, however nested.

    Decisions are what ``simplify()`` gives, values are drawn with equal probability. Networks are made by NNI, within its
    ``model_context``; their last linear layer becomes the head. The supernet shares weights as NNI's ``RandomOneShot``
    does. Nothing is known of paths from input to output: an operation that is reached counts once, and an architecture
    is without effect only where operations called zero (or none) cut it; all others are taken to let their input through.

    Args:
        model: import path of the model space's class, ``package.module.Class``. Whoever may write it may run any code
            that can be imported.
        arguments: of its constructor, JSON-able; not its number of classes.
        classes: outputs; given to the constructor as ``num_labels``, ``num_classes`` or ``classes`` where it has one of
            them, otherwise the last layer is exchanged.
        head: ``linear`` only.
        input_channels: 3 only.
    """

    name = "nni"
    needs_torch = True

    def __init__(
        self,
        model: str,
        arguments: Mapping[str, Any] | None = None,
        classes: int = 10,
        head: str | Mapping[str, Any] | Head = "linear",
        input_channels: int = 3,
    ) -> None:
        if arguments is not None and not isinstance(arguments, Mapping):
            raise SpaceError(f"arguments: a mapping is needed, but got {shown(arguments)}.")
        self.model, self.arguments = model, _json(arguments or {})
        described = _described(model, json.dumps(self.arguments, sort_keys=True))
        decisions, self.constrained = tuple(c.decision for c in described.choices), described.constrained
        super().__init__(decisions, classes, head, input_channels)
        if self.head.kind != "linear" or input_channels != 3:
            raise SpaceError(
                f"networks of {described.name} end in a linear layer on colour images, but head {self.head.kind!r} on {input_channels} channels is asked for.",
                "Choose an objective that classifies colour images, such as supervised, random_labels or rotation.",
            )
        if self.constrained:
            self.valid: Callable[[Indices], npt.NDArray[np.bool_]] = self._valid

    @classmethod
    def of(cls, space: Any, classes: int | None = None) -> NNISpace:
        """The search space of an instance of a model space, with the arguments that it was made with.

        Raises:
            SpaceError: its class is defined within a function, or an argument is not JSON-able.
        """
        from .model import CLASSES, import_path

        arguments = dict(space.trace_kwargs)
        given = [arguments.pop(name) for name in CLASSES if name in arguments]
        return cls(import_path(type(space)), arguments, classes or (given[0] if given else 10))

    def config(self) -> dict[str, Any]:
        return {"model": self.model, "arguments": self.arguments, **self._head_config()}

    @property
    def model_space(self) -> NNIModel:
        """NNI's side of it."""
        from .model import nni_model

        return nni_model(self.model, self.arguments, self.classes)

    @property
    def size(self) -> int:
        """Number of architectures; of a large space with constraints, that of all combinations."""
        combinations = super().size
        return len(self.enumerate()) if self.constrained and combinations <= 100_000 else combinations

    # -- native string -------------------------------------------------------------------------------------------------
    def to_string(self, architecture: Architecture) -> str:
        """``label=value`` of every decision, with spaces between."""
        return " ".join(f"{label}={value}" for label, value in self.check(architecture).choices)

    def from_string(self, text: str) -> Architecture:
        """Inverse of :meth:`to_string`, in any order."""
        pairs = [entry.partition("=") for entry in text.split()]
        labels = [label for label, _, _ in pairs]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if not pairs or twice is not None or any(not sign for _, sign, _ in pairs):
            reason = f"{shown(twice)} stands there twice" if twice is not None else "label=value is needed"
            raise SpaceError(f"not an architecture of {self!r}: {reason} in {shown(text)}.")
        return self.architecture({label: value for label, _, value in pairs})

    def architecture(self, choices: Mapping[str, str]) -> Architecture:
        """As :meth:`SearchSpace.architecture`; also refuses what NNI's constraints do not allow."""
        architecture = super().architecture(choices)
        if self.constrained:
            row = [d.values.index(v) for d, (_, v) in zip(self.decisions, architecture.choices, strict=True)]
            problem = self.model_space.base.check_contains(self.model_space.sample(row))
            if problem is not None:
                raise SpaceError(f"not an architecture of {self!r}: {problem}")
        return architecture

    def canonical(self, architecture: Architecture) -> str:
        """The native string with the first value wherever nothing reads the decision."""
        row = self.simplified(self.encode([architecture]))
        return " ".join(f"{d.label}={d.values[v]}" for d, v in zip(self.decisions, row[0].tolist(), strict=True))

    def graph(self, architecture: Architecture) -> dict[str, list[GraphEdge]]:
        """The decisions that are read, one behind the other: a list, not how tensors flow."""
        row = self.encode([self.check(architecture)])
        read, alive = self._read(row)[0], bool(self.path_counts(row).any())
        names = [
            f"{d.label}={v}" for d, v, r in zip(self.decisions, architecture.as_dict().values(), read, strict=True) if r
        ]
        nodes = ["input", *(str(i) for i in range(1, len(names))), "output"]
        return {"decisions": [GraphEdge(a, b, n, alive) for a, b, n in zip(nodes, nodes[1:], names, strict=False)]}

    # -- drawing at random ---------------------------------------------------------------------------------------------
    def _valid(self, indices: Indices) -> npt.NDArray[np.bool_]:
        """Which of (n, D) NNI's constraints allow: (n,)."""
        return np.array([self.model_space.contains(row) for row in indices], dtype=np.bool_)

    def sample(self, rng: np.random.Generator, n: int) -> Indices:
        """Uniform and independent; with constraints, of those that are allowed."""
        if not self.constrained:
            return super().sample(rng, n)
        rows, missing = [np.empty((0, len(self.decisions)), dtype=np.int8)], n
        idle = 0
        while missing:
            drawn = super().sample(rng, max(2 * missing, 64))
            drawn = drawn[self._valid(drawn)][:missing]
            idle = 0 if len(drawn) else idle + max(2 * missing, 64)
            if idle > MOST_DRAWS:
                raise SpaceError(f"NNI's constraints on {self!r} allow none of {idle:,} random architectures.")
            rows.append(drawn)
            missing -= len(drawn)
        return np.concatenate(rows)

    def mutate(self, rng: np.random.Generator, parents: Indices, probability: float) -> Indices:
        """As :meth:`SearchSpace.mutate`; with constraints, what they refuse is drawn again."""
        children = super().mutate(rng, parents, probability)
        if self.constrained:
            wrong = np.flatnonzero(~self._valid(children))
            for _ in range(MOST_DRAWS):
                if not len(wrong):
                    return children
                children[wrong] = super().mutate(rng, parents[wrong], probability)
                wrong = wrong[~self._valid(children[wrong])]
            raise SpaceError(f"no mutant of {self.decode(parents[wrong[:1]])[0]} is allowed by NNI's constraints.")
        return children

    def crossover(self, rng: np.random.Generator, first: Indices, second: Indices) -> Indices:
        """As :meth:`SearchSpace.crossover`; with constraints, the first parent where they refuse the child."""
        children = super().crossover(rng, first, second)
        return np.where(self._valid(children)[:, None], children, first) if self.constrained else children

    def enumerate(self) -> Indices:
        """As :meth:`SearchSpace.enumerate`, without what constraints refuse."""
        if not self.constrained:
            return super().enumerate()
        counts = [len(d.values) for d in self.decisions]
        if int(np.prod(counts, dtype=np.float64)) > ENUMERATION_LIMIT:
            raise SpaceError(f"{self!r} has too many architectures to enumerate.", "Use evolution instead.")
        grids = np.indices(counts, dtype=np.int8).reshape(len(counts), -1).T.copy()
        return grids[self._valid(grids)]

    # -- structure and cost --------------------------------------------------------------------------------------------
    @property
    def refusal(self) -> str | None:
        """Why there is no supernet; None where there is one."""
        found = _walked(self.model, json.dumps(self.arguments, sort_keys=True))
        return found if isinstance(found, str) else None

    @property
    def _structure(self) -> Parts | None:
        found = _walked(self.model, json.dumps(self.arguments, sort_keys=True))
        return None if isinstance(found, str) else found[0]

    @property
    def parts(self) -> tuple[Decision, ...]:
        """What is chosen at each place: a candidate, a block's presence, a slice of shared weights, or nothing."""
        return super().parts if self._structure is None else self._structure.described

    def structure(self, indices: Indices) -> Structure:
        """As :meth:`SearchSpace.structure`, int16."""
        return super().structure(indices) if self._structure is None else self._structure.of(indices)

    @property
    def read_by_parts(self) -> npt.NDArray[np.bool_]:
        """(D,): which decisions say what a part is, and not only whether it is there."""
        mask = np.zeros(len(self.decisions), dtype=np.bool_)
        for part in [] if self._structure is None else self._structure.parts:
            mask[list(part.columns)] = True
        return mask

    def _read(self, indices: Indices) -> npt.NDArray[np.bool_]:
        if self._structure is None:
            return np.ones(indices.shape, dtype=np.bool_)
        return self._structure.read_by(indices)

    def simplified(self, indices: Indices) -> Indices:
        """The first value in place of what nothing reads."""
        return np.where(self._read(indices), indices, 0).astype(np.int8)

    def path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """1 for every part that is there, 0 for the others and where zero operations cut the network."""
        there = np.ones(indices.shape, dtype=np.int64) if self._structure is None else (self.structure(indices) > 0)
        alive = self._alive(indices)
        return np.asarray(there * alive[:, None], dtype=np.int64)

    def _alive(self, indices: Indices) -> npt.NDArray[np.bool_]:
        """(n,): whether the output depends on the input; looked at only where operations called zero exist."""
        found = _walked(self.model, json.dumps(self.arguments, sort_keys=True))
        alive = np.ones(len(indices), dtype=np.bool_)
        if isinstance(found, str) or found[1] is None:
            return alive
        forms = self.simplified(found[1].forms(indices))
        cut = found[1].chosen(forms)
        if cut.any():
            alive[cut] = _flow(self.model, json.dumps(self.arguments, sort_keys=True))(forms[cut])
        return alive

    def cost_table(self, image_size: ImageSize = 32) -> CostModel:
        """Parameters and multiply-adds of :meth:`network`: a table where they add up over parts, which is checked on some
        networks; otherwise each network is counted, and remembered.
        """
        from .costs import cost_model

        key = (self, image_size if isinstance(image_size, int) else tuple(image_size))
        if key not in _tables:
            _tables[key] = cost_model(self, image_size)
        return _tables[key]

    # -- networks ------------------------------------------------------------------------------------------------------
    def supernet(self) -> NNISupernet:
        """Raises :class:`SpaceError` where NNI cannot share weights, as in NAS-Bench-101's cells."""
        from .supernet import NNISupernet

        return NNISupernet(**self.config())

    def network(self, architecture: Architecture) -> NNINetwork:
        """NNI's own network, with fresh weights."""
        return self.model_space.network(self.encode([architecture])[0], self.input_channels)

    def features(self, *_: Any, **__: Any) -> Any:
        """Refused: NNI's networks name no stages."""
        raise SpaceError(
            f"networks of {self.model_space.name} name no stages, so they have no feature maps for detection or segmentation.",
            "Search a space of this package for these tasks.",
        )


_tables: dict[Any, CostModel] = {}


def _json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(_whole(json.loads(json.dumps(dict(arguments)))))
    except (TypeError, ValueError) as error:
        raise SpaceError(f"arguments: only what JSON can hold is allowed, but {error}.") from None


def _whole(value: Any) -> Any:
    """1 in place of 1.0, as NNI's manager hands them on; a constructor that takes floats gets floats."""
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class _Zeros:
    """``columns``: decisions among operations, and which values are zero operations; ``alike``: decisions whose other
    values all let the input through.
    """

    columns: dict[int, list[bool]]
    alike: set[int]

    def forms(self, indices: Indices) -> Indices:
        """The same rows with one operation in place of all that let the input through."""
        rows = indices.copy()
        for column in self.alike:
            zeros = np.array(self.columns[column])
            rows[:, column] = np.where(zeros[indices[:, column]], indices[:, column], np.argmin(zeros))
        return rows

    def chosen(self, indices: Indices) -> npt.NDArray[np.bool_]:
        """(n,): whether any zero operation is chosen."""
        found = [np.array(zeros)[indices[:, column]] for column, zeros in self.columns.items()]
        return np.array(np.any(found, axis=0), dtype=np.bool_)


@lru_cache(maxsize=16)
def _described(model: str, arguments: str) -> NNIModel:
    """Decisions do not depend on the number of classes."""
    from .model import nni_model

    return nni_model(model, json.loads(arguments), 10)


@lru_cache(maxsize=16)
def _walked(model: str, arguments: str) -> tuple[Parts, _Zeros | None] | str:
    """Parts of the supernet, and its operations called zero, if there are any; or why there is none."""
    from .model import nni_model, weightless
    from .supernet import Walk, shared

    found = nni_model(model, json.loads(arguments), 10)
    try:
        walk = Walk(weightless(lambda: shared(found)), found, "model.")
    except SpaceError as error:
        return error.problem
    columns = {d: [False] * len(c.values) for d, c in enumerate(found.choices) if d in walk.alike}
    return walk.structure, _Zeros(columns | walk.zeros, walk.alike) if walk.zeros else None


@lru_cache(maxsize=4)
def _flow(model: str, arguments: str) -> Callable[[Indices], npt.NDArray[np.bool_]]:
    """Whether outputs depend on inputs, asked of a supernet with random weights; remembered."""
    import torch

    space = NNISpace(model, json.loads(arguments))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = space.supernet().eval()
        images = torch.randn(2, 3, space.model_space.side, space.model_space.side)
    known: dict[bytes, bool] = {}

    def alive(indices: Indices) -> npt.NDArray[np.bool_]:
        for row in indices:
            form = row.tobytes()
            if form not in known:
                with torch.no_grad():
                    first, second = supernet.forward_path(images, row[None])
                known[form] = not torch.equal(first, second)
        return np.array([known[row.tobytes()] for row in indices], dtype=np.bool_)

    return alive
