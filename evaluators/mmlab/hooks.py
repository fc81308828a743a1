"""Hooks of mmengine's runner. Importing this module needs mmengine; configuration files name it in ``custom_imports``.

From then on mmengine reads no checkpoint that could run code, see :mod:`nni_plugins.evaluators.mmlab.loading`.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..backends import require
from ..files import writing
from ..randomness import torch_seed
from ..training.layout import lay_out, layout_on
from . import checkpoints
from .loading import protect

protect()
_registry = require("mmengine.registry", "detection")
_hooks = require("mmengine.hooks", "detection")
_dist = require("mmengine.dist", "detection")


@_registry.HOOKS.register_module()
class EpochSeedHook(_hooks.Hook):  # type: ignore[misc, name-defined]
    """Random numbers of every epoch are a function of seed, epoch and process, so that a resumed run draws those of an
    undisturbed one.
    """

    priority = "HIGHEST"

    def before_train_epoch(self, runner: Any) -> None:
        seed = torch_seed(runner.seed, "transfer", runner.epoch, _dist.get_rank())
        torch.manual_seed(seed)
        seed_worker(0)


@_registry.HOOKS.register_module()
class LayoutHook(_hooks.Hook):  # type: ignore[misc, name-defined]
    """The network in the layout that is fastest where it runs; see :func:`nni_plugins.evaluators.training.layout.layout_on`."""

    def before_run(self, runner: Any) -> None:
        device = next(runner.model.parameters()).device
        lay_out(
            runner.model, layout_on("auto", device, "mixed" if "Amp" in str(runner.cfg.get("optim_wrapper")) else "")
        )


@_registry.HOOKS.register_module()
class SealedCheckpointHook(_hooks.CheckpointHook):  # type: ignore[misc, name-defined]
    """mmengine's, whose checkpoints exist from the moment that they are known to be whole; see
    :mod:`nni_plugins.evaluators.mmlab.checkpoints`.
    """

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: Any) -> None:
        with writing(Path(str(self.out_dir))):
            super()._save_checkpoint_with_step(runner, step, meta)
        written = Path(str(self.last_ckpt))
        if _dist.is_main_process() and written.is_file():
            checkpoints.seal(written)


@_registry.FUNCTIONS.register_module()  # type: ignore[untyped-decorator]
def seed_worker(worker: int) -> None:
    """Seed Python and NumPy as torch is; torch seeds each worker process from the main one's generator."""
    random.seed(torch.initial_seed())
    np.random.seed(torch.initial_seed() % 2**32)
