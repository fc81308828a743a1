"""The few things that are asked of a running NNI manager, over its REST interface on this machine."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import requests

from nni_plugins.spaces.errors import NNIPluginsError

TIMEOUT = 20
ALIVE = ("WAITING", "RUNNING", "UNKNOWN")
"""NNI's states of a trial that has not ended. UNKNOWN: its machine has not answered for a while."""
ENDED_WITHOUT_RESULT = ("FAILED", "USER_CANCELED", "SYS_CANCELED", "EARLY_STOPPED")
"""Those of one that ended and has no final metric. A signal from anybody makes it USER_CANCELED; EARLY_STOPPED: an
assessor, or ``maxTrialDuration``.
"""
NOT_RESUMED = ("ADD_RESUMED", "ADD_CUSTOMIZED")
"""States that are no states: the trial stands in the manager's queue, which does not outlive the manager. One of an
earlier manager is never run.
"""
STATES = (*ALIVE, *ENDED_WITHOUT_RESULT, *NOT_RESUMED, "SUCCEEDED")
"""All that NNI 3.0 ever says a trial is in."""


class ManagerError(NNIPluginsError):
    """The NNI manager does not answer, or refuses."""

    exit_status = 4


@dataclass(frozen=True)
class Profile:
    """What the experiment is allowed: ``maximum`` trials in all, ``concurrency`` side by side; None: no limit. ``local``:
    its trials run on the manager's machine, under the manager itself. ``address``: the manager's for other machines, if
    the file says it.
    """

    maximum: int | None
    concurrency: int
    local: bool
    address: str | None


class Manager:
    """``url``: the portal's address, such as ``http://localhost:8080``; ``timeout``: seconds an answer may take."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout

    @classmethod
    def of_tuner(cls) -> Manager | None:
        """The manager that started this tuner process, or None outside of one (a test)."""
        channel = os.environ.get("NNI_TUNER_COMMAND_CHANNEL")
        if channel is None:
            return None
        parts = urlsplit(channel)
        return cls(urlunsplit(("http", parts.netloc, parts.path.removesuffix("/tuner"), "", "")))

    @classmethod
    def of_trial(cls) -> Manager | None:
        """The manager of this trial, or None where a trial cannot reach it (a remote machine, a test)."""
        parts = urlsplit(os.environ.get("NNI_TRIAL_COMMAND_CHANNEL", ""))
        segments = [segment for segment in parts.path.split("/") if segment]
        for depth in range(len(segments) if parts.netloc else 0):  # the portal's --url_prefix, if any, comes first
            manager = cls(urlunsplit(("http", parts.netloc, "/".join(segments[:depth]), "", "")))
            try:
                manager.status()
            except ManagerError:
                continue
            return manager
        return None

    def record(self, trial: str, seconds: float = 10) -> dict[str, Any]:
        """The parameter record (``parameter_id``, ``parameters``) under which the manager stores and shows ``trial``.

        Raises:
            ManagerError: it knows no such trial, even after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                return cast(dict[str, Any], json.loads(self._call("GET", f"trial-jobs/{trial}")["hyperParameters"][-1]))
            except (ManagerError, KeyError, IndexError):
                if time.monotonic() > deadline:
                    raise ManagerError(
                        f"the NNI manager at {self.url} knows no trial {trial}.", "See nnictl trial ls."
                    ) from None
                time.sleep(0.5)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = requests.request(method, f"{self.url}/api/v1/nni/{path}", timeout=self.timeout, **options)
            answer.raise_for_status()
            return answer.json() if answer.content else None
        except (requests.RequestException, ValueError) as error:
            raise ManagerError(
                f"the NNI manager at {self.url} does not answer: {type(error).__name__}.", "See nnictl experiment list."
            ) from None

    def status(self) -> tuple[str, list[str]]:
        """(status such as RUNNING, DONE or ERROR, error messages)."""
        answer = self._call("GET", "check-status")
        return str(answer["status"]), [str(e) for e in answer.get("errors", [])]

    def folder(self) -> Path:
        """The experiment's folder: NNI's working directory, and in it one named after the experiment."""
        return Path(self._call("GET", "experiment")["logDir"])

    def profile(self) -> Profile:
        """As it is now: the user may have changed it."""
        params = self._call("GET", "experiment")["params"]
        service = params.get("trainingService")
        return Profile(
            params.get("maxTrialNumber"),
            int(params["trialConcurrency"]),
            isinstance(service, dict) and service.get("platform") == "local" and not service.get("reuseMode"),
            params.get("nniManagerIp"),
        )

    def submissions(self) -> int:
        """How many trials there are, the user's own and those of earlier managers included."""
        return sum(int(one["trialJobNumber"]) for one in self._call("GET", "job-statistics"))

    def trials(self) -> list[dict[str, Any]]:
        """All trials that were submitted, the newest last: ``id``, ``status``, ``number`` (NNI's parameter id; they start
        anew on resume), ``parameters`` (the newest), ``final`` metric or None.

        ``customized``: submitted by the user in the portal, perhaps as a copy of one of ours with all its parameters.
        """
        return [_trial(raw) for raw in self._call("GET", "trial-jobs")]

    def alive(self) -> list[dict[str, Any]]:
        """As :meth:`trials`, those that have not ended."""
        return [_trial(raw) for status in ALIVE for raw in self._call("GET", f"trial-jobs?status={status}")]

    def trial_state(self, trial: str) -> str:
        """What NNI says a trial is in, one of :data:`STATES`."""
        return str(self._call("GET", f"trial-jobs/{trial}")["status"])

    def metrics(self, trial: str) -> list[tuple[str, Any]]:
        """All that a trial has reported, in order: (``PERIODICAL`` or ``FINAL``, value)."""
        rows = self._call("GET", f"metric-data/{trial}")
        rows.sort(key=lambda row: (row["type"] == "FINAL", row["sequence"]))
        return [(row["type"], _decoded(row["data"])) for row in rows]

    def intermediates(self, trial: str) -> list[Any]:
        """Intermediate metrics of a trial in order."""
        return [value for kind, value in self.metrics(trial) if kind == "PERIODICAL"]

    def log(self, trial: str) -> str:
        """What a trial has printed, from whatever machine it runs on."""
        try:
            answer = requests.get(f"{self.url}/api/v1/nni/trial-file/{trial}/trial.log", timeout=self.timeout)
        except requests.RequestException:
            return ""
        return answer.text if answer.ok else ""

    def set_max_trials(self, number: int) -> None:
        """Change ``maxTrialNumber``; a finished experiment goes on if it grows."""
        profile = cast(dict[str, Any], self._call("GET", "experiment"))
        profile["params"]["maxTrialNumber"] = number
        self._call("PUT", "experiment?update_type=MAX_TRIAL_NUM", json=profile)


def address_for_others(manager: Manager, profile: Profile | None) -> str | None:
    """``manager``'s address as other machines know it; None where its trials run on this one."""
    if profile is None or profile.local:
        return None
    parts = urlsplit(manager.url)
    host = profile.address
    if host is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
            try:
                probe.connect(("10.254.254.254", 1))
                host = str(probe.getsockname()[0])
            except OSError:
                return None
    return urlunsplit((parts.scheme, f"{host}:{parts.port}", parts.path, "", ""))


def _decoded(data: str) -> Any:
    """NNI encodes dictionaries twice."""
    value = json.loads(data)
    return json.loads(value) if isinstance(value, str) else value


def _trial(raw: dict[str, Any]) -> dict[str, Any]:
    given = [json.loads(text) for text in raw.get("hyperParameters", [])]
    final = [_decoded(metric["data"]) for metric in raw.get("finalMetricData", [])]
    number = given[-1].get("parameter_id") if given else None
    return {
        "id": raw["trialJobId"],
        "status": raw["status"],
        "number": number,
        "parameters": given[-1]["parameters"] if given else {},
        "customized": bool(given) and number is None,
        "final": final[-1] if final else None,
    }
