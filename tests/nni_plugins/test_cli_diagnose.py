"""``nni-plugins diagnose`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators.diagnostics import report
from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.files import shareable
from nni_plugins.experiment.jobs import Plan
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.presets import preset
from nni_plugins.studies.diagnose.experiment import QUESTIONS, DiagnoseExperiment
from nni_plugins.testing.changes import changed

from .identities import check_every_key, identities
from .small import Cli, file_of, load, write

pytestmark = pytest.mark.usefixtures("plain_convolutions")

NETWORK = {"block": "basic", "blocks": [1, 1], "width": 8}  # with 4, oneDNN 3.10 crashes on some CPUs
TRAINING = {"epochs": 2, "batch_size": 32, "accelerator": "cpu"}
SPACE = {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1}
COMMON = {"data": {"source": "digits", "limit": 100}, "threads": 1}
TINY: dict[str, dict[str, Any]] = {
    "lambda": {"network": NETWORK, "training": TRAINING, "initial": [0, 1], "trainable": ["all"]},
    "eta": {"network": NETWORK, "training": TRAINING},
    "depth": {
        "networks": {"4 layers": {**NETWORK, "blocks": [1]}, "6 layers": NETWORK},
        "training": TRAINING,
        "trainable": ["norms"],
    },
    "options": {
        "space": SPACE,
        "training": {**TRAINING, "epochs": 1},
        "options": ["B", "C"],
        "seeds": [0],
        "stand_alone": {**TRAINING, "epochs": 1},
    },
}


@pytest.fixture
def run(run: Cli) -> Cli:
    """``nni-plugins diagnose``."""
    return lambda *words: run("diagnose", *words)


def study(name: str, **changes: Any) -> DiagnoseExperiment:
    loaded = load_experiment("diagnose", {"study": name, **COMMON, **TINY[name], **changes})
    assert isinstance(loaded, DiagnoseExperiment)
    return loaded


def tiny(folder: Path, name: str, **changes: Any) -> Path:
    """The experiment file of a diagnosis, valid or not."""
    whole = file_of(study(name), {"study": name, **COMMON, **TINY[name], **changes})
    try:
        changed = study(name, **changes)
        whole |= {"maxTrialNumber": changed.trials, "searchSpace": changed.axes()}
    except ConfigError:
        pass
    return write(folder / f"{name}.yml", whole)


# -- the commands ------------------------------------------------------------------------------------------------------
def test_alone_it_lists_what_there_is(run: Cli) -> None:
    status, out, _ = run()
    assert status == 0 and all(name in out for name in ("search", *QUESTIONS)) and "diagnose_lambda" in out
    assert set(run("--json").json) == {"search", *QUESTIONS}
    status, _, err = run("--json", "x.yml")
    assert status == 2 and "--json stands before the command" in err


@pytest.mark.parametrize(("command", "example"), [("search", "search runs/search"), ("run", "x.yml")])
def test_help(run: Cli, command: str, example: str) -> None:
    status, out, _ = run(command, "--help")
    assert status == 0 and f"Example: nni-plugins diagnose {example}" in " ".join(out.split()) and "--json" in out


@pytest.mark.parametrize("name", QUESTIONS)
def test_presets(name: str) -> None:
    experiment = load_experiment("diagnose", preset(f"diagnose_{name}").classArgs)
    assert experiment.phases == (name,) and experiment.settings.data.source == "digits"
    axes = experiment.axes()
    for job in experiment.first_jobs():
        place = experiment.parameters(job)
        assert list(place) == list(axes) and all(place[axis] in axes[axis]["_value"] for axis in axes)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_key_is_of_some_consequence(name: str) -> None:
    alternatives: dict[str, Any] = {
        "data": {"source": "digits", "limit": 90},
        "objective": {"name": "random_labels", "classes": 3},
        "run_folder": "/elsewhere",
    }
    own: dict[str, dict[str, Any]] = {
        "lambda": {"trainable": ["norms"], "initial": [0.0, 0.5]},
        "eta": {"trainable": ["norms"]},
        "depth": {"trainable": ["all"], "networks": {"4 layers": {**NETWORK, "blocks": [2]}, "6 layers": NETWORK}},
        "options": {
            "space": {**SPACE, "channels": 5},
            "options": ["B", "D"],
            "training.stability": {"method": "early_stop"},
        },
    }
    longer = {**TRAINING, "epochs": 30, **({"hessian_every": 2} if name == "options" else {})}
    check_every_key(study(name, training=longer), alternatives | own[name], impossible=("training.devices", "truth"))
    if name == "options":
        judged = study(name, space={**SPACE, "channels": 8}, truth={"table": "digits"}, stand_alone=None)
        for key, value in (("truth.metric", "accuracy_seed0"), ("stand_alone_seed", 1)):
            other = DiagnoseExperiment(changed(judged.settings, key, value))
            assert identities(other) != identities(judged)


# -- studies -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "parts", "key"),
    [("lambda", 2, "values"), ("eta", 2, "eta"), ("depth", 2, "test_error"), ("options", 2, "accuracy")],
)
def test_a_study_from_its_file(
    run: Cli, tmp_path: Path, name: str, parts: int, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, output = tiny(tmp_path, name), tmp_path / "out"
    value = run(config, "--output", output, "--json").json
    assert value == load(output / "diagnosis.json") and value["study"] == name
    assert len(value["parts"]) == parts and all(key in part for part in value["parts"]) and value["reading"]
    assert (output / "parts.csv").read_text().count("\n") == parts + 1
    page = (output / "report" / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 1 and (output / "report" / f"{name}.svg").exists()
    trained = {path: path.stat().st_mtime_ns for path in output.rglob("step-*.pt")}
    assert len(trained) >= parts
    assert all((output / job.name / str(study(name).curve_file(job))).exists() for job in study(name).first_jobs())
    (output / "diagnosis.json").unlink()
    monkeypatch.setattr(report, "svg", lambda figure: b"<svg/>")
    answer = run("run", config, "--output", output)  # the second time nothing is trained
    assert answer.status == 0 and "report.html" in answer.out and value["reading"][0].split(":")[0] in answer.out
    assert load(output / "diagnosis.json") == value
    assert {path: path.stat().st_mtime_ns for path in output.rglob("step-*.pt")} == trained

    experiment = study(name)  # what has failed is left out, and said
    plan = Plan(experiment)
    first, *others = plan.jobs.values()
    with pytest.raises(TrainingError, match="no training of the diagnosis has finished"):
        experiment.conclude(plan, tmp_path / "none")
    assert plan.next() is first and not plan.crashed(first.name, again=False)
    for job in others:
        plan.done(job.name, load(output / "jobs" / f"{job.name}.json")["value"])
    less = experiment.conclude(plan, tmp_path / "less")
    assert less["failed"] == [first.name] and less["parts"] == value["parts"][1:]


def test_equal_networks_are_trained_once(run: Cli, tmp_path: Path) -> None:
    config = tiny(tmp_path, "depth", networks={"one": NETWORK, "the same": NETWORK})
    value = run(config, "--output", tmp_path / "out", "--json").json
    one, same = value["parts"]
    assert {**one, "network": "the same"} == same and not (tmp_path / "out" / "norms-the_same-0").exists()


def test_options_from_a_table(run: Cli, tmp_path: Path) -> None:
    """Accuracies are looked up, and what the table says is what is reported."""
    from nni_plugins.evaluators.tables.table import digits_table

    changes = {
        "space": {**SPACE, "channels": 8},
        "truth": {"table": "digits", "metric": "accuracy"},
        "stand_alone": None,
        "options": ["D"],
    }
    [row] = run(tiny(tmp_path, "options", **changes), "--output", tmp_path / "out", "--json").json["parts"]
    table = digits_table()
    assert row["accuracy"] == table.value(table.space.parse(row["architecture"]), "accuracy")
    assert row["skips"] == row["architecture"].count("skip_connect") and 0 <= row["supernet_accuracy"] <= 100


def test_other_settings_in_the_same_folder(run: Cli, tmp_path: Path) -> None:
    assert run(tiny(tmp_path, "eta", trainable=["norms"]), "--output", tmp_path / "out").status == 0
    other = tiny(tmp_path, "eta", trainable=["norms"], network={**NETWORK, "width": 9})
    status, _, err = run(other, "--output", tmp_path / "out")
    assert status == 2 and "network.width: 8 -> 9" in err


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("lambda", {"initial": [0.5, 1.5]}, "less than or equal to 1"),
        ("lambda", {"initial": [0.5, 0.5]}, "initial: each may stand there once"),
        ("lambda", {"netwrok": NETWORK}, "did you mean 'network'?"),
        ("eta", {"training": {**TRAINING, "devices": 2}}, "a diagnosis trains on one device"),
        ("eta", {"objective": {"name": "random_label"}}, "did you mean 'random_labels'?"),
        ("options", {"truth": {"table": "digits"}}, "either truth or stand_alone"),
        ("options", {"stand_alone": None}, "but got neither"),
        ("options", {"search": {"option": "C"}}, "search.option: there is a search for each of `options`"),
        ("options", {"space": {"name": "mobilenetlike"}}, "no mixture over edges"),
        ("depth", {"networks": {"x": {"blocks": []}}}, "networks.x.blocks"),
        (
            "depth",
            {"networks": {"../../x": NETWORK}},
            "without slashes, the first of them no dot, but one is '../../x'",
        ),
        ("depth", {"networks": {"..": NETWORK}}, "the first of them no dot"),
        ("depth", {"networks": {"": NETWORK}}, "a name is up to 60 characters"),
        (
            "depth",
            {"networks": {"a b": NETWORK, "a_b": NETWORK}},
            "names must differ in more than blanks and underscores",
        ),
        ("depth", {"study": "lamda"}, "study: unknown 'lamda'; did you mean 'lambda'?"),
        ("depth", {"study": None}, "study: unknown None"),
        ("eta", {"study": "lambda", "seeds": [0]}, "seeds: no such key"),
        ("lambda", {"data": {"source": "npz", "path": "missing.npz"}}, "missing.npz"),
    ],
)
def test_wrong_files(run: Cli, tmp_path: Path, name: str, changes: dict[str, Any], message: str) -> None:
    status, out, err = run(tiny(tmp_path, name, **changes), "--output", tmp_path / "out", "--json")
    assert status == 2 and out == "" and message in " ".join(err.split()) and not (tmp_path / "out").exists()


def test_missing_files_and_those_of_other_commands(run: Cli, tmp_path: Path) -> None:
    assert "cannot read" in run(tmp_path / "none.yml").err
    answer = run(write(tmp_path / "rank.yml", file_of(load_experiment("rankstudy", {"truth": {}, "space": SPACE}), {})))
    assert answer.status == 2


# -- a search that has run ---------------------------------------------------------------------------------------------
def searched(folder: Path, seeds: int = 2) -> Path:
    """A run's folder as ``nni-plugins search`` leaves it, made by a real search of one epoch a seed."""
    from nni_plugins.evaluators import BilevelSettings, Supervised
    from nni_plugins.evaluators.data import load
    from nni_plugins.evaluators.data.settings import DataSettings
    from nni_plugins.spaces import NASBench201
    from nni_plugins.strategies.differentiable.search import search
    from nni_plugins.strategies.differentiable.settings import DifferentiableSettings

    space, images = NASBench201(nodes=3, channels=4, cells_per_stage=1), load(DataSettings(limit=100)).train
    training = BilevelSettings(epochs=2, batch_size=32, accelerator="cpu", hessian_every=1)
    for seed in range(seeds):
        search(
            space, images, Supervised(), DifferentiableSettings(), training, seed, 1, folder=folder / f"search-{seed}"
        )
    return folder


def test_a_search_that_has_run(run: Cli, tmp_path: Path) -> None:
    folder = searched(tmp_path / "run")
    value = run("search", folder, "--json").json
    pictures = {path.name for path in (folder / "diagnosis" / "report").glob("*.svg")}
    assert shareable(value, folder.parent) == json.loads((folder / "diagnosis" / "diagnosis.json").read_text())
    assert [part["search"] for part in value["parts"]] == ["search-0", "search-1"]
    assert [len(part["eigenvalues"]) for part in value["parts"]] == [2, 2]
    assert set(value["parts"][0]["entropy"]) == {"cell 0→1", "cell 0→2", "cell 1→2"}
    assert all("collapse" in line for line in value["reading"][:2])
    expected = {
        "skips.svg",
        "eigenvalue.svg",
        *(f"{kind}-search-{seed}.svg" for kind in ("alphas", "entropy") for seed in (0, 1)),
    }
    assert pictures == expected
    assert (folder / "diagnosis" / "parts.csv").read_text().startswith("search,epochs,result_epoch,skips,collapsed")
    assert value["parts"][0]["skips"][-1] == value["parts"][0]["architecture"].count("skip_connect")

    # One search alone; with what R-DARTS did, from the experiment's result; without probabilities, which is said.
    back = {"method": "early_stop", "epoch": 1, "abandoned": [{"epoch": 2, "eigenvalue": 3.0}]}
    (folder / "result.json").write_text(
        json.dumps({"searches": [{"seed": 0, "result": {"rollbacks": [back]}}, {"seed": 1}]})
    )
    (folder / "search-0" / "mixtures.jsonl").unlink()
    alone = run("search", folder / "search-0", "--output", tmp_path / "pictures", "--json").json
    pictures = {path.name for path in (tmp_path / "pictures" / "report").glob("*.svg")}
    assert pictures == {"skips.svg", "eigenvalue.svg"} and "wrote no mixtures.jsonl" in alone["reading"][-1]
    assert alone["parts"][0]["result_epoch"] == 1 and alone["parts"][0]["rollbacks"] == [
        {"method": "early_stop", "epoch": 1}
    ]
    (folder / "result.json").write_text("{}")
    assert "result.json is damaged" in run("search", folder).err


def test_folders_without_a_search(run: Cli, tmp_path: Path) -> None:
    status, _, err = run("search", tmp_path)
    assert status == 2 and "holds no search" in err
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
    assert "run.json" in run("search", tmp_path).err
    (tmp_path / "run.json").write_text('{"config": {"space": 3}}')
    assert "names no space" in run("search", tmp_path).err
    (tmp_path / "run.json").write_text(json.dumps({"config": {"space": ["nasbench201", {"nodes": 3}]}}))
    assert "no differentiable search" in run("search", tmp_path).err
