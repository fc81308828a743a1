"""The few things that are asked of a running NNI manager, over its REST interface on this machine."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import requests

from nni_plugins.spaces.errors import NNIPluginsError

TIMEOUT = 20


class ManagerError(NNIPluginsError):
    """The NNI manager does not answer, or refuses."""

    exit_status = 4


class Manager:
    """``url``: the portal's address, such as ``http://localhost:8080``."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

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
            answer = requests.request(method, f"{self.url}/api/v1/nni/{path}", timeout=TIMEOUT, **options)
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

    def trials(self) -> list[dict[str, Any]]:
        """All trials that were submitted: ``id``, ``status``, ``parameters`` (of the newest hyper-parameters),
        ``final`` metric or None.

        ``customized``: submitted by the user in the portal, perhaps as a copy of one of ours with all its parameters.
        """
        trials = []
        for raw in self._call("GET", "trial-jobs"):
            given = [json.loads(text) for text in raw.get("hyperParameters", [])]
            final = [json.loads(metric["data"]) for metric in raw.get("finalMetricData", [])]
            value = json.loads(final[-1]) if final and isinstance(final[-1], str) else (final[-1] if final else None)
            parameters = given[-1]["parameters"] if given else {}
            customized = bool(given) and given[-1].get("parameter_id") is None
            trials.append(
                {
                    "id": raw["trialJobId"],
                    "status": raw["status"],
                    "parameters": parameters,
                    "customized": customized,
                    "final": value,
                }
            )
        return trials

    def intermediates(self, trial: str) -> list[Any]:
        """Intermediate metrics of a trial in order."""
        rows = [row for row in self._call("GET", f"metric-data/{trial}") if row["type"] == "PERIODICAL"]
        rows.sort(key=lambda row: row["sequence"])
        values = [json.loads(row["data"]) for row in rows]  # NNI encodes dictionaries twice
        return [json.loads(value) if isinstance(value, str) else value for value in values]

    def set_max_trials(self, number: int) -> None:
        """Change ``maxTrialNumber``; a finished experiment goes on if it grows."""
        profile = cast(dict[str, Any], self._call("GET", "experiment"))
        profile["params"]["maxTrialNumber"] = number
        self._call("PUT", "experiment?update_type=MAX_TRIAL_NUM", json=profile)
