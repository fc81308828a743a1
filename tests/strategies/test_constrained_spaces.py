"""Spaces in which most choices are no architecture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces import registry
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies.plugins import strategy_plugin

from . import test_training_free_contract
from .test_plugins_contract import IMAGES, MATRICES, Asking, OnImages, Ours

assert issubclass(test_training_free_contract.TrainingFree, OnImages)  # its contracts are found below


def contracts(base: type[Ours]) -> Iterator[type[Ours]]:
    """All below ``base`` that are of one strategy."""
    for contract in base.__subclasses__():
        if hasattr(contract, "name"):
            yield contract
        yield from contracts(contract)


def edges(architecture: Architecture) -> float:
    """What a strategy is told of a matrix, which must be one."""
    return sum(value == "1" for _, value in MATRICES.check(architecture).choices)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in sorted(registry.found("strategies"))
        if strategy_plugin(name).data != "text" and strategy_plugin(name).searches and name != "precomputed"
    ],
)
def test_every_strategy_draws_valid_matrices_only(name: str) -> None:
    """Or refuses the space before it begins: nothing ends in the middle, and nothing that is found is invalid."""
    plugin = strategy_plugin(name)
    known = [c for base in (Asking, OnImages) for c in contracts(base)]
    own = [c for c in known if c.name.lower() == name]
    related = [c for c in known if type(plugin).__mro__[1] in type(strategy_plugin(c.name.lower())).__mro__[:2]]
    assert own or related, f"{name} has no contract in the modules that are imported here"
    contract = (own or related)[0]
    given = {"ask": edges} if plugin.asks else {"data": IMAGES}
    changed: dict[str, Any] = {"name": plugin.name, "space": MATRICES, "limits": {}, "given": lambda self: given}
    if "warmup_epochs" in plugin.training_settings.model_fields:
        changed["training"] = lambda self: {"epochs": 20}
    problem = type("OnMatrices", (contract,), changed)().problem()
    try:
        plugin.check(problem)
    except ConfigError as error:
        assert "nasbench101" in str(error).lower() or "NASBench101" in str(error)
        return
    ranked = plugin.search(problem).ranked
    assert len(ranked) == 3
    for one in ranked:
        MATRICES.check(one.architecture)
