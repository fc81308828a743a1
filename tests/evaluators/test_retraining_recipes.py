"""Every recipe that comes with the package against numbers written down by hand, and recipes of one's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.retraining.recipes import FOLDER, changed, names, recipe
from nni_plugins.evaluators.retraining.schedules import rate
from nni_plugins.evaluators.retraining.settings import CropSettings, Recipe, TimmAugmentationSettings
from nni_plugins.spaces.registry import named_space

CIFAR10 = ((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768))
CIFAR100 = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
SVHN = ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# name: epochs, batch, learning rate, nesterov, weight decay, what decays, clip, pixels
OPTIMIZATION: dict[str, tuple[Any, ...]] = {
    "darts_cifar10": (600, 96, 0.025, False, 3e-4, "all", 5, 32),
    "darts_cifar100": (600, 96, 0.025, False, 3e-4, "all", 5, 32),
    "darts_imagenet": (250, 128, 0.1, False, 3e-5, "all", 5, 224),
    "digits": (20, 64, 0.1, True, 5e-4, "matrices", 5, 8),
    "mobilenetlike_imagenet": (240, 1024, 0.5, False, 4e-5, "convolutions", 5, 224),
    "modern": (300, 1024, 0.0035, False, 0.02, "matrices", None, 224),
    "modern_small": (300, 256, 0.002, False, 0.05, "matrices", 5, 32),
    "naov2_cifar10": (600, 128, 0.025, False, 5e-4, "all", 5, 32),
    "naov2_imagenet": (250, 128, 0.1, False, 3e-5, "all", 5, 224),
    "nasbench201_cifar10": (200, 256, 0.1, True, 5e-4, "all", None, 32),
    "nasbench201_cifar100": (200, 256, 0.1, True, 5e-4, "all", None, 32),
    "nasbench201_imagenet16": (200, 256, 0.1, True, 5e-4, "all", None, 16),
    "pcdarts_cifar10": (600, 96, 0.025, False, 3e-4, "all", 5, 32),
    "pcdarts_imagenet": (250, 1024, 0.5, False, 3e-5, "all", 5, 224),
    "rlnas_imagenet": (250, 1024, 0.5, False, 3e-5, "all", 5, 224),
    "robustdarts_cifar10": (600, 96, 0.025, False, 3e-4, "all", 5, 32),
    "robustdarts_cifar100": (600, 96, 0.025, False, 3e-4, "all", 5, 32),
    "robustdarts_svhn": (600, 96, 0.025, False, 3e-4, "all", 5, 32),
    "unnas_imagenet": (250, 1024, 0.5, True, 3e-5, "all", None, 224),
}
# name: smoothing and over what, auxiliary weight (None: no head), dropout, drop-path and its ramp
REGULARISATION: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ["darts_cifar10", "darts_cifar100", "robustdarts_cifar10", "robustdarts_cifar100", "robustdarts_svhn"],
        (0, "classes", 0.4, 0, 0.2, "epochs"),
    ),
    "pcdarts_cifar10": (0, "classes", 0.4, 0, 0.3, "epochs"),
    "naov2_cifar10": (0, "classes", 0.4, 0.4, 0.2, "depth_and_steps"),
    **dict.fromkeys(
        ["nasbench201_cifar10", "nasbench201_cifar100", "nasbench201_imagenet16"], (0, "classes", None, 0, 0, "epochs")
    ),
    **dict.fromkeys(
        ["darts_imagenet", "naov2_imagenet", "pcdarts_imagenet", "rlnas_imagenet"],
        (0.1, "classes", 0.4, 0, 0, "epochs"),
    ),
    "unnas_imagenet": (0.1, "others", 0.4, 0, 0, "epochs"),
    "mobilenetlike_imagenet": (0.1, "classes", None, 0.2, 0, "epochs"),
    "modern": (0, "classes", None, 0, 0.05, "constant"),
    "modern_small": (0.1, "classes", None, 0, 0.1, "constant"),
    "digits": (0.1, "classes", 0.4, 0, 0.1, "epochs"),
}
STATISTICS: dict[str, tuple[Any, ...] | None] = {
    **dict.fromkeys(["darts_cifar10", "pcdarts_cifar10", "naov2_cifar10", "robustdarts_cifar10"], CIFAR10),
    **dict.fromkeys(["darts_cifar100", "robustdarts_cifar100"], CIFAR100),
    "robustdarts_svhn": SVHN,
    "nasbench201_cifar10": ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),
    "nasbench201_cifar100": ((129.3 / 255, 124.1 / 255, 112.4 / 255), (68.2 / 255, 65.4 / 255, 70.4 / 255)),
    "nasbench201_imagenet16": ((122.68 / 255, 116.66 / 255, 104.01 / 255), (63.22 / 255, 61.26 / 255, 65.09 / 255)),
    **dict.fromkeys(
        ["darts_imagenet", "naov2_imagenet", "pcdarts_imagenet", "unnas_imagenet", "mobilenetlike_imagenet", "modern"],
        IMAGENET,
    ),
    "rlnas_imagenet": ((0, 0, 0), (1, 1, 1)),
    "modern_small": None,
    "digits": None,
}
# padding, flip, cutout; or ratio, colour jitter, lighting of photographs
AUGMENTATION: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        [name for name in OPTIMIZATION if name.endswith(("_cifar10", "_cifar100", "_svhn")) and "201" not in name],
        (4, 0.5, 16),
    ),
    "nasbench201_cifar10": (4, 0.5, 0),
    "nasbench201_cifar100": (4, 0.5, 0),
    "nasbench201_imagenet16": (2, 0.5, 0),
    "modern_small": (4, 0.5, 0),
    "digits": (1, 0, 0),
    **dict.fromkeys(
        ["darts_imagenet", "naov2_imagenet", "pcdarts_imagenet"], ((3 / 4, 4 / 3), (0.4, 0.4, 0.4, 0.2), 0)
    ),
    "rlnas_imagenet": ((1, 1), (), 0.1),
    "unnas_imagenet": ((3 / 4, 4 / 3), (), 0.1),
    **dict.fromkeys(["mobilenetlike_imagenet", "modern"], ((3 / 4, 4 / 3), (), 0)),
}


def test_the_tables_are_complete() -> None:
    assert list(names()) == sorted(OPTIMIZATION) == sorted(REGULARISATION) == sorted(STATISTICS) == sorted(AUGMENTATION)


@pytest.mark.parametrize("name", OPTIMIZATION)
def test_values_of_every_recipe(name: str) -> None:
    r = recipe(name)
    o, n, a = r.optimizer, r.network, r.augmentation
    assert (
        r.epochs,
        r.batch_size,
        o.learning_rate,
        o.nesterov,
        o.weight_decay,
        o.decay,
        o.gradient_clip,
        r.input.size,
    ) == OPTIMIZATION[name]
    assert o.name == {"modern": "lamb", "modern_small": "adamw"}.get(name, "sgd") and o.momentum == 0.9
    auxiliary = r.loss.auxiliary_weight if n.auxiliary else None
    assert (
        r.loss.smoothing,
        r.loss.smoothing_over,
        auxiliary,
        n.dropout,
        n.drop_path,
        n.drop_path_ramp,
    ) == REGULARISATION[name]
    assert r.loss.name == ("binary_cross_entropy" if name == "modern" else "cross_entropy")
    statistics = STATISTICS[name]
    if statistics is None:
        assert r.input.mean is None and r.input.std is None
    else:
        assert r.input.mean == pytest.approx(statistics[0], abs=1e-9) and r.input.std == pytest.approx(
            statistics[1], abs=1e-9
        )
    if isinstance(a, CropSettings):
        assert (a.padding, a.flip, a.cutout) == AUGMENTATION[name] and r.input.crop_pct == 1
    else:
        assert (a.ratio, a.colour_jitter, a.lighting) == AUGMENTATION[name] and (a.scale, a.flip) == ((0.08, 1.0), 0.5)
        assert r.input.crop_pct == (0.95 if name == "modern" else 0.875)
    assert r.drop_last == (name in ("unnas_imagenet", "modern", "modern_small"))
    ours = name.startswith("modern")
    assert (r.mix is not None) == (r.ema is not None) == (
        a.auto_augment is not None
    ) == ours and r.network.width is None
    if ours:
        assert r.mix is not None and (r.mix.mixup, r.mix.cutmix, a.auto_augment) == (0.1, 1.0, "rand-m7-mstd0.5-inc1")
        assert r.ema is not None and (r.ema.decay, r.ema.warmup) == (0.9998, True)
    assert r.source.startswith("Our choice") == (ours or name == "digits")


def test_sizes() -> None:
    """Width and depth of the papers; every entry is one that its space takes."""
    for name in names():
        for key, arguments in recipe(name).network.sizes.items():
            space, _, variant = key.partition(":")
            built: Any = named_space(space, {**arguments, **({"variant": variant.upper()} if variant else {})})
            assert {**built.config(), **arguments} == built.config()
            assert arguments["stem"] == ("imagenet" if recipe(name).input.size == 224 else "cifar")
    small, large = {"stem": "cifar", "channels": 16}, {"stem": "cifar", "channels": 36, "cells": 20}
    robust = recipe("robustdarts_cifar10").network.sizes
    assert [robust[f"robustdarts:s{i}"] for i in (1, 2, 3, 4)] == [
        large,
        {**small, "cells": 20},
        large,
        {**small, "cells": 20},
    ]
    for name in ("robustdarts_cifar100", "robustdarts_svhn"):
        assert recipe(name).network.sizes["robustdarts"] == recipe(name).network.sizes["darts"] == {**small, "cells": 8}
    assert recipe("darts_cifar10").network.sizes["darts"] == recipe("naov2_cifar10").network.sizes["nao"] == large
    assert recipe("nasbench201_imagenet16").network.sizes["nasbench201"] == {**small, "cells_per_stage": 5}
    for name in ("darts_imagenet", "pcdarts_imagenet", "rlnas_imagenet", "unnas_imagenet", "naov2_imagenet"):
        assert recipe(name).network.sizes["darts"] == {"stem": "imagenet", "channels": 48, "cells": 14}
        assert recipe(name).network.sizes["nao"] == {"stem": "imagenet", "channels": 52, "cells": 14}


def cosine(top: float, share: float) -> float:
    return top * (1 + math.cos(math.pi * share)) / 2


PER_EPOCH = 100
"""Updates an epoch in the traces."""
Trace = list[tuple[int, int, float]]
"""Epoch, update of the epoch, learning rate."""
TRACES: dict[str, Trace] = {
    "darts": [
        (0, 0, 0.025),
        (0, 99, 0.025),
        (150, 0, 0.0213388348),
        (300, 50, 0.0125),
        (450, 0, 0.0036611652),
        (599, 0, 1.7134614e-7),
    ],
    "nasbench201": [
        (0, 0, 0.1),
        (50, 99, 0.0853553391),
        (100, 0, 0.05),
        (150, 0, 0.0146446609),
        (199, 0, 6.1683749e-6),
    ],
    "exponential": [(0, 0, 0.1), (1, 99, 0.097), (2, 0, 0.09409), (10, 0, 0.0737424127), (249, 0, 0.1 * 0.97**249)],
    "pcdarts_imagenet": [
        *(
            (0, 0, 0.1),
            (1, 99, 0.2),
            (2, 0, 0.3),
            (3, 0, 0.4),
            (4, 0, 0.5),
            (5, 0, 0.5 * 240 / 245),
            (125, 0, 0.5 * 120 / 245),
        ),
        *(
            (244, 0, 0.5 / 245),
            (245, 0, 0.5 / 245),
            (246, 0, 0.4 / 245),
            (247, 0, 0.3 / 245),
            (248, 0, 0.2 / 245),
            (249, 99, 0.1 / 245),
        ),
    ],
    "rlnas_imagenet": [
        *((0, 0, 0.1), (1, 0, 0.5 * 244 / 245 * 0.4), (4, 0, 0.5 * 241 / 245), (5, 0, 0.5 * 240 / 245)),
        *((244, 0, 0.5 / 245), (245, 0, 0.5 / 245), (246, 0, 0.4 / 245), (249, 0, 0.1 / 245)),
    ],
    "unnas_imagenet": [
        *((0, 0, 0.05), (1, 99, 0.28 * cosine(0.5, 1 / 250)), (4, 0, 0.82 * cosine(0.5, 4 / 250))),
        *((5, 0, cosine(0.5, 5 / 250)), (125, 0, 0.25), (249, 0, cosine(0.5, 249 / 250))),
    ],
    "mobilenetlike_imagenet": [
        (0, 0, 0.5),
        (0, 1, 0.5 * 23999 / 24000),
        (120, 0, 0.25),
        (180, 50, 0.5 * 5950 / 24000),
        (239, 99, 0.5 / 24000),
    ],
    "modern": [
        *((0, 0, 3.5e-5), (0, 50, 3.5e-3 * (0.01 + 0.99 * 0.1)), (4, 99, 3.5e-3 * (0.01 + 0.99 * 499 / 500))),
        *(
            (5, 0, 1e-6 + cosine(3.499e-3, 5 / 300)),
            (150, 0, 1e-6 + 3.499e-3 / 2),
            (299, 99, 1e-6 + cosine(3.499e-3, 29999 / 30000)),
        ),
    ],
    "modern_small": [
        *((0, 0, 2e-5), (5, 0, 2e-3 * 0.505), (10, 0, 1e-6 + cosine(1.999e-3, 10 / 300))),
        *((150, 0, 1e-6 + 1.999e-3 / 2), (299, 99, 1e-6 + cosine(1.999e-3, 29999 / 30000))),
    ],
    "digits": [
        (0, 0, 0.01),
        (1, 0, 0.055),
        (2, 0, cosine(0.1, 0.1)),
        (10, 0, 0.05),
        (19, 99, cosine(0.1, 1999 / 2000)),
    ],
}


def traced(name: str) -> Trace:
    if name in TRACES:
        return TRACES[name]
    family = (
        "exponential"
        if name in ("darts_imagenet", "naov2_imagenet")
        else "nasbench201"
        if name.startswith("nasbench201")
        else "darts"
    )
    assert OPTIMIZATION[name][2] == TRACES[family][0][2]
    return TRACES[family]


@pytest.mark.parametrize("name", OPTIMIZATION)
def test_learning_rate_trace(name: str) -> None:
    r = recipe(name)
    for epoch, step, expected in traced(name):
        assert rate(r, epoch, epoch * PER_EPOCH + step, PER_EPOCH) == pytest.approx(expected, rel=1e-6), (epoch, step)


def test_changes() -> None:
    given = recipe("darts_cifar10")
    assert changed(given, {}) is given
    other = changed(
        given,
        {"optimizer.learning_rate": 0.1, "network.sizes.darts.channels": 24, "ema": {}, "mix.mixup": 0.2, "workers": 3},
    )
    assert (other.optimizer.learning_rate, other.optimizer.momentum, other.network.sizes["darts"]["cells"]) == (
        0.1,
        0.9,
        20,
    )
    assert other.network.sizes["darts"]["channels"] == 24 and given.network.sizes["darts"]["channels"] == 36
    assert other.ema is not None and other.mix is not None and other.mix.mixup == 0.2 and other.workers == 3
    assert (
        other.source
        == f"{given.source}; changed: ema, mix.mixup, network.sizes.darts.channels, optimizer.learning_rate"
    )
    again = changed(other, {"epochs": 5, "mix": None})
    assert again.mix is None and again.source.endswith(
        "; changed: ema, epochs, mix, mix.mixup, network.sizes.darts.channels, optimizer.learning_rate"
    )
    assert changed(given, {"workers": 2}).source == given.source
    photographs = changed(given, {"augmentation.kind": "timm"}).augmentation
    assert photographs == TimmAugmentationSettings()
    assert changed(given, {"augmentation": {"kind": "padded_crop", "cutout": 8}}).augmentation == CropSettings(cutout=8)
    assert Recipe.model_validate(yaml.safe_load(yaml.safe_dump(other.model_dump(mode="json")))) == other


def problem(name: str, changes: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        changed(recipe(name), changes) if changes else recipe(name)
    return str(caught.value)


def test_problems_are_named_together() -> None:
    assert problem("dart_cifar10").startswith("unknown recipe 'dart_cifar10'; did you mean 'darts_cifar10'")
    message = problem(
        "darts_cifar10",
        {"optimizer.learnin_rate": 0.1, "epochs": "many", "schedule.nam": 1, "augmentation.cutoff": 8, "batch_sise": 2},
    )
    for part in (
        "optimizer.learnin_rate: no such key; did you mean 'learning_rate'",
        "epochs: input should be a valid integer",
    ):
        assert part in message
    for part in (
        "schedule.nam: no such key; did you mean 'name'",
        "augmentation.cutoff: no such key; did you mean 'cutout'",
        "batch_sise",
    ):
        assert part in message
    assert "linear_tail goes by epochs" in problem("pcdarts_imagenet", {"schedule.per": "update"})
    assert "cooldown_epochs goes with cosine and linear" in problem("darts_imagenet", {"schedule.cooldown_epochs": 3})
    assert "linear_tail needs more than 5 epochs" in problem(
        "pcdarts_imagenet", {"epochs": 5, "schedule.warmup_epochs": 0}
    )


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    own, second = tmp_path / "short.yml", tmp_path / "shorter.yaml"
    own.write_text(
        "base: pcdarts_cifar10\nepochs: 50\noptimizer: {learning_rate: 0.05}\nnetwork: {sizes: {darts: {channels: 16}}}\n"
    )
    r = recipe(str(own))
    assert (r.epochs, r.optimizer.learning_rate, r.optimizer.weight_decay, r.network.drop_path) == (50, 0.05, 3e-4, 0.3)
    assert r.network.sizes["darts"] == {"stem": "cifar", "channels": 16, "cells": 20}
    assert r.source == f"{recipe('pcdarts_cifar10').source}; changed: epochs, network, optimizer"
    second.write_text("base: short.yml\nsource: mine\nepochs: 5\naugmentation: {kind: timm}\n")
    s = recipe(str(second))
    assert (s.source, s.epochs, s.optimizer.learning_rate, s.augmentation.kind) == ("mine", 5, 0.05, "timm")

    own.write_text("base: darts_cifar1\n")
    assert "base: unknown recipe 'darts_cifar1'; did you mean" in problem(str(own))
    own.write_text("base: shorter.yaml\n")
    assert "the file is based on itself" in problem(str(own))
    own.write_text("base: 3\n")
    assert "base: must be a recipe's name, but got 3" in problem(str(own))
    own.write_text("epochs: [1\n")
    assert "is not YAML" in problem(str(own))
    own.write_text("- epochs\n")
    assert "a recipe is a mapping, but this is list" in problem(str(own))
    own.write_text("epochs: 3\n")
    missing = problem(str(own))
    assert all(f"{key}: field required" in missing for key in ("source", "batch_size", "optimizer", "input"))
    assert "No such file" in problem(str(tmp_path / "none.yml"))
    own.write_bytes(b"#" * 1_000_001)
    assert "at most 1,000,000 are read" in problem(str(own))


def test_files_are_plain_mappings() -> None:
    """A recipe's file has only values that another YAML reader would read alike, and says where they come from."""
    for name in names():
        values = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
        assert len(values["source"]) > 40 and not {"checkpoint_seconds", "devices", "workers"} & set(values)
