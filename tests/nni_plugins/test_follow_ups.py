"""What follows a search: retraining and transfer of what was found, beside random architectures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.cli.report import result_table
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.file import resolve_paths
from nni_plugins.experiment.plan import Plan
from nni_plugins.experiment.run import run_experiment
from nni_plugins.experiment.scores import outcome
from nni_plugins.portal.axes import expected_trials, search_space

from .small import search_value, settings

RETRAIN = {"task": "retraining", "recipe": "digits", "data": "digits", "found": 2, "random": 1}
DETECT = {"task": "detection", "recipe": "retinanet_small", "data": "/nowhere/boxes", "random": 0}


def plan() -> Plan:
    return Plan(settings(found=2, random=2, follow_ups={"digits": RETRAIN, "boxes": DETECT}))


def test_the_plan_adds_the_first_of_each() -> None:
    p = plan()
    assert (p.remaining, expected_trials(p.settings)) == (1 + 2 + 2 + 3 + 1, 1 + 2 + 2 + 3 + 1)
    first = p.next()
    assert first is not None and first.name == "search-0"
    value = search_value(p.settings)
    p.done("search-0", value)
    given = []
    while (job := p.next()) is not None:
        given.append(job)
    names = [
        "found-0-1",
        "found-0-2",
        "random-1",
        "random-2",
        "digits-random-1",
        "digits-found-0-1",
        "digits-found-0-2",
        "boxes-found-0-1",
    ]
    assert [job.name for job in given] == names and p.remaining == 0 and not p.finished
    jobs = p.jobs
    assert (
        jobs["digits-random-1"].choices == jobs["random-1"].choices
        and jobs["boxes-found-0-1"].choices == jobs["found-0-1"].choices
    )
    assert p.parameters(jobs["boxes-found-0-1"])["phase"] == "boxes"
    again = plan()
    again.restore(json.loads(json.dumps(p.state())))
    assert again.jobs == p.jobs
    assert p.crashed("boxes-found-0-1", again=False) is False and p.failed_search is None, (
        "the rest of the experiment goes on"
    )


def test_the_portal_has_their_names_on_its_axis() -> None:
    assert search_space(plan().settings)["phase"]["_value"] == ["search", "found", "random", "digits", "boxes"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "didgits"}, "didgits"),
        ({"task": "detection", "recipe": "deeplabv3_small"}, "is for segmentation, not for detection"),
        ({"changes": {"optimizer.learningrate": 1}}, "optimizer.learningrate"),
        ({"found": 3}, "follow_ups.mine.found: 3 of each search, but found is 2"),
        ({"random": 3}, "follow_ups.mine.random: 3 architectures, but random is 2"),
        (
            {"task": "detection", "recipe": "retinanet_coco_1x"},
            "starts from a trained backbone, which follow-ups do not have",
        ),
        ({"found": 0, "random": 0}, r"found \+ random must be at least 1"),
        ({"task": "pose"}, "'retraining', 'detection' or 'segmentation'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(found=2, random=2, follow_ups={"mine": {**RETRAIN, **changes}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "/nowhere"}, "follow_ups.mine would fail after the search: "),
        ({"recipe": "darts_cifar10"}, "follow_ups.mine would fail after the search: .*input.size, which is 32"),
        ({**DETECT, "random": 1}, "follow_ups.mine would fail after the search: "),
    ],
)
def test_what_would_fail_after_the_search_fails_before_it(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    mine = settings(found=2, random=2, follow_ups={"mine": {**RETRAIN, **changes}})
    with pytest.raises(ConfigError, match=message):
        run_experiment(mine, tmp_path)
    assert not (tmp_path / "search-0").exists()


@pytest.mark.parametrize("name", ["search", "Mine", "a/b", ""])
def test_names_that_cannot_stand_on_an_axis(name: str) -> None:
    with pytest.raises(ConfigError, match="a name is made of"):
        settings(found=2, random=2, follow_ups={name: RETRAIN})


def test_their_data_lies_relative_to_the_file(tmp_path: Path) -> None:
    resolved = resolve_paths({"follow_ups": {"a": {**DETECT, "data": "boxes"}, "b": RETRAIN}}, tmp_path)
    assert (
        resolved["follow_ups"]["a"]["data"] == str(tmp_path / "boxes")
        and resolved["follow_ups"]["b"]["data"] == "digits"
    )


def test_a_whole_experiment(tmp_path: Path) -> None:
    """A search, stand-alone trainings, and retrainings, in this process; a second call trains nothing."""
    follow = {**RETRAIN, "found": 1, "changes": {"epochs": 2, "schedule.warmup_epochs": 0}}
    mine = settings(found=1, random=1, follow_ups={"digits": follow})
    seen: list[str] = []
    result = run_experiment(
        mine, tmp_path, lambda job, row: seen.append(f"{job.name} {outcome(job.value)}") if row is None else None
    )
    assert [line.split()[0] for line in seen] == [
        "search-0",
        "found-0-1",
        "random-1",
        "digits-random-1",
        "digits-found-0-1",
    ]
    assert seen[-1].endswith("% top-1") and len(result["architectures"]) == 2
    entry = result["follow_ups"]["digits"]
    assert (entry["task"], entry["metric"], entry["recipe"]) == ("retraining", "top1", "digits")
    rows = {row["job"]: row for row in entry["rows"]}
    assert {row["source"] for row in entry["rows"]} == {"found", "random"}
    assert [row["value"] for row in entry["rows"]] == sorted((row["value"] for row in entry["rows"]), reverse=True)
    assert rows["digits-found-0-1"]["choices"] == next(
        row["choices"] for row in result["architectures"] if row["source"] == "found"
    )
    written = json.loads((tmp_path / "digits-found-0-1" / "result.json").read_text())
    assert (
        written["top1"] == rows["digits-found-0-1"]["value"] == rows["digits-found-0-1"]["measured"]["top1"]
        and len(written["history"]) == 2
    )
    from rich.console import Console

    console = Console(width=120, record=True, file=open("/dev/null", "w"))
    console.print(result_table(result))
    text = console.export_text()
    assert "digits: retraining by digits" in text and f"{written['top1']:.2f}" in text
    assert run_experiment(mine, tmp_path)["follow_ups"] == result["follow_ups"]
