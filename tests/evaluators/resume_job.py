"""A search in a process of its own, with a fault in it where one is asked for."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from nni_plugins.evaluators import files
from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training import CheckpointStore, checkpoint
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import NASBench201
from nni_plugins.strategies import RLNASSettings
from nni_plugins.strategies.rlnas.search import initialise, search

EPOCHS, STEPS = 6, 5
"""Of the training: 300 images in batches of 64."""

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)


def run(folder: Path | None, seconds: float = 0) -> dict[str, Any]:
    """Search ``SPACE`` on 300 digits, resuming from ``folder``; everything that must be equal after a resume."""
    torch.set_num_threads(1)
    settings = SupernetSettings(epochs=EPOCHS, accelerator="cpu", checkpoint_seconds=seconds)
    training = SupernetTraining(load(DataSettings(limit=300)).train, RandomLabels(10), settings, folder=folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = search(initialise(SPACE, 0), training, RLNASSettings(), top_k=5)
    return {
        "initial": result.trained.initial,
        "final": result.trained.final,
        "history": str(result.trained.history),
        "angles": torch.from_numpy(result.angles),
        "ranked": [(SPACE.to_string(r.architecture), r.score) for r in result.ranked],
    }


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_during_write(suffix: str, number: int) -> None:
    """SIGKILL when half of the ``number``-th checkpoint's temporary file ``suffix`` is on the disk."""
    whole, count = files.atomic_write, 0

    def half(path: Path, content: bytes) -> None:
        nonlocal count
        count += path.name.startswith("step-") and path.suffix == suffix
        if count == number:
            with open(path.with_name(f".{path.name}.{os.getpid()}.tmp"), "wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                os.fsync(file.fileno())
            die()
        whole(path, content)

    for module in (files, checkpoint):
        setattr(module, "atomic_write", half)  # noqa: B010


def hold(step: int) -> None:
    """Wait to be killed once the checkpoint of ``step`` is written: a busy machine cannot let the child finish first."""
    save_whole = CheckpointStore.save

    def save_and_wait(store: CheckpointStore, number: int, state: Any) -> None:
        save_whole(store, number, state)
        if number >= step:
            time.sleep(60)

    CheckpointStore.save = save_and_wait  # type: ignore[method-assign]


def kill_during_resume() -> None:
    """SIGKILL when the checkpoint has been read and nothing has been done with it yet."""
    load_whole = CheckpointStore.load

    def load_and_die(store: CheckpointStore) -> Any:
        if load_whole(store) is not None:
            (store.folder / "resume-reached").touch()
            die()

    CheckpointStore.load = load_and_die  # type: ignore[method-assign]


def main(folder: Path, fault: str = "", *arguments: Any) -> None:
    """What a child process runs; its result goes to ``folder/result.pt``."""
    if fault:
        globals()[fault](*arguments)
    try:
        torch.save(run(folder), folder / "result.pt")
    except KeyboardInterrupt:
        (folder / "interrupted").touch()
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
