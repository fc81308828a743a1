"""Hugging Face's layout of a timm model: ``config.json`` and ``model.safetensors`` in one folder, as
``timm.create_model("local-dir:FOLDER")`` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import atomic_write, read_json
from ..interchange.weights import WEIGHT_FILES, save_safetensors
from ..training.checkpoint import State

CONFIG, SAFETENSORS = "config.json", WEIGHT_FILES[0]


def write_hub(
    folder: Path,
    state: State,
    description: Mapping[str, Any],
    classes: Sequence[str],
    normalisation: tuple[Sequence[float], Sequence[float]],
    inputs: Mapping[str, Any],
) -> tuple[Path, ...]:
    """Write both files, atomically; only the weights of a network that timm has no name for.

    Args:
        state: the weights that are used, of a moving average where there is one.
        description: of the network, see :func:`nni_plugins.evaluators.retraining.network.describe`.
        inputs: ``size`` (pixels a side), ``crop_pct`` and ``interpolation`` of tests.

    Raises:
        CheckpointError: the disk is full or read-only.
    """
    save_safetensors(folder / SAFETENSORS, state)
    if description["timm"] is None:
        return (folder / SAFETENSORS,)
    name, arguments = description["timm"]
    mean, std = ([float(value) for value in channel] for channel in normalisation)
    content = {
        "architecture": name,
        "num_classes": len(classes),
        "label_names": list(classes),
        "model_args": {key: value for key, value in arguments.items() if key != "num_classes"},
        "pretrained_cfg": {
            "input_size": [3, inputs["size"], inputs["size"]],
            "mean": mean,
            "std": std,
            "crop_pct": inputs["crop_pct"],
            "interpolation": inputs["interpolation"],
            "num_classes": len(classes),
        },
    }
    atomic_write(folder / CONFIG, (json.dumps(content, indent=2) + "\n").encode())
    return folder / SAFETENSORS, folder / CONFIG


def hub_folder(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The file of weights and the content of ``config.json`` of a folder, or of the folder of such a file; None: it is
    no such folder.

    Raises:
        CheckpointError: ``config.json`` is damaged, or has no weights beside it.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / CONFIG).is_file() or not (path.is_dir() or path.name in WEIGHT_FILES):
        return None
    content = read_json(folder / CONFIG, "Take another copy of the folder.")
    if not isinstance(content, dict) or not isinstance(content.get("architecture"), str):
        return None
    weights = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        raise CheckpointError(f"{folder}: {CONFIG} has no weights beside it.", f"Expected {' or '.join(WEIGHT_FILES)}.")
    return (weights if path.is_dir() else path), content
