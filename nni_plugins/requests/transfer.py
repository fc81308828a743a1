"""A transfer as it is asked for: an architecture as backbone, a recipe, a data set. Imports no torch before it looks at
the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.mmlab.plugin import PACKAGES, counted
from nni_plugins.evaluators.mmlab.watch import METRICS
from nni_plugins.spaces.errors import SpaceError

from .request import CHOICE, Report, Request, Row

if TYPE_CHECKING:
    from nni_plugins.evaluators.mmlab.config import BackboneChoice
    from nni_plugins.evaluators.mmlab.transfer import Transfer


@dataclass(frozen=True, kw_only=True)
class TransferRequest(Request[dict[str, Any]]):
    """``checkpoint``: weights of the backbone; by default those that came with the architecture, or random ones.
    ``amp``: mixed precision. ``options``: to the written configuration file, by dotted keys.
    """

    output = Path("runs/transfer")
    own_parameters = {**CHOICE, "data": str, "checkpoint": str}
    trial_folder = "transfer"

    task: Literal["detection", "segmentation"]
    data: str | None
    checkpoint: str | None = None
    amp: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @cached_property
    def transfer(self) -> Transfer:
        """Task, recipe and data.

        Raises:
            ConfigError: no data was given.
        """
        from nni_plugins.evaluators.mmlab.transfer import Transfer

        if self.data is None:
            raise ConfigError(
                "which data?", "Pass --data DIR; in an NNI trial the tuner may give it as the parameter 'data'."
            )
        changes, options = dict(self.changes), dict(self.options)
        return Transfer(self.task, self.recipe, self.data, self.seed, self.amp, changes, options)

    @cached_property
    def backbone(self) -> BackboneChoice:
        """What stands in the configuration file for the network.

        Raises:
            ConfigError: no such architecture, or one whose networks have no feature maps.
            SpaceError: a network that the recipe's sizes do not suit.
        """
        from nni_plugins.evaluators.mmlab.transfer import backbone

        recipe, one = self.transfer.resolved, self.subject
        checkpoint = self.checkpoint or (None if one.weights is None else str(one.weights))
        arguments = one.arguments if one.space is None else self.space_arguments
        try:
            return backbone(one.text, one.space, one.architecture, recipe, arguments, checkpoint)
        except SpaceError as error:
            problem = f"{one.text} cannot be built by the recipe {self.recipe}: {error.problem}"
            raise SpaceError(problem, error.remedy) from None

    @property
    def identity(self) -> dict[str, Any]:
        """Backbone, weights, recipe, data, seed and changes."""
        choice, transfer = self.backbone, self.transfer
        return {
            "task": self.task,
            "backbone": [choice.architecture, choice.space, choice.arguments, choice.checkpoint],
            "recipe": transfer.resolved.model_dump(mode="json"),
            "data": str(Path(transfer.data).expanduser().resolve()),
            "seed": self.seed,
            "amp": self.amp,
            "options": dict(self.options),
        }

    @property
    def data_name(self) -> str:
        """Of the folder."""
        return Path(self.transfer.data).name or "data"

    def train(self, folder: Path, report: Report | None = None, progress: Report | None = None) -> dict[str, Any]:
        """See :meth:`nni_plugins.evaluators.mmlab.transfer.Transfer.train`."""
        return self.transfer.train(
            self.backbone, folder, origin=self.origin.about, report=report, progress=progress, quiet=True
        )

    def curve_row(self, row: Row) -> Row:
        """Evaluations are counted, as they may lie several epochs apart."""
        return counted(row)

    def curve_point(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``default``: mAP of boxes or mIoU of the validation images, in percent; ``loss``: of training since the
        evaluation before.
        """
        return {"default": row[METRICS[PACKAGES[self.task]][0]], **row}

    def final_value(self, result: dict[str, Any]) -> dict[str, float]:
        """``default``: the same after the last evaluation, whether or not another part is tested, whose metrics stand
        beside it.
        """
        sizes = {f"{key}_parameters": value for key, value in result["parameters"].items()}
        tested, name = result["metrics"], result["metric"]
        last = tested if result["tested_on"] == "val" or not result["history"] else result["history"][-1]
        return {"default": last[name], **tested, **sizes}
