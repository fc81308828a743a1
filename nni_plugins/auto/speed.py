"""How long one image takes in a training on this machine: measured, for a plan that keeps to its minutes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from nni_plugins.evaluators.randomness import generator
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.images import ImageSpace

STEPS = 3
"""Of which the shortest after the first counts: whatever else the machine does makes the others longer."""
CLASSES = 10


def seconds_per_image(
    space: ImageSpace, architecture: Architecture, size: tuple[int, int], batch: int, objective: Mapping[str, Any]
) -> float:
    """Of a step of the very training that is planned, on noise: on one thread of a CPU, or on the GPU.

    Args:
        size: (height, width) of what is trained on, in pixels.
        batch: images in a step.
        objective: name and arguments; how many inputs it makes of an image is part of what is measured.
    """
    import torch

    from nni_plugins.evaluators.data.images import ImageSet
    from nni_plugins.evaluators.objectives import fitted
    from nni_plugins.evaluators.objectives.registered import build_objective
    from nni_plugins.evaluators.randomness import torch_fork
    from nni_plugins.evaluators.training.loop import Training
    from nni_plugins.evaluators.training.settings import TrainingSettings

    rng = generator(0, "images")
    pixels, labels, maps = (
        torch.from_numpy(rng.integers(0, most, shape, dtype="uint8"))
        for most, shape in ((256, (batch, 3, *size)), (CLASSES, batch), (CLASSES, (batch, *size)))
    )
    images = ImageSet("noise", pixels, labels.long(), tuple(map(str, range(CLASSES))), maps=maps)
    target = build_objective(objective)
    ended: list[float] = []
    settings = TrainingSettings(epochs=STEPS, batch_size=batch, learning_rate=1e-3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch_fork(0, "initialisation"):
            network = fitted(space, target, images).network(architecture)
        Training(network, target, images, settings, 0, report=lambda row: ended.append(time.perf_counter())).run()
    finally:
        torch.set_num_threads(threads)
    return min(after - before for before, after in pairwise(ended)) / batch
