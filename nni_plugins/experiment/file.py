"""Reading and writing NNI experiment files that use our tuners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import parse_yaml, read_yaml
from nni_plugins.spaces.errors import NNIPluginsError, closest

from .base import WHOLE_SPACE, Experiment
from .kinds import experiment_class, load_experiment
from .names import one_line

NNI_KEYS = (
    "experimentName", "experimentType", "searchSpaceFile", "searchSpace", "trialCommand", "trialCodeDirectory",
    "trialConcurrency", "trialGpuNumber", "maxExperimentDuration", "maxTrialNumber", "maxTrialDuration", "nniManagerIp",
    "useAnnotation", "debug", "logLevel", "experimentWorkingDirectory", "tunerGpuIndices", "tuner", "assessor",
    "advisor", "trainingService", "sharedStorage",
)  # fmt: skip
"""The top-level keys of an NNI 3.0 experiment file; a test holds them against NNI's ``ExperimentConfig``."""
NOT_A_PATH = ("digits",)
"""Values of path keys that name data of ours."""


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file with a mapping.

    Raises:
        ConfigError: missing, not YAML, or not a mapping.
    """
    return read_yaml(path, "an NNI experiment file", "Correct it, or write a new one: nni-plugins init.")


def tuner_name(content: Mapping[str, Any]) -> str:
    """``tuner.name`` in lower case, as NNI compares names; ``""`` without one."""
    tuner = content.get("tuner")
    return str(tuner.get("name", "")).lower() if isinstance(tuner, Mapping) else ""


FOLLOWING = ("maxTrialNumber", "searchSpace")
"""Keys that follow from the rest of a file: NNI wants them in it, but nobody need write them."""


def read_experiment(path: Path, following: bool = True) -> Experiment:
    """The experiment that a file describes, after everything that can be checked before it runs.

    Args:
        following: whether those of :data:`FOLLOWING` that stand in it must be right.

    Raises:
        ConfigError: every problem of the file at once; DataError, TableError: of files that it names.
    """
    content = load_yaml(path)
    name = tuner_name(content)
    if name == "nao":
        raise ConfigError(
            f"{path}: tuner NAO serves a trial command of your own, which only NNI's manager runs.",
            f"Check it: nni-plugins doctor {path}; start it: nnictl create --config {path}.",
        )
    found = experiment_class(name)
    arguments = cast(dict[str, Any], content["tuner"]).get("classArgs") or {}
    problems = [f"{key}: no such key of NNI's; {closest(str(key), NNI_KEYS)}" for key in content if key not in NNI_KEYS]
    try:
        if isinstance(arguments, Mapping):
            arguments = resolve_paths(arguments, found.paths_in(arguments), path.parent)
        experiment = load_experiment(name, arguments)
    except ConfigError as error:
        raise ConfigError("; ".join([*problems, error.problem]), error.remedy) from None
    problems += [f"tuner.classArgs.{problem}" for problem in objective_problems(experiment)]
    remedy = "Correct the keys named above."
    wrong = _wrong_following(content, experiment) if following else []
    if wrong:
        remedy += f" {', '.join(FOLLOWING)} follow from the rest: nni-plugins complete {path} writes them."
    problems += wrong
    if arguments.get("optimize_mode", "maximize") != experiment.optimize_mode:
        problems.append(
            f"tuner.classArgs.optimize_mode: must be {experiment.optimize_mode}, for the portal reads it there"
        )
    if problems:
        raise ConfigError(f"{path}: " + "; ".join(problems) + ".", remedy)
    experiment.check()
    return experiment


def _wrong_following(content: Mapping[str, Any], experiment: Experiment) -> list[str]:
    wrong = []
    if content.get("searchSpace", experiment.axes()) != experiment.axes():
        wrong.append("searchSpace: is not the one of this experiment")
    number = content.get("maxTrialNumber", experiment.trials)
    if number != experiment.trials:
        wrong.append(f"maxTrialNumber: must be {experiment.trials}, the exact number of trials, but got {number!r}")
    return wrong


def missing_for_nni(path: Path) -> list[str]:
    """What NNI needs in an experiment file, and is not in this one."""
    content = load_yaml(path)
    return [key for key in (*DEFAULTS, *FOLLOWING) if key not in content]


def objective_problems(experiment: Experiment) -> list[str]:
    """What is wrong with the arguments of its objectives."""
    from nni_plugins.evaluators.objectives.registered import build_objective

    problems = []
    for key, value in experiment.objectives.items():
        try:
            build_objective(value)
        except NNIPluginsError as error:
            problems.append(f"{key}: {one_line(error, remedy=False)}")
    return problems


def resolve_paths(arguments: Mapping[str, Any], paths: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """``arguments`` with the values of the dotted keys ``paths`` relative to ``folder``, as NNI treats paths in a file;
    ``*`` is any key.
    """
    resolved = dict(arguments)
    for place in paths:
        resolved = _resolved(resolved, place.split("."), folder)
    return resolved


def is_path(key: str, value: Any) -> bool:
    """Whether the value of a key that may hold a path is one: recipes have names of ours, or are files that end so."""
    if not isinstance(value, str) or value in NOT_A_PATH:
        return False
    return key != "recipe" or value.endswith((".yml", ".yaml"))


def _resolved(content: Mapping[str, Any], place: list[str], folder: Path) -> dict[str, Any]:
    first, *below = place
    changed = dict(content)
    for key in list(content) if first == "*" else [first] if first in content else []:
        value = content[key]
        if below and isinstance(value, Mapping):
            changed[key] = _resolved(value, below, folder)
        elif not below and is_path(key, value):
            changed[key] = str((folder / Path(value).expanduser()).resolve())
    return changed


DEFAULTS: dict[str, Any] = {
    "experimentName": None,
    "trialCommand": "python -m nni_plugins.trial",
    "trialCodeDirectory": ".",
    "trialConcurrency": 1,
    "maxExperimentDuration": "1h",
    "trainingService": {"platform": "local"},
}
"""What NNI needs besides; the name is the file's."""
AXES = "# The axes of the portal's graph"


def completed(path: Path) -> str:
    """The text of an experiment file with all that ``nnictl create`` needs; what stands in it stays, comments too.

    Raises:
        ConfigError: as :func:`read_experiment`; or keys of :data:`FOLLOWING` do not begin a line.
    """
    content, experiment = load_yaml(path), read_experiment(path, following=False)
    axes = experiment.axes()
    added = {key: path.stem if key == "experimentName" else value for key, value in DEFAULTS.items()}
    added = {key: value for key, value in added.items() if key not in content}
    lines = _without_following(path.read_text(encoding="utf-8-sig").splitlines())
    lines += flow(added) if added else []
    lines += [f"maxTrialNumber: {experiment.trials}  # exactly: {experiment.counted}"]
    lines += [f"{AXES}.", "searchSpace:", *("  " + line for line in flow(axes))]
    text = "\n".join(lines) + "\n"
    try:
        whole = parse_yaml(text)
    except ValueError:
        whole = None
    if whole != {**content, **added, "maxTrialNumber": experiment.trials, "searchSpace": axes}:
        raise ConfigError(
            f"{path} cannot be completed: its keys do not stand one a line.", "Write one key a line, without braces."
        )
    return text


def _without_following(lines: list[str]) -> list[str]:
    """``lines`` without those keys of :data:`FOLLOWING`, their values, and our comment above them."""
    kept, dropping = [], False
    for line in lines:
        if line[:1] not in ("", " ", "\t", "#"):
            dropping = line.split(":")[0].strip() in FOLLOWING
        if not dropping and not line.startswith(AXES):
            kept.append(line)
    return kept


def flow(value: Mapping[str, Any]) -> list[str]:
    """``value`` as lines of YAML, one a key where it is flat and not too long."""
    return yaml.safe_dump(dict(value), sort_keys=False, default_flow_style=None, width=110).splitlines()


def render(
    name: str,
    tuner: str,
    arguments: Mapping[str, Any],
    comment: str = "",
    concurrency: int = 1,
    hours: int = 1,
    gpus: int = 0,
) -> str:
    """The text of an experiment file, valid for ``nnictl create --config``.

    Raises:
        ConfigError: ``arguments`` are not those of ``tuner``.
    """
    experiment = load_experiment(tuner, arguments)
    lines = ["# " + line if line else "#" for line in comment.splitlines()]
    lines += [
        f"# Start: nnictl create --config THIS_FILE --port 8080, or nni-plugins {experiment.command} THIS_FILE",
        "",
    ]
    lines += [f"experimentName: {name}", "trialCommand: python -m nni_plugins.trial", "trialCodeDirectory: ."]
    lines += [f"trialConcurrency: {concurrency}"]
    lines += [
        f"maxTrialNumber: {experiment.trials}  # exactly: {experiment.counted}",
        f"maxExperimentDuration: {hours}h",
    ]
    lines += ["trainingService:", "  platform: local"]
    if gpus:
        lines += [f"  trialGpuNumber: {gpus}", "  useActiveGpu: true"]
    lines += ["tuner:", f"  name: {experiment.name}", "  classArgs:"]
    lines += ["    " + line for line in flow(arguments)]
    axes = experiment.axes()
    searches = "search" in axes.get("phase", {}).get("_value", ())
    more = f"; `{WHOLE_SPACE}` is the place of a search, which has every operation at once" if searches else ""
    lines += [f"{AXES}{more}.", "searchSpace:", *("  " + line for line in flow(axes))]
    return "\n".join(lines) + "\n"
