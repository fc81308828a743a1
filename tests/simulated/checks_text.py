"""Trainings on text on the simulated accelerator: the numbers of the CPU, and no wait for the device in a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.supernets.shared_weights import Cycle
from nni_plugins.evaluators.text.batched import train_cells
from nni_plugins.evaluators.text.bilevel import TextBilevelTraining
from nni_plugins.evaluators.text.corpus import Corpus
from nni_plugins.evaluators.text.settings import LanguageModelSettings, LanguageSearchSettings
from nni_plugins.evaluators.text.shared import SharedText
from nni_plugins.evaluators.text.stand_alone import StandAloneText
from nni_plugins.evaluators.training import CheckpointStore
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.mixed import MixedRecurrent

from .device import DEVICE
from .fabric import simulated
from .measuring import assert_as_on_cpu, assert_same

SPACE = RecurrentCell(nodes=2, hidden=5, embedding=4, classes=7)
ROWS = SPACE.enumerate()
CELLS = [SPACE.decode(ROWS)[number] for number in (13, 31)]
DROPOUTS = {"dropout": 0.2, "dropouth": 0.1, "dropoutx": 0.1, "dropouti": 0.1, "dropoute": 0.1}
VALUES: dict[str, Any] = {**DROPOUTS, "epochs": 3, "batch_size": 4, "bptt": 4, "checkpoint_seconds": 1e9}
VALUES |= {"precision": "64-true", "short_share": 0}
ALONE = {**VALUES, "learning_rate": 15.0, "nonmono": 0, "evaluation_batch": 4, "test_batch": 5, "length_deviation": 0.0}


def text(length: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 7, length)


def corpus(steps: int = 4) -> Corpus:
    """A training text of so many pieces."""
    return Corpus("tiny", tuple("abcdefg"), text(4 * (4 * steps + 2), 0), text(60, 1), text(50, 2))


def alone(where: str, words: Corpus, folder: Path | None = None, **changes: Any) -> Any:
    settings = LanguageModelSettings(**{**ALONE, "accelerator": where, **changes})
    return StandAloneText(words, settings, space=SPACE, folder=folder).train(CELLS[0])


def batched(where: str, words: Corpus, folder: Path | None = None, **changes: Any) -> Any:
    return train_cells(words, CELLS, SPACE, {**ALONE, "accelerator": where, **changes}, (3,), folder=folder)


def searched(where: str, words: Corpus, **changes: Any) -> Any:
    """By DARTS."""
    with torch_fork(0, "test"):
        model = MixedRecurrent(SPACE, **DROPOUTS)
    settings = LanguageSearchSettings(**{**VALUES, "learning_rate": 2.0, "accelerator": where, **changes})
    return TextBilevelTraining(model, words, settings, 3).run()


def shared(where: str, words: Corpus, **changes: Any) -> Any:
    """Weights of all cells."""
    options = {"evaluation_batch": 3, "reward_batch": 2, "learning_rate": 2.0, "gradient_clip": 1.0, **changes}
    epochs = options.pop("epochs", 2)
    values = {key: value for key, value in {**VALUES, **options}.items() if key != "epochs"}
    evaluator = SharedText(SPACE, words, {**values, "accelerator": where})

    def draw(epoch: int, steps: int) -> Any:
        return ROWS[np.random.default_rng(epoch).integers(len(ROWS), size=steps)]

    history = evaluator.train(draw, Cycle(epochs=epochs))
    weights = {name: p.detach().cpu() for name, p in evaluator.supernet.named_parameters()}
    rows = ROWS[:3]
    scores = torch.from_numpy(np.stack([evaluator.scores(rows), evaluator.reward(rows, 1)]))
    assert where == "cpu" or next(evaluator.supernet.parameters()).device == DEVICE
    return {"history": history, "weights": weights, "scores": scores}


def numbers(result: Any) -> Any:
    """All of them."""
    if isinstance(result, dict):
        return result
    found = {name: value for name, value in vars(result).items() if name not in ("architectures", "initial_sha256")}
    return {name: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for name, v in found.items()}


TRAININGS: dict[str, Any] = {
    "alone": alone,
    "batched": batched,
    "searched, order 1": searched,
    "searched, order 2": lambda where, words, **changes: searched(where, words, order=2, **changes),
    "shared": shared,
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_step_is_that_of_the_cpu_and_waits_for_nothing(name: str) -> None:
    assert_as_on_cpu(lambda where, steps: numbers(TRAININGS[name](where, corpus(steps), epochs=1)), 1e-12)


@pytest.mark.parametrize("train", [alone, batched])
def test_a_resumed_training_has_the_bits_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Any
) -> None:
    """With masks of dropout, carried states and averages; a checkpoint is written after every step."""

    def run(folder: str) -> Any:
        return numbers(train("cuda", corpus(2), tmp_path / folder, checkpoint_seconds=0))

    save, saves = CheckpointStore.save, 0

    def broken(store: CheckpointStore, step: int, state: Any) -> None:
        nonlocal saves
        save(store, step, state)
        saves += 1
        if saves == 5:
            raise KeyboardInterrupt

    with simulated():
        whole = run("whole")
        monkeypatch.setattr(CheckpointStore, "save", broken)
        with pytest.raises(KeyboardInterrupt):
            run("broken")
        monkeypatch.setattr(CheckpointStore, "save", save)
        resumed = run("broken")
    assert saves == 5
    assert_same(cast(Any, whole), resumed)
