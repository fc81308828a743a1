"""Searches with RF-DARTS' options A to D, and what they say together. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Option = Literal["A", "B", "C", "D"]


@dataclass(frozen=True)
class OptionRow:
    """One search. ``supernet_accuracy``: percent of the architecture's half in the last epoch, all operations mixed,
    batch norms in training mode; ``accuracy``: percent, of the derived ``architecture``; ``skips``: its skip
    connections."""

    option: Option
    seed: int
    supernet_accuracy: float
    architecture: str
    accuracy: float
    skips: int


@dataclass(frozen=True)
class OptionSummary:
    """Mean and (population) standard deviation over seeds, in percent; mean number of skip connections."""

    option: Option
    supernet: tuple[float, float]
    found: tuple[float, float]
    skips: float


def summarise(rows: Sequence[OptionRow]) -> list[OptionSummary]:
    """By option, in the order of their letters."""
    summaries = []
    for option in sorted({row.option for row in rows}):
        chosen = [row for row in rows if row.option == option]
        supernet, found = (np.array([getattr(row, key) for row in chosen]) for key in ("supernet_accuracy", "accuracy"))
        spread = [(float(values.mean()), float(values.std())) for values in (supernet, found)]
        summaries.append(OptionSummary(option, spread[0], spread[1], float(np.mean([row.skips for row in chosen]))))
    return summaries
