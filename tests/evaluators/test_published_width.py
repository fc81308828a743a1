"""Published architectures have the width with which their paper trained them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nni_plugins.evaluators.mmlab import recipes as transfer_recipes
from nni_plugins.evaluators.mmlab.transfer import backbone
from nni_plugins.evaluators.retraining import recipes
from nni_plugins.evaluators.retraining.network import describe, sized
from nni_plugins.evaluators.retraining.settings import PictureSettings
from nni_plugins.evaluators.subjects.resolver import image_subject
from nni_plugins.requests.retrain import RetrainRequest

UNNAS = [  # width, parameters and multiply-adds in millions on ImageNet; width and parameters on Cityscapes
    ("darts_v2", 48, 4.719, 529.9, 82, 9.565),
    ("darts_unnas_imagenet_cls", 44, 5.255, 581.1, 78, 10.202),
    ("darts_unnas_imagenet_rot", 42, 5.138, 551.5, 78, 10.393),
    ("darts_unnas_imagenet_col", 46, 4.935, 539.6, 80, 9.685),
    ("darts_unnas_imagenet_jig", 42, 5.184, 559.7, 78, 10.443),
    ("darts_unnas_imagenet22k_cls", 46, 5.196, 574.6, 80, 10.052),
    ("darts_unnas_imagenet22k_rot", 42, 5.002, 541.1, 78, 10.299),
    ("darts_unnas_imagenet22k_col", 42, 4.988, 539.7, 78, 10.290),
    ("darts_unnas_imagenet22k_jig", 42, 5.138, 552.2, 78, 10.391),
    ("darts_unnas_cityscapes_seg", 44, 5.130, 558.5, 80, 10.292),
    ("darts_unnas_cityscapes_rot", 42, 5.068, 546.9, 78, 10.343),
    ("darts_unnas_cityscapes_col", 54, 5.104, 584.9, 86, 9.517),
    ("darts_unnas_cityscapes_jig", 44, 4.959, 549.7, 80, 10.200),
]


@pytest.mark.parametrize(("name", "width", "parameters", "macs", "seg_width", "seg_parameters"), UNNAS)
def test_networks_of_unnas(
    name: str, width: int, parameters: float, macs: float, seg_width: int, seg_parameters: float
) -> None:
    """Official configurations, ``eval_phase/cls`` and ``seg``; all have 500 to 600 M and 9.5 to 10.5 M."""
    told = describe(image_subject(name), recipes.recipe("unnas_imagenet"), 1000)
    assert told["space"][1]["channels"] == width
    assert (round(told["parameters"] / 1e6, 3), round(told["macs"] / 1e6, 1)) == (parameters, macs)
    assert 500 <= macs <= 600 and 9.5 <= seg_parameters <= 10.5
    source = "UnNAS, table 1" if name in PRINTED else "UnNAS' network recounted"
    assert told["notes"][0].startswith(f"{width} channels, with which {name} stands in {source}")
    one = image_subject(name)
    chosen = backbone(one.name, one.space, one.architecture, transfer_recipes.recipe("unnas_cityscapes"))
    assert chosen.arguments["channels"] == seg_width and chosen.notes[0].startswith(f"{seg_width} channels, with which")
    space = type(one.space)(**{**chosen.arguments, "reductions": 1, "classes": 19}).with_head(ASPP, 19, 3)  # type: ignore[union-attr,misc]
    assert round(space.genotype_costs(space.genotype(one.architecture), (1025, 2049))[0] / 1e6, 3) == seg_parameters


PRINTED = {name for name, *_ in UNNAS} - {
    f"darts_unnas_{rest}"
    for rest in ("imagenet_jig", "imagenet22k_rot", "imagenet22k_col", "cityscapes_col", "cityscapes_jig")
}
ASPP: dict[str, Any] = {"kind": "aspp", "channels": 256, "rates": [6, 12, 18]}


def request(name: str, changes: dict[str, Any] | None = None, **arguments: Any) -> RetrainRequest:
    return RetrainRequest(
        architecture=name,
        recipe="unnas_imagenet",
        changes=changes or {},
        space_arguments=arguments,
        data=PictureSettings(path="digits"),
    )


@pytest.mark.parametrize(
    ("made", "channels"),
    [
        (request("darts_unnas_imagenet_rot"), 42),
        (request("darts_unnas_imagenet_rot", channels=50), 50),
        (request("darts_unnas_imagenet_rot", {"network.sizes.darts.channels": 40}), 40),
        (request("darts_unnas_imagenet_rot", {"network.sizes.darts": {"channels": 40}}), 40),
        (request("darts_unnas_imagenet_rot", {"network.sizes.darts.cells": 8}), 42),
        (request("darts_unnas_imagenet_rot", {"network.published": None}), 48),
        (request("darts_unnas_imagenet_rot", {"epochs": 300}), 42),
        (request("darts_unnas_imagenet_rot", {"input.size": 128}), 48),
        (request("darts_pdarts"), 48),
    ],
)
def test_what_precedes(made: RetrainRequest, channels: int) -> None:
    """What a person says; and the paper's width is one for the images that it was chosen for."""
    assert sized(made.subject, made.resolved).config()["channels"] == channels


def test_a_searched_width_precedes() -> None:
    changes = {"network.width": {"macs": [500e6, 600e6]}}
    made = request("darts_unnas_imagenet_rot", changes)
    assert sized(made.subject, made.resolved).config()["channels"] == 42, "the largest even one below 600 M"
    assert "the largest of" in describe(made.subject, made.resolved, 1000)["notes"][0]


def test_recipes_based_on_the_papers(tmp_path: Path) -> None:
    (tmp_path / "longer.yml").write_text("base: unnas_imagenet\nepochs: 300\n")
    (tmp_path / "wider.yml").write_text("base: unnas_imagenet\nnetwork: {sizes: {darts: {channels: 50}}}\n")
    one = image_subject("darts_unnas_imagenet_cls")
    for name, channels in (("longer", 44), ("wider", 50)):
        assert sized(one, recipes.recipe(str(tmp_path / f"{name}.yml"))).config()["channels"] == channels


def test_architectures_without_a_paper_say_so() -> None:
    recipe = recipes.recipe("unnas_imagenet")
    assert describe(image_subject("darts_pdarts"), recipe, 1000)["notes"] == [
        "48 channels, the recipe's own, for UnNAS has no width of this architecture; see nni-plugins width"
    ]
    assert describe(image_subject("darts_rlnas_cifar10"), recipes.recipe("rlnas_imagenet"), 1000)["notes"] == [
        "48 channels, with which darts_rlnas_cifar10 stands in RLNAS, table 3; channels given by you would precede"
    ]


def test_channels_of_a_backbone_that_a_person_gives() -> None:
    one, recipe = image_subject("darts_v2"), transfer_recipes.recipe("unnas_cityscapes")
    chosen = backbone(one.name, one.space, one.architecture, recipe, {"channels": 24})
    assert chosen.arguments["channels"] == 24 and not chosen.notes
    other = transfer_recipes.changed(recipe, {"backbone.sizes.darts.channels": 30})
    assert backbone(one.name, one.space, one.architecture, other).arguments["channels"] == 30
