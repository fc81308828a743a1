"""One-shot evaluation: many architectures on the same images with the shared weights of one supernet, without training
any of them.

Weights that were trained on many architectures leave running statistics that suit none of them, so by default batch
norms use the statistics of the batch that they see (Guo et al., "Single path one-shot", ECCV 2020, recomputes them for
each architecture instead; AutoDL-Projects' searches keep none). The supernet is as before afterwards, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nni_plugins.spaces.base import Indices, SearchSpace
from nni_plugins.spaces.prefixes import outputs_of_paths

from ..data import ImageSet
from ..devices import moved
from ..errors import ConfigError
from ..objectives import Crops, Objective, check_fitted, check_targets
from ..randomness import generator, torch_fork
from ..training.evaluation import OUTPUTS
from ..training.layout import laid_out, lay_out, layout_on

Statistics = Literal["batch", "running"]
Moments = tuple[torch.Tensor, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor]


def one_shot_accuracy(
    supernet: nn.Module,
    indices: Indices,
    images: ImageSet,
    objective: Objective,
    statistics: Statistics = "batch",
    seed: int = 0,
    *,
    count: int | None = 512,
    batch_size: int = 512,
    moments: Moments | None = None,
) -> npt.NDArray[np.float64]:
    """The objective's metric, in percent, of every architecture in ``indices: (n, D)``: (n,).

    Arguments and errors are those of :func:`one_shot_measures`. The metric is the share of targets that are predicted,
    or the mean intersection over union for segmentation.
    """
    numbers = one_shot_measures(
        supernet, indices, images, objective, statistics, seed, count=count, batch_size=batch_size, moments=moments
    )
    return numbers[objective.metric]


@torch.no_grad()
def one_shot_measures(
    supernet: nn.Module,
    indices: Indices,
    images: ImageSet,
    objective: Objective,
    statistics: Statistics = "batch",
    seed: int = 0,
    *,
    count: int | None = 512,
    batch_size: int = 512,
    moments: Moments | None = None,
) -> dict[str, npt.NDArray[np.float64]]:
    """``loss`` (nats a target), ``accuracy`` (percent), and what else the objective measures, of every architecture:
    each (n,).

    All of them see the same images in the same batches, not augmented, and the same draws of objective and network; so
    an architecture's numbers do not depend on which others are evaluated with it.

    Args:
        supernet: with ``search_space`` and ``forward_path(x, path)``, on the device where the evaluation is to run.
        indices: (n, D), one architecture a row, the same in all cells.
        images: held-out ones, or the supernet would be asked for what it was trained on.
        statistics: of batch norms: of each batch, or the running ones that training left.
        seed: of the choice of images and of what objective and network draw.
        count: how many of the images are used, a seeded draw; None, or more than there are: all of them, in order.
        batch_size: images at once, at most; batches are of nearly equal size, as their statistics count.
        moments: mean and standard deviation of the *training* images, each (3,); None: of ``images``.

    Raises:
        ConfigError: not a single-path supernet, one for another objective, fewer than two images, or running statistics
            of one that keeps none.
        DataError, LabelError: see :meth:`Objective.check`.
    """
    space = getattr(supernet, "search_space", None)
    if not isinstance(space, SearchSpace) or not hasattr(supernet, "forward_path"):
        raise ConfigError(
            f"{type(supernet).__name__} is not a single-path supernet.",
            "Pass space.supernet(), such as NASBench201().supernet().",
        )
    if statistics not in ("batch", "running"):
        raise ConfigError(f"statistics: must be batch or running, but got {statistics!r}.")
    if len(images) < 2 or (count is not None and count < 2) or batch_size < 2:
        raise ConfigError(
            f"at least 2 images, count >= 2 and batch_size >= 2 are needed, but got {len(images)}, {count} and {batch_size}.",
            "A batch of one image has no statistics.",
        )
    check_fitted(space, objective, images)
    tallies: list[torch.Tensor] = []
    layout = layout_on("auto", next(supernet.parameters()).device, "32-true")
    lay_out(supernet, layout)
    with _mode(supernet, statistics):
        for number, (x, targets) in enumerate(_batches(supernet, images, objective, seed, count, batch_size, moments)):
            found = {}
            for i, outputs in _outputs(supernet, laid_out(x, layout), indices, (seed, "one-shot forward", number)):
                found[i] = objective.tally(outputs.float(), targets)
            rows = [found[i] for i in range(len(indices))]
            tallies.append(torch.stack(rows) if rows else torch.zeros(0, 3, dtype=torch.float64))
    summaries = [objective.summary(tally) for tally in torch.stack(tallies).sum(0).cpu()]
    return _columns(summaries, objective)


def _outputs(
    supernet: Any, x: torch.Tensor, indices: Indices, chance: tuple[int, str, int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """(i, output of ``indices[i]``), in any order; see :func:`nni_plugins.spaces.prefixes.outputs_of_paths`. A supernet
    that is no chain of pieces may draw numbers: ``chance`` says which, the same for every path.
    """
    if hasattr(supernet, "pieces"):
        yield from outputs_of_paths(supernet, x, indices)
    else:
        for i, row in enumerate(indices):
            with torch_fork(*chance):
                outputs = supernet.forward_path(x, np.broadcast_to(row, (supernet.search_space.repeats, len(row))))
            yield i, outputs


def _columns(summaries: Sequence[dict[str, float]], objective: Objective) -> dict[str, npt.NDArray[np.float64]]:
    names = summaries[0] if summaries else {"loss": 0.0, "accuracy": 0.0, objective.metric: 0.0}
    return {name: np.array([summary[name] for summary in summaries], dtype=np.float64) for name in names}


def _batches(
    supernet: nn.Module,
    images: ImageSet,
    objective: Objective,
    seed: int,
    count: int | None,
    batch_size: int,
    moments: Moments | None,
) -> Iterator[Batch]:
    """Inputs and targets on the supernet's device."""
    parameter = next(supernet.parameters())
    device, dtype = parameter.device, parameter.dtype
    mean, std = (s.to(device)[:, None, None] for s in moments or images.statistics())
    head = objective.head(images)
    if head.form.kind in ("pixels", "aspp"):
        batch_size = max(2, min(batch_size, OUTPUTS // (head.classes * math.prod(images.size))))
    chosen = np.arange(len(images))
    if count is not None and count < len(images):
        chosen = np.sort(generator(seed, "one-shot images").permutation(len(images))[:count])
    given = objective.epoch_targets(images, 0)
    given = None if given is None else check_targets(given, images, head.classes)
    drawn = moved(torch.from_numpy(objective.draw_evaluation(seed, len(chosen))), device)
    pixels, index = images.on(device), torch.from_numpy(chosen)
    pixels.plan(chosen)
    given = None if given is None else moved(given[index], device)
    index = index if images.streamed else moved(index, device)  # files are opened from the CPU
    for positions in np.array_split(np.arange(len(chosen)), -(-len(chosen) // batch_size)):
        part = slice(int(positions[0]), int(positions[-1]) + 1)
        crops = pixels.gather(index[part])
        x, targets = objective.prepare(
            Crops(
                crops if objective.wants_maps else images.augmentation.centre(crops),
                None if given is None else given[part],
                pixels.gather_maps(index[part]) if objective.wants_maps else None,
                drawn[part],
                mean,
                std,
            )
        )
        yield x.to(dtype), targets


@contextmanager
def _mode(supernet: nn.Module, statistics: Statistics) -> Iterator[None]:
    """Evaluation mode, but for batch norms that are to use each batch's statistics; afterwards modes and buffers are as
    they were.
    """
    norms = [module for module in supernet.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if statistics == "running" and any(norm.running_mean is None for norm in norms):
        raise ConfigError(
            "the supernet keeps no running statistics.",
            "Use statistics: batch, or train it with track_statistics: true.",
        )
    modes = [(module, module.training) for module in supernet.modules()]
    kept = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    supernet.eval()
    for norm in norms:
        norm.training = statistics == "batch"
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for buffer, value in kept:
            buffer.copy_(value)
