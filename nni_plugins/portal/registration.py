"""Telling NNI of our tuners, once for each Python environment."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from nni_plugins.spaces.errors import NNIPluginsError


class RegistrationError(NNIPluginsError):
    """NNI's configuration folder cannot be written."""


def meta_path() -> Path:
    """The file for ``nnictl algo register --meta``."""
    return Path(str(files("nni_plugins").joinpath("meta/algorithms.yml")))


def _entries() -> list[dict[str, Any]]:
    algorithms: list[dict[str, Any]] = yaml.safe_load(meta_path().read_text())["algorithms"]
    return algorithms


def register() -> list[str]:
    """Register all our tuners; registering again changes nothing. Returns their names.

    Raises:
        RegistrationError: NNI's configuration folder cannot be written.
    """
    from nni.tools.package_utils import AlgoMeta, register_algo_meta

    try:
        for entry in _entries():
            register_algo_meta(AlgoMeta.load(entry))
    except OSError as error:
        raise RegistrationError(
            f"NNI's list of tuners cannot be written: {error}.",
            "Set NNI_CONFIG_DIR to a folder of yours, and register again.",
        ) from None
    return [str(entry["builtinName"]) for entry in _entries()]


def registered() -> dict[str, bool]:
    """For each of our tuners, whether NNI knows it under this class in this environment."""
    from nni.tools.package_utils import get_algo_meta

    known = {}
    for entry in _entries():
        meta = get_algo_meta(entry["builtinName"])
        known[str(entry["builtinName"])] = meta is not None and meta.class_name == entry["className"]
    return known
