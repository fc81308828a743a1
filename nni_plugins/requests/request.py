"""What a training that is asked for is made of, whatever it trains. Free of torch before it trains."""

from __future__ import annotations

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.processes import first_process
from nni_plugins.evaluators.subjects.subject import ImageSubject, of_images
from nni_plugins.spaces.errors import shown

from ..origins.origin import Origin, origin

R = TypeVar("R")
Row = dict[str, Any]
Report = Callable[[Row], None]
CHOICE: dict[str, type] = {"architecture": str, "space": str, "rank": int, "job": str, "recipe": str, "seed": int}
"""Parameters of a trial that are not keys of the recipe, with their types."""


@dataclass(frozen=True, kw_only=True)
class Request(ABC, Generic[R]):
    """``architecture``, ``space``, ``space_arguments``, ``rank`` and ``job``: as :func:`nni_plugins.origins.origin.origin`
    takes them. ``recipe``: a name, or a YAML file; ``changes``: to it, by dotted keys.
    """

    output: ClassVar[Path]
    """Where folders of trainings are."""
    own_parameters: ClassVar[Mapping[str, type]] = CHOICE
    """Parameters of a trial that are not keys of the recipe, with their types."""
    trial_folder: ClassVar[str]
    """Of a trial's checkpoints and files, below its own output folder, so that the same trial started again goes on."""
    curve_file: ClassVar[str | None] = None
    """Below the folder of a training, its rows as JSON lines; None: an interrupted one reports every row again."""

    architecture: str | None
    recipe: str
    seed: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    space: str | None = None
    space_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    rank: int = 1
    job: str | None = None

    def with_parameters(self, parameters: Any) -> Self:
        """What an NNI tuner chose precedes.

        Raises:
            ConfigError: not a mapping, or a value of another type than :attr:`own_parameters` says.
        """
        if not isinstance(parameters, Mapping):
            raise ConfigError(f"the tuner's parameters must be a mapping, but got {type(parameters).__name__}.")
        given = {str(key): value for key, value in parameters.items()}
        own = {key: given.pop(key) for key in self.own_parameters if key in given}
        for key, value in own.items():
            if not isinstance(value, self.own_parameters[key]) or isinstance(value, bool):
                raise ConfigError(
                    f"{key}: must be of type {self.own_parameters[key].__name__}, but the tuner gave {shown(value)}.",
                    "Correct searchSpace.",
                )
        return replace(self, **own, changes={**self.changes, **given})

    @cached_property
    def origin(self) -> Origin:
        """The network, and where it comes from.

        Raises:
            ConfigError: no architecture was given; and what :func:`nni_plugins.origins.origin.origin` raises.
        """
        if self.architecture is None:
            raise ConfigError(
                "which architecture?",
                "Pass it as argument; in an NNI trial the tuner may give it as the parameter 'architecture'.",
            )
        return origin(self.architecture, self.space, self.space_arguments, self.rank, self.job)

    @cached_property
    def subject(self) -> ImageSubject:
        """The network.

        Raises:
            ConfigError: its networks take no images; and what :attr:`origin` raises.
        """
        return of_images(self.origin.subject)

    @property
    def recipe_name(self) -> str:
        """The recipe's name, or that of its file."""
        return Path(self.recipe).stem

    def folder(self) -> Path:
        """Below :attr:`output`, a function of :attr:`identity`: the same command finds its checkpoints, another one
        never does.
        """
        digest = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:6]
        words = self.subject.name, self.recipe_name, self.data_name, str(self.seed)
        return self.output / "-".join([*(re.sub(r"[^\w.]+", "_", word) for word in words), digest])

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that the result depends on, as JSON."""

    @property
    @abstractmethod
    def data_name(self) -> str:
        """Of the data, for the folder's name."""

    @abstractmethod
    def train(self, folder: Path, report: Report | None = None, progress: Report | None = None) -> R:
        """Train, or go on in ``folder``.

        Args:
            report: called with every row of the curve.
            progress: called about once a second.

        Raises:
            ConfigError: what the request asks for does not exist or does not fit together; DataError: of the data.
            TrainingError, CheckpointError: of the training.
        """

    def curve_row(self, row: Row) -> Row:
        """A row as NNI counts them: by ``epoch``, from 1."""
        return row

    @abstractmethod
    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the portal gets of a row of the curve: ``default`` and every other number."""

    @abstractmethod
    def final_value(self, result: R) -> dict[str, float]:
        """What the portal shows of a finished trial: all numbers, and ``default``, by which a tuner chooses: of held-out
        data, if there are any.
        """


def in_trial() -> bool:
    """Whether NNI started this process as a trial."""
    return os.environ.get("NNI_PLATFORM") not in (None, "unittest")


def run_trial(request: Request[R]) -> R:
    """Train what the tuner and the command line ask for, and report it to NNI.

    Raises:
        ConfigError: a parameter that is no key; and what :meth:`Request.train` raises.
    """
    import nni
    from nni.runtime.env_vars import trial_env_vars

    from ..portal.reporting import Reporter, own_parameters

    request = request.with_parameters(own_parameters())
    output = Path(trial_env_vars.NNI_OUTPUT_DIR or ".").resolve()
    folder = output / request.trial_folder
    curve = None if request.curve_file is None else folder / request.curve_file
    reporter = Reporter(output / "reported", curve, request.curve_point)
    first = first_process()
    result = request.train(folder, (lambda row: reporter(request.curve_row(row))) if first else None)
    if first:
        reporter.catch_up()
        nni.report_final_result(request.final_value(result))
    return result
