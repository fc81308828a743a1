"""Checkpoints that survive a kill at any instant, and initial weights that are written once.

A folder holds ``initial.pt`` (W0), the two newest ``step-*.pt``, a JSON manifest beside each, and ``run.json`` with the
configuration. A checkpoint exists from the moment its manifest does. Loading never unpickles anything but tensors and
plain containers.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import torch

from ..errors import CheckpointError, ConfigChanged
from ..files import atomic_write, differences, read_json, write_json
from ..locks import FolderLock

SCHEMA_VERSION = 1
KEPT = 2
State = dict[str, Any]
_logger = logging.getLogger(__name__)


PLAIN = (argparse.Namespace,)
"""Classes that hold nothing but values; timm's checkpoints have the settings of their training as one."""


def load_weights(content: bytes, name: str) -> State:
    """A dictionary of tensors and plain values.

    Raises:
        CheckpointError: not a checkpoint, or one that wants to run code.
    """
    try:
        with torch.serialization.safe_globals(list(PLAIN)):
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what torch and zipfile raise on damaged bytes has no common type
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{name}: refused, it is not a file of plain weights ({reason}).",
            "Only files of weights are loaded: dictionaries of tensors and plain values.",
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{name}: refused, it holds a {type(state).__name__} instead of a dictionary of weights.")
    return cast(State, state)


class CheckpointStore:
    """The checkpoints of one training, in a folder that one process at a time may use (``with`` takes the lock).

    Args:
        folder: created if needed.
        config: JSON-able description of the run; a store with another one refuses to resume.
    """

    def __init__(self, folder: Path, config: State) -> None:
        self.folder, self.config = Path(folder), json.loads(json.dumps(config))
        self._lock = FolderLock(self.folder)

    # -- one process at a time -----------------------------------------------------------------------------------------
    def __enter__(self) -> CheckpointStore:
        self._lock.__enter__()
        try:
            self._check_config()
            self._sweep()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def _check_config(self) -> None:
        path = self.folder / "run.json"
        if not path.exists():
            write_json(path, {"schema": SCHEMA_VERSION, "config": self.config})
            return
        remedy = f"Delete {self.folder} to start over."
        content = read_json(path, remedy, SCHEMA_VERSION)
        if "config" not in content:
            raise CheckpointError(f"{path} is damaged.", remedy)
        stored = content["config"]
        changes = differences(stored, self.config)
        if changes:
            raise ConfigChanged(
                f"{self.folder} was started with another configuration: {'; '.join(changes)}.",
                "Restore those settings to resume, or choose another folder to start over.",
            )

    def _sweep(self) -> None:
        """Remove what killed processes left: temporary files, and weights that never got their manifest."""
        orphans = [path for path in self.folder.glob("step-*.pt") if not path.with_suffix(".json").exists()]
        for path in [*self.folder.glob(".*.tmp"), *orphans]:
            with contextlib.suppress(OSError):
                path.unlink()

    # -- W0 ------------------------------------------------------------------------------------------------------------
    def keep_initial(self, state: State) -> State:
        """Write W0 if there is none yet; return the W0 that is on disk, which is the one that every angle is measured
        from.
        """
        if not (self.folder / "initial.json").exists():
            if self._names():
                raise CheckpointError(
                    f"{self.folder / 'initial.json'} is missing, but checkpoints were measured from it.",
                    f"Delete {self.folder} to start over.",
                )
            self._write("initial", state, {})
        return self._read("initial")

    @property
    def initial_sha256(self) -> str:
        """Hash of the file that holds W0."""
        return str(self._manifest("initial")["sha256"])

    # -- checkpoints ---------------------------------------------------------------------------------------------------
    @property
    def exists(self) -> bool:
        """Whether a checkpoint was ever written."""
        return bool(self._names())

    def save(self, step: int, state: State) -> None:
        """Write the checkpoint of ``step`` and drop all but the newest two. Those of later steps go too: :meth:`load`
        found them damaged.
        """
        new = f"step-{step:010d}"
        self._write(new, state, {"step": step, "initial_sha256": self.initial_sha256})
        names = self._names()
        kept = [name for name in names if name <= new][-KEPT:]
        for name in (name for name in names if name not in kept):
            (self.folder / f"{name}.json").unlink(missing_ok=True)
            (self.folder / f"{name}.pt").unlink(missing_ok=True)

    def load(self) -> tuple[int, State] | None:
        """The newest intact checkpoint as (step, state), or None if none was ever written.

        Raises:
            CheckpointError: all are damaged, or one is of a newer schema.
        """
        damage: list[str] = []
        names = self._names()
        for name in reversed(names):
            step = int(name.removeprefix("step-"))
            try:
                if self._manifest(name).get("initial_sha256") != self.initial_sha256:
                    raise CheckpointError(f"{name} belongs to other initial weights")
                state = self._read(name)
            except _Newer:
                raise
            except CheckpointError as error:
                damage.append(error.problem)
                continue
            if damage:
                lost = int(names[-1].removeprefix("step-")) - step
                _logger.warning("%s; continuing from step %d, %d steps are repeated.", "; ".join(damage), step, lost)
            return step, state
        if damage:
            raise CheckpointError("no intact checkpoint: " + "; ".join(damage), f"Delete {self.folder} to start over.")
        return None

    def _names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("step-*.json") if path.stem[len("step-") :].isdecimal())

    def _write(self, name: str, state: State, facts: State) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        atomic_write(self.folder / f"{name}.pt", content)
        facts = {
            "schema": SCHEMA_VERSION,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "torch": torch.__version__,
            **facts,
        }
        write_json(self.folder / f"{name}.json", facts)

    def _manifest(self, name: str) -> State:
        path = self.folder / f"{name}.json"
        try:
            manifest = json.loads(path.read_text())
            schema, _ = int(manifest["schema"]), str(manifest["sha256"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise CheckpointError(f"{path} is missing or damaged", f"Delete {self.folder} to start over.") from None
        if schema > SCHEMA_VERSION:
            raise _Newer(
                f"{path} has schema {schema}; this version reads up to {SCHEMA_VERSION}.",
                "Upgrade nni-plugins to resume this run.",
            )
        return cast(State, manifest)

    def _read(self, name: str) -> State:
        path, manifest = self.folder / f"{name}.pt", self._manifest(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read ({os.strerror(error.errno or 0)})", f"Delete {self.folder} to start over."
            ) from None
        if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
            raise CheckpointError(
                f"{path} is damaged ({len(content):,} of {manifest.get('bytes', 0):,} bytes)",
                f"Delete {self.folder} to start over.",
            )
        return load_weights(content, str(path))


class _Newer(CheckpointError):
    """A schema newer than ours: never something to fall back from."""
