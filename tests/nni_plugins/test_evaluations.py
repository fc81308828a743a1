"""Several evaluations of one experiment: stand-alone training, retraining and transfer of what was found, beside random
architectures and baselines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nni_plugins.cli.report import result_table
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.report import sentences
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.origins.origin import origin
from nni_plugins.spaces.errors import NNIPluginsError

from .small import evaluation_value, experiment, search_value, stand_alone

RETRAIN = {"evaluator": "retrain", "recipe": "digits", "data": "digits", "found": 2, "random": 1}
DETECT = {"evaluator": "detection", "recipe": "retinanet_small", "data": "/nowhere/boxes", "found": 1, "random": 0}
THREE = {"stand_alone": stand_alone(), "digits": RETRAIN, "boxes": DETECT}


def test_the_plan_has_the_first_of_each() -> None:
    e = experiment(found=2, random=2, random_seed=4, evaluations=THREE, baselines=["largest_macs"])
    p = Plan(e)
    assert (p.remaining, e.trials) == (1 + 2 + 2 + 3 + 1 + 3, 1 + 2 + 2 + 3 + 1 + 3)
    first = p.next()
    assert first is not None and first.name == "search-0"
    p.done("search-0", search_value(e))
    given = []
    while (job := p.next()) is not None:
        given.append(job)
    assert [job.name for job in given] == [
        "stand_alone-found-0-1",
        "stand_alone-found-0-2",
        "stand_alone-random-1",
        "stand_alone-random-2",
        "stand_alone-largest_macs",
        "digits-found-0-1",
        "digits-found-0-2",
        "digits-random-1",
        "digits-largest_macs",
        "boxes-found-0-1",
        "boxes-largest_macs",
    ]
    assert p.remaining == 0 and not p.finished
    jobs = p.jobs
    assert (
        jobs["digits-random-1"].choices == jobs["stand_alone-random-1"].choices
        and jobs["boxes-found-0-1"].choices == jobs["stand_alone-found-0-1"].choices
        and jobs["boxes-largest_macs"].choices == jobs["digits-largest_macs"].choices
    )
    assert e.parameters(jobs["boxes-found-0-1"])["phase"] == "boxes"
    again = Plan(e)
    for name in p.jobs:
        again.replay(json.loads(json.dumps(p.entry(name))))
    assert again.jobs == p.jobs
    assert p.crashed("boxes-found-0-1", again=False) is False and p.fatal is None, "the rest of the experiment goes on"


def test_the_portal_has_their_names_on_its_axis() -> None:
    axes = experiment(found=2, random=2, evaluations=THREE).axes()
    assert axes["phase"]["_value"] == ["search", "stand_alone", "digits", "boxes"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "didgits"}, "didgits"),
        ({**DETECT, "recipe": "deeplabv3_small"}, "is for segmentation, not for detection"),
        ({"changes": {"optimizer.learningrate": 1}}, "optimizer.learningrate"),
        ({"found": 3}, "evaluations.mine.found: 3 architectures, but found is 2"),
        ({"random": 3}, "evaluations.mine.random: 3 architectures, but random is 2"),
        ({**DETECT, "recipe": "retinanet_coco_1x"}, "starts from a trained backbone, which evaluations do not have"),
        ({"evaluator": "pose"}, "evaluator: unknown 'pose'; "),
        ({"evaluator": "detectoin"}, "evaluator: unknown 'detectoin'; did you mean 'detection'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(found=2, random=2, evaluations={"mine": {**RETRAIN, **changes}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "/nowhere"}, "evaluations.mine would fail after the search: "),
        ({"recipe": "darts_cifar10"}, "evaluations.mine would fail after the search: .*input.size, which is 32"),
        ({**DETECT, "random": 1}, "evaluations.mine would fail after the search: "),
    ],
)
def test_what_would_fail_after_the_search_fails_before_it(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    mine = experiment(found=2, random=2, evaluations={"mine": {**RETRAIN, **changes}})
    with pytest.raises(NNIPluginsError, match=message):
        run_experiment(mine, tmp_path)
    assert not (tmp_path / "search-0").exists()


@pytest.mark.parametrize("name", ["search", "found", "random", "all", "Mine", "a/b", ""])
def test_names_that_cannot_stand_on_an_axis(name: str) -> None:
    with pytest.raises(ConfigError, match="a name is made of"):
        experiment(found=2, random=2, evaluations={name: RETRAIN})


def test_a_whole_experiment(tmp_path: Path) -> None:
    """A search, stand-alone trainings, and retrainings, in this process; a second call trains nothing."""
    follow = {**RETRAIN, "found": 1, "changes": {"epochs": 2, "schedule.warmup_epochs": 0}}
    mine = experiment(evaluations={"stand_alone": stand_alone(), "digits": follow}, baselines=["largest_parameters"])
    seen: list[str] = []
    result = run_experiment(
        mine,
        tmp_path,
        lambda job, row, plan: seen.append(f"{job.name} {mine.outcome(job)}") if row is None else None,
    )
    assert [line.split()[0] for line in seen] == [
        "search-0",
        "stand_alone-found-0-1",
        "stand_alone-random-1",
        "stand_alone-largest_parameters",
        "digits-found-0-1",
        "digits-random-1",
        "digits-largest_parameters",
    ]
    assert seen[-1].endswith("% top1") and len(result["architectures"]) == 3
    entry = result["evaluations"]["digits"]
    assert (entry["evaluator"], entry["metric"], entry["unit"]) == ("retrain", "top1", "%")
    rows = {row["source"]: row for row in result["architectures"]}
    assert set(rows) == {"found", "random", "largest_parameters"}
    values = {source: row["evaluations"]["digits"]["value"] for source, row in rows.items()}
    assert entry["mean"] == {source: values[source] for source in ("found", "random")}
    assert entry["baselines"] == {"largest_parameters": values["largest_parameters"]}
    first = [row["evaluations"]["stand_alone"]["validation"] for row in result["architectures"]]
    assert first == sorted(first, reverse=True), "the first evaluation's validation decides which is best"
    assert entry["validated"] is False and rows["found"]["evaluations"]["digits"]["validation"] is None
    lines = (tmp_path / "digits-found-0-1" / "training" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[-1])["top1"] == pytest.approx(values["found"])
    console = Console(width=160, record=True, file=open("/dev/null", "w"))
    console.print(result_table(result))
    text = console.export_text()
    assert "digits: top1" in text and f"{values['found']:.2f}" in text
    assert run_experiment(mine, tmp_path)["evaluations"] == result["evaluations"]


@pytest.mark.parametrize("validation", [True, False])
def test_the_best_is_never_chosen_by_what_is_reported(validation: bool, tmp_path: Path) -> None:
    """The accuracy on the test images orders the found cells as their scores do not, and the validation otherwise."""
    given = stand_alone(validation=0.2 if validation else 0)
    e = experiment(found=3, random=0, evaluations={"stand_alone": given})
    plan = Plan(e)
    plan.done("search-0", search_value(e))
    for place, name in enumerate(job for job in list(plan.jobs) if job.startswith("stand_alone-found")):
        value = evaluation_value(80.0 + place)
        value["result"]["validation"] = [70.0, 72.0, 71.0][place] if validation else None
        plan.done(name, value)
    result = e.conclude(plan, tmp_path)
    assert [row["rank"] for row in result["architectures"]] == ([2, 3, 1] if validation else [1, 2, 3])
    assert result["evaluations"]["stand_alone"]["validated"] is validation
    said = "is chosen by the validation of stand_alone" if validation else "the best is the one with the largest angle"
    assert any(said in line for line in sentences(result))
    assert origin(str(tmp_path)).about["validation"] == (72.0 if validation else None)
