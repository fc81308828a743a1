"""Our networks in timm: names, timm's interface on every family, features, one training step with timm's own parts,
errors.
"""

from __future__ import annotations

import copy
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.errors import ConfigError, MissingBackend
from nni_plugins.evaluators.interchange import timm_models
from nni_plugins.evaluators.interchange.timm_network import bridge
from nni_plugins.spaces.cells import DARTS, NAO, NASNet, RobustDARTS
from nni_plugins.spaces.errors import SpaceError
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.mobilenet import MobileNetLike
from nni_plugins.spaces.nasbench101 import NASBench101
from nni_plugins.spaces.nasbench201 import NASBench201
from nni_plugins.spaces.published import names, published

timm = pytest.importorskip("timm")

SPACES: dict[str, ImageSpace] = {
    "darts": DARTS(channels=4, cells=6),
    "darts, imagenet": DARTS(channels=4, cells=4, stem="imagenet"),
    "robustdarts": RobustDARTS("S2", channels=4, cells=3),
    "nasnet": NASNet(channels=4, cells=3),
    "nao": NAO(channels=4, cells=3),
    "mobilenetlike": MobileNetLike(
        stem_channels=8, first_channels=8, stages=[[8, 2, 2], [12, 2, 2]], last_channels=32, dropout=0.2, classes=10
    ),
    "nasbench101": NASBench101(channels=8),
    "nasbench201": NASBench201(channels=4, cells_per_stage=1),
}
PUBLISHED = [name for name in names() if isinstance(published(name).space, ImageSpace)]
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def create(space: ImageSpace, row: int = 0, **options: Any) -> Any:
    """The space's generic model with an architecture drawn at random, and all arguments of the space."""
    arguments = {key: value for key, value in space.config().items() if key not in timm_models.TIMM_NAMES}
    defaults = {"num_classes": space.classes, "architecture": architecture(space, row)}
    return timm.create_model(f"{space.name}_network", **{**arguments, **defaults, **options})


def architecture(space: ImageSpace, row: int = 0) -> Any:
    return space.decode(space.sample(np.random.default_rng(0), row + 1))[row]


# -- names -------------------------------------------------------------------------------------------------------------
def test_names() -> None:
    generic = [
        f"{name}_network"
        for name in ("darts", "mobilenetlike", "nao", "nasbench101", "nasbench201", "nasnet", "robustdarts")
    ]
    listed = timm.list_models(module="timm_models")
    assert sorted(listed) == sorted([*PUBLISHED, *generic]) == timm_models.register()
    assert "darts_rlnas_cifar10" in timm.list_models("darts_*") and timm.is_model("mobilenetlike_rlnas")
    assert not timm.is_model("recurrent_nao") and not timm.list_pretrained("darts_*")
    assert timm.get_pretrained_cfg("darts_v2").input_size == (3, 224, 224)
    assert timm_models.darts_v2.__doc__.startswith("Genotype(normal=[('sep_conv_3x3', 0)")  # type: ignore[attr-defined]


def test_registering_again_changes_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = timm.model_entrypoint("darts_v2")
        assert "darts_v2" in timm_models.register() and timm.model_entrypoint("darts_v2") is before


def test_a_name_that_timm_knows_already(monkeypatch: pytest.MonkeyPatch) -> None:
    def stranger() -> None: ...

    monkeypatch.setitem(timm.models._registry._model_entrypoints, "darts_v2", stranger)
    with pytest.raises(
        ConfigError, match=r"two models are called 'darts_v2': tests\.evaluators\.test_timm_models\..*stranger"
    ):
        timm_models.register()


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.models", None)
    with pytest.raises(
        MissingBackend, match=r"timm is not installed.\nInstall it: pip install \'timm>=1\.0\.15\' torchvision"
    ):
        timm_models.register()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if n % 4 else name for n, name in enumerate(PUBLISHED)]
)
def test_every_published_network(name: str) -> None:
    """At full size, on the device that computes shapes only."""
    with torch.device("meta"):
        model = timm.create_model(name)
        size = model.pretrained_cfg["input_size"]
        assert size[1] == published(name).image_size and model.num_classes == published(name).space.config()["classes"]
        maps = model.eval().forward_intermediates(torch.empty(2, *size), intermediates_only=True)
        assert model.forward_head(maps[-1]).shape == (2, model.num_classes)
    assert [(info["num_chs"], size[1] // info["reduction"]) for info in model.feature_info] == [
        y.shape[1:3] for y in maps
    ]
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).in_channels == 3
    assert model.num_features == model.feature_info[-1]["num_chs"] == maps[-1].shape[1]
    costs = published(name).space.cost_table(32)(published(name).space.encode([published(name).architecture]))
    assert sum(p.numel() for p in model.parameters()) == costs.parameters[0]


@pytest.mark.parametrize("name", ["darts_rlnas_cifar10", "nasbench201_rf_darts"])
def test_a_published_network_in_full(name: str) -> None:
    model = timm.create_model(name).eval()
    ours = published(name).network().eval()
    ours.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), ours(IMAGES))


# -- timm's interface --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", SPACES)
def test_weights_go_both_ways(family: str) -> None:
    space = SPACES[family]
    ours, model = space.network(architecture(space)).eval(), create(space).eval()
    model.load_state_dict(ours.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), ours(IMAGES))
        ours.load_state_dict(create(space).state_dict())
    assert list(ours.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize("family", SPACES)
def test_interface(family: str) -> None:
    model = create(SPACES[family], in_chans=1, num_classes=5, global_pool="avgmax", drop_rate=0.5).eval()
    x = IMAGES[:, :1]
    features = model.forward_features(x)
    pooled = model.forward_head(features, pre_logits=True)
    assert (model.in_chans, model.num_classes) == (1, 5) and model.get_submodule(
        model.pretrained_cfg["first_conv"]
    ).in_channels == 1
    assert features.shape[1] == model.num_features == pooled.shape[1] == model.head_hidden_size
    torch.testing.assert_close(model.forward_head(features, True), pooled)
    torch.testing.assert_close(model(x), model.get_classifier()(pooled))
    last, (first,) = model.forward_intermediates(x, indices=[0])
    torch.testing.assert_close(last, features)
    assert (
        first.shape[1] == model.feature_info[0]["num_chs"]
        and len(model.forward_intermediates(x, 2, intermediates_only=True)) == 2
    )
    assert not torch.equal(
        model.train().forward_head(features), model.forward_head(features)
    )  # dropout of the pooled features
    model.eval().reset_classifier(7, "catavgmax")
    assert model(x).shape == (2, 7) and model.head_hidden_size == 2 * model.num_features
    model.reset_classifier(0, "")
    torch.testing.assert_close(model(x), features)
    with pytest.raises(ConfigError, match="leaves a feature map"):
        model.reset_classifier(3)
    with pytest.raises(ConfigError, match="only 'NCHW' exists"):
        model.forward_intermediates(x, output_fmt="NHWC")


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies(copied: Callable[[Any], Any]) -> None:
    model = create(SPACES["nasnet"]).eval()
    assert torch.equal(copied(model)(IMAGES), model(IMAGES)) and type(copied(model)) is type(model)


def test_no_classifier() -> None:
    model = create(SPACES["darts"], num_classes=0).eval()
    assert model(IMAGES).shape == (2, model.num_features) and isinstance(model.get_classifier(), torch.nn.Identity)


def test_dropout_of_the_space_is_the_default() -> None:
    space = SPACES["mobilenetlike"]
    assert isinstance(space, MobileNetLike) and space.dropout == 0.2
    wide = MobileNetLike(**{**space.config(), "dropout": 0.0})
    assert create(wide).head_drop.p == 0 and create(wide, drop_rate=0.3).head_drop.p == 0.3
    assert bridge(space.network(architecture(space))).head_drop.p == 0  # said by the caller there


def test_device_and_type() -> None:
    model = create(SPACES["nasbench201"], device="meta", dtype=torch.bfloat16)
    model.reset_classifier(3)
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}


def test_data_configuration_follows_the_stem() -> None:
    def of(*words: Any, **options: Any) -> Any:
        return timm.data.resolve_model_data_config(timm.create_model(*words, device="meta", **options))

    assert of("darts_v2")["mean"] == (0.485, 0.456, 0.406) and of("darts_v2")["input_size"] == (3, 224, 224)
    small = of("darts_v2", stem="cifar", channels=36, cells=20)
    assert (small["input_size"], small["mean"], small["crop_pct"]) == ((3, 32, 32), (0.4914, 0.4822, 0.4465), 1.0)
    assert of("darts_v2", stem="cifar", pretrained_cfg_overlay={"input_size": (3, 40, 40)})["input_size"] == (3, 40, 40)


# -- features ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", SPACES)
def test_features(family: str) -> None:
    space = SPACES[family]
    model = create(space, features_only=True).eval()
    full = create(space).eval()
    full.load_state_dict(model.state_dict(), strict=False)
    info, maps = model.feature_info, model(IMAGES)
    assert info.channels() == [y.shape[1] for y in maps] and info.reduction() == [64 // y.shape[2] for y in maps]
    assert info.get_dicts(["num_chs", "reduction", "module"]) == [
        {k: d[k] for k in ("num_chs", "reduction", "module")} for d in full.feature_info
    ]
    count = len(maps)
    hooked = timm.models.FeatureHookNet(
        copy.deepcopy(full), out_indices=tuple(range(count))
    )  # module names are those of the outputs
    getter = create(space, features_only=True, feature_cls="getter", out_indices=tuple(range(count))).eval()
    getter.model.load_state_dict(full.state_dict(), strict=False)
    for other in (hooked(IMAGES), getter(IMAGES), full.forward_intermediates(IMAGES)[1]):
        torch.testing.assert_close(other, maps)


@pytest.mark.parametrize(("out_indices", "expected"), [((1, 2), (1, 2)), ((-1,), (2,)), (2, (1, 2)), ([0, 2], (0, 2))])
def test_out_indices(out_indices: Any, expected: tuple[int, ...]) -> None:
    model = create(SPACES["nasbench201"], features_only=True, out_indices=out_indices)
    assert model.feature_info.out_indices == expected and model.feature_info.channels() == [4 * 2**i for i in expected]
    assert [y.shape[1] for y in model(IMAGES)] == model.feature_info.channels()


@pytest.mark.parametrize("family", SPACES)
def test_output_stride(family: str) -> None:
    space = SPACES[family]
    strides = [info["reduction"] for info in create(space).feature_info]
    model = create(space, features_only=True, output_stride=strides[-2]).eval()
    assert model.feature_info.reduction() == [*strides[:-1], strides[-2]]
    assert [64 // y.shape[2] for y in model(IMAGES)] == model.feature_info.reduction()
    assert create(space, output_stride=32).feature_info[-1]["reduction"] == strides[-1]
    with pytest.raises(SpaceError, match="output_stride"):
        create(space, output_stride=3 if strides[-1] > 3 else 1.5)


# -- training with timm's parts ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", ["darts", "nao", "mobilenetlike", "nasbench101", "nasbench201"])
def test_one_step_of_training(family: str) -> None:
    import timm.optim
    import timm.scheduler
    import timm.utils

    cells = family in ("darts", "nao")
    script = {
        "drop_rate": 0.1,
        "drop_block_rate": None,
        "global_pool": None,
        "bn_eps": None,
        "scriptable": False,
        "checkpoint_path": "",
    }
    model = create(SPACES[family], **script, **({"auxiliary": True, "drop_path_rate": 0.2} if cells else {})).train()
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert (
        len(groups) > 3
        and "classifier.weight" in groups[len(groups) - 1]
        and any(n.startswith("stem") for n in groups[0])
    )
    optimizer = timm.optim.create_optimizer_v2(model, opt="sgd", lr=0.1, weight_decay=1e-4, layer_decay=0.75)
    scheduler, _ = timm.scheduler.create_scheduler_v2(optimizer, num_epochs=3, warmup_epochs=1)
    ema = timm.utils.ModelEmaV3(model, decay=0.9)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    output = model(IMAGES[:, :, :32, :32])
    assert isinstance(output, tuple) == cells
    loss = sum(torch.nn.functional.cross_entropy(y, torch.tensor([1, 3])) for y in (output if cells else [output]))
    loss.backward()  # type: ignore[union-attr]
    optimizer.step()
    ema.update(model)
    scheduler.step(1)
    assert model.classifier.weight.ne(before["classifier.weight"]).any()
    assert not torch.equal(ema.module.classifier.weight, model.classifier.weight)
    assert ema.module.eval()(IMAGES).shape == (2, 10)
    if cells:
        model.reset_classifier(3)
        assert [y.shape for y in model.train()(IMAGES)] == [(2, 3), (2, 3)]
        model.reset_classifier(0)
        assert model(IMAGES).shape == (2, model.num_features) and not any(
            key.startswith("auxiliary") for key in model.state_dict()
        )


def test_weights_of_ones_own(tmp_path: Path) -> None:
    """timm adapts them to other classes and input channels, as it does its own."""
    space = SPACES["darts"]
    ours = create(space)
    torch.save(ours.state_dict(), tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth")}
    same = create(space, pretrained=True, pretrained_cfg_overlay=overlay)
    assert all(torch.equal(a, b) for a, b in zip(same.state_dict().values(), ours.state_dict().values(), strict=True))
    other = create(space, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3, in_chans=1).eval()
    assert other(IMAGES[:, :1]).shape == (2, 3)
    changed = {key for key, value in other.state_dict().items() if not torch.equal(value, ours.state_dict()[key])}
    assert changed == {"stem.first.0.weight", "classifier.weight", "classifier.bias"}
    torch.testing.assert_close(other.stem.first[0].weight, ours.stem.first[0].weight.sum(1, keepdim=True))


def test_a_folder_as_timm_saves_it(tmp_path: Path) -> None:
    model = timm.create_model("nao_v2", channels=4, cells=3, num_classes=4).eval()
    timm.models.save_for_hf(model, tmp_path / "model", safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    assert again.num_classes == 4 and torch.equal(again(IMAGES), model(IMAGES))


# -- errors ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("darts_v2", {"pretrained": True}, "darts_v2: no trained weights come with nni-plugins.\nUse pretrained=False"),
        ("darts_v2", {"chanels": 8}, "darts_v2: unknown argument 'chanels'; did you mean 'channels'"),
        ("darts_v2", {"classes": 8}, "unknown argument 'classes'.\nIn timm it is called 'num_classes'"),
        ("mobilenetlike_rlnas", {"dropout": 0.1}, "In timm it is called 'drop_rate'"),
        ("darts_v2", {"head": "pixels"}, "a linear head, but got head='pixels'"),
        ("darts_v2", {"drop_rate": 1.5}, "0 <= drop_rate < 1 must hold, but got drop_rate=1.5"),
        ("darts_v2", {"cells": 1}, "cells >= 3 must hold"),
        ("darts_network", {}, "darts_network: which architecture"),
        ("darts_network", {"architecture": "|nor_conv_3x3~0|"}, "Genotype"),
        ("darts_network", {"architecture": architecture(SPACES["nao"])}, "the architecture is of 'nao'"),
        ("darts_v2", {"features_only": True, "out_indices": (0, 4)}, "out_indices: stages 0 to 3 exist"),
        ("nasbench201_rf_darts", {"auxiliary": True}, "neither an auxiliary head nor dropped paths"),
        ("nasbench201_rf_darts", {"drop_path_rate": 0.1}, "neither an auxiliary head nor dropped paths"),
        ("nasbench201_rf_darts", {"nodes": 3}, "no such decision"),
    ],
)
def test_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, SpaceError)) as caught:
        timm.create_model(name, device="meta", **options)
    assert message in str(caught.value)


def test_another_head_has_no_interface_of_timm() -> None:
    space = SPACES["darts"].with_head("pixels", 5)
    with pytest.raises(ConfigError, match="needs a linear head, but this network ends in a PixelHead"):
        bridge(space.network(architecture(space)))
