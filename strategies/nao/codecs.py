"""What NAO asks of a search space: tokens, drawing, mutation and a key that is equal for equal architectures. Free of
torch.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.cells.nasnet import SlotSpace
from nni_plugins.spaces.errors import shown
from nni_plugins.spaces.recurrent import RecurrentCell

from ..drawing import sample_within
from ..limits import Limits
from .tokens import MOST_TOKENS, Rows, Swap, Tokens


class Codec(ABC):
    """A space as NAO sees it; ``tokens`` are its vocabulary, ``size`` the number of its architectures."""

    tokens: Tokens
    size: int

    @abstractmethod
    def keys(self, rows: Rows) -> list[str]:
        """One string for each of ``rows: (n, D)``; equal ones are the same architecture up to symmetry."""

    def valid(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """(n,): which of ``rows: (n, D)`` are architectures; all, unless decisions exclude one another."""
        return np.ones(len(rows), dtype=np.bool_)

    def sample(self, rng: np.random.Generator, n: int) -> Rows:
        """``n`` rows, uniform and independent."""
        rows: Rows = (rng.random((n, self.tokens.length)) * self.tokens.counts).astype(np.int64)
        return rows

    def mutate(self, rng: np.random.Generator, parents: Rows) -> Rows:
        """Each of ``parents: (n, D)`` with one decision, or where it must be more with some, changed to another value."""
        free = np.flatnonzero(self.tokens.counts > 1)
        children = parents.copy()
        if len(free):
            at, rows = free[rng.integers(0, len(free), size=len(parents))], np.arange(len(parents))
            shift = 1 + (rng.random(len(parents)) * (self.tokens.counts[at] - 1)).astype(np.int64)
            children[rows, at] = (parents[rows, at] + shift) % self.tokens.counts[at]
        return children


def swaps_of(space: SearchSpace) -> tuple[tuple[Swap, ...], ...]:
    """NASNet-like cells add two (input, operation) pairs in each node, which commute. Other spaces have no twins that a
    swap makes.
    """
    if not isinstance(space, SlotSpace):
        return ()
    nodes = [((at, at + 1), (at + 2, at + 3)) for at in range(0, len(space.decisions), 4)]
    return tuple(nodes[: space.nodes]), tuple(nodes[space.nodes :])


def tokens_of(space: SearchSpace) -> Tokens:
    """A token for each decision, read one by one."""
    return Tokens(tuple(d.values for d in space.decisions), swaps=swaps_of(space))


class SpaceCodec(Codec):
    """A :class:`nni_plugins.spaces.SearchSpace`; keys are its canonical forms.

    NASNet-like spaces and recurrent cells are read in groups of (input, operation) as in NAO's code, all others one
    token a step. A recurrent cell's first node, which has no choice of inputs, is written with its input 0.

    Args:
        limits: what is beyond them is not :meth:`valid`, and is not drawn.
    """

    def __init__(self, space: SearchSpace, limits: Limits | None = None) -> None:
        self.space, self.size, self.limits = space, space.size, limits or Limits()
        self.tokens = tokens_of(space)
        if isinstance(space, SlotSpace):
            self.tokens = replace(self.tokens, group=2)
        elif isinstance(space, RecurrentCell):
            self.tokens = replace(self.tokens, group=2, lead=("0",))
        self._keys: dict[bytes, str] = {}

    def rows(self, architectures: Iterable[Architecture]) -> Rows:
        """Architectures -> rows (n, D)."""
        return self.space.encode(architectures).astype(np.int64)

    def architectures(self, rows: Rows) -> list[Architecture]:
        """Rows (n, D) -> architectures."""
        return self.space.decode(rows.astype(np.int8))

    def keys(self, rows: Rows) -> list[str]:
        """Canonical forms, remembered: the same architecture is proposed again and again."""
        keys = []
        for row in rows.astype(np.int8):
            name = row.tobytes()
            if name not in self._keys:
                self._keys[name] = self.space.canonical(self.space.decode(row[None])[0])
            keys.append(self._keys[name])
        return keys

    def valid(self, rows: Rows) -> npt.NDArray[np.bool_]:
        check, indices = getattr(self.space, "valid", None), rows.astype(np.int8)
        mask = super().valid(rows) if check is None else np.array(check(indices), dtype=np.bool_)
        mask[mask] = self.limits.mask(self.space, indices[mask])
        return mask

    def sample(self, rng: np.random.Generator, n: int) -> Rows:
        """Within the limits; fewer than ``n`` only where, as far as random draws tell, none is."""
        return sample_within(self.space, rng, n, self.limits).astype(np.int64)

    def mutate(self, rng: np.random.Generator, parents: Rows) -> Rows:
        """The space's own mutation, with one change on average."""
        return self.space.mutate(rng, parents.astype(np.int8), 1 / len(self.space.decisions)).astype(np.int64)


class ParameterCodec(Codec):
    """An NNI search-space JSON whose parameters have finitely many values: ``choice``, ``randint``, ``quniform``,
    ``qloguniform``.

    Values are drawn uniformly, whatever the distribution's name says.

    Args:
        search_space: ``{key: {"_type": ..., "_value": [...]}}``.
        space: the space that it was exported from, if known: then keys are canonical forms, otherwise the parameters
            themselves.

    Raises:
        ConfigError: a parameter that has no finite list of plain values; it names the key.
    """

    def __init__(self, search_space: Mapping[str, Any], space: SearchSpace | None = None) -> None:
        if not isinstance(search_space, Mapping) or not search_space:
            raise ConfigError(
                f"searchSpace: a mapping with at least one parameter is needed, but got {shown(search_space)}."
            )
        self.values = {key: finite_values(key, entry) for key, entry in search_space.items()}
        self.labels = tuple(self.values)
        self._inner = None if space is None else SpaceCodec(space)
        if space is not None and {k: tuple(v) for k, v in self.values.items()} != {
            d.label: d.values for d in space.decisions
        }:
            raise ConfigError(
                f"searchSpace: is not the one of {space!r}.",
                "Export it: space.nni_search_space(), or leave classArgs.space out.",
            )
        plain = SpaceCodec(space).tokens if space is not None and self.labels == space.labels else None
        texts = tuple(tuple(self._text(value) for value in values) for values in self.values.values())
        self.tokens = Tokens(texts) if plain is None else plain
        self.size = math.prod(len(values) for values in self.values.values()) if space is None else space.size
        self._positions = [{text: i for i, text in enumerate(own)} for own in texts]
        self._order = None if space is None else [self.labels.index(label) for label in space.labels]

    @staticmethod
    def _text(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    def parameters(self, row: npt.NDArray[np.integer]) -> dict[str, Any]:
        """One row (D,) -> the parameters of a trial."""
        return {label: values[i] for (label, values), i in zip(self.values.items(), row.tolist(), strict=True)}

    def row(self, parameters: Any) -> Rows | None:
        """The row (D,) of a trial's parameters, or None where they are not of this search space. Keys that it does not
        have are ignored.
        """
        if not isinstance(parameters, Mapping) or any(label not in parameters for label in self.labels):
            return None
        found = [
            own.get(self._text(_plain(parameters[label])))
            for label, own in zip(self.labels, self._positions, strict=True)
        ]
        if any(i is None for i in found):
            found = [self._close(label, parameters[label]) for label in self.labels]
        return None if any(i is None for i in found) else np.array(found, dtype=np.int64)

    def _close(self, label: str, value: Any) -> int | None:
        """Numbers that only a detour through JSON changed, such as 1.0 to 1, are the same."""
        for i, own in enumerate(self.values[label]):
            if self._text(own) == self._text(_plain(value)) or (
                _number(own) and _number(value) and math.isclose(own, value, rel_tol=1e-12)
            ):
                return i
        return None

    def _inside(self, rows: Rows) -> Rows:
        ordered: Rows = rows[:, self._order]
        return ordered

    def keys(self, rows: Rows) -> list[str]:
        if self._inner is not None:
            return self._inner.keys(self._inside(rows))
        return [" ".join(map(str, row)) for row in rows.tolist()]

    def valid(self, rows: Rows) -> npt.NDArray[np.bool_]:
        return super().valid(rows) if self._inner is None else self._inner.valid(self._inside(rows))

    def sample(self, rng: np.random.Generator, n: int) -> Rows:
        if self._inner is None or self._order is None:
            return super().sample(rng, n)
        return _inverted(self._inner.sample(rng, n), self._order)

    def mutate(self, rng: np.random.Generator, parents: Rows) -> Rows:
        if self._inner is None or self._order is None:
            return super().mutate(rng, parents)
        return _inverted(self._inner.mutate(rng, self._inside(parents)), self._order)


def _inverted(rows: Rows, order: Sequence[int]) -> Rows:
    back: Rows = np.empty_like(rows)
    back[:, list(order)] = rows
    return back


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def finite_values(key: str, entry: Any) -> list[Any]:
    """The values of one parameter of an NNI search space, in order.

    Raises:
        ConfigError: malformed, nested, continuous, empty, too many values or one value twice; it names ``key``.
    """
    if not isinstance(entry, Mapping) or "_type" not in entry or not isinstance(entry.get("_value"), list):
        raise ConfigError(f"searchSpace.{key}: must be {{_type: ..., _value: [...]}}, but got {shown(entry)}.")
    kind, given = str(entry["_type"]), entry["_value"]
    if kind == "choice":
        values = _choice(key, given)
    elif kind in ("randint", "quniform", "qloguniform"):
        values = _range(key, kind, given)
    else:
        raise ConfigError(
            f"searchSpace.{key}: {kind} has no finite list of values, so it has no tokens.",
            "Use choice, randint, quniform or qloguniform, or another tuner.",
        )
    if not values or len(values) > MOST_TOKENS:
        raise ConfigError(f"searchSpace.{key}: 1 to {MOST_TOKENS:,} values are needed, but got {len(values):,}.")
    return values


def _choice(key: str, given: list[Any]) -> list[Any]:
    if any(isinstance(value, Mapping) and "_name" in value for value in given):
        raise ConfigError(
            f"searchSpace.{key}: nested choices cannot be written as a sequence of tokens.",
            "Write them flat, or use another tuner.",
        )
    try:
        texts = [json.dumps(value, sort_keys=True, allow_nan=False) for value in given]
    except (TypeError, ValueError):
        raise ConfigError(f"searchSpace.{key}: values must be plain JSON, but got {shown(given)}.") from None
    if len(set(texts)) != len(texts):
        raise ConfigError(f"searchSpace.{key}: a value stands in it twice: {shown(given)}.", "Write each value once.")
    return list(given)


def _range(key: str, kind: str, given: list[Any]) -> list[Any]:
    wanted = 2 if kind == "randint" else 3
    if (
        len(given) != wanted
        or not all(_number(value) and math.isfinite(value) for value in given)
        or given[0] >= given[1]
    ):
        raise ConfigError(
            f"searchSpace.{key}: {kind} needs {'[low, high' + (']' if wanted == 2 else ', q]')} with low < high, but got {shown(given)}."
        )
    low, high = given[:2]
    if kind == "randint":  # as NNI reads it: low is part of the range, high is not
        start, stop = math.ceil(low), math.ceil(high)
        if stop - start > MOST_TOKENS:
            raise ConfigError(f"searchSpace.{key}: 1 to {MOST_TOKENS:,} values are needed, but got {stop - start:,}.")
        return list(range(start, stop))
    q = given[2]
    if q <= 0 or (kind == "qloguniform" and low <= 0) or (high - low) / q > MOST_TOKENS:
        raise ConfigError(
            f"searchSpace.{key}: {kind} needs q > 0, and at most {MOST_TOKENS:,} steps, but got {shown(given)}."
        )
    # as NNI rounds: to multiples of q, then into the range
    steps = range(round(low / q), round(high / q) + 1)
    return list(dict.fromkeys(min(max(step * q, float(low)), float(high)) for step in steps))
