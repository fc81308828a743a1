"""UnNAS-DARTS and segmentation as experiments: settings, presets, tuner, and whole runs on the smallest folders."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from nni_plugins.cli.report import draw_best, result_table
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.errors import ConfigError, LabelError
from nni_plugins.evaluators.files import shareable
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.stand_alone import plugin as stand_alone_plugin
from nni_plugins.experiment.file import read_experiment
from nni_plugins.experiment.jobs import Job
from nni_plugins.experiment.kinds import load_experiment
from nni_plugins.experiment.runner import run_experiment
from nni_plugins.portal.registration import tuner_entries
from nni_plugins.portal.tuner import job_of
from nni_plugins.portal.tuners import tuner_class
from nni_plugins.presets import preset, preset_names
from nni_plugins.spaces import DARTS
from nni_plugins.strategies import UnNASTraining
from nni_plugins.strategies.differentiable.plugin import UnNASDARTSPlugin
from nni_plugins.strategies.score import LOG_PROBABILITY

from .small import preset_file


class Row(NamedTuple):
    """One of the twelve official configurations. ``batch``: images, of which rotation makes
    four inputs each and the jigsaw nine tiles; ``size``: pixels a side that the network is trained on; ``rate``,
    ``architecture_rate``: learning rates.
    """

    data: str
    task: str
    epochs: int
    warmup: int
    batch: int
    rate: float
    architecture_rate: float
    weight_decay: float
    size: int
    gpus: int = 1


TABLE = (
    Row("imagenet", "cls", 2, 1, 64, 0.1, 3e-4, 3e-5, 224),
    Row("imagenet", "rot", 2, 1, 32, 0.05, 1.5e-4, 3e-5, 224),
    Row("imagenet", "col", 2, 1, 64, 0.1, 3e-4, 3e-5, 224),
    Row("imagenet", "jig", 2, 1, 32, 0.05, 1.5e-4, 3e-5, 255),
    Row("imagenet22k", "cls", 1, 0, 256, 0.4, 1.2e-3, 3e-5, 224, 4),
    Row("imagenet22k", "rot", 1, 0, 128, 0.2, 6e-4, 3e-5, 224, 4),
    Row("imagenet22k", "col", 1, 0, 256, 0.4, 1.2e-3, 3e-5, 224, 4),
    Row("imagenet22k", "jig", 1, 0, 128, 0.2, 6e-4, 3e-5, 255, 4),
    Row("cityscapes", "seg", 400, 0, 32, 0.1, 3e-4, 3e-4, 321),
    Row("cityscapes", "rot", 400, 0, 16, 0.05, 1.5e-4, 3e-4, 321),
    Row("cityscapes", "col", 400, 0, 16, 0.05, 1.5e-4, 3e-4, 321),
    Row("cityscapes", "jig", 400, 0, 32, 0.1, 3e-4, 3e-4, 321),
)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A dark and a bright half with a border at a place of its own: (16, 16, 3), and which is which: (16, 16), 2 on the
    border.
    """
    rng = np.random.default_rng(seed)
    border = int(rng.integers(4, 12))
    labels = np.repeat((np.arange(16) >= border).astype(np.uint8)[:, None], 16, axis=1)
    pixels = np.stack([60 + 140 * labels, 100 - 60 * labels, 120 + 0 * labels], -1) + rng.integers(0, 40, (16, 16, 3))
    labels[border] = 2
    return pixels, labels


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    root = tmp_path / "camvid"
    for split, count in (("train", 16), ("val", 4)):
        for i in range(count):
            pixels, labels = scene(i + 100 * (split == "val"))
            save(root / split / f"{i:02}.png", pixels)
            save(root / f"{split}annot" / f"{i:02}.png", labels)
    (root / "classes.txt").write_text("0 Dark\n1 Bright\n2 Border (ignore)\n")
    return root


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """Without any label."""
    for i in range(16):
        save(
            tmp_path / "cityscapes" / "leftImg8bit" / "train" / "ulm" / f"ulm_{i:06}_000019_leftImg8bit.png",
            scene(i)[0],
        )
    return tmp_path / "cityscapes"


def arguments(path: Path, **changes: Any) -> dict[str, Any]:
    """``tuner.classArgs`` of a search of two epochs on crops of 12 pixels, whose finding is listed."""
    whole: dict[str, Any] = {
        "space": {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1},
        "data": {
            "source": "segmentation",
            "path": str(path),
            "augmentation": {"kind": "scaled_crop", "size": 12, "nominal": 16},
        },
        "training": {"epochs": 2, "batch_size": 4, "warmup_epochs": 0, "accelerator": "cpu"},
        "evaluations": {},
        "baselines": [],
        "threads": 1,
        "found": 1,
    }
    return whole | changes


def experiment(path: Path, **changes: Any) -> Any:
    return load_experiment("unnasdarts", arguments(path, **changes))


def stand_alone(**more: Any) -> dict[str, Any]:
    training = {"epochs": 12, "batch_size": 4, "learning_rate": 0.1, "accelerator": "cpu"}
    return {"evaluator": "stand_alone", "training": training, **more}


OBJECTIVE = {"name": "segmentation", "channels": 4, "rates": [1]}
SEGMENTATION: dict[str, Any] = {
    "objective": OBJECTIVE,
    "evaluations": {"stand_alone": stand_alone(objective=OBJECTIVE)},
    "random": 1,
}


# -- settings ----------------------------------------------------------------------------------------------------------
def test_defaults() -> None:
    whole = load_experiment("unnasdarts", {})
    e: Any = whole.settings
    assert whole.name == "UnNASDARTS" and e.strategy.score is LOG_PROBABILITY and e.objective == {"name": "rotation"}
    assert e.training == UnNASTraining.model_validate({}) and (e.search.option, e.search.partial_channels) == ("B", 1)
    metric = whole.evaluators["stand_alone"].metric
    assert (metric.name, metric.unit, metric.larger_is_better) == ("accuracy", "%", True)


def test_what_is_trained_stand_alone(tmp_path: Path) -> None:
    """That which the images are for; a setting says otherwise."""

    def target(**more: Any) -> tuple[dict[str, Any], str]:
        plugin = experiment(tmp_path, evaluations={"mine": stand_alone(**more)}).evaluators["mine"]
        return plugin.target, plugin.metric.name

    assert target() == ({"name": "segmentation"}, "miou")
    other = {"name": "segmentation", "channels": 8, "rates": [1, 2, 3]}
    assert target(objective=other) == (other, "miou")
    assert target(objective={"name": "supervised"}) == ({"name": "supervised"}, "accuracy")
    assert target(data={"source": "digits"}) == ({"name": "supervised"}, "accuracy")
    random: Any = load_experiment("randomsearch", {"data": {"source": "segmentation", "path": str(tmp_path)}})
    assert random.evaluators["stand_alone"].metric.name == "miou"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"name": "rotatoin"}}, "unknown objective 'rotatoin'; did you mean 'rotation'"),
        (
            {"evaluations": {"mine": stand_alone(objective={"name": "segmentatoin"})}},
            "mine.objective: unknown objective 'segmentatoin'; did you mean 'segmentation'",
        ),
        ({"space": {"name": "nasnet"}}, "nasnet has no mixture over edges"),
        (
            {"training": {"epochs": 1}},
            "warmup_epochs < epochs must hold, or the architecture is never trained, but got 1 and 1",
        ),
        ({"space": {"name": "darts", "stem": "imagenett"}}, "unknown stem 'imagenett'"),
        ({"found": 10**9}, "found: input should be less than or equal to 10000, but got 1000000000"),
        ({"threads": 10**9}, "threads: input should be less than or equal to 1024"),
        ({"random": 1}, "random: 1 architectures are evaluated by nothing"),
    ],
)
def test_what_is_refused_at_once(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(tmp_path, **changes)


def test_what_is_refused_before_the_training(camvid: Path, cityscapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UnNASDARTSPlugin, "search", lambda *arguments: pytest.fail("a supernet is trained"))
    before = r"evaluations\.stand_alone would fail after the search: [\s\S]*"
    with pytest.raises(LabelError, match=before + r"no label maps[\s\S]*add an image of labels for each image"):
        experiment(cityscapes, evaluations={"stand_alone": stand_alone()}).prepare()
    (camvid / "valannot" / "02.png").unlink()
    with pytest.raises(LabelError, match=before + r"valannot/02\.png: this label image is missing"):
        experiment(camvid, **SEGMENTATION).prepare()
    shutil.rmtree(camvid / "val")
    stand_alone_plugin._load_images.cache_clear()
    with pytest.raises(LabelError, match=before + r"no images that stand-alone trainings[\s\S]*add a test part"):
        experiment(camvid, **SEGMENTATION).prepare()


# -- presets -----------------------------------------------------------------------------------------------------------
def test_presets() -> None:
    ours = sorted(name for name in preset_names() if preset(name).tuner == "UnNASDARTS")
    assert sorted([*(f"unnas_{row.data}_{row.task}" for row in TABLE), "unnas_photos"]) == ours and len(ours) == 13


OBJECTIVES: dict[str, dict[str, Any]] = {
    "cls": {"name": "supervised"},
    "rot": {"name": "rotation"},
    "col": {"name": "colorization"},
    "jig": {"name": "jigsaw", "grid": 3, "permutations": 1000, "seed": 0, "gray": 0.3},
    "seg": {"name": "segmentation", "ignore": 255, "channels": 64, "rates": [6]},
}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.data}_{row.task}")
def test_presets_have_the_papers_values(row: Row, tmp_path: Path) -> None:
    path = preset_file(f"unnas_{row.data}_{row.task}", tmp_path)
    e: Any = read_experiment(path).settings
    given = yaml.safe_load(path.read_text())
    named = given["tuner"]["classArgs"]["training"]
    where = {"memory_format", "compile", "precision", "accelerator", "checkpoint_seconds"}
    off = {"architecture_clip", "hessian_every", "stability", "most_skips", "learning_rate_warmup"}
    assert set(named) >= set(e.training.model_dump()) - where - off, "every value is written out"
    t = e.training
    assert (t.epochs, t.warmup_epochs, t.batch_size, t.learning_rate) == (row.epochs, row.warmup, row.batch, row.rate)
    assert (t.architecture_learning_rate, t.weight_decay) == (row.architecture_rate, row.weight_decay)
    assert (t.momentum, t.nesterov, t.gradient_clip, t.final_learning_rate, t.order, t.first) == (
        0.9,
        False,
        5.0,
        0.0,
        1,
        "architecture",
    )
    assert (t.architecture_betas, t.architecture_weight_decay, t.portion, t.shuffle_split) == (
        (0.5, 0.999),
        1e-3,
        0.5,
        True,
    )
    # lr and architecture lr are proportional to the batch: 0.1 and 3e-4 for 64 images, on Cityscapes for 32
    assert t.learning_rate / t.batch_size == pytest.approx(0.1 / (32 if row.data == "cityscapes" else 64))
    assert t.architecture_learning_rate == pytest.approx(3e-3 * t.learning_rate)
    assert t.devices == given["trainingService"]["trialGpuNumber"] == row.gpus
    space = e.search_space
    assert isinstance(space, DARTS) and (space.macro.width, space.macro.cells) == (
        16,
        12 if row.data == "cityscapes" else 8,
    )
    assert e.space["reductions"] == (1 if row.task == "seg" else 2)
    assert e.data.augmentation.size == row.size and e.data.augmentation.lighting == (0.0 if row.task == "col" else 0.1)
    assert e.objective == OBJECTIVES[row.task] and e.seeds == (1,)
    build_objective(e.objective)
    assert (e.evaluations == {}) == (row.task != "seg")
    if row.task == "seg":
        target = {"name": "segmentation", "ignore": 255, "channels": 256, "rates": [6, 12, 18]}
        assert e.evaluations["stand_alone"].objective == target
        assert e.evaluations["stand_alone"].training.epochs == 2700


def test_the_jigsaws_crop_is_255_of_256_pixels(tmp_path: Path) -> None:
    from nni_plugins.evaluators.data.crops import ResizedCrop
    from nni_plugins.evaluators.data.sources import _augmentation

    e: Any = read_experiment(preset_file("unnas_imagenet22k_jig", tmp_path)).settings
    crop = _augmentation(e.data, None, None)  # type: ignore[arg-type]
    assert isinstance(crop, ResizedCrop)
    drawn = torch.from_numpy(crop.draw(0, 0, 200))
    rows, columns = crop.windows((256, 256), drawn[:, 1 : 1 + 22].double())
    assert (rows.step == 1).all() and (columns.step == 1).all() and set(rows.start.tolist()) == {0.0, 1.0}


def test_the_preset_for_the_readers_own_photographs(tmp_path: Path) -> None:
    for i in range(8):
        save(tmp_path / "photos" / f"{i}.jpg", np.random.default_rng(i).integers(0, 256, (170, 200, 3)))
    e: Any = read_experiment(preset_file("unnas_photos", tmp_path)).settings
    assert e.data.path == str(tmp_path / "photos") and e.evaluations == {}
    images = load(e.data).train
    assert len(images) == 8 and images.size == (160, 160) and images.input_size == (64, 64)


# -- tuner -------------------------------------------------------------------------------------------------------------
def test_tuner(camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    (entry,) = [entry for entry in tuner_entries() if entry.class_name == "nni_plugins.portal.tuners.UnNASDARTS"]
    built = tuner_class("unnasdarts")(**arguments(camvid, **SEGMENTATION))
    assert built._problem is None and entry.name == "UnNASDARTS"
    sent: list[Any] = []
    (given,) = built.generate_multiple_parameters(
        [0], st_callback=lambda number, parameters: sent.append((number, parameters))
    )
    assert given["phase"] == "search" and given["trial"]["experiment"] == "UnNASDARTS"
    again: Any = load_experiment("unnasdarts", given["trial"]["settings"]).settings
    assert again.model_copy(update={"run_folder": None}) == built.experiment.settings
    assert again.evaluations["stand_alone"].objective == OBJECTIVE
    random = built.generate_multiple_parameters([1], st_callback=sent.append)
    assert [job_of(p) for p in random] == ["stand_alone-random-1"]
    said = {"default": 40.0, "miou": 40.0, "accuracy": 70.0, "loss": 1.0, "job": "stand_alone-random-1"}
    built.receive_trial_result(1, "", said)
    assert built.plan.jobs["stand_alone-random-1"].value["miou"] == 40.0


# -- whole runs --------------------------------------------------------------------------------------------------------
def test_segmentation(camvid: Path, tmp_path: Path) -> None:
    """A search on label maps, then stand-alone trainings on them that are measured by mIoU."""
    curve: list[dict[str, float]] = []
    jobs: dict[str, Job] = {}
    e = experiment(camvid, **SEGMENTATION)

    def note(job: Job, row: dict[str, float] | None, plan: Any) -> None:
        jobs[job.name] = job
        curve.extend([dict(row)] if row else [])

    result = run_experiment(e, tmp_path / "run", note)
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == shareable(result, tmp_path / "run")
    one = result["evaluations"]["stand_alone"]
    assert (one["metric"], one["unit"], one["larger_is_better"]) == ("miou", "%", True)
    rows = {row["source"]: row["evaluations"]["stand_alone"] for row in result["architectures"]}
    assert set(rows) == {"found", "random"}
    values = [row["evaluations"]["stand_alone"]["value"] for row in result["architectures"]]
    assert values == sorted(values, reverse=True) and values[0] > 60, (
        "two halves that differ in brightness can be told apart"
    )
    assert all(0 < row["value"] <= row["metrics"]["accuracy"] <= 100 for row in rows.values()), (
        "of two classes, mIoU is at most the share of right pixels"
    )
    assert one["mean"] == {source: row["value"] for source, row in rows.items()}
    for name, row in ((row["job"], row) for row in rows.values()):
        assert jobs[name].value["default"] == jobs[name].value["validation_miou"] == row["validation"]
        assert jobs[name].value["miou"] == row["value"]
        assert e.outcome(jobs[name]) == f"{row['value']:.2f} % miou"
    assert sum("architecture_accuracy" in row for row in curve) == 2
    # the networks that were trained are counted: their head is ASPP of 4 channels for 2 classes
    (search,) = result["searches"]
    assert search["result"]["head"] == [{"kind": "aspp", "channels": 4, "rates": [1]}, 2, 3] and search["result"][
        "image_size"
    ] == [12, 12]
    counted = {row["evaluations"]["stand_alone"]["job"]: row["parameters"] for row in result["architectures"]}
    assert counted == {name: jobs[name].value["parameters"] for name in counted}
    written = io.StringIO()
    Console(file=written, width=300).print(result_table(result))
    assert "stand_alone: miou (%)" in written.getvalue()
    assert draw_best(result, tmp_path) == tmp_path / "best.png"


def test_rotation_on_cityscapes_without_labels(cityscapes: Path, tmp_path: Path) -> None:
    result = run_experiment(experiment(cityscapes, found=3), tmp_path / "run")
    rows = result["architectures"]
    scores = [row["score"] for row in rows]
    assert [row["source"] for row in rows] == ["found"] * 3 and scores == sorted(scores, reverse=True)
    assert all(row["evaluations"] == {} and row["parameters"] > 0 for row in rows)
    assert result["searches"][0]["result"]["head"] == ["linear", 4, 3]


@pytest.mark.parametrize(
    "objective", [{"name": "colorization"}, {"name": "jigsaw", "grid": 2, "permutations": 24}], ids=lambda o: o["name"]
)
def test_other_tasks_without_labels(cityscapes: Path, tmp_path: Path, objective: dict[str, Any]) -> None:
    data = {**arguments(cityscapes)["data"], "augmentation": {"kind": "scaled_crop", "size": 16, "nominal": 16}}
    result = run_experiment(experiment(cityscapes, objective=objective, data=data), tmp_path / "run")
    (row,) = result["architectures"]
    (search,) = result["searches"]
    assert row["evaluations"] == {} and row["architecture"] == search["result"]["genotypes"][-1]
    assert search["default"] == row["score"] < 0 and np.isfinite(search["loss"])
