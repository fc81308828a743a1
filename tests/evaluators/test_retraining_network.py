"""What is trained: sizes by recipe, networks that timm.create_model makes again, counts, and every
refusal.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import nni_plugins.evaluators.interchange.timm_models  # noqa: F401 - timm gets to know our names
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.retraining.network import build, describe, sized
from nni_plugins.evaluators.retraining.settings import Recipe
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.subjects.resolver import image_subject
from nni_plugins.evaluators.subjects.subject import ImageSubject
from nni_plugins.spaces.cells import DARTS, NAO, NASNet, RobustDARTS
from nni_plugins.spaces.cells.darts import EdgeSpace
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.mobilenet import MobileNetLike
from nni_plugins.spaces.nasbench101 import NASBench101
from nni_plugins.spaces.nasbench201 import NASBench201

timm = pytest.importorskip("timm")

SPACES: dict[str, ImageSpace] = {
    "darts": DARTS(channels=4, cells=6),
    "darts, imagenet": DARTS(channels=4, cells=4, stem="imagenet"),
    "robustdarts": RobustDARTS("S2", channels=4, cells=3),
    "nasnet": NASNet(nodes=3, operations=["skip_connect", "conv_3x3"], concat="all", channels=4, cells=3),
    "nao": NAO(operations="middle", channels=4, cells=3),
    "mobilenetlike": MobileNetLike(
        stem_channels=8, first_channels=8, stages=[[8, 2, 2], [12, 2, 2]], last_channels=32, dropout=0.2
    ),
    "nasbench101": NASBench101(channels=8),
    "nasbench201": NASBench201(channels=4, cells_per_stage=1),
}
CELLS = ("darts", "darts, imagenet", "robustdarts", "nasnet", "nao")
NB201 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
SMALL = {"darts": {"stem": "cifar", "channels": 4, "cells": 3}}


def recipe(size: int = 32, **network: Any) -> Recipe:
    whole = {
        "source": "test",
        "epochs": 1,
        "batch_size": 4,
        "optimizer": {"learning_rate": 0.1},
        "input": {"size": size},
        "network": network,
    }
    return read(Recipe, whole)


def drawn(space: ImageSpace) -> ImageSubject:
    return image_subject(space.decode(space.sample(np.random.default_rng(1), 1))[0], space)


def again(description: dict[str, Any]) -> Any:
    name, arguments = json.loads(json.dumps(description))["timm"]
    return timm.create_model(name, **arguments)


def inference(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value for key, value in network.state_dict().items() if not key.startswith("auxiliary.")}


def same_network(one: ImageSubject, settings: Recipe, classes: int = 7) -> tuple[Any, dict[str, Any]]:
    """The trained network and its description, after comparing it with what timm makes of the description."""
    network, description = build(one, settings, classes, 3).eval(), describe(one, settings, classes)
    copy = again(description).eval()
    copy.load_state_dict(inference(network))
    x = torch.randn(2, 3, settings.input.size, settings.input.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = copy(x[:1])
        assert counter.get_total_flops() == 2 * description["macs"]
        torch.testing.assert_close(output, network(x[:1]))
        assert network(x).shape == (2, classes)
    assert sum(p.numel() for p in copy.parameters()) == description["parameters"]
    return network, description


# -- networks and descriptions -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", SPACES)
def test_every_space(family: str) -> None:
    one = drawn(SPACES[family])
    settings = recipe(auxiliary=True, drop_path=0.2, dropout=0.1)
    network, description = same_network(one, settings)
    space = SPACES[family]
    assert description["name"] == space.name and description["space"] == [
        space.name,
        space.with_head("linear", 7).config(),
    ]
    assert (
        space.parse(description["text"]) == one.architecture
        and description["architecture"] == one.architecture.as_dict()
    )  # type: ignore[union-attr]
    assert json.loads(json.dumps(description)) == description
    assert network.head_drop.p == 0.1 and network.num_classes == 7
    x = torch.zeros(2, 3, 32, 32)
    outputs = network.train()(x)
    if family in CELLS:
        assert [tuple(y.shape) for y in outputs] == [(2, 7), (2, 7)] and description["left_out"] == []
        assert [float(cell.drop_probability) for cell in network.cells] == pytest.approx([0.2] * len(network.cells))
    else:
        assert outputs.shape == (2, 7)
        assert [text.split(":")[0] for text in description["left_out"]] == ["network.auxiliary", "network.drop_path"]
        assert all(f"networks of {space.name} have no" in text for text in description["left_out"])


def test_published_at_the_size_of_the_recipe() -> None:
    _, description = same_network(image_subject("darts_v2"), recipe(sizes=SMALL))
    assert description["timm"] == ["darts_v2", {"num_classes": 7, "stem": "cifar", "channels": 4, "cells": 3}]
    assert (
        description["space"][1]["stem"] == "cifar" and description["name"] == "darts_v2" and description["notes"] == []
    )
    at_224 = describe(image_subject("darts_v2"), recipe(224, auxiliary=True), 1000)
    assert at_224["timm"] == ["darts_v2", {"num_classes": 1000}]
    assert (at_224["parameters"], round(at_224["macs"] / 1e6, 1)) == (4_718_752, 529.9), "UnNAS' network recounted"


def test_resnet18() -> None:
    """11.18 M parameters of 10 classes; timm's paper-sized 1.81 G multiply-adds at 224 are those of torch's own
    counter.
    """
    network, description = same_network(
        image_subject("resnet18"), recipe(auxiliary=True, drop_path=0.1, dropout=0.2, sizes=SMALL), 10
    )
    assert description["timm"] == ["resnet18", {"num_classes": 10}] and description["parameters"] == 11_181_642
    assert description["space"] is description["architecture"] is description["text"] is None
    assert description["left_out"] == ["network.auxiliary: resnet18 has no auxiliary head of ours"]
    rates = [module.drop_prob for module in network.modules() if type(module).__name__ == "DropPath"]
    assert rates and max(rates) == pytest.approx(0.1) and network.drop_rate == 0.2
    assert describe(image_subject("resnet18"), recipe(224), 1000)["macs"] == 1_814_073_344


def test_models_of_timm_with_a_will_of_their_own() -> None:
    """A network without dropped paths, one of a fixed image size, arguments of the recipe and of the subject."""
    assert describe(image_subject("vgg11"), recipe(drop_path=0.1), 10)["left_out"] == [
        "network.drop_path: vgg11 does not take timm's drop_path_rate"
    ]
    assert describe(image_subject("densenet121"), recipe(drop_path=0.1), 10)["left_out"][0].startswith(
        "network.drop_path: densenet121"
    )
    _, vit = same_network_without_count(
        image_subject("vit_tiny_patch16_224"), recipe(arguments={"depth": 1, "embed_dim": 48})
    )
    assert vit["timm"] == ["vit_tiny_patch16_224", {"num_classes": 7, "img_size": 32, "depth": 1, "embed_dim": 48}]
    deep = ImageSubject("vit_tiny_patch16_224", None, None, {"depth": 2})
    assert describe(deep, recipe(arguments={"depth": 1, "embed_dim": 48}), 7)["parameters"] > vit["parameters"]
    left = describe(image_subject("darts_v2"), recipe(sizes=SMALL, arguments={"depth": 1}), 7)["left_out"]
    assert left == ["network.arguments (depth): for timm's own models only"]


def same_network_without_count(one: ImageSubject, settings: Recipe) -> tuple[Any, dict[str, Any]]:
    network, description = build(one, settings, 7, 3), describe(one, settings, 7)
    again(description).load_state_dict(network.state_dict())
    return network, description


def test_weights_are_a_function_of_the_seed() -> None:
    before = torch.random.get_rng_state()
    for one, settings in (
        (image_subject("darts_v2"), recipe(sizes=SMALL, auxiliary=True)),
        (image_subject("resnet10t"), recipe()),
    ):
        first, same, other = (build(one, settings, 3, seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[key], same[key]) for key in first)
        assert any(not torch.equal(first[key], other[key]) for key in first)
        describe(one, settings, 3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_space_of_another_package() -> None:
    class Mine(EdgeSpace):
        name = "mine"

        def __init__(
            self, channels: int = 4, cells: int = 3, classes: int = 10, head: Any = "linear", input_channels: int = 3
        ) -> None:
            macro = {"channels": channels, "cells": cells, "classes": classes, "stem": "cifar", "reductions": 2}
            super().__init__(DARTS().sets, **macro, head=head, input_channels=input_channels)

        def config(self) -> dict[str, Any]:
            return {"channels": self.macro.width, "cells": self.macro.cells, **self._head_config()}

    one = drawn(Mine())
    description = describe(one, recipe(sizes={"mine": {"cells": 4}}), 5)
    assert description["timm"] is None and description["notes"] == [
        "timm.create_model knows no networks of mine; nni-plugins export writes this one."
    ]
    assert (
        build(one, recipe(), 5, 0)(torch.zeros(2, 3, 32, 32)).shape == (2, 5) and description["space"][1]["cells"] == 4
    )


# -- sizes -------------------------------------------------------------------------------------------------------------
def test_sizes_by_variant() -> None:
    sizes = {"robustdarts:s2": {"channels": 6}, "robustdarts": {"channels": 8, "cells": 4}, "darts": {"channels": 10}}
    for variant, channels, cells in (("S1", 8, 4), ("S2", 6, 8), ("S3", 8, 4)):
        config = sized(drawn(RobustDARTS(variant)), recipe(sizes=sizes)).config()
        assert (config["channels"], config["cells"], config["variant"]) == (channels, cells, variant)
    assert sized(drawn(NAO()), recipe(sizes=sizes)) == NAO(), "a space that is not listed keeps its arguments"
    assert sized(drawn(RobustDARTS("S1")), recipe(sizes={"robustdarts:S1": {"cells": 5}})).config()["cells"] == 5


def test_heads_and_channels_of_a_search_are_replaced() -> None:
    """A cell found by colorization: one input channel, an answer for each pixel."""
    found = drawn(DARTS(channels=4, cells=3, classes=313, head="pixels", input_channels=1))
    assert sized(found, recipe(), 5) == DARTS(channels=4, cells=3, classes=5)
    assert same_network(found, recipe())[1]["timm"][1]["num_classes"] == 7


def test_width_search() -> None:
    settings = recipe(
        224, width={"macs": [500e6, 600e6]}, sizes={"darts": {"stem": "imagenet", "channels": 16, "cells": 14}}
    )
    one = image_subject("darts_rlnas_cifar10")
    assert sized(one, settings, 1000).config()["channels"] == 46, "RLNAS, table 3"
    description = describe(one, settings, 1000)
    assert description["notes"] == ["46 channels, the largest of 44, 46 with 500 to 600 M multiply-adds"]
    assert (
        description["timm"] == ["darts_rlnas_cifar10", {"num_classes": 1000, "channels": 46}]
        and 500e6 <= description["macs"] <= 600e6
    )
    assert sized(one, settings, 60_000).config()["channels"] == 44, "60,000 classes count"


def test_notes_on_the_stem() -> None:
    cifar, imagenet = drawn(DARTS(channels=4, cells=3)), drawn(DARTS(channels=4, cells=3, stem="imagenet"))
    assert describe(cifar, recipe(63), 5)["notes"] == [] == describe(imagenet, recipe(64), 5)["notes"]
    assert describe(imagenet, recipe(63), 5)["notes"] == [
        "the imagenet stem is made for photographs, but images have 63 pixels a side; network.sizes.darts.stem changes it"
    ]
    assert describe(cifar, recipe(64), 5)["notes"][0].startswith("the cifar stem is made for small images")
    assert describe(imagenet, recipe(63, sizes={"darts": {"stem": "imagenet"}}), 5)["notes"] == [], (
        "the recipe chose it"
    )


# -- refusals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("darts_v2", {"sizes": {"dart": {}}}, r"network\.sizes\.dart: no such space; did you mean 'darts'"),
        (
            "darts_v2",
            {"sizes": {"darts": {"chanels": 3}}},
            r"network\.sizes\.darts\.chanels: no such argument; did you mean 'channels'",
        ),
        ("darts_v2", {"sizes": {"darts": {"cells": 2}}}, r"network\.sizes\.darts: cells >= 3 must hold"),
        ("darts_v2", {"sizes": {"darts": {"classes": 9}}}, r"network\.sizes\.darts\.classes: not a size"),
        (
            "darts_v2",
            {"sizes": {"nao:s1": {}, "recurrent": {}}},
            r"nao:s1: nao has no variants; network\.sizes\.recurrent: its networks take no",
        ),
        (
            "darts_v2",
            {"sizes": {"robustdarts:s5": {}}},
            r"network\.sizes\.robustdarts:s5: variant: unknown variant 'S5'",
        ),
        ("darts_v2", {"sizes": {"robustdarts": {"variant": "S2"}}}, r"robustdarts\.variant: not a size"),
        (
            "nao_v2",
            {"sizes": {"nao": {"operations": "middle"}}},
            r"network\.sizes\.nao: operations: another size is meant",
        ),
        ("darts_v2", {"sizes": SMALL, "width": {"macs": [1, 2]}}, "no width that 2 divides has .* Nearest: 2 channels"),
        ("mobilenetlike_rlnas", {"width": {"macs": [1, 2]}}, "networks of mobilenetlike have no number of channels"),
        ("resnet18", {"width": {"macs": [1, 2]}}, r"network\.width: resnet18 has no number of channels"),
        (
            "resnet18",
            {"arguments": {"pretrained": True}},
            "weights are not downloaded; give a file of them: pretrained_cfg_overlay",
        ),
        ("resnet18", {"arguments": {"checkpoint_path": "no.pth"}}, r"checkpoint_path: there is no file no\.pth"),
        (
            "resnet18",
            {"arguments": {"num_classes": 3, "drop_rate": 0.1}},
            r"num_classes: not given here.*drop_rate: not given here; set network\.dropout",
        ),
        ("resnet18", {"arguments": {"wings": 2}}, r"network\.arguments\.wings: resnet18 cannot be made"),
        ("resnet18.no_such_tag", {}, "Invalid pretrained tag"),
    ],
)
def test_refusals(model: str, settings: dict[str, Any], message: str) -> None:
    one, wrong = image_subject(model), recipe(**settings)
    for call in (lambda: describe(one, wrong, 10), lambda: build(one, wrong, 10, 0)):
        with pytest.raises(ConfigError, match=message):
            call()


@pytest.mark.parametrize(
    ("model", "side", "message"),
    [
        ("darts_v2", 16, "networks of darts need 32 pixels a side.*\nUse input.size=32 or more, or a cifar stem"),
        (
            "mobilenetlike_rlnas",
            31,
            "networks of mobilenetlike need 32 pixels a side.*but got 31.\nUse input.size=32 or more.",
        ),
        ("resnet18", 16, "resnet18 need 32 pixels a side"),
        ("vit_tiny_patch16_224", 8, "vit_tiny_patch16_224 (need 16|takes no images of 8 x 8)|cannot be made"),
    ],
)
def test_too_small_images(model: str, side: int, message: str) -> None:
    for call in (
        lambda: describe(image_subject(model), recipe(side), 10),
        lambda: build(image_subject(model), recipe(side), 10, 0),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_too_few_classes_and_no_space() -> None:
    for model in ("darts_v2", "resnet18"):
        for classes in (0, 1):
            with pytest.raises(ConfigError, match=f"classes >= 2 must hold, but the images have {classes}"):
                describe(image_subject(model), recipe(), classes)
            with pytest.raises(ConfigError, match="classes >= 2"):
                build(image_subject(model), recipe(), classes, 0)
    with pytest.raises(ConfigError, match="resnet18 is one of timm's own models: it has no space"):
        sized(image_subject("resnet18"), recipe())


def test_weights_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    trained = timm.create_model("resnet10t", num_classes=5)
    torch.save(trained.state_dict(), file)
    settings = recipe(arguments={"pretrained": True, "pretrained_cfg_overlay": {"file": str(file), "num_classes": 5}})
    network, description = same_network(image_subject("resnet10t"), settings)
    assert torch.equal(network.state_dict()["conv1.0.weight"], trained.state_dict()["conv1.0.weight"]), (
        "the classifier is new, the rest is not"
    )
    assert description["timm"] == ["resnet10t", {"num_classes": 7}]
    assert description["notes"] == ["the weights of the beginning come from the file in network.arguments.pretrained"]
