"""How good a trained network is: one pass over images, without chance beyond what an objective itself draws."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..data.images import ImageSet
from ..devices import moved
from ..objectives.base import Crops, Objective, check_targets
from ..objectives.labels import Supervised
from ..randomness import torch_fork

OUTPUTS = 1 << 26
"""At most this many numbers of output at once: a network that answers at every pixel is evaluated in smaller batches."""


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images: ImageSet,
    objective: Objective,
    statistics: tuple[torch.Tensor, torch.Tensor],
    seed: int = 0,
    batch_size: int = 512,
) -> dict[str, float]:
    """What ``objective`` says of ``model`` in evaluation mode on ``images``: ``loss`` (nats a target), ``accuracy``
    (percent of the targets), and ``miou`` (percent) for segmentation.

    Images are not augmented: of larger ones than the network is trained on the centre is taken, for segmentation all of
    it.

    Args:
        statistics: mean and standard deviation of the *training* images, each (3,).
        seed: of what the objective draws, such as permutations, and the network; the same seed gives the same numbers.
        batch_size: images at once, at most.
    """
    parameter = next(model.parameters())
    device, dtype = parameter.device, parameter.dtype
    mean, std = (s.to(device)[:, None, None] for s in statistics)
    head = objective.head(images)
    if head.form.kind in ("pixels", "aspp"):
        batch_size = max(1, min(batch_size, OUTPUTS // (head.classes * math.prod(images.size))))
    targets = objective.epoch_targets(images, 0)
    targets = None if targets is None else moved(check_targets(targets, images, head.classes), device)
    drawn = moved(torch.from_numpy(objective.draw_evaluation(seed, len(images))), device)
    pixels = images.on(device)
    pixels.plan(torch.arange(len(images)))
    model.eval()
    tallies = []
    with torch_fork(seed, "network noise"):  # some networks draw even when they are evaluated
        for start in range(0, len(images), batch_size):
            part = slice(start, min(start + batch_size, len(images)))
            index = torch.arange(part.start, part.stop, device="cpu" if images.streamed else device)
            crops = pixels.gather(index)
            x, expected = objective.prepare(
                Crops(
                    crops if objective.wants_maps else images.augmentation.centre(crops),
                    None if targets is None else targets[part],
                    pixels.gather_maps(index) if objective.wants_maps else None,
                    drawn[part],
                    mean,
                    std,
                )
            )
            tallies.append(objective.tally(model(x.to(dtype)).float(), expected))
    return objective.summary(torch.stack(tallies).sum(0))


def accuracy(
    model: nn.Module, images: ImageSet, statistics: tuple[torch.Tensor, torch.Tensor], batch_size: int = 512
) -> float:
    """Percent of ``images`` that ``model`` in evaluation mode classifies as labelled; arguments as of :func:`evaluate`."""
    return evaluate(model, images, Supervised(), statistics, batch_size=batch_size)["accuracy"]
