"""Experiment files: what is wrong with one, and the presets that we give away."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators.errors import ConfigError, DataError, TableError
from nni_plugins.experiment.file import NNI_KEYS, completed, missing_for_nni, read_experiment
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.presets import FOLDER, Grid, Preset, preset, preset_names, render_preset
from nni_plugins.spaces import NASBench201

from .small import arguments, content, experiment, file_of, stand_alone, write


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_experiment(path)
    return str(caught.value)


def read_settings(path: Path) -> Any:
    return read_experiment(path).settings


def test_a_valid_file(tmp_path: Path) -> None:
    read = read_experiment(write(tmp_path / "x.yml", content()))
    assert (read.name, read.settings) == ("RLNAS", experiment().settings)
    random = read_experiment(write(tmp_path / "y.yml", content("randomsearch")))
    assert random.name == "RandomSearch" and random.settings.random == 1 and random.trials == 1


def test_class_args_may_be_left_out(tmp_path: Path) -> None:
    value = content()
    del value["tuner"]["classArgs"]
    assert "maxTrialNumber: must be 12" in problem(write(tmp_path / "x.yml", value))


def test_mistakes_in_class_args(tmp_path: Path) -> None:
    value = content()
    value["tuner"]["classArgs"] |= {"fond": 1, "random": "some"}
    message = problem(write(tmp_path / "x.yml", value))
    assert (
        "tuner.classArgs.fond: no such key; did you mean 'found'" in message
        and "tuner.classArgs.random: input should be" in message
    )
    value["tuner"]["classArgs"] = ["found"]
    assert "tuner.classArgs: must be a mapping, but got list" in problem(write(tmp_path / "x.yml", value))


def test_what_the_portal_needs(tmp_path: Path) -> None:
    value = content()
    value |= {"maxTrialNumber": 7, "searchSpace": {"phase": {"_type": "choice", "_value": ["search"]}}}
    message = problem(write(tmp_path / "x.yml", value))
    assert "maxTrialNumber: must be 3, the exact number of trials, but got 7" in message
    assert "searchSpace: is not the one of this experiment" in message
    assert f"nni-plugins complete {tmp_path / 'x.yml'} writes them" in message and message.count("\n") < 3


def test_what_follows_from_the_rest_need_not_be_written(tmp_path: Path) -> None:
    whole = content()
    path = write(tmp_path / "mine.yml", {"tuner": whole["tuner"]})
    assert read_experiment(path).trials == whole["maxTrialNumber"]
    assert missing_for_nni(path) == [
        "experimentName", "trialCommand", "trialCodeDirectory", "trialConcurrency", "maxExperimentDuration",
        "trainingService", "maxTrialNumber", "searchSpace",
    ]  # fmt: skip
    path.write_text(completed(path))
    read = yaml.safe_load(path.read_text())
    assert read["searchSpace"] == whole["searchSpace"] and read["maxTrialNumber"] == whole["maxTrialNumber"]
    assert read["experimentName"] == "mine" and read["tuner"] == whole["tuner"] and not missing_for_nni(path)
    assert completed(path) == path.read_text(), "nothing is left to write"


def test_completing_keeps_comments_and_other_keys(tmp_path: Path) -> None:
    whole = content()
    text = yaml.safe_dump(whole, sort_keys=False)
    assert text.index("maxTrialNumber") < text.index("tuner:") < text.index("searchSpace:")
    wrong = text.replace(f"maxTrialNumber: {whole['maxTrialNumber']}", "maxTrialNumber: 99  # mine")
    wrong = "# my first search\n" + wrong.replace("searchSpace:", "debug: true\nsearchSpace:")
    (tmp_path / "x.yml").write_text(wrong)
    mended = completed(tmp_path / "x.yml")
    assert mended.startswith("# my first search\n") and "# mine" not in mended
    assert yaml.safe_load(mended) == {**whole, "debug": True}


def test_what_cannot_be_completed(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text(json.dumps({**content(), "maxTrialNumber": 99}))
    with pytest.raises(ConfigError, match="its keys do not stand one a line"):
        completed(tmp_path / "x.yml")
    with pytest.raises(ConfigError, match="trainning: no such key"):
        value = content()
        value["tuner"]["classArgs"]["trainning"] = {}
        completed(write(tmp_path / "y.yml", value))


def test_the_direction_stands_in_the_file(tmp_path: Path) -> None:
    """The portal reads it there; what is left out means ``maximize``."""
    table = {"evaluator": "table", "metric": "accuracy", "larger_is_better": False}
    space = {"name": "nasbench201", "nodes": 3, "channels": 8, "cells_per_stage": 1}
    given = arguments(space=space, evaluations={"table": table}, optimize_mode="minimize")
    value = file_of(load_experiment("rlnas", given), given)
    assert read_experiment(write(tmp_path / "x.yml", value)).optimize_mode == "minimize"
    del value["tuner"]["classArgs"]["optimize_mode"]
    assert "tuner.classArgs.optimize_mode: must be minimize, for the portal reads it there" in problem(
        write(tmp_path / "x.yml", value)
    )


@pytest.mark.parametrize(
    ("tuner", "message"),
    [
        ({"name": "RLNSA"}, "tuner.name: 'rlnsa' is not a tuner of this package; did you mean 'rlnas'"),
        ({"name": "Compaer"}, "tuner.name: 'compaer' is not a tuner of this package; did you mean 'compare'"),
        ({"name": "TPE"}, "is not a tuner of this package; "),
        ({"name": "NAO"}, "tuner NAO serves a trial command of your own, which only NNI's manager runs"),
        ({}, "tuner.name: 'missing' is not"),
        ("RLNAS", "tuner.name: 'missing'"),
        (None, "tuner.name: 'missing'"),
    ],
)
def test_other_tuners(tmp_path: Path, tuner: Any, message: str) -> None:
    assert message in problem(write(tmp_path / "x.yml", content() | {"tuner": tuner}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"tuner: {name: RLNAS", r"x.yml is not YAML"),
        (b"\xff\xfe\x00", "x.yml is not YAML"),
        (b"a: !!python/object/apply:os.system ['true']", "x.yml is not YAML: could not determine a constructor"),
        (b"- a\n- b\n", "is a mapping, but this is list"),
        (b"", "is a mapping, but this is NoneType"),
    ],
)
def test_what_is_no_experiment_file(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "x.yml").write_bytes(text)
    assert message in problem(tmp_path / "x.yml") and "nni-plugins init" in problem(tmp_path / "x.yml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert f"cannot read {tmp_path / 'absent.yml'}: No such file or directory" in problem(tmp_path / "absent.yml")
    assert "Is a directory" in problem(tmp_path)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nni_plugins.experiment.search.SearchExperiment.check", lambda self: None)  # no table is there
    (tmp_path / "deep").mkdir()
    evaluations = {
        "mine": stand_alone(data={"source": "npz", "path": "mine.npz"}),
        "table": {"evaluator": "table", "table": "../table.csv"},
        "boxes": {"evaluator": "detection", "recipe": "retinanet_small", "data": "boxes"},
        "again": {"evaluator": "retrain", "recipe": "digits", "data": "digits"},
    }
    value = content(
        data={"source": "npz", "path": "../images.npz"}, truth={"table": "table.csv"}, evaluations=evaluations
    )
    given = read_settings(write(tmp_path / "deep" / "x.yml", value))
    assert given.data.path == str(tmp_path / "images.npz")
    assert given.truth.table == str(tmp_path / "deep" / "table.csv")
    assert given.evaluations["mine"].data.path == str(tmp_path / "deep" / "mine.npz")
    assert given.evaluations["table"].table == str(tmp_path / "table.csv")
    assert given.evaluations["boxes"].data == str(tmp_path / "deep" / "boxes")
    assert given.evaluations["again"].data.path == "digits" and given.evaluations["again"].recipe == "digits"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    value = content(data={"source": "npz", "path": "~/i.npz"}, truth={"table": "digits"})
    given = read_settings(write(tmp_path / "deep" / "x.yml", value))
    assert given.data.path == str(tmp_path / "home" / "i.npz") and given.truth.table == "digits"


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    value = content(evaluations={"known": {"evaluator": "table", "table": "nb201.csv"}})
    path = write(tmp_path / "x.yml", value)
    with pytest.raises(TableError, match=r"evaluations\.known: [\s\S]*nb201\.csv"):
        read_experiment(path)


def test_more_architectures_than_meet_the_limits(tmp_path: Path) -> None:
    path = write(tmp_path / "x.yml", content(limits={"max_parameters": 4000}, found=40, evaluations={}, random=0))
    message = problem(path)
    assert "found: 40 architectures are wanted, but only " in message and "distinct ones meet the limits" in message
    assert "raise tuner.classArgs.limits" in message


def test_a_search_without_evaluations(tmp_path: Path) -> None:
    """Only two lines differ from any other file: ``evaluations: {}`` and ``maxTrialNumber``, and the axes."""
    value = content(seeds=[0, 1])
    value["tuner"]["classArgs"] |= {"evaluations": {}}
    del value["tuner"]["classArgs"]["random"]
    assert "maxTrialNumber: must be 2" in problem(write(tmp_path / "x.yml", value))
    value["maxTrialNumber"] = 2
    value["searchSpace"]["phase"]["_value"] = ["search"]
    assert read_settings(write(tmp_path / "x.yml", value)).evaluations == {}


# -- presets -----------------------------------------------------------------------------------------------------------
ABSENT = {
    "compare_nasbench101": "nb101_table",
    "compare_nasbench201_table": "nb201_table",
    "compare_eight_nodes": "data",
    "compare_two_nodes": "data",
    "diagnose_options_cifar10": "nb201_table",
    "diagnose_options_cifar100": "nb201_table",
    "diagnose_options_imagenet16": "nb201_table",
    "darts_first_nasbench201": "nb201_table",
    "darts_second_nasbench201": "nb201_table",
    "sample_study_cifar10_small": "nb201_table",
    "sharing_study_wikitext2": "data/wikitext2",
}
"""They name a file that must be there before anything is planned."""


def test_unknown_presets() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'rlnas_digit'; did you mean 'rlnas_digits'"):
        preset("rlnas_digit")


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid_files(name: str, tmp_path: Path) -> None:
    path, text = tmp_path / "x.yml", render_preset(name)
    path.write_text(text)
    given, tuner = yaml.safe_load(text), preset(name).tuner
    assert given["experimentName"] == name and given["tuner"]["name"] == tuner
    assert given["tuner"]["classArgs"] == preset(name).classArgs, "as they stand in the preset's file"
    comment = " ".join(preset(name).comment.split())
    assert ("trialGpuNumber" in text.partition("trainingService")[2]) == (
        "Needs a GPU" in comment or "Needs GPUs" in comment
    )
    if name in ABSENT:
        with pytest.raises((TableError, DataError), match=f"{tmp_path}/{ABSENT[name]}"):
            read_experiment(path)
        return
    read = read_experiment(path)
    assert read.name == tuner and read.trials == given["maxTrialNumber"]
    assert f"nni-plugins {read.command} THIS_FILE" in text


def test_presets_are_folded() -> None:
    """Anybody may read them as they stand."""
    wide = {
        path.name: number
        for path in sorted(FOLDER.glob("*.yml"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > 120
    }
    assert wide == {}


def test_no_two_presets_are_equal() -> None:
    presets = {name: preset(name) for name in preset_names()}
    pairs = itertools.combinations(presets, 2)
    assert not [pair for pair in pairs if presets[pair[0]].classArgs == presets[pair[1]].classArgs]


def test_the_papers_hyper_parameters(tmp_path: Path) -> None:
    """RLNAS (CVPR 2021; official SPOS.config) and NAS-Bench-201's 200-epoch recipe (ICLR 2020, table 1)."""
    (tmp_path / "x.yml").write_text(render_preset("rlnas_nasbench201"))
    e = read_settings(tmp_path / "x.yml")
    t, a = e.training, e.evaluations["stand_alone"].training
    assert (t.epochs, t.batch_size, t.learning_rate, t.final_learning_rate) == (250, 64, 0.025, 0.001)
    assert (t.momentum, t.nesterov, t.weight_decay, t.share_cells, t.update, t.gradient_clip) == (
        0.9,
        True,
        5e-4,
        False,
        "all",
        None,
    )
    assert (e.data.source, e.data.limit, e.data.padding, e.data.flip) == ("cifar10", None, None, None)
    assert e.search_limit == 25_000, "of the search only: stand-alone trainings have all 50,000"
    assert (a.epochs, a.batch_size, a.learning_rate, a.final_learning_rate) == (200, 256, 0.1, 0.0)
    assert (a.momentum, a.nesterov, a.weight_decay) == (0.9, True, 5e-4)
    assert (
        e.search_space == NASBench201(nodes=4, channels=16, cells_per_stage=5, classes=10)
        and e.search_space.size == 15_625
    )
    assert (
        e.objective == {"name": "random_labels", "classes": 10, "mode": "fixed", "seed": 0}
        and e.search.angle == "rlnas"
    )


def test_the_known_keys_are_those_of_nni() -> None:
    from nni.experiment.config import ExperimentConfig

    def camel(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(part.capitalize() for part in rest)

    assert set(NNI_KEYS) == {camel(field.name) for field in dataclasses.fields(ExperimentConfig)}


def test_misspelt_keys_of_nni_are_reported_with_ours(tmp_path: Path) -> None:
    text = render_preset("rlnas_digits").replace("trainingService:", "trainingServic:")
    (tmp_path / "x.yml").write_text(text.replace("epochs: 200", "epocs: 200"))
    with pytest.raises(
        ConfigError,
        match=r"trainingServic: no such key of NNI's; did you mean 'trainingService'[\s\S]*epocs: no such key",
    ):
        read_experiment(tmp_path / "x.yml")


def test_a_grid_of_presets() -> None:
    """Each point of the product of its axes has its values by dotted keys, and its name in the comment."""
    one = Preset(tuner="DARTS", comment="{size} on {data}", classArgs={"space": {"cells": 1}, "data": {"source": "a"}})
    axes: dict[str, Any] = {
        "size": {"small": {}, "large": {"space.cells": 9}},
        "data": {"x": {}, "y": {"data.source": "b"}},
    }
    made = Grid(name="darts_{size}_{data}", grid=axes, preset=one).presets()
    assert list(made) == ["darts_small_x", "darts_small_y", "darts_large_x", "darts_large_y"]
    assert made["darts_large_y"].classArgs == {"space": {"cells": 9}, "data": {"source": "b"}}
    assert made["darts_small_x"].classArgs == one.classArgs and made["darts_large_x"].comment == "large on x"
    wrong = {"size": {"small": {"sapce.cells": 1}}}
    with pytest.raises(ConfigError, match="sapce: no such key; did you mean 'space'"):
        Grid(name="{size}", grid=wrong, preset=one).presets()
