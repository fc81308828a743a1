"""Experiment files: what is wrong with one, and those that we give away."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.experiment.file import NNI_KEYS, from_yaml
from nni_plugins.experiment.settings import RandomSearchExperiment, RLNASExperiment
from nni_plugins.presets import PRESETS, render
from nni_plugins.spaces import NASBench201
from nni_plugins.studies.compare.config_file import read_compare

from .small import content, settings, write

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        from_yaml(path)
    return str(caught.value)


def test_a_valid_file(tmp_path: Path) -> None:
    assert from_yaml(write(tmp_path / "x.yml", content())) == ("rlnas", settings())
    name, experiment = from_yaml(write(tmp_path / "y.yml", content("randomsearch")))
    assert name == "randomsearch" and isinstance(experiment, RandomSearchExperiment) and experiment.random == 1


def test_class_args_may_be_left_out(tmp_path: Path) -> None:
    value = content()
    del value["tuner"]["classArgs"]
    assert "maxTrialNumber: must be 11" in problem(write(tmp_path / "x.yml", value))


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
    needed = value["searchSpace"]
    value |= {"maxTrialNumber": 7, "searchSpace": {"phase": {"_type": "choice", "_value": ["search"]}}}
    message = problem(write(tmp_path / "x.yml", value))
    assert "maxTrialNumber: must be 3, the exact number of trials, but got 7" in message
    assert "searchSpace: is not the one of this experiment" in message
    assert yaml.safe_load(message[message.index("\nsearchSpace:") :])["searchSpace"] == needed, (
        "it can be copied from the message"
    )
    del value["maxTrialNumber"]
    assert "but got None" in problem(write(tmp_path / "x.yml", value))


@pytest.mark.parametrize(
    ("tuner", "message"),
    [
        ({"name": "RLNSA"}, "tuner.name: 'rlnsa' is not a tuner of this package; did you mean 'rlnas'"),
        ({"name": "TPE"}, "is not a tuner of this package; known: darts, "),
        ({}, "tuner.name: 'none' is not"),
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
    (tmp_path / "deep").mkdir()
    value = content(data={"source": "npz", "path": "../images.npz"}, truth={"table": "table.csv"})
    _, experiment = from_yaml(write(tmp_path / "deep" / "x.yml", value))
    assert experiment.data.path == str(tmp_path / "images.npz")
    assert experiment.truth is not None and experiment.truth.table == str(tmp_path / "deep" / "table.csv")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    _, experiment = from_yaml(
        write(
            tmp_path / "deep" / "x.yml", content(data={"source": "npz", "path": "~/i.npz"}, truth={"table": "digits"})
        )
    )
    assert (
        experiment.data.path == str(tmp_path / "home" / "i.npz")
        and experiment.truth is not None
        and experiment.truth.table == "digits"
    )


def test_a_search_without_stand_alone_training(tmp_path: Path) -> None:
    """Only two lines differ from any other file: ``stand_alone: null`` and ``maxTrialNumber``."""
    value = content(seeds=[0, 1])
    value["tuner"]["classArgs"] |= {"stand_alone": None}
    del value["tuner"]["classArgs"]["random"]
    assert "maxTrialNumber: must be 2" in problem(write(tmp_path / "x.yml", value))
    value["maxTrialNumber"] = 2
    assert from_yaml(write(tmp_path / "x.yml", value))[1].stand_alone is None


# -- examples/ ---------------------------------------------------------------------------------------------------------
def test_every_preset_has_its_file() -> None:
    own_trials = {
        "nao_nasbench201_table",
        "retrain_digits",
    }  # tuners that serve any trial command, so no preset can know it
    studies = {
        "rank_study_cifar10",
        "rank_study_digits",
        "sharing_study_wikitext2",
    }  # of commands, not of tuners; tested with those
    assert {path.stem for path in EXAMPLES.glob("*.yml")} == {
        name for name, preset in PRESETS.items() if preset.example
    } | own_trials | studies


@pytest.mark.parametrize(
    "name", [name for name, preset in PRESETS.items() if preset.example and preset.tuner != "Compare"]
)  # see test_compare
def test_examples_are_the_presets_word_for_word(name: str) -> None:
    path = EXAMPLES / f"{name}.yml"
    assert path.read_text() == render(name), f"write it again: nni-plugins init {path} --preset {name} --force"
    if PRESETS[name].tuner == "Compare":
        assert read_compare(path).expected_trials == yaml.safe_load(path.read_text())["maxTrialNumber"]
    else:
        assert from_yaml(path)[0] == PRESETS[name].tuner.lower()
    assert yaml.safe_load(path.read_text())["experimentName"] == name


def test_the_papers_hyper_parameters() -> None:
    """RLNAS (CVPR 2021; official SPOS.config) and NAS-Bench-201's 200-epoch recipe (ICLR 2020, table 1)."""
    _, e = from_yaml(EXAMPLES / "rlnas_nasbench201.yml")
    assert isinstance(e, RLNASExperiment) and e.stand_alone is not None
    t, a = e.training, e.stand_alone
    assert (t.epochs, t.batch_size, t.learning_rate, t.final_learning_rate) == (250, 64, 0.025, 0.001)
    assert (t.momentum, t.nesterov, t.weight_decay, t.share_cells, t.update, t.gradient_clip) == (
        0.9,
        True,
        5e-4,
        False,
        "all",
        None,
    )
    assert (e.data.source, e.data.limit, e.data.padding, e.data.flip) == ("cifar10", 25_000, None, None)
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
    text = render("rlnas_digits").replace("trainingService:", "trainingServic:").replace("epochs: 200", "epocs: 200")
    (tmp_path / "x.yml").write_text(text)
    with pytest.raises(
        ConfigError,
        match=r"trainingServic: no such key of NNI's; did you mean 'trainingService'[\s\S]*epocs: no such key",
    ):
        from_yaml(tmp_path / "x.yml")
