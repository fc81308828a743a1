"""What works on this machine, what is missing, and the line that mends it."""

from __future__ import annotations

import importlib
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from nni_plugins.spaces.errors import NNIPluginsError

from . import registry
from .experiment.file import from_yaml
from .experiment.settings import SearchExperiment
from .portal.registration import registered

OPTIONAL = {
    "timm": "pip install -e '.[timm]'",
    "graphviz": "pip install -e '.[draw]'",
}


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
            "Install NNI in this environment: pip install nni==3.0",
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


def _module(name: str) -> Finding:
    remedy = OPTIONAL.get(name, "pip install -e . --constraint constraints.txt")
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


def examine(config: Path | None = None, port: int | None = None) -> list[Finding]:
    """Everything that can be checked before an experiment starts; ``config``: an experiment file to check too."""
    findings = [Finding("python", "ok", sys.version.split()[0])]
    findings += [_module(name) for name in ("torch", "nni", "lightning_fabric", "sklearn", "matplotlib", *OPTIONAL)]
    findings += _mmlab()
    try:
        findings.append(Finding("nnictl", "ok", nnictl()))
    except NnictlMissing as error:
        findings.append(Finding("nnictl", "broken", error.problem, error.remedy))
    for name, known in registered().items():
        state, detail, remedy = (
            ("ok", "registered", "") if known else ("broken", "not registered", "nni-plugins register")
        )
        findings.append(Finding(f"tuner {name}", state, detail, remedy))
    for kind in registry.KINDS:
        try:
            findings.append(Finding(kind, "ok", ", ".join(sorted(registry.found(kind)))))
        except NNIPluginsError as error:
            findings.append(Finding(kind, "broken", error.problem, error.remedy))
    if port is not None:
        free = port_is_free(port)
        findings.append(
            Finding(
                f"port {port}",
                "ok" if free else "broken",
                "free" if free else "in use",
                "" if free else "choose another --port",
            )
        )
    if config is not None:
        try:
            findings.append(Finding(str(config), "ok", _valid(config)))
        except NNIPluginsError as error:
            findings.append(Finding(str(config), "broken", error.problem, error.remedy))
        else:
            findings += _images(config)
    return findings


def _valid(config: Path) -> str:
    """What a valid experiment file is for.

    Raises:
        NNIPluginsError: it is not valid.
    """
    from .portal.nao_experiment import check_nao, is_nao
    from .studies.compare.config_file import is_compare, read_compare

    if is_nao(config):
        check_nao(config)
        return "a valid experiment for tuner nao, which serves any trial command"
    if is_compare(config):
        return f"a valid experiment for tuner compare, {read_compare(config).expected_trials} trials"
    return f"a valid experiment for tuner {from_yaml(config)[0]}"


def _images(config: Path) -> list[Finding]:
    """Whether the images of a valid experiment file are where it says; they may be missing here if trials run
    elsewhere.
    """
    from .portal.nao_experiment import is_nao
    from .studies.compare.config_file import is_compare

    if is_nao(config) or is_compare(config):
        return []
    settings = from_yaml(config)[1]
    places = {"data.path": settings.data.path}
    for name, follow in (settings.follow_ups if isinstance(settings, SearchExperiment) else {}).items():
        places[f"follow_ups.{name}.data"] = None if follow.data == "digits" else follow.data
    return [_place(key, path) for key, path in places.items() if path is not None]


def _place(key: str, path: str) -> Finding:
    if Path(path).expanduser().exists():
        return Finding(key, "ok", path)
    return Finding(key, "missing", f"{path}: not on this machine", f"put the images there, or correct {key}")
