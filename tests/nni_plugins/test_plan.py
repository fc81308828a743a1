"""The plan as a state machine, by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.plan import Plan, random_architectures
from nni_plugins.experiment.settings import RandomSearchExperiment, check
from nni_plugins.portal.axes import expected_trials, search_space

from .small import arguments, search_value, settings, stand_alone_value


def plan(**changes: Any) -> Plan:
    return Plan(settings(**{"found": 2, "random": 2, "retries": 1, **changes}))


def names(plan: Plan) -> list[str]:
    """Everything that can be handed out now."""
    given = []
    while (job := plan.next()) is not None:
        given.append(job.name)
    return given


def statuses(plan: Plan) -> dict[str, str]:
    return {name: job.status for name, job in plan.jobs.items()}


def test_order_search_then_found_then_random() -> None:
    p = plan()
    first = p.next()
    assert first is not None and (first.name, first.phase, first.status) == ("search-0", "search", "running")
    p.done("search-0", search_value(p.settings))
    assert names(p) == ["found-0-1", "found-0-2", "random-1", "random-2"]
    assert p.next() is None and p.remaining == 0 and not p.finished
    for i, name in enumerate(("found-0-1", "found-0-2", "random-1", "random-2")):
        p.done(name, stand_alone_value(90 + i))
    assert p.finished and p.failed_search is None
    assert p.jobs["random-2"].value["accuracy"] == 93


def test_random_ones_fill_the_time_of_the_search() -> None:
    assert names(plan()) == ["search-0", "random-1", "random-2"]


def test_found_jobs_come_in_the_order_of_their_rank() -> None:
    p = plan(found=3)
    value = search_value(p.settings)
    p.done("search-0", value)
    found = [job for job in p.jobs.values() if job.phase == "found"]
    assert [(job.choices, job.angle) for job in found] == [(f["choices"], f["angle"]) for f in value["result"]["found"]]
    assert [job.angle for job in found] == [1.5, 1.4, 1.3]


def test_two_seeds() -> None:
    p = plan(seeds=[0, 3], random=1)
    assert p.remaining == 2 + 2 * 2 + 1 == expected_trials(p.settings)
    assert names(p) == ["search-0", "search-3", "random-1"] and p.remaining == 4
    p.done("search-3", search_value(p.settings, 3))
    assert names(p) == ["found-3-1", "found-3-2"] and p.remaining == 2
    p.done("search-0", search_value(p.settings, 0))
    assert names(p) == ["found-0-1", "found-0-2"] and p.remaining == 0
    assert [p.jobs[f"found-{seed}-1"].seed for seed in (0, 3)] == [0, 3]


def test_a_crash_is_retried_so_many_times() -> None:
    p = plan(retries=2)
    for crash in (1, 2, 3):
        given = p.next()
        assert given is not None and given.name == "search-0"
        assert p.crashed("search-0", again=True) == (crash < 3)
        assert p.jobs["search-0"].crashes == crash
    assert p.failed_search is p.jobs["search-0"] and statuses(p)["search-0"] == "failed"
    assert names(p) == ["random-1", "random-2"], "what needs no search goes on"
    assert p.crashed("search-0", again=True) is False and p.jobs["search-0"].crashes == 3, "its end may be told twice"


def test_a_cancelled_job_is_not_retried() -> None:
    p = plan()
    names(p)
    assert not p.crashed("random-1", again=False) and statuses(p)["random-1"] == "failed" and p.failed_search is None
    p.done("search-0", search_value(p.settings))
    names(p)
    for name in ("random-2", "found-0-1", "found-0-2"):
        p.done(name, stand_alone_value(90))
    assert p.finished, "a failed random architecture does not fail the experiment"


def test_remaining_counts_what_a_failed_search_will_not_find() -> None:
    p = plan()
    assert p.remaining == 5
    names(p)
    assert p.remaining == 2
    p.crashed("search-0", again=True)
    assert p.remaining == 3
    names(p)
    p.crashed("search-0", again=True)
    assert p.remaining == 0


def test_a_second_result_changes_nothing() -> None:
    p = plan()
    names(p)
    p.done("search-0", search_value(p.settings))
    p.done("random-1", stand_alone_value(80))
    before = json.dumps(p.state())
    p.done("search-0", search_value(p.settings, found=1))
    p.done("random-1", stand_alone_value(10))
    assert not p.crashed("random-1", again=True)
    p.release("random-1")
    assert json.dumps(p.state()) == before


def test_a_result_after_a_failure_counts() -> None:
    p = plan()
    names(p)
    p.crashed("random-1", again=False)
    p.done("random-1", stand_alone_value(80))
    assert statuses(p)["random-1"] == "done"


def test_state_survives_json() -> None:
    p = plan(seeds=[0, 1])
    names(p)
    p.done("search-1", search_value(p.settings, 1))
    p.next()
    p.crashed("random-1", again=True)
    state = json.loads(json.dumps(p.state()))
    again = Plan(p.settings)
    again.restore(state)
    assert again.jobs == p.jobs and again.state() == p.state()
    assert statuses(again)["search-0"] == "running", "NNI runs an interrupted trial again by itself"
    assert names(again) == names(p) == ["found-1-2", "random-1"]


def test_released_jobs_come_again() -> None:
    p = plan()
    names(p)
    p.release("search-0")
    assert names(p) == ["search-0"]


def test_random_architectures_depend_on_seed_and_number_alone() -> None:
    drawn = random_architectures(settings(random=60))
    assert len(set(drawn)) == 60
    assert (
        drawn
        == random_architectures(settings(random=60, seeds=[5], found=3))
        != random_architectures(settings(random=60, random_seed=1))
    )
    assert len(set(random_architectures(settings(random=125)))) == 125
    with pytest.raises(ConfigError, match="126 distinct architectures are wanted"):
        Plan(settings(random=126))


def test_parameters_are_the_portals_axes_and_the_job() -> None:
    p = plan()
    p.done("search-0", search_value(p.settings))
    for job in p.jobs.values():
        parameters, axes = p.parameters(job), search_space(p.settings)
        assert list(parameters) == [*axes, "trial"]
        assert all(parameters[label] in axis["_value"] for label, axis in axes.items()), (
            "every value has its place on the axis"
        )
        assert parameters["trial"]["job"] == job.name
    search = p.parameters(p.jobs["search-0"])
    assert {search[label] for label in p.settings.search_space.labels} == {"all"}


def test_random_search() -> None:
    experiment = check(RandomSearchExperiment, arguments("randomsearch", random=3))
    p = Plan(experiment)
    assert names(p) == ["random-1", "random-2", "random-3"] and expected_trials(experiment) == 3
    assert all("all" not in axis["_value"] for axis in search_space(experiment).values())


def test_without_stand_alone_training_what_is_found_is_listed() -> None:
    p = plan(stand_alone=None, random=0, seeds=[0, 1], found=3)
    assert expected_trials(p.settings) == p.remaining == 2
    assert names(p) == ["search-0", "search-1"]
    p.crashed("search-1", again=True)
    assert p.remaining == 1 and names(p) == ["search-1"]
    p.done("search-0", search_value(p.settings, 0))
    assert not p.finished and p.remaining == 0 and p.next() is None
    p.done("search-1", search_value(p.settings, 1))
    assert p.finished and [job.status for job in p.jobs.values()] == ["done"] * 2 + ["listed"] * 6
    again = Plan(p.settings)
    again.restore(json.loads(json.dumps(p.state())))
    assert again.finished and again.jobs == p.jobs
