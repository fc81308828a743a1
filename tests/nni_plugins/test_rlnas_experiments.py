"""RLNAS' presets: the official values of each setting of the paper (CVPR 2021)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nni_plugins.experiment.file import read_experiment
from nni_plugins.presets import render_preset
from nni_plugins.spaces import DARTS, MobileNetLike, NASBench201, SearchSpace
from nni_plugins.strategies.evolution import Sizes


def settings(name: str, tmp_path: Path) -> Any:
    (tmp_path / "x.yml").write_text(render_preset(name))
    return read_experiment(tmp_path / "x.yml").settings


@pytest.mark.parametrize(
    ("name", "source", "classes", "limit"),
    [
        ("rlnas_nasbench201", "cifar10", 10, 25_000),
        ("rlnas_nasbench201_cifar100", "cifar100", 100, None),
        ("rlnas_nasbench201_imagenet16", "imagenet16_120", 120, None),
    ],
)
def test_nasbench201(tmp_path: Path, name: str, source: str, classes: int, limit: int | None) -> None:
    e = settings(name, tmp_path)
    assert (e.data.source, e.objective["classes"], e.search_limit) == (source, classes, limit)
    assert e.search_space == NASBench201() and e.search.variant(e.search_space) == "rlnas"
    t = e.training
    assert (t.epochs, t.batch_size, t.learning_rate, t.final_learning_rate, t.weight_decay) == (
        250,
        64,
        0.025,
        1e-3,
        5e-4,
    )
    assert (t.nesterov, t.gradient_clip, t.clip_value, t.decayed, t.normalise, t.schedule, t.share_cells) == (
        *(True, None, None, "all", True, "cosine", False),
    )


Row = tuple[Any, ...]
TRAININGS: dict[str, tuple[SearchSpace, str, Row, Row]] = {
    "rlnas_darts_cifar10": (
        DARTS(channels=16, cells=8),
        "rlnas-eye",
        (250, 64, 0.025, 1e-3, "cosine", 3e-4, "all", 5.0, None, True, "space", 1),
        (10, 0.0, None),
    ),
    "rlnas_darts_imagenet": (
        DARTS(channels=48, cells=14, stem="imagenet"),
        "rlnas-eye",
        (50, 512, 0.1, 5e-4, "linear", 4e-5, "convolutions", None, 5.0, False, "kaiming", 8),
        (1000, 0.1, 600_000_000),
    ),
    "rlnas_mobilenet_imagenet": (
        MobileNetLike(),
        "rlnas-mobilenet",
        (120, 512, 0.25, 5e-4, "linear", 4e-5, "convolutions_and_classifier", None, 5.0, False, "space", 8),
        (1000, 0.1, 475_000_000),
    ),
}
"""Space, angle; epochs, batch, rates, schedule, decay and what decays, clip by norm and by value, normalisation, initial
weights, devices; classes, smoothing and the limit of multiply-adds as the official code counts.
"""


@pytest.mark.parametrize("name", TRAININGS)
def test_darts_and_mobilenet(tmp_path: Path, name: str) -> None:
    e = settings(name, tmp_path)
    space, angle, training, (classes, smoothing, limit) = TRAININGS[name]
    t = e.training
    given = (t.epochs, t.batch_size, t.learning_rate, t.final_learning_rate, t.schedule, t.weight_decay, t.decayed)
    given += (t.gradient_clip, t.clip_value, t.normalise, t.initialisation, t.devices)
    assert given == training and (t.momentum, t.nesterov, t.share_cells, t.update) == (0.9, False, True, "all")
    assert e.search_space == space and e.search.variant(space) == angle
    assert e.search.evolution.sizes(space) == Sizes(50, 10, 25, 25)
    assert (e.search.evolution.generations, e.search.evolution.probability) == (20, 0.1)
    assert (e.objective["classes"], e.objective.get("smoothing", 0.0), e.objective["mode"]) == (
        classes,
        smoothing,
        "fixed",
    )
    if limit is None:
        assert not e.limits.given and e.data.augmentation is None
        return
    features = 768 if isinstance(space, DARTS) else 1728  # (2 in - 1) out there, in out here
    assert (e.limits.max_macs, e.limits.image_size) == (limit - (features - 1) * classes, 224)
    crop = e.data.augmentation
    assert (crop.kind, crop.size, crop.scale, crop.ratio, crop.lighting, crop.flip) == (
        *("resized_crop", 224, (0.08, 1.0), (1.0, 1.0), 0.1, True),
    )


def test_the_published_networks_meet_the_limits(tmp_path: Path) -> None:
    """RLNAS' own results under 600 and 475 M."""
    from nni_plugins.spaces.published import published

    for name, found in (
        ("rlnas_darts_imagenet", "darts_rlnas_imagenet_600m"),
        ("rlnas_mobilenet_imagenet", "mobilenetlike_rlnas"),
    ):
        e, entry = settings(name, tmp_path), published(found)
        assert e.limits.mask(entry.space, entry.space.encode([entry.architecture])).all(), name
    wider = published("darts_rlnas_cifar10")
    limits = settings("rlnas_darts_imagenet", tmp_path).limits
    assert not limits.mask(wider.space, wider.space.encode([wider.architecture])).any(), "629 M"
