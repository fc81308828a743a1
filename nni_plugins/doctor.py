"""What works on this machine, what is missing, and the line that mends it."""

from __future__ import annotations

import importlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.backends import install_line
from nni_plugins.evaluators.errors import MissingBackend
from nni_plugins.spaces import registry
from nni_plugins.spaces.errors import NNIPluginsError

from .experiment.base import Experiment
from .experiment.file import is_path, load_yaml, missing_for_nni, read_experiment, tuner_name
from .inventory import DESCRIBED, Installed, installed_plugins, plugins_with_torch
from .portal.registration import NAO, registered_tuners

OPTIONAL = ("timm",)
NEEDED = {
    "torch": "torch",
    "nni": "nni",
    "lightning_fabric": "pytorch-lightning",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
}
"""Modules that everything needs, and the requirement that each comes with."""
TORCH_FREE = (
    "NNI gives a tuner ten seconds to connect, and its process has no use for torch",
    "Import torch inside the methods that need it.",
)


OPEN = "NNI's portal is open to the network, without a password: whoever reaches its port can read files and start programs."
CLOSE = "Close the port to others (sudo ufw deny {port}) and look at it through ssh -L {port}:localhost:{port} MACHINE."


@dataclass(frozen=True)
class Finding:
    """``state``: ok, missing (an optional part, or data that trials elsewhere may have) or broken (something will
    fail); ``remedy``: what to type.
    """

    subject: str
    state: str
    detail: str
    remedy: str = ""


class NnictlMissing(NNIPluginsError):
    """NNI's command is not installed beside this Python."""


def nnictl() -> str:
    """The path of ``nnictl``: beside this Python, or on the PATH.

    Raises:
        NnictlMissing: there is none.
    """
    beside = Path(sys.executable).with_name("nnictl")
    command = str(beside) if beside.exists() else shutil.which("nnictl")
    if command is None:
        raise NnictlMissing(
            f"nnictl is neither beside {sys.executable} nor on the PATH.",
            f"Install NNI in this environment: {install_line(only='nni')}",
        )
    return command


def port_is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of this machine now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def examine(config: Path | None = None, port: int | None = None) -> list[Finding]:
    """Everything that can be checked before an experiment starts; ``config``: an experiment file to check too."""
    findings = [Finding("python", "ok", sys.version.split()[0])]
    findings += [_module(name) for name in (*NEEDED, *OPTIONAL)]
    findings += _mmlab()
    try:
        findings.append(Finding("nnictl", "ok", nnictl()))
    except NnictlMissing as error:
        findings.append(_broken("nnictl", error))
    findings += _plugins()
    findings += _tuners()
    if port is not None:
        free = port_is_free(port)
        told = ("ok", "free", "") if free else ("broken", "in use", "choose another --port")
        findings.append(Finding(f"port {port}", *told))
    findings.append(Finding("portal", "ok", f"{OPEN} {CLOSE.format(port=port or 'PORT')}"))
    if config is not None:
        findings += _file(config)
    return findings


def _broken(subject: str, error: NNIPluginsError) -> Finding:
    return Finding(subject, "broken", error.problem, error.remedy)


# -- this installation -------------------------------------------------------------------------------------------------
def _module(name: str) -> Finding:
    remedy = install_line(name) if name in OPTIONAL else install_line(only=NEEDED[name])
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == name
        if absent and name in OPTIONAL:
            return Finding(name, "missing", "optional, not installed", remedy)
        return Finding(name, "broken", "not installed" if absent else f"{type(error).__name__}: {error}", remedy)
    except (RuntimeError, AssertionError, AttributeError) as error:
        return Finding(name, "broken", f"{type(error).__name__}: {error}", remedy)
    return Finding(name, "ok", str(getattr(module, "__version__", "installed")))


def _mmlab() -> list[Finding]:
    """mmcv with its compiled operators, mmengine, mmdet, mmseg."""
    from nni_plugins.evaluators.mmlab.installation import (
        PACKAGES,
        check,
        compiled,
        cpu_only,
        for_cuda,
        installed,
        remedy,
    )

    findings = []
    for name in PACKAGES:
        known = installed(name)
        try:
            check(name)
            if name == "mmcv" and importlib.import_module("torch").cuda.is_available() and not for_cuda():
                raise cpu_only()
        except NNIPluginsError as error:
            detail = error.problem if known else "optional, not installed"
            findings.append(Finding(name, "broken" if known else "missing", detail, remedy()))
        else:
            findings.append(Finding(name, "ok", f"{known}, {compiled()}" if name == "mmcv" else str(known)))
    return findings


def _plugins() -> Iterator[Finding]:
    """Of each kind those that work in one line, and one for each that does not, or takes torch into NNI's tuner."""
    described: list[Installed] = []
    for kind in registry.KINDS:
        try:
            plugins = installed_plugins(kind)
        except NNIPluginsError as error:
            yield _broken(kind, error)
            continue
        yield Finding(kind, "ok", ", ".join(plugin.name for plugin in plugins if not plugin.problem))
        for plugin in plugins:
            if plugin.problem:
                yield Finding(f"{kind}: {plugin.name}", "broken", plugin.problem, plugin.remedy)
        described += plugins if kind in DESCRIBED else []
    for plugin in plugins_with_torch(described):
        problem, remedy = TORCH_FREE
        yield Finding(f"{plugin.kind}: {plugin.name}", "broken", f"{plugin.origin} imports torch; {problem}", remedy)


def _tuners() -> Iterator[Finding]:
    """Whether NNI knows each of our tuners."""
    try:
        known = registered_tuners()
    except NNIPluginsError as error:
        yield _broken("tuners", error)
        return
    for name, registered in known.items():
        told = ("ok", "registered", "") if registered else ("broken", "not registered", "nni-plugins register")
        yield Finding(f"tuner {name}", *told)


# -- a file ------------------------------------------------------------------------------------------------------------
def _file(config: Path) -> Iterator[Finding]:
    """Whether an experiment file is valid, and what it names is here."""
    subject = str(config)
    try:
        if tuner_name(load_yaml(config)) == NAO.lower():
            from .portal.nao_experiment import check_nao

            check_nao(config)
            yield Finding(subject, "ok", f"a valid experiment for tuner {NAO}, which serves any trial command")
            return
        experiment = read_experiment(config)
    except NNIPluginsError as error:
        yield _broken(subject, error)
        return
    yield Finding(subject, "ok", f"a valid experiment for tuner {experiment.name}, {experiment.trials} trials")
    missing = missing_for_nni(config)
    if missing:
        detail = f"nnictl create needs {', '.join(missing)}; nni-plugins {experiment.command} does not"
        yield Finding(f"NNI's keys of {config.name}", "missing", detail, f"nni-plugins complete {config}")
    told = _start_tuner(experiment)
    if told is not None:
        yield Finding(f"tuner of {config.name}", "broken", *told)
    yield from _needed(experiment)


def _needed(experiment: Experiment) -> Iterator[Finding]:
    """Whether the files that it names are here, and what its evaluators would miss after the search."""
    away = False
    for key, path in _paths(experiment):
        if Path(path).exists():
            yield Finding(key, "ok", path)
        else:  # trials may run elsewhere
            away = True
            yield Finding(key, "missing", f"{path}: not on this machine", f"put it there, or correct {key}")
    for name, evaluator in experiment.evaluators.items():
        subject = f"evaluations.{name}"
        try:
            evaluator.prepare()
        except MissingBackend as error:
            yield _broken(subject, error)
        except NNIPluginsError as error:
            if not away:
                yield _broken(subject, error)
        else:
            yield Finding(subject, "ok", f"evaluator {evaluator.name} can run here")


_PROBE = """
import json, sys
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.kinds import load_experiment
try:
    experiment = load_experiment(sys.argv[1], json.load(sys.stdin))
    experiment.check()
    Plan(experiment).next()
except Exception as error:
    sys.exit(" ".join(f"{type(error).__name__}: {error}".split())[:300])
print("torch" in sys.modules)
"""


def _start_tuner(experiment: Experiment) -> tuple[str, str] | None:
    """(problem, remedy) of what NNI's tuner does first, in a process that has not imported torch; None if there is none."""
    command = [sys.executable, "-c", _PROBE, experiment.name]
    settings = experiment.settings.model_dump_json()
    answer = subprocess.run(command, input=settings, capture_output=True, text=True, check=False)
    if answer.returncode:
        words = answer.stderr.strip().splitlines()[-1:] or ["no message"]
        return f"it would end at its start: {words[0]}", "Mend the package of the strategy or evaluator."
    if answer.stdout.split()[-1:] == ["True"]:
        problem, remedy = TORCH_FREE
        return f"it imports torch; {problem}", remedy
    return None


def _paths(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """(dotted key, absolute path) of the files and folders that the settings name."""
    settings = json.loads(experiment.settings.model_dump_json())
    for place in experiment.paths_in(settings):
        yield from _below(settings, place.split("."), "")


def _below(content: Any, place: list[str], key: str) -> Iterator[tuple[str, str]]:
    if not place:
        if is_path(key.rpartition(".")[2], content):
            yield key, content
    elif isinstance(content, Mapping):
        first, *rest = place
        for name in content if first == "*" else [first] if first in content else []:
            yield from _below(content[name], rest, f"{key}.{name}".removeprefix("."))
