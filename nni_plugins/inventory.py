"""What is installed: every plugin by what it says of itself. Free of torch as far as the plugins are."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nni_plugins.evaluators.plugins import evaluator_plugin
from nni_plugins.spaces import registry
from nni_plugins.spaces.errors import NNIPluginsError
from nni_plugins.strategies.plugins import strategy_plugin

from .experiment.kinds import experiment_class

DESCRIBED = ("spaces", "strategies", "evaluators", "studies")
"""Kinds of which NNI's tuner process imports what an experiment file names; it has no torch."""


@dataclass(frozen=True)
class Installed:
    """One plugin.

    ``name``: as it is registered; ``origin``: ``module:object``; ``about``: one sentence of its own; ``problem`` and
    ``remedy``: why it cannot be used, and what mends it, or ``""``.
    """

    kind: str
    name: str
    origin: str
    about: str = ""
    problem: str = ""
    remedy: str = ""


def installed_plugins(kind: str) -> list[Installed]:
    """All plugins of one of :data:`~nni_plugins.spaces.registry.KINDS`, by name, each imported.

    Raises:
        RegistryError: two of them have one name.
    """
    plugins = []
    for name, entry in sorted(registry.found(kind).items()):
        try:
            plugins.append(Installed(kind, name, entry.value, _about(load_plugin(kind, name))))
        except NNIPluginsError as error:
            plugins.append(Installed(kind, name, entry.value, problem=error.problem, remedy=error.remedy))
    return plugins


def load_plugin(kind: str, name: str) -> Any:
    """The plugin, after its kind's own checks.

    Raises:
        RegistryError: it cannot be imported, or is none of its kind.
    """
    loaders: dict[str, Any] = {
        "strategies": strategy_plugin,
        "evaluators": evaluator_plugin,
        "studies": experiment_class,
    }
    return loaders[kind](name) if kind in loaders else registry.get(kind, name)


def _about(plugin: Any) -> str:
    """Its ``about`` with its source, or the first sentence of its documentation."""
    if hasattr(plugin, "about"):
        source = getattr(plugin, "source", "")
        return f"{plugin.about} ({source})" if source else str(plugin.about)
    first = " ".join((inspect.getdoc(plugin) or "").partition("\n\n")[0].replace("``", "").split())
    return first.partition(". ")[0].removesuffix(".")


_PROBE = """
import json, sys
from nni_plugins.inventory import load_plugin
from nni_plugins.spaces.errors import NNIPluginsError
for place, (kind, name) in enumerate(json.loads(sys.argv[1])):
    try:
        load_plugin(kind, name)
    except NNIPluginsError:
        continue
    if "torch" in sys.modules:
        print(place)
        break
"""


def plugins_with_torch(plugins: Iterable[Installed]) -> list[Installed]:
    """Those whose description imports torch. Each look is in a process of its own, which has not imported it yet."""
    rest, guilty = [plugin for plugin in plugins if not plugin.problem], []
    while rest:
        names = json.dumps([(plugin.kind, plugin.name) for plugin in rest])
        answer = subprocess.run([sys.executable, "-c", _PROBE, names], capture_output=True, text=True, check=False)
        if not answer.stdout.strip():
            break
        place = int(answer.stdout.split()[-1])
        guilty.append(rest[place])
        rest = rest[place + 1 :]
    return guilty
