"""A transfer as it is asked for, on the command line or by the parameters of an NNI trial."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import SpaceError

from ..experiment.follow_up_settings import METRICS
from .retrain import first_process, sorted_out

if TYPE_CHECKING:
    from nni_plugins.evaluators.mmlab.config import BackboneChoice
    from nni_plugins.evaluators.mmlab.transfer import Transfer

    from ..trial import Reporter

OUTPUT = Path("runs/transfer")
OWN = {
    "architecture": str,
    "data": str,
    "recipe": str,
    "checkpoint": str,
    "seed": int,
    "rank": int,
    "job": str,
    "space": str,
}
"""Parameters of a trial that are not keys of the recipe, with their types."""
Row = dict[str, Any]


@dataclass(frozen=True)
class TransferRequest:
    """``architecture``, ``space``, ``arguments``, ``rank``, ``job``: as :func:`nni_plugins.origins.origin.origin` takes
    them; also a checkpoint.
    """

    task: str
    architecture: str | None
    data: str | None
    recipe: str
    checkpoint: str | None = None
    seed: int = 0
    amp: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    space: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    rank: int = 1
    job: str | None = None

    def with_parameters(self, parameters: Any) -> TransferRequest:
        """What an NNI tuner chose precedes; errors are those of :func:`nni_plugins.requests.retrain.sorted_out`."""
        own, given = sorted_out(parameters, OWN)
        return replace(self, **own, changes={**self.changes, **given})

    @cached_property
    def transfer(self) -> Transfer:
        """Task, recipe and data."""
        from nni_plugins.evaluators.mmlab.transfer import Transfer

        if self.data is None:
            raise ConfigError(
                "which data?", "Pass --data DIR; in an NNI trial the tuner may give it as the parameter 'data'."
            )
        return Transfer(self.task, self.recipe, self.data, self.seed, self.amp, dict(self.changes), dict(self.options))  # type: ignore[arg-type]

    @cached_property
    def backbone(self) -> tuple[BackboneChoice, dict[str, Any]]:
        """What stands in the configuration file for the architecture, and where it comes from.

        Raises:
            ConfigError: no such architecture, or one whose networks have no feature maps.
        """
        from nni_plugins.evaluators.mmlab.architectures import CHECKPOINTS, resolve
        from nni_plugins.evaluators.mmlab.transfer import backbone

        from ..origins.origin import origin

        if self.architecture is None:
            raise ConfigError(
                "which architecture?",
                "Pass it as argument; in an NNI trial the tuner may give it as the parameter 'architecture'.",
            )
        recipe = self.transfer.resolved
        if self.architecture.endswith(CHECKPOINTS):
            one = resolve(self.architecture, self.space)
            checkpoint = self.checkpoint or self.architecture
            return backbone(one.name, one.space, one.architecture, recipe, self.arguments, checkpoint), {
                "kind": "checkpoint",
                "file": self.architecture,
            }
        try:
            found = origin(self.architecture, self.space, self.arguments, self.rank, self.job)
        except ConfigError as error:
            if "take no images" not in error.problem:
                raise
            raise ConfigError(
                f"{error.problem.partition(';')[0]}, so they have no feature maps.", "Choose an architecture of images."
            ) from None
        name = found.name or found.text
        try:
            return backbone(name, found.space, found.architecture, recipe, self.arguments, self.checkpoint), found.about
        except SpaceError as error:
            raise ConfigError(
                f"{name} cannot be built by the recipe {self.recipe}: {error.problem}", error.remedy
            ) from None

    def folder(self) -> Path:
        """Below :data:`OUTPUT`, a function of all that the result depends on: the same command finds its checkpoints."""
        choice, transfer = self.backbone[0], self.transfer
        identity: list[Any] = [
            self.task,
            choice.architecture,
            choice.space,
            choice.arguments,
            choice.checkpoint,
            transfer.resolved.model_dump(mode="json"),
        ]
        identity += [str(Path(transfer.data).expanduser().resolve()), self.seed, self.amp, dict(self.options)]
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:6]
        name = choice.name if len(choice.name) <= 40 else choice.space or "architecture"
        words = name, Path(self.recipe).stem, Path(transfer.data).name or "data", str(self.seed)
        return OUTPUT / "-".join([*(re.sub(r"[^\w.]+", "_", word) for word in words), digest])

    def train(
        self,
        folder: Path,
        report: Callable[[Row], None] | None = None,
        progress: Callable[[Row], None] | None = None,
        quiet: bool = True,
    ) -> dict[str, Any]:
        """See :meth:`nni_plugins.evaluators.mmlab.transfer.Transfer.train`."""
        choice, about = self.backbone
        return self.transfer.train(choice, folder, origin=about, report=report, progress=progress, quiet=quiet)


def final_value(result: Mapping[str, Any]) -> dict[str, float]:
    """What the portal shows of a finished trial; ``default``: mAP of boxes or mIoU, in percent, on the part that is
    tested at the end.
    """
    sizes = {f"{key}_parameters": value for key, value in result["parameters"].items()}
    return {"default": result["metrics"][result["metric"]], **result["metrics"], **sizes}


def curve_point(row: Mapping[str, Any], metric: str) -> Row:
    """``default``: that metric on the validation images. ``loss`` is that of training since the evaluation before."""
    return {"default": row[metric], **{key: value for key, value in row.items() if key != "evaluation"}}


def evaluations(output: Path, metric: str) -> Reporter:
    """Sends each evaluation of a transfer to NNI once; they are counted, as they may lie several epochs apart."""
    from ..trial import Reporter

    class Evaluations(Reporter):
        def __call__(self, row: Row) -> None:
            super().__call__({**row, "epoch": row["evaluation"], "at_epoch": row["epoch"]})

    return Evaluations(
        output / "reported", output / "none", lambda row: curve_point({**row, "epoch": row["at_epoch"]}, metric)
    )


def run_trial(request: TransferRequest) -> dict[str, Any]:
    """Train what the tuner and the command line ask for, and report it to NNI."""
    import nni
    from nni.runtime.env_vars import trial_env_vars

    from ..trial import own_parameters

    request = request.with_parameters(own_parameters())
    output = Path(trial_env_vars.NNI_OUTPUT_DIR or ".").resolve()
    report = evaluations(output, METRICS[request.task])
    result = request.train(output / "transfer", report=report if first_process() else None)
    if first_process():
        nni.report_final_result(final_value(result))
    return result
