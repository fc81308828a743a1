"""Which experiments there are: a search for every strategy, and the studies. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces import registry
from nni_plugins.spaces.errors import closest

from .base import Experiment
from .search import search_experiment


def experiment_names() -> dict[str, str]:
    """Name of a tuner, in lower case as NNI compares names, -> ``strategies`` or ``studies``, where it is registered."""
    names = dict.fromkeys(registry.found("strategies"), "strategies")
    for name in registry.found("studies"):
        if name in names:
            raise registry.RegistryError(
                f"a strategy and a study are both called {name!r}.", "Uninstall one of the distributions."
            )
        names[name] = "studies"
    return names


def experiment_class(name: str) -> type[Experiment]:
    """Of the experiment that a file calls ``tuner.name: NAME``.

    Raises:
        ConfigError: there is none; RegistryError: it cannot be imported.
    """
    names = experiment_names()
    if name.lower() not in names:
        raise ConfigError(f"tuner.name: {name or 'missing'!r} is not a tuner of this package; {closest(name, names)}")
    if names[name.lower()] == "strategies":
        return search_experiment(name.lower())
    return _study(name.lower())


def _study(name: str) -> type[Experiment]:
    """The study that is registered as ``name``, after the checks that a strategy passes, too."""
    study = registry.get("studies", name)
    remedy = "Correct the entry point of its package."
    if not (isinstance(study, type) and issubclass(study, Experiment)):
        raise registry.RegistryError(
            f"study {name!r} is {study!r}, but must be a subclass of nni_plugins.experiment.base.Experiment.", remedy
        )
    if study.name.lower() != name:
        raise registry.RegistryError(
            f"study {name!r} calls itself {study.name!r}; the entry point must be its name in lower case.", remedy
        )
    return study


def load_experiment(name: str, arguments: Mapping[str, Any], where: str = "tuner.classArgs.") -> Experiment:
    """The experiment ``name`` with ``arguments``, every problem of them in one :class:`ConfigError`."""
    found = experiment_class(name)
    return found(found.read_settings(arguments, where))
