"""What is proposed for a folder, by closed-form times."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.auto.look import Found, Judge
from nni_plugins.auto.plan import LEAST_EPOCHS, REPEATS, SHARE, Proposal, Request, propose
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.processes import cores
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.spaces.registry import build_space
from nni_plugins.strategies.largest import largest
from nni_plugins.strategies.limits import Limits


def found(judge: Judge, side: int = 32, images: int = 1000) -> Found:
    """A folder that is none."""
    size = (side, side)
    parts = {"train": images} if judge == "nothing" else {"train": images, "val": 100}
    return Found(Path("/images"), Path("/images"), judge, parts, (), size, size, size, ("a", "b"))


def proposal(one: Found, seconds: float = 1e-4, **wishes: Any) -> Proposal:
    """Where a step of any network takes ``seconds`` an image, whatever it is made into."""
    return propose(one, Request(path=one.path, **wishes), lambda *_: seconds, Path("latency.csv"))


@pytest.mark.parametrize(
    ("judge", "evaluator", "objective"),
    [
        ("labels", "stand_alone", "supervised"),
        ("nothing", "stand_alone", "rotation"),
        ("masks", "stand_alone", "segmentation"),
        ("boxes", "detection", None),
    ],
)
def test_each_kind_of_folder_is_judged_by_what_it_has(judge: Judge, evaluator: str, objective: str | None) -> None:
    proposed = proposal(found(judge, side=64))
    evaluations = proposed.arguments["evaluations"]
    assert len(evaluations) == REPEATS
    assert len({one["seed"] for one in evaluations.values()}) == REPEATS
    assert [one["random"] for one in evaluations.values()][1:] == [0] * (REPEATS - 1)
    for one in evaluations.values():
        assert one["evaluator"] == evaluator
        assert one.get("objective", {}).get("name") == objective
    assert load_experiment(proposed.tuner, proposed.arguments).trials > 0


@pytest.mark.parametrize("pretext", ["rotation", "colorization", "jigsaw"])
def test_the_pretext_task_is_a_choice(pretext: str) -> None:
    proposed = proposal(found("nothing", side=64), pretext=pretext)
    for one in proposed.arguments["evaluations"].values():
        assert one["objective"]["name"] == pretext
    assert f"--pretext {pretext}" not in proposed.harder and proposed.harder.count("--pretext") == 2
    assert load_experiment(proposed.tuner, proposed.arguments).trials > 0
    assert proposal(found("labels"), pretext=pretext).arguments == proposal(found("labels")).arguments


def test_a_folder_without_a_test_part_gives_one_up() -> None:
    assert proposal(found("nothing")).arguments["data"]["held_out"] == 0.2
    assert "held_out" not in proposal(found("labels")).arguments["data"]


@pytest.mark.parametrize(("side", "space"), [(32, "nasbench201"), (48, "nasbench201"), (64, "darts"), (500, "darts")])
def test_space_by_size_of_images(side: int, space: str) -> None:
    assert proposal(found("labels", side)).arguments["space"]["name"] == space


def test_the_default_limit_is_half_of_the_largest() -> None:
    arguments = proposal(found("labels")).arguments
    space = build_space(arguments["space"])
    whole = space.cost_table(32)(space.encode([largest(space, "largest_macs", Limits())]))
    assert arguments["limits"] == {"max_macs": int(whole.macs[0]) // 2, "image_size": 32}


def test_limits_that_are_asked_for() -> None:
    limits = proposal(found("labels"), max_parameters=100_000).arguments["limits"]
    assert limits == {"max_parameters": 100_000, "image_size": 32}


def test_limits_that_nothing_meets() -> None:
    with pytest.raises(ConfigError, match="no architecture"):
        proposal(found("labels"), max_parameters=1)


def test_slower_machines_get_smaller_networks() -> None:
    def cells(seconds: float) -> tuple[int, int]:
        space = proposal(found("labels", images=5000), seconds).arguments["space"]
        return space["channels"], space["cells_per_stage"]

    assert cells(1e-5) == (16, 5)
    assert cells(0.005) == (8, 1)


def test_trainings_fit_the_minutes() -> None:
    one, seconds = found("labels", images=20_000), 1e-3
    for minutes in (5, 15, 60):
        proposed = proposal(one, seconds, minutes=minutes)
        evaluation = proposed.arguments["evaluations"]["measured"]
        images = evaluation["data"]["limit"] if "data" in evaluation else one.training_images
        trained = evaluation["training"]["epochs"] * images * seconds
        trainings = 2 * REPEATS + proposed.arguments["random"]
        assert trained * trainings / cores() < 60 * minutes * SHARE
        told = re.fullmatch(r"Time: about (\d+) minutes, .*", proposed.reasons[-1])
        assert told is not None and 0.5 * minutes <= int(told[1]) <= minutes


def test_too_little_time_names_the_least() -> None:
    one, seconds = found("labels"), 0.05
    with pytest.raises(ConfigError, match="minutes are too short") as caught:
        proposal(one, seconds, minutes=0.5)
    least = int(str(caught.value.remedy).split()[-1].rstrip("."))
    evaluation = proposal(one, seconds, minutes=least).arguments["evaluations"]["measured"]
    assert evaluation["training"]["epochs"] >= LEAST_EPOCHS
    with pytest.raises(ConfigError, match="minutes are too short"):
        proposal(one, seconds, minutes=least - 2)


def test_networks_beside() -> None:
    arguments = proposal(found("labels"), beside=("resnet18",)).arguments
    assert arguments["baselines"] == ["largest_parameters", "resnet18"]
