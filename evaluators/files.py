"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from nni_plugins.spaces.errors import shown

from .errors import CheckpointError, ConfigError

MAX_YAML_BYTES = 1_000_000
"""Longer files are no settings of anybody's."""


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


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """``rows`` with a header of all their keys, in the order in which they first come; what is missing, None or not
    finite is an empty cell.
    """
    given, buffer = list(rows), io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for row in given for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if _empty(value) else value for key, value in row.items()} for row in given)
    return buffer.getvalue()


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """:func:`csv_text` of ``rows``, atomically."""
    atomic_write(path, csv_text(rows).encode())


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON, atomically."""
    atomic_write(path, (json.dumps(value, indent=2) + "\n").encode())


def json_able(value: Any) -> Any:
    """``value`` with text as keys, lists for tuples, and null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): json_able(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_able(part) for part in value]
    return None if _empty(value) else value


def delete_weights(folder: Path) -> None:
    """Remove the checkpoints below ``folder`` of finished trainings whose results are kept; their curves stay."""
    for path in [*folder.rglob("step-*"), *folder.rglob("initial.*")]:
        with contextlib.suppress(OSError):
            path.unlink()


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Where two JSON values differ, one ``key: old -> new`` a line."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted({*old, *new})
            for line in differences(old.get(key), new.get(key), f"{place}.{key}" if place else key)
        ]
    return [] if old == new else [f"{place}: {old!r} -> {new!r}"]


def read_yaml(path: Path, what: str, remedy: str = "") -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        what: such a file is, with its article, such as ``a recipe``.
        remedy: how to come by one.

    Raises:
        ConfigError: it cannot be read, is too long, is not YAML, or holds no mapping of names.
    """
    try:
        size = path.stat().st_size
        if size > MAX_YAML_BYTES:
            raise ConfigError(f"{path}: {size:,} bytes; at most {MAX_YAML_BYTES:,} are read.", f"Is this {what}?")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.", remedy or "Check the path.") from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}.", remedy) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {what} is a mapping, but this is {type(content).__name__}.", remedy)
    foreign = [shown(key) for key in content if not isinstance(key, str)]
    if foreign:
        raise ConfigError(f"{path}: keys must be names, but got {', '.join(foreign)}.", remedy)
    return content
