"""Trainings on one or two processes; ``python devices_job.py FOLDER DEVICES [FAULT]``. Fabric starts the second process
from this very command.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.training import Trained, Training, ranks
from tests.evaluators.tiny import CLASSES, Interrupted, TwoPaths, at, images, settings, training


def nothing(call: int) -> None:
    pass


def kill_second_process(call: int) -> None:
    if call == 6 and os.environ["LOCAL_RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)


def kill_first_process(call: int) -> None:
    if call == 6 and os.environ["LOCAL_RANK"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)


def plain(folder: Path | None, devices: int, hook: Callable[[int], None] = nothing) -> Trained:
    """14 images in batches of 5, 5 and 4: two processes get unequal shares."""
    return training(folder, hook, devices=devices).run()


def paths(devices: int, update_all: bool) -> Trained:
    def alternate(epoch: int, steps: int) -> np.ndarray:
        return ((np.arange(steps) + epoch) % 2).astype(np.int8)

    return Training(
        TwoPaths(),
        RandomLabels(CLASSES),
        images(14),
        settings(devices=devices, epochs=2),
        0,
        paths=alternate,
        update_all=update_all,
    ).run()


def everything(folder: Path, devices: int) -> dict[str, Any]:
    """Final weights and curve of each training."""
    with suppress(Interrupted):
        plain(folder / "torn", devices, at(5))
    done = {
        "plain": plain(folder / "whole", devices),
        "resumed": plain(folder / "torn", devices),
        "finished": plain(folder / "whole", devices, at(1)),
        "all": paths(devices, True),
        "active": paths(devices, False),
    }
    return {name: {"final": trained.final, "history": str(trained.history)} for name, trained in done.items()}


if __name__ == "__main__":
    target, count, fault = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    if fault:
        plain(target / "killed", count, globals()[fault[0]])
    else:
        result = everything(target, count)
        torch.save(result, target / f"result-{os.environ.get('LOCAL_RANK', '0')}.pt")
        for process in ranks._children:  # the first one takes the others with it when it ends
            process.wait(60)
