"""How a comparison measures what the policies chose: a training from scratch with one seed for all, or a look-up. Free
of torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.text.settings import LanguageModelSettings, TextSettings
from nni_plugins.evaluators.training.settings import StandAloneSettings
from nni_plugins.spaces.errors import closest

from ... import registry


class TableEvaluation(Settings):
    """A table of results instead of trainings: a comparison in seconds, for spaces all of whose architectures are
    known.
    """

    kind: Literal["table"]
    table: str = Field("digits", description="``digits``, or a CSV or NPZ file (docs/tables.md)")
    metric: str = Field("accuracy", description="what policies that ask for values are told: the validation metric")
    test_metric: str | None = Field(None, description="what policies are compared on; default: the same")
    larger_is_better: bool = True
    unit: str = "%"

    @property
    def metric_name(self) -> str:
        """What policies are compared on."""
        return self.test_metric or self.metric


class StandAloneEvaluation(Settings):
    """Training from scratch on images; measured on the test images."""

    kind: Literal["stand_alone"]
    data: DataSettings = DataSettings.model_validate({})
    settings: StandAloneSettings = StandAloneSettings.model_validate({})
    objective: dict[str, Any] | None = Field(
        None,
        description="what is trained, by name and arguments; default: segmentation where the images are for it, else supervised",
    )
    seed: int = Field(0, ge=0, description="of every training, whichever policy and search chose the architecture")
    network: dict[str, Any] = Field(
        default={}, description="arguments of the space that differ in the trained networks, such as channels: 36"
    )
    validation: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the training images, drawn by the seed, on which policies that ask for values are answered",
    )
    larger_is_better: Literal[True] = True

    @field_validator("objective")
    @classmethod
    def _known(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        known = registry.found("objectives")
        if value is not None and value.get("name") not in known:
            raise ValueError(f"unknown objective {value.get('name')!r}; {closest(str(value.get('name')), known)}")
        return value

    @property
    def target(self) -> dict[str, Any]:
        """The objective of the trainings."""
        return self.objective or {"name": "segmentation" if self.data.source == "segmentation" else "supervised"}

    @property
    def metric_name(self) -> str:
        """``accuracy``, or for segmentation ``miou``; both in percent."""
        return "miou" if self.target["name"] == "segmentation" else "accuracy"

    @property
    def unit(self) -> str:
        """Of the metric."""
        return "%"


class LanguageEvaluation(Settings):
    """Training of a recurrent language model from scratch; policies that ask for values are answered with the
    validation perplexity.
    """

    kind: Literal["language_model"]
    text: TextSettings
    settings: LanguageModelSettings = LanguageModelSettings.model_validate({})
    measure: Literal["test", "valid"] = Field(
        "test", description="the perplexity that policies are compared on; both are in the report"
    )
    seed: int = Field(0, ge=0, description="of every training, whichever policy and search chose the cell")
    network: dict[str, Any] = Field(
        default={}, description="arguments of the space that differ in the trained networks, such as hidden: 850"
    )
    larger_is_better: Literal[False] = False

    @property
    def metric_name(self) -> str:
        """What policies are compared on."""
        return f"{self.measure} perplexity"

    @property
    def unit(self) -> str:
        """None: perplexities are plain numbers."""
        return ""


Evaluation = Annotated[TableEvaluation | StandAloneEvaluation | LanguageEvaluation, Field(discriminator="kind")]
