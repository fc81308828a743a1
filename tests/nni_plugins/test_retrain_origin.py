"""Where an architecture comes from: names, texts, files, searches, comparisons, NNI experiments."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.cli.retrain_report import _beside
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.settings import read
from nni_plugins.experiment.plan import Plan
from nni_plugins.experiment.result import write_result
from nni_plugins.experiment.settings import RandomSearchExperiment, StudySettings, check
from nni_plugins.origins.origin import Origin, origin
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.errors import SpaceError
from nni_plugins.spaces.published import published
from nni_plugins.studies.compare.runner import run_comparison
from nni_plugins.studies.compare.settings import CompareSettings

from .small import CELL, arguments, settings, value_of


def finished(study: StudySettings, folder: Path) -> dict[str, Any]:
    """``result.json`` of a search whose jobs reported pretended values."""
    plan = Plan(study)
    while (job := plan.next()) is not None:
        plan.done(job.name, value_of(plan, job.name))
    return json.loads(write_result(study, plan, folder).read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    finished(settings(found=3, random=2, seeds=[0, 1]), folder)
    return folder


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    given = {
        "space": {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1},
        "seeds": [0, 1],
        "evaluation": {"kind": "table", "metric": "accuracy_seed0", "test_metric": "accuracy"},
        "policies": {"best-of-4": {"kind": "queries", "method": "Random", "queries": 4}},
        "report": {"resamples": 1000},
    }
    run_comparison(read(CompareSettings, given), folder)
    return folder


def load(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())


# -- names, texts, files -----------------------------------------------------------------------------------------------
def test_names() -> None:
    ours = origin("darts_v2")
    entry = published("darts_v2")
    assert (ours.name, ours.space, ours.architecture) == ("darts_v2", entry.space, entry.architecture)
    assert ours.about["kind"] == "published" and "Liu et al." in ours.about["source"] and ours.text == "darts_v2"
    assert origin("darts_v2", "darts", {"channels": 20}).space == entry.space_with(channels=20)
    assert origin("resnet18") == Origin("resnet18", None, None, {"kind": "timm", "name": "resnet18"})
    with pytest.raises(ConfigError, match="darts_v2 is an architecture of 'darts', but got --space nao"):
        origin("darts_v2", "nao")


def test_texts_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = NASBench201(nodes=3)
    architecture = space.parse(CELL)
    texts = {
        "native.txt": CELL,
        "ours.json": architecture.to_json(),
        "choices.json": json.dumps(architecture.as_dict()),
        "quoted.json": json.dumps(CELL),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "\n")
        for given in (text, str(tmp_path / name)):
            if given is texts["quoted.json"]:
                continue  # quotation marks belong to files
            found = origin(given, "nasbench201", {"nodes": 3})
            assert (found.space, found.architecture, found.name) == (space, architecture, None) and found.text == CELL
        assert origin(str(tmp_path / name), None, {"nodes": 3}).about == {"kind": "file", "file": str(tmp_path / name)}
    genotype = published("darts_v2").text
    assert origin(genotype, "darts").architecture == published("darts_v2").architecture
    monkeypatch.chdir(tmp_path)
    (tmp_path / "darts_v2").mkdir()
    assert origin("darts_v2").about["kind"] == "published", "a folder of that name does not hide it"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", b"{", "is no JSON file, or is damaged"),
        ("x.json", b"\xff\xfe", "it is no text"),
        ("x.txt", b"|nor_conv_3x4~0|", "is no architecture of nasbench201"),
        ("x.yml", b"a: 1", "is a configuration, not an architecture"),
        ("x.json", b'{"architectures": [{}], "settings": {}}', "is damaged: KeyError"),
        ("x.json", b'{"statistics": null, "missing": [], "folder": ""}', "there is no readable config.yml"),
    ],
)
def test_files_that_hold_none(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        origin(str(tmp_path / name))


def test_other_spaces() -> None:
    with pytest.raises(SpaceError):
        origin(CELL, "darts")
    with pytest.raises(ConfigError, match="the architecture is of the space 'nasbench201', but got --space darts"):
        origin(NASBench201(nodes=3).parse(CELL).to_json(), "darts")
    with pytest.raises(ConfigError, match="recurrent_nao is of the space 'recurrent', whose networks take no images"):
        origin("recurrent_nao")
    with pytest.raises(ConfigError, match="is one architecture, but got --job x"):
        origin("resnet18", job="x")


# -- searches ----------------------------------------------------------------------------------------------------------
def test_the_best_of_a_search(search: Path) -> None:
    rows = load(search)["architectures"]
    found = [row for row in rows if row["source"] == "found"]
    assert len(found) == 6 and found[0]["accuracy"] == max(row["accuracy"] for row in found)
    for given in (search, search / "result.json"):
        best = origin(str(given))
        assert best.architecture is not None and best.architecture.as_dict() == found[0]["choices"]
        assert best.space == settings().search_space, "channels: 4, as it was searched"
    about = origin(str(search), rank=4).about
    assert (about["job"], about["rank"], about["accuracy"]) == (found[3]["job"], 4, found[3]["accuracy"])
    assert (
        about["means"]["random"] == {"mean": load(search)["mean_accuracy"]["random"], "trained": 2}
        and about["searches"] == 2
    )
    drawn = origin(str(search), job="random-2").about
    assert (drawn["source"], drawn["rank"]) == ("random", None)
    assert origin(str(search), None, {"channels": 16}).space == NASBench201(nodes=3, channels=16, cells_per_stage=1)


def test_without_trainings_the_score_decides(tmp_path: Path) -> None:
    result = finished(settings(stand_alone=None, found=2, random=0), tmp_path)
    about = origin(str(tmp_path)).about
    assert about["score"] == max(row["score"] for row in result["architectures"]) and about["accuracy"] is None
    (line,) = _beside(about)
    assert line == "RLNAS with 1 seed trained nothing stand-alone, so no random architectures stand beside this one."


def test_random_search(tmp_path: Path) -> None:
    result = finished(check(RandomSearchExperiment, arguments("randomsearch", random=3)), tmp_path)
    assert (
        origin(str(tmp_path)).about["job"] == result["architectures"][0]["job"]
        and origin(str(tmp_path), rank=3).about["rank"] == 3
    )


def test_what_is_said_beside_it(search: Path) -> None:
    mean = load(search)["mean_accuracy"]
    (line,) = _beside(origin(str(search)).about)
    listed = f"found {mean['found']:.2f} (6), random {mean['random']:.2f} (2)"
    assert line == f"RLNAS with 2 seeds: mean accuracy of its own stand-alone trainings (how many): {listed}."


@pytest.mark.parametrize(
    ("rank", "job", "space", "message"),
    [
        (7, None, None, r"--rank 7: .* has 6 to choose from"),
        (0, None, None, "--rank 0"),
        (1, "found-0-9", None, "no such job; did you mean 'found-0-"),
        (2, "random-1", None, "--job random-1 is one architecture, but got --rank 2"),
        (1, None, "darts", "is of the space 'nasbench201', but got --space darts"),
    ],
)
def test_what_a_search_has_not(search: Path, rank: int, job: str | None, space: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        origin(str(search), space, None, rank, job)


def test_folders_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no result\.json"):
        origin(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is not finished[\s\S]*Run the same command again"):
        origin(str(tmp_path))
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(ConfigError, match="is a sample study"):
        origin(str(tmp_path))


# -- comparisons -------------------------------------------------------------------------------------------------------
def test_the_best_of_a_comparison(comparison: Path) -> None:
    values = {
        path.stem: json.loads(path.read_text())["value"]["default"]
        for path in (comparison / "runs").glob("train-*.json")
    }
    assert set(values) == {f"train-{policy}-{seed}-1" for policy in ("best-of-4", "random") for seed in (0, 1)}
    best = origin(str(comparison))
    assert best.about["policy"] == "best-of-4" and best.about["accuracy"] == max(
        values[f"train-best-of-4-{seed}-1"] for seed in (0, 1)
    )
    assert best.space == NASBench201(nodes=3, channels=8, cells_per_stage=1)
    second = origin(str(comparison), rank=2, job="random").about
    assert second["accuracy"] == min(values[f"train-random-{seed}-1"] for seed in (0, 1)) and second["rank"] == 2
    assert origin(str(comparison), job="train-random-1-1").about["accuracy"] == values["train-random-1-1"]
    assert best.about["means"]["random"]["mean"] == pytest.approx(
        sum(values[f"train-random-{seed}-1"] for seed in (0, 1)) / 2
    )
    assert "random" in _beside(best.about)[0]
    with pytest.raises(ConfigError, match=r"--job best-of-3: .* no such job; did you mean 'best-of-4'"):
        origin(str(comparison), job="best-of-3")


def test_a_damaged_comparison(comparison: Path, tmp_path: Path) -> None:
    shutil.copytree(comparison, tmp_path / "copy")
    (tmp_path / "copy" / "runs" / "train-random-0-1.json").write_text("{")
    with pytest.raises(ConfigError, match=r"train-random-0-1\.json is damaged"):
        origin(str(tmp_path / "copy"))


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
