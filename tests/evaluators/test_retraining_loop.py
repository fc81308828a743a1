"""The loop of retraining: resumed equals undisturbed, parts equal the whole, and the same numbers as timm's own steps
in a plain loop.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nni_plugins.evaluators.errors import ConfigError, DataError, TrainingError
from nni_plugins.evaluators.retraining import batches as pipeline
from nni_plugins.evaluators.retraining import loop
from nni_plugins.evaluators.retraining.batches import TrainingBatches, normalisation
from nni_plugins.evaluators.retraining.evaluator import RetrainResult, TimmRetrain
from nni_plugins.evaluators.retraining.network import build
from nni_plugins.evaluators.retraining.pictures import Pictures, open_pictures
from nni_plugins.evaluators.retraining.settings import MAY_CHANGE_IN_RETRAINING, PictureSettings, Recipe
from nni_plugins.evaluators.retraining.validation import validate
from nni_plugins.evaluators.subjects.resolver import image_subject
from nni_plugins.testing.training import TrainingContract

from . import retraining_job as job
from .tiny import Interrupted

pytest.importorskip("timm")


class At:
    """Raises at the ``number``-th update."""

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, 0

    def __call__(self, row: dict[str, float]) -> None:
        self.seen += 1
        if self.seen == self.number:
            raise Interrupted


def weights(folder: Path, name: str = "last.pth.tar") -> dict[str, torch.Tensor]:
    state = torch.load(folder / name, weights_only=True)
    return {f"{part}.{key}": value for part in ("state_dict", "state_dict_ema") for key, value in state[part].items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RetrainResult]:
    """The undisturbed training."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, job.train(folder)


def test_what_a_row_holds(whole: tuple[Path, RetrainResult]) -> None:
    folder, result = whole
    keys = {"epoch", "loss", "accuracy", "learning_rate", "test_loss", "top1", "top5", "top1_raw"}
    assert [set(row) for row in result.history] == [keys] * 3
    assert [row["learning_rate"] for row in result.history] == pytest.approx([0.05 * 0.2, 0.05 * 0.75, 0.05 * 0.25])
    assert [
        json.loads(line) for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()
    ] == result.history
    best = max(row["top1"] for row in result.history)
    assert (
        result.best_top1 == best
        and result.history[result.best_epoch - 1]["top1"] == best
        and result.top1 == result.history[-1]["top1"]
    )


def test_what_a_folder_holds(whole: tuple[Path, RetrainResult]) -> None:
    folder, result = whole
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "architecture.png", "config.json", "data.json", "last.pth.tar", "model.safetensors", "model_best.pth.tar", "recipe.yml",
        "result.json", "summary.csv", "training",
    }  # fmt: skip
    written = json.loads((folder / "result.json").read_text())
    assert (
        written["top1"] == result.top1
        and written["best_on_test_top1"] == result.best_top1
        and written["network"]["parameters"] > 0
    )
    assert torch.load(folder / "model_best.pth.tar", weights_only=True)["metric"] == result.best_top1


class TestRetraining(TrainingContract):
    """With the moving average, an auxiliary head, dropped paths and whatever else draws or has a state."""

    harmless = MAY_CHANGE_IN_RETRAINING
    other_values = {"network.width": {"parameters": [100, 200]}, "input.mean": [0.25] * 3, "input.std": [0.25] * 3}

    def settings(self) -> Recipe:
        return job.recipe(input={"size": 8, "mean": [0.5] * 3, "std": [0.5] * 3})

    def diverging(self) -> Recipe:
        return job.recipe(optimizer={"learning_rate": 1e30}, schedule={"name": "constant"}, mix=None)

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> dict[str, Any]:
        def told(row: dict[str, float]) -> None:
            if report is not None:
                report({key: value for key, value in row.items() if key != "images_per_second"})

        network = build(image_subject(job.CELL, job.SPACE), job.recipe(), 10, seed)
        evaluator = TimmRetrain(
            {**job.DATA, "limit": 32, "test_limit": 20}, settings, seed=seed, folder=folder, report=told
        )
        return {"result": evaluator.train(network), "weights": network.state_dict()}


def test_lost_and_damaged_weights_are_written_anew(whole: tuple[Path, RetrainResult], tmp_path: Path) -> None:
    folder, result = whole
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    last, best = tmp_path / "last.pth.tar", tmp_path / "model_best.pth.tar"
    written, chosen = weights(folder, "last.pth.tar"), best.read_bytes()
    for damage in (last.unlink, lambda: last.write_bytes(chosen[:100]), lambda: last.write_bytes(b"")):
        damage()
        assert job.train(tmp_path).history == result.history
        assert same(weights(tmp_path, "last.pth.tar"), written)
    assert best.read_bytes() == chosen


def test_interrupted_and_resumed_equals_undisturbed(whole: tuple[Path, RetrainResult], tmp_path: Path) -> None:
    """All that is written for others."""
    folder, undisturbed = whole
    with pytest.raises(Interrupted):
        job.train(tmp_path, At(6))
    resumed = job.train(tmp_path)
    assert resumed.history == undisturbed.history and resumed.metrics == undisturbed.metrics
    for name in ("last.pth.tar", "model_best.pth.tar"):
        assert same(weights(tmp_path, name), weights(folder, name))
    assert (tmp_path / "summary.csv").read_text() == (folder / "summary.csv").read_text()


def test_the_best_epoch_is_chosen_by_held_out_images_and_tested_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are those of the file, measured on images that chose nothing; resumed in memory of them."""
    data = {**job.DATA, "validation": 0.25, "limit_seed": 2}
    shown: list[tuple[str, int]] = []

    def counted(pictures: Pictures, *arguments: Any, **options: Any) -> Any:
        shown.append((pictures.name, len(pictures)))
        return pipeline.test_batches(pictures, *arguments, **options)

    monkeypatch.setattr(loop, "test_batches", counted)

    def train(folder: Path | None, progress: Any = None) -> RetrainResult:
        loop.EVERY = 0.0
        return TimmRetrain(data, job.recipe(), space=job.SPACE, folder=folder, progress=progress).train(job.CELL)

    result = train(tmp_path)
    # the network and its moving average, each epoch; then the chosen one
    assert shown == [("digits/train, held out", 24)] * 6 + [("digits/test", 60)]
    names = ("loss", "top1", "top5", "top1_raw")
    keys = {"epoch", "loss", "accuracy", "learning_rate", *(f"validation_{name}" for name in names)}
    assert [set(row) for row in result.history] == [keys] * 3
    best = max(row["validation_top1"] for row in result.history)
    assert result.best_top1 == best and result.history[result.best_epoch - 1]["validation_top1"] == best
    assert result.validated and result.epoch == result.best_epoch and result.weights == "model_best.pth.tar"
    assert result.epoch == 2, "or the weights would be the last ones"
    settings = PictureSettings(**data)  # type: ignore[arg-type]
    again = validate(tmp_path / "model_best.pth.tar", settings, device="cpu")
    assert (again["top1"], again["top5"]) == (result.top1, result.top5) and again["loss"] == pytest.approx(result.loss)
    assert again["epoch"] == result.epoch and again["recorded"]["validation_top1"] == best
    assert torch.load(tmp_path / "model_best.pth.tar", weights_only=True)["metric"] == best
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["validation_top1"] == best and written["data"] == {
        "name": "digits/train", "train": 72, "validation": 24, "test": 60,
    }  # fmt: skip
    assert "best_on_test_top1" not in written and "flatter" not in (tmp_path / "README.md").read_text()
    with pytest.raises(DataError, match=r"digits/.* have a shorter side of less than half of input\.size"):
        TimmRetrain(data, job.recipe(input={"size": 32}), space=job.SPACE, progress=At(1)).train(job.CELL)
    with pytest.raises(Interrupted):
        train(tmp_path / "again", At(11))
    shown.clear()
    resumed = train(tmp_path / "again")
    assert resumed.metrics == result.metrics and resumed.history == result.history and len(shown) == 3
    assert same(weights(tmp_path / "again"), weights(tmp_path)), "the last file has the weights of the last epoch"
    shown.clear()
    assert train(tmp_path).metrics == result.metrics and shown == [], "a finished training shows nothing again"
    assert train(None).metrics == result.metrics


def test_killed_and_resumed_equals_undisturbed(whole: tuple[Path, RetrainResult], tmp_path: Path) -> None:
    folder, undisturbed = whole
    command = [sys.executable, "-W", "ignore", "-m", "tests.evaluators.retraining_job", "kill", str(tmp_path), "9"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (tmp_path / "result.json").exists()
    torch.set_num_threads(1)  # as the process had it: sums depend on the number of threads
    assert job.train(tmp_path).history == undisturbed.history
    assert same(weights(tmp_path), weights(folder))


def test_parts_of_a_batch_equal_the_whole() -> None:
    one, two = job.shared(1), job.shared(1, accumulate=2)
    assert all(torch.allclose(two["model"][name], value, rtol=0, atol=1e-12) for name, value in one["model"].items())
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert theirs == pytest.approx(ours, rel=1e-6)


def test_the_same_numbers_as_a_plain_loop_of_timms_parts(tmp_path: Path) -> None:
    """timm's optimizer, schedule, loss, mixing and moving average, called one after the other as timm's training script
    does.
    """
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import ModelEmaV3

    changes: dict[str, Any] = {
        "network": {},
        "optimizer": {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.05, "decay": "matrices"},
        "schedule": {"name": "cosine", "per": "update", "warmup_epochs": 1},
        "loss": {},
        "ema": {"decay": 0.9, "warmup": True},
        "precision": "64-true",
    }
    recipe, pictures = job.recipe(**changes), open_pictures(PictureSettings(**job.DATA))  # type: ignore[arg-type]
    torch.manual_seed(0)
    ours, plain = job.Plain(), job.Plain()
    plain.load_state_dict(ours.state_dict())
    history = TimmRetrain(pictures, recipe, folder=tmp_path).train(ours).history

    plain = (
        plain.double()
    )  # Fabric rounds what its modules return to float32, ours as well, so that the two differ by 1e-8
    optimizer = create_optimizer_v2(plain, opt="adamw", lr=0.01, weight_decay=0.05)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=3,
        warmup_epochs=1,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=6,
    )
    ema, criterion, scale = (
        ModelEmaV3(plain, decay=0.9, use_warmup=True),
        SoftTargetCrossEntropy(),
        normalisation(recipe, pictures.train),
    )
    batches, update, losses = TrainingBatches(pictures.train, recipe, scale, 0), 0, []
    for epoch in range(3):
        for [part] in batches.epoch(epoch):
            scheduler.step_update(update)
            optimizer.zero_grad()
            loss = criterion(plain.train()(part.images.double()), part.targets)
            loss.backward()
            optimizer.step()
            update += 1
            ema.update(plain, step=update)
            losses.append(loss.item())
    written = weights(tmp_path)
    for part, network in (("state_dict", plain), ("state_dict_ema", ema.module)):
        for name, value in network.state_dict().items():
            assert torch.allclose(written[f"{part}.{name}"], value, rtol=0, atol=1e-6), (part, name)
    assert [row["loss"] for row in history] == pytest.approx([sum(losses[6 * e : 6 * e + 6]) / 6 for e in range(3)])
    with torch.no_grad():
        tests = pipeline.test_batches(pictures.test, recipe, scale, "cpu")
        right = [(ema.module.eval()(images.double()).argmax(1) == labels).tolist() for images, labels in tests]
    assert history[-1]["top1"] == pytest.approx(100 * sum(map(sum, right)) / sum(map(len, right)))


class Hungry(nn.Module):
    """Runs out of memory with more than ``most`` images at once."""

    def __init__(self, most: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.most, self.error, self.layer = most, error, nn.Linear(192, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and len(x) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        logits: torch.Tensor = self.layer(x.flatten(1))
        return logits


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_memory_that_runs_out_names_what_fits(error: type[Exception]) -> None:
    evaluator = TimmRetrain(job.DATA, job.recipe(network={}, mix=None))
    with pytest.raises(TrainingError, match="memory ran out with 16 images at once") as caught:
        evaluator.train(Hungry(5, error))
    assert "4 at once fit: add --set accumulate=4 (the batch stays 16)" in str(caught.value)
    assert TimmRetrain(job.DATA, job.recipe(network={}, mix=None, accumulate=4)).train(Hungry(5, error)).top1 > 10


@pytest.mark.parametrize(
    ("batch", "most", "mix", "said"),
    [
        (30, 3, {"mixup": 0.2}, "add --set accumulate=15"),
        (30, 3, None, "add --set accumulate=10"),
        (17, 8, None, "no part of 17 is that small"),
    ],
)
def test_the_parts_that_are_proposed_are_possible(
    batch: int, most: int, mix: dict[str, float] | None, said: str
) -> None:
    settings = (
        job.recipe(network={}, batch_size=batch, mix=mix)
        if batch % 2 == 0
        else job.recipe(network={}, batch_size=batch, mix=None)
    )
    with pytest.raises(TrainingError, match=said):
        TimmRetrain(job.DATA, settings).train(Hungry(most))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"accelerator": "cuda"}, "accelerator=cuda"), ({"precision": "16-mixed"}, "precision=16-mixed needs a GPU")],
)
def test_devices_that_are_not_there(changes: dict[str, Any], message: str) -> None:
    if torch.cuda.is_available() and "accelerator" in changes:
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=message):
        job.train(None, **changes)


def test_not_even_two_images_fit() -> None:
    with pytest.raises(TrainingError, match="Not even 2 images fit"):
        TimmRetrain(job.DATA, job.recipe(network={}, mix=None)).train(Hungry(1))


def test_other_errors_stay_what_they_are() -> None:
    class Broken(Hungry):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        TimmRetrain(job.DATA, job.recipe(network={})).train(Broken(1))


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    changes = {"optimizer": {"learning_rate": 1e30}, "schedule": {"name": "constant"}, "mix": None}
    with pytest.raises(
        TrainingError, match=r"in epoch 1\.\nLower optimizer.learning_rate .* or set optimizer.gradient_clip"
    ):
        job.train(tmp_path, **changes)


def test_mixed_precision_and_channels_last_learn() -> None:
    plain = job.train(None).history
    mixed = job.train(None, precision="bf16-mixed", memory_format="channels_last").history
    assert mixed != plain and mixed[-1]["loss"] == pytest.approx(plain[-1]["loss"], rel=0.05)


def test_batch_statistics_over_devices_need_cuda() -> None:
    with pytest.raises(ConfigError, match="sync_batchnorm works on CUDA only"):
        job.train(None, sync_batchnorm=True)


def test_progress_tells_speed_and_time_left(whole: tuple[Path, RetrainResult]) -> None:
    rows: list[dict[str, float]] = []
    job.train(None, rows.append)
    assert [(row["epoch"], row["update"]) for row in rows] == [(e, u) for e in (1, 2, 3) for u in range(1, 7)]
    assert all(row["images_per_second"] > 0 and row["updates"] == 6 for row in rows) and rows[-1]["seconds_left"] == 0
    assert rows[-1]["loss"] == pytest.approx(whole[1].history[-1]["loss"])


# -- several processes -------------------------------------------------------------------------------------------------
def started(folder: Path, what: str, number: int, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_PORT")
    }
    module = ["-m", "tests.evaluators.retraining_job", what, str(folder), str(number)]
    return subprocess.run(
        [sys.executable, "-W", "ignore", *command, *module],
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )


def launched(folder: Path, *command: str) -> list[dict[str, Any]]:
    done = started(folder, "shared", 2, *command)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"result-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [(), ("-m", "torch.distributed.run", "--nproc-per-node", "2")], ids=["fabric", "torchrun"]
)
def test_two_processes_equal_one_with_the_joint_batch(tmp_path: Path, command: tuple[str, ...]) -> None:
    one, two = job.shared(1), launched(tmp_path, *command)
    for process in two:
        assert all(
            torch.allclose(process["model"][name], value, rtol=0, atol=1e-12) for name, value in one["model"].items()
        )
        for ours, theirs in zip(one["history"], ast.literal_eval(process["history"]), strict=True):
            assert theirs == pytest.approx(ours, rel=1e-6)


@pytest.mark.slow
def test_two_processes_killed_and_resumed(tmp_path: Path) -> None:
    """With batch norms, whose statistics are the first process', dropped paths and files that only one process writes."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert started(whole, "pair", 0).returncode == 0
    assert started(cut, "pair", 9).returncode == -signal.SIGKILL and not (cut / "result.json").exists()
    resumed = started(cut, "pair", 0)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert (
        same(weights(cut), weights(whole)) and (cut / "summary.csv").read_text() == (whole / "summary.csv").read_text()
    )


@pytest.mark.slow
def test_two_processes_with_a_dead_end(tmp_path: Path) -> None:
    done = started(tmp_path, "dead", 2)
    assert done.returncode == 0 and (tmp_path / "result.json").exists(), done.stderr[-3000:]


@pytest.mark.slow
def test_compiled_equals_plain() -> None:
    """Without what is drawn in the network: compiled code draws other numbers."""
    changes: dict[str, Any] = {"epochs": 2, "network": {"auxiliary": True}}
    plain, compiled = job.train(None, **changes).history, job.train(None, compile=True, **changes).history
    for ours, theirs in zip(plain, compiled, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-3)
