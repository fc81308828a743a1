"""The tuner NAO as NNI's dispatcher drives it: rounds, call-backs, lost ends, kills and resumes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.portal import nao_tuner
from nni_plugins.portal.nao_tuner import STATE, NAOTuner, metric_of
from nni_plugins.portal.registration import tuner_entries
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.errors import NNIPluginsError

SPACE = NASBench201(nodes=3).nni_search_space()
ARGUMENTS: dict[str, Any] = {
    "initial": 6,
    "seed": 1,
    "controller": {"epochs": 5, "embedding": 8, "hidden": 16},
    "proposals": {"seeds": 4, "new": 4, "last_step": 9},
}
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nao_nasbench201_table.yml"


class Dispatcher:
    def __init__(self) -> None:
        self.sent: dict[int, dict[str, Any]] = {}
        self.errors: list[str] = []
        self.recovered_trial_params: dict[int, Any] = {}

    def send_trial_callback(self, number: int, parameters: dict[str, Any]) -> None:
        assert number not in self.sent
        self.sent[number] = parameters

    def report_error(self, message: str) -> None:
        self.errors.append(message)


class FakeManager:
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, parameters: Any, status: str, final: Any = None) -> None:
        number = len(self.rows)
        row = {
            "id": "T",
            "status": status,
            "parameters": parameters,
            "customized": False,
            "final": final,
            "number": number,
        }
        self.rows.append(row)

    def trials(self) -> list[dict[str, Any]]:
        return self.rows


class Session:
    """One process of the tuner. ``given``: parameters by NNI's ids, which start at 0 in each process."""

    def __init__(
        self,
        resumed: bool = False,
        search_space: dict[str, Any] = SPACE,
        threaded: bool = False,
        manager: FakeManager | None = None,
        **changes: Any,
    ) -> None:
        self.tuner, self.dispatcher = NAOTuner(threaded=threaded, **{**ARGUMENTS, **changes}), Dispatcher()
        self.tuner._manager = manager  # type: ignore[assignment]
        if resumed:
            self.tuner.load_checkpoint()
        self.tuner.update_search_space(search_space)
        self.served: dict[int, dict[str, Any]] = {}

    def request(self, *numbers: int) -> int:
        """How many were handed out at once."""
        given = self.tuner.generate_multiple_parameters(list(numbers), st_callback=self.dispatcher.send_trial_callback)
        self.served.update(zip(numbers, given, strict=False))
        return len(given)

    @property
    def given(self) -> dict[int, dict[str, Any]]:
        return self.served | self.dispatcher.sent

    def result(self, number: int) -> None:
        self.tuner.receive_trial_result(number, "", {"default": value(self.given[number]), "more": 1})
        self.tuner.trial_end(number, True)


def value(parameters: dict[str, Any]) -> float:
    """A pretended accuracy: convolutions are good, a pool is not."""
    worth = {"nor_conv_3x3": 3.0, "nor_conv_1x1": 2.0, "skip_connect": 1.0, "none": 0.0, "avg_pool_3x3": -1.0}
    return sum((1 + i / 10) * worth[parameters[key]] for i, key in enumerate(sorted(SPACE)))


@pytest.fixture(autouse=True)
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(folder))

    def refuse(status: int) -> None:
        raise AssertionError(f"os._exit({status})")

    monkeypatch.setattr(os, "_exit", refuse)
    return folder


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def undisturbed(n: int) -> list[dict[str, Any]]:
    """The first ``n`` parameters, one trial at a time."""
    s = Session()
    for number in range(n):
        s.request(number)
        s.result(number)
    return [s.given[number] for number in range(n)]


# -- starting ----------------------------------------------------------------------------------------------------------
def test_the_tuner_needs_no_torch_before_its_first_round() -> None:
    code = f"""
import sys
from nni_plugins.portal.nao_tuner import NAOTuner
tuner = NAOTuner(space={{"name": "nasbench201", "nodes": 3}}, **{ARGUMENTS!r})
tuner.update_search_space({SPACE!r})
tuner.generate_multiple_parameters([0, 1], st_callback=print)
print(tuner._problem, sorted({{"torch", "sklearn", "matplotlib", "pytorch_lightning"}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "None []", result.stdout + result.stderr


def test_registered() -> None:
    (entry,) = [entry for entry in tuner_entries() if entry.name == "NAO"]
    assert entry.class_name == f"{NAOTuner.__module__}.{NAOTuner.__name__}"


@pytest.mark.parametrize(
    ("changes", "space", "message"),
    [
        ({"initial": 1, "controler": {}}, SPACE, r"initial: [\s\S]*did you mean 'controller'"),
        ({"optimize_mode": "max"}, SPACE, "optimize_mode"),
        ({"space": {"name": "nasbench21"}}, SPACE, "did you mean 'nasbench201'"),
        ({"space": {"name": "nasbench201"}}, SPACE, "searchSpace: is not the one of NASBench201"),
        ({}, {**SPACE, "rate": {"_type": "uniform", "_value": [0, 1]}}, "searchSpace.rate: uniform has no finite list"),
        (
            {},
            {"layer": {"_type": "choice", "_value": [{"_name": "a"}, {"_name": "b"}]}},
            "searchSpace.layer: nested choices",
        ),
    ],
)
def test_what_is_wrong_reaches_the_portal(
    changes: dict[str, Any], space: dict[str, Any], message: str, checkpoint: Path
) -> None:
    s = Session(search_space=space, **changes)
    with pytest.raises(NNIPluginsError, match=message):
        s.request(0)
    assert len(s.dispatcher.errors) == 1 and (checkpoint / "error.txt").read_text().strip() == s.dispatcher.errors[0]


# -- rounds ------------------------------------------------------------------------------------------------------------
def test_rounds_wait_for_their_last_trial_and_nothing_is_sent_twice(checkpoint: Path) -> None:
    s = Session()
    assert s.request(*range(8)) == 6, "the first pool; two ids wait"
    for number in (3, 0, 5, 1, 4):
        s.result(number)
    assert not s.dispatcher.sent
    s.result(2)
    assert sorted(s.dispatcher.sent) == [6, 7]
    assert s.request(8, 9, 10) == 2, "the rest of the round"
    assert s.request(11) == 0, "who came later waits behind"
    for number in (6, 7, 8, 9):
        s.result(number)
    assert sorted(s.dispatcher.sent) == [6, 7, 10, 11]
    distinct = {json.dumps(p, sort_keys=True) for p in s.given.values()}
    assert len(distinct) == len(s.given) == 12
    report = json.loads((checkpoint / STATE).read_text())["reports"][0]
    assert (
        report["gradient"] + report["mutation"] + report["random"] == 4
        and report["seeds"] == 4
        and report["epochs"] == 5
    )


def test_rounds_end_where_they_are_told_to() -> None:
    s = Session(rounds=1)
    for number in range(10):
        s.request(number)
        s.result(number)
    assert s.request(10, 11) == 0 and s.tuner.state.finished and not s.dispatcher.errors
    assert s.tuner._worker is None and len(s.given) == 10


def test_the_whole_space_and_no_more() -> None:
    """Then the tuner is silent, and says why in its log."""
    s = Session(initial=110)
    for number in range(125):
        s.request(number)
        s.result(number)
    assert s.request(125) == 0 and s.tuner.state.exhausted and len({json.dumps(p) for p in s.given.values()}) == 125


def test_twins_once_where_the_space_is_named() -> None:
    space = NASBench201(nodes=3)
    tuner = NAOTuner(threaded=False, space={"name": "nasbench201", "nodes": 3}, **{**ARGUMENTS, "initial": 200})
    tuner.update_search_space(SPACE)
    given = tuner.generate_multiple_parameters(list(range(200)), st_callback=Dispatcher().send_trial_callback)
    forms = [space.canonical(space.architecture(p)) for p in given]
    everything = {space.canonical(a) for a in space.decode(space.enumerate())}
    assert len(forms) == len(set(forms)) and set(forms) == everything and len(forms) < 125


def test_minimising() -> None:
    best: dict[str, float] = {}
    for mode, sign in (("maximize", 1), ("minimize", -1)):
        s = Session(optimize_mode=mode)
        for number in range(10):
            s.request(number)
            s.tuner.receive_trial_result(number, "", sign * value(s.given[number]))
        best[mode] = [json.dumps(s.given[number]) for number in range(10)]  # type: ignore[assignment]
    assert best["maximize"] == best["minimize"], "turning the sign around changes nothing else"


def test_in_a_thread() -> None:
    s = Session(threaded=True)
    assert s.request(*range(7)) == 6
    for number in range(6):
        s.result(number)
    until(lambda: 6 in s.dispatcher.sent)
    assert s.dispatcher.sent[6] == undisturbed(7)[6] and not s.dispatcher.errors


def test_an_error_in_the_thread_reaches_the_portal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no room")

    monkeypatch.setattr(nao_tuner, "work", fail)
    s = Session(threaded=True)
    s.request(*range(7))
    for number in range(6):
        s.result(number)
    until(lambda: s.dispatcher.errors)
    assert "ValueError: no room" in s.dispatcher.errors[0]


# -- what trials do ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("given", "number"), [(1, 1.0), ({"default": 2.5, "x": "y"}, 2.5)])
def test_metrics(given: Any, number: float) -> None:
    assert metric_of(given) == number


@pytest.mark.parametrize("given", ["1", None, True, {"accuracy": 1.0}, {"default": "1"}])
def test_what_is_no_metric(given: Any) -> None:
    s = Session()
    s.request(0)
    with pytest.raises(ConfigError, match="the final metric must be a number"):
        s.tuner.receive_trial_result(0, "", given)
    assert s.dispatcher.errors


def test_failed_trials_are_left_out_and_not_sent_again() -> None:
    s = Session()
    s.request(*range(7))
    s.tuner.trial_end(0, False)
    s.tuner.receive_trial_result(1, "", math.nan)
    for number in range(2, 6):
        s.result(number)
    s.tuner.trial_end(None, True)
    s.tuner.trial_end(99, False)
    s.tuner.receive_trial_result(99, "", 1.0)
    assert [trial.status for trial in s.tuner.state.trials[:6]] == ["failed", "failed", "done", "done", "done", "done"]
    assert len(s.tuner.state.trials) == 10 and 6 in s.given
    assert len({json.dumps(trial.row) for trial in s.tuner.state.trials}) == 10


def test_when_all_fail_random_ones_follow_and_are_called_so() -> None:
    s = Session()
    s.request(*range(7))
    for number in range(6):
        s.tuner.trial_end(number, False)
    assert s.tuner.state.reports == [
        {
            "seeds": 0,
            "gradient": 0,
            "mutation": 0,
            "random": 4,
            "largest_step": 0.0,
            "decoded": 0,
            "duplicates": 0,
            "invalid": 0,
        }
    ]
    assert {trial.origin for trial in s.tuner.state.trials[6:]} == {"random"}


def test_when_all_are_equal_seeds_are_mutated() -> None:
    s = Session()
    s.request(*range(7))
    for number in range(6):
        s.tuner.receive_trial_result(number, "", 50.0)
    (report,) = s.tuner.state.reports
    assert report["gradient"] == 0 and report["mutation"] == 4 and "epochs" not in report


def test_an_end_before_its_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """NNI tells both through different threads."""
    monkeypatch.setattr(nao_tuner, "GRACE_SECONDS", 0.2)
    s = Session()
    s.request(0, 1)
    s.tuner.trial_end(0, True)
    s.tuner.trial_end(1, True)
    assert s.tuner.state.trials[0].status == "running"
    s.tuner.receive_trial_result(0, "", 3.0)
    until(lambda: s.tuner.state.trials[1].status == "failed")
    assert s.tuner.state.trials[0].status == "done" and s.tuner.state.trials[0].value == 3.0


# -- stop and resume ---------------------------------------------------------------------------------------------------
def test_a_kill_at_every_event_changes_nothing() -> None:
    """A new process for each trial, half of them killed before the result, which NNI then tells by ``import_data``."""
    expected, found = undisturbed(15), []
    s = Session()
    for number in range(15):
        assert s.request(number) == 1 or number in s.dispatcher.sent
        parameters = s.given[number]
        found.append(parameters)
        if number % 2:
            s.result(number)
        s = Session(resumed=True)
        if not number % 2:
            s.tuner.import_data([{"parameter": parameters, "value": json.dumps({"default": value(parameters)})}])
        s.tuner.import_data([{"parameter": p, "value": {"default": value(p)}} for p in found])
        assert [t.status for t in s.tuner.state.trials].count("done") == number + 1
    assert found == expected


def test_a_kill_between_the_last_result_and_the_round() -> None:
    expected, s = undisturbed(7), Session()
    for number in range(6):
        s.request(number)
        s.result(number)
    assert s.tuner.state.due
    again = Session(resumed=True)
    again.request(0)
    assert again.given[0] == expected[6]


def test_what_the_manager_knows_of_earlier_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nao_tuner, "WATCH_SECONDS", 0.05)
    s, manager = Session(), FakeManager()
    s.request(*range(5))
    for number, (status, final) in enumerate(
        [("SUCCEEDED", {"default": 1.5}), ("USER_CANCELED", None), ("RUNNING", None), ("WAITING", None)]
    ):
        manager.add(s.given[number], status, final)
    again = Session(resumed=True, manager=manager)
    assert again.request(0) == 1 and again.given[0] == s.given[4], "the manager's queue did not outlive it"
    trials = again.tuner.state.trials
    assert [t.status for t in trials[:5]] == ["done", "failed", "running", "running", "running"] and trials[
        0
    ].value == 1.5
    manager.rows[2]["status"] = "FAILED"
    until(lambda: trials[2].status == "failed")
    manager.rows[3] |= {"status": "SUCCEEDED", "final": {"default": 2.0}}
    until(lambda: trials[3].value == 2.0)
    assert not again.tuner._recovered and trials[4].status == "running"


@pytest.mark.parametrize(("again", "comes"), [(False, "at once"), (True, "never")])
def test_what_an_earlier_manager_was_to_run_again(monkeypatch: pytest.MonkeyPatch, again: bool, comes: str) -> None:
    """A resume failed: NNI shows the trial as ADD_RESUMED, and runs it only if it does so in this session."""
    monkeypatch.setattr(NAOTuner, "_timer", lambda self, seconds, action: None)
    s, manager = Session(), FakeManager()
    s.request(0)
    manager.add(s.given[0], "ADD_RESUMED", None)
    t = Session(resumed=True, manager=manager)
    t.dispatcher.recovered_trial_params = {0: s.given[0]} if again else {}
    t.request(1)
    assert (t.given[1] == s.given[0]) == (comes == "at once")


def test_imported_trials_teach_and_are_not_sent() -> None:
    s = Session()
    known = {"e_0_1": "nor_conv_3x3", "e_0_2": "nor_conv_3x3", "e_1_2": "nor_conv_3x3"}
    s.tuner.import_data(
        [
            {"parameter": known, "value": 99.0},
            {"parameter": {"x": 1}, "value": 1.0},
            {"parameter": known, "value": None},
        ]
    )
    assert [t.origin for t in s.tuner.state.trials].count("imported") == 1 - (
        [t.row for t in s.tuner.state.trials[:6]].count([3, 3, 3])
    )
    for number in range(14):
        s.request(number)
        s.result(number)
    assert known not in s.given.values() and s.tuner.state.job().values.max() == 99.0


def test_a_resumed_experiment_must_be_the_same() -> None:
    Session().request(0)
    for s in (
        Session(resumed=True, seed=2),
        Session(resumed=True, search_space={**SPACE, "x": {"_type": "choice", "_value": [1, 2]}}),
    ):
        with pytest.raises(ConfigError, match="this experiment was started with other"):
            s.request(0)
    assert Session(resumed=True, rounds=9).request(0) == 1, "it may go on for longer"


def test_a_changed_search_space_is_refused() -> None:
    s = Session()
    s.request(0)
    s.tuner.update_search_space(SPACE)
    with pytest.raises(ConfigError, match="changed while NAO searches it"):
        s.tuner.update_search_space({**SPACE, "x": {"_type": "choice", "_value": [1, 2]}})


# -- does it search? ---------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_better_than_random_on_digits() -> None:
    """60 of 125 cells, 5 seeds: the first two rounds are better than a random draw on average, and so is the best of
    all 60.

    Half of what is tried comes from the gradient and half from mutations: nearly every neighbour of a good cell is soon
    known.
    """
    table = digits_table()
    tried, bests, origins = [], [], []
    for seed in range(5):
        tuner = NAOTuner(
            threaded=False,
            initial=20,
            seed=seed,
            controller={"epochs": 30, "learning_rate": 5e-3, "targets": "rank"},
            proposals={"seeds": 10, "new": 10},
        )
        tuner.update_search_space(SPACE)
        dispatcher, values = Dispatcher(), []
        for number in range(60):
            given = tuner.generate_multiple_parameters([number], st_callback=dispatcher.send_trial_callback)
            parameters = given[0] if given else dispatcher.sent[number]
            values.append(table.value(table.space.architecture(parameters), "accuracy"))
            tuner.receive_trial_result(number, "", values[-1])
        tried.append(sum(values[20:40]) / 20)
        bests.append(max(values))
        counted = [
            sum(report[origin] for report in tuner.state.reports) for origin in ("gradient", "mutation", "random")
        ]
        origins.append(counted)
        assert sum(counted) == 40
    truth = sorted(table.metric("accuracy"), reverse=True)
    # the best of 60 draws without replacement: the k-th best with probability C(125 - k, 59) / C(125, 60)
    random = sum(v * math.comb(124 - k, 59) / math.comb(125, 60) for k, v in enumerate(truth) if k <= 65)
    assert sum(tried) / 5 > sum(truth) / 125 + 3
    assert sum(bests) / 5 > random
    assert sum(gradient for gradient, _, _ in origins) >= 40, origins


def test_the_example() -> None:
    content = yaml.safe_load(EXAMPLE.read_text())
    assert content["searchSpace"] == SPACE and content["tuner"]["name"] == "NAO"
    tuner = NAOTuner(**content["tuner"]["classArgs"])
    tuner.update_search_space(content["searchSpace"])
    assert tuner._problem is None and len(tuner.state.trials) == 20
    assert (EXAMPLE.parent / content["trialCommand"].split()[1]).is_file()
