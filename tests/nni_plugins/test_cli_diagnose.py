"""``nni-plugins diagnose`` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.studies.diagnose.presets import PRESETS, content
from nni_plugins.studies.diagnose.settings import STUDIES, from_yaml

from .small import Cli, write

NETWORK = {"block": "basic", "blocks": [1, 1], "width": 4}
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


def tiny(folder: Path, command: str, **changes: Any) -> Path:
    return write(folder / f"{command}.yml", {"study": command, **COMMON, **TINY[command], **changes})


# -- the commands ------------------------------------------------------------------------------------------------------
def test_alone_it_lists_what_there_is(run: Cli) -> None:
    status, out, _ = run()
    assert status == 0 and all(name in out for name in ("search", *STUDIES))
    assert set(run("--json").json) == {"search", *STUDIES}
    status, _, err = run("--json", "lambda", "x.yml")
    assert status == 2 and "--json stands before the command" in err and "nni-plugins diagnose lambda ... --json" in err


@pytest.mark.parametrize("command", ["search", "init", *STUDIES])
def test_help(run: Cli, command: str) -> None:
    status, out, _ = run(command, "--help")
    assert status == 0 and f"Example: nni-plugins diagnose {command}" in " ".join(out.split()) and "--json" in out


@pytest.mark.parametrize("study", STUDIES)
def test_init_writes_what_runs(run: Cli, tmp_path: Path, study: str) -> None:
    file = tmp_path / f"{study}.yml"
    assert run("init", file, "--study", study, "--json").json == {"file": str(file), "study": study}
    assert yaml.safe_load(file.read_text()) == content(study) and set(PRESETS) == set(STUDIES)
    assert file.read_text().startswith("# ") and f"nni-plugins diagnose {study} THIS_FILE" in file.read_text()
    assert from_yaml(file, study).data.source == "digits"
    status, _, err = run("init", file, "--study", study)
    assert status == 2 and "exists" in err and run("init", file, "--study", study, "--force").status == 0
    assert "did you mean" in run("init", tmp_path / "x.yml", "--study", "lamda").err


# -- studies -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("study", "parts", "key"),
    [("lambda", 2, "values"), ("eta", 2, "eta"), ("depth", 2, "test_error"), ("options", 2, "accuracy")],
)
def test_a_study_from_its_file(run: Cli, tmp_path: Path, study: str, parts: int, key: str) -> None:
    config, output = tiny(tmp_path, study), tmp_path / "out"
    value = run(study, config, "--output", output, "--json").json
    assert value == json.loads((output / "diagnosis.json").read_text()) and value["study"] == study
    assert len(value["parts"]) == parts and all(key in part for part in value["parts"]) and value["reading"]
    assert value["pictures"] == [f"{study}.png"] and (output / f"{study}.png").read_bytes()[:4] == b"\x89PNG"
    trained = {path: path.stat().st_mtime_ns for path in output.rglob("step-*.pt")}
    assert len(trained) >= parts
    (output / "diagnosis.json").unlink()
    answer = run(study, config, "--output", output, "--format", "svg")  # the second time nothing is trained
    assert answer.status == 0 and f"{study}.svg" in answer.out and value["reading"][0].split(":")[0] in answer.out
    again = json.loads((output / "diagnosis.json").read_text())
    assert {k: v for k, v in again.items() if k != "pictures"} == {k: v for k, v in value.items() if k != "pictures"}
    assert {path: path.stat().st_mtime_ns for path in output.rglob("step-*.pt")} == trained


def test_options_from_a_table(run: Cli, tmp_path: Path) -> None:
    """Accuracies are looked up, and what the table says is what is reported."""
    from nni_plugins.evaluators.tables.table import digits_table

    changes = {
        "space": {**SPACE, "channels": 8},
        "truth": {"table": "digits", "metric": "accuracy"},
        "stand_alone": None,
        "options": ["D"],
    }
    [row] = run("options", tiny(tmp_path, "options", **changes), "--output", tmp_path / "out", "--json").json["parts"]
    table = digits_table()
    assert row["accuracy"] == table.value(table.space.parse(row["architecture"]), "accuracy")
    assert row["skips"] == row["architecture"].count("skip_connect") and 0 <= row["supernet_accuracy"] <= 100


def test_other_settings_in_the_same_folder(run: Cli, tmp_path: Path) -> None:
    assert run("eta", tiny(tmp_path, "eta", trainable=["norms"]), "--output", tmp_path / "out").status == 0
    status, _, err = run(
        "eta", tiny(tmp_path, "eta", trainable=["norms"], network={**NETWORK, "width": 5}), "--output", tmp_path / "out"
    )
    assert status == 2 and "network.width: 4 -> 5" in err


@pytest.mark.parametrize(
    ("study", "changes", "message"),
    [
        ("lambda", {"initial": [0.5, 1.5]}, "less than or equal to 1"),
        ("lambda", {"initial": [0.5, 0.5]}, "initial: each value may stand there once"),
        ("lambda", {"netwrok": NETWORK}, "did you mean 'network'?"),
        ("eta", {"training": {**TRAINING, "devices": 2}}, "a diagnosis trains on one device"),
        ("eta", {"objective": {"name": "random_label"}}, "did you mean 'random_labels'?"),
        ("options", {"truth": {"table": "digits"}}, "either truth or stand_alone"),
        ("options", {"stand_alone": None}, "but got neither"),
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
        ("depth", {"study": "lambda"}, "Run: nni-plugins diagnose lambda"),
        ("depth", {"study": None}, "Set study: depth"),
        ("lambda", {"data": {"source": "npz", "path": "missing.npz"}}, "missing.npz"),
    ],
)
def test_wrong_files(run: Cli, tmp_path: Path, study: str, changes: dict[str, Any], message: str) -> None:
    status, out, err = run(study, tiny(tmp_path, study, **changes), "--output", tmp_path / "out", "--json")
    assert status == 2 and out == "" and message in " ".join(err.split()) and not (tmp_path / "out").exists()


def test_missing_and_broken_files(run: Cli, tmp_path: Path) -> None:
    assert "cannot read" in run("lambda", tmp_path / "none.yml").err
    (tmp_path / "broken.yml").write_text("a: [")
    assert "is not YAML" in run("lambda", tmp_path / "broken.yml").err
    (tmp_path / "list.yml").write_text("- a")
    assert "must be a mapping" in run("lambda", tmp_path / "list.yml").err


def test_settings_import_no_torch() -> None:
    code = "import nni_plugins.studies.diagnose.settings, nni_plugins.studies.diagnose.presets, nni_plugins.cli.diagnose, sys\nprint('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (answer.stdout.strip(), answer.returncode) == ("False", 0), answer.stderr


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
    assert value == json.loads((folder / "diagnosis" / "diagnosis.json").read_text())
    assert [part["search"] for part in value["parts"]] == ["search-0", "search-1"]
    assert [len(part["eigenvalues"]) for part in value["parts"]] == [2, 2]
    assert set(value["parts"][0]["entropy"]) == {"cell 0→1", "cell 0→2", "cell 1→2"}
    assert all("collapse" in line for line in value["reading"][:2])
    expected = {
        "skips.png",
        "eigenvalue.png",
        *(f"{kind}-search-{seed}.png" for kind in ("alphas", "entropy") for seed in (0, 1)),
    }
    assert set(value["pictures"]) == expected and all(
        (folder / "diagnosis" / name).stat().st_size > 1000 for name in expected
    )
    assert value["parts"][0]["skips"][-1] == value["parts"][0]["architecture"].count("skip_connect")

    # One search alone; with what R-DARTS did, from the experiment's result; without probabilities, which is said.
    back = {"method": "early_stop", "epoch": 1, "abandoned": [{"epoch": 2, "eigenvalue": 3.0}]}
    (folder / "result.json").write_text(
        json.dumps({"searches": [{"seed": 0, "result": {"rollbacks": [back]}}, {"seed": 1}]})
    )
    (folder / "search-0" / "mixtures.jsonl").unlink()
    alone = run("search", folder / "search-0", "--output", tmp_path / "pictures", "--format", "svg", "--json").json
    assert alone["pictures"] == ["skips.svg", "eigenvalue.svg"] and "wrote no mixtures.jsonl" in alone["reading"][-1]
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
