"""Reading and writing NNI experiment files that use our tuners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import closest

from ..portal.axes import expected_trials, flow, search_space
from .objectives import build_objective
from .settings import EXPERIMENTS, SampleStudyExperiment, SearchExperiment, StudySettings, check

NNI_KEYS = (
    "experimentName", "experimentType", "searchSpaceFile", "searchSpace", "trialCommand", "trialCodeDirectory", "trialConcurrency",
    "trialGpuNumber", "maxExperimentDuration", "maxTrialNumber", "maxTrialDuration", "nniManagerIp", "useAnnotation", "debug", "logLevel",
    "experimentWorkingDirectory", "tunerGpuIndices", "tuner", "assessor", "advisor", "trainingService", "sharedStorage",
)  # fmt: skip
"""The top-level keys of an NNI 3.0 experiment file; a test holds them against
``nni.experiment.config.ExperimentConfig``.
"""


def load_yaml(path: Path) -> dict[str, Any]:
    """An NNI experiment file as a dictionary.

    Raises:
        ConfigError: missing, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}.", "Check the path, or write one: nni-plugins init."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not YAML: {' '.join(str(error).split())[:200]}.",
            "Correct it, or write a new one: nni-plugins init.",
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path}: an NNI experiment file is a mapping, but this is {type(content).__name__}.",
            "Write a new one: nni-plugins init.",
        )
    return content


def from_yaml(path: Path) -> tuple[str, StudySettings]:
    """(tuner name in lower case, settings) of an NNI experiment file that uses one of our tuners; also checks what the
    portal needs.

    Raises:
        ConfigError: every problem of the file at once.
    """
    content = load_yaml(path)
    tuner = content.get("tuner")
    name = str(tuner.get("name")).lower() if isinstance(tuner, dict) else ""
    if name == "nao":
        raise ConfigError(
            f"{path}: tuner NAO serves a trial command of your own, which only NNI's manager runs.",
            f"Check it: nni-plugins doctor {path}; start it: nnictl create --config {path}.",
        )
    if name == "compare":
        raise ConfigError(f"{path} is a comparison, not a search.", f"nni-plugins compare {path}")
    if name not in EXPERIMENTS:
        raise ConfigError(
            f"tuner.name: {name or 'missing'!r} is not a tuner of this package; {closest(name, EXPERIMENTS)}"
        )
    arguments = cast(dict[str, Any], tuner).get("classArgs") or {}
    unknown = [f"{key}: no such key of NNI's; {closest(str(key), NNI_KEYS)}" for key in content if key not in NNI_KEYS]
    try:
        settings = check(
            EXPERIMENTS[name], resolve_paths(arguments, path.parent) if isinstance(arguments, Mapping) else arguments
        )
    except ConfigError as error:
        raise ConfigError("; ".join([*unknown, error.problem]), error.remedy) from None
    if isinstance(settings, SearchExperiment):
        try:
            build_objective(settings.objective)
        except ConfigError as error:
            unknown.append(f"tuner.classArgs.objective: {error.problem.removesuffix('.')}")
    if isinstance(settings, SampleStudyExperiment):
        for key, one in settings.objectives.items():
            try:
                build_objective(one.objective)
            except ConfigError as error:
                unknown.append(f"tuner.classArgs.objectives.{key}: {error.problem.removesuffix('.')}")
    problems, remedy, needed = unknown, "Correct the keys named above.", search_space(settings)
    if content.get("searchSpace") != needed:
        problems.append("searchSpace: is not the one of this experiment")
        remedy += " This is its search space:\nsearchSpace:\n" + "\n".join("  " + line for line in flow(needed))
    if content.get("maxTrialNumber") != expected_trials(settings):
        problems.append(
            f"maxTrialNumber: must be {expected_trials(settings)}, the exact number of trials, but got {content.get('maxTrialNumber')!r}"
        )
    if problems:
        raise ConfigError(f"{path}: " + "; ".join(problems) + ".", remedy)
    return name, settings


def resolve_paths(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``data.path``, ``truth.table`` and the follow-ups' ``data`` relative to ``folder``, as NNI treats paths in a YAML
    file.
    """
    resolved = dict(arguments)
    for section, key in (("data", "path"), ("truth", "table")):
        value = resolved.get(section)
        if (
            isinstance(value, Mapping)
            and isinstance(value.get(key), str)
            and (section, value[key]) != ("truth", "digits")
        ):
            resolved[section] = {**value, key: str((folder / Path(value[key]).expanduser()).resolve())}
    follow_ups = resolved.get("follow_ups")
    if isinstance(follow_ups, Mapping):
        resolved["follow_ups"] = {
            name: {**one, "data": str((folder / Path(one["data"]).expanduser()).resolve())}
            if isinstance(one, Mapping) and isinstance(one.get("data"), str) and one["data"] != "digits"
            else one
            for name, one in follow_ups.items()
        }
    return resolved
