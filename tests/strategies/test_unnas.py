"""UnNAS-DARTS: searches that never see a label, the paper's supernets, and supervised segmentation search."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import torch
from nni.nas.experiment import NasExperiment
from nni.nas.experiment import experiment as nni_experiment
from nni.tools.nnictl.config_utils import Experiments

from nni_plugins.evaluators import SupernetTraining
from nni_plugins.evaluators.data import ImageSet, load
from nni_plugins.evaluators.data.crops import ScaledCrop
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError, LabelError
from nni_plugins.evaluators.objectives import (
    Colorization,
    Jigsaw,
    Objective,
    RandomLabels,
    Rotation,
    Segmentation,
    Supervised,
    fitted,
)
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.training.settings import BilevelSettings, SupernetSettings
from nni_plugins.presets import preset, preset_names
from nni_plugins.spaces import DARTS, NASBench201
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.mixed import MixedSupernet
from nni_plugins.strategies import (
    DifferentiableSettings,
    DifferentiableTraining,
    Ranked,
    RFDARTSSettings,
    RLNASSettings,
    UnNASDARTS,
    UnNASTraining,
)
from nni_plugins.strategies.differentiable.search import search
from nni_plugins.strategies.rlnas.search import initialise
from nni_plugins.strategies.rlnas.search import search as rlnas

CAMVID = (
    Path(os.environ.get("NNI_PLUGINS_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "camvid_half"
)
OBJECTIVES: dict[str, Objective] = {
    "rotation": Rotation(),
    "colorization": Colorization(),
    "jigsaw": Jigsaw(grid=2),
    "random_labels": RandomLabels(4),
}


class Blind(ImageSet):
    """Images whose labels and label maps must not be asked for."""

    @property
    def labels(self) -> torch.Tensor:
        raise AssertionError("a label was read")

    @property
    def maps(self) -> torch.Tensor:
        raise AssertionError("a label map was read")


def noise(count: int = 24, size: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def bilevel(**changes: object) -> BilevelSettings:
    return BilevelSettings.model_validate(
        {"epochs": 2, "batch_size": 6, "warmup_epochs": 1, "shuffle_split": True, "accelerator": "cpu", **changes}
    )


def check_ranked(space: SearchSpace, ranked: list[Ranked], count: int) -> None:
    """Distinct and valid architectures, the largest score first."""
    assert len(ranked) == count == len({space.canonical(r.architecture) for r in ranked})
    assert all(space.parse(space.to_string(r.architecture)) == r.architecture for r in ranked)
    scores = [r.score for r in ranked]
    assert scores == sorted(scores, reverse=True) and torch.isfinite(torch.tensor(scores)).all()


# -- no labels ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("method", ["RLNAS", "UnNASDARTS", "RFDARTS"])
def test_searches_without_a_label(method: str, objective: Objective) -> None:
    images = Blind("noise", noise(), None)
    cells = NASBench201(nodes=3, channels=4, cells_per_stage=1)
    if method == "RLNAS":
        supernet = initialise(fitted(cells, objective, images), 0)
        settings = SupernetSettings.model_validate({"epochs": 1, "batch_size": 8, "accelerator": "cpu"})
        found = rlnas(
            supernet, SupernetTraining(images, objective, settings, seed=0), RLNASSettings.model_validate({}), 3
        )
        check_ranked(cells, found.ranked, 3)
        assert found.ranked[0].score > 0, "the weights turned"
        return
    space: SearchSpace = DARTS(channels=2, cells=3) if method == "UnNASDARTS" else cells
    result = search(
        space,
        images,
        objective,
        RFDARTSSettings() if method == "RFDARTS" else DifferentiableSettings(),
        bilevel(),
        0,
        3,
    )
    check_ranked(space, result.ranked, 3)
    assert len(result.genotypes) == 2 and space.to_string(result.ranked[0].architecture) == result.genotypes[-1]
    first, last = result.trained.history
    assert "architecture_loss" not in first and 0 <= last["architecture_accuracy"] <= 100


def test_images_that_are_blind() -> None:
    with pytest.raises(AssertionError, match="a label was read"):
        search(
            DARTS(channels=2, cells=3),
            Blind("noise", noise(), None),
            Supervised(),
            DifferentiableSettings(),
            bilevel(),
            0,
            1,
        )


# -- the strategy ------------------------------------------------------------------------------------------------------
def test_the_papers_values_on_imagenet() -> None:
    t = UnNASTraining.model_validate({})
    assert (t.epochs, t.batch_size, t.learning_rate, t.final_learning_rate, t.weight_decay, t.momentum, t.nesterov) == (
        2,
        64,
        0.1,
        0,
        3e-5,
        0.9,
        False,
    )
    assert (t.architecture_learning_rate, t.architecture_betas, t.architecture_weight_decay) == (
        3e-4,
        (0.5, 0.999),
        1e-3,
    )
    assert (t.order, t.first, t.warmup_epochs, t.portion, t.shuffle_split, t.gradient_clip) == (
        1,
        "architecture",
        1,
        0.5,
        True,
        5.0,
    )
    assert UnNASDARTS().settings == DifferentiableSettings()


def test_as_strategy_of_nni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nni_experiment, "Experiments", functools.partial(Experiments, home_dir=str(tmp_path)))
    images = Blind("noise", noise(), None)
    strategy = UnNASDARTS(top_k=2, warmup_epochs=0)
    space = NASBench201(nodes=3, channels=4, cells_per_stage=1)
    experiment = NasExperiment(
        space.supernet(), DifferentiableTraining(images, Rotation(), bilevel(epochs=1, warmup_epochs=0)), strategy
    )
    experiment.config.experiment_working_directory = str(tmp_path)
    try:
        experiment.run()
    finally:
        experiment.stop()
    assert strategy.result is not None
    exported = experiment.export_top_models(2, formatter="dict")
    assert exported == [r.architecture.as_dict() for r in strategy.result.ranked] and len(exported) == 2
    assert strategy.training.settings == bilevel(epochs=1, warmup_epochs=0)


def test_without_settings_the_papers_are_taken() -> None:
    strategy = UnNASDARTS()
    evaluator = DifferentiableTraining(Blind("noise", noise(130), None), Rotation())
    assert strategy._training(evaluator).settings == BilevelSettings.model_validate(
        UnNASTraining.model_validate({}).model_dump()
    )


def test_the_architecture_rests_during_the_warm_up() -> None:
    images, settings = Blind("noise", noise(), None), DifferentiableSettings()
    space = DARTS(channels=2, cells=3)
    result = search(space, images, Rotation(), settings, bilevel(epochs=2, warmup_epochs=1), 0, 1)
    initial, final = result.trained.initial["alphas.normal"], result.trained.final["alphas.normal"]
    assert (
        (initial != final).any() and result.genotypes[0] != "" and "architecture_loss" not in result.trained.history[0]
    )
    steps = 2  # of the second epoch: 12 images in batches of 6; Adam's first steps are about its learning rate each
    assert float((initial - final).abs().max()) < 1.5 * steps * 3e-4
    assert [row["learning_rate"] for row in result.trained.history] == pytest.approx([0.025, (0.025 + 0.001) / 2])


# -- the paper's supernets ----------------------------------------------------------------------------------------------
WEIGHTS = {
    "imagenet_cls": 2_185_872,
    "imagenet_rot": 1_929_900,
    "imagenet_col": 2_009_169,
    "imagenet_jig": 4_233_872,
    "imagenet22k_cls": 7_542_009,
    "cityscapes_rot": 2_630_828,
    "cityscapes_col": 2_710_097,
    "cityscapes_jig": 4_934_800,
    "cityscapes_seg": 1_412_475,
}
CLASSES = {"imagenet": 1000, "imagenet22k": 21_841, "cityscapes": 19}


@pytest.mark.parametrize("name", [n for n in preset_names() if n.startswith("unnas_") and n != "unnas_photos"])
@pytest.mark.slow
def test_weights_of_the_supernets(name: str) -> None:
    """ImageNet-22K's are those of ImageNet-1K where no label is used."""
    (_, data, task), arguments = name.split("_"), preset(name).classArgs
    size = arguments["data"]["augmentation"]["size"]
    pixels, classes = noise(2, size), tuple(str(c) for c in range(CLASSES[data]))
    images = ImageSet("two", pixels, torch.tensor([0, 1]), classes, maps=torch.zeros(2, size, size, dtype=torch.uint8))
    space = DARTS(**{key: value for key, value in arguments["space"].items() if key != "name"})
    with torch.device("meta"):
        supernet = MixedSupernet(
            fitted(space, build_objective(arguments["objective"]), images),
            DifferentiableSettings(**arguments["search"]).options,
        )
    architecture = supernet.architecture_parameters()
    ours = {id(parameter) for parameter in architecture.values()}
    counted = sum(p.numel() for p in supernet.parameters() if id(p) not in ours)
    known = WEIGHTS.get(f"{data}_{task}") or WEIGHTS[f"imagenet_{task}"]
    assert counted == known and sum(p.numel() for p in architecture.values()) == 2 * 14 * 8
    assert space.macro.strides()[-1] == (16 if task == "seg" else 32) and space.macro.stem.stride == 8


# -- supervised segmentation search ------------------------------------------------------------------------------------
def test_segmentation_search() -> None:
    """Left and right half are of different colours and classes; a quarter of the pixels has no class."""
    pixels = noise(16, 48) // 4
    pixels[:, :, :, 24:] += 160
    maps = torch.zeros(16, 48, 48, dtype=torch.uint8)
    maps[:, :, 24:] = 1
    maps[:, :24, :24] = 255
    images = ImageSet("halves", pixels, None, ("left", "right"), ScaledCrop(32, nominal=40), maps)
    space = DARTS(channels=2, cells=3, stem="imagenet", reductions=1)
    result = search(
        space,
        images,
        Segmentation(),
        DifferentiableSettings(),
        bilevel(epochs=6, batch_size=4, learning_rate=0.1),
        0,
        2,
    )
    check_ranked(space, result.ranked, 2)
    losses = [row["loss"] for row in result.trained.history]
    assert losses[-1] < 0.8 * losses[0] and result.trained.history[-1]["accuracy"] > 80


def test_segmentation_needs_label_maps_before_anything_is_trained() -> None:
    with pytest.raises(LabelError, match="no label maps"):
        search(
            DARTS(channels=2, cells=3),
            ImageSet("noise", noise(), None),
            Segmentation(),
            DifferentiableSettings(),
            bilevel(),
            0,
            1,
        )


@pytest.mark.skipif(not CAMVID.is_dir(), reason="CamVid is not in ../shared/data")
def test_segmentation_search_on_camvid() -> None:
    settings = {
        "source": "segmentation",
        "path": str(CAMVID),
        "limit": 8,
        "shape": [48, 64],
        "augmentation": {"kind": "scaled_crop", "size": 33, "nominal": 48},
    }
    images = load(DataSettings.model_validate(settings)).train
    space = DARTS(channels=2, cells=3, stem="imagenet", reductions=1)
    result = search(
        space, images, Segmentation(), DifferentiableSettings(), bilevel(epochs=1, batch_size=4, warmup_epochs=0), 0, 1
    )
    check_ranked(space, result.ranked, 1)
    assert len(images.classes) == 11 and 0 < result.trained.history[0]["loss"] < 6


# -- refused -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("objective", "size", "message"),
    [
        (Rotation(), (16, 20), "rotation needs square images, but these are 16 x 20 pixels"),
        (Jigsaw(grid=3), (8, 8), "a jigsaw of 3 x 3 tiles needs images of at least"),
    ],
)
def test_refused_images(objective: Objective, size: tuple[int, int], message: str) -> None:
    images = Blind("noise", torch.zeros(24, 3, *size, dtype=torch.uint8), None)
    with pytest.raises(ConfigError, match=message):
        search(DARTS(channels=2, cells=3), images, objective, DifferentiableSettings(), bilevel(), 0, 1)
