"""The tuners that NNI knows by our names, each a class made when it is first asked for. Free of torch.

NNI imports a tuner by module and class: ``nni_plugins.portal.tuners.RLNAS`` is that of the strategy RLNAS, whoever's
package it comes from.
"""

from __future__ import annotations

from functools import cache

from nni_plugins.evaluators.errors import ConfigError

from ..experiment.kinds import experiment_class
from .tuner import ExperimentTuner


@cache
def tuner_class(name: str) -> type[ExperimentTuner]:
    """The tuner of the experiment ``name``.

    Raises:
        ConfigError: there is no such strategy or study; RegistryError: it cannot be imported.
    """
    experiment = experiment_class(name)
    about = f"``tuner.name: {experiment.name}``: {experiment.about}"
    return type(
        experiment.name, (ExperimentTuner,), {"experiment_class": experiment, "__doc__": about, "__module__": __name__}
    )


def __getattr__(name: str) -> type[ExperimentTuner]:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return tuner_class(name)
    except ConfigError as error:
        raise AttributeError(f"module {__name__!r} has no tuner {name!r}: {error.problem}") from None
