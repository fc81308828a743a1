"""Parts of a retraining: optimizers and what decays, schedules, losses and smoothing, drop-path."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch._dynamo.utils import counters

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.retraining import schedules
from nni_plugins.evaluators.retraining.drop_path import set_drop_path
from nni_plugins.evaluators.retraining.losses import Losses, main
from nni_plugins.evaluators.retraining.optimizers import optimizer
from nni_plugins.evaluators.retraining.recipes import changed, recipe
from nni_plugins.evaluators.retraining.settings import LossSettings, NetworkSettings, OptimizerSettings, Recipe
from nni_plugins.spaces import DARTS, NASBench201
from nni_plugins.spaces.published import published

SPACE = DARTS(channels=4, cells=3)
CELL = published("darts_v2").architecture


def darts(**arguments: Any) -> Any:
    return SPACE.network(CELL, **arguments)


def settings(**values: Any) -> OptimizerSettings:
    return OptimizerSettings.model_validate({"learning_rate": 0.1, **values})


def named_groups(model: nn.Module, made: torch.optim.Optimizer) -> list[list[str]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return [[names[id(p)] for p in group["params"]] for group in made.param_groups]


# -- optimizers --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "model", [darts(auxiliary=True), timm.create_model("resnet18", num_classes=10)], ids=["darts", "resnet18"]
)
def test_what_decays(model: nn.Module) -> None:
    every = [name for name, _ in model.named_parameters()]
    shapes = {name: p.ndim for name, p in model.named_parameters()}
    made = optimizer(model, settings(weight_decay=3e-4))
    assert named_groups(model, made) == [every] and made.param_groups[0]["weight_decay"] == 3e-4

    made = optimizer(model, settings(weight_decay=3e-4, decay="matrices"))
    spared = [name for name in every if shapes[name] == 1]  # biases, and both parameters of batch norms
    assert named_groups(model, made) == [spared, [name for name in every if shapes[name] > 1]]
    assert [group["weight_decay"] for group in made.param_groups] == [0, 3e-4]

    made = optimizer(model, settings(weight_decay=4e-5, decay="convolutions"))
    convolutions = [name for name in every if shapes[name] == 4]
    assert named_groups(model, made) == [[name for name in every if name not in convolutions], convolutions]
    assert [group["weight_decay"] for group in made.param_groups] == [0, 4e-5]
    classifiers = {name for name in every if name.endswith(("classifier.weight", "fc.weight"))}
    assert len(classifiers) in (1, 2) and not classifiers & set(convolutions)


def test_frozen_parameters_are_left_out() -> None:
    model = darts()
    model.stem.requires_grad_(False)
    for decay in ("all", "matrices", "convolutions"):
        named = named_groups(model, optimizer(model, settings(weight_decay=1e-4, decay=decay)))
        assert sorted(name for group in named for name in group) == sorted(
            n for n, _ in model.named_parameters() if not n.startswith("stem")
        )


@pytest.mark.parametrize("decay", ["all", "matrices", "convolutions"])
def test_layer_decay(decay: str) -> None:
    """resnet18: the stem, four stages, the classifier; every group's rate is scaled, and the schedule keeps the scales."""
    model = timm.create_model("resnet18", num_classes=10)
    made = optimizer(model, settings(weight_decay=1e-4, decay=decay, layer_decay=0.5))
    of = {
        name: group for names, group in zip(named_groups(model, made), made.param_groups, strict=True) for name in names
    }
    assert set(of) == {name for name, _ in model.named_parameters()}
    scales = [of["conv1.weight"]["lr_scale"], of["layer4.1.conv2.weight"]["lr_scale"], of["fc.weight"]["lr_scale"]]
    assert scales[2] == 1 and scales[1] == 0.5 and scales[0] < 0.01
    kept = {
        "all": ("conv1.weight", "bn1.weight", "fc.bias"),
        "matrices": ("conv1.weight", "fc.weight"),
        "convolutions": ("conv1.weight",),
    }[decay]
    assert {of[name]["weight_decay"] for name in kept} == {1e-4}
    assert decay == "all" or of["bn1.weight"]["weight_decay"] == 0
    for name in ("unnas_imagenet", "pcdarts_imagenet", "digits"):
        r = recipe(name)
        schedule = schedules.scheduler(made, r, 10)
        schedules.set_rate(schedule, r, 1, 13)
        top = schedules.rate(changed(r, {"optimizer.learning_rate": 0.1}), 1, 13, 10)
        assert all(group["lr"] == pytest.approx(top * group["lr_scale"], rel=1e-6) for group in made.param_groups), name


def test_nesterov_or_not() -> None:
    """Momentum 0.9, rate 0.1, gradient 1: plain steps are 0.1 and 0.19, Nesterov's 0.19 and 0.271."""
    for nesterov, places in ((False, (-0.1, -0.29)), (True, (-0.19, -0.461))):
        model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(model.weight)
        made = optimizer(model, settings(nesterov=nesterov))
        assert made.param_groups[0]["nesterov"] is nesterov
        for place in places:
            model.weight.grad = torch.ones(1, 1)
            made.step()
            assert float(model.weight.detach()) == pytest.approx(place)


@pytest.mark.parametrize("name", ["sgd", "lamb", "adamw"])
def test_optimizer_state_is_restored(name: str) -> None:
    torch.manual_seed(0)
    model = darts()
    made = optimizer(model, settings(name=name, decay="convolutions", learning_rate=0.01))

    def step(network: nn.Module, stepper: torch.optim.Optimizer, k: int) -> None:
        for i, p in enumerate(network.parameters()):
            p.grad = torch.full_like(p, math.sin(i + k))
        stepper.step()

    step(model, made, 0)
    twin = copy.deepcopy(model)
    fresh = optimizer(twin, settings(name=name, decay="convolutions", learning_rate=0.01))
    fresh.load_state_dict(copy.deepcopy(made.state_dict()))  # otherwise the two would share their buffers
    for k in (1, 2):
        step(model, made, k)
        step(twin, fresh, k)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "admw"}, "optimizer.name: timm has no optimizer 'admw'; did you mean 'adamw'"),
        ({"name": "adahessian"}, "needs second derivatives"),
        ({"name": "adamw", "nesterov": True}, "optimizer.nesterov: belongs to sgd, but the optimizer is adamw"),
        ({"nesterov": True, "momentum": 0.0}, "optimizer: sgd cannot be made: Nesterov momentum requires a momentum"),
        ({"arguments": {"betas": (0.9, 0.99)}}, "optimizer.arguments.betas: sgd has no such argument"),
        (
            {"arguments": {"eps": 1e-8, "lr": 0.1}},
            "arguments.eps: sgd has no such argument; optimizer.arguments.lr: is set by optimizer.learning_rate",
        ),
        ({"arguments": {"param_group_fn": 1}}, "optimizer.arguments.param_group_fn: sgd has no such argument"),
        (
            {"name": "adamw", "arguments": {"bets": (0.9, 0.99)}},
            "optimizer: adamw cannot be made: .*unexpected keyword argument 'bets'",
        ),
        (
            {"name": "adamw", "arguments": {"betas": [2.0, 0.9]}},
            "optimizer: adamw cannot be made: Invalid beta parameter",
        ),
    ],
)
def test_wrong_optimizers(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        optimizer(nn.Linear(2, 2), settings(**values))


def test_arguments_reach_the_optimizer() -> None:
    made = optimizer(nn.Linear(2, 2), settings(name="adamw", arguments={"betas": [0.8, 0.95], "eps": 1e-5}))
    assert tuple(made.param_groups[0]["betas"]) == (0.8, 0.95) and made.param_groups[0]["eps"] == 1e-5
    assert optimizer(nn.Linear(2, 2), settings(momentum=0.7)).param_groups[0]["momentum"] == 0.7


# -- schedules ---------------------------------------------------------------------------------------------------------
def scheduled(**values: Any) -> Recipe:
    return changed(recipe("digits"), {"schedule": {"warmup_epochs": 0, **values}})


def test_schedules_that_no_recipe_has() -> None:
    """Rates of 0.1 over 20 epochs of 10 updates."""

    def rates(r: Recipe, *places: tuple[int, int]) -> list[float]:
        return [schedules.rate(r, epoch, 10 * epoch + step, 10) for epoch, step in places]

    constant = scheduled(name="constant", warmup_epochs=2, warmup_from=0.5)
    assert rates(constant, (0, 0), (1, 0), (1, 8), (2, 0), (19, 9)) == pytest.approx([0.05, 0.075, 0.095, 0.1, 0.1])
    linear = scheduled(name="linear", final=0.02, cooldown_epochs=4)
    assert rates(linear, (0, 0), (8, 0), (15, 9), (16, 0), (19, 9)) == pytest.approx([0.1, 0.06, 0.0205, 0.02, 0.02])
    cool = scheduled(name="cosine", final=0.02, cooldown_epochs=4, per="epoch")
    assert rates(cool, (0, 9), (8, 0), (16, 0), (19, 9)) == pytest.approx([0.1, 0.06, 0.02, 0.02])
    exponential = scheduled(name="exponential", rate=0.9, warmup_epochs=2, warmup="multiply", warmup_from=0.0)
    assert rates(exponential, (0, 5), (1, 5), (2, 5), (10, 0)) == pytest.approx([0.025, 0.0675, 0.081, 0.1 * 0.9**10])
    tail = scheduled(name="linear_tail", per="epoch", warmup_epochs=2, warmup="replace", warmup_from=0.5)
    assert rates(tail, (0, 5), (1, 0), (2, 0), (15, 0), (19, 0)) == pytest.approx(
        [0.05, 0.075, 0.1 * 13 / 15, 0.1 / 15, 0.02 / 15]
    )


@pytest.mark.parametrize("name", ["constant", "cosine", "exponential", "linear"])
def test_no_jump_after_the_warmup(name: str) -> None:
    """Multiplied, the rate goes through the end of the warm-up without a jump; replaced, it meets the schedule as it
    stands by then.
    """
    passed = {
        "constant": 0.1,
        "cosine": 0.05 * (1 + math.cos(math.pi / 5)),
        "exponential": 0.1 * 0.97**4,
        "linear": 0.08,
    }[name]
    for warmup, last in (("multiply", passed), ("step_multiply", passed), ("replace", 0.1), ("step_replace", 0.1)):
        r = scheduled(name=name, warmup_epochs=4, warmup=warmup, warmup_from=0.1)
        before, after = schedules.rate(r, 3, 3999, 1000), schedules.rate(r, 4, 4000, 1000)
        assert after == pytest.approx(passed, rel=1e-9)
        assert before == pytest.approx(
            last * (0.97**-1 if name == "exponential" and warmup.endswith("multiply") else 1), rel=1e-3
        ), warmup


def test_set_rate_is_a_function_of_its_arguments() -> None:
    """In any order, with restored optimizers, and for groups that are there already."""
    for name in ("darts_imagenet", "rlnas_imagenet", "unnas_imagenet", "mobilenetlike_imagenet", "modern"):
        r = recipe(name)
        made = torch.optim.SGD([nn.Parameter(torch.zeros(1))], r.optimizer.learning_rate)
        schedule = schedules.scheduler(made, r, 7)
        places = [(0, 3), (200, 0), (2, 6), (0, 0), (100, 5)]
        seen = []
        for epoch, step in places:
            schedules.set_rate(schedule, r, epoch, 7 * epoch + step)
            seen.append(made.param_groups[0]["lr"])
        assert seen == [schedules.rate(r, epoch, 7 * epoch + step, 7) for epoch, step in places]
        fresh = torch.optim.SGD([nn.Parameter(torch.zeros(1))], r.optimizer.learning_rate)
        later = schedules.scheduler(fresh, r, 7)
        fresh.load_state_dict(made.state_dict())
        schedules.set_rate(later, r, 2, 20)
        assert fresh.param_groups[0]["lr"] == seen[2]
        assert isinstance(later, timm.scheduler.scheduler.Scheduler)


# -- losses ------------------------------------------------------------------------------------------------------------
LOGITS = torch.tensor([[2.0, 0.0, -1.0, 0.5], [0.0, 1.0, 3.0, -2.0]], dtype=torch.float64)
CLASSES = torch.tensor([0, 3])
MIXED = torch.tensor([[0.7, 0.3, 0, 0], [0, 0, 0.4, 0.6]], dtype=torch.float64)


def by_hand(targets: list[list[float]], binary: bool = False) -> float:
    total = 0.0
    for row, target in zip(LOGITS.tolist(), targets, strict=True):
        if binary:
            total -= (
                sum(
                    t * -math.log1p(math.exp(-x)) + (1 - t) * -math.log1p(math.exp(x))
                    for x, t in zip(row, target, strict=True)
                )
                / 4
            )
        else:
            total -= sum(t * (x - math.log(sum(map(math.exp, row)))) for x, t in zip(row, target, strict=True))
    return total / 2


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize(
    ("over", "hard", "soft"),
    [
        (
            "classes",
            [[0.925, 0.025, 0.025, 0.025], [0.025, 0.025, 0.025, 0.925]],
            [[0.655, 0.295, 0.025, 0.025], [0.025, 0.025, 0.385, 0.565]],
        ),
        (
            "others",
            [[0.9, 1 / 30, 1 / 30, 1 / 30], [1 / 30, 1 / 30, 1 / 30, 0.9]],
            [[0.64, 0.27 + 0.7 / 30, 1 / 30, 1 / 30], [1 / 30, 1 / 30, 0.36 + 0.6 / 30, 0.54 + 0.4 / 30]],
        ),
    ],
)
def test_smoothing(name: str, over: str, hard: list[list[float]], soft: list[list[float]]) -> None:
    """K = 4, epsilon = 0.1; targets with one class and mixed ones (0.9 t + 0.025, and 0.9 t + (1 - t) / 30)."""
    losses = Losses(LossSettings.model_validate({"name": name, "smoothing": 0.1, "smoothing_over": over}))
    binary = name.startswith("binary")
    assert float(losses(LOGITS, CLASSES)) == pytest.approx(by_hand(hard, binary), rel=1e-12)
    assert float(losses(LOGITS, MIXED)) == pytest.approx(by_hand(soft, binary), rel=1e-12)


def test_plain_losses_and_the_auxiliary_head() -> None:
    plain, half = Losses(LossSettings()), Losses(LossSettings(auxiliary_weight=0.4))
    exact = [[1.0, 0, 0, 0], [0, 0, 0, 1.0]]
    assert float(plain(LOGITS, CLASSES)) == pytest.approx(by_hand(exact), rel=1e-12)
    assert float(half((LOGITS, LOGITS), CLASSES)) == pytest.approx(1.4 * by_hand(exact), rel=1e-12)
    assert main((LOGITS, CLASSES)) is LOGITS and main(LOGITS) is LOGITS
    assert float(Losses(LossSettings(name="binary_cross_entropy"))(LOGITS, MIXED)) == pytest.approx(
        by_hand(MIXED.tolist(), True), rel=1e-12
    )
    rounded = plain(LOGITS.bfloat16(), CLASSES)
    assert rounded.dtype == torch.float32 and float(rounded) == pytest.approx(by_hand(exact), rel=1e-6)
    with pytest.raises(ConfigError, match=r"below \(K - 1\) / K for K = 4 classes, but got 0.75"):
        Losses(LossSettings(smoothing=0.75, smoothing_over="others"))(LOGITS, CLASSES)


# -- drop-path ---------------------------------------------------------------------------------------------------------
def probabilities(network: Any) -> list[float]:
    return [float(cell.drop_probability) for cell in network.cells]


def test_ramps() -> None:
    network = darts()
    values = {"epochs": 600, "updates": 6000}
    epochs = NetworkSettings(drop_path=0.3)
    for epoch, expected in ((0, 0.0), (1, 0.0005), (300, 0.15), (599, 0.2995)):
        set_drop_path(network, epochs, epoch=epoch, update=10 * epoch + 9, **values)
        assert probabilities(network) == pytest.approx([expected] * 3) and all(cell.drops for cell in network.cells)
    deep = NetworkSettings(drop_path=0.2, drop_path_ramp="depth_and_steps")
    for update, share in ((0, 1 / 6000), (2999, 0.5), (5999, 1.0)):
        set_drop_path(network, deep, epoch=update // 10, update=update, **values)
        assert probabilities(network) == pytest.approx([0.2 * share / 3, 0.4 * share / 3, 0.2 * share], rel=1e-6)
    set_drop_path(network, NetworkSettings(drop_path=0.05, drop_path_ramp="constant"), epoch=0, update=0, **values)
    assert probabilities(network) == pytest.approx([0.05] * 3)
    set_drop_path(network, NetworkSettings(), epoch=5, update=50, **values)
    assert probabilities(network) == pytest.approx([0.05] * 3)  # nothing to do with drop-path: left alone
    other = NASBench201(channels=4, cells_per_stage=1)
    plain = other.network(published("nasbench201_rf_darts").architecture)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    set_drop_path(plain, deep, epoch=0, update=0, **values)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


def test_the_probability_of_cells() -> None:
    """A buffer that state dictionaries do not have, that copies keep, and that nothing draws from at 0."""
    network = darts(drop_path=0.25).train()
    assert probabilities(network) == [0.25] * 3 and not any("drop" in name for name in network.state_dict())
    twin = copy.deepcopy(network)
    network.set_drop_path(0.0)
    assert (
        probabilities(twin) == [0.25] * 3
        and all(cell.drops for cell in twin.cells)
        and not any(cell.drops for cell in network.cells)
    )
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    y = network(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    network.set_drop_path(0.0, active=True)
    with torch.random.fork_rng():
        assert torch.equal(network(x), y) and not torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(ValueError, match="shorter"):
        network.set_drop_path(0.1, shares=[1.0])
    half = darts(drop_path=0.25).bfloat16().train()
    assert half(x.bfloat16()).dtype == torch.bfloat16


def test_a_compiled_network_is_compiled_once() -> None:
    """Changes of the probability are no reason to compile again, also from 0 on (the compiler's front end only, which
    is what decides).
    """
    torch._dynamo.reset()
    counters.clear()
    pools = CELL.as_dict() | {label: "max_pool_3x3" for label in CELL.as_dict() if "_op_" in label}  # quick to trace
    compiled: Any = torch.compile(SPACE.network(SPACE.architecture(pools)).train(), backend="eager")
    x = torch.zeros(2, 3, 8, 8)
    for epoch in range(4):
        set_drop_path(
            compiled._orig_mod, NetworkSettings(drop_path=0.3), epoch=epoch, epochs=4, update=epoch, updates=4
        )
        compiled(x)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["recompiles"]
    set_drop_path(
        compiled,
        NetworkSettings(drop_path=0.3, drop_path_ramp="depth_and_steps"),
        epoch=0,
        epochs=4,
        update=3,
        updates=4,
    )
    compiled(x)
    assert counters["stats"]["unique_graphs"] == 1 and probabilities(compiled) == pytest.approx([0.1, 0.2, 0.3])
    compiled._orig_mod.set_drop_path(0.0)
    compiled(x)
    assert counters["stats"]["unique_graphs"] == 2  # so the counter does count
    torch._dynamo.reset()
