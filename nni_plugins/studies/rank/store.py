"""Finished trainings of a study: each leaves one file, and is not repeated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged
from nni_plugins.evaluators.files import differences, write_json

FINISHED = "finished.json"


def once(folder: Path, identity: dict[str, Any], work: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The value of ``work(folder / "checkpoints")``, or what a finished run of it left in ``folder``. The checkpoints,
    by which an interrupted one continues, are deleted when its value is on disk.

    Raises:
        ConfigChanged: ``folder`` holds the result of another ``identity``.
        CheckpointError: it is damaged.
    """
    path, wanted = folder / FINISHED, json.loads(json.dumps(identity))
    if path.exists():
        try:
            content = json.loads(path.read_text())
            stored, value = content["identity"], content["value"]
        except (OSError, ValueError, KeyError, TypeError):
            raise CheckpointError(f"{path} is damaged.", f"Delete {folder} to train this again.") from None
        changes = differences(stored, wanted)
        if changes:
            raise ConfigChanged(
                f"{folder} holds another training: {'; '.join(changes)}.", "Choose another folder to start over."
            )
        _forget(folder)
        return cast(dict[str, Any], value)
    value = work(folder / "checkpoints")
    write_json(path, {"identity": wanted, "value": value})
    _forget(folder)
    return value


def _forget(folder: Path) -> None:
    """Weights are large, and a study has many trainings."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
