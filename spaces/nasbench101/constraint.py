"""How NNI learns which samples of the NAS-Bench-101 space are valid.

NNI's decisions are independent of one another. Its own constraints appear among the decisions, which strategies and
portal then list as one more, so ours sits on the last decision instead: it refuses a value if the other decisions,
where they are there already, make no valid cell with it. NNI's random search and evolution draw again when that
happens, and its grid search passes over such points.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from nni.mutable import Categorical, Sample, SampleValidationError
from nni.mutable.exception import ConstraintViolation
from nni.nas.nn.pytorch import LayerChoice
from torch import nn

from ..errors import SpaceError

if TYPE_CHECKING:
    from .space import NASBench101


class InvalidCell(SpaceError, ConstraintViolation):
    """A sample with too many edges, or without a path from input to output. NNI's strategies catch it and draw again."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy


class LastChoice(Categorical):
    """The last decision of ``space``, which also asks whether the whole sample is valid."""

    def __init__(self, values: list[str], space: NASBench101, label: str) -> None:
        super().__init__(values, label=label)
        self.space = space

    def check_contains(self, sample: Sample) -> SampleValidationError | None:
        error: SampleValidationError | None = super().check_contains(sample)
        labels = self.space.labels[:-1]
        if error is None and all(
            sample.get(label) in d.values for label, d in zip(labels, self.space.decisions, strict=False)
        ):
            problem = self.space.problem(sample)
            error = None if problem is None else InvalidCell(*problem)
        return error

    def grid(self, memo: Sample | None = None, granularity: int | None = None) -> Iterator[Any]:
        """Only the values that are valid together with what ``memo`` holds."""
        memo = {} if memo is None else memo
        if self.label in memo:
            yield self.freeze(memo)
            return
        for value in self.values:
            if self.check_contains({**memo, self.label: value}) is None:
                memo[self.label] = value
                yield value
        memo.pop(self.label, None)


def constrain(selectors: nn.ModuleDict, space: NASBench101) -> None:
    """Put the constraint on the last of ``selectors``; an edge from input to output becomes NNI's default."""
    selector = cast(LayerChoice, selectors[space.labels[-1]])
    selector.choice = LastChoice(selector.choice.values, space, space.labels[-1])
    selector.mutables[:] = [selector.choice]
    cast(LayerChoice, selectors[f"e_0_{space.nodes + 1}"]).choice.default_value = "1"
