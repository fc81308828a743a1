"""Evolution: finds optima, keeps its limits, never asks twice, always ends."""

from __future__ import annotations

import numpy as np
import pytest

from nni_plugins.evaluators import ConfigError
from nni_plugins.spaces import DARTS, Indices, MobileNetLike, NASBench201, SearchSpace
from nni_plugins.strategies import EvolutionSettings, Limits, evolve
from nni_plugins.strategies.evolution import Score, Sizes


def additive(space: SearchSpace, seed: int) -> tuple[Score, np.ndarray]:
    """A score with a known optimum: the sum of a random number for each choice."""
    table = np.random.default_rng(seed).random((len(space.decisions), 5))

    def score(indices: Indices) -> np.ndarray:
        return np.asarray(table[np.arange(indices.shape[1]), indices].sum(axis=1))

    return score, table.argmax(axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_optimum(seed: int) -> None:
    space = NASBench201(nodes=4)
    score, optimum = additive(space, seed)
    indices, scores = evolve(space, score, EvolutionSettings(), Limits(), np.random.default_rng(seed))
    assert indices[scores.argmax()].tolist() == optimum.tolist()
    assert len(indices) == 20 * 100 and indices.dtype == np.int8, "RLNAS' 2,000 candidates, 12.8 % of the space"
    assert np.array_equal(scores, score(indices))


def test_nothing_is_scored_twice() -> None:
    space = NASBench201(nodes=4)
    score, _ = additive(space, 0)
    asked: list[bytes] = []

    def listening(indices: Indices) -> np.ndarray:
        asked.extend(row.tobytes() for row in indices)
        return score(indices)

    settings = EvolutionSettings(population=50, mutations=25, crossovers=25, parents=10)
    indices, _ = evolve(space, listening, settings, Limits(), np.random.default_rng(0))
    assert len(set(asked)) == len(asked) == 1000 and [row.tobytes() for row in indices] == asked


def test_later_generations_are_better() -> None:
    space = NASBench201(nodes=6)
    score, _ = additive(space, 0)
    _, scores = evolve(
        space,
        score,
        EvolutionSettings(population=40, mutations=20, crossovers=20, parents=10),
        Limits(),
        np.random.default_rng(0),
    )
    assert np.median(scores[-40:]) > scores[:40].max()


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        (Limits(max_parameters=400_000), "parameters"),
        (Limits(max_macs=60_000_000), "macs"),
        (Limits(max_macs=15_000_000, image_size=16), "macs"),
    ],
)
def test_every_candidate_meets_the_limits(limits: Limits, kind: str) -> None:
    space = NASBench201(nodes=4)
    score, _ = additive(space, 1)
    indices, _ = evolve(space, score, EvolutionSettings(generations=5), limits, np.random.default_rng(0))
    bound = limits.max_parameters or limits.max_macs
    values = getattr(space.cost_table(limits.image_size)(indices), kind)
    assert bound is not None and len(indices) == 500 and values.max() <= bound
    assert getattr(space.cost_table(limits.image_size)(space.enumerate()), kind).max() > bound


def test_both_limits_together() -> None:
    space = NASBench201(nodes=4)
    limits = Limits(max_parameters=330_000, max_macs=40_000_000)
    everything = space.enumerate()
    costs = space.cost_table()(everything)
    assert np.array_equal(limits.mask(space, everything), (costs.parameters <= 330_000) & (costs.macs <= 40_000_000))
    assert Limits().mask(space, everything).all()


def test_it_ends_when_the_whole_space_is_known() -> None:
    space = NASBench201(nodes=3)
    score, optimum = additive(space, 0)
    indices, scores = evolve(space, score, EvolutionSettings(generations=10_000), Limits(), np.random.default_rng(0))
    assert (
        len(np.unique(indices, axis=0)) == len(indices) == 125 and indices[scores.argmax()].tolist() == optimum.tolist()
    )


def test_it_ends_when_few_architectures_meet_the_limits() -> None:
    space = NASBench201(nodes=3)
    limits = Limits(
        max_parameters=int(space.cost_table().fixed_parameters)
    )  # only cells without convolutions: 3 of 5 operations
    score, _ = additive(space, 0)
    with pytest.warns(UserWarning, match=r"begins with 27 architectures instead of 100, .* within the limits"):
        indices, _ = evolve(space, score, EvolutionSettings(), limits, np.random.default_rng(0))
    assert len(indices) == 27


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(3))
def test_rare_architectures_fill_the_population(seed: int) -> None:
    """RLNAS' 475 M multiply-adds, which 0.285 % of random draws from the MobileNet-like space meet."""
    space, limits = MobileNetLike(), Limits(max_macs=475_000_000, image_size=224)
    sizes: list[int] = []

    def score(indices: Indices) -> np.ndarray:
        sizes.append(len(indices))
        return np.asarray(indices.sum(axis=1), dtype=float)

    indices, _ = evolve(space, score, EvolutionSettings(generations=2), limits, np.random.default_rng(seed))
    assert sizes == [50, 50] and limits.mask(space, indices).all() and len(np.unique(indices, axis=0)) == 100


def test_the_official_sizes_of_each_space() -> None:
    """NAS-Bench-201: 100 a generation, 30 parents, 50 + 50 children; DARTS and MobileNet-like: 50, 10, 25 + 25."""
    official = EvolutionSettings()
    assert official.sizes(NASBench201()) == Sizes(100, 30, 50, 50)
    assert official.sizes(DARTS()) == official.sizes(MobileNetLike()) == Sizes(50, 10, 25, 25)
    assert EvolutionSettings(population=8, parents=4).sizes(DARTS()) == Sizes(8, 4, 25, 25)
    assert (official.generations, official.probability) == (20, 0.1)


def test_it_is_a_function_of_the_seed() -> None:
    space = NASBench201(nodes=4)
    score, _ = additive(space, 0)
    settings = EvolutionSettings(generations=6)
    runs = [evolve(space, score, settings, Limits(), np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert np.array_equal(runs[0][0], runs[1][0]) and np.array_equal(runs[0][1], runs[1][1])
    assert not np.array_equal(runs[0][0], runs[2][0])


def test_a_constant_score_is_no_trouble() -> None:
    space = NASBench201(nodes=4)
    indices, scores = evolve(
        space, lambda i: np.zeros(len(i)), EvolutionSettings(generations=3), Limits(), np.random.default_rng(0)
    )
    assert len(indices) == len(np.unique(indices, axis=0)) == 300 and not scores.any()


def test_without_offspring_it_is_random_search() -> None:
    space = NASBench201(nodes=4)
    score, _ = additive(space, 0)
    settings = EvolutionSettings(mutations=0, crossovers=0)
    indices, _ = evolve(space, score, settings, Limits(), np.random.default_rng(0))
    assert len(indices) == len(np.unique(indices, axis=0)) == 2000


def test_more_offspring_than_the_population_are_all_scored() -> None:
    space = NASBench201(nodes=4)
    score, _ = additive(space, 0)
    settings = EvolutionSettings(population=5, parents=5, mutations=20, crossovers=0, generations=4)
    indices, _ = evolve(space, score, settings, Limits(), np.random.default_rng(0))
    assert len(indices) == len(np.unique(indices, axis=0)) == 5 + 3 * 20


def test_impossible_limits() -> None:
    space = NASBench201(nodes=4)
    with pytest.raises(
        ConfigError, match=r"no architecture of NASBench201[\s\S]*max_parameters=1[\s\S]*Raise the limits"
    ):
        evolve(
            space, lambda i: np.zeros(len(i)), EvolutionSettings(), Limits(max_parameters=1), np.random.default_rng(0)
        )
