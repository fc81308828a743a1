"""The contract of an evaluator: how an architecture is measured once it is found. Free of torch.

An evaluator is declared once, beside its code, and found by its entry point in the group ``nni_plugins.evaluators``.
Life cycle: the settings are read and :meth:`EvaluatorPlugin.check` refuses what cannot work (in NNI's tuner process,
which has no torch); :meth:`EvaluatorPlugin.prepare` tries all else that can fail, before the search; then
:meth:`EvaluatorPlugin.evaluate` is called once for each architecture and seed, in whatever process, and again with the
same folder after a crash.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.published import names as published_names
from nni_plugins.spaces.published import published

from .errors import ConfigError
from .settings import Settings
from .training.settings import MAY_CHANGE

Report = Callable[[dict[str, float]], None]
"""Called at the end of every epoch with a row that has at least ``epoch``, counted from 1."""

Network = Architecture | str
"""What is evaluated: an architecture of the space, or the name of a published architecture or of a model of timm's."""


@dataclass(frozen=True)
class Metric:
    """What an evaluation is judged by: its ``name`` in results, its ``unit`` ("" if none) and its direction."""

    name: str
    unit: str = ""
    larger_is_better: bool = True

    @property
    def heading(self) -> str:
        """Of a table's column."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def mode(self) -> str:
        """As NNI calls the direction: ``maximize`` or ``minimize``."""
        return "maximize" if self.larger_is_better else "minimize"

    def text(self, value: float) -> str:
        """Such as ``93.20 % accuracy``."""
        return f"{value:.2f} {self.unit} {self.name}".replace("  ", " ")

    def oriented(self, value: float) -> float:
        """``value`` so that larger is better."""
        return value if self.larger_is_better else -value


class EvaluationSettings(Settings):
    """What every evaluation of an experiment has; evaluators add their own settings beside these."""

    evaluator: str = Field(description="name of a registered evaluator")
    found: int | None = Field(None, ge=0, description="how many architectures of each search; default: all it lists")
    random: int | None = Field(None, ge=0, description="how many of the random architectures; default: all of them")
    baselines: bool = Field(True, description="whether the experiment's baselines are evaluated too")
    seed: int = Field(0, ge=0, description="of every training, whoever chose the architecture")


@dataclass(frozen=True)
class Measured:
    """What came of one evaluation.

    ``value``: of the evaluator's metric, as it is reported; ``metrics``: other numbers by name; ``curve``: one row an
    epoch, oldest first; ``cost``: such as ``parameters``, ``macs`` and ``epochs``; ``validation``: the same metric on
    a part that ``value`` is not measured on. The best of several architectures is chosen by ``validation``, or where
    there is none by the score of the search, but never by ``value``.
    """

    value: float
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    validation: float | None = None

    def __post_init__(self) -> None:
        for number in (self.value, self.validation):
            if number is not None and not math.isfinite(number):
                raise ConfigError(f"an evaluation must give finite values, but gave {number}.")


class EvaluatorPlugin(ABC):
    """Base class of evaluators. Subclasses set the class variables and fill the abstract methods; nothing but
    :meth:`prepare`, :meth:`evaluate` and :meth:`ask` may import torch.

    Args:
        settings: an instance of :attr:`settings_class`.
        space: the space whose architectures are evaluated.
        data: settings of the experiment's own data, for evaluators that are given none; None if there are none.
    """

    name: ClassVar[str]
    """As experiment files say it after ``evaluator:``."""
    about: ClassVar[str]
    """One sentence, for lists."""
    settings_class: ClassVar[type[EvaluationSettings]] = EvaluationSettings
    takes_names: ClassVar[bool] = False
    """Whether :meth:`evaluate` also takes names, such as ``resnet18``."""
    looks_up: ClassVar[bool] = False
    """Whether an evaluation costs nothing, so that its answers need not be kept."""
    curve_file: ClassVar[str | None] = "metrics.jsonl"
    """Below an evaluation's folder, the rows of its curve as JSON lines; an interrupted trial reports from it what it had
    not reported."""
    paths: ClassVar[tuple[str, ...]] = ("data.path",)
    """Keys of the settings that hold paths, relative to the file that they stand in."""
    harmless: ClassVar[frozenset[str]] = frozenset()
    """Keys of its own settings that neither values nor answers depend on."""

    def __init__(self, settings: Any, space: SearchSpace, data: Any = None) -> None:
        self.settings, self.space, self.data = settings, space, data

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """What architectures are compared on."""

    @property
    def holds_out(self) -> bool:
        """Whether every :class:`Measured` has a ``validation``, by which the best of several can be chosen."""
        return False

    @property
    def devices(self) -> int:
        """How many processes an evaluation takes, which :meth:`evaluate` starts."""
        return 1

    def identity(self) -> dict[str, Any]:
        """All that a value depends on besides architecture and seed, as JSON: by default the settings and the data's."""
        unread = {*EvaluationSettings.model_fields, *self.harmless} - {"evaluator"}
        kept = self.settings.model_dump(mode="json", exclude=unread)
        data = None if self.data is None else self.data.model_dump(mode="json")
        return {"settings": lasting(kept), "data": lasting(data)}

    @property
    def ask_cost(self) -> dict[str, float]:
        """What one answer of :meth:`ask` adds to the budget of a search, by name, such as ``search_epochs``."""
        return {}

    def ask_identity(self) -> dict[str, Any]:
        """All that an answer of :meth:`ask` depends on besides architecture and seed."""
        return self.identity()

    def check(self) -> None:
        """Refuse, without torch, settings that do not fit the space or the data.

        Raises:
            ConfigError: with every problem.
        """

    def check_files(self) -> None:
        """Read, without torch, the files without which nothing can be planned.

        Raises:
            NNIPluginsError: one cannot be read, or is of another space.
        """

    def prepare(self, names: Sequence[str] = ()) -> None:
        """Try whatever could fail after the search: files, labels, sizes, back-ends.

        Args:
            names: those that :meth:`evaluate` will be given instead of architectures.

        Raises:
            NNIPluginsError: what would fail, and what mends it; MissingBackend names the line that installs it.
        """

    @abstractmethod
    def evaluate(self, network: Network, seed: int, folder: Path | None, report: Report | None) -> Measured:
        """Measure one architecture.

        Args:
            network: of :attr:`space`, or a name where :attr:`takes_names` is set.
            seed: of the training.
            folder: for checkpoints; a call with the folder of a killed one goes on where that stopped.
            report: called after every epoch.

        Raises:
            NNIPluginsError: it cannot be measured, or the folder holds another training (ConfigChanged).
        """

    def ask(self, architecture: Architecture, seed: int, folder: Path | None) -> float:
        """The value that a strategy is told which asks during its search: **larger is better**, and never measured on
        what :meth:`evaluate` measures on.

        Raises:
            ConfigError: by default, that the evaluator answers no questions.
        """
        raise ConfigError(
            f"the evaluator {self.name} answers no questions during a search, for it has no held-out part for them.",
            "Search with a strategy that asks none, or evaluate with stand_alone, table or language_model.",
        )

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the portal gets of a row of the curve: ``default`` and every other number."""
        return {"default": row["loss"], **row}


UNREAD = MAY_CHANGE | {"resident"}
"""Keys of settings of data and trainings that say where and how often, not what is computed."""


def lasting(part: Any) -> Any:
    """Settings without :data:`UNREAD`, what may change between the runs of one training."""
    if isinstance(part, dict):
        return {key: lasting(value) for key, value in part.items() if key not in UNREAD}
    return [lasting(value) for value in part] if isinstance(part, list) else part


def network_of(space: SearchSpace, name: str) -> Network:
    """What ``name`` means where ``space`` is searched: a published architecture of it is one of its points, at the size
    that the space has; any other name stays one.
    """
    if name in published_names():
        item = published(name)
        if item.space_name == space.name and item.space.decisions == space.decisions:
            return space.check(item.architecture)
    return name


def digest(network: Network) -> str:
    """A short name of a network, for files and folders."""
    if isinstance(network, str):
        return network
    return hashlib.sha256(json.dumps(sorted(network.as_dict().items())).encode()).hexdigest()[:16]
