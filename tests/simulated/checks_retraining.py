"""Retraining on the simulated accelerator: timm's parts, the moving average, pinned images, half precision, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.retraining.evaluator import TimmRetrain
from nni_plugins.evaluators.retraining.settings import Recipe
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training.checkpoint import CheckpointStore
from nni_plugins.spaces import NASBench201

from .fabric import simulated
from .measuring import assert_as_on_cpu, assert_same, waits_a_step

pytest.importorskip("timm")
pytestmark = pytest.mark.usefixtures("plain_convolutions")
SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
CELL = SPACE.parse("|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|")
BATCH = 8


def recipe(accelerator: str, **changes: Any) -> Recipe:
    """Everything that has a state or draws, in little."""
    values: dict[str, Any] = {
        "source": "a test",
        "epochs": 2,
        "batch_size": BATCH,
        "optimizer": {"learning_rate": 0.05, "weight_decay": 3e-4, "gradient_clip": 5.0},
        "schedule": {"name": "cosine", "warmup_epochs": 1, "warmup_from": 0.2},
        "input": {"size": 8},
        "augmentation": {"kind": "padded_crop", "padding": 1, "cutout": 2},
        "mix": {"mixup": 0.2, "cutmix": 1.0},
        "loss": {"smoothing": 0.1},
        "ema": {"decay": 0.9},
        "accelerator": accelerator,
        "memory_format": "contiguous",
        "checkpoint_seconds": 1e9,
    }
    return read(Recipe, {**values, **changes})


def train(accelerator: str, steps: int = 2, folder: Path | None = None, **changes: Any) -> Any:
    """A network of ``CELL``; its curve and its weights."""
    with torch_fork(0, "test"):
        network = SPACE.with_classes(10).network(CELL)
    data = {"path": "digits", "limit": BATCH * steps, "test_limit": 12}
    result = TimmRetrain(data, recipe(accelerator, **changes), folder=folder).train(network)
    return {"history": result.history, "weights": state(network)}


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}


VARIANTS: dict[str, dict[str, Any]] = {
    "SGD": {},
    "AdamW, accumulated, channels_last": {
        "optimizer": {"name": "adamw", "learning_rate": 0.01},
        "accumulate": 2,
        "memory_format": "channels_last",
        "loss": {"name": "binary_cross_entropy"},
    },
    "bf16": {"precision": "bf16-mixed", "mix": None},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_an_update_is_that_of_the_cpu_and_waits_for_nothing(name: str) -> None:
    def run(where: str, steps: int) -> Any:
        return train(where, steps, epochs=1, schedule={}, **VARIANTS[name])

    assert_as_on_cpu(run, 0.05 if name == "bf16" else 0)


def test_an_update_in_half_precision_reads_whether_a_gradient_has_overflowed() -> None:
    found = waits_a_step(lambda steps: train("auto", steps, epochs=1, schedule={}, precision="16-mixed"))
    assert list(found.values()) == [1], found


def test_a_resumed_retraining_has_the_bits_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, moving average, momentum and the loss scale come back from files, all of whose tensors lie on the CPU."""

    def run(folder: str) -> Any:
        found = train("cuda", 2, tmp_path / folder, checkpoint_seconds=0, precision="16-mixed")
        return found, torch.load(tmp_path / folder / "last.pth.tar", weights_only=True)

    save = CheckpointStore.save

    def broken(store: CheckpointStore, step: int, state: Any) -> None:
        save(store, step, state)
        if step == 3:  # in the middle of the second epoch
            raise KeyboardInterrupt

    with simulated():
        whole = run("whole")
        monkeypatch.setattr(CheckpointStore, "save", broken)
        with pytest.raises(KeyboardInterrupt):
            run("broken")
        monkeypatch.setattr(CheckpointStore, "save", save)
        resumed = run("broken")
    for name in ("state_dict", "state_dict_ema"):
        assert_same(whole[1][name], resumed[1][name])
        assert {value.device.type for value in whole[1][name].values()} == {"cpu"}
    assert_same(whole[0], resumed[0])
