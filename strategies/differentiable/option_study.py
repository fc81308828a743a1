"""Does a supernet's accuracy say how good its architecture is? Options A to D of RF-DARTS, everything else equal (its
figure 1 and table 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import Objective
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

from .search import search, skip_connections
from .settings import DifferentiableSettings

Option = Literal["A", "B", "C", "D"]
Truth = Callable[[Architecture, Path | None], float]
"""Accuracy in percent of an architecture: looked up, or trained stand-alone in the folder."""


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


def run_option(
    space: SearchSpace,
    images: ImageSet,
    objective: Objective,
    settings: DifferentiableSettings,
    training: BilevelSettings,
    option: Option,
    seed: int,
    truth: Truth,
    *,
    folder: Path | None = None,
    report: Report | None = None,
) -> OptionRow:
    """One search with ``option``, whatever ``settings`` say, and the accuracy of what it derives.

    Errors are those of :func:`search` and ``truth``.
    """
    changed = settings.model_copy(update={"option": option})
    result = search(
        space,
        images,
        objective,
        changed,
        training,
        seed,
        1,
        folder=None if folder is None else folder / "search",
        report=report,
    )
    assert result.supernet_accuracy is not None  # BilevelSettings refuses a warm-up of all epochs
    found = result.ranked[0].architecture
    accuracy = truth(found, None if folder is None else folder / "stand_alone")
    return OptionRow(
        option, seed, result.supernet_accuracy, space.to_string(found), accuracy, skip_connections(space, found)
    )


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
