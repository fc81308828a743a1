"""Scores of given architectures on a supernet that was trained before: angles, log-probabilities, or accuracies with
its weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nni_plugins.evaluators.data import load
from nni_plugins.evaluators.errors import CheckpointError
from nni_plugins.evaluators.objectives import fitted
from nni_plugins.evaluators.training.checkpoint import CheckpointStore
from nni_plugins.spaces.base import Indices
from nni_plugins.spaces.images import ImageSpace
from nni_plugins.spaces.supernet import Supernet
from nni_plugins.strategies.differentiable.search import initialise, restored
from nni_plugins.strategies.rlnas.angle import VARIANTS, AngleTable

from .objectives import build_objective
from .scores import ONE_SHOT
from .settings import (
    DifferentiableExperiment,
    ENASExperiment,
    NAOV2Experiment,
    OneShotExperiment,
    RandomNASExperiment,
    RLNASExperiment,
    SearchExperiment,
    SETNExperiment,
)

Weights = Mapping[str, torch.Tensor]


def score(settings: SearchExperiment, supernet: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """For each architecture: ``architecture`` (native string) and its score, ``angle`` in radians, ``log_probability``,
    or ``one_shot_accuracy`` in percent, with the hash of W0's file as ``initial_sha256``.

    Args:
        settings: of the search that trained the supernet.
        supernet: its folder of checkpoints, such as ``runs/digits/search-0``; of NAO-V2 and ENAS also one cycle's, such
            as ``runs/digits/search-0/cycle-1``.
        texts: architectures in any form that the space reads.

    Raises:
        CheckpointError: the folder holds no finished or interrupted training of this space.
        SpaceError: an architecture that is none.
    """
    cycles = sorted(
        supernet.glob("cycle-*/initial.json"), key=lambda path: int(path.parent.name.removeprefix("cycle-"))
    )
    if cycles:  # searches that train in cycles: the weights of the last one
        supernet = cycles[-1].parent
    if not (supernet / "initial.json").exists():
        raise CheckpointError(
            f"{supernet} holds no supernet training.", "Pass the folder of a search, such as runs/digits/search-0."
        )
    space = settings.search_space
    architectures = [space.parse(text) for text in texts]
    store = CheckpointStore(supernet, {})
    initial, found = store.keep_initial({}), store.load()
    if found is None:
        raise CheckpointError(
            f"{supernet} holds initial weights but no checkpoint.",
            "Let the search run at least until its first checkpoint.",
        )
    method: Any = (
        _angles
        if isinstance(settings, RLNASExperiment)
        else _accuracies
        if settings.score is ONE_SHOT
        else _log_probabilities
    )
    scores: npt.NDArray[np.float64] = method(
        settings, supernet, initial, found[1]["model"], space.encode(architectures)
    )
    sha, key = store.initial_sha256, settings.score.key
    return [
        {"architecture": space.to_string(a), key: float(value), "initial_sha256": sha}
        for a, value in zip(architectures, scores, strict=True)
    ]


def _foreign(supernet: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{supernet} is a supernet of another space: {what}.", "Pass the configuration that trained it."
    )


def _angles(
    settings: RLNASExperiment, supernet: Path, initial: Weights, final: Weights, indices: Indices
) -> npt.NDArray[np.float64]:
    space, form = settings.search_space, build_objective(settings.objective).form
    if isinstance(
        space, ImageSpace
    ):  # the names of the head's weights depend on its kind, not on the number of classes
        space = space.with_head(form, space.classes)
    blocks = cast(Supernet, space.supernet()).weight_blocks()
    missing = [
        name
        for block in (blocks.fixed, *(b for row in blocks.choices for b in row))
        for name, _ in block.parameters
        if name not in final
    ]
    if missing:
        raise _foreign(supernet, f"it lacks {missing[0]}")
    return AngleTable.build(space, blocks, initial, final, VARIANTS[settings.search.angle])(indices)


def _log_probabilities(
    settings: DifferentiableExperiment, supernet: Path, initial: Weights, final: Weights, indices: Indices
) -> npt.NDArray[np.float64]:
    space = settings.search_space
    for name, parameter in initialise(space, settings.search, 0).architecture_parameters().items():
        if name not in final:
            raise _foreign(supernet, f"it lacks {name}")
        if final[name].shape != parameter.shape:
            raise _foreign(supernet, f"{name} is {tuple(final[name].shape)} instead of {tuple(parameter.shape)}")
    return restored(space, settings.search, final).score(space, indices)


def _accuracies(
    settings: OneShotExperiment | SETNExperiment, supernet: Path, initial: Weights, final: Weights, indices: Indices
) -> npt.NDArray[np.float64]:
    """On the images that the search itself evaluated with: its data are read again."""
    from nni_plugins.evaluators.supernets.shared_images import SharedImages
    from nni_plugins.strategies.differentiable import setn
    from nni_plugins.strategies.random import random_nas
    from nni_plugins.strategies.random.settings import RandomNASSettings
    from nni_plugins.strategies.rlnas import search as rlnas

    images, objective = load(settings.data).train, build_objective(settings.objective)
    seed = int(json.loads((supernet / "run.json").read_text())["config"]["seed"])
    space = fitted(settings.search_space, objective, images)
    measure: Callable[[Indices], npt.NDArray[np.float64]]
    network: nn.Module
    if isinstance(settings, SETNExperiment):
        mixed = setn.initialise(space, settings.search, seed)
        measure, network = (
            setn.one_shot_score(mixed, images, objective, settings.search, settings.training, seed),
            mixed,
        )
    elif isinstance(settings, RandomNASExperiment):
        network = rlnas.initialise(space, seed)
        measure = random_nas.one_shot_score(network, images, objective, settings.search, seed)
    else:
        assert isinstance(settings, ENASExperiment | NAOV2Experiment)
        evaluation: dict[str, Any] = settings.search.model_dump(
            include=set(RandomNASSettings.model_fields) - {"candidates"}
        )
        shared = SharedImages(space, images, objective, settings.training, seed=seed, **evaluation)
        measure, network = shared.scores, shared.supernet
    expected = network.state_dict()
    for name, value in expected.items():
        if name not in final:
            raise _foreign(supernet, f"it lacks {name}")
        if final[name].shape != value.shape:
            raise _foreign(supernet, f"{name} is {tuple(final[name].shape)} instead of {tuple(value.shape)}")
    network.load_state_dict(dict(final))
    return measure(indices)
