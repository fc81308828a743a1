"""UnNAS-DARTS and segmentation as experiments: settings, presets, tuner, and whole runs on the smallest folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nni_plugins.cli.report import best, draw_best, result_table
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.errors import ConfigError, LabelError
from nni_plugins.experiment import methods, phases
from nni_plugins.experiment.file import from_yaml
from nni_plugins.experiment.objectives import build_objective
from nni_plugins.experiment.run import run_experiment
from nni_plugins.experiment.scores import LOG_PROBABILITY, outcome
from nni_plugins.experiment.settings import RandomSearchExperiment, UnNASDARTSExperiment, check
from nni_plugins.portal.registration import _entries
from nni_plugins.portal.tuner import job_of
from nni_plugins.portal.tuners import UnNASDARTSTuner
from nni_plugins.presets import PRESETS, render
from nni_plugins.presets.unnas import TABLE, Row
from nni_plugins.spaces import DARTS
from nni_plugins.strategies import UnNASTraining

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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
        "stand_alone": None,
        "threads": 1,
        "found": 1,
    }
    return whole | changes


def settings(path: Path, **changes: Any) -> UnNASDARTSExperiment:
    return check(UnNASDARTSExperiment, arguments(path, **changes))


SEGMENTATION: dict[str, Any] = {
    "objective": {"name": "segmentation", "channels": 4, "rates": [1]},
    "stand_alone": {"epochs": 12, "batch_size": 4, "learning_rate": 0.1, "accelerator": "cpu"},
    "random": 1,
}


# -- settings ----------------------------------------------------------------------------------------------------------
def test_defaults() -> None:
    e = check(UnNASDARTSExperiment, {})
    assert e.strategy == "UnNASDARTS" and e.score is LOG_PROBABILITY and e.objective == {"name": "rotation"}
    assert e.training == UnNASTraining.model_validate({}) and (e.search.option, e.search.partial_channels) == ("B", 1)
    assert (e.target, e.metric) == ({"name": "supervised"}, "accuracy")


def test_what_is_trained_stand_alone(tmp_path: Path) -> None:
    """The search's own segmentation, or that which the images are for; a setting says otherwise."""
    assert settings(tmp_path).target == {"name": "segmentation"} and settings(tmp_path).metric == "miou"
    assert settings(tmp_path, **SEGMENTATION).target == SEGMENTATION["objective"]
    other = {"name": "segmentation", "channels": 8, "rates": [1, 2, 3]}
    assert settings(tmp_path, **SEGMENTATION, stand_alone_objective=other).target == other
    assert settings(tmp_path, stand_alone_objective={"name": "supervised"}).metric == "accuracy"
    random = check(RandomSearchExperiment, {"data": {"source": "segmentation", "path": str(tmp_path)}})
    assert (random.target, random.metric) == ({"name": "segmentation"}, "miou")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {"name": "rotatoin"}}, "unknown objective 'rotatoin'; did you mean 'rotation'"),
        (
            {"stand_alone_objective": {"name": "segmentatoin"}},
            "unknown objective 'segmentatoin'; did you mean 'segmentation'",
        ),
        ({"space": {"name": "nasnet"}}, "nasnet has no mixture over edges"),
        (
            {"training": {"epochs": 1}},
            "warmup_epochs < epochs must hold, or the architecture is never trained, but got 1 and 1",
        ),
        ({"space": {"name": "darts", "stem": "imagenett"}}, "unknown stem 'imagenett'"),
        ({"found": 10**9}, "found: input should be less than or equal to 10000, but got 1000000000"),
        ({"threads": 10**9}, "threads: input should be less than or equal to 1024"),
        ({"random": 1}, "random: 1 architectures cannot be trained with stand_alone: null"),
    ],
)
def test_what_is_refused_at_once(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path, **changes)


def test_what_is_refused_before_the_training(camvid: Path, cityscapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a supernet is trained")

    monkeypatch.setattr(methods, "differentiable", refuse)
    with pytest.raises(
        LabelError, match=r"no label maps, which the stand-alone[\s\S]*add an image of labels for each image"
    ):
        phases.run_search(settings(cityscapes, stand_alone={"epochs": 1}), 0, None, None)
    (camvid / "valannot" / "02.png").unlink()
    with pytest.raises(LabelError, match=r"valannot/02\.png: this label image is missing, which the stand-alone"):
        phases.run_search(settings(camvid, **SEGMENTATION), 0, None, None)
    shutil.rmtree(camvid / "val")
    with pytest.raises(LabelError, match=r"no images that the stand-alone trainings[\s\S]*add a test part"):
        phases.run_search(settings(camvid, **SEGMENTATION), 0, None, None)


# -- presets -----------------------------------------------------------------------------------------------------------
OURS = sorted(name for name, preset in PRESETS.items() if preset.tuner == "UnNASDARTS")


def test_presets_and_examples() -> None:
    assert sorted([*(f"unnas_{row.data}_{row.task}" for row in TABLE), "unnas_photos"]) == OURS and len(OURS) == 13
    files = {path.stem for path in EXAMPLES.glob("unnas_*.yml")}
    assert files == {"unnas_photos", "unnas_imagenet_rot", "unnas_imagenet22k_jig", "unnas_cityscapes_seg"}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.data}_{row.task}")
def test_presets_have_the_papers_values(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_text(render(f"unnas_{row.data}_{row.task}"))
    tuner, e = from_yaml(path)
    assert tuner == "unnasdarts" and isinstance(e, UnNASDARTSExperiment)
    given = yaml.safe_load(path.read_text())
    named = given["tuner"]["classArgs"]["training"]
    where = {"memory_format", "compile", "precision", "accelerator", "checkpoint_seconds"}
    off = {"architecture_clip", "hessian_every", "stability", "learning_rate_warmup"}
    assert set(named) >= set(e.training.model_dump()) - where - off, "every value is written out"
    t = e.training
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
    assert t.weight_decay == (3e-4 if row.data == "cityscapes" else 3e-5)
    assert (t.epochs, t.warmup_epochs) == {"imagenet": (2, 1), "imagenet22k": (1, 0), "cityscapes": (400, 0)}[row.data]
    assert t.devices == given["trainingService"]["trialGpuNumber"] == (4 if row.data == "imagenet22k" else 1)
    space = e.search_space
    assert isinstance(space, DARTS) and (space.macro.width, space.macro.cells) == (
        16,
        12 if row.data == "cityscapes" else 8,
    )
    assert e.data.augmentation is not None
    assert e.data.augmentation.size == (321 if row.data == "cityscapes" else 255 if row.task == "jig" else 224)  # type: ignore[union-attr]
    build_objective(e.objective)
    assert (e.stand_alone is None) == (row.task != "seg") and e.seeds == (1,)
    if row.task == "seg":
        assert e.target == {"name": "segmentation", "ignore": 255, "channels": 256, "rates": [6, 12, 18]}


def test_the_jigsaws_crop_is_255_of_256_pixels() -> None:
    from nni_plugins.evaluators.data.crops import ResizedCrop
    from nni_plugins.evaluators.data.sources import _augmentation

    _, e = from_yaml(EXAMPLES / "unnas_imagenet22k_jig.yml")
    crop = _augmentation(e.data, None)  # type: ignore[arg-type]
    assert isinstance(crop, ResizedCrop)
    drawn = torch.from_numpy(crop.draw(0, 0, 200))
    rows, columns = crop.windows((256, 256), drawn[:, 1 : 1 + 22].double())
    assert (rows.step == 1).all() and (columns.step == 1).all() and set(rows.start.tolist()) == {0.0, 1.0}


def test_the_example_of_the_readers_own_photographs(tmp_path: Path) -> None:
    for i in range(8):
        save(tmp_path / "photos" / f"{i}.jpg", np.random.default_rng(i).integers(0, 256, (170, 200, 3)))
    path = tmp_path / "search.yml"
    path.write_text(render("unnas_photos"))
    _, e = from_yaml(path)
    assert e.data.path == str(tmp_path / "photos") and e.stand_alone is None
    images = load(e.data).train
    assert len(images) == 8 and images.size == (160, 160) and images.input_size == (64, 64)


# -- tuner -------------------------------------------------------------------------------------------------------------
def test_tuner(camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setenv("NNI_CHECKPOINT_DIRECTORY", str(tmp_path / "checkpoint"))
    (entry,) = [entry for entry in _entries() if entry["className"] == "nni_plugins.portal.tuners.UnNASDARTSTuner"]
    built = UnNASDARTSTuner(**arguments(camvid, **SEGMENTATION))
    assert built._problem is None and entry["builtinName"] == "UnNASDARTS"
    sent: list[Any] = []
    (given,) = built.generate_multiple_parameters(
        [0], st_callback=lambda number, parameters: sent.append((number, parameters))
    )
    assert given["phase"] == "search" and given["trial"]["experiment"] == "unnasdarts"
    again = check(UnNASDARTSExperiment, given["trial"]["settings"])
    assert again.model_copy(update={"run_folder": None}) == built.settings and again.target == SEGMENTATION["objective"]
    assert [job_of(p) for p in built.generate_multiple_parameters([1], st_callback=sent.append)] == ["random-1"]
    built.receive_trial_result(1, "", {"default": 40.0, "miou": 40.0, "accuracy": 70.0, "loss": 1.0})  # type: ignore[arg-type]
    assert built.plan.jobs["random-1"].value["miou"] == 40.0


# -- whole runs --------------------------------------------------------------------------------------------------------
def test_segmentation(camvid: Path, tmp_path: Path) -> None:
    """A search on label maps, then stand-alone trainings on them that are measured by mIoU."""
    curve: list[dict[str, float]] = []
    result = run_experiment(
        settings(camvid, **SEGMENTATION), tmp_path / "run", lambda job, row: curve.append(dict(row)) if row else None
    )
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result and result["metric"] == "miou"
    rows = result["architectures"]
    assert {row["source"] for row in rows} == {"found", "random"} and rows[0]["miou"] >= rows[1]["miou"]
    assert all(0 < row["miou"] <= row["accuracy"] <= 100 for row in rows), (
        "of two classes, mIoU is at most the share of right pixels"
    )
    assert rows[0]["miou"] > 60, "two halves that differ in brightness can be told apart"
    means = {source: [row["miou"] for row in rows if row["source"] == source] for source in ("found", "random")}
    assert result["mean_miou"] == {source: pytest.approx(values[0]) for source, values in means.items()}
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())["jobs"]
    trained = [job["value"] for job in plan if job["phase"] != "search"]
    assert all(
        value["default"] == value["miou"] and outcome(value) == f"{value['miou']:.2f} % mIoU" for value in trained
    )
    assert sum("architecture_accuracy" in row for row in curve) == 2
    # the networks that were trained are counted: their head is ASPP of 4 channels for 2 classes
    (search,) = result["searches"]
    assert search["result"]["head"] == [{"kind": "aspp", "channels": 4, "rates": [1]}, 2, 3] and search["result"][
        "image_size"
    ] == [12, 12]
    by_name = {job["name"]: job["value"] for job in plan}
    assert all(row["parameters"] == by_name[row["job"]]["parameters"] for row in rows)
    assert "mIoU (%)" in [column.header for column in result_table(result).renderables[0].columns]  # type: ignore[union-attr]
    assert best(result) is not None and draw_best(result, tmp_path) == tmp_path / "best.png"


def test_rotation_on_cityscapes_without_labels(cityscapes: Path, tmp_path: Path) -> None:
    result = run_experiment(settings(cityscapes, found=3), tmp_path / "run")
    rows = result["architectures"]
    assert [row["status"] for row in rows] == ["listed"] * 3 and rows[0]["score"] >= rows[1]["score"] >= rows[2][
        "score"
    ]
    assert all(row["miou"] is None and row["accuracy"] is None and row["parameters"] > 0 for row in rows)
    assert result["searches"][0]["result"]["head"] == ["linear", 4, 3]


@pytest.mark.parametrize(
    "objective", [{"name": "colorization"}, {"name": "jigsaw", "grid": 2, "permutations": 24}], ids=lambda o: o["name"]
)
def test_other_tasks_without_labels(cityscapes: Path, tmp_path: Path, objective: dict[str, Any]) -> None:
    data = {**arguments(cityscapes)["data"], "augmentation": {"kind": "scaled_crop", "size": 16, "nominal": 16}}
    result = run_experiment(settings(cityscapes, objective=objective, data=data), tmp_path / "run")
    (row,) = result["architectures"]
    (search,) = result["searches"]
    assert row["status"] == "listed" and row["architecture"] == search["result"]["genotypes"][-1]
    assert search["default"] == row["score"] < 0 and np.isfinite(search["loss"])
