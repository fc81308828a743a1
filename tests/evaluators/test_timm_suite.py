"""What timm's own tests ask of every model (its ``tests/test_models.py``), asked of every family of ours, and what timm's
scripts ask beyond that.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import SpaceError

from .test_timm_models import SPACES, create

timm = pytest.importorskip("timm")
pytest.importorskip("torchvision")

from torchvision.models.feature_extraction import (  # noqa: E402
    NodePathTracer,
    create_feature_extractor,
    get_graph_node_names,
)

Make = Callable[..., Any]
"""Makes one family's model, in evaluation mode, always with the same weights."""
SLOW = ("darts, imagenet", "robustdarts", "nasnet")
"""Families that are built as others are."""
FAMILIES = [pytest.param(family, marks=pytest.mark.slow) if family in SLOW else family for family in SPACES]
SIDE = 32
IMAGES = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def made(family: str, **options: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create(SPACES[family], **options).eval()


def check_maps(info: Any, maps: list[torch.Tensor], side: int = SIDE) -> None:
    assert [y.shape[1] for y in maps] == info.channels() and len(maps) >= 3
    assert [y.shape[2] for y in maps] == [-(-side // reduction) for reduction in info.reduction()]
    assert all(y.isfinite().all() for y in maps)


def traced(model: nn.Module, train: bool = False) -> nn.Module:
    """As timm's suite traces: torchvision's feature extractor of the last nodes."""
    options = {
        "leaf_modules": timm.models.get_notrace_modules(),
        "autowrap_functions": timm.models.get_notrace_functions(),
        "param_shapes_constant": True,
    }
    nodes, evaluated = get_graph_node_names(model, tracer_kwargs=options)
    last = [nodes[-1]]
    if train:
        graph = list(reversed(NodePathTracer(**options).trace(model).nodes))
        order = [node.name for node in graph]
        last = [nodes[-order.index(node.name)] for node in graph[0].all_input_nodes]
    return create_feature_extractor(
        model, train_return_nodes=last, eval_return_nodes=[evaluated[-1]], tracer_kwargs=options
    )


def gradients(model: nn.Module, outputs: Any) -> dict[str, torch.Tensor]:
    """Of every parameter; all have one."""
    (torch.cat(outputs) if isinstance(outputs, list | tuple) else outputs).square().mean().backward()
    missing = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not missing
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def case_forward(make: Make) -> None:
    assert make()(IMAGES).shape == (2, 10) and make()(IMAGES).isfinite().all()


def case_backward(make: Make) -> None:
    model = make(num_classes=42).train()
    outputs = model(IMAGES)
    assert outputs.shape == (2, 42) and len(gradients(model, outputs)) == len(list(model.parameters()))


def case_default_cfgs(make: Make) -> None:
    model = make()
    state, cfg, images = model.state_dict(), model.default_cfg, torch.randn(1, *model.default_cfg["input_size"])
    with torch.no_grad():
        features = model.forward_features(images)
        pooled = model.forward_head(features, pre_logits=True)
        assert (
            features.shape[1:] == (model.num_features, *cfg["pool_size"]) and pooled.shape[1] == model.head_hidden_size
        )
        model.reset_classifier(0)
        torch.testing.assert_close(model(images), pooled)
        model.reset_classifier(0, "")
        torch.testing.assert_close(model(images), features)
        assert make(num_classes=0, global_pool="")(images).shape == features.shape
    assert f"{cfg['classifier']}.weight" in state and f"{cfg['first_conv']}.weight" in state


def case_gradient_checkpointing(make: Make) -> None:
    """The same outputs, gradients and statistics of batch norms; fewer activations are kept."""
    results, kept = [], []
    for enable in (False, True):
        model, sizes = make().train(), []
        model.set_grad_checkpointing(enable)
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            torch.manual_seed(1)
            outputs = model(IMAGES)
        results.append((outputs, gradients(model, outputs), dict(model.named_buffers())))
        kept.append(sum(sizes))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    assert kept[1] < kept[0] / 2


def case_features(make: Make) -> None:
    model = make(features_only=True)
    check_maps(model.feature_info, model(IMAGES))


@pytest.mark.parametrize("kind", ["getter", "hook", "fx", "dict", "list"])
@pytest.mark.parametrize("family", FAMILIES)
def test_feature_classes(family: str, kind: str) -> None:
    """The maps are those of our own feature networks, whatever wraps the model; also a part of them."""
    expected = made(family, features_only=True)(IMAGES)
    for chosen in (None, (0, -2)):
        where = {} if chosen is None else {"out_indices": chosen}
        model = made(family, features_only=True, feature_cls=kind, **where)
        maps = model(IMAGES)
        wanted = expected if chosen is None else [expected[i] for i in chosen]
        if kind == "dict":
            assert list(maps) == [str(i % len(expected)) for i in (chosen or range(len(expected)))]
            maps = list(maps.values())
        torch.testing.assert_close(maps, wanted)
        assert model.feature_info.channels() == [y.shape[1] for y in wanted]
        last = range(len(expected))[-1 if chosen is None else chosen[-1]]
        if kind == "getter" and last < len(expected) - 1:  # what leads to no map is gone
            assert len(list(model.parameters())) < len(list(made(family, num_classes=0).parameters()))
            gradients(model.train(), [y.mean()[None] for y in model(IMAGES)])


def case_forward_intermediates(make: Make) -> None:
    model = make()
    info = timm.models.FeatureInfo(model.feature_info, len(model.feature_info))
    last, maps = model.forward_intermediates(IMAGES, output_fmt="NCHW")
    check_maps(info, maps)
    torch.testing.assert_close(last, model.forward_features(IMAGES))
    named = model.forward_intermediates(IMAGES, indices=[0, -1], output_dict=True)
    torch.testing.assert_close(named, {"image_intermediates": [maps[0], maps[-1]], "image_features": last})
    only = model.forward_intermediates(IMAGES, indices=2, output_dict=True, intermediates_only=True)
    torch.testing.assert_close(only, {"image_intermediates": maps[-2:]})
    model.set_grad_checkpointing()
    torch.testing.assert_close(model.forward_intermediates(IMAGES)[0], last)
    with pytest.raises(SpaceError, match=r"out_indices: stages 0 to \d exist, but got \[7\]"):
        model.forward_intermediates(IMAGES, indices=[7])


def case_prune_intermediate_layers(make: Make) -> None:
    model, (_, maps) = make(), make().forward_intermediates(IMAGES)
    whole = sum(p.numel() for p in model.parameters())
    assert (
        model.prune_intermediate_layers([0, 1 - len(maps)]) == [0, 1]
        and sum(p.numel() for p in model.parameters()) < whole
    )
    torch.testing.assert_close(model.forward_intermediates(IMAGES, indices=[0, 1], intermediates_only=True), maps[:2])
    torch.testing.assert_close(model(IMAGES), maps[1])
    assert model.num_features == maps[1].shape[1] and model.num_classes == 0
    model.reset_classifier(3, "avg")
    gradients(model.train(), model(IMAGES))
    kept = make()
    assert kept.prune_intermediate_layers(1, prune_head=False) == [len(maps) - 1] and kept(IMAGES).shape == (2, 10)
    with pytest.raises(ConfigError, match="must ascend"):
        make().prune_intermediate_layers([1, 0])


def case_forward_fx(make: Make) -> None:
    model = make()
    with torch.inference_mode():
        expected = model(IMAGES)
        (found,) = traced(make())(IMAGES).values()
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        torch.testing.assert_close(torch.fx.symbolic_trace(make())(IMAGES), expected, rtol=0, atol=0)


def case_backward_fx(make: Make) -> None:
    model = traced(make(num_classes=42).train(), train=True).train()
    outputs = list(model(IMAGES).values())
    assert outputs[0].shape == (2, 42) and gradients(model, outputs)


def case_torchscript(make: Make) -> None:
    with timm.layers.set_scriptable(True):
        scripted = torch.jit.script(make())
    torch.testing.assert_close(scripted(IMAGES), make()(IMAGES))
    assert sorted(scripted.state_dict()) == sorted(make().state_dict())


def case_fx_torchscript(make: Make) -> None:
    (found,) = torch.jit.script(traced(make()))(IMAGES).values()
    torch.testing.assert_close(found, make()(IMAGES))


def case_features_torchscript(make: Make) -> None:
    maps = torch.jit.script(make(features_only=True, feature_cls="fx"))(IMAGES)
    torch.testing.assert_close(maps, make(features_only=True)(IMAGES))


def case_output_stride(make: Make) -> None:
    strides = [info["reduction"] for info in make().feature_info]
    model = make(output_stride=strides[-2])
    assert model.feature_info[-1]["reduction"] == strides[-2]
    height = model.default_cfg["input_size"][1] // strides[-2]
    assert model.default_cfg["pool_size"] == (height, height)
    check_maps(timm.models.FeatureInfo(model.feature_info, len(strides)), model.forward_intermediates(IMAGES)[1])


def case_group_matcher(make: Make) -> None:
    model = make()
    fine, coarse = (timm.models.group_parameters(model, model.group_matcher(coarse=flag)) for flag in (False, True))
    names = sorted(name for name, _ in model.named_parameters())
    for groups in (fine, coarse):
        assert sorted(name for group in groups.values() for name in group) == names
        assert all(name.startswith("stem") for name in groups[0]) and "classifier.weight" in groups[len(groups) - 1]
    stages = len(model.feature_info)
    assert stages <= len(coarse) <= stages + 2 and len(coarse) <= len(fine)


def case_img_size(make: Make) -> None:
    model = make(img_size=50)
    assert model.default_cfg["input_size"] == (3, 50, 50)
    assert model.forward_features(torch.zeros(1, 3, 50, 50)).shape[2:] == model.default_cfg["pool_size"]
    assert make(img_size=(64, 40), in_chans=1).default_cfg["input_size"] == (1, 64, 40)
    with pytest.raises(ConfigError, match="img_size is a number of pixels"):
        make(img_size="large")
    with pytest.raises(ConfigError, match=r"images need \d+ pixels a side or more, but got 1 x 1"):
        make(img_size=1)


def case_in_chans(make: Make) -> None:
    assert make(in_chans=5, num_classes=0)(torch.zeros(1, 5, SIDE, SIDE)).ndim == 2


CASES = {name.removeprefix("case_"): case for name, case in list(globals().items()) if name.startswith("case_")}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_as_timm_tests(family: str, case: str) -> None:
    CASES[case](functools.partial(made, family))


def test_checkpointing_of_dropped_paths_and_the_auxiliary_head() -> None:
    results = []
    for enable in (False, True):
        model = made("darts", auxiliary=True, drop_path_rate=0.3).train()
        model.set_grad_checkpointing(enable)
        torch.manual_seed(1)
        outputs = model(IMAGES)
        results.append((outputs, gradients(model, outputs), dict(model.named_buffers())))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


def test_tracing_of_dropped_paths_and_the_auxiliary_head() -> None:
    """Also at the size at which the auxiliary head pools in its own way."""
    model = made("darts", auxiliary=True, drop_path_rate=0.3).train()
    graph = torch.fx.symbolic_trace(copy.deepcopy(model))
    for side in (SIDE, 48):
        images = torch.randn(2, 3, side, side)
        torch.manual_seed(1)
        expected = model(images)
        torch.manual_seed(1)
        torch.testing.assert_close(graph(images), expected)


def test_fx_quantisation() -> None:
    """Post-training quantisation by graph, which one test of a shape stopped."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    model = made("mobilenetlike")
    prepared = prepare_fx(model, get_default_qconfig_mapping("x86"), (IMAGES,))
    prepared(IMAGES)
    assert convert_fx(prepared)(IMAGES).shape == (2, 10)


def test_an_unknown_feature_class() -> None:
    with pytest.raises(ConfigError, match="feature_cls: list, getter, hook, fx, dict exist, but got 'pyramid'"):
        made("darts", features_only=True, feature_cls="pyramid")
