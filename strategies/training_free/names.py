"""The training-free scores by name. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.spaces.errors import closest

from .settings import (
    AZSettings,
    JacobianSettings,
    NASWOTSettings,
    NetworkSettings,
    SynFlowSettings,
    ZenSettings,
    ZiCoSettings,
)

if TYPE_CHECKING:
    from .networks import NetworkScore

COSTS = ("parameters", "macs")
"""Scores that the space's table of costs gives, without a network."""
NETWORK_SCORES: dict[str, tuple[type[NetworkSettings], str]] = {
    "naswot": (NASWOTSettings, "naswot:NASWOT"),
    "jacobian": (JacobianSettings, "jacobian:Jacobian"),
    "synflow": (SynFlowSettings, "synflow:SynFlow"),
    "zen": (ZenSettings, "zen:Zen"),
    "zico": (ZiCoSettings, "zico:ZiCo"),
    "az": (AZSettings, "az:AZ"),
}
"""Settings, and ``module:class`` in this package."""
SCORES = (*COSTS, *NETWORK_SCORES)


def check_score(name: str) -> str:
    """
    Raises:
        ConfigError: there is no training-free score ``name``.
    """
    if name not in SCORES:
        raise ConfigError(f"unknown training-free score {name!r}; {closest(str(name), SCORES)}")
    return name


def score_settings(name: str, given: Settings | Mapping[str, Any] | None = None) -> Settings:
    """Settings of the score ``name``: ``given`` ones of its own class, or read from a mapping.

    Raises:
        ConfigError: no such score, or no such settings.
    """
    model = Settings if check_score(name) in COSTS else NETWORK_SCORES[name][0]
    if isinstance(given, model):
        return given
    return read(model, given.model_dump(exclude_unset=True) if isinstance(given, Settings) else given or {}, f"{name}.")


def score_keys(name: str) -> set[str]:
    """Of the settings of the score ``name``."""
    return set() if name in COSTS else set(NETWORK_SCORES[name][0].model_fields)


def network_score(name: str, settings: Settings) -> NetworkScore:
    """The score itself, which imports torch."""
    module, _, attribute = NETWORK_SCORES[name][1].partition(":")
    made: NetworkScore = getattr(import_module(f"{__package__}.{module}"), attribute)(settings)
    return made
