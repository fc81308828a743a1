"""Does a supernet's accuracy say how good its architecture is? Options A to D of RF-DARTS, everything else equal (its
figure 1 and table 1).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.diagnostics.options import Option, OptionRow
from nni_plugins.evaluators.objectives import Objective
from nni_plugins.evaluators.training.loop import Report
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

from .search import search, skip_connections
from .settings import DifferentiableSettings

Truth = Callable[[Architecture, Path | None], float]
"""Accuracy in percent of an architecture: looked up, or trained stand-alone in the folder."""


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
