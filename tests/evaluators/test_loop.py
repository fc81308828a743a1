"""The training loop against numbers computed by hand."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from torch import nn
from torch.amp.grad_scaler import GradScaler

from nni_plugins.evaluators import files
from nni_plugins.evaluators.data import Augmentation, ImageData, ImageSet
from nni_plugins.evaluators.errors import CheckpointError, ConfigError, LabelError, TrainingError
from nni_plugins.evaluators.objectives import RandomLabels, Rotation, Supervised
from nni_plugins.evaluators.randomness import generator, torch_fork
from nni_plugins.evaluators.stand_alone.training import StandAlone, StandAloneResult
from nni_plugins.evaluators.supernets.shared_images import SharedImages
from nni_plugins.evaluators.supernets.shared_weights import Cycle
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training import CheckpointStore, Trained, Training, accuracy
from nni_plugins.evaluators.training.loop import cosine
from nni_plugins.evaluators.training.settings import StandAloneSettings, SupernetSettings, TrainingSettings
from nni_plugins.spaces import Indices, NASBench201
from nni_plugins.testing.training import TrainingContract

from .tiny import CLASSES, Interrupted, TwoPaths, at, images, linear, settings, training

SPACE = NASBench201(nodes=3, channels=2, cells_per_stage=1, classes=CLASSES)

# Closed forms


def standardised(data: ImageSet) -> np.ndarray:
    """(N, 3 * H * W) float64."""
    mean, deviation = data.statistics()
    pixels = data.images.float().div(255).sub(mean[:, None, None]).div(deviation[:, None, None])
    return np.asarray(pixels.double().flatten(1))


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-5), ("64-true", 1e-7)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_steps_by_hand(precision: Any, tolerance: float, nesterov: bool) -> None:
    """``64-true`` is no closer to it than 1e-7, because Fabric hands a network's outputs on in float32."""
    data, model, epochs = images(8), linear(), 3
    s = settings(epochs=epochs, batch_size=8, precision=precision, nesterov=nesterov, weight_decay=0.01)
    x, y = standardised(data), np.eye(CLASSES)[RandomLabels(CLASSES).epoch_targets(data, 0).numpy()]
    w, b = (p.detach().double().numpy() for p in model.parameters())
    momenta, losses = [np.zeros_like(w), np.zeros_like(b)], []
    for epoch in range(epochs):
        logits = x @ w.T + b
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        losses.append(-np.log((p * y).sum(1)).mean())
        error = (p - y) / len(x)
        gradients = [error.T @ x + 0.01 * w, error.sum(0) + 0.01 * b]
        momenta = [0.9 * m + g for m, g in zip(momenta, gradients, strict=True)]
        moves = [g + 0.9 * m if nesterov else m for m, g in zip(momenta, gradients, strict=True)]
        rate = 0.001 + 0.024 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        w, b = w - rate * moves[0], b - rate * moves[1]
    trained = Training(model, RandomLabels(CLASSES), data, s, 0).run()
    assert np.allclose(trained.final["1.weight"].numpy(), w, atol=tolerance, rtol=0)
    assert np.allclose(trained.final["1.bias"].numpy(), b, atol=tolerance, rtol=0)
    assert [row["loss"] for row in trained.history] == pytest.approx(losses, abs=tolerance)
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]


def test_cosine() -> None:
    s = TrainingSettings()
    assert cosine(s, 0) == 0.025 and cosine(s, 125) == pytest.approx(0.013)
    assert (
        cosine(s, 249) == pytest.approx(0.001 + 0.024 * (1 + math.cos(math.pi * 249 / 250)) / 2)
        and 0.001 < cosine(s, 249) < 0.001001
    )
    assert cosine(TrainingSettings(epochs=1), 0) == 0.025


@pytest.mark.parametrize("update_all", [True, False])
def test_what_happens_to_parameters_off_the_path(update_all: bool) -> None:
    model = TwoPaths()
    before = model.state_dict()["b.1.weight"].clone()
    s = settings(epochs=2, batch_size=4, weight_decay=0.1, nesterov=False)
    trained = Training(
        model,
        RandomLabels(CLASSES),
        images(8),
        s,
        0,
        paths=lambda epoch, steps: np.zeros(steps, np.int8),
        update_all=update_all,
    ).run()
    weight, momentum = before.double(), torch.zeros_like(before).double()
    for epoch in range(2):
        for _ in range(2):
            momentum = 0.9 * momentum + 0.1 * weight
            weight = weight - cosine(s, epoch) * momentum
    assert not torch.equal(trained.final["a.1.weight"], before)
    if update_all:
        assert torch.allclose(trained.final["b.1.weight"].double(), weight, atol=1e-6) and not torch.equal(
            trained.final["b.1.weight"], before
        )
    else:
        assert torch.equal(trained.final["b.1.weight"], before)


def test_gradient_clip_bounds_the_step() -> None:
    def step(clip: float | None) -> np.ndarray:
        s = settings(epochs=1, batch_size=8, momentum=0, weight_decay=0, learning_rate=1, gradient_clip=clip)
        trained = Training(linear(), RandomLabels(CLASSES), images(8), s, 0).run()
        return np.concatenate(
            [(trained.final[name] - trained.initial[name]).flatten().numpy() for name in trained.final]
        )

    free, clipped, loose = step(None), step(0.01), step(1e6)
    assert np.linalg.norm(free) > 0.1 and np.linalg.norm(clipped) == pytest.approx(0.01, rel=1e-3)
    assert free @ clipped == pytest.approx(np.linalg.norm(free) * np.linalg.norm(clipped), rel=1e-4)
    assert np.allclose(free, loose)


class Brightest(nn.Module):
    """Answers with the channel that has the largest mean, after standardisation; but for dropout, in evaluation mode
    only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.drop = nn.Parameter(torch.ones(1)), nn.Dropout(1.0)
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(x))
        return cast(torch.Tensor, self.scale * self.drop(x.mean((2, 3))))


def test_accuracy_by_hand() -> None:
    pixels = torch.zeros(8, 3, 4, 4, dtype=torch.uint8)
    answers = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    pixels[range(8), answers] = 200
    data = ImageSet("bright", pixels, torch.tensor([0, 1, 2, 0, 1, 1, 1, 1]))
    model = Brightest()
    assert accuracy(model, data, (torch.zeros(3), torch.ones(3)), batch_size=3) == pytest.approx(100 * 6 / 8)
    assert model.batches == [3, 3, 2]
    shifted = (torch.tensor([-9.0, 0, 0]), torch.ones(3))
    assert accuracy(model, data, shifted) == pytest.approx(100 * 2 / 8), (
        "with this mean channel 0 is always the brightest"
    )


# Order of the images


class Recorder(nn.Module):
    """Remembers what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.seen = linear(), list[torch.Tensor]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.clone())
        return cast(torch.Tensor, self.head(x))


def seen(data: ImageSet, seed: int, folder: Path | None = None, **changes: Any) -> list[torch.Tensor]:
    model = Recorder()
    Training(
        model, RandomLabels(CLASSES), data, settings(**{"epochs": 2, "batch_size": 4, **changes}), seed, folder=folder
    ).run()
    return model.seen


def test_batches_are_the_seeded_permutation_of_the_standardised_images() -> None:
    data = images(10)
    x = torch.from_numpy(standardised(data)).float().view(10, 3, 4, 4)
    for epoch, batches in enumerate(np.array_split(np.array(seen(data, 7), dtype=object), 2)):
        order = generator(7, "data order", epoch).permutation(10)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert torch.allclose(torch.cat(list(batches)), x[order], atol=1e-6)


def test_order_and_augmentation_are_functions_of_seed_and_epoch() -> None:
    data = images(8, augmentation=Augmentation(1, True))
    first, again, other = (torch.stack(seen(data, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[:2], first[2:]), "epochs differ"
    assert torch.equal(torch.stack(seen(data, 0, epochs=1)), first[:2]), "whatever the number of epochs"


def test_every_image_is_augmented_as_drawn_for_it_in_this_epoch() -> None:
    data, augmentation = images(8), Augmentation(1, True)
    batches = torch.stack(seen(images(8, augmentation=augmentation), 3)).reshape(2, 8, 3, 4, 4)
    mean, deviation = (s[:, None, None] for s in data.statistics())
    for epoch in range(2):
        moved = (
            augmentation.apply(data.images, torch.from_numpy(augmentation.draw(3, epoch, 8)))
            .float()
            .div(255)
            .sub(mean)
            .div(deviation)
        )
        assert torch.allclose(batches[epoch], moved[generator(3, "data order", epoch).permutation(8)], atol=1e-6)


@pytest.mark.parametrize(("count", "sizes"), [(9, [4, 4]), (10, [4, 4, 2]), (8, [4, 4]), (3, [3]), (2, [2])])
def test_a_last_batch_of_one_image_is_left_out(count: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in seen(images(count), 0, epochs=1)] == sizes


# Precision


def test_single_paths_are_computed_in_mixed_precision() -> None:
    """On one device Fabric calls ``forward_path`` as it stands, outside of its own mixed precision."""
    seen: list[torch.dtype] = []
    model = SPACE.supernet()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, given, output: seen.append(output.dtype))
    s = SupernetSettings(epochs=1, batch_size=4, accelerator="cpu", precision="bf16-mixed")
    trained = SupernetTraining(images(8), RandomLabels(CLASSES), s).evaluate(model)
    assert set(seen) == {torch.bfloat16} and math.isfinite(trained.history[0]["loss"])
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_bf16_mixed_computes_in_bf16_and_keeps_weights_in_float32() -> None:
    def final(precision: str) -> Trained:
        return training(precision=precision).run()

    mixed, full = final("bf16-mixed"), final("32-true")
    assert mixed.final["1.weight"].dtype == torch.float32 and math.isfinite(mixed.history[-1]["loss"])
    assert not torch.equal(mixed.final["1.weight"], full.final["1.weight"])
    assert torch.allclose(mixed.final["1.weight"], full.final["1.weight"], atol=0.02)


def test_the_gradient_scaler_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    """On a CPU Fabric takes bf16 for ``16-mixed``, so the scaler is put in by hand."""

    def run(folder: Path, hook: Callable[[int], None] = lambda call: None) -> tuple[Trained, Training]:
        job = training(folder, hook)
        scaler = GradScaler("cpu", init_scale=2.0**8, growth_interval=2)
        job.fabric.strategy.precision = job.fabric._precision = MixedPrecision("16-mixed", "cpu", scaler)
        return job.run(), job

    whole, job = run(tmp_path / "whole")
    scale = job.fabric.strategy.precision.state_dict()["scale"]
    assert scale == 2.0**12, "nine steps, doubled after every second one"
    with pytest.raises(Interrupted):
        run(tmp_path / "torn", at(6))
    resumed, job = run(tmp_path / "torn")
    assert job.fabric.strategy.precision.state_dict()["scale"] == scale
    assert all(torch.equal(resumed.final[name], whole.final[name]) for name in whole.final)


# Failures


def poison(call: int) -> None:
    """Makes weights and thereby the loss of step 5 NaN, as a diverging training does."""
    if call == 5:
        with torch.no_grad():
            next(poison.model.parameters()).mul_(math.nan)  # type: ignore[attr-defined]


@pytest.mark.parametrize("seconds", [0, 1000])
def test_a_loss_that_is_not_finite(tmp_path: Path, seconds: float) -> None:
    job = training(tmp_path, poison, checkpoint_seconds=seconds)
    poison.model = job.model  # type: ignore[attr-defined]
    with pytest.raises(
        TrainingError,
        match=r"(weights became infinite or NaN|the loss became nan) in epoch 2\.\nLower the learning rate \(it is 0.019\)",
    ) as caught:
        job.run()
    assert ("the last checkpoint is intact" in caught.value.remedy) == (seconds == 0) and caught.value.exit_status == 3
    assert job.store is not None
    with job.store as store:
        found = store.load()
    if seconds == 0:
        assert found is not None and found[0] == 4 and all(torch.isfinite(w).all() for w in found[1]["model"].values())
    else:
        assert found is None


def test_weights_that_overflow_in_the_last_step_are_noticed() -> None:
    job = training(learning_rate=3e38, weight_decay=1000, epochs=1, batch_size=14, momentum=0)
    with pytest.raises(
        TrainingError, match=r"weights became infinite or NaN in epoch 1\.\nLower the learning rate \(it is 3e\+38\)"
    ) as caught:
        job.run()
    assert "checkpoint" not in caught.value.remedy, "there is no folder"


def test_a_diverging_training_names_its_learning_rate() -> None:
    with pytest.raises(
        TrainingError, match=r"in epoch \d+\.\nLower the learning rate \(it is \S+\) or set gradient_clip"
    ):
        training(learning_rate=1e30, epochs=20).run()


def test_supervised_training_needs_labels() -> None:
    for classes in ((), ("a", "b", "c", "d")):
        with pytest.raises(LabelError, match="noise: these images have no labels"):
            Training(linear(), Supervised(), images(8, classes=classes), settings(), 0).run()


def test_too_few_images_or_too_small_a_batch() -> None:
    with pytest.raises(
        ConfigError, match=r"at least 2 images for each device are needed, but there are 1 \(devices=1\)"
    ):
        training(count=1)
    with pytest.raises(ConfigError, match=r"but there are 3 \(devices=2\)"):
        training(count=3, devices=2)
    with pytest.raises(ConfigError, match=r"batch_size >= 2 \* devices must hold, but got batch_size=5, devices=3"):
        training(devices=3)


# Curve, report and resuming


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_report_and_metrics_have_a_row_for_every_epoch(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    job = training(tmp_path)
    job.report = rows.append
    history = job.run().history
    assert rows == history == lines(tmp_path) and [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["learning_rate"] for row in rows] == [cosine(job.settings, epoch) for epoch in range(3)]
    assert all(0 <= row["accuracy"] <= 100 and row["loss"] > 0 for row in rows)


class TestTraining(TrainingContract):
    def settings(self) -> TrainingSettings:
        return settings()

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> Trained:
        data = images(14, augmentation=Augmentation(1, True))
        return Training(linear(), RandomLabels(CLASSES), data, settings, seed, folder=folder, report=report).run()


class TestSupernet(TrainingContract):
    def settings(self) -> SupernetSettings:
        return SupernetSettings(epochs=3, batch_size=8, accelerator="cpu", checkpoint_seconds=0)

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> Trained:
        with torch_fork(seed, "initialisation"):
            supernet = SPACE.supernet()
        data = images(24, 8, augmentation=Augmentation(1, True))
        training = SupernetTraining(data, RandomLabels(CLASSES), settings, seed=seed, folder=folder, report=report)
        return training.evaluate(supernet)


class TestCycles(TrainingContract):
    """Every cycle goes on with weights, momentum and cosine of the one before."""

    def settings(self) -> SupernetSettings:
        return SupernetSettings(epochs=2, batch_size=8, accelerator="cpu", checkpoint_seconds=0)

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> dict[str, Any]:
        data, rows = images(26, 8, augmentation=Augmentation(1, True)), SPACE.enumerate()
        shared = SharedImages(SPACE, data, Rotation(), settings, seed=seed, folder=folder, report=report)

        def draw(epoch: int, steps: int) -> Indices:
            return np.asarray(rows[generator(seed, "draw", epoch).integers(len(rows), size=steps)])

        history = [shared.train(draw, Cycle(number, 3, 1, "none")) for number in range(3)]
        return {"history": history, "weights": shared.supernet.state_dict(), "scores": shared.scores(rows[:5])}


class TestStandAlone(TrainingContract):
    def settings(self) -> StandAloneSettings:
        return StandAloneSettings(epochs=3, batch_size=8, accelerator="cpu", checkpoint_seconds=0)

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> StandAloneResult:
        data, labels = [images(24, 8, n, augmentation=Augmentation(1, True)) for n in range(2)], torch.arange(24) % 4
        train, test = (ImageSet(part.name, part.images, labels, tuple("abcd")) for part in data)
        evaluator = StandAlone(ImageData(train, test), settings, space=SPACE, seed=seed, folder=folder, report=report)
        return evaluator.train(SPACE.decode(SPACE.enumerate()[33:34])[0])


def test_a_resumed_training_starts_from_the_stored_initial_weights(tmp_path: Path) -> None:
    """Even where the process was killed before its first checkpoint and the new one comes with other weights."""
    whole = training().run()
    with pytest.raises(Interrupted):
        training(tmp_path, at(1)).run()
    job = training(tmp_path)
    with torch.no_grad():
        for parameter in job.model.parameters():
            parameter.add_(1)
    resumed = job.run()
    for name in whole.final:
        assert torch.equal(resumed.final[name], whole.final[name]) and torch.equal(
            resumed.initial[name], whole.initial[name]
        )


def test_only_lost_steps_are_repeated(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        training(tmp_path, at(6)).run()
    steps: list[int] = []
    training(tmp_path, steps.append).run()
    assert len(steps) == 9 - 5
    again = training(tmp_path, at(1)).run()
    assert [row["epoch"] for row in again.history] == [1, 2, 3] == [row["epoch"] for row in lines(tmp_path)]


def test_checkpoints_do_not_depend_on_the_clock(tmp_path: Path) -> None:
    """A clock that jumps decides when to save, never what is computed; and the accelerator may change on resume."""
    whole = training().run()
    with pytest.raises(Interrupted):
        training(tmp_path, at(8), checkpoint_seconds=1000).run()
    with pytest.raises(Interrupted):
        training(tmp_path, at(5), checkpoint_seconds=0).run()
    resumed = training(
        tmp_path, checkpoint_seconds=1000, accelerator="auto" if not torch.cuda.is_available() else "cpu"
    ).run()
    assert all(torch.equal(resumed.final[name], whole.final[name]) for name in whole.final)


def test_a_full_disk_while_the_curve_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, mode: str = "r") -> Any:
        if mode == "a":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open(path, mode)

    with (
        monkeypatch.context() as patch,
        pytest.raises(CheckpointError, match=r"metrics.jsonl: the disk is full"),
    ):
        patch.setattr(files, "open", refuse, raising=False)
        training(tmp_path).run()
    assert training(tmp_path).run().history == training().run().history == lines(tmp_path)


def test_a_finished_folder_holds_the_final_weights(tmp_path: Path) -> None:
    trained = training(tmp_path, checkpoint_seconds=1000).run()
    job = training(tmp_path)
    assert job.store is not None and isinstance(job.store, CheckpointStore)
    with job.store as store:
        found = store.load()
        assert found is not None and found[0] == 9 and trained.initial_sha256 == store.initial_sha256
    assert all(torch.equal(found[1]["model"][name], trained.final[name]) for name in trained.final)


def test_the_warm_up_is_a_line_before_the_cosine() -> None:
    """PC-DARTS' search on ImageNet: 0.1, 0.2, ..., 0.5 in five epochs, then the cosine of 50 epochs as it is by then."""
    s = TrainingSettings(epochs=50, learning_rate=0.5, final_learning_rate=0.0, learning_rate_warmup=5)
    assert [cosine(s, epoch) for epoch in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert cosine(s, 5) == pytest.approx(0.25 * (1 + math.cos(math.pi / 10)))
    assert cosine(s, 49) == pytest.approx(0.25 * (1 + math.cos(0.98 * math.pi)))
