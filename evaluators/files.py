"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import CheckpointError


def atomic_write(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` so that a crash at any instant leaves the old file or the new one.

    Raises:
        CheckpointError: the disk is full or read-only; the old file is intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        what = {errno.ENOSPC: "the disk is full", errno.EROFS: "the disk is read-only"}.get(
            error.errno or 0, str(error.strerror)
        )
        raise CheckpointError(
            f"cannot write {path}: {what}.", "Make room or choose another folder, then run the same command again."
        ) from None


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add ``row`` as a line of JSON.

    Raises:
        CheckpointError: the disk is full or read-only.
    """
    try:
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror}.", "Make room, then run the same command again."
        ) from None


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON, atomically."""
    atomic_write(path, (json.dumps(value, indent=2) + "\n").encode())
