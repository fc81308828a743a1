"""Reading and writing files of comparisons: the settings alone, or an NNI experiment file with ``tuner.name: Compare``.
Free of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces.errors import NNIPluginsError, closest, shown

from ...experiment.file import NNI_KEYS, load_yaml
from ...experiment.objectives import build_objective
from ...portal.axes import flow
from ...presets.base import Preset
from .plan import ComparePlan, portal_space
from .policy_settings import ExperimentPolicy
from .settings import CompareSettings

PATHS = (("evaluation", "table"), ("evaluation", "data", "path"), ("evaluation", "text", "path"))
"""Keys that hold paths, relative to the file that they stand in."""


def is_compare(path: Path) -> bool:
    """Whether ``path`` is an NNI experiment file with the tuner Compare; False, too, for what cannot be read: other
    checks say why.
    """
    try:
        tuner = load_yaml(path).get("tuner")
    except ConfigError:
        return False
    return isinstance(tuner, Mapping) and str(tuner.get("name")).lower() == "compare"


def read_compare(path: Path) -> CompareSettings:
    """The comparison that a file describes, after everything that can be checked before it runs.

    Raises:
        ConfigError: every problem of the file; DataError, TableError: of files that it names.
    """
    content = load_yaml(path)
    if "tuner" not in content:
        settings = read(CompareSettings, resolve_paths(content, path.parent), "")
        _check(settings)
        return settings
    tuner = content["tuner"]
    if not is_compare(path):
        name = tuner.get("name") if isinstance(tuner, Mapping) else tuner
        raise ConfigError(f"{path}: tuner {shown(name)} compares nothing.", f"A search: nni-plugins search {path}")
    arguments = tuner.get("classArgs") or {}
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"tuner.classArgs: must be a mapping, but got {type(arguments).__name__}.")
    settings = read(CompareSettings, resolve_paths(arguments, path.parent), "tuner.classArgs.")
    _check(settings)
    problems = [f"{key}: no such key of NNI's; {closest(str(key), NNI_KEYS)}" for key in content if key not in NNI_KEYS]
    remedy, needed, trials = "Correct the keys named above.", portal_space(settings), settings.expected_trials
    if content.get("searchSpace") != needed:
        problems.append("searchSpace: is not the one of this comparison")
        remedy += " This is its search space:\nsearchSpace:\n" + "\n".join("  " + line for line in flow(needed))
    if content.get("maxTrialNumber") != trials:
        problems.append(
            f"maxTrialNumber: must be {trials}, the exact number of trials, but got {content.get('maxTrialNumber')!r}"
        )
    if settings.optimize_mode is None:
        mode = "maximize" if settings.evaluation.larger_is_better else "minimize"
        problems.append(f"tuner.classArgs.optimize_mode: must be {mode}, for the portal reads it there")
    if problems:
        raise ConfigError(f"{path}: " + "; ".join(problems) + ".", remedy)
    return settings


def _check(settings: CompareSettings) -> None:
    """What pydantic cannot see: objectives' arguments, tables, and files of architectures."""
    objectives = {
        f"evaluation.{key}": value
        for key, value in (("objective", getattr(settings.evaluation, "objective", None)),)
        if value is not None
    }
    for name, policy in settings.policies.items():
        if isinstance(policy, ExperimentPolicy):
            objectives[f"policies.{name}.objective"] = settings.experiment(name, settings.seeds[0]).objective
    problems = []
    for key, value in objectives.items():
        try:
            build_objective(value)
        except NNIPluginsError as error:
            problems.append(f"{key}: {error.problem.removesuffix('.')}")
    if problems:
        raise ConfigError("; ".join(problems) + ".", "Correct the keys named above.")
    ComparePlan(settings)


def resolve_paths(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """``content`` with its paths relative to ``folder``, as NNI treats paths in a YAML file."""
    resolved = dict(content)
    for place in PATHS:
        resolved = _resolved(resolved, place, folder)
    policies = resolved.get("policies")
    if isinstance(policies, Mapping):
        resolved["policies"] = {
            name: _resolved(_resolved(dict(one), ("file",), folder), ("data", "path"), folder)
            if isinstance(one, Mapping)
            else one
            for name, one in policies.items()
        }
    return resolved


def _resolved(content: dict[str, Any], place: tuple[str, ...], folder: Path) -> dict[str, Any]:
    key, *below = place
    value = content.get(key)
    if below and isinstance(value, Mapping):
        return {**content, key: _resolved(dict(value), tuple(below), folder)}
    if not below and isinstance(value, str) and (key, value) != ("table", "digits"):
        return {**content, key: str((folder / Path(value).expanduser()).resolve())}
    return content


def render(name: str, preset: Preset) -> str:
    """The text of a preset's file, for ``nnictl create`` and for ``nni-plugins compare``."""
    settings = read(CompareSettings, preset.arguments, "tuner.classArgs.")
    lines = ["# " + line for line in preset.comment.splitlines()]
    lines += [
        "# Start: nni-plugins compare THIS_FILE, or in NNI's portal: nnictl create --config THIS_FILE --port 8080",
        "",
    ]
    lines += [
        f"experimentName: {name}",
        "trialCommand: python -m nni_plugins.trial",
        "trialCodeDirectory: .",
        f"trialConcurrency: {preset.concurrency}",
    ]
    lines += [
        f"maxTrialNumber: {settings.expected_trials}  # exactly: searches + what they find + random ones, for each seed"
    ]
    lines += [
        f"maxExperimentDuration: {preset.hours}h",
        "trainingService:",
        "  platform: local",
        "tuner:",
        "  name: Compare",
        "  classArgs:",
    ]
    lines += ["    " + line for line in flow(preset.arguments)]
    lines += [
        "# The axes of the portal's hyper-parameter graph; `all` is the place of a search, which has every operation at once.",
        "searchSpace:",
    ]
    lines += ["  " + line for line in flow(portal_space(settings))]
    return "\n".join(lines) + "\n"
