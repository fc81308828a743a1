"""Settings of a weight-sharing study on recurrent cells (Yu et al., ICLR 2020, section 5). Free
of torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.reports.sharing_study.cells import MOST, Cells, amount_cells, whole_space
from nni_plugins.evaluators.settings import Settings
from nni_plugins.evaluators.text.settings import LanguageModelSettings, TextSettings
from nni_plugins.evaluators.text.shared_settings import SharedTextSettings
from nni_plugins.spaces.recurrent import RecurrentCell

from ...experiment.base import ExperimentSettings
from ..checks import repeated

Sharing = Literal["node", "edge", "edge_op"]
Operation = Literal["tanh", "relu", "sigmoid", "identity"]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class EvaluationHyperparameters(SharedTextSettings):
    """Shared weights trained as the paper trains them: with the hyper-parameters of stand-alone training. (The paper
    reports the same outcome with those of the search phase, which are :class:`SharedTextSettings`'.)"""

    batch_size: int = Field(64, ge=2, description="sequences that are read side by side")
    learning_rate: float = Field(
        20.0, gt=0, description="of a piece of bptt words; that of a shorter or longer one is in proportion"
    )
    gradient_clip: float | None = Field(
        0.25, gt=0, description="largest norm of the gradients of the weights that the step uses together"
    )
    weight_decay: float = Field(8e-7, ge=0)
    length_deviation: float = Field(5.0, ge=0, description="standard deviation of the pieces' lengths, in words")
    dropoute: float = Field(0.1, ge=0, lt=1, description="of whole words of the vocabulary")
    nonmono: int | None = Field(
        5,
        ge=0,
        description="averaging begins when the validation loss is above its minimum over all but the last N epochs, "
        "each piece read by an architecture drawn as in training; null: never",
    )


class SharingAnalysis(Settings):
    """How rankings are compared; see :mod:`nni_plugins.evaluators.reports.sharing_study.measures`."""

    resamples: int = Field(1000, ge=100, description="bootstrap samples and permutations of one run")
    permutations: int = Field(2000, ge=100, description="of the mean over runs")
    seed: int = Field(0, ge=0)


class SharingStudySettings(ExperimentSettings):
    """Every cell alone, with each of ``stand_alone_seeds``; all cells together, with each of ``shared_seeds`` for each
    of ``sharing``.
    """

    optimize_mode: Literal["minimize"] | None = Field(None, description="the portal reads it from the file")
    study: Literal["whole", "amount"] = Field(
        "whole", description="whole: all cells of the space; amount: 12 cells of 3 nodes, of which 2 are fixed"
    )
    nodes: int | None = Field(None, ge=1, le=3, description="default: 2 of whole, 3 of amount")
    hidden: int = Field(850, ge=1, description="size of a state")
    embedding: int | None = Field(None, ge=1, description="size of a word's vector; default: hidden")
    fixed: tuple[Operation, Operation] = Field(
        ("tanh", "tanh"), description="of amount: activations of the fixed nodes"
    )
    text: TextSettings
    sharing: tuple[Sharing, ...] = Field(
        ("node", "edge", "edge_op"),
        min_length=1,
        description="what has a matrix of its own; each is a supernet of its own",
    )
    shared: EvaluationHyperparameters = EvaluationHyperparameters.model_validate({})
    shared_seeds: Seeds = tuple(range(10))
    rank_every: int | None = Field(
        None, ge=1, description="rank all cells after so many epochs of a run, too; default: a tenth of them"
    )
    stand_alone: LanguageModelSettings = LanguageModelSettings.model_validate({})
    stand_alone_seeds: Seeds = tuple(range(10))
    chunk: int | None = Field(
        None, ge=1, description="cells that are trained side by side; default: what fits a gigabyte"
    )
    analysis: SharingAnalysis = SharingAnalysis.model_validate({})
    threads: int | None = Field(1, ge=1, le=1024, description="CPU threads of each job; null: torch's")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        problems = repeated(self, "sharing", "shared_seeds", "stand_alone_seeds")
        if self.study == "amount" and self.nodes not in (None, 3):
            problems.append(f"nodes: the amount of sharing is studied with 3, but got {self.nodes}")
        if self.study == "whole" and self.space("node").size > MOST:
            problems.append(
                f"nodes: at most {MOST:,} cells can be trained alone, but {self.nodes} nodes give "
                f"{self.space('node').size:,}"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def space(self, sharing: str) -> RecurrentCell:
        """The space of this study's cells, whose vocabulary is that of the text."""
        nodes = self.nodes or (2 if self.study == "whole" else 3)
        return RecurrentCell(nodes=nodes, hidden=self.hidden, embedding=self.embedding, sharing=sharing)

    def cells(self) -> Cells:
        """What is compared; the same for all ``sharing``."""
        space = self.space("node")
        return whole_space(space) if self.study == "whole" else amount_cells(space, self.fixed)
