"""Plugins by name: ours, unknown ones, two of one name, and broken ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.spaces import NASBench201, registry
from nni_plugins.spaces.registry import RegistryError

OURS = {
    "spaces": {"nasbench201"},
    "strategies": {"rlnas", "randomsearch", "darts", "pcdarts", "rfdarts", "rfpcdarts", "enas", "naov2", "tpesearch"},
    "evaluators": {"stand_alone", "table", "retrain", "detection", "segmentation", "language_model"},
    "objectives": {"random_labels", "supervised"},
    "studies": {"compare", "samplestudy", "rankstudy", "sharingstudy", "diagnose"},
}


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    registry.found.cache_clear()
    yield
    registry.found.cache_clear()


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that these (name, value, distribution) are installed as spaces."""

    def install(*given: tuple[str, str, str | None]) -> None:
        points = []
        for name, value, distribution in given:
            entry = EntryPoint(name, value, "nni_plugins.spaces")
            vars(entry)["dist"] = None if distribution is None else SimpleNamespace(name=distribution)
            points.append(entry)
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "nni_plugins.spaces" else [])

    return install


def test_ours_are_found_and_can_be_imported() -> None:
    assert set(registry.KINDS) == set(OURS)
    for kind, names in OURS.items():
        assert names <= set(registry.found(kind))
        assert all(callable(registry.get(kind, name)) for name in names)
    assert (
        registry.get("spaces", "nasbench201") is NASBench201
        and registry.get("objectives", "random_labels") is RandomLabels
    )


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"unknown space 'nasbench-201'; did you mean 'nasbench201' or"):
        registry.get("spaces", "nasbench-201")
    with pytest.raises(
        ConfigError,
        match=r"unknown strategy 'x'; known: az, bestofrandom, combine, darts, enas, .*naov2, .*rfdarts, rfpcdarts, rlnas",
    ):
        registry.get("strategies", "x")


def test_two_of_one_name(entries: Callable[..., None]) -> None:
    entries(("cells", "one.module:Cells", "one"), ("other", "x:Y", "one"), ("cells", "two.module:Cells", None))
    with pytest.raises(
        RegistryError,
        match=r"two spaces are called 'cells': one.module:Cells \(one\) and two.module:Cells \(unknown distribution\)",
    ):
        registry.found("spaces")


def test_the_same_one_twice(entries: Callable[..., None]) -> None:
    """As when a distribution is installed and also on the path."""
    entries(
        ("nasbench201", "nni_plugins.spaces.nasbench201:NASBench201", "a"),
        ("nasbench201", "nni_plugins.spaces.nasbench201:NASBench201", "b"),
    )
    assert registry.get("spaces", "nasbench201") is NASBench201


@pytest.mark.parametrize("value", ["no_such_module_anywhere:Cells", "nni_plugins.spaces.nasbench201:Cells"])
def test_broken_ones(entries: Callable[..., None], value: str) -> None:
    entries(("cells", value, "theirs"))
    assert set(registry.found("spaces")) == {"cells"}, "nothing is imported"
    with pytest.raises(
        RegistryError, match=rf"space 'cells' \({value}\) cannot be imported: [\s\S]*Reinstall or mend its package"
    ):
        registry.get("spaces", "cells")


def test_none_at_all(entries: Callable[..., None]) -> None:
    entries()
    with pytest.raises(RegistryError, match=r"no spaces are registered at all[\s\S]*make install"):
        registry.get("spaces", "nasbench201")


def test_a_space_that_cannot_be_made_without_arguments() -> None:
    assert registry.complete("nasbench201") and not registry.complete("nni")
    with pytest.raises(ConfigError, match="model: this argument of the space is needed"):
        registry.named_space("nni")
