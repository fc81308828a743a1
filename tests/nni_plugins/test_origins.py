"""Where a network comes from: names, texts, files, searches, comparisons, retrainings, transfers, NNI experiments."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from nni_plugins.cli.retrain_report import ALONE, beside
from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.retraining.recipes import recipe
from nni_plugins.evaluators.retraining.settings import PictureSettings
from nni_plugins.evaluators.subjects.subject import Subject
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.experiment.search import SearchExperiment
from nni_plugins.origins.origin import origin
from nni_plugins.requests.retrain import RetrainRequest
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.published import published

from .small import CELL, OTHER, experiment, load, value_of

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
COUNTS = {"found": 6, "random": 2, "largest_parameters": 1, "resnet18": 1}
"""How many architectures of each source the search has."""


def finished(searched: SearchExperiment, folder: Path) -> dict[str, Any]:
    """``result.json`` of a search whose jobs reported pretended values."""
    plan = Plan(searched)
    while (job := plan.next()) is not None:
        plan.done(job.name, value_of(searched, plan, job.name))
    return searched.conclude(plan, folder)


@pytest.fixture(scope="module", autouse=True)
def no_pictures() -> Iterator[None]:
    """Reports take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nni_plugins.experiment.report.write_search_report", lambda *given: None)
        patch.setattr(
            "nni_plugins.evaluators.reports.comparison.report.write_analysis", lambda *given: {"report.html": ""}
        )
        yield


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    finished(experiment(found=3, random=2, seeds=[0, 1], baselines=["largest_parameters", "resnet18"]), folder)
    return folder


def compare(folder: Path, **table: Any) -> Path:
    given = {
        "space": {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1},
        "seeds": [0, 1],
        "evaluations": {
            "looked_up": {"evaluator": "table", "metric": "accuracy_seed0", "test_metric": "accuracy", **table}
        },
        "policies": {"best-of-4": {"strategy": "BestOfRandom", "search": {"queries": 4}}},
        "report": {"resamples": 1000},
    }
    run_experiment(load_experiment("compare", given), folder)
    return folder


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compare(tmp_path_factory.mktemp("comparison"))


def choices(text: str, **options: Any) -> dict[str, str]:
    architecture = origin(text, **options).subject.architecture
    assert architecture is not None
    return architecture.as_dict()


# -- names, texts, files -----------------------------------------------------------------------------------------------
def test_names_and_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, entry = origin("darts_v2"), published("darts_v2")
    assert ours.subject == Subject("darts_v2", entry.space, entry.architecture)
    assert ours.about["kind"] == "published" and "Liu et al." in ours.about["source"]
    assert origin("resnet18").subject == Subject("resnet18", None, None)
    assert origin("resnet18").about == {"kind": "timm", "name": "resnet18"}
    text = origin(f" {CELL} ", None, {"nodes": 3})
    assert text.subject.text == CELL and text.about == {"kind": "text"}
    (tmp_path / "x.json").write_text(json.dumps(SPACE.parse(CELL).as_dict()))
    file = origin(str(tmp_path / "x.json"), "nasbench201", {"nodes": 3})
    assert file.subject == text.subject and file.about == {"kind": "file", "file": str(tmp_path / "x.json")}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "darts_v2").mkdir()
    assert origin("darts_v2").about["kind"] == "published", "a folder of that name does not hide it"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("resnet18", {"job": "x"}, "resnet18 is one architecture, but got --job x"),
        (CELL, {"rank": 2}, "is one architecture, but got --rank 2"),
        ("resnet18", {"arguments": {"channels": 3}}, "resnet18 is a model of timm's and has no space of ours"),
        ("darts_v2", {"space": "nao"}, "darts_v2 is of the space 'darts', but the space given is 'nao'"),
    ],
)
def test_what_does_not_go_with_one(text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        origin(text, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema": 1, "strategy": "X", "architectures": [], "settings": {}}, "has schema 1; this version reads 2"),
        ({"schema": 2, "strategy": "X", "architectures": [{}], "settings": {}}, "is damaged: KeyError"),
        ({"statistics": None, "missing": [], "folder": ""}, r"there is no config\.json"),
        ({"network": {"space": 3}, "recipe": "", "history": []}, "is damaged: KeyError 'weights'"),
        ({"network": {"space": 3}, "recipe": "", "history": [], "weights": "a"}, "its description is damaged"),
        ({"task": "detection", "backbone": {}, "architecture": CELL}, "is damaged: KeyError"),
    ],
)
def test_damaged_results(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    write_json(tmp_path / "x.json", content)
    with pytest.raises((ConfigError, CheckpointError), match=message):
        origin(str(tmp_path / "x.json"))


# -- searches ----------------------------------------------------------------------------------------------------------
def test_the_best_of_a_search(search: Path) -> None:
    rows = load(search / "result.json")["architectures"]
    values = [(row["evaluations"]["stand_alone"]["value"], row) for row in rows if row["source"] == "found"]
    ordered = sorted(values, key=lambda pair: -pair[0])
    assert len(ordered) == 6
    for given in (search, search / "result.json"):
        best = origin(str(given))
        assert choices(str(given)) == ordered[0][1]["choices"] and best.about["value"] == ordered[0][0]
        assert best.subject.space == SPACE, "channels: 4, as it was searched"
    about = origin(str(search), rank=4).about
    assert (about["kind"], about["strategy"], about["searches"]) == ("search", "RLNAS", 2)
    assert (about["rank"], about["value"], about["group"]) == (4, ordered[3][0], "found")
    assert about["metric"] == {"name": "accuracy", "unit": "%"} and about["random"] == "random"
    assert about["means"]["found"] == {"mean": pytest.approx(sum(v for v, _ in values) / 6), "count": 6}
    assert set(about["means"]) == {"found", "random", "largest_parameters", "resnet18"}
    assert origin(str(search), None, {"channels": 16}).subject.space == NASBench201(3, channels=16, cells_per_stage=1)


def test_jobs_and_sources_of_a_search(search: Path) -> None:
    rows = load(search / "result.json")["architectures"]
    second = next(row for row in rows if row["evaluations"]["stand_alone"]["job"] == "stand_alone-random-2")
    assert choices(str(search), job="stand_alone-random-2") == second["choices"]
    drawn = sorted((row for row in rows if row["source"] == "random"), key=lambda row: -value(row))
    for rank, row in enumerate(drawn, start=1):
        about = origin(str(search), job="random", rank=rank).about
        assert (about["group"], about["rank"], about["value"]) == ("random", rank, value(row))
    largest = next(row for row in rows if row["source"] == "largest_parameters")
    assert choices(str(search), job="largest_parameters") == largest["choices"]
    assert origin(str(search), job="resnet18").subject == Subject("resnet18", None, None)
    assert origin(str(search), job="stand_alone-resnet18").about["rank"] is None


def value(row: dict[str, Any]) -> float:
    return float(row["evaluations"]["stand_alone"]["value"])


def test_where_smaller_is_better_the_best_is_the_smallest(search: Path, tmp_path: Path) -> None:
    content = load(search / "result.json")
    content["evaluations"]["stand_alone"]["larger_is_better"] = False
    write_json(tmp_path / "result.json", content)
    values = sorted(value(row) for row in content["architectures"] if row["source"] == "found")
    assert [origin(str(tmp_path), rank=rank).about["value"] for rank in range(1, 7)] == values
    assert values[0] < values[-1]
    given = {"metric": "accuracy_seed0", "test_metric": None, "larger_is_better": False, "unit": ""}
    folder = compare(tmp_path / "comparison", **given)
    values = sorted(done["value"]["default"] for done in jobs_of(folder, "best-of-4").values())
    assert [origin(str(folder), rank=rank).about["value"] for rank in (1, 2)] == values


def test_without_evaluations_the_score_decides(tmp_path: Path) -> None:
    result = finished(experiment(evaluations={}, found=2, random=0), tmp_path)
    about = origin(str(tmp_path)).about
    assert about["score"] == max(row["score"] for row in result["architectures"])
    assert (about["value"], about["metric"], about["means"], about["job"]) == (None, None, {}, None)


def test_random_search(tmp_path: Path) -> None:
    result = finished(experiment("randomsearch", random=3, baselines=["largest_macs"]), tmp_path)
    drawn = sorted((row for row in result["architectures"] if row["source"] == "random"), key=lambda row: -value(row))
    assert [choices(str(tmp_path), rank=rank) for rank in (1, 2, 3)] == [row["choices"] for row in drawn]


def test_what_is_said_beside_it(search: Path, comparison: Path, tmp_path: Path) -> None:
    means = origin(str(search)).about["means"]
    assert list(means)[:2] == ["found", "random"] and {name: one["count"] for name, one in means.items()} == COUNTS
    listed = ", ".join(f"{name} {one['mean']:.2f} ({one['count']})" for name, one in means.items())
    first, verdict, last = beside(origin(str(search)).about)
    assert first == f"RLNAS with 2 seeds: mean accuracy of its own evaluations (how many): {listed}."
    assert verdict.startswith("stand_alone: what 2 searches found is not told from random networks") and last == ALONE
    assert beside(origin(str(comparison)).about)[0].startswith("the comparison: mean accuracy of its own evaluations")
    finished(experiment(evaluations={}, found=2, random=0), tmp_path / "none")
    assert beside(origin(str(tmp_path / "none")).about) == [
        "RLNAS with 1 seed evaluated nothing, so no random architectures stand beside this one."
    ]
    finished(experiment(found=2, random=0), tmp_path / "found")
    assert beside(origin(str(tmp_path / "found")).about)[2] == "There are no random architectures to compare it with."
    assert beside(origin(CELL, None, {"nodes": 3}).about) == []


def test_a_searched_network_keeps_its_size_unless_another_is_asked_for(search: Path, comparison: Path) -> None:
    def sizes(place: Path, **given: Any) -> dict[str, Any]:
        asked = RetrainRequest(architecture=str(place), recipe="digits", data=PictureSettings(path="digits"), **given)
        return {
            key: asked.subject.space.config()[key] for key in ("channels", "cells_per_stage")
        } | asked.resolved.network.sizes.get("nasbench201", {})

    recipes_own = recipe("digits").network.sizes["nasbench201"]
    for place in (search, comparison):
        searched = origin(str(place)).subject.space.config()
        assert sizes(place) == {key: searched[key] for key in ("channels", "cells_per_stage")}
        assert sizes(place, recipe_size=True).items() >= recipes_own.items()
        assert sizes(place, changes={"network.sizes.nasbench201.channels": 12})["channels"] == 12
        assert sizes(place, space_arguments={"channels": 20})["channels"] == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 7}, r"--rank 7: .* has 6 to choose from"),
        ({"rank": 0}, "--rank 0"),
        ({"job": "stand_alone-found-0-9"}, "no such job; did you mean 'stand_alone-found-0-"),
        ({"rank": 2, "job": "stand_alone-random-1"}, "--job stand_alone-random-1 is one architecture, but got --rank"),
        ({"rank": 3, "job": "random"}, "--rank 3: .* has 2 to choose from"),
        ({"space": "darts"}, "is of the space 'nasbench201', but the space given is 'darts'"),
        ({"job": "resnet18", "arguments": {"channels": 3}}, "resnet18 is a model of timm's"),
        ({"arguments": {"chanels": 3}}, "chanels: no such argument of the space"),
    ],
)
def test_what_a_search_has_not(search: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        origin(str(search), **options)


def test_folders_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no result\.json"):
        origin(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is not finished[\s\S]*Run the same command again"):
        origin(str(tmp_path))
    write_json(tmp_path / "result.json", {"study": 1})
    with pytest.raises(ConfigError, match="is of a study, which chooses no architecture"):
        origin(str(tmp_path))


# -- comparisons -------------------------------------------------------------------------------------------------------
def jobs_of(folder: Path, policy: str) -> dict[str, Any]:
    """The finished evaluations of a policy or baseline."""
    done = {path.stem: load(path) for path in (folder / "jobs").glob("looked_up-*.json")}
    return {name: one for name, one in done.items() if (one["job"]["policy"] or one["job"]["source"]) == policy}


def test_the_best_of_a_comparison(comparison: Path) -> None:
    jobs = jobs_of(comparison, "best-of-4")
    values = {name: one["value"]["default"] for name, one in jobs.items()}
    assert set(values) == {"looked_up-best-of-4-0-1", "looked_up-best-of-4-1-1"}
    best = origin(str(comparison))
    assert best.about["kind"] == "comparison" and best.about["validation"] == max(values.values())
    assert best.about["value"] in [one["value"]["result"]["value"] for one in jobs.values()]
    assert best.about["group"] == "best-of-4" and best.about["random"] == "random"
    assert best.subject.space == NASBench201(nodes=3, channels=8, cells_per_stage=1)
    found = {name: one["value"]["result"] for name, one in jobs_of(comparison, "random").items()}
    drawn, chosen = ({name: one[key] for name, one in found.items()} for key in ("value", "validation"))
    second = origin(str(comparison / "result.json"), rank=2, job="random").about
    assert (second["validation"], second["rank"]) == (min(chosen.values()), 2)
    assert origin(str(comparison), job="looked_up-random-1-1").about["value"] == drawn["looked_up-random-1-1"]
    assert best.about["means"]["random"] == {"mean": pytest.approx(sum(drawn.values()) / 2), "count": 2}
    assert choices(str(comparison), job="largest_parameters")["e_0_1"] == "nor_conv_3x3"
    with pytest.raises(ConfigError, match=r"--job best-of-3: .* no such job; did you mean 'best-of-4'"):
        origin(str(comparison), job="best-of-3")


def test_a_damaged_comparison(comparison: Path, tmp_path: Path) -> None:
    shutil.copytree(comparison, tmp_path / "copy")
    (tmp_path / "copy" / "jobs" / "looked_up-random-0-1.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"looked_up-random-0-1\.json is damaged[\s\S]*repeats this job only"):
        origin(str(tmp_path / "copy"))


# -- retrainings and transfers -----------------------------------------------------------------------------------------
def test_a_retraining(tmp_path: Path) -> None:
    described = {"name": "nasbench201", "space": ["nasbench201", SPACE.config()], "timm": None}
    network = {**described, "architecture": SPACE.parse(OTHER).as_dict()}
    measured = {"recipe": "digits", "history": [], "top1": 90.0, "weights": "model_best.pth.tar"}
    write_json(tmp_path / "result.json", {"network": network, **measured})
    one = origin(str(tmp_path))
    assert one.subject == Subject("nasbench201", SPACE, SPACE.parse(OTHER))
    assert one.about == {"kind": "retraining", "file": str(tmp_path / "result.json"), "recipe": "digits", "top1": 90.0}
    file = tmp_path / "model_best.pth.tar"
    torch.save({"state_dict": {}, "nni_plugins": {"schema": 1, "description": network}}, file)
    assert origin(str(tmp_path)).subject.weights == file == origin(str(file)).subject.weights
    assert origin(str(file)).about == {"kind": "weights", "file": str(file)}
    with pytest.raises(ConfigError, match=r"the network of .* is of the space 'nasbench201', but the space given"):
        origin(str(tmp_path), "darts")
    with pytest.raises(ConfigError, match="is one architecture, but got --rank 2"):
        origin(str(tmp_path), rank=2)
    timms = {"name": "test_resnet", "space": None, "timm": ["test_resnet", {"num_classes": 5, "stem_type": "deep"}]}
    write_json(tmp_path / "result.json", {"network": timms, **measured})
    file.unlink()
    assert origin(str(tmp_path)).subject == Subject("test_resnet", None, None, {"stem_type": "deep"})


def test_a_transfer(tmp_path: Path) -> None:
    backbone = {"name": "cell", "space": "nasbench201", "arguments": {"nodes": 3, "channels": 8}, "checkpoint": None}
    result = {"task": "detection", "architecture": CELL, "backbone": backbone, "recipe": "retinanet_small"}
    write_json(tmp_path / "result.json", {**result, "metric": "bbox_mAP", "metrics": {"bbox_mAP": 20.0}})
    one = origin(str(tmp_path), None, {"channels": 4})
    assert one.subject.space == NASBench201(nodes=3, channels=4) and one.subject.text == CELL
    assert (one.about["kind"], one.about["task"], one.about["bbox_mAP"]) == ("transfer", "detection", 20.0)


# -- NNI's experiments -------------------------------------------------------------------------------------------------
@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "nni-experiments").mkdir()
    return tmp_path / "nni-experiments"


def listed(home: Path, identifier: str, status: str, folder: Path | str) -> None:
    write_json(home / ".experiment", {identifier: {"id": identifier, "status": status, "logDir": str(folder)}})


def test_an_experiment_by_its_id(home: Path, search: Path, tmp_path: Path) -> None:
    """In the folder that NNI's list names, which may be written with a tilde; or, when it is no longer listed, in the
    usual one.
    """
    for folder, name in ((tmp_path / "elsewhere", None), (home, "~/nni-experiments"), (home, "")):
        shutil.copytree(search, folder / "ab12cd34" / "run", dirs_exist_ok=True)
        if name == "":
            (home / ".experiment").unlink()
        else:
            listed(home, "ab12cd34", "DONE", name or folder)
        about = origin("ab12cd34", rank=2).about
        assert (
            about["experiment"] == "ab12cd34"
            and about["file"] == str(folder / "ab12cd34" / "run" / "result.json")
            and about["rank"] == 2
        )
        shutil.rmtree(folder / "ab12cd34")


def test_an_experiment_with_a_run_folder_of_its_own(home: Path, search: Path, tmp_path: Path) -> None:
    shutil.copytree(search, tmp_path / "own")
    (home / "ab12cd34" / "db").mkdir(parents=True)
    profile = {"tuner": {"name": "RLNAS", "classArgs": {"run_folder": str(tmp_path / "own")}}}
    with closing(sqlite3.connect(home / "ab12cd34" / "db" / "nni.sqlite")) as database:
        database.execute("create table ExperimentProfile (params text, id text, revision integer)")
        database.execute("insert into ExperimentProfile values (?, 'ab12cd34', 3)", (json.dumps(profile),))
        database.commit()
    assert origin("ab12cd34").about["file"] == str(tmp_path / "own" / "result.json")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        ("RUNNING", "until the portal says DONE"),
        ("STOPPED", "nnictl resume ab12cd34"),
        ("DONE", "pass the architecture itself"),
        ("ERROR", "nnictl"),
    ],
)
def test_an_experiment_that_has_no_result(home: Path, status: str, remedy: str) -> None:
    listed(home, "ab12cd34", status, home)
    with pytest.raises(ConfigError, match=rf"NNI experiment ab12cd34 \({status}\) has no result") as caught:
        origin("ab12cd34")
    assert remedy in caught.value.remedy


def test_ids_that_nobody_knows(home: Path) -> None:
    for content in (None, "{", "[]"):
        if content is not None:
            (home / ".experiment").write_text(content)
        with pytest.raises(ConfigError, match="unknown architecture 'ab12cd34'; nothing is called like that"):
            origin("ab12cd34")
