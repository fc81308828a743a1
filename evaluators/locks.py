"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from pathlib import Path
from types import TracebackType

from .errors import CheckpointError

FILE = "lock"
"""Empty, and harmless when it stays behind: the lock goes with its process."""


class FolderLock:
    """Held within ``with``; ``folder`` is created if needed. Of what fails before it has written anything, neither the
    lock nor a folder that was created for it stays.

    Raises:
        CheckpointError: another process holds it, or the folder cannot be written or locked.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: io.TextIOWrapper | None = None
        self._created = False

    def __enter__(self) -> FolderLock:
        try:
            self._created = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.folder / FILE, "a+")
        except OSError as error:
            raise CheckpointError(
                f"cannot use {self.folder}: {error.strerror}.", "Choose a folder that can be written."
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise CheckpointError(
                f"{self.folder} is in use by another process.", "Wait for it, stop it, or choose another folder."
            ) from None
        except OSError as error:  # such as that of a network's file system without locks
            self._file.close()
            raise CheckpointError(
                f"cannot lock {self.folder}: {error.strerror}.", "Choose a folder on a local disk."
            ) from None
        if not self._is_there():  # removed between opening and locking
            self._file.close()
            return self.__enter__()
        return self

    def _is_there(self) -> bool:
        """Whether the file that is locked is still the one in the folder."""
        assert self._file is not None
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.folder / FILE))
        except OSError:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                if kind is not None and os.listdir(self.folder) == [FILE]:
                    os.unlink(self.folder / FILE)
                    if self._created:
                        self.folder.rmdir()
            self._file.close()
