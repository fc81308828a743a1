"""A file that grows by a line for every event, so that writing one costs the same however many came before. Free of
torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import CheckpointError
from nni_plugins.evaluators.files import parse_json


class Journal:
    """Lines of JSON in ``path``, each on the disk when :meth:`add` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write ``entries`` down.

        Raises:
            CheckpointError: the disk is full or read-only.
        """
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        try:
            with open(self.path, "a") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path}: {error.strerror}.", "Make room.") from None

    def read(self) -> list[dict[str, Any]]:
        """All entries; [] without a file. The rest of a line that a kill has cut short is removed.

        Raises:
            CheckpointError: it is damaged before its last line.
        """
        if not self.path.exists():
            return []
        whole, newline, rest = self.path.read_bytes().rpartition(b"\n")
        if rest:
            os.truncate(self.path, len(whole) + len(newline))
        try:
            entries = [parse_json(line) for line in whole.splitlines()]
        except ValueError:
            entries = [None]
        if not all(isinstance(entry, dict) for entry in entries):
            raise CheckpointError(f"{self.path} is damaged.", "Restore it, or start a new experiment.")
        return entries
