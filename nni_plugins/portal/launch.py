"""Starting, watching and stopping an ``nnictl create`` experiment from Python, leaving nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import psutil

from nni_plugins.spaces.errors import NNIPluginsError

from ..doctor import nnictl, port_is_free
from .manager import Manager, ManagerError

LATE = "Tuner did not connect"
"""In NNI's error where the tuner took too long."""


class LaunchError(NNIPluginsError):
    """The experiment did not start, or ended with an error."""

    exit_status = 4


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def family(flag: str, value: str) -> list[psutil.Process]:
    """NNI's managers whose command line has ``flag value``, with all their descendants: dispatcher and trials."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if any(word.endswith("main.js") for word in line) and (flag, value) in pairwise(line):
                found.update({p.pid: p for p in (process, *process.children(recursive=True))})
    return list(found.values())


def orphans(experiment: str) -> list[psutil.Process]:
    """Trials of an experiment, also those that outlived its manager."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("NNI_EXP_ID") == experiment:
                found.append(process)
    return found


def kill(processes: list[psutil.Process]) -> None:
    """Kill what still runs of ``processes``."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


class Launched:
    """An experiment that ``nnictl create`` started; leaving the ``with`` block stops it and every process it started.

    Args:
        config: the experiment file.
        port: of the portal; None takes a free one.

    Raises:
        LaunchError: the port is busy, or ``nnictl`` refuses the file.
    """

    def __init__(self, config: Path, port: int | None = None) -> None:
        self.command = nnictl()
        self.port = port if port is not None else free_port()
        if not port_is_free(self.port):
            raise LaunchError(
                f"port {self.port} is in use.", "Choose another --port, or leave it out to take a free one."
            )
        # The trial command says `python`, which must be this one.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self.environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"}
        self.url = f"http://127.0.0.1:{self.port}"
        self.manager = Manager(self.url)
        self._processes: list[psutil.Process] = []
        try:
            self.id = self._create(config)
            self._processes = self._family()
            self.folder = self.manager.folder()
        except BaseException:  # also Ctrl-C, while nnictl waits for its manager
            kill(family("--port", str(self.port)))
            raise

    def __enter__(self) -> Launched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _create(self, config: Path) -> str:
        """Run ``nnictl create``; returns the experiment's id."""
        # A session of its own: Ctrl-C reaches us alone, and we stop the experiment in order.
        answer = subprocess.run(
            [self.command, "create", "--config", str(config), "--port", str(self.port)],
            env=self.environment, capture_output=True, text=True, start_new_session=True, check=False,
        )  # fmt: skip
        found = re.search(r"Experiment ID: (?:\x1b\[\d+m)?(\w+)", answer.stdout + answer.stderr)
        if answer.returncode != 0 or found is None:
            text = re.sub(r"\x1b\[\d*m", "", answer.stderr + answer.stdout)
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            errors = [line for line in lines if "ERROR" in line or "Error" in line] or lines[-1:]
            raise LaunchError(
                f"nnictl create failed: {errors[-1] if errors else 'no output'}",
                f"Check the file: nni-plugins doctor {config}",
            )
        return found[1]

    def _family(self) -> list[psutil.Process]:
        return [*family("--experiment-id", self.id), *orphans(self.id)]

    def status(self) -> str:
        """RUNNING, DONE, ...

        Raises:
            LaunchError: the experiment ended with an error; the message is the tuner's.
        """
        status, errors = self.manager.status()
        if status == "ERROR" and any(LATE in error for error in errors):
            raise LaunchError(
                "the tuner needed longer than the ten seconds that NNI gives it to start.",
                f"This machine is busy; nothing is lost: nnictl stop {self.id}, then nnictl resume {self.id}.",
            )
        if status == "ERROR":
            left = self.folder / "checkpoint" / "error.txt"  # NNI keeps the tuner's message to its log
            message = left.read_text().strip() if left.exists() else errors[0] if errors else "no message"
            raise LaunchError(f"the experiment failed: {message}", f"Read {self.folder / 'log' / 'dispatcher.log'}.")
        return status

    def stop(self) -> None:
        """Stop the experiment; processes that outlive NNI's own stop are killed."""
        known = {p.pid: p for p in (*self._processes, *self._family())}
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [self.command, "stop", self.id],
                    env=self.environment,
                    capture_output=True,
                    start_new_session=True,
                    check=False,
                    timeout=60,
                )
            kill(psutil.wait_procs(list(known.values()), timeout=15)[1])
            kill(self._family())  # a trial that was just being started
        finally:
            signal.signal(signal.SIGINT, previous)

    def wait(self, show: Callable[[], None], tick: float, minutes: float) -> None:
        """Call ``show()`` every ``tick`` seconds until the experiment is done.

        Raises:
            LaunchError: it failed, or is not done after ``minutes``.
        """
        deadline = time.monotonic() + 60 * minutes
        while True:
            try:
                status = self.status()
                show()
            except ManagerError:
                if not any(p.is_running() for p in self._family()):
                    raise
                status = "RUNNING"
            if status == "DONE":
                return
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"the experiment is still {status} after {minutes:g} minutes.",
                    f"It can go on: nnictl resume {self.id}",
                )
            time.sleep(tick)
