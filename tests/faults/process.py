"""One run of ``nni-plugins`` in a forked process, which may be killed before one of its file operations or at any instant.

A process that everything is imported into (multiprocessing's fork server) forks the others: a kill costs no new imports.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from nni_plugins import cli
from nni_plugins.experiment import runner

from .kinds import pretend

OPERATIONS = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"})
"""Of Python's audit events, those that change a folder; besides ``open`` for writing."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "tests.faults.kinds"])


class Kill(NamedTuple):
    """Before the ``operation``-th file operation in the run's folder, counted from 1, or after so many ``seconds``."""

    operation: int | None = None
    seconds: float | None = None


class Ended(NamedTuple):
    """``status``: exit status, -9 of a killed process; ``operations`` and ``seconds``: of one that was not killed;
    ``printed``: all its output."""

    status: int
    operations: int
    seconds: float
    printed: str


def run(words: list[str], folder: Path, kill: Kill | None = None) -> Ended:
    """``nni-plugins`` with ``words``, started in ``folder``; file operations below ``folder / "run"`` are counted."""
    noted, log = folder / "ended.json", folder / "printed.txt"
    noted.unlink(missing_ok=True)
    process = CONTEXT.Process(target=_child, args=(words, folder, kill, noted, log))
    process.start()
    process.join(240)
    assert process.exitcode is not None, f"hangs: nni-plugins {' '.join(words)}\n{log.read_text()}"
    content = json.loads(noted.read_text()) if noted.is_file() else {"status": process.exitcode}
    return Ended(
        content["status"], content.get("operations", 0), content.get("seconds", 0.0), log.read_text(errors="replace")
    )


def _child(words: list[str], folder: Path, kill: Kill | None, noted: Path, log: Path) -> None:
    os.chdir(folder)
    pretend()
    runner.cores = lambda: 1  # no process beside this one, which would outlive it by a moment
    counted = 0

    def count(event: str, given: tuple[Any, ...]) -> None:
        nonlocal counted
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not (writes or event in OPERATIONS) or not str(given[0]).startswith((str(folder / "run"), "run")):
            return
        counted += 1
        if kill is not None and counted == kill.operation:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if kill is not None and kill.seconds is not None:
        threading.Timer(kill.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    sys.argv = ["nni-plugins", *words]
    began, status = time.perf_counter(), 1
    with open(log, "w") as printed, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
    seconds = time.perf_counter() - began
    noted.write_text(json.dumps({"status": status, "operations": counted, "seconds": seconds}))
    os._exit(0)  # a timer may still wait
