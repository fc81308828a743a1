"""Which of mmengine's checkpoints in a folder are whole. Beside each ``.pth`` stands a JSON file with its hash, written
when the weights are on the disk; without it a checkpoint does not exist. Free of torch and of OpenMMLab's packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from pathlib import Path

from ..errors import CheckpointError
from ..files import cannot_write, read_json, write_json

SCHEMA_VERSION = 1
NAME = re.compile(r"(?:epoch|iter)_(\d{1,18})")
"""What mmengine calls them; the number is that of epochs or iterations."""
_logger = logging.getLogger(__name__)


def seal(checkpoint: Path) -> None:
    """Bring ``checkpoint`` to the disk, and write down its hash; those that mmengine has deleted are forgotten.

    Raises:
        CheckpointError: the disk is full or read-only.
    """
    try:
        with open(checkpoint, "rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(checkpoint, error) from None
    facts = {"schema": SCHEMA_VERSION, "sha256": _hash(checkpoint), "bytes": checkpoint.stat().st_size}
    write_json(checkpoint.with_suffix(".json"), facts)
    for manifest in _manifests(checkpoint.parent):
        if not manifest.with_suffix(".pth").exists():
            manifest.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left: temporary files, and weights that never got their hash."""
    orphans = [path for path in folder.glob("*.pth") if NAME.fullmatch(path.stem) and _manifests(folder)]
    for path in [*folder.glob(".*.tmp"), *(path for path in orphans if not path.with_suffix(".json").exists())]:
        with contextlib.suppress(OSError):
            path.unlink()


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint; None if none was ever written. Of a folder that mmengine alone has written, with no
    hash in it, that which it names as its last.

    Raises:
        CheckpointError: all are damaged, or one is of a newer schema.
    """
    manifests = _manifests(folder)
    if not manifests:
        return _named(folder)
    damage: list[str] = []
    for manifest in reversed(manifests):
        problem = _problem(manifest)
        if problem is None:
            if damage:
                what = "epochs" if manifest.stem.startswith("epoch") else "iterations"
                lost = _number(manifests[-1]) - _number(manifest)
                message = "%s; continuing from %s, %d %s are repeated."
                _logger.warning(message, "; ".join(damage), manifest.with_suffix(".pth").name, lost, what)
            return manifest.with_suffix(".pth")
        damage.append(problem)
    raise CheckpointError("no intact checkpoint: " + "; ".join(damage) + ".", f"Delete {folder} to start over.")


def _problem(manifest: Path) -> str | None:
    """What is wrong with a checkpoint.

    Raises:
        CheckpointError: it is of a newer schema.
    """
    remedy = f"Delete {manifest.parent} to start over."
    try:
        facts = read_json(manifest, remedy)
        schema, expected = int(facts["schema"]), str(facts["sha256"])
    except (CheckpointError, KeyError, TypeError, ValueError, OverflowError):
        return f"{manifest} is damaged"
    if schema > SCHEMA_VERSION:
        raise CheckpointError(
            f"{manifest} has schema {schema}; this version reads up to {SCHEMA_VERSION}.",
            "Upgrade nni-plugins to resume this run.",
        )
    weights = manifest.with_suffix(".pth")
    try:
        return None if _hash(weights) == expected else f"{weights} is damaged ({weights.stat().st_size:,} bytes)"
    except OSError as error:
        return f"{weights} cannot be read ({error.strerror})"


def _named(folder: Path) -> Path | None:
    pointer = folder / "last_checkpoint"
    try:
        name = Path(pointer.read_text().strip()).name
    except (OSError, UnicodeDecodeError):
        return None
    named = folder / name
    return named if NAME.fullmatch(named.stem) and named.suffix == ".pth" and named.is_file() else None


def _manifests(folder: Path) -> list[Path]:
    """The oldest first."""
    return sorted((path for path in folder.glob("*.json") if NAME.fullmatch(path.stem)), key=_number)


def _number(path: Path) -> int:
    match = NAME.fullmatch(path.stem)
    return int(match[1]) if match is not None else -1


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
