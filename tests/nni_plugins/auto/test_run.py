"""The whole of it on small folders: what is left behind, what can be loaded, and what a second call does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nni_plugins.auto import plan
from nni_plugins.auto.plan import Request
from nni_plugins.auto.run import EXPERIMENT, auto
from nni_plugins.auto.verdict import LARGEST, Verdict
from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.training.stored import stored_weights
from nni_plugins.experiment.file import read_experiment

from .folders import write_classes, write_images

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks, two epochs, and no process beside this one."""
    size = plan.Size({"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1}, (32, 32), 64)
    monkeypatch.setattr(plan, "_sizes", lambda found: [size])
    monkeypatch.setattr(plan, "MOST_EPOCHS", 2)
    monkeypatch.setattr(plan, "RANDOM", 2)
    monkeypatch.setattr(plan, "REPEATS", 2)
    monkeypatch.setattr("nni_plugins.experiment.runner.side_by_side", lambda threads: 1)


def test_labelled_images(tmp_path: Path) -> None:
    request = Request(path=write_classes(tmp_path / "images", 30), minutes=10)
    said: list[str] = []
    outcome = auto(request, tmp_path / "run", said.append)
    assert any("They have labels: 3 classes" in sentence for sentence in said)
    assert outcome.verdict.sentence in outcome.page.read_text().replace("&#x27;", "'")
    assert read_experiment(tmp_path / "run" / EXPERIMENT).name == outcome.result["strategy"]
    assert {"model.pth.tar", "model.safetensors", "README.md", "architecture.svg"} <= set(outcome.files)
    for name in outcome.files:
        assert (outcome.model / name).stat().st_size > 0

    # a second call does nothing again, and one with other wishes is refused
    before = (tmp_path / "run" / "result.json").stat().st_mtime_ns, dict(outcome.result)
    jobs = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "jobs").iterdir()}
    assert auto(request, tmp_path / "run").verdict == outcome.verdict
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "jobs").iterdir()} == jobs
    assert before[1]["architectures"] == outcome.result["architectures"]
    with pytest.raises(ConfigError, match=r"other wishes: minutes: 10\.0 -> 20\.0"):
        auto(Request(path=request.path, minutes=20), tmp_path / "run")

    # the weights are those that were measured
    pytest.importorskip("timm")
    from nni_plugins.evaluators.retraining.checkpoints import load

    loaded = load(outcome.model / "model.pth.tar")
    assert loaded.classes == ("class0", "class1", "class2")
    from safetensors.torch import load_file

    stored = load_file(outcome.model / "model.safetensors")
    assert stored.keys() == loaded.network.state_dict().keys()
    assert all(torch.equal(value, loaded.network.state_dict()[key]) for key, value in stored.items())


def test_weights_of_the_largest_where_it_is_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    request = Request(path=write_classes(tmp_path / "images", 30), minutes=10)
    monkeypatch.setattr(Verdict, "taken", LARGEST)
    outcome = auto(request, tmp_path / "run")
    rows = outcome.result["architectures"]
    choices = next(row["choices"] for row in rows if row["source"] == LARGEST)
    jobs = [
        row["evaluations"]["measured"]["job"]
        for row in rows
        if row["choices"] == choices and row["evaluations"].get("measured")
    ]
    (folder,) = (tmp_path / "run" / job for job in jobs if (tmp_path / "run" / job / "initial.json").exists())
    trained = stored_weights(folder)
    from safetensors.torch import load_file

    stored = load_file(outcome.model / "model.safetensors")
    assert all(torch.equal(value, trained.final[key]) for key, value in stored.items())
    assert "The network that is the largest within the limit." in outcome.page.read_text()


def test_images_without_labels(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    outcome = auto(Request(path=write_images(tmp_path / "images", 60), minutes=10), tmp_path / "run")
    assert "weaker evidence" in outcome.page.read_text()
    assert {one["metric"] for one in outcome.result["evaluations"].values()} == {"accuracy"}
    from safetensors.torch import load_file

    # as the page says how to load them
    names: dict[str, object] = {}
    use = (outcome.model / "README.md").read_text().split("```python\n")[1].split("```")[0]
    exec(use.replace("'model.safetensors'", repr(str(outcome.model / "model.safetensors"))), names)
    network = names["network"]
    assert isinstance(network, torch.nn.Module) and network.num_classes == 0
    stored = load_file(outcome.model / "model.safetensors")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in stored.items())


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 60)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        auto(Request(path=images), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_damaged_plan(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 60)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "auto.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(CheckpointError, match="damaged"):
        auto(Request(path=images), tmp_path / "run")
