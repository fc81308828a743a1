"""What the four diagnoses have in common: trainings, a sentence or two on what they say, and figures. Free of torch
until it runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nni_plugins.evaluators.base import Report
from nni_plugins.evaluators.objectives.registered import build_objective

from ...experiment.jobs import Value
from .settings import DiagnosisSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nni_plugins.evaluators.data import ImageData
    from nni_plugins.evaluators.objectives import Objective

Condition = Mapping[str, Any]
"""What is varied, by its name, which is an axis of the portal's graphs too: {"trainable": "all", "initial": 0.5}."""
Results = Mapping[str, dict[str, Any]]
"""Name of a finished training -> the ``result`` of its value, in the order of the trainings."""


class Question(ABC):
    """Base class. ``settings`` are an instance of :attr:`settings_class`."""

    about: ClassVar[str]
    """One sentence, for lists."""
    settings_class: ClassVar[type[DiagnosisSettings]]
    curve_file: ClassVar[str] = "metrics.jsonl"
    """Below a training's folder, the rows of its curve."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @property
    @abstractmethod
    def conditions(self) -> dict[str, Condition]:
        """One for each training, by its name. All have the same keys."""

    @abstractmethod
    def identity(self, condition: Condition) -> dict[str, Any]:
        """All that the value of a training depends on besides data, objective and the settings of the training."""

    def check(self) -> None:
        """As of an experiment."""

    @cached_property
    def data(self) -> ImageData:
        """The images."""
        from nni_plugins.evaluators.data import load

        data: ImageData = load(self.settings.data)
        return data

    @cached_property
    def objective(self) -> Objective:
        """What is trained on."""
        return build_objective(self.settings.objective)

    @abstractmethod
    def prepare(self) -> None:
        """As of an experiment."""

    @abstractmethod
    def run(self, condition: Condition, folder: Path | None, report: Report | None) -> Value:
        """One training."""

    @abstractmethod
    def parts(self, results: Results) -> list[dict[str, Any]]:
        """What ``diagnosis.json`` says of each training."""

    @abstractmethod
    def rows(self, results: Results) -> list[dict[str, Any]]:
        """A line of ``parts.csv`` for each training."""

    @abstractmethod
    def reading(self, results: Results) -> list[str]:
        """What the trainings say, a sentence each."""

    @abstractmethod
    def figures(self, results: Results) -> dict[str, Figure]:
        """By name."""
