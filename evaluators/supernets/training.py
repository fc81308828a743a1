"""Training of weight-sharing supernets by single paths (SPOS), as an NNI evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from nni.nas.evaluator import Evaluator
from torch import nn

from nni_plugins.spaces.base import SearchSpace

from ..data import ImageSet
from ..errors import ConfigError
from ..objectives import Objective, check_fitted
from ..randomness import generator
from ..training import Trained, Training
from ..training.loop import Report
from ..training.settings import SinglePathSettings, SupernetSettings
from .loop import SinglePathTraining


class SupernetTraining(Evaluator):
    """Configuration in, trained supernet out.

    Args:
        images: what it is trained on; labels are asked for only if ``objective`` is not label-free.
        objective: for RLNAS, ``RandomLabels``. The supernet must end as it needs:
            ``fitted(space, objective, images).supernet()``.
        settings: the defaults are RLNAS' on NAS-Bench-201.
        seed: of initialisation (by the strategy), data order, augmentation and paths.
        folder: for checkpoints and the curve; None keeps nothing.
        report: called with a dictionary at the end of every epoch.
    """

    def __init__(
        self,
        images: ImageSet,
        objective: Objective,
        settings: SupernetSettings | None = None,
        *,
        seed: int = 0,
        folder: Path | None = None,
        report: Report | None = None,
    ) -> None:
        self.images, self.objective, self.settings = images, objective, settings or SupernetSettings()
        self.seed, self.folder, self.report = seed, folder, report

    def evaluate(self, model: Any) -> Trained:
        """Train ``model``, a supernet with ``search_space`` and ``forward_path``; see
        :class:`nni_plugins.evaluators.training.Trained`.
        """
        space = getattr(model, "search_space", None)
        if not isinstance(space, SearchSpace) or not hasattr(model, "forward_path"):
            raise ConfigError(
                f"{type(model).__name__} is not a single-path supernet.",
                "Pass space.supernet(), such as NASBench201().supernet().",
            )
        check_fitted(space, self.objective, self.images)
        kind = SinglePathTraining if isinstance(self.settings, SinglePathSettings) else Training
        return kind(
            cast(nn.Module, model),
            self.objective,
            self.images,
            self.settings,
            self.seed,
            folder=self.folder,
            config={"space": [space.name, space.config()], "images": self.images.identity()},
            paths=lambda epoch, steps: self.paths(space, epoch, steps),
            update_all=self.settings.update == "all",
            report=self.report,
        ).run()

    def paths(self, space: SearchSpace, epoch: int, steps: int) -> npt.NDArray[np.int8]:
        """The single paths of one epoch: (steps, repeats, decisions)."""
        shared = space.shares_paths if self.settings.share_cells is None else self.settings.share_cells
        return space.sample_paths(generator(self.seed, "paths", epoch), steps, shared)
