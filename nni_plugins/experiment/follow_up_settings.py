"""What follows a search besides the stand-alone trainings: retraining, detection, segmentation. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.mmlab import watch
from nni_plugins.evaluators.settings import Settings

PHASES = ("search", "found", "random", "sample")
METRICS = {"retraining": "top1", "detection": watch.METRICS["mmdet"][0], "segmentation": watch.METRICS["mmseg"][0]}
"""What says how good a network is; all in percent, larger is better."""
NAME = re.compile(r"[a-z][a-z0-9_]*")


class FollowUpSettings(Settings):
    """One kind of training for the best architectures of each search, by its own ranking, and for as many random ones.

    The random ones are the first of the experiment's, whatever their stand-alone accuracy: nothing is chosen by a
    measurement.
    """

    task: Literal["retraining", "detection", "segmentation"]
    recipe: str = Field(
        description="of nni-plugins recipes for retraining; of nni-plugins transfer --recipes for the others"
    )
    data: str = Field(min_length=1, description="a folder or file; retraining: also digits")
    changes: dict[str, Any] = Field(
        default_factory=dict, description="to the recipe, by dotted keys such as optimizer.learning_rate"
    )
    found: int = Field(1, ge=0, description="how many of each search")
    random: int = Field(1, ge=0, description="how many of the random architectures")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not self.found + self.random:
            raise ValueError("found + random must be at least 1")
        try:
            recipe = self.resolved()
        except ConfigError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
        if self.task != "retraining" and (
            recipe.backbone.pretrained or recipe.backbone.frozen_stages > 0 or recipe.backbone.norm_eval
        ):
            raise ValueError(
                f"the recipe {self.recipe} starts from a trained backbone, which follow-ups do not have; change it by changes: "
                "{backbone.pretrained: false, backbone.frozen_stages: -1, backbone.norm_eval: false}, or choose another"
            )
        return self

    def resolved(self) -> Any:
        """The recipe with its changes.

        Raises:
            ConfigError: no such recipe, one of another task, or keys that do not exist.
        """
        if self.task == "retraining":
            from nni_plugins.evaluators.retraining import recipes

            return recipes.changed(recipes.recipe(self.recipe), self.changes)
        from nni_plugins.evaluators.mmlab.recipes import changed, recipe

        given = recipe(self.recipe)
        if given.task != self.task:
            raise ConfigError(f"the recipe {self.recipe} is for {given.task}, not for {self.task}.")
        return changed(given, self.changes)


def check_names(follow_ups: Mapping[str, FollowUpSettings], found: int, random: int) -> None:
    """
    Raises:
        ValueError: names that cannot stand on the portal's axis, or more architectures than the experiment has.
    """
    problems = []
    for name, one in follow_ups.items():
        if NAME.fullmatch(name) is None or name in PHASES:
            problems.append(f"follow_ups.{name}: a name is made of a-z, 0-9 and _, and is none of {', '.join(PHASES)}")
        if one.found > found:
            problems.append(f"follow_ups.{name}.found: {one.found} of each search, but found is {found}")
        if one.random > random:
            problems.append(f"follow_ups.{name}.random: {one.random} architectures, but random is {random}")
    if problems:
        raise ValueError("; ".join(problems))
