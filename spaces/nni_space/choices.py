"""NNI's mutables as decisions: which values they have, and how these are written. Free of torch and NNI."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..base import Decision
from ..errors import SpaceError

MOST_VALUES = 127
"""Values of one decision: index rows are int8."""


@dataclass(frozen=True)
class Choice:
    """One mutable of NNI's. ``label`` and ``values``: as NNI has them, in the order of ``decision.values``."""

    decision: Decision
    label: str
    values: tuple[Any, ...]


def choices_of(
    mutables: Mapping[str, Any], model: str, reserved: Collection[str] = ()
) -> tuple[tuple[Choice, ...], bool]:
    """The decisions of ``mutables``, what ``ModelSpace.simplify()`` gives, and whether some of them exclude one another.

    Args:
        model: its name, for messages.
        reserved: what no label or value may be called.

    Raises:
        SpaceError: a mutable without a finite list of values, or with too many of them.
    """
    found, constrained = [], False
    for label, mutable in mutables.items():
        kind = type(mutable).__name__
        if "Constraint" in kind or hasattr(mutable, "constraint"):
            constrained = True
            continue
        values = _values(mutable)
        if values is None:
            raise SpaceError(
                f"{model}: {label!r} is a {kind}, which has no finite list of values.",
                "Use nni.choice, LayerChoice, InputChoice or Repeat.",
            )
        if len(values) > MOST_VALUES:
            raise SpaceError(f"{model}: {label!r} has {len(values)} values; at most {MOST_VALUES} can be searched.")
        found.append((label, values))
    if not found:
        raise SpaceError(
            f"{model} has nothing to choose.", "Pass a model space with LayerChoice, InputChoice or Repeat."
        )
    names = _distinct([_name(label) for label, _ in found], reserved)
    choices = [
        Choice(Decision(name, tuple(_distinct([_text(value) for value in values], reserved))), label, tuple(values))
        for name, (label, values) in zip(names, found, strict=True)
    ]
    return tuple(choices), constrained


def _values(mutable: Any) -> list[Any] | None:
    """All values of a mutable in a fixed order; None where there is no end of them. Of several that are chosen together
    at least one is.
    """
    values = getattr(mutable, "values", None)
    if not isinstance(values, list):
        return None
    if type(mutable).__name__ != "CategoricalMultiple":
        return values
    if mutable.n_chosen is not None:
        return [list(some) for some in itertools.combinations(values, mutable.n_chosen)]
    return [list(some) for n in range(1, len(values) + 1) for some in itertools.combinations(values, n)]


def _name(label: str) -> str:
    """NNI's labels have slashes, which its own portal cannot show."""
    return re.sub(r"[^\w\-]+", "_", label)


def _text(value: Any) -> str:
    """No dots, which names of modules cannot have; 1.0 as 1."""
    values = value if isinstance(value, list | tuple) else [value]
    whole = [int(one) if isinstance(one, float) and one.is_integer() else one for one in values]
    written = "+".join(map(str, whole))
    return re.sub(r"[^\w+\-]+", "_", written) or "empty"


def _distinct(texts: list[str], reserved: Collection[str]) -> list[str]:
    """The same texts, with a number behind those that stand there twice or are reserved."""
    distinct: list[str] = []
    for text in texts:
        candidates = itertools.chain([text], (f"{text}_{n}" for n in itertools.count(1)))
        distinct.append(next(one for one in candidates if one not in distinct and one not in reserved))
    return distinct
