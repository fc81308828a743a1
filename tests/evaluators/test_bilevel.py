"""Bilevel training against a literal DARTS loop, under kills, and its second-order gradient against copies and against
autograd.

``python -m tests.evaluators.test_bilevel FOLDER DEVICES`` trains on one or two processes.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.func import functional_call
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook

from nni_plugins.evaluators.data import Augmentation, ImageSet
from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.objectives import RandomLabels, Supervised
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training import bilevel as module
from nni_plugins.evaluators.training.bilevel import Bilevel, BilevelTraining
from nni_plugins.evaluators.training.loop import cosine
from nni_plugins.evaluators.training.second_order import unrolled_gradients
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.testing.training import TrainingContract

from .resume_job import hold
from .test_resume import FORKS, step, wait
from .tiny import CLASSES, Interrupted, Interrupting, at, images

FROZEN = {"stem.weight"}
WEIGHTS = {"normal.weight", "normal.bias", "edges.0.weight", "edges.1.weight", "head.weight", "head.bias"}
ALPHAS = {"alphas.normal", "betas.normal"}


class Toy(nn.Module):
    """A frozen convolution, batch norm, a mixture of two convolutions and no operation, a classifier."""

    def __init__(self, drop: float = 0) -> None:
        super().__init__()
        with torch_fork(0, "toy"):
            self.stem, self.normal, self.head = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Linear(4, CLASSES)
            self.edges = nn.ModuleList(nn.Conv2d(4, 4, k, padding=k // 2, bias=False) for k in (1, 3))
            self.betas, self.alphas = nn.Parameter(torch.zeros(1)), nn.Parameter(1e-3 * torch.randn(3))
        self.stem.requires_grad_(False)
        self.drop, self.probability = drop, 0.0
        self.modes: list[str] = []
        self.seen: list[torch.Tensor] = []

    def architecture_parameters(self) -> dict[str, nn.Parameter]:
        return {"betas.normal": self.betas, "alphas.normal": self.alphas}

    def genotype(self) -> str:
        return f"op{int(self.alphas.argmax())} {self.alphas.sum():.9f}"

    def skips(self) -> int:
        return int(self.alphas.argmax() == 2)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        self.probability = self.drop * epoch / epochs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.append(
            "+".join(
                name
                for name, p in (("w", self.head.weight), ("a", self.alphas), ("f", self.stem.weight))
                if p.requires_grad
            )
        )
        self.seen.append(x.detach().clone())
        x = torch.tanh(self.normal(self.stem(x)))
        share = self.alphas.softmax(0)
        x = sum((s * edge(x) for s, edge in zip(share, self.edges, strict=False)), share[2] * x) * (1 + self.betas)
        return self.head(functional.dropout(x.mean((2, 3)), self.probability))  # type: ignore[no-any-return]


def settings(**changes: Any) -> BilevelSettings:
    values = {
        "epochs": 3,
        "batch_size": 4,
        "accelerator": "cpu",
        "checkpoint_seconds": 0,
        "architecture_learning_rate": 0.01,
        **changes,
    }
    return read(BilevelSettings, values)


def bilevel(
    folder: Path | None = None,
    hook: Callable[[int], None] = lambda call: None,
    data: ImageSet | None = None,
    drop: float = 0,
    **changes: Any,
) -> BilevelTraining:
    """``Toy`` on two times 12 images of noise: by default three epochs of three iterations."""
    return BilevelTraining(Toy(drop), Interrupting(hook), data or images(24), settings(**changes), 0, folder=folder)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(a: Bilevel, b: Bilevel) -> bool:
    def equal(x: dict[str, torch.Tensor], y: dict[str, torch.Tensor]) -> bool:
        return x.keys() == y.keys() and all(map(torch.equal, x.values(), y.values()))

    return (
        a.history == b.history
        and a.genotypes == b.genotypes
        and equal(a.initial, b.initial)
        and equal(a.final, b.final)
    )


# The same by the book

Pick = dict[str, torch.Tensor]
Function = Callable[[nn.Module], torch.Tensor]


def slopes(model: nn.Module, loss: Function, names: list[str]) -> Pick:
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    return dict(zip(names, torch.autograd.grad(loss(model), [parameters[name] for name in names]), strict=True))


def moved(model: nn.Module, move: Pick) -> nn.Module:
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, change in move.items():
            model.get_parameter(name).add_(change)
    return model


def literal(
    model: nn.Module,
    training: Function,
    validation: Function,
    weights: list[str],
    alphas: list[str],
    momenta: Pick,
    rate: float,
) -> Pick:
    """Equations 6 to 8 with a copy of the network for every point; momentum 0.9, weight decay 0.01."""
    g = slopes(copy.deepcopy(model), training, weights)
    ahead = moved(
        model, {n: -rate * (0.9 * momenta[n] + g[n] + 0.01 * model.get_parameter(n).detach()) for n in weights}
    )
    both = slopes(ahead, validation, weights + alphas)
    epsilon = 0.01 / math.sqrt(sum(float((both[n] ** 2).sum()) for n in weights))
    plus, minus = (
        slopes(moved(model, {n: sign * epsilon * both[n] for n in weights}), training, alphas) for sign in (1, -1)
    )
    return {n: both[n] - rate * (plus[n] - minus[n]) / (2 * epsilon) for n in alphas}


def by_the_book(s: BilevelSettings) -> tuple[Toy, list[float]]:
    """DARTS' loop with all gradients in both steps; the network after it, and the weights' losses."""
    model, data, half = Toy(), images(24), 12
    weights, alphas = sorted(WEIGHTS), ["alphas", "betas"]
    mean, deviation = (v[:, None, None] for v in data.statistics())
    x, y = data.images.float().div(255).sub(mean).div(deviation), RandomLabels(CLASSES).epoch_targets(data, 0)
    sgd = torch.optim.SGD([model.get_parameter(n) for n in weights], momentum=0.9, weight_decay=0.01)
    adam = torch.optim.Adam(
        [model.get_parameter(n) for n in alphas], s.architecture_learning_rate, (0.5, 0.999), weight_decay=1e-3
    )
    losses = []
    for epoch in range(s.epochs):
        sgd.param_groups[0]["lr"] = rate = cosine(s, epoch)
        order = generator(0, "data order", epoch).permutation(half)
        other = half + generator(0, "architecture data order", epoch).permutation(half)
        for start in range(0, half, 4):

            def loss(index: np.ndarray, start: int = start) -> Function:
                return lambda network: functional.cross_entropy(
                    network(x[index[start : start + 4]]), y[index[start : start + 4]]
                )

            training, validation = loss(order), loss(other)
            for which in (s.first, "weights" if s.first == "architecture" else "architecture"):
                model.zero_grad()
                if which == "weights":
                    value = training(model)
                    value.backward()
                    nn.utils.clip_grad_norm_([model.get_parameter(n) for n in weights], s.gradient_clip or math.inf)
                    sgd.step()
                    losses.append(float(value.detach()))
                elif epoch >= s.warmup_epochs:
                    momenta = {
                        n: sgd.state[model.get_parameter(n)].get("momentum_buffer", torch.zeros(1)) for n in weights
                    }
                    by_copies = s.order == 2
                    found = (
                        literal(model, training, validation, weights, alphas, momenta, rate)
                        if by_copies
                        else slopes(model, validation, alphas)
                    )
                    for name, gradient in found.items():
                        model.get_parameter(name).grad = gradient
                    adam.step()
    return model, losses


@pytest.mark.parametrize("first", ["architecture", "weights"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("more", [{}, {"warmup_epochs": 1, "gradient_clip": 0.1}])
def test_training_by_the_book(first: str, order: int, more: dict[str, Any]) -> None:
    job = bilevel(first=first, order=order, learning_rate=0.3, weight_decay=0.01, **more)
    trained = job.run()
    model, losses = by_the_book(job.settings)
    for name, value in model.state_dict().items():
        assert torch.allclose(trained.final[name].double(), value.double(), atol=2e-6), name
    assert [row["loss"] for row in trained.history] == pytest.approx(
        np.array(losses).reshape(3, 3).mean(1).tolist(), abs=1e-6
    )


def test_learning_rates() -> None:
    rates: dict[str, list[float]] = {"SGD": [], "Adam": []}
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates[type(optimizer).__name__].append(optimizer.param_groups[0]["lr"])
    )
    trained = bilevel(epochs=4, warmup_epochs=1).run()
    handle.remove()
    expected = [0.001 + 0.024 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert rates["SGD"] == pytest.approx([rate for rate in expected for _ in range(3)]) and rates["Adam"] == [0.01] * 9
    assert [row["learning_rate"] for row in trained.history] == pytest.approx(expected)


# What is trained


def test_frozen_parameters_keep_their_bits_and_all_others_move() -> None:
    job = bilevel(weight_decay=0.1)
    assert list(job.architecture) == sorted(ALPHAS) and list(job.weights) == sorted(WEIGHTS)
    trained = job.run()
    for name in FROZEN | WEIGHTS | {"alphas", "betas"}:
        assert torch.equal(trained.final[name], trained.initial[name]) == (name in FROZEN), name
    assert {name for name, p in job.model.named_parameters() if not p.requires_grad} == FROZEN and all(
        p.grad is None for p in job.model.parameters()
    )


@pytest.mark.parametrize(("first", "order", "modes"), [
    ("architecture", 1, ["a", "w"]), ("weights", 1, ["w", "a"]),
    ("architecture", 2, ["w", "w+a", "a", "a", "w"]), ("weights", 2, ["w", "w", "w+a", "a", "a"]),
])  # fmt: skip
def test_a_step_has_gradients_of_what_it_trains_and_no_others(first: str, order: int, modes: list[str]) -> None:
    job, trained = bilevel(first=first, order=order, warmup_epochs=1), []
    names = {id(p): name for name, p in job.model.named_parameters()}

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        ours = {names[id(p)] for group in optimizer.param_groups for p in group["params"]}
        assert ours == {name for name, p in job.model.named_parameters() if p.grad is not None}
        trained.append(ours)

    handle = register_optimizer_step_pre_hook(note)
    job.run()
    handle.remove()
    assert isinstance(job.model, Toy) and job.model.modes == ["w"] * 3 + modes * 6
    pair = [{"alphas", "betas"}, WEIGHTS]
    assert trained == [WEIGHTS] * 3 + (pair if first == "architecture" else pair[::-1]) * 6


def test_warm_up() -> None:
    trained = bilevel(epochs=4, warmup_epochs=2).run()
    assert trained.genotypes[0] == trained.genotypes[1] and len(set(trained.genotypes)) == 3
    assert ["architecture_loss" in row for row in trained.history] == [False, False, True, True]


@pytest.mark.parametrize("order", [1, 2])
def test_architecture_clip_bounds_the_gradient(order: int) -> None:
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if isinstance(optimizer, torch.optim.Adam):
            norms.append(float(torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]]).norm()))

    handle = register_optimizer_step_pre_hook(note)
    bilevel(order=order).run()
    bilevel(order=order, architecture_clip=1e-4).run()
    handle.remove()
    assert min(norms[:9]) > 2e-4 and norms[9:] == pytest.approx([1e-4] * 9, rel=1e-2)


def test_an_unused_architecture_parameter_has_gradient_zero() -> None:
    """Decay moves it then, as in the official code; and a used one may be frozen."""
    job = bilevel(architecture_weight_decay=0)
    model = job.model
    model.register_parameter("unused", nn.Parameter(torch.ones(2)))
    model.betas.requires_grad_(False)
    model.architecture_parameters = lambda: {"a": model.alphas, "b": model.betas, "u": model.unused}  # type: ignore[method-assign, assignment]
    for order in (1, 2):
        job = BilevelTraining(
            model, RandomLabels(CLASSES), images(24), settings(order=order, architecture_weight_decay=0), 0
        )
        assert list(job.architecture) == ["a", "u"]
        final = job.run().final
        assert torch.equal(final["unused"], torch.ones(2)) and torch.equal(final["betas"], torch.zeros(1))


# Data


@pytest.mark.parametrize(("portion", "count", "split"), [(0.5, 25, 12), (0.29, 100, 29), (0.8, 24, 19)])
def test_halves_are_disjoint_and_cover(portion: float, count: int, split: int) -> None:
    for shuffle in (False, True):
        first, second = bilevel(data=images(count), portion=portion, shuffle_split=shuffle).halves
        assert len(first) == split and sorted([*first, *second]) == list(range(count))
        assert (list(first) == list(range(split))) != shuffle


def used(job: BilevelTraining) -> tuple[torch.Tensor, torch.Tensor]:
    """What the two halves gave in the whole training: (uses, 3, 4, 4) each."""
    job.run()
    model = job.model
    assert isinstance(model, Toy)
    return tuple(torch.cat([x for x, mode in zip(model.seen, model.modes, strict=True) if mode == m]) for m in "wa")  # type: ignore[return-value]


def test_a_short_half_starts_over_in_another_order() -> None:
    data = images(24)
    mean, deviation = (v[:, None, None] for v in data.statistics())
    x = data.images.float().div(255).sub(mean).div(deviation)
    weights, architecture = used(bilevel(data=data, portion=0.7, epochs=1))
    assert weights.shape[0] == 16 and torch.allclose(weights, x[generator(0, "data order", 0).permutation(16)])
    rng = generator(0, "architecture data order", 0)
    assert architecture.shape[0] == 16 and torch.allclose(
        architecture, x[16 + np.concatenate([rng.permutation(8) for _ in range(2)])]
    )


def test_both_halves_are_augmented_anew_at_every_use() -> None:
    data = images(24, augmentation=Augmentation(1, True))
    for uses in used(bilevel(data=data, portion=0.75, epochs=2)):
        assert len(torch.unique(uses, dim=0)) > 30
    (a, b), (c, d) = (used(bilevel(data=data, epochs=epochs)) for epochs in (1, 2))
    assert torch.equal(a, c[:12]) and torch.equal(b, d[:12]) and not torch.equal(c[:12], c[12:])


# Curve


def test_curve_report_and_metrics(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    job = bilevel(tmp_path)
    job.report = rows.append
    trained = job.run()
    assert rows == trained.history and lines(tmp_path) == [
        {**row, "genotype": g} for row, g in zip(rows, trained.genotypes, strict=True)
    ]
    keys = {"epoch", "loss", "accuracy", "architecture_loss", "architecture_accuracy", "learning_rate", "skips"}
    assert all(row.keys() == keys and 0 <= row["architecture_accuracy"] <= 100 for row in rows)
    assert trained.genotypes[-1] == job.model.genotype() and trained.initial_sha256 is not None  # type: ignore[operator]


def test_a_tiny_run_reduces_both_losses() -> None:
    def brightest(rng: np.random.Generator) -> ImageSet:
        labels = torch.from_numpy(rng.integers(0, 3, 64))
        pixels = torch.from_numpy(rng.integers(0, 150, (64, 3, 4, 4)).astype(np.uint8))
        pixels[torch.arange(64), labels] += 100
        return ImageSet("bright", pixels, labels, tuple("0123"))

    class Labels(Interrupting):
        def epoch_targets(self, data: ImageSet, epoch: int) -> torch.Tensor:
            return data.labels

    s = settings(epochs=8, batch_size=8, learning_rate=0.2)
    history = BilevelTraining(Toy(), Labels(), brightest(np.random.default_rng(0)), s, 0).run().history
    assert (
        history[-1]["loss"] < 0.5 * history[0]["loss"]
        and history[-1]["architecture_loss"] < 0.6 * history[0]["architecture_loss"]
    )
    assert history[-1]["architecture_accuracy"] > 80


# Memory format, compilation, precision


def test_channels_last_computes_the_same() -> None:
    plain, other = (bilevel(memory_format=layout) for layout in ("contiguous", "channels_last"))
    a, b = plain.run(), other.run()
    for run, last in ((plain, False), (other, True)):
        model = run.model
        assert isinstance(model, Toy) and all(x.is_contiguous() != last for x in model.seen)
        assert model.get_parameter("edges.1.weight").is_contiguous() != last
    assert all(torch.allclose(a.final[name].double(), b.final[name].double(), atol=1e-5) for name in a.final)


def test_compiled_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a back-end that generates no code: what counts is that every step gets the gradients that it asks for."""
    monkeypatch.setattr(module, "BACKEND", "aot_eager")
    monkeypatch.setattr(Toy, "forward", quiet)
    logging.getLogger("torch.__trace").setLevel(logging.WARNING)  # pytest would keep thousands of records
    counters = torch._dynamo.utils.counters["stats"]
    before = counters["unique_graphs"]
    plain, fast = (bilevel(compile=flag, order=2, epochs=2).run() for flag in (False, True))
    assert counters["unique_graphs"] - before >= 3
    assert plain.final.keys() == fast.final.keys()
    assert all(torch.allclose(plain.final[name].double(), fast.final[name].double(), atol=1e-5) for name in plain.final)


def quiet(self: Toy, x: torch.Tensor) -> torch.Tensor:
    """``Toy.forward`` without notes."""
    x = torch.tanh(self.normal(self.stem(x)))
    share = self.alphas.softmax(0)
    x = (share[0] * self.edges[0](x) + share[1] * self.edges[1](x) + share[2] * x) * (1 + self.betas)
    return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


def test_bf16_is_near_and_keeps_float32_parameters() -> None:
    a, b = bilevel().run(), bilevel(precision="bf16-mixed").run()
    assert b.final["alphas"].dtype == torch.float32 and not torch.equal(a.final["head.weight"], b.final["head.weight"])
    assert all(torch.allclose(a.final[name].double(), b.final[name].double(), atol=0.05) for name in a.final)


def test_both_optimizers_unscale_their_gradients() -> None:
    """On a CPU Fabric takes bf16 for ``16-mixed``, so the gradient scaler is put in by hand."""
    run, scaler = bilevel(architecture_clip=0.01), GradScaler("cpu", init_scale=2.0**8, growth_interval=4)
    run.fabric.strategy.precision = run.fabric._precision = MixedPrecision("16-mixed", "cpu", scaler)
    mixed, plain = run.run(), bilevel(architecture_clip=0.01).run()
    assert scaler.get_scale() == 2.0**12, "18 steps, doubled after every fourth one"
    assert all(
        torch.allclose(plain.final[name].double(), mixed.final[name].double(), atol=0.01) for name in plain.final
    )


# Settings and other mistakes


def test_defaults_are_darts() -> None:
    s = BilevelSettings()
    assert (s.epochs, s.batch_size, s.learning_rate, s.final_learning_rate, s.momentum, s.nesterov) == (
        50,
        64,
        0.025,
        0.001,
        0.9,
        False,
    )
    assert (s.weight_decay, s.gradient_clip, s.portion, s.shuffle_split, s.warmup_epochs) == (3e-4, 5.0, 0.5, False, 0)
    assert (s.architecture_learning_rate, s.architecture_betas, s.architecture_weight_decay, s.architecture_clip) == (
        3e-4,
        (0.5, 0.999),
        1e-3,
        None,
    )
    assert (s.order, s.first, s.memory_format, s.compile, s.precision) == (
        1,
        "architecture",
        "auto",
        False,
        "32-true",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"order": 2, "precision": "bf16-mixed"},
            "bf16-mixed rounds away; use precision 32-true or 64-true, or order 1",
        ),
        (
            {"warmup_epochs": 3},
            "warmup_epochs < epochs must hold, or the architecture is never trained, but got 3 and 3",
        ),
        ({"portion": 0}, r"portion must lie between 0 and 1, for both halves need images \(DARTS: 0.5\), but got 0"),
        ({"portion": 1.0}, "portion must lie between 0 and 1"),
        ({"portion": math.nan}, "portion must lie between 0 and 1"),
        ({"order": 3}, "order: input should be 1 or 2, but got 3"),
        ({"first": "both"}, "first: input should be 'architecture' or 'weights'"),
        ({"architecture_betas": (0.5, 1.0)}, "architecture_betas.1: input should be less than 1"),
        ({"architecture_learning_rate": 0}, "architecture_learning_rate: input should be greater than 0"),
        ({"architecture_clip": 0}, "architecture_clip: input should be greater than 0"),
        ({"archtecture_clip": 1}, "archtecture_clip: no such key; did you mean 'architecture_clip'"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_halves_that_do_not_fill_a_batch() -> None:
    with pytest.raises(
        ConfigError,
        match=r"noise: portion=0.9 splits 24 images into 21 for the weights and 3 .* a batch of 4\.\nUse batch_size <= 3",
    ):
        bilevel(portion=0.9)
    with pytest.raises(
        ConfigError, match=r"into 0 for the weights and 24 .*\nUse more images, or a portion nearer to 0.5"
    ):
        bilevel(portion=0.01)


def test_sorted_images_whose_halves_lack_classes() -> None:
    pixels, labels = images(100).images, torch.arange(CLASSES).repeat_interleave(25)
    data, s = ImageSet("photos", pixels, labels, tuple("abcd")), settings()
    with pytest.raises(ConfigError, match="photos: 2 of 4 classes have no image in the first part"):
        BilevelTraining(Toy(), Supervised(), data, s, 0)
    BilevelTraining(Toy(), Supervised(), data, s.model_copy(update={"shuffle_split": True}), 0)
    BilevelTraining(Toy(), RandomLabels(CLASSES), data, s, 0)


def test_networks_that_cannot_be_searched() -> None:
    def refused(model: nn.Module, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            BilevelTraining(model, RandomLabels(CLASSES), images(24), settings(), 0)

    refused(nn.Linear(3, 4), r"Linear has no architecture_parameters\(\) and genotype\(\)")
    refused(Toy().requires_grad_(False), "Toy: no architecture parameter requires a gradient")
    model = Toy().requires_grad_(False)
    model.alphas.requires_grad_(True)
    refused(model, "Toy: no weight requires a gradient")
    model = Toy()
    model.architecture_parameters = lambda: {"gamma": nn.Parameter(torch.ones(1))}  # type: ignore[method-assign]
    refused(model, "Toy: gamma must be parameters of the network")


@pytest.mark.parametrize(("name", "seconds"), [("head.weight", 0), ("alphas", 0), ("alphas", 1000)])
def test_what_is_not_finite_stops_the_training(tmp_path: Path, name: str, seconds: float) -> None:
    def poison(call: int) -> None:
        if call == 9:
            job.model.get_parameter(name).data.mul_(
                math.nan
            )  # data: between forward and backward, as a hook of the loss is

    job = bilevel(tmp_path, poison, checkpoint_seconds=seconds)
    with pytest.raises(
        TrainingError,
        match=r"NaN in epoch 2\.\nLower learning_rate \(it is 0.019\) or architecture_learning_rate \(it is 0.01\), or lower gradient_clip",
    ) as caught:
        job.run()
    assert ("the last checkpoint is intact" in caught.value.remedy) == (seconds == 0) == (step(tmp_path) == 4)


def test_an_architecture_loss_that_is_not_finite_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    job = bilevel(epochs=1)
    measured = job._measured
    counts: list[int] = []

    def broken(loss: torch.Tensor, *more: Any) -> torch.Tensor:
        counts.append(1)
        return measured(loss * math.inf if len(counts) == 3 else loss, *more)

    monkeypatch.setattr(job, "_measured", broken)
    with pytest.raises(TrainingError, match=r"the loss became inf in epoch 1"):
        job.run()


# Resuming

VARIANTS: dict[str, dict[str, Any]] = {
    "first order": {"drop": 0.5},
    "weights first": {
        "first": "weights",
        "portion": 0.6,
        "shuffle_split": True,
        "momentum": 0,
        "memory_format": "channels_last",
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_interrupted_training_ends_like_an_undisturbed_one(tmp_path: Path, variant: str) -> None:
    """Interrupted again and again: before the first checkpoint, in a step of either kind, in the last one."""
    data = images(24, augmentation=Augmentation(1, True))
    whole = bilevel(data=data, **VARIANTS[variant]).run()
    for call in (1, 3, 6, 9, 2):
        with pytest.raises(Interrupted):
            bilevel(tmp_path, at(call), data, **VARIANTS[variant]).run()
    assert step(tmp_path) >= 4
    torch.manual_seed(1)  # what a new process would not know
    state = torch.get_rng_state()
    resumed = bilevel(tmp_path, data=data, **VARIANTS[variant]).run()
    assert same(resumed, whole) and torch.equal(torch.get_rng_state(), state)
    assert lines(tmp_path) == [{**row, "genotype": g} for row, g in zip(whole.history, whole.genotypes, strict=True)]


class TestBilevel(TrainingContract):
    other_values = {"stability": {"method": "early_stop", "window": 1, "start_epoch": 0, "delta": 1}}

    def settings(self) -> BilevelSettings:
        return settings(order=2, warmup_epochs=1, hessian_every=1)

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> Bilevel:
        data = images(24, augmentation=Augmentation(1, True))
        objective = RandomLabels(CLASSES)
        return BilevelTraining(Toy(0.5), objective, data, settings, seed, folder=folder, report=report).run()


def test_a_checkpoint_holds_optimizers_by_name(tmp_path: Path) -> None:
    trained = bilevel(tmp_path, checkpoint_seconds=1000).run()
    state = torch.load(max(tmp_path.glob("step-*.pt")), weights_only=True)
    assert (
        state["momentum"].keys() == WEIGHTS
        and state["architecture"].keys() == ALPHAS
        and state["genotypes"] == trained.genotypes
    )
    assert all(
        moments.keys() == {"exp_avg", "exp_avg_sq", "step"} and moments["step"] == 9
        for moments in state["architecture"].values()
    )
    again = bilevel(tmp_path, at(1)).run()
    assert same(again, trained)


def job(folder: Path | None, **changes: Any) -> Bilevel:
    """What the child process trains: 20 iterations."""
    torch.set_num_threads(1)
    return bilevel(folder, data=images(40, augmentation=Augmentation(1, True)), drop=0.5, epochs=4, **changes).run()


def child(folder: Path, until: int, changes: dict[str, Any]) -> None:
    hold(until)
    job(folder, **changes)


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    rng, changes = random.Random(20), {"order": 2, "warmup_epochs": 1}
    for target in sorted(rng.sample(range(1, 17), 3)):
        process = FORKS.Process(target=child, args=(tmp_path, target + 3, changes))
        process.start()
        try:
            wait(process, lambda target=target: step(tmp_path) >= target)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.01))
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL and target <= step(tmp_path) < 20
        finally:
            process.kill()
    assert same(job(tmp_path, **changes), job(None, **changes))


# Second order


class Smooth(nn.Module):
    """Two layers mixed by alphas, twice differentiable, in float64 and without batch norm."""

    def __init__(self) -> None:
        super().__init__()
        with torch_fork(0, "smooth"):
            self.frozen, self.a, self.b, self.out = (nn.Linear(5, 5).double() for _ in range(4))
            self.alphas = nn.Parameter(torch.randn(3, dtype=torch.float64))
        self.register_buffer("count", torch.zeros(1, dtype=torch.float64))
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        share = self.alphas.softmax(0)
        x = torch.tanh(self.frozen(x))
        return self.out(share[0] * torch.tanh(self.a(x)) + share[1] * torch.sigmoid(self.b(x)) + share[2] * x)  # type: ignore[no-any-return]


@pytest.fixture
def smooth() -> dict[str, Any]:
    model, rng = Smooth(), torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 8, 5, generator=rng, dtype=torch.float64), torch.randint(0, 5, (2, 8), generator=rng)
    names = sorted(name for name, p in model.named_parameters() if p.requires_grad and name != "alphas")
    momenta = {
        name: 0.1 * torch.randn(model.get_parameter(name).shape, generator=rng, dtype=torch.float64) for name in names
    }
    losses = [lambda network, i=i: functional.cross_entropy(network(x[i]), y[i]) for i in range(2)]
    return {"model": model, "names": names, "momenta": momenta, "losses": losses}


def ours(
    model: nn.Module, names: list[str], momenta: dict[str, torch.Tensor | None], losses: list[Function], rate: float
) -> torch.Tensor:
    training, validation = losses
    weights = [model.get_parameter(name) for name in names]
    (found,) = unrolled_gradients(
        lambda: training(model), lambda: validation(model), weights, [model.get_parameter("alphas")], [momenta[name] for name in names],
        list(model.buffers()), rate=rate, momentum=0.9, weight_decay=0.01,
    )  # fmt: skip
    return found


@pytest.mark.parametrize("rate", [0.025, 0.5])
def test_second_order_equals_copies_of_the_network(smooth: dict[str, Any], rate: float) -> None:
    model, before = smooth["model"], copy.deepcopy(smooth["model"].state_dict())
    found = ours(rate=rate, **smooth)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), (
        "weights and buffers are put back bit for bit"
    )
    expected = literal(copy.deepcopy(model), *smooth["losses"], smooth["names"], ["alphas"], smooth["momenta"], rate)[
        "alphas"
    ]
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    first = slopes(copy.deepcopy(model), smooth["losses"][1], ["alphas"])["alphas"]
    assert (found - first).norm() > 0.002 * first.norm(), "it is not the first-order gradient"


def test_second_order_is_near_the_true_gradient(smooth: dict[str, Any]) -> None:
    """Of the loss after the unrolled step, by autograd through that step: the finite difference errs by 2e-7 of it."""
    model, rate = copy.deepcopy(smooth["model"]), 0.5
    training, validation = smooth["losses"]
    weights = {name: model.get_parameter(name) for name in smooth["names"]}
    g = torch.autograd.grad(training(model), list(weights.values()), create_graph=True)
    ahead = {
        n: w - rate * (0.9 * smooth["momenta"][n] + s + 0.01 * w) for (n, w), s in zip(weights.items(), g, strict=True)
    }
    (true,) = torch.autograd.grad(validation(lambda x: functional_call(model, ahead, (x,))), [model.alphas])
    assert torch.allclose(ours(rate=rate, **smooth), true, rtol=1e-5, atol=0)


def test_second_order_without_momentum_or_without_weights_in_the_validation_loss(smooth: dict[str, Any]) -> None:
    zero = {name: torch.zeros_like(m) for name, m in smooth["momenta"].items()}
    none = ours(rate=0.5, **{**smooth, "momenta": dict.fromkeys(zero)})
    assert torch.equal(none, ours(rate=0.5, **{**smooth, "momenta": zero}))
    losses = [smooth["losses"][0], lambda network: (network.alphas**2).sum()]
    assert torch.equal(ours(rate=0.5, **{**smooth, "losses": losses}), 2 * smooth["model"].alphas.detach())


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_second_order_puts_weights_back_when_it_is_interrupted(smooth: dict[str, Any], call: int) -> None:
    model, before = smooth["model"], copy.deepcopy(smooth["model"].state_dict())

    def interrupting(loss: Function) -> Function:
        def wrapped(network: nn.Module) -> torch.Tensor:
            value = loss(network)
            if network.count == call:
                raise Interrupted
            return value

        return wrapped

    with pytest.raises(Interrupted):
        ours(rate=0.5, **{**smooth, "losses": [interrupting(loss) for loss in smooth["losses"]]})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_iteration_of_second_order_moves_running_statistics_once() -> None:
    assert int(bilevel(order=2).run().final["normal.num_batches_tracked"]) == 9
    assert int(bilevel(order=1).run().final["normal.num_batches_tracked"]) == 18


def test_forward_passes_that_are_compared_draw_the_same_noise() -> None:
    """With other noise on the two sides the difference would be noise over 2 epsilon."""
    losses: dict[str, list[float]] = {}

    class Noting(BilevelTraining):
        def _loss(self, batch: Any, purpose: str, measured: bool = False) -> torch.Tensor:
            value = super()._loss(batch, purpose, measured)
            losses.setdefault(purpose, []).append(float(value.detach()))
            return value

    model = Toy(drop=0.5)
    model.begin_epoch = lambda epoch, epochs: setattr(model, "probability", 0.5)  # type: ignore[method-assign]
    Noting(
        model,
        RandomLabels(CLASSES),
        images(24),
        settings(order=2, epochs=1, learning_rate=1e-9, final_learning_rate=0),
        0,
    ).run()
    for first, plus, minus in np.array(losses["weights forward"]).reshape(3, 3):
        assert plus != minus and abs(plus - first) < 0.02 and abs(minus - first) < 0.02
    assert len(losses["architecture forward"]) == 3


# Several processes


class Quiet(Toy):
    """Without batch norm, whose statistics are of each process' own images; and without notes, which cannot be
    compiled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normal = nn.GroupNorm(1, 4)  # type: ignore[assignment]

    forward = quiet


def everything(folder: Path, devices: int) -> dict[str, Any]:
    """Two halves of 14 images in batches of 5, 5 and 4: two processes get unequal shares."""
    module.BACKEND = "aot_eager"

    def trained(name: str | None, hook: Callable[[int], None] = lambda call: None, **changes: Any) -> Bilevel:
        s = settings(devices=devices, batch_size=5, epochs=2, **changes)
        return BilevelTraining(
            Quiet(), Interrupting(hook), images(28), s, 0, folder=None if name is None else folder / name
        ).run()

    with suppress(Interrupted):
        trained("torn", at(7))
    done = {
        "plain": trained("whole"),
        "resumed": trained("torn"),
        "second": trained(None, order=2, first="weights"),
        "clipped": trained(None, architecture_clip=1e-3),
        "compiled": trained(None, compile=True, order=2),
    }
    return {
        name: {"final": run.final, "history": json.dumps(run.history), "genotypes": run.genotypes}
        for name, run in done.items()
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("two")
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_PORT")
    }
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(folder), "2"]
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    yield [torch.load(folder / f"result-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    yield everything(tmp_path_factory.mktemp("one"), 1)
    module.BACKEND = "inductor"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "second", "clipped", "compiled"])
def test_two_processes_equal_one_with_the_joint_batch(
    one: dict[str, Any], two: list[dict[str, Any]], name: str
) -> None:
    for key, value in one[name]["final"].items():
        assert torch.allclose(two[0][name]["final"][key], value, rtol=0, atol=1e-5), key
    for theirs, row in zip(json.loads(two[0][name]["history"]), json.loads(one[name]["history"]), strict=True):
        assert theirs == pytest.approx(row, abs=1e-5)


@pytest.mark.slow
def test_two_processes_agree_and_resume(two: list[dict[str, Any]]) -> None:
    for name in two[0]:
        assert all(map(torch.equal, two[0][name]["final"].values(), two[1][name]["final"].values()))
        assert (
            two[0][name]["history"] == two[1][name]["history"]
            and two[0][name]["genotypes"] == two[1][name]["genotypes"]
        )
    assert all(map(torch.equal, two[0]["plain"]["final"].values(), two[0]["resumed"]["final"].values()))
    assert two[0]["plain"]["history"] == two[0]["resumed"]["history"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = everything(Path(sys.argv[1]), int(sys.argv[2]))
    torch.save(result, Path(sys.argv[1]) / f"result-{os.environ.get('LOCAL_RANK', '0')}.pt")
