"""The batches of a search's own images that all its networks are scored on, without augmentation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.devices import moved
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Crops, Objective, check_targets
from nni_plugins.evaluators.randomness import generator

from .networks import Inputs

CHUNK = 256
"""Images that are looked at at once for equal ones."""


def inputs(
    images: ImageSet, objective: Objective, size: int, count: int, seed: int, device: torch.device, wanted: str = ""
) -> Inputs:
    """``count`` batches of ``size`` images each, a seeded draw in which no two have the same pixels: equal images say
    nothing twice, and make some scores' matrices singular.

    Args:
        wanted: the keys that ask for so many images, for the message.

    Raises:
        ConfigError: there are not so many different images.
        DataError, LabelError: of the objective and of images that cannot be read.
    """
    chosen = different(images, size * count, seed)
    if len(chosen) < size * count:
        raise ConfigError(
            f"{images.name}: {size * count} different images are wanted ({wanted}), but there are {len(chosen)}.",
            "Lower batch_size, or give more images.",
        )
    mean, std = (s.to(device)[:, None, None] for s in images.statistics())
    targets = objective.epoch_targets(images, 0)
    classes = objective.head(images).classes
    targets = None if targets is None else moved(check_targets(targets, images, classes)[chosen], device)
    drawn = moved(torch.from_numpy(objective.draw_evaluation(seed, len(chosen))), device)
    pixels, index = images.on(device), torch.from_numpy(chosen)
    pixels.plan(chosen)
    index = index if images.streamed else moved(index, device)  # files are opened from the CPU
    batches = []
    for start in range(0, len(chosen), size):
        part = slice(start, start + size)
        crops = pixels.gather(index[part])
        batches.append(
            objective.prepare(
                Crops(
                    crops if objective.wants_maps else images.augmentation.centre(crops),
                    None if targets is None else targets[part],
                    pixels.gather_maps(index[part]) if objective.wants_maps else None,
                    drawn[part],
                    mean,
                    std,
                )
            )
        )
    return Inputs(tuple(batches), objective)


def different(images: ImageSet, wanted: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of the first ``wanted`` images of a seeded order that have pixels of their own; fewer where there are no
    more.
    """
    order = generator(seed, "scored images").permutation(len(images))
    seen: set[bytes] = set()
    chosen: list[int] = []
    pixels = images.on("cpu")
    pixels.plan(order)
    for part in np.split(order, range(min(wanted, CHUNK), len(order), CHUNK)):
        for place, image in zip(part.tolist(), pixels.gather(torch.from_numpy(part)), strict=True):
            content = image.numpy().tobytes()
            if content not in seen:
                seen.add(content)
                chosen.append(place)
            if len(chosen) == wanted:
                return np.array(chosen, dtype=np.int64)
    return np.array(chosen, dtype=np.int64)
