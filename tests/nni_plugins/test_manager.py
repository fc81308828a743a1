"""The manager's REST answers, canned as NNI 3.0 gives them, from a real server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.portal.launch import free_port
from nni_plugins.portal.manager import Manager, ManagerError, Profile, address_for_others

PARAMETERS = {"phase": "search", "e_0_1": "all", "trial": {"job": "search-0"}}


def hyper(number: int | None, parameters: Any) -> str:
    return json.dumps(
        {"parameter_id": number, "parameter_source": "algorithm", "parameters": parameters, "parameter_index": 0}
    )


def metric(sequence: int, kind: str, value: Any) -> dict[str, Any]:
    """NNI keeps what the trial sent as text in text."""
    return {
        "timestamp": 1,
        "trialJobId": "A",
        "parameterId": "0",
        "type": kind,
        "sequence": sequence,
        "data": json.dumps(json.dumps(value)),
    }


TRIALS = [
    {
        "trialJobId": "A", "status": "SUCCEEDED", "hyperParameters": [hyper(0, {"x": 1}), hyper(0, PARAMETERS)],
        "finalMetricData": [metric(0, "FINAL", {"default": 1.5, "angle": 1.5})],
    },
    {"trialJobId": "B", "status": "RUNNING", "hyperParameters": [hyper(None, PARAMETERS)]},
    {"trialJobId": "C", "status": "WAITING"},
    {"trialJobId": "D", "status": "SUCCEEDED", "hyperParameters": [hyper(2, {})], "finalMetricData": [{"data": "0.5"}]},
]  # fmt: skip
METRICS = [
    metric(10, "PERIODICAL", {"default": 0.1, "epoch": 11}),
    metric(9, "PERIODICAL", {"default": 0.2, "epoch": 10}),
    metric(0, "FINAL", {"default": 1.5}),
    metric(0, "PERIODICAL", {"default": 0.9, "epoch": 1}),
]


PARAMS = {
    "maxTrialNumber": 3,
    "experimentName": "test",
    "trialConcurrency": 2,
    "trainingService": {"platform": "local"},
}


class Server:
    """Answers GET from ``answers``, below ``prefix``, and remembers PUT."""

    def __init__(self) -> None:
        self.prefix = ""
        self.answers: dict[str, Any] = {
            "check-status": {"status": "RUNNING", "errors": []},
            "trial-jobs": TRIALS,
            "trial-jobs/A": TRIALS[0],
            "metric-data/A": METRICS,
            "experiment": {"id": "abc", "logDir": "/x/abc", "params": PARAMS},
            "trial-jobs?status=WAITING": [TRIALS[2]],
            "trial-jobs?status=RUNNING": [TRIALS[1]],
            "trial-jobs?status=UNKNOWN": [],
            "job-statistics": [
                {"trialJobStatus": "SUCCEEDED", "trialJobNumber": 2},
                {"trialJobStatus": "RUNNING", "trialJobNumber": 1},
            ],
            "trial-file/A/trial.log": b"[now] INFO the job of this trial: search-0\n",
        }
        self.put: list[tuple[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, value: Any) -> None:
                content = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(200 if value is not None else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                start = f"{outer.prefix}/api/v1/nni/"
                self.answer(outer.answers.get(self.path.removeprefix(start)) if self.path.startswith(start) else None)

            def do_PUT(self) -> None:
                outer.put.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.answer(b"")

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


@pytest.fixture
def manager(server: Server) -> Manager:
    return Manager(f"http://{server.address}/")


def test_status(server: Server, manager: Manager) -> None:
    assert manager.status() == ("RUNNING", [])
    server.answers["check-status"] = {"status": "ERROR", "errors": ["tuner: broken"]}
    assert manager.status() == ("ERROR", ["tuner: broken"])


def test_trials(manager: Manager) -> None:
    a, b, c, d = manager.trials()
    assert a == {
        "id": "A",
        "status": "SUCCEEDED",
        "number": 0,
        "parameters": PARAMETERS,
        "customized": False,
        "final": {"default": 1.5, "angle": 1.5},
    }
    assert b["customized"] and b["parameters"] == PARAMETERS and b["final"] is None
    assert c == {"id": "C", "status": "WAITING", "number": None, "parameters": {}, "customized": False, "final": None}
    assert d["final"] == 0.5


def test_intermediates_are_in_the_order_of_their_numbers(manager: Manager) -> None:
    assert [row["epoch"] for row in manager.intermediates("A")] == [1, 10, 11]


def test_what_the_tuner_looks_up(server: Server, manager: Manager) -> None:
    assert manager.profile() == Profile(3, 2, True, None) and manager.submissions() == 3
    assert [trial["id"] for trial in manager.alive()] == ["C", "B"] and manager.trial_state("A") == "SUCCEEDED"
    kinds = [kind for kind, _ in manager.metrics("A")]
    assert kinds == ["PERIODICAL"] * 3 + ["FINAL"] and manager.metrics("A")[-1][1] == {"default": 1.5}
    assert "search-0" in manager.log("A") and manager.log("Z") == ""
    remote = {"trainingService": {"platform": "remote"}, "nniManagerIp": "10.0.0.7", "maxTrialNumber": None}
    server.answers["experiment"] = {"params": PARAMS | remote}
    assert manager.profile() == Profile(None, 2, False, "10.0.0.7")


def test_where_other_machines_reach_it() -> None:
    manager = Manager("http://localhost:8080/team")
    assert address_for_others(manager, None) is None and address_for_others(manager, Profile(3, 2, True, None)) is None
    assert address_for_others(manager, Profile(3, 2, False, "10.0.0.7")) == "http://10.0.0.7:8080/team"


def test_record_and_folder(manager: Manager) -> None:
    assert manager.record("A")["parameters"] == PARAMETERS and manager.folder() == Path("/x/abc")
    with pytest.raises(ManagerError, match="knows no trial Z"):
        manager.record("Z", seconds=0)


def test_set_max_trials(server: Server, manager: Manager) -> None:
    manager.set_max_trials(9)
    profile = {"id": "abc", "logDir": "/x/abc", "params": PARAMS | {"maxTrialNumber": 9}}
    assert server.put == [("/api/v1/nni/experiment?update_type=MAX_TRIAL_NUM", profile)]


def test_of_tuner(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Manager.of_tuner() is None
    for channel, url in (
        ("ws://localhost:8080/tuner", "http://localhost:8080"),
        ("ws://localhost:8080/team/x/tuner", "http://localhost:8080/team/x"),
    ):
        monkeypatch.setenv("NNI_TUNER_COMMAND_CHANNEL", channel)
        manager = Manager.of_tuner()
        assert manager is not None and manager.url == url


@pytest.mark.parametrize("prefix", ["", "/one", "/one/two"])
def test_of_trial(server: Server, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    assert Manager.of_trial() is None
    server.prefix = prefix
    monkeypatch.setenv("NNI_TRIAL_COMMAND_CHANNEL", f"ws://{server.address}{prefix}/env/local/x1")
    manager = Manager.of_trial()
    assert manager is not None and manager.url == f"http://{server.address}{prefix}"


def test_a_trial_that_cannot_reach_its_manager(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers.clear()
    monkeypatch.setenv("NNI_TRIAL_COMMAND_CHANNEL", f"ws://{server.address}/env/local/x1")
    assert Manager.of_trial() is None


def test_what_is_no_answer(server: Server, manager: Manager) -> None:
    server.answers["check-status"] = b"<html>"
    for broken in (manager, Manager(f"http://127.0.0.1:{free_port()}")):
        with pytest.raises(
            ManagerError, match=r"the NNI manager at http://127.0.0.1:\d+ does not answer: \w+Error"
        ) as caught:
            broken.status()
        assert caught.value.exit_status == 4 and "nnictl experiment list" in caught.value.remedy
