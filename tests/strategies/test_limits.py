"""Limits, and what is drawn and the largest within them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import write_csv
from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces import DARTS, NAO, MobileNetLike, NASBench101, NASBench201, RecurrentCell, SearchSpace
from nni_plugins.strategies import drawing
from nni_plugins.strategies import largest as largest_module
from nni_plugins.strategies.drawing import draw, sample_within
from nni_plugins.strategies.largest import LARGEST, largest
from nni_plugins.strategies.limits import Limits

SMALL: dict[str, SearchSpace] = {
    "cells": NASBench201(nodes=3, channels=4, cells_per_stage=1),
    "nasbench201": NASBench201(),
    "matrices": NASBench101(nodes=2, channels=8, stacks=1, cells_per_stack=1),
    "recurrent": RecurrentCell(nodes=2),
}
BIG: dict[str, SearchSpace] = {
    "darts": DARTS(channels=4, cells=3),
    "nao": NAO(channels=4, cells=3),
    "nasbench101": NASBench101(),
    "mobilenetlike": MobileNetLike(),
}


def quantile(space: SearchSpace, by: str, share: float) -> int:
    """Of the parameters or multiply-adds of random architectures."""
    rows = space.sample(np.random.default_rng(0), 2000)
    return int(np.quantile(getattr(space.cost_table(32)(rows), by), share))


# -- limits ------------------------------------------------------------------------------------------------------------
def test_all_limits_hold_together() -> None:
    space = SMALL["nasbench201"]
    rows = space.enumerate()
    costs = space.cost_table(16)(rows)
    limits = Limits(max_parameters=400_000, max_macs=15_000_000, image_size=16)
    assert np.array_equal(limits.mask(space, rows), (costs.parameters <= 400_000) & (costs.macs <= 15_000_000))
    assert limits.given and not Limits().given and Limits().mask(space, rows).all()
    assert limits.mask(space, rows[:0]).shape == (0,)


def test_a_latency_needs_both_keys() -> None:
    for half in ({"max_latency": 1.0}, {"latency_table": "/x.csv"}):
        with pytest.raises(ValueError, match="max_latency and latency_table say nothing without each other"):
            Limits.model_validate(half)


def test_a_latency_from_a_table(tmp_path: Path) -> None:
    space = SMALL["cells"]
    cells, file = space.decode(space.enumerate()), tmp_path / "latency.csv"

    def write(factor: float) -> None:
        write_csv(file, [{"architecture": space.to_string(c), "latency_ms": factor * (i + 1)} for i, c in cells])

    cells = list(enumerate(cells))  # type: ignore[arg-type]
    write(0.5)
    limits, rows = Limits(max_latency=10.0, latency_table=str(file)), space.enumerate()
    assert limits.mask(space, rows).tolist() == [i < 20 for i in range(125)] and limits.given
    both = limits.model_copy(update={"max_parameters": 5_000})
    few = Limits(max_parameters=5_000).mask(space, rows)
    assert np.array_equal(both.mask(space, rows), few & limits.mask(space, rows))
    before, most = limits.contents(), largest(space, "largest_parameters", limits)
    write(5.0)  # whoever measures again is noticed at once
    assert limits.mask(space, rows).sum() == 2 and limits.contents() != before
    assert largest(space, "largest_parameters", limits) != most
    with pytest.raises(ConfigError, match="latency_table: must be an absolute path"):
        Limits(max_latency=1.0, latency_table="latency.csv").mask(space, rows)


# -- drawing -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*SMALL, *BIG])
def test_draws_are_distinct_and_within_limits(name: str) -> None:
    space = {**SMALL, **BIG}[name]
    limits = Limits(max_parameters=quantile(space, "parameters", 0.1), max_macs=quantile(space, "macs", 0.5))
    drawn = draw(space, 8, generator(0, "test"), limits=limits)
    assert len(set(drawn)) == 8 and limits.mask(space, space.encode(drawn)).all()
    assert draw(space, 8, generator(0, "test"), limits=limits) == drawn != draw(space, 8, generator(1, "test"))
    assert [space.check(one) for one in drawn] == drawn
    others = draw(space, 8, generator(0, "test"), drawn[:3], limits)
    assert not set(others) & set(drawn[:3]) and others[:5] == drawn[3:]


def test_without_limits_draws_are_those_of_the_space() -> None:
    space = SMALL["nasbench201"]
    rows = space.sample(np.random.default_rng(5), 16)
    assert draw(space, 8, np.random.default_rng(5)) == list(dict.fromkeys(space.decode(rows)))[:8]
    assert np.array_equal(sample_within(space, np.random.default_rng(5), 16, Limits()), rows)


def test_draws_are_uniform_within_limits() -> None:
    space = SMALL["cells"]
    limits = Limits(max_parameters=quantile(space, "parameters", 0.2))
    inside = int(limits.mask(space, space.enumerate()).sum())
    rows = sample_within(space, np.random.default_rng(0), 40_000, limits)
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(rows) == 40_000 and len(counts) == inside
    expected = 40_000 / inside
    assert ((counts - expected) ** 2 / expected).sum() < inside + 5 * np.sqrt(2 * inside)  # chi-squared


def test_more_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PATIENCE", 5)
    space, rng = SMALL["cells"], np.random.default_rng(0)
    limits = Limits(max_parameters=quantile(space, "parameters", 0.2))
    inside = int(limits.mask(space, space.enumerate()).sum())
    assert len(draw(space, inside, rng, limits=limits)) == inside
    with pytest.raises(ConfigError, match=rf"{inside + 1} distinct .* only {inside} of .* meet the limits"):
        draw(space, inside + 1, rng, limits=limits)
    with pytest.raises(ConfigError, match=r"126 distinct architectures are wanted, but .* has 125"):
        draw(space, 126, rng)
    assert len(sample_within(space, rng, 10, Limits(max_parameters=1))) == 0


# -- the largest -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("by", LARGEST)
@pytest.mark.parametrize("name", SMALL)
def test_it_is_the_largest_of_all(name: str, by: str) -> None:
    space, key = SMALL[name], by.removeprefix("largest_")
    rows = space.enumerate()
    costs = space.cost_table(32)(rows)
    half = {"max_parameters": int(np.quantile(costs.parameters, 0.5)), "max_macs": int(np.quantile(costs.macs, 0.5))}
    for limits in (Limits(), Limits.model_validate(half)):
        within = rows[limits.mask(space, rows)]
        found = space.encode([largest(space, by, limits)])
        most = getattr(space.cost_table(32)(within), key).max()
        assert limits.mask(space, found).all() and getattr(space.cost_table(32)(found), key)[0] == most
        ties = within[getattr(space.cost_table(32)(within), key) == most]
        assert space.complete_paths(found)[0] == space.complete_paths(ties).max()


@pytest.mark.parametrize("by", LARGEST)
@pytest.mark.parametrize("name", BIG)
def test_a_climb_ends_no_lower_than_random_architectures(name: str, by: str) -> None:
    space, key = BIG[name], by.removeprefix("largest_")
    rows = space.sample(np.random.default_rng(1), 20_000)
    for limits in (Limits(), Limits.model_validate({f"max_{key}": quantile(space, key, 0.05)})):
        found = largest(space, by, limits)
        assert space.check(found) == found
        row, within = space.encode([found]), rows[limits.mask(space, rows)]
        assert limits.mask(space, row).all()
        size, others = (getattr(space.cost_table(32)(some), key) for some in (row, within))
        assert size[0] >= 0.999 * others.max()
        if limits.given:
            assert size[0] > 0.99 * quantile(space, key, 0.05), "far below what is allowed"


@pytest.mark.parametrize("name", ["darts", "nao"])
def test_a_climb_is_exact_where_decisions_add_up(name: str) -> None:
    """The largest operation everywhere; where each decision counts for itself, that is the largest network."""
    space = BIG[name]
    table = space.cost_table(32)
    row = space.sample(np.random.default_rng(0), 1)
    for d, decision in enumerate(space.decisions):
        options = np.repeat(row, len(decision.values), axis=0)
        options[:, d] = np.arange(len(decision.values))
        row = options[[int(table(options).parameters.argmax())]]
    found = space.encode([largest(space, "largest_parameters", Limits())])
    assert table(found).parameters[0] >= table(row).parameters[0]
    for d, decision in enumerate(space.decisions):  # no single change makes it larger
        options = np.repeat(found, len(decision.values), axis=0)
        options[:, d] = np.arange(len(decision.values))
        assert table(options).parameters.max() == table(found).parameters[0]


def test_the_largest_of_nas_bench_101_is_the_published_one() -> None:
    """49,979,274 parameters (Ying et al., ICML 2019, section 2)."""
    space = BIG["nasbench101"]
    found = space.encode([largest(space, "largest_parameters", Limits())])
    assert space.cost_table(32)(found).parameters[0] == 49_979_274


def test_rare_architectures_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in some thousands: none of the first random ones is within the limits."""
    space = BIG["darts"]
    monkeypatch.setattr(largest_module, "STARTS", 8)
    limits = Limits(max_parameters=quantile(space, "parameters", 0.002))
    found = space.encode([largest(space, "largest_parameters", limits)])
    assert limits.mask(space, found).all()


@pytest.mark.parametrize("name", ["cells", "darts"])
def test_limits_that_nothing_meets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PATIENCE", 5)
    space: Any = {**SMALL, **BIG}[name]
    with pytest.raises(ConfigError, match=r"no architecture of .* meets the limits"):
        largest(space, "largest_macs", Limits(max_macs=1))
