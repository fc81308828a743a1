"""Checking an NNI experiment file with ``tuner.name: NAO``, whose trials are the user's own. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces.errors import NNIPluginsError, closest, shown
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.nao.codecs import ParameterCodec

from ..experiment.file import NNI_KEYS, load_yaml
from .nao_tuner import NAOTunerSettings


def is_nao(path: Path) -> bool:
    """Whether the experiment file at ``path`` asks for NAO. False, too, for what cannot be read: other checks say why."""
    try:
        tuner = load_yaml(path).get("tuner")
    except ConfigError:
        return False
    return isinstance(tuner, Mapping) and str(tuner.get("name")).lower() == "nao"


def check_nao(path: Path) -> NAOTunerSettings:
    """The tuner's settings, after everything that it would refuse when the experiment starts, and what NNI itself
    would.

    Raises:
        ConfigError: every problem of the file at once.
    """
    content = load_yaml(path)
    problems = [f"{key}: no such key of NNI's; {closest(str(key), NNI_KEYS)}" for key in content if key not in NNI_KEYS]
    problems += [
        f"{key}: is missing; NNI needs it" for key in ("trialCommand", "trainingService") if content.get(key) is None
    ]
    remedies: list[str] = []
    settings: NAOTunerSettings | None = None
    arguments = content["tuner"].get("classArgs")
    try:
        settings = read(NAOTunerSettings, {} if arguments is None else arguments, "tuner.classArgs.")
    except ConfigError as error:
        problems.append(error.problem.removesuffix("."))
    try:
        space = None if settings is None or settings.space is None else build_space(settings.space)
        ParameterCodec(_search_space(content, path.parent), space)
    except NNIPluginsError as error:
        problems.append(error.problem.removesuffix("."))
        remedies += [error.remedy] if error.remedy else []
    if settings is not None:
        problems += _endless(settings, content)
    problems = problems or _refused_by_nni(path)
    if problems:
        raise ConfigError(f"{path}: {'; '.join(problems)}", " ".join(["Correct the keys named above.", *remedies]))
    assert settings is not None  # or there was a problem
    return settings


def _search_space(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``searchSpace``, or the file that ``searchSpaceFile`` names; paths are relative to the experiment file, as NNI
    reads them.
    """
    named = content.get("searchSpaceFile")
    if named is None:
        given: dict[str, Any] = content.get("searchSpace")  # type: ignore[assignment]  # the codec refuses what is no mapping
        return given
    if content.get("searchSpace") is not None:
        raise ConfigError("searchSpace and searchSpaceFile are both given.", "Leave one of them out.")
    if not isinstance(named, str):
        raise ConfigError(f"searchSpaceFile: must be a path, but got {shown(named)}.")
    return load_yaml(folder / Path(named).expanduser())


def _endless(settings: NAOTunerSettings, content: Mapping[str, Any]) -> list[str]:
    """After its last round the tuner has nothing left, and NNI waits for more trials unless a limit of its own ends the
    experiment.
    """
    if settings.rounds is None or content.get("maxExperimentDuration") is not None:
        return []
    most, wanted = settings.initial + settings.rounds * settings.proposals.new, content.get("maxTrialNumber")
    if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted <= most:
        return []
    return [
        f"maxTrialNumber: with rounds: {settings.rounds} at most {most} trials come, and NNI would wait for ever, but got {shown(wanted)}"
    ]


def _refused_by_nni(path: Path) -> list[str]:
    """What NNI's own reader of experiment files says, in one line."""
    from nni.experiment.config import ExperimentConfig

    try:
        ExperimentConfig.load(path).validate()
    except Exception as error:  # NNI raises ValueError, AttributeError, KeyError and TypeError for wrong files
        return [f"NNI refuses it: {' '.join(str(error).split())[:200].rstrip('.')}"]
    return []
