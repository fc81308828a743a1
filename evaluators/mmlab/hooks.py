"""Hooks of mmengine's runner. Importing this module needs mmengine; configuration files name it in ``custom_imports``."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from ..backends import require
from ..randomness import torch_seed
from ..training.layout import lay_out, layout_on

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


@_registry.FUNCTIONS.register_module()  # type: ignore[untyped-decorator]
def seed_worker(worker: int) -> None:
    """Seed Python and NumPy as torch is; torch seeds each worker process from the main one's generator."""
    random.seed(torch.initial_seed())
    np.random.seed(torch.initial_seed() % 2**32)
