"""Telling NNI of our tuners, once for each Python environment."""

from __future__ import annotations

from dataclasses import dataclass

from nni_plugins.spaces.errors import NNIPluginsError

from ..experiment.kinds import experiment_class, experiment_names

NAO = "NAO"
"""The tuner that serves any trial command; it is no experiment of ours."""


class RegistrationError(NNIPluginsError):
    """NNI's configuration folder cannot be written."""


@dataclass(frozen=True)
class TunerEntry:
    """``name``: as a YAML file says it; ``class_name``: what NNI imports."""

    name: str
    class_name: str


def tuner_entries() -> list[TunerEntry]:
    """All our tuners: one for each strategy and study, of this package or another's, and NAO.

    Raises:
        RegistryError: one cannot be imported.
    """
    names = [experiment_class(name).name for name in experiment_names()]
    ours = [TunerEntry(name, f"nni_plugins.portal.tuners.{name}") for name in names]
    return [*ours, TunerEntry(NAO, "nni_plugins.portal.nao_tuner.NAOTuner")]


def register_tuners() -> list[str]:
    """Register all our tuners; registering again changes nothing. Returns their names.

    Raises:
        RegistrationError: NNI's configuration folder cannot be written.
    """
    from nni.tools.package_utils import AlgoMeta, register_algo_meta

    entries = tuner_entries()
    try:
        for entry in entries:
            meta = {"algoType": "tuner", "builtinName": entry.name, "className": entry.class_name}
            register_algo_meta(AlgoMeta.load(meta))
    except OSError as error:
        raise RegistrationError(
            f"NNI's list of tuners cannot be written: {error}.",
            "Set NNI_CONFIG_DIR to a folder of yours, and register again.",
        ) from None
    return [entry.name for entry in entries]


def registered_tuners() -> dict[str, bool]:
    """For each of our tuners, whether NNI knows it under this class in this environment."""
    from nni.tools.package_utils import get_algo_meta

    known = {}
    for entry in tuner_entries():
        meta = get_algo_meta(entry.name)
        known[entry.name] = meta is not None and meta.class_name == entry.class_name
    return known
