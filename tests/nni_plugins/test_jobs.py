"""The plan as a state machine, by hand."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.search import SearchExperiment

from .small import evaluation_value, experiment, search_value, stand_alone


def planned(tuner: str = "rlnas", **changes: Any) -> tuple[SearchExperiment, Plan]:
    searched = experiment(
        tuner, **{"random": 2, "random_seed": 4, "retries": 1, **({"found": 2} if tuner == "rlnas" else {}), **changes}
    )
    return searched, Plan(searched)


def names(plan: Plan) -> list[str]:
    """Everything that can be handed out now."""
    given = []
    while (job := plan.next()) is not None:
        given.append(job.name)
    return given


def statuses(plan: Plan) -> dict[str, str]:
    return {name: job.status for name, job in plan.jobs.items()}


def evaluated(*jobs: str) -> list[str]:
    return [f"stand_alone-{job}" for job in jobs]


def test_order_search_then_found_then_random() -> None:
    e, p = planned()
    first = p.next()
    assert first is not None and (first.name, first.phase, first.status) == ("search-0", "search", "running")
    p.done("search-0", search_value(e))
    wanted = evaluated("found-0-1", "found-0-2", "random-1", "random-2")
    assert names(p) == wanted
    assert p.next() is None and p.remaining == 0 and not p.finished
    for i, name in enumerate(wanted):
        p.done(name, evaluation_value(90 + i))
    assert p.finished and p.fatal is None
    assert p.jobs["stand_alone-random-2"].value["accuracy"] == 93


def test_random_ones_fill_the_time_of_the_search() -> None:
    assert names(planned()[1]) == ["search-0", *evaluated("random-1", "random-2")]


def test_found_jobs_come_in_the_order_of_their_rank() -> None:
    e, p = planned(found=3)
    value = search_value(e)
    p.done("search-0", value)
    found = [job for job in p.jobs.values() if job.source == "found"]
    assert [(job.choices, job.score) for job in found] == [(f["choices"], f["score"]) for f in value["result"]["found"]]
    assert [(job.score, job.rank) for job in found] == [(1.5, 1), (1.4, 2), (1.3, 3)]


def test_two_seeds() -> None:
    e, p = planned(seeds=[0, 3], random=1)
    assert p.remaining == 2 + 2 * 2 + 1 == e.trials
    assert names(p) == ["search-0", "search-3", "stand_alone-random-1"] and p.remaining == 4
    p.done("search-3", search_value(e, 3))
    assert names(p) == evaluated("found-3-1", "found-3-2") and p.remaining == 2
    p.done("search-0", search_value(e, 0))
    assert names(p) == evaluated("found-0-1", "found-0-2") and p.remaining == 0
    assert [p.jobs[f"stand_alone-found-{seed}-1"].seed for seed in (0, 3)] == [0, 3]


def test_several_evaluations_each_with_baselines() -> None:
    evaluations = {
        "looked_up": {"evaluator": "table"},
        "again": stand_alone(found=1, baselines=False),
    }
    space = {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1}
    baselines = ["largest_parameters", "largest_macs"]
    e, p = planned(evaluations=evaluations, space=space, baselines=baselines)
    assert e.phases == ("search", "looked_up", "again") and e.trials == 1 + (2 + 2 + 2) + (1 + 2)
    assert p.remaining == e.trials
    p.next()
    p.done("search-0", search_value(e))
    handed = names(p)
    assert handed[:2] == ["looked_up-found-0-1", "looked_up-found-0-2"]
    largest = p.jobs["looked_up-largest_parameters"]
    assert largest.source == "largest_parameters" and set((largest.choices or {}).values()) == {"nor_conv_3x3"}
    assert {name for name in handed if name.startswith("again")} == {
        "again-found-0-1",
        "again-random-1",
        "again-random-2",
    }


def test_equal_work_is_done_once() -> None:
    """The same architecture, found by two searches or drawn too, is evaluated once; the second takes the value over."""
    e, p = planned(seeds=[0, 1], random=0, found=1)
    value = search_value(e)
    names(p)
    p.done("search-0", value)
    p.done("search-1", value)
    assert names(p) == evaluated("found-0-1"), "the other waits for it"
    assert p.known(p.jobs["stand_alone-found-1-1"]) is None
    p.done("stand_alone-found-0-1", evaluation_value(80))
    assert names(p) == evaluated("found-1-1")
    known = p.known(p.jobs["stand_alone-found-1-1"])
    assert known is not None and known["default"] == 80 and known["result"]["reused"] is True
    assert p.jobs["stand_alone-found-0-1"].value["result"]["reused"] is False


def test_a_crash_is_retried_so_many_times() -> None:
    _, p = planned(retries=2)
    for crash in (1, 2, 3):
        given = p.next()
        assert given is not None and given.name == "search-0"
        assert p.crashed("search-0", again=True) == (crash < 3)
        assert p.jobs["search-0"].crashes == crash
    assert p.fatal is p.jobs["search-0"] and statuses(p)["search-0"] == "failed"
    assert names(p) == evaluated("random-1", "random-2"), "what needs no search goes on"
    assert p.crashed("search-0", again=True) is False and p.jobs["search-0"].crashes == 3, "its end may be told twice"


def test_a_cancelled_job_is_not_retried() -> None:
    e, p = planned()
    names(p)
    assert not p.crashed("stand_alone-random-1", again=False) and p.fatal is None
    assert statuses(p)["stand_alone-random-1"] == "failed"
    p.done("search-0", search_value(e))
    names(p)
    for name in evaluated("random-2", "found-0-1", "found-0-2"):
        p.done(name, evaluation_value(90))
    assert p.finished, "a failed random architecture does not fail the experiment"


def test_remaining_counts_what_a_failed_search_will_not_find() -> None:
    _, p = planned()
    assert p.remaining == 5
    names(p)
    assert p.remaining == 2
    p.crashed("search-0", again=True)
    assert p.remaining == 3
    names(p)
    p.crashed("search-0", again=True)
    assert p.remaining == 0


def test_a_second_result_changes_nothing() -> None:
    e, p = planned()
    names(p)
    p.done("search-0", search_value(e))
    p.done("stand_alone-random-1", evaluation_value(80))
    before = copy.deepcopy(p.jobs)
    p.done("search-0", search_value(e, found=1))
    p.done("stand_alone-random-1", evaluation_value(10))
    assert not p.crashed("stand_alone-random-1", again=True)
    p.release("stand_alone-random-1")
    assert p.jobs == before


def test_a_result_after_a_failure_counts() -> None:
    _, p = planned()
    names(p)
    p.crashed("stand_alone-random-1", again=False)
    p.done("stand_alone-random-1", evaluation_value(80))
    assert statuses(p)["stand_alone-random-1"] == "done"


def test_a_journal_of_what_changed_makes_the_same_plan() -> None:
    e, p = planned(seeds=[0, 1])
    journal = [p.entry(name) for name in names(p)]
    p.done("search-1", search_value(e, 1))
    journal.append(p.entry("search-1"))
    given = p.next()
    assert given is not None and given.name == "stand_alone-found-1-1"
    journal.append(p.entry(given.name))
    p.crashed("stand_alone-random-1", again=True)
    journal.append(p.entry("stand_alone-random-1"))
    again = Plan(e)
    for entry in json.loads(json.dumps(journal)):
        again.replay(entry)
    assert again.jobs == p.jobs and again.remaining == p.remaining == 2 + 1 + 1
    assert statuses(again)["search-0"] == "running", "NNI runs an interrupted trial again by itself"
    assert sorted(again.running) == sorted(p.running) == ["search-0", *evaluated("found-1-1", "random-2")]
    assert names(again) == names(p) == evaluated("found-1-2", "random-1")
    with pytest.raises(KeyError):
        again.replay({"job": "search-7", "status": "running", "crashes": 0})


def test_what_may_have_been_mended_is_tried_again() -> None:
    """When the experiment is resumed: what crashed too often, and whatever there is no result without."""
    _, p = planned(retries=0)
    names(p)
    for name, again in (
        ("search-0", False),
        *((name, i == 0) for i, name in enumerate(evaluated("random-1", "random-2"))),
    ):
        p.crashed(name, again=again)
    assert [job.name for job in p.try_again()] == ["search-0", *evaluated("random-1")]
    assert statuses(p)["stand_alone-random-2"] == "failed", "the user cancelled it"
    assert p.fatal is None and names(p) == ["search-0", *evaluated("random-1")]
    assert p.crashed("search-0", again=True) is False and p.jobs["search-0"].crashes == 1


def test_what_is_set_aside_waits_again() -> None:
    _, p = planned()
    given = p.next()
    assert given is not None
    p.set_aside(given)
    assert not p.finished and p.ready and names(p) == evaluated("random-1", "random-2") and not p.ready
    p.take_back(given)
    assert p.ready and names(p) == ["search-0"]


def test_released_jobs_come_again() -> None:
    _, p = planned()
    names(p)
    p.release("search-0")
    assert names(p) == ["search-0"]


def test_random_architectures_depend_on_seed_and_number_alone() -> None:
    def drawn(**changes: Any) -> list[dict[str, str]]:
        return experiment(random=60, **changes).random_architectures

    assert len({tuple(sorted(choices.items())) for choices in drawn()}) == 60
    assert drawn() == drawn(seeds=[5], found=3) != drawn(random_seed=1)
    with pytest.raises(ConfigError, match="126 distinct architectures are wanted"):
        Plan(experiment(random=126))


def test_parameters_are_places_on_the_portals_axes() -> None:
    e, p = planned(baselines=["largest_parameters", "resnet18"])
    p.done("search-0", search_value(e))
    axes = e.axes()
    for job in p.jobs.values():
        parameters = e.parameters(job)
        assert list(parameters) == list(axes)
        assert all(parameters[label] in axis["_value"] for label, axis in axes.items()), "every value has its place"
    search = e.parameters(p.jobs["search-0"])
    assert {search[label] for label in e.settings.search_space.labels} == {"all"}


def test_without_evaluations_the_search_is_all() -> None:
    e, p = planned(evaluations={}, random=0, seeds=[0, 1], found=3)
    assert e.trials == p.remaining == 2
    assert names(p) == ["search-0", "search-1"]
    p.crashed("search-1", again=True)
    assert p.remaining == 1 and names(p) == ["search-1"]
    p.done("search-0", search_value(e, 0))
    assert not p.finished and p.remaining == 0 and p.next() is None
    p.done("search-1", search_value(e, 1))
    assert p.finished and list(p.jobs) == ["search-0", "search-1"]
