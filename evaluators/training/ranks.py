"""The processes of one training on several devices end together: where one of them dies, the others say so and end within
seconds instead of waiting for it, in whatever they were.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from lightning_fabric import Fabric

from ..errors import TrainingError
from ..processes import started_by_torchrun

SECONDS = 0.5
"""Between two looks at the others."""
SIGNS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")
"""In the errors of a collective whose other end is gone."""
REMEDY = "What it printed above says why; run the same command again to go on from the last checkpoint."
_children: list[subprocess.Popen[bytes]] = []
_watched, _left = threading.Event(), threading.Event()


def watch(fabric: Fabric) -> None:
    """From now on this process ends when one that Fabric started with it, or that started it, does. To be called when
    Fabric has launched them; of a training on one device, and under torchrun, which watches itself, nothing is done.
    """
    if fabric.world_size == 1 or started_by_torchrun():
        return
    _children.extend(getattr(fabric.strategy.launcher, "procs", []))
    if not _watched.is_set():
        _watched.set()
        atexit.register(leave, 2.0)
        threading.Thread(target=_watch, args=(os.getppid(), fabric.world_size), daemon=True).start()


def leave(seconds: float = 0) -> None:
    """End the processes that Fabric started: this one has what it wanted, or goes no further. They get so many
    ``seconds`` to end by themselves.
    """
    _left.set()
    deadline = time.monotonic() + seconds
    for child in _children:
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        child.kill()


def _watch(parent: int, world: int) -> None:
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    while not _left.wait(SECONDS):
        dead = dead_child(_children) if first else None
        if dead is not None and not _left.is_set():
            _end(_problem(*dead, world))
        if not first and os.getppid() != parent:
            _end(f"the first of the {world} processes of this training is gone.")


def dead_child(children: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int] | None:
    """(number from 2, exit status) of the first of ``children`` that failed."""
    for number, child in enumerate(children, start=2):
        if child.poll():
            return number, int(child.returncode)
    return None


def _problem(number: int, status: int, world: int) -> str:
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"process {number} of the {world} of this training {how}."


def _end(problem: str) -> NoReturn:
    """At once: the other threads may wait in a collective for ever."""
    print(f"error: {problem}\n{REMEDY}", file=sys.stderr, flush=True)
    leave()
    os._exit(TrainingError.exit_status)


@contextmanager
def lost_ranks_named(world: int) -> Iterator[None]:
    """The error of a collective whose other end is gone becomes a sentence.

    Raises:
        TrainingError: one of the ``world`` processes is gone.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        if world == 1 or not any(sign in text for sign in SIGNS):
            raise
        deadline = time.monotonic() + 5
        while (dead := dead_child(_children)) is None and _children and time.monotonic() < deadline:
            time.sleep(0.1)
        raise TrainingError(
            _problem(*dead, world) if dead else f"another of the {world} processes of this training is gone.", REMEDY
        ) from None
