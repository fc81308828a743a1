"""The spaces of this package pass the conformance suite, and the suite notices spaces that are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from nni_plugins.spaces import Architecture, CostTable, Decision, Indices, NASBench201, SearchSpace
from nni_plugins.spaces.supernet import WeightBlock, WeightBlocks
from nni_plugins.spaces.testing import SpaceContract


class TestFourNodes(SpaceContract):
    def space(self) -> SearchSpace:
        return NASBench201(nodes=4, channels=4, cells_per_stage=1)


class TestThreeNodes(SpaceContract):
    def space(self) -> SearchSpace:
        return NASBench201(nodes=3, channels=3, cells_per_stage=2, classes=4)


class TestOddImages(SpaceContract):
    image_size = 7

    def space(self) -> SearchSpace:
        return NASBench201(nodes=3, channels=2, cells_per_stage=1)


class TestTooLargeToEnumerate(SpaceContract):
    def space(self) -> SearchSpace:
        return NASBench201(nodes=6, channels=2, cells_per_stage=1)


class Small(NASBench201):
    def __init__(self, nodes: int = 3, channels: int = 2, cells_per_stage: int = 1, classes: int = 10) -> None:
        super().__init__(nodes, channels, cells_per_stage, classes)


class ForgetsAnArgument(Small):
    def config(self) -> dict[str, Any]:
        return {"channels": 4, "classes": self.classes}


class EncodesBackwards(Small):
    def encode(self, architectures: Any) -> Indices:
        return super().encode(architectures)[:, ::-1]


class AcceptsAnything(Small):
    def architecture(self, choices: Mapping[str, str]) -> Architecture:
        return super().architecture(
            {d.label: d.values[0] for d in self.decisions} | {k: v for k, v in choices.items() if k in self.labels}
        )


class NeverDrawsTheLastValue(Small):
    def sample(self, rng: np.random.Generator, n: int) -> Indices:
        return rng.integers(0, 4, size=(n, len(self.decisions)), dtype=np.int8)


class DrawsFromTheGlobalGenerator(Small):
    def sample(self, rng: np.random.Generator, n: int) -> Indices:
        return np.random.randint(0, 5, size=(n, len(self.decisions))).astype(np.int8)


class DoesNotShare(Small):
    def sample_paths(self, rng: np.random.Generator, n: int, shared: bool) -> Indices:
        return super().sample_paths(rng, n, False)


class MutatesAtTimes(Small):
    def mutate(self, rng: np.random.Generator, parents: Indices, probability: float) -> Indices:
        return np.where(
            rng.random(parents.shape) < probability, rng.integers(0, 5, size=parents.shape), parents
        ).astype(np.int8)


class CrossesWithStrangers(Small):
    def crossover(self, rng: np.random.Generator, first: Indices, second: Indices) -> Indices:
        return self.mutate(rng, first, 0.1)


class EnumeratesTwice(Small):
    def enumerate(self) -> Indices:
        everything = super().enumerate()
        everything[0] = everything[1]
        return everything


class CountsDeadPaths(Small):
    def path_counts(self, indices: Indices) -> Any:
        return np.asarray(indices != 0, dtype=np.int64)


class ForgetsBatchNorms(Small):
    def cost_table(self, image_size: int = 32) -> CostTable:
        table = super().cost_table(image_size)
        return CostTable(table.fixed_parameters - 2 * self.channels, table.fixed_macs, table.parameters, table.macs)


class CountsTwoForAMultiplyAdd(Small):
    def cost_table(self, image_size: int = 32) -> CostTable:
        table = super().cost_table(image_size)
        return CostTable(table.fixed_parameters, 2 * table.fixed_macs, table.parameters, 2 * table.macs)


class NamesLikePaths(Small):
    def nni_search_space(self) -> dict[str, dict[str, Any]]:
        return {label.replace("_", "/"): value for label, value in super().nni_search_space().items()}


class ForgetsTheClassifier(Small):
    def supernet(self, affine: bool = False) -> Any:
        supernet = super().supernet(affine)
        blocks = supernet.weight_blocks()
        fixed = WeightBlock(tuple(p for p in blocks.fixed.parameters if not p[0].startswith("classifier")))
        supernet.weight_blocks = lambda: WeightBlocks(fixed, blocks.choices)
        return supernet


def test_a_decision_with_one_value_is_left_alone() -> None:
    space = Small()
    space.decisions = (space.decisions[0], Decision("fixed", ("only",)), space.decisions[2])
    parents = space.sample(np.random.default_rng(0), 500)
    for probability in (1e-9, 0.5, 1.0):
        children = space.mutate(np.random.default_rng(1), parents, probability)
        assert (children != parents).any(axis=1).all() and not children[:, 1].any()


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (ForgetsAnArgument, "test_config_builds_an_equal_space"),
        (EncodesBackwards, "test_decode_is_the_inverse_of_encode"),
        (AcceptsAnything, "test_bad_choices_are_named"),
        (NeverDrawsTheLastValue, "test_sampling_is_uniform"),
        (DrawsFromTheGlobalGenerator, "test_drawing_is_a_function_of_the_generator"),
        (DoesNotShare, "test_paths_for_training"),
        (MutatesAtTimes, "test_mutation_changes_something"),
        (CrossesWithStrangers, "test_crossover_takes_only_from_the_parents"),
        (EnumeratesTwice, "test_enumeration_is_complete"),
        (CountsDeadPaths, "test_path_counts_tell_whether_the_output_depends_on_the_input"),
        (ForgetsBatchNorms, "test_cost_table_equals_real_networks"),
        (CountsTwoForAMultiplyAdd, "test_cost_table_equals_an_independent_count"),
        (NamesLikePaths, "test_nni_search_space"),
        (ForgetsTheClassifier, "test_every_weight_is_in_one_block"),
    ],
)
def test_the_suite_notices(wrong: type[SearchSpace], test: str) -> None:
    class Contract(SpaceContract):
        def space(self) -> SearchSpace:
            return wrong()  # type: ignore[call-arg]

    arguments = {"test_paths_for_training": (True,), "test_mutation_changes_something": (0.1,)}.get(test, ())
    with pytest.raises((AssertionError, TypeError, pytest.fail.Exception)):
        getattr(Contract(), test)(*arguments)
