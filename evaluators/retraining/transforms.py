"""From an image to what a network sees: timm's transforms and torchvision's, and the two that they lack."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from ..backends import require
from ..data.colour import EIGENVALUES, EIGENVECTORS
from ..errors import ConfigError
from .settings import CropSettings, Recipe, Three, TimmAugmentationSettings

Transform = Callable[[Image.Image], torch.Tensor]
"""From an RGB image to (3, S, S) float32, normalised. Draws from the global generators of Python, NumPy and torch."""


class Cutout:
    """Zeros in a square of ``side`` pixels around a uniformly drawn pixel, cut at the border (DeVries & Taylor 2017,
    section 3).

    For even sides its first row is ``side / 2`` above the pixel, as in DARTS' code; for odd ones the pixel is its
    centre.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x: (C, H, W)``, changed in place."""
        height, width = x.shape[1:]
        top, left = (int(torch.randint(length, ())) - self.side // 2 for length in (height, width))
        x[:, max(0, top) : max(0, top + self.side), max(0, left) : max(0, left + self.side)] = 0
        return x

    def __repr__(self) -> str:
        return f"Cutout(side={self.side})"


class Lighting:
    """Adds ``EIGENVECTORS @ (a * EIGENVALUES)``, a ~ N(0, ``std``), to every pixel in [0, 1] (Krizhevsky et al., NIPS
    2012, section 4.1).
    """

    def __init__(self, std: float) -> None:
        self.std = std

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x: (3, H, W)`` in [0, 1]; the result may leave it."""
        shift = x.new_tensor(EIGENVECTORS) @ (self.std * torch.randn(3, dtype=x.dtype) * x.new_tensor(EIGENVALUES))
        return x + shift[:, None, None]

    def __repr__(self) -> str:
        return f"Lighting(std={self.std})"


def training_transform(recipe: Recipe, mean: Three, std: Three) -> Transform:
    """What happens to a training image. The result has ``transforms``, the list of its steps.

    Padded crops: an image whose shorter side is not ``input.size`` is resized to it first.

    Raises:
        ConfigError: timm does not know the text of ``auto_augment``, or cannot use the numbers.
    """
    chosen = recipe.augmentation
    _check(chosen)
    steps = _crop(recipe, chosen, mean, std) if isinstance(chosen, CropSettings) else _timm(recipe, chosen, mean, std)
    composed: Transform = _composed(steps)
    return composed


def test_transform(recipe: Recipe, mean: Three, std: Three) -> Transform:
    """The shorter side resized to ``input.size / input.crop_pct``, and the centre: timm's transform of evaluations."""
    composed: Transform = _composed(
        _created(recipe, mean, std, is_training=False, crop_pct=recipe.input.crop_pct).transforms
    )
    return composed


def test_view(recipe: Recipe) -> Callable[[Image.Image], Image.Image]:
    """The same up to the (S, S) image that is then normalised."""
    view: Callable[[Image.Image], Image.Image] = _composed(
        _created(recipe, (0, 0, 0), (1, 1, 1), False, crop_pct=recipe.input.crop_pct).transforms[:2]
    )
    return view


def _crop(recipe: Recipe, chosen: CropSettings, mean: Three, std: Three) -> list[Any]:
    vision, timm = require("torchvision.transforms", "timm"), require("timm.data.transforms", "timm")
    size = recipe.input.size
    _, augment, last = _created(
        recipe, mean, std, color_jitter=None, auto_augment=chosen.auto_augment, re_prob=chosen.erase, separate=True
    )  # timm's middle and last stage; the first is ours
    steps = [
        timm.ResizeKeepRatio(size, interpolation=recipe.input.interpolation),
        vision.RandomCrop(size, padding=chosen.padding or None),
    ]
    steps += [vision.RandomHorizontalFlip(chosen.flip)] * (chosen.flip > 0) + augment.transforms
    to_tensor, normalize, *erase = last.transforms
    return [*steps, to_tensor, normalize, *[Cutout(chosen.cutout)] * (chosen.cutout > 0), *erase]


def _timm(recipe: Recipe, chosen: TimmAugmentationSettings, mean: Three, std: Three) -> list[Any]:
    steps: list[Any] = _created(
        recipe,
        mean,
        std,
        scale=chosen.scale,
        ratio=chosen.ratio,
        hflip=chosen.flip,
        color_jitter=chosen.colour_jitter or None,
        auto_augment=chosen.auto_augment,
        re_prob=chosen.erase,
        re_mode=chosen.erase_mode,
        re_count=chosen.erase_count,
    ).transforms
    if chosen.lighting:
        place = next(i for i, step in enumerate(steps) if type(step).__name__ == "Normalize")
        steps.insert(place, Lighting(chosen.lighting))
    return steps


def _created(recipe: Recipe, mean: Three, std: Three, is_training: bool = True, **arguments: Any) -> Any:
    interpolation = recipe.input.interpolation
    if not is_training and interpolation == "random":
        interpolation = "bicubic"
    create = require("timm.data", "timm").create_transform
    try:
        return create(
            recipe.input.size,
            is_training=is_training,
            interpolation=interpolation,
            mean=mean,
            std=std,
            use_prefetcher=False,
            **arguments,
        )
    except (AssertionError, ValueError, TypeError, KeyError, IndexError) as error:
        text = ", ".join(f"{key} {value!r}" for key, value in arguments.items())
        raise ConfigError(
            f"timm cannot make the augmentation of {text}: {str(error) or type(error).__name__}.",
            "See nni-plugins docs retraining_data.",
        ) from None


def _composed(steps: list[Any]) -> Any:
    return require("torchvision.transforms", "timm").Compose(steps)


def _check(chosen: CropSettings | TimmAugmentationSettings) -> None:
    """What timm would leave out without a word."""
    problems, (first, *sections) = [], (chosen.auto_augment or "").split("-")
    sets = ("tweights", "t3aw", "t3a")
    bad = [s for s in sections if (s not in sets if s.startswith("t") and first == "rand" else not re.search(r"\d", s))]
    if bad:
        problems.append(f"auto_augment {chosen.auto_augment!r} has parts that timm does not know: {', '.join(bad)}")
    if isinstance(chosen, TimmAugmentationSettings):
        if len(chosen.colour_jitter) not in (0, 3, 4):
            problems.append(f"colour_jitter needs three or four numbers, but got {len(chosen.colour_jitter)}")
        if chosen.colour_jitter and chosen.auto_augment and "3a" not in chosen.auto_augment:
            problems.append(
                f"timm jitters no colours beside auto_augment {chosen.auto_augment!r}, so colour_jitter must be ()"
            )
        for name, (low, high) in (("scale", chosen.scale), ("ratio", chosen.ratio)):
            if not 0 < low <= high:
                problems.append(
                    f"{name} must be two numbers above 0, the smaller one first, but got {low:g} and {high:g}"
                )
    if problems:
        raise ConfigError(f"augmentation: {'; '.join(problems)}.", "See nni-plugins docs retraining_data.")
