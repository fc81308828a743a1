"""Images per second of a recipe: our loop against the steps of timm's training script on the same network, in one
process.

    python benchmarks/retraining.py --recipe darts_cifar10 --set epochs=1 batch_size=32 --images 320
    python benchmarks/retraining.py --recipe darts_imagenet --data /data/imagenet --set precision=16-mixed --workers 8

Plain: timm's loader, optimizer, schedule, loss, mixing and moving average, as timm's train.py puts them together for
one device, without anything for resuming. Ours: the same recipe, with every draw a function of (seed, purpose, step).
Without ``--data`` the images are random JPEG files of ``--side`` pixels, so that reading and decoding count. Both are
warmed up by one epoch of few images; then they take turns, ``--runs`` times.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import TimmStep, synchronise
from PIL import Image
from timm.data import Mixup, create_dataset, create_loader
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3

from nni_plugins.evaluators.retraining import recipes
from nni_plugins.evaluators.retraining.evaluator import TimmRetrain
from nni_plugins.evaluators.retraining.network import build
from nni_plugins.evaluators.retraining.settings import Recipe
from nni_plugins.evaluators.subjects.resolver import image_subject
from nni_plugins.evaluators.training.layout import laid_out, lay_out, layout_on


def images(folder: Path, count: int, side: int, classes: int = 10) -> Path:
    """``count`` training and 2 x ``classes`` test files of noise in class folders."""
    rng = np.random.default_rng(0)
    for part, number in (("train", count), ("val", 2 * classes)):
        for i in range(number):
            place = folder / part / f"class{i % classes}"
            place.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 256, (max(2, side // 8), max(2, side // 8), 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(place / f"{i}.jpg")
    return folder


def ours(model: str, recipe: Recipe, data: Path, count: int) -> float:
    """Images per second of one epoch's updates."""
    seen: list[dict[str, float]] = []
    TimmRetrain({"path": str(data), "limit": count, "test_limit": 2}, recipe, report=seen.append).train(model)
    return seen[-1]["images_per_second"]


def plain(model: str, recipe: Recipe, data: Path, count: int, classes: int) -> float:
    """The same of timm's own steps."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network: Any = build(image_subject(model), recipe, classes, 0).to(device)
    layout = layout_on(recipe.memory_format, device, recipe.precision)
    lay_out(network, layout)
    dataset = create_dataset("", str(data), split="train")
    dataset.reader.samples = dataset.reader.samples[:count]
    size, mix, aug = (3, recipe.input.size, recipe.input.size), recipe.mix, recipe.augmentation
    loader = create_loader(
        dataset,
        size,
        recipe.part_size,
        is_training=True,
        no_aug=aug.kind != "timm",  # timm has no padded crop: its plain resize costs less
        color_jitter=getattr(aug, "colour_jitter", ()) or None,
        auto_augment=aug.auto_augment,
        re_prob=aug.erase,
        num_workers=recipe.workers,
        use_prefetcher=device.type == "cuda",
        pin_memory=device.type == "cuda",
    )
    mixup = (
        None
        if mix is None
        else Mixup(mix.mixup, mix.cutmix, label_smoothing=recipe.loss.smoothing, num_classes=classes)
    )
    criterion = SoftTargetCrossEntropy() if mixup else LabelSmoothingCrossEntropy(recipe.loss.smoothing)
    given = recipe.optimizer
    step = TimmStep(
        network,
        criterion,
        {
            "opt": "momentum" if given.name == "sgd" and not given.nesterov else given.name,
            "lr": given.learning_rate,
            "weight_decay": given.weight_decay,
            "momentum": given.momentum,
        },
        half={"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(recipe.precision),
        clip=given.gradient_clip,
        auxiliary=recipe.loss.auxiliary_weight,
    )
    scheduler, _ = create_scheduler_v2(step.optimizer, num_epochs=recipe.epochs, updates_per_epoch=len(loader))
    ema = None if recipe.ema is None else ModelEmaV3(network, decay=recipe.ema.decay)
    network.train()
    began, seen = time.monotonic(), 0
    for update, (x, target) in enumerate(loader):
        x, target = x.to(device), target.to(device)
        x, target = mixup(x, target) if mixup and len(x) % 2 == 0 else (x, target)
        step(laid_out(x, layout), target)
        if ema is not None:
            ema.update(network, step=update + 1)
        scheduler.step_update(update)
        seen += len(x)
    synchronise(device)
    return seen / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="darts_v2", help="an architecture's or a timm model's name")
    parser.add_argument("--recipe", default="darts_cifar10")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--data", type=Path, help="class folders below train and val; default: random images")
    parser.add_argument("--images", type=int, default=320, help="training images used")
    parser.add_argument("--side", type=int, default=32, help="of random images, in pixels")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    changes = {key: yaml.safe_load(value) for key, value in (text.split("=", 1) for text in options.set)}
    recipe = recipes.changed(
        recipes.recipe(options.recipe),
        {"epochs": 1, "schedule.warmup_epochs": 0, "workers": options.workers, **changes},
    )
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or images(Path(folder), options.images, options.side)
        classes = len(list((data / "train").iterdir()))
        ours(options.model, recipe, data, 2 * recipe.batch_size)
        plain(options.model, recipe, data, 2 * recipe.batch_size, classes)
        pairs = [
            (
                ours(options.model, recipe, data, options.images),
                plain(options.model, recipe, data, options.images, classes),
            )
            for _ in range(options.runs)
        ]
    for name, values in zip(("ours", "plain"), zip(*pairs, strict=True), strict=True):
        print(
            f"{name:6} {statistics.median(values):8.1f} images/s (median of {options.runs}; {min(values):.1f} to {max(values):.1f})"
        )
    print(f"ratio  {statistics.median(a / b for a, b in pairs):8.2f}")


if __name__ == "__main__":
    main()
