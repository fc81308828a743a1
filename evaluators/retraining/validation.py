"""How good a classifier is on labelled images: loss, top-1 and top-5."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from nni_plugins.spaces.errors import NNIPluginsError

from ..errors import ConfigError, DataError
from ..training.memory import named_shortage, shortage
from .checkpoints import load
from .settings import PictureSettings
from .summary import HELD_OUT

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images (B, 3, H, W), normalised, and labels (B,) int64, on one device."""


def evaluate(
    network: nn.Module,
    batches: Iterable[Batch],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    *,
    reduce: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> dict[str, float]:
    """``loss`` (nats an image), ``top1`` and, from 6 classes on, ``top5`` (percent) of ``network`` in evaluation mode.

    Images are counted exactly and losses added in float64, so the numbers hardly depend on the batch size. ``network``
    is left in the mode that it was in.

    Args:
        network: images to logits (B, K); images are given in the type of its weights.
        loss: logits (B, K) and labels (B,) to the mean loss; default: cross-entropy.
        reduce: adds a tensor (5,) over all processes, where each has a part of the images.

    Raises:
        DataError: no image.
    """
    modes = [(module, module.training) for module in network.modules()]
    dtype = next(network.parameters()).dtype
    totals: torch.Tensor | None = None  # sum of losses, right ones among one and among five, images, classes
    network.eval()
    try:
        with torch.inference_mode():
            for images, labels in batches:
                added = _batch(network(images.to(dtype)).float(), labels, loss)
                totals = added if totals is None else totals + added
    finally:
        for module, mode in modes:
            module.training = mode
    if totals is None:
        parameter = next(network.parameters())
        totals = torch.zeros(
            5, dtype=torch.float64, device="cpu" if parameter.device.type == "mps" else parameter.device
        )
    if reduce is not None:
        totals = reduce(totals)
    total, first, five, count, classes = totals.tolist()
    if not count:
        raise DataError("there are no images to test on.")
    scores = {"loss": total / count, "top1": 100 * first / count}
    return scores | {"top5": 100 * five / count} if classes / count > 5 else scores


def _batch(
    logits: torch.Tensor, labels: torch.Tensor, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None
) -> torch.Tensor:
    """(5,) float64: sums over one batch; its number of classes is added once an image, which a process without images
    does not disturb.
    """
    count, classes = logits.shape
    losses = F.cross_entropy(logits, labels, reduction="none") if loss is None else loss(logits, labels) * count
    best = logits.topk(min(5, classes)).indices == labels[:, None]
    sums = [losses, best[:, 0], best, labels.new_full((), count), labels.new_full((), count * classes)]
    if logits.device.type == "mps":  # which has no float64
        sums = [value.cpu() for value in sums]
    return torch.stack([value.double().sum() for value in sums])


def validate(
    path: Path | str,
    pictures: PictureSettings,
    *,
    batch_size: int | None = None,
    device: str | None = None,
    input_size: int | None = None,
) -> dict[str, Any]:
    """What the network of a checkpoint makes of the test images of ``pictures``, prepared as its recipe says, in the
    type of its weights.

    Args:
        batch_size: images at once; default: the recipe's.
        device: of torch, such as ``cuda:1``; default: the first GPU, or the CPU.
        input_size: pixels a side; default: the recipe's.

    Returns:
        JSON-able: the scores of :func:`evaluate`, what they are of, ``recorded`` (the checkpoint's own metrics),
        seconds.

    Raises:
        CheckpointError: see :func:`checkpoints.load`.
        DataError: no images, or classes that are not the checkpoint's.
        ConfigError: no such device, or an image size that the network cannot take.
        TrainingError: memory runs out.
    """
    from .batches import test_batches
    from .pictures import open_pictures

    place = _device(device)
    loaded = load(path)
    test = open_pictures(pictures).test
    if loaded.classes:
        check_classes(loaded.classes, test.classes, str(path), test.name)
    elif cast(Any, loaded.network).num_classes != len(test.classes):
        raise DataError(
            f"{path} tells {cast(Any, loaded.network).num_classes:,} classes apart, and {test.name} has {len(test.classes):,}.",
            "Take images of the same classes, in the same order.",
        )
    size = loaded.image_size if input_size is None else input_size
    batch = loaded.recipe.part_size if batch_size is None else batch_size
    inputs = loaded.recipe.input.model_copy(update={"size": size})
    recipe = loaded.recipe.model_copy(update={"input": inputs, "batch_size": batch, "devices": 1, "accumulate": 1})
    network = loaded.network.to(place)
    began = time.monotonic()
    with named_shortage(batch):
        _check_size(network, size, loaded.description["name"])
        scores = evaluate(network, test_batches(test, recipe, loaded.normalisation, place))
    return {
        "checkpoint": str(path),
        "name": loaded.description["name"],
        "epoch": loaded.epoch,
        "weights": "moving average" if loaded.averaged else "trained",
        "data": test.name,
        "images": len(test),
        "classes": len(test.classes),
        **(
            {}
            if loaded.classes
            else {"classes_named": "nowhere in the file: they are taken in the order of the images' folders"}
        ),
        "image_size": size,
        "batch_size": batch,
        "device": str(place),
        **scores,
        "recorded": {key: loaded.metrics[name] for key, name in RECORDED.items() if name in loaded.metrics},
        "seconds": time.monotonic() - began,
    }


RECORDED = {"loss": "test_loss", "top1": "top1", "top5": "top5"}
RECORDED |= {name: name for name in (f"{HELD_OUT}{key}" for key in RECORDED)}
"""Names of the scores in a row of the curve, of the test images or of those that were held out."""


def check_classes(wanted: Sequence[str], found: Sequence[str], checkpoint: str, data: str) -> None:
    """Raises DataError, which says what differs, unless the classes are the same in the same order."""
    if tuple(wanted) == tuple(found):
        return
    missing, more = [name for name in wanted if name not in found], [name for name in found if name not in wanted]
    if missing or more:
        parts = [
            f"{len(names):,} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in (("missing", missing), ("unknown to it", more))
            if names
        ]
        problem = (
            f"{checkpoint} was trained on {len(wanted):,} classes, and {data} has {len(found):,}: {'; '.join(parts)}."
        )
        raise DataError(problem, "Take images of the same classes, named alike (folders, for a folder of images).")
    place = next(i for i, (ours, theirs) in enumerate(zip(wanted, found, strict=True)) if ours != theirs)
    raise DataError(
        f"{data} has the classes of {checkpoint} in another order: number {place} is {found[place]!r} instead of {wanted[place]!r}.",
        "Put them in the order of the checkpoint; otherwise labels would be wrong.",
    )


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name is None else name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise ConfigError(f"device {name!r} cannot be used ({reason}).", "Pass cpu, cuda or cuda:N.") from None
    return device


def _check_size(network: nn.Module, size: int, name: str) -> None:
    """Raises ConfigError where the network cannot take such images; vision transformers, for one, are of one size."""
    like = next(network.parameters())
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, size, size, device=like.device, dtype=like.dtype))
    except (RuntimeError, AssertionError, NNIPluginsError) as error:
        if shortage(error) is not None:
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(
            f"{name} cannot take images of {size} pixels a side ({reason[:200]}).", "Leave the image size out."
        ) from None
