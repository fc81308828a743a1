"""Networks as backbones of detectors and segmentors: the torch part, OpenMMLab's registries, and its unmodified
configuration files.
"""

from __future__ import annotations

import copy
import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.mmlab import Backbone, check, feature_channels, install, unnas_segmentor
from nni_plugins.evaluators.mmlab.installation import installed, remedy
from nni_plugins.spaces import DARTS, NASBench201
from nni_plugins.spaces.errors import SpaceError
from nni_plugins.spaces.head_modules import ASPPHead
from nni_plugins.spaces.heads import Head
from nni_plugins.spaces.published import published
from nni_plugins.spaces.staged import Stage

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
SMALL = {"channels": 4, "cells_per_stage": 1}
TINY_DARTS: dict[str, Any] = {"architecture": "darts_v2", "arguments": {"channels": 4, "cells": 6}}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def small(**options: Any) -> Backbone:
    return Backbone(CELL, arguments=SMALL, **options)


def checkpoint(folder: Path, state: dict[str, Any], **more: Any) -> str:
    file = folder / "model_best.pth.tar"
    torch.save({"epoch": 3, "arch": "nasbench201_network", "state_dict": state, **more}, file)
    return str(file)


# -- which network, which maps -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, [(4, 4), (16, 8), (32, 16), (64, 32)]),
        ({"out_indices": (1, 2)}, [(16, 8), (32, 16)]),
        ({"out_indices": [-1]}, [(64, 32)]),
        ({"output_stride": 8}, [(4, 4), (16, 8), (32, 8), (64, 8)]),
        ({"output_stride": 16, "by": "fewer_reductions"}, [(4, 4), (16, 8), (32, 16)]),
        ({"in_channels": 1}, [(4, 4), (16, 8), (32, 16), (64, 32)]),
    ],
)
def test_channels_and_strides_are_those_of_the_maps(options: dict[str, Any], stages: list[tuple[int, int]]) -> None:
    backbone = Backbone(**TINY_DARTS, **options)
    maps = backbone.eval()(IMAGES[:, : options.get("in_channels", 3)])
    assert isinstance(maps, tuple) and [(y.shape[1], 64 // y.shape[2]) for y in maps] == stages
    assert list(zip(backbone.out_channels, backbone.out_strides, strict=True)) == stages
    assert feature_channels(**TINY_DARTS, **options) == [Stage(*stage) for stage in stages]


def test_timms_models_come_the_same_way() -> None:
    backbone = Backbone("resnet18", out_indices=(1, 3), output_stride=8)
    assert (backbone.out_channels, backbone.out_strides) == ([64, 256], [4, 8])
    assert [tuple(y.shape) for y in backbone(IMAGES)] == [(2, 64, 16, 16), (2, 256, 8, 8)]
    usual = [Stage(64, 4), Stage(128, 8), Stage(256, 16), Stage(512, 32)]
    assert feature_channels("resnet18") == usual and feature_channels("resnet18", every=True) == [Stage(64, 2), *usual]
    whole = Backbone("resnet18")
    assert whole.out_strides == [4, 8, 16, 32] and [64 // y.shape[2] for y in whole(IMAGES)] == [4, 8, 16, 32]
    assert Backbone("test_resnet", arguments={"stem_type": "deep"}).subject.arguments == {"stem_type": "deep"}


def test_maps_begin_at_stride_4_unless_one_says_otherwise() -> None:
    """Of a network with a map of stride 2, which would shift a RetinaNet's anchors by one level."""
    backbone = Backbone("mobilenetlike_rlnas").eval()
    assert backbone.out_strides == [4, 8, 16, 32] == [64 // y.shape[2] for y in backbone(IMAGES)]
    every = feature_channels("mobilenetlike_rlnas", every=True)
    assert [stage.stride for stage in every] == [2, 4, 8, 16, 32]
    assert Backbone("mobilenetlike_rlnas", out_indices=range(5)).out_strides == [2, 4, 8, 16, 32]


def test_every_way_to_say_which(tmp_path: Path) -> None:
    space = NASBench201(**SMALL)
    point = space.parse(CELL)
    (tmp_path / "found.json").write_text(point.to_json())
    described = {
        "name": "cell",
        "space": ["nasbench201", space.config()],
        "architecture": point.as_dict(),
        "timm": None,
    }
    file = checkpoint(tmp_path, space.network(point).state_dict(), nni_plugins={"schema": 1, "description": described})
    ways: list[dict[str, Any]] = [
        {"architecture": CELL, "arguments": SMALL},
        {"architecture": CELL, "space": "nasbench201", "arguments": SMALL},
        {"architecture": point.to_json(), "arguments": SMALL},
        {"architecture": {"schema": 1, "space": point.space, "choices": point.as_dict()}, "arguments": SMALL},
        {"architecture": str(tmp_path / "found.json"), "arguments": SMALL},
        {"architecture": file},
        {"architecture": file, "checkpoint": False},
    ]
    built = [Backbone(**way) for way in ways]
    assert all(
        b.subject.architecture == point and b.subject.space == space and b.out_channels == [4, 8, 16] for b in built
    )
    assert [b.checkpoint for b in built] == [None] * 5 + [file, None]
    wider = Backbone(file, arguments={"channels": 8}, checkpoint=False)
    assert wider.out_channels == [8, 16, 32]
    torch.save(
        {
            "state_dict": {},
            "nni_plugins": {"description": {"space": None, "timm": ["test_resnet", {"num_classes": 5}]}},
        },
        file,
    )
    assert Backbone(file).subject.name == "test_resnet"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"architecture": "recurrent_darts"}, ConfigError, "whose networks take no images"),
        ({"architecture": "darts_v3"}, ConfigError, "did you mean"),
        ({"architecture": "resnet19"}, ConfigError, "did you mean"),
        (
            {"architecture": "darts_v2", "space": "nao"},
            ConfigError,
            "of the space 'darts', but the space given is 'nao'",
        ),
        ({"architecture": CELL, "arguments": {"chanels": 3}}, ConfigError, "did you mean 'channels'"),
        ({"architecture": CELL, "out_indices": (7,)}, SpaceError, "stages 0 to 2 exist"),
        ({"architecture": CELL, "output_stride": 64}, SpaceError, "the stages' strides are"),
        ({"architecture": CELL, "frozen_stages": 9}, ConfigError, "has 3 stages, but got 9"),
        ({"architecture": CELL, "frozen_stages": 0}, ConfigError, "frozen_stages=1 is the least"),
        ({"architecture": CELL, "norm_cfg": {"type": "GN", "num_groups": 8}}, ConfigError, "norm_cfg: keys num_groups"),
        ({"architecture": CELL, "norm_cfg": {"type": "LN"}}, ConfigError, "norm_cfg: type 'LN'"),
        ({"architecture": CELL, "depth": 50}, ConfigError, r"no argument 'depth'[\s\S]*_delete_=True"),
        (
            {"architecture": CELL, "pretrained": "torchvision://resnet50"},
            ConfigError,
            "Set pretrained=None in the model",
        ),
        ({"architecture": "test_resnet", "by": "fewer_reductions"}, ConfigError, "cannot leave reductions out"),
        ({"architecture": "test_resnet", "out_indices": (9,)}, ConfigError, "timm's test_resnet cannot be a backbone"),
        ({"architecture": "test_resnet", "out_indices": (2, 1)}, ConfigError, "ascend"),
        ({"architecture": "test_resnet", "arguments": {"pretrained": True}}, ConfigError, "checkpoint="),
        ({"architecture": "nowhere.json"}, ConfigError, "nowhere.json: no such file"),
        ({"architecture": "nowhere.pth.tar"}, ConfigError, "nowhere.pth.tar: no such file"),
    ],
)
def test_what_cannot_be_a_backbone(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Backbone(**options)


def test_a_checkpoint_must_say_what_it_is_of(tmp_path: Path) -> None:
    file = checkpoint(tmp_path, {})
    with pytest.raises(
        CheckpointError, match=r"its network is not described[\s\S]*Name the architecture, .*checkpoint"
    ):
        Backbone(file)
    torch.save({"nni_plugins": {"description": {"space": ["nasbench201"]}}}, file)
    with pytest.raises(CheckpointError, match="its description is damaged"):
        Backbone(file)


# -- weights -----------------------------------------------------------------------------------------------------------
def test_weights_of_a_checkpoint_are_those_of_the_moving_average(tmp_path: Path) -> None:
    space = NASBench201(**SMALL)
    networks = [space.network(space.parse(CELL)) for _ in range(2)]
    file = checkpoint(
        tmp_path,
        networks[0].state_dict(),
        state_dict_ema={**networks[1].state_dict(), "auxiliary.classifier.weight": torch.ones(3)},
    )
    backbone = small(checkpoint=file)
    backbone.init_weights()
    expected = networks[1].features_only()
    assert all(torch.equal(a, b) for a, b in zip(backbone.eval()(IMAGES), expected.eval()(IMAGES), strict=True))
    other = Backbone(CELL, arguments={**SMALL, "channels": 8}, checkpoint=file)
    with pytest.raises(
        CheckpointError, match=r"of another shape \(stem.*instead of.*\.\.\.\)\.\n.*fewer_reductions"
    ) as caught:
        other.init_weights()
    assert caught.value.problem.count("instead of") == 3


@pytest.mark.parametrize("model", [CELL, "test_resnet"])
def test_what_retraining_leaves_behind(tmp_path: Path, model: str) -> None:
    """Its file alone says which network, and has the weights."""
    from nni_plugins.evaluators.retraining.checkpoints import save
    from nni_plugins.evaluators.retraining.network import build, describe
    from nni_plugins.evaluators.retraining.settings import Recipe
    from nni_plugins.evaluators.subjects.resolver import image_subject

    sizes = {"sizes": {"nasbench201": SMALL}, "arguments": {"stem_type": "deep"} if model == "test_resnet" else {}}
    recipe = Recipe.model_validate(
        {
            "source": "test",
            "epochs": 1,
            "batch_size": 2,
            "optimizer": {"learning_rate": 0.1},
            "input": {"size": 64},
            "network": sizes,
        }
    )
    one = image_subject(model)
    network = build(one, recipe, 5, seed=3)
    file = tmp_path / "last.pth.tar"
    facts: dict[str, Any] = {"recipe": recipe, "classes": list("abcde"), "normalisation": ([0.5] * 3, [0.5] * 3)}
    save(
        file,
        network=network,
        ema=None,
        description=describe(one, recipe, 5),
        epoch=1,
        metrics={"top1": 50.0},
        seed=3,
        data={},
        **facts,
    )
    backbone = Backbone(str(file), out_indices=(0, 1))
    backbone.init_weights()
    expected = network.eval().forward_intermediates(IMAGES, indices=[0, 1], intermediates_only=True)  # type: ignore[operator]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(backbone.eval()(IMAGES), expected, strict=True))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_weights_of_timms_models(tmp_path: Path, name: str) -> None:
    """timm's feature extractors call the same weights otherwise: ``stages_0.`` for ``stages.0.``, and ``model.`` in
    front.
    """
    import timm

    arguments = {"img_size": 64} if name == "test_vit" else {}
    whole = timm.create_model(name, num_classes=5, **arguments)
    with torch.no_grad():
        for weight in whole.parameters():
            weight.normal_(std=0.1)
    file = checkpoint(tmp_path, whole.state_dict())
    backbone = Backbone(name, arguments=arguments, out_indices=(0, 1), checkpoint=file)
    backbone.init_weights()
    expected = whole.eval().forward_intermediates(IMAGES, indices=[0, 1], intermediates_only=True)
    found = backbone.eval()(IMAGES)
    assert len(found) == 2 and (
        name == "test_convnext" or all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
    )
    same = [
        key
        for key, value in backbone.network.state_dict().items()
        if any(torch.equal(value, other) for other in whole.state_dict().values())
    ]
    assert same == list(backbone.network.state_dict())
    with pytest.raises(CheckpointError, match=f"missing.*[\\s\\S]*It must hold weights of timm's {name}"):
        Backbone(name, arguments=arguments, checkpoint=checkpoint(tmp_path, {"foreign": torch.ones(1)})).init_weights()


# -- what learns -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "one", [{"architecture": CELL, "arguments": SMALL}, {"architecture": "test_resnet"}, TINY_DARTS]
)
@pytest.mark.parametrize("frozen", [1, 2])
def test_frozen_stages_keep_weights_and_statistics(one: dict[str, Any], frozen: int) -> None:
    backbone = Backbone(**one, frozen_stages=frozen, out_indices=(1, 2))  # stage 0 is frozen, but not returned
    before = copy.deepcopy(backbone.state_dict())
    whole = Backbone(**one, out_indices=range(3))
    whole.load_state_dict(before, strict=False)
    first = whole.eval()(IMAGES)[frozen - 1]
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], 0.1)
    maps = backbone.train()(IMAGES)
    assert len(maps) == 2
    sum(y.square().mean() for y in maps).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert all((p.grad is not None) == p.requires_grad for p in backbone.parameters())
    whole.load_state_dict(backbone.state_dict(), strict=False)
    after = whole.eval()(IMAGES)
    assert torch.equal(after[frozen - 1], first) and not torch.equal(
        after[2], Backbone.forward(_restored(whole, before), IMAGES)[2]
    )
    changed = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert any("running_mean" in key for key in changed)


def _restored(backbone: Backbone, state: dict[str, torch.Tensor]) -> Backbone:
    backbone.load_state_dict(state, strict=False)
    return backbone.eval()


def test_weights_behind_the_last_map_do_not_learn() -> None:
    """Processes that train together would wait for their gradients for ever."""
    backbone = small(out_indices=(0,))
    learning = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert learning and len(learning) < len(list(backbone.parameters()))
    backbone(IMAGES)[0].sum().backward()
    assert {name for name, p in backbone.named_parameters() if p.grad is not None} == learning
    assert all(p.requires_grad for p in small().parameters())


def test_building_leaves_no_trace() -> None:
    torch.manual_seed(1)
    network = small().network
    expected = torch.rand(1)
    torch.manual_seed(1)
    space = NASBench201(**SMALL)
    same = space.features(space.parse(CELL))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), same.state_dict().values(), strict=True)
    )
    assert torch.equal(torch.rand(1), expected)


def test_batch_norms() -> None:
    norms = [m for m in small(norm_eval=True).train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms) and all(m.weight.requires_grad for m in norms)
    backbone = small(norm_cfg={"type": "SyncBN", "requires_grad": False, "eps": 0.01, "momentum": 0.2})
    norms = [
        m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)
    ]  # one device: not a SyncBatchNorm, which refuses the CPU
    assert norms and all(
        (m.eps, m.momentum, m.weight.requires_grad, m.training) == (0.01, 0.2, False, True) for m in norms
    )
    assert any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("one", [{"architecture": CELL, "arguments": SMALL}, {"architecture": "test_resnet"}])
def test_batch_norms_of_several_devices(monkeypatch: pytest.MonkeyPatch, one: dict[str, Any]) -> None:
    plain = Backbone(**one)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    synced = Backbone(**one, frozen_stages=1, norm_cfg={"type": "SyncBN"}).train()
    norms = [m for m in synced.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert norms and not any(isinstance(m, nn.BatchNorm2d) for m in synced.modules())
    assert list(synced.state_dict()) == list(plain.state_dict())
    assert {m.training for m in norms} == {True, False} and all(m.training == m.weight.requires_grad for m in norms)


# -- UnNAS on Cityscapes -----------------------------------------------------------------------------------------------
CITYSCAPES = {
    "darts_v2": (82, "9.565", "9.6"), "darts_unnas_imagenet_cls": (78, "10.202", "10.2"), "darts_unnas_imagenet_rot": (78, "10.393", "10.4"),
    "darts_unnas_imagenet_col": (80, "9.685", "9.7"), "darts_unnas_imagenet_jig": (78, None, None),
    "darts_unnas_imagenet22k_cls": (80, "10.052", "10.1"), "darts_unnas_imagenet22k_rot": (78, None, None),
    "darts_unnas_imagenet22k_col": (78, None, None), "darts_unnas_imagenet22k_jig": (78, "10.391", "10.4"),
    "darts_unnas_cityscapes_seg": (80, "10.292", "10.3"), "darts_unnas_cityscapes_rot": (78, "10.343", "10.3"),
    "darts_unnas_cityscapes_col": (86, None, None), "darts_unnas_cityscapes_jig": (80, None, None),
}  # fmt: skip
"""Width in the official files; parameters in millions recounted from the official code, and as table 2 prints them."""


@pytest.mark.parametrize("name", CITYSCAPES)
def test_cityscapes_networks_have_the_papers_parameters(name: str) -> None:
    width, recounted, printed = CITYSCAPES[name]
    model = unnas_segmentor(name, width)
    options = dict(model["backbone"])
    assert options.pop("type") == "NASBackbone"
    entry = published(name)
    space = entry.space_with(**options["arguments"])
    with torch.device("meta"):
        body = space.features(entry.architecture, None, options["output_stride"], options["by"])  # type: ignore[attr-defined]
    head = Head("aspp", channels=model["decode_head"]["channels"], rates=model["decode_head"]["dilations"][1:])
    found = sum(p.numel() for p in body.parameters()) + head.parameters(
        model["decode_head"]["in_channels"], model["decode_head"]["num_classes"]
    )
    assert 9.5e6 <= found <= 10.5e6, "the paper's range"
    assert (body.stage_info[-1].stride, body.stage_info[-1].channels) == (16, 8 * width)
    if recounted is not None:
        assert f"{found / 1e6:.3f}" == recounted and f"{found / 1e6:.1f}" == printed
    counts = [
        c.parameters for c in entry.counts if c.image_size == (1025, 2049) and len(c.parameters.partition(".")[2]) == 4
    ]
    assert counts == [f"{found / 1e6:.3f}M"]


# -- with OpenMMLab's packages -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def mm() -> Iterator[None]:
    """Skips where they are not installed; fails where they are, but do not work."""
    if missing := [name for name in ("mmcv", "mmengine", "mmdet", "mmseg") if installed(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed ({remedy()})")
    check()
    import nni_plugins.evaluators.mmlab.backbones
    import nni_plugins.evaluators.mmlab.heads  # noqa: F401

    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    yield
    logging.disable(disabled)


def model(config: Any, scope: str) -> Any:
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import MODELS, DefaultScope

    with DefaultScope.overwrite_default_scope(scope):
        built = revert_sync_batchnorm(MODELS.build(config))
        built.init_weights()
    return built


def inputs(scope: str, classes: int) -> dict[str, Any]:
    """Two images of 64x64 pixels, an object each or a class for each pixel."""
    from mmengine.structures import InstanceData, PixelData

    draws = torch.Generator().manual_seed(0)
    facts = {
        "img_shape": (64, 64),
        "ori_shape": (64, 64),
        "pad_shape": (64, 64),
        "batch_input_shape": (64, 64),
        "scale_factor": (1.0, 1.0),
    }
    samples: list[Any] = []
    for _ in range(2):
        if scope == "mmdet":
            from mmdet.structures import DetDataSample

            samples.append(DetDataSample(metainfo=facts))
            samples[-1].gt_instances = InstanceData(
                bboxes=torch.tensor([[4.0, 4.0, 40.0, 44.0]]), labels=torch.tensor([1])
            )
        else:
            from mmseg.structures import SegDataSample

            samples.append(SegDataSample(metainfo=facts))
            samples[-1].gt_sem_seg = PixelData(data=torch.randint(0, classes, (1, 64, 64), generator=draws))
    images = [torch.randint(0, 256, (3, 64, 64), generator=draws, dtype=torch.uint8) for _ in range(2)]
    return {"inputs": images, "data_samples": samples}


NECK = {"neck": {"in_channels": [4, 16, 32, 64]}}
HEADS = {"decode_head": {"in_channels": 64}, "auxiliary_head": {"in_channels": 32}, "pretrained": None}
FILES = [
    ("mmdet", "retinanet/retinanet_r50_fpn_1x_coco.py", NECK, "RetinaNet"),
    ("mmdet", "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", NECK, "FasterRCNN"),
    ("mmdet", "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", NECK, "FCOS"),
    ("mmseg", "deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py", HEADS, "EncoderDecoder"),
    ("mmseg", "fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py", HEADS, "EncoderDecoder"),
    (
        "mmseg",
        "upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py",
        {**HEADS, "decode_head": NECK["neck"]},
        "EncoderDecoder",
    ),
]


@pytest.mark.parametrize(
    ("package", "file", "changes", "kind"),
    FILES,
    ids=lambda value: value.partition("/")[0] if isinstance(value, str) else "",
)
def test_unmodified_configuration_files(mm: None, package: str, file: str, changes: dict[str, Any], kind: str) -> None:
    """Only the backbone is replaced, and the number of channels that others take from it."""
    from mmengine.config import Config
    from mmengine.optim import OptimWrapper

    path = install.shared(package) / "configs" / file
    if not path.exists():
        pytest.skip(f"{path} is not there ({remedy()})")
    config = Config.fromfile(path)
    backbone = {
        "_delete_": True,
        "type": "NASBackbone",
        **TINY_DARTS,
        "frozen_stages": 1,
        "norm_cfg": {"type": "SyncBN"},
    }
    config.merge_from_dict({"model": copy.deepcopy({**changes, "backbone": backbone})})
    if package == "mmseg":
        config.model.data_preprocessor.size = (64, 64)
    built = model(config.model, package)
    assert type(built).__name__ == kind and isinstance(built.backbone, Backbone)
    data = inputs(package, 19)
    before = copy.deepcopy(built.backbone.state_dict())
    optimizer = OptimWrapper(torch.optim.SGD([p for p in built.parameters() if p.requires_grad], lr=0.01))
    losses = built.train().train_step(data, optimizer)
    assert float(losses["loss"].detach()) > 0 and all(
        torch.isfinite(torch.as_tensor(value)).all() for value in losses.values()
    )
    moved = {
        key
        for key, value in built.backbone.state_dict().items()
        if value.is_floating_point() and not torch.equal(value, before[key])
    }
    assert moved and not any(key.startswith("network.stem.first") for key in moved)
    with torch.no_grad():
        answer = built.eval().test_step(data)[0]
    if package == "mmdet":
        found = answer.pred_instances
        assert found.bboxes.shape == (len(found.scores), 4) and found.labels.shape == found.scores.shape
    else:
        assert answer.pred_sem_seg.data.shape == (1, 64, 64) and int(answer.pred_sem_seg.data.max()) < 19


def test_pretrained_in_the_config_is_our_checkpoint(mm: None, tmp_path: Path) -> None:
    space = DARTS(channels=4, cells=6, stem="imagenet", classes=7)
    network = space.network(space.check(published("darts_v2").architecture), auxiliary=True)
    file = checkpoint(tmp_path, network.state_dict())
    config = {"type": "NASBackbone", **TINY_DARTS, "init_cfg": {"type": "Pretrained", "checkpoint": file}}
    for scope in ("mmdet", "mmseg", "mmengine"):
        assert torch.equal(
            model(dict(config), scope).network.state_dict()["stem.first.0.weight"],
            network.state_dict()["stem.first.0.weight"],
        )
    with pytest.raises(ConfigError, match="name weights twice"):
        model({**config, "checkpoint": file}, "mmdet")
    again = pickle.loads(pickle.dumps(copy.deepcopy(model(config, "mmdet"))))
    assert type(again).__name__ == "NASBackbone" and again.out_channels == [4, 16, 32, 64]
    kaiming = model(
        {"type": "NASBackbone", **TINY_DARTS, "init_cfg": {"type": "Constant", "layer": "Conv2d", "val": 0.5}}, "mmdet"
    )
    assert torch.equal(kaiming.network.stem.first[0].weight, torch.full((2, 3, 3, 3), 0.5))


@pytest.mark.parametrize("name", ["darts_v2", "darts_unnas_cityscapes_seg"])
def test_cityscapes_networks_built_by_mmseg(mm: None, name: str) -> None:
    from mmengine.config import ConfigDict

    width, recounted, _ = CITYSCAPES[name]
    with torch.no_grad():
        built = model(ConfigDict(unnas_segmentor(name, width)), "mmseg")
    assert f"{sum(p.numel() for p in built.parameters()) / 1e6:.3f}" == recounted


def test_the_pyramid_head_is_ours_in_mmseg(mm: None) -> None:
    """The same weights give the same logits; mmseg joins the pooled image first, we last."""
    from mmseg.registry import MODELS

    theirs = MODELS.build(
        {
            "type": "NASASPPHead",
            "in_channels": 6,
            "in_index": -1,
            "channels": 4,
            "dilations": (1, 2, 3, 4),
            "num_classes": 5,
            "norm_cfg": {"type": "BN"},
        }
    ).eval()
    ours = ASPPHead(6, 5, 4, (2, 3, 4)).eval()
    assert sum(p.numel() for p in theirs.parameters()) == Head("aspp", channels=4, rates=(2, 3, 4)).parameters(6, 5)

    def copied(ours: Any, theirs: Any) -> None:
        theirs.conv.load_state_dict(ours[0].state_dict())
        theirs.bn.load_state_dict(ours[1].state_dict())

    for mine, other in zip(
        [*ours.branches, ours.image, ours.joined],
        [*theirs.aspp_modules, theirs.image_pool[1], theirs.bottleneck],
        strict=True,
    ):
        copied(mine, other)
    joined = ours.joined[0].weight.data
    theirs.bottleneck.conv.weight.data = torch.cat([joined[:, -4:], joined[:, :-4]], 1)
    theirs.conv_seg.load_state_dict(ours.classes.state_dict())
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        nn.functional.interpolate(theirs([x]), (33, 33), mode="bilinear", align_corners=True),
        ours(x, (33, 33)),
        atol=1e-6,
    )


CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=["nni_plugins.evaluators.mmlab.backbones"], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, type="NASBackbone", architecture="darts_v2", arguments=dict(channels=4, cells=6)),
    neck=dict(in_channels=[4, 16, 32, 64], out_channels=8),
    bbox_head=dict(in_channels=8, feat_channels=8),
)
train_cfg = dict(max_epochs=1)
"""


@pytest.mark.slow
def test_their_own_program_trains_it(mm: None, tmp_path: Path) -> None:
    """mmdet's tools/train.py with the configuration file of docs/mmlab.md, an epoch on four images and their test."""
    from PIL import Image

    images = []
    for i in range(4):
        pixels = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 48})
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [8, 8, 24, 24], "area": 576, "iscrowd": 0} for i in range(4)
    ]
    (tmp_path / "coco.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "person"}]})
    )
    base = install.shared("mmdet")
    if not base.is_dir():
        pytest.skip(f"{base} is not there ({remedy()})")
    config = tmp_path / "retinanet_nas.py"
    config.write_text(CONFIG.format(base=str(base / "configs/retinanet/retinanet_r50_fpn_1x_coco.py")))
    data = {"ann_file": str(tmp_path / "coco.json"), "data_prefix.img": f"{tmp_path}/"}
    options = [
        f"{part}_dataloader.dataset.{key}={value}" for part in ("train", "val", "test") for key, value in data.items()
    ]
    options += [
        f"{part}_dataloader.{key}"
        for part in ("train", "val", "test")
        for key in ("num_workers=0", "persistent_workers=False")
    ]
    options += [f"{part}_evaluator.ann_file={tmp_path / 'coco.json'}" for part in ("val", "test")]
    options += [
        f"{part}_dataloader.dataset.pipeline.{at}.scale=(64,48)" for part, at in (("train", 2), ("val", 1), ("test", 1))
    ]
    command = [
        sys.executable,
        str(base / "tools/train.py"),
        str(config),
        "--work-dir",
        str(tmp_path / "run"),
        "--cfg-options",
        *options,
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "Epoch(val) [1][4/4]" in answer.stdout
    state = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)["state_dict"]
    assert "backbone.network.stem.first.0.weight" in state
