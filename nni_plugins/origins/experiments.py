"""Where an NNI experiment of this machine keeps its results. Free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import parse_json

from ..portal.database import tuner_arguments

HOME = "nni-experiments"
"""NNI's folder in the home folder: its list of experiments, and the experiments that name no other one."""


def experiment_folder(identifier: str) -> Path | None:
    """The folder with the results of the finished experiment ``identifier``; None if this machine knows none of that
    id.

    Raises:
        ConfigError: it is not finished, or its tuner leaves no result.
    """
    home = Path.home() / HOME
    listed = _listed(home / ".experiment").get(identifier)
    folder = Path(listed["logDir"] if listed and listed.get("logDir") else home).expanduser() / identifier
    if listed is None and not folder.is_dir():
        return None
    elsewhere = tuner_arguments(folder, identifier).get("run_folder")
    results = Path(elsewhere).expanduser() if elsewhere else folder / "run"
    if (results / "result.json").exists():
        return results
    status = str(listed.get("status", "unknown")) if listed else "no longer in NNI's list"
    remedies = {
        "RUNNING": "Wait until the portal says DONE.",
        "STOPPED": f"Let it finish: nnictl resume {identifier} --port 8080",
        "DONE": "Only the tuners of this package write one (nni-plugins list --presets); otherwise pass the architecture itself.",
    }
    other = f"See nnictl experiment list --all; a stopped one goes on with nnictl resume {identifier} --port 8080"
    missing = results / "result.json"
    raise ConfigError(
        f"NNI experiment {identifier} ({status}) has no result: there is no {missing}.", remedies.get(status, other)
    )


def _listed(file: Path) -> dict[str, Any]:
    """NNI's list: {id: {logDir, status, ...}}."""
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError):  # no experiment has been run yet, or NNI is just writing
        return {}
    return content if isinstance(content, dict) else {}
