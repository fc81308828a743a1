"""How long one image takes in a training on this machine: measured, for a plan that keeps to its minutes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.images import ImageSpace

if TYPE_CHECKING:
    import torch
    from torch import nn

STEPS = 3
"""Of which the shortest counts: whatever else the machine does makes the others longer."""


def seconds_per_image(space: ImageSpace, architecture: Architecture, size: tuple[int, int], batch: int) -> float:
    """Of a training step, forward and backward, on one thread of a CPU or on the GPU.

    Args:
        size: (height, width) of images in pixels.
        batch: images in a step.
    """
    import torch

    from nni_plugins.evaluators.randomness import torch_fork

    threads = torch.get_num_threads()
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    with torch_fork(0, "initialisation"):
        network = cast(Any, space.network(architecture)).to(device, memory_format=torch.channels_last)
    tiles = (space.head.tiles,) if space.head.kind == "jigsaw" else ()
    images = torch.zeros(batch, *tiles, space.input_channels, *size, device=device)
    torch.set_num_threads(1)
    try:
        return min(_step(network, images, cuda) for _ in range(STEPS)) / batch
    finally:
        torch.set_num_threads(threads)


def _step(network: nn.Module, images: torch.Tensor, cuda: bool) -> float:
    import torch

    start = time.perf_counter()
    output = network(images)
    (output[0] if isinstance(output, tuple | list) else output).float().square().mean().backward()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
