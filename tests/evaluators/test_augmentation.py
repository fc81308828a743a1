"""Crops and colours in batches equal the same thing done to one image after the other; what is drawn is what the
definitions say.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from nni_plugins.evaluators.data.augmentation import IGNORED, Augmentation, Cutout, ImageAugmentation
from nni_plugins.evaluators.data.colour import EIGENVALUES, EIGENVECTORS, ORDERS, Colour, hue
from nni_plugins.evaluators.data.crops import TRIES, ResizedCrop, ScaledCrop

JITTER = Colour(0.4, 0.4, 0.4, 0.2)
EVERY = [
    Augmentation(2, True),
    ResizedCrop(8),
    ResizedCrop(8, flip=False, colours=Colour(0.4, 0.4, 0.4, 0.2, 0.1)),
    Cutout(2, True, cutout=6, ramp=4, fill=(0.5, 0.25, 0.75)),
    ScaledCrop(8, nominal=10),
    ScaledCrop(8, colours=Colour(lighting=0.1), nominal=10),
]


def images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(count, 3, height, width) uint8: smooth, so that a wrong place shows as a wrong value but a rounding does not."""
    small = torch.from_numpy(np.random.default_rng(seed).random((count, 3, 4, 4), dtype=np.float32))
    return interpolate(small, (height, width), mode="bicubic").clamp(0, 1).mul(255).round().to(torch.uint8)


def drawn(augmentation: ImageAugmentation, uses: int, seed: int = 1, epoch: int = 2) -> torch.Tensor:
    return torch.from_numpy(augmentation.draw(seed, epoch, uses))


def resized(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return interpolate(image[None].double(), (height, width), mode="bilinear", align_corners=False, antialias=False)[0]


# What all have in common


@pytest.mark.parametrize("augmentation", EVERY, ids=repr)
def test_contract(augmentation: ImageAugmentation) -> None:
    batch = images(16, 12, 15)
    rows = drawn(augmentation, 16)
    crops = augmentation.apply(batch, rows)
    assert crops.dtype == torch.uint8 and crops.shape == (16, 3, *augmentation.output_size((12, 15)))
    maps = augmentation.apply_maps(batch[:, 0], rows)
    assert maps.dtype == torch.uint8 and maps.shape == (16, *augmentation.output_size((12, 15)))
    assert torch.equal(drawn(augmentation, 16), rows) and not torch.equal(drawn(augmentation, 16, epoch=3), rows)
    assert not torch.equal(drawn(augmentation, 16, seed=2), rows)
    alone = [augmentation.apply(batch[i : i + 1], rows[i : i + 1]) for i in range(16)]
    assert (torch.cat(alone).int() - crops.int()).abs().max() <= (0 if isinstance(augmentation, Augmentation) else 1)
    unit = crops.float() / 255
    coloured = augmentation.colour(unit, rows)
    separately = torch.cat([augmentation.colour(unit[i : i + 1], rows[i : i + 1]) for i in range(16)])
    assert coloured.shape == unit.shape and torch.allclose(coloured, separately, atol=1e-6)


def test_centre_is_what_evaluations_see() -> None:
    batch = images(2, 10, 13)
    assert torch.equal(ResizedCrop(4).centre(batch), batch[:, :, 3:7, 4:8])
    assert torch.equal(ScaledCrop(12).centre(batch[:, 0]), batch[:, 0, :, 0:12]), "never larger than the image"
    assert torch.equal(Augmentation(2, True).centre(batch), batch)


def test_description_tells_augmentations_apart() -> None:
    assert Augmentation(2, True).describe() == {"padding": 2, "flip": True}, (
        "as it stands in checkpoints of earlier versions"
    )
    described = ResizedCrop(8, colours=JITTER).describe()
    assert described["kind"] == "ResizedCrop" and described["colours"]["hue"] == 0.2
    assert len({str(augmentation.describe()) for augmentation in EVERY}) == len(EVERY)


# The padded crop


def test_maps_of_a_padded_crop_move_with_the_image_and_are_ignored_outside() -> None:
    augmentation, maps = Augmentation(3, True), torch.arange(5 * 7, dtype=torch.uint8).reshape(1, 5, 7).repeat(30, 1, 1)
    rows = drawn(augmentation, 30)
    moved, pixels = augmentation.apply_maps(maps, rows), augmentation.apply(maps[:, None] + 1, rows)[:, 0]
    assert torch.equal(moved == IGNORED, pixels == 0) and (moved == IGNORED).any()
    assert torch.equal(moved[moved != IGNORED] + 1, pixels[pixels != 0])


# The resized crop


def plain_resized_crop(
    augmentation: ResizedCrop, image: torch.Tensor, row: Any
) -> tuple[torch.Tensor, tuple[int, int, int, int]]:
    """As torchvision proceeds, in Python numbers; and the part that was chosen: top, left, height, width."""
    height, width = image.shape[1:]
    flip, areas, ratios, (y, x) = (
        row[0],
        row[1 : 1 + TRIES],
        row[1 + TRIES : 1 + 2 * TRIES],
        row[1 + 2 * TRIES : 3 + 2 * TRIES],
    )
    for a, r in zip(areas, ratios, strict=True):
        area = height * width * (augmentation.scale[0] + (augmentation.scale[1] - augmentation.scale[0]) * float(a))
        low, high = (math.log(bound) for bound in augmentation.ratio)
        ratio = math.exp(low + (high - low) * float(r))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(float(y) * (height - h + 1)), int(float(x) * (width - w + 1))
            break
    else:
        w, h = width, height
        if width / height < augmentation.ratio[0]:
            h = round(width / augmentation.ratio[0])
        elif width / height > augmentation.ratio[1]:
            w = round(height * augmentation.ratio[1])
        top, left = (height - h) // 2, (width - w) // 2
    crop = resized(image[:, top : top + h, left : left + w], augmentation.size, augmentation.size)
    return crop.flip(2) if flip else crop, (top, left, h, w)


@pytest.mark.parametrize("size", [(40, 40), (30, 50), (64, 20)])
def test_resized_crop_equals_one_image_after_the_other(size: tuple[int, int]) -> None:
    augmentation, batch = ResizedCrop(24), images(60, *size)
    rows = drawn(augmentation, 60)
    crops = augmentation.apply(batch, rows)
    for crop, image, row in zip(crops, batch, rows, strict=True):
        assert (crop.double() - plain_resized_crop(augmentation, image, row)[0]).abs().max() <= 1


@pytest.mark.parametrize("size", [(90, 10), (10, 90)])
def test_resized_crop_falls_back_to_the_centre(size: tuple[int, int]) -> None:
    augmentation, batch = ResizedCrop(16, scale=(0.9, 1)), images(8, *size)
    rows = drawn(augmentation, 8)
    chosen = [plain_resized_crop(augmentation, image, row) for image, row in zip(batch, rows, strict=True)]
    assert {part for _, part in chosen} == {
        ((90 - 13) // 2, 0, 13, 10) if size == (90, 10) else (0, (90 - 13) // 2, 10, 13)
    }
    assert (augmentation.apply(batch, rows).double() - torch.stack([crop for crop, _ in chosen])).abs().max() <= 1


def test_resized_crop_draws_the_areas_ratios_and_places_of_its_definition() -> None:
    augmentation, image = ResizedCrop(4, scale=(0.2, 0.8)), torch.zeros(3, 100, 100)
    parts = np.array([plain_resized_crop(augmentation, image, row)[1] for row in drawn(augmentation, 3000).numpy()])
    top, left, h, w = parts.T
    assert (
        0.19 < (h * w / 1e4).min() < 0.22
        and 0.76 < (h * w / 1e4).max() < 0.81
        and abs((h * w / 1e4).mean() - 0.5) < 0.03
    )
    assert 0.73 < (w / h).min() < 0.77 and 1.3 < (w / h).max() < 1.37 and abs(np.log(w / h).mean()) < 0.02
    assert top.min() == left.min() == 0 and (top + h).max() == (left + w).max() == 100
    flips = drawn(augmentation, 3000)[:, 0]
    assert set(flips.tolist()) == {0.0, 1.0} and abs(float(flips.mean()) - 0.5) < 0.05
    assert not drawn(ResizedCrop(4, flip=False), 100)[:, 0].any()


def test_a_crop_of_everything_at_its_own_size_is_the_image() -> None:
    whole, batch = ResizedCrop(20, flip=False, scale=(1, 1), ratio=(1, 1)), images(4, 20, 20)
    assert torch.equal(whole.apply(batch, drawn(whole, 4)), batch) and torch.equal(
        whole.apply_maps(batch[:, 1], drawn(whole, 4)), batch[:, 1]
    )
    flipped = ResizedCrop(20, flip=True, scale=(1, 1), ratio=(1, 1))
    rows = drawn(flipped, 4)
    rows[:, 0] = 1
    assert torch.equal(flipped.apply(batch, rows), batch.flip(3)) and torch.equal(
        flipped.apply_maps(batch[:, 1], rows), batch[:, 1].flip(2)
    )


@pytest.mark.parametrize(
    "augmentation", [ResizedCrop(24), ScaledCrop(24, nominal=30), ScaledCrop(24, nominal=60)], ids=repr
)
def test_maps_show_the_nearest_pixel_of_where_the_image_was_taken_from(augmentation: ImageAugmentation) -> None:
    """The image holds its own coordinates, so each output pixel says where it comes from."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    rows = drawn(augmentation, 50)
    at = augmentation.apply(torch.stack([y, x, x])[None].repeat(50, 1, 1, 1), rows)
    numbers = augmentation.apply_maps((y.long() * 40 + x.long())[None].repeat(50, 1, 1), rows)
    assert ((numbers // 40) - at[:, 0]).abs().max() <= 0.5 + 1e-3 and (
        (numbers % 40) - at[:, 1]
    ).abs().max() <= 0.5 + 1e-3


# The scaled crop


@pytest.mark.parametrize("size", [(40, 80), (50, 33)])
def test_scaled_crop_equals_scaling_then_cropping(size: tuple[int, int]) -> None:
    augmentation, batch = ScaledCrop(25, nominal=40), images(60, *size)
    rows, sides = drawn(augmentation, 60), set()
    crops = augmentation.apply(batch, rows)
    for crop, image, (flip, scale, y, x) in zip(crops, batch, rows.tolist(), strict=True):
        shorter = int(max(25, 40 * 2 ** (2 * scale - 1)))
        height, width = (shorter if side == min(size) else int(shorter * side / min(size)) for side in size)
        top, left = int(y * (height - 25 + 1)), int(x * (width - 25 + 1))
        plain = resized(image, height, width)[:, top : top + 25, left : left + 25]
        assert (crop.double() - (plain.flip(2) if flip else plain)).abs().max() <= 1
        sides.add(shorter)
    assert min(sides) == 25 and max(sides) > 70


# Colours


def test_lighting_by_hand() -> None:
    colour = Colour(lighting=0.1)
    a = torch.from_numpy(colour.draw(1, 2, 2000))
    assert a.shape == (2000, 3) and abs(float(a.std()) - 0.1) < 0.005
    x = torch.full((2000, 3, 1, 2), 0.5, dtype=torch.float64)
    lit = colour.apply(x, a)
    for channel in range(3):
        added = sum(EIGENVECTORS[channel][k] * EIGENVALUES[k] * float(a[7, k]) for k in range(3))
        assert lit[7, channel].flatten().tolist() == pytest.approx([0.5 + added] * 2, abs=1e-12)
    vectors = np.array(EIGENVECTORS)
    assert np.abs(vectors.T @ vectors - np.eye(3)).max() < 1e-3, "they are orthonormal"


def test_jitter_equals_torchvision_image_by_image() -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional", reason="needs torchvision (extra timm)")
    changes = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    x = torch.from_numpy(np.random.default_rng(3).random((200, 3, 6, 5), dtype=np.float32))
    x[:20] = x[:20, :1]  # grey images have no hue
    rows = torch.from_numpy(JITTER.draw(4, 5, 200))
    got = JITTER.apply(x, rows)
    for image, result, (order, *factors) in zip(x, got, rows.tolist(), strict=True):
        for change in ORDERS[int(order)]:
            image = changes[change](image, factors[change])
        assert (image - result).abs().max() < 2e-5
    assert {int(order) for order in rows[:, 0]} == set(range(24))
    assert torch.equal(x[:20], x[:20, :1].expand(-1, 3, -1, -1)), "the given images are left alone"


def test_jitter_draws_its_ranges() -> None:
    rows = Colour(0.4, 1.0, 0.0, 0.2).draw(0, 0, 5000)
    assert rows.shape == (5000, 5)
    low, high = rows[:, 1:].min(0), rows[:, 1:].max(0)
    assert low == pytest.approx([0.6, 0, 1, -0.2], abs=5e-3) and high == pytest.approx([1.4, 2, 1, 0.2], abs=5e-3)


def test_what_is_switched_off_is_not_computed_and_draws_nothing() -> None:
    x = torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert Colour().draw(0, 0, 3).shape == (3, 0) and Colour().apply(x, torch.empty(3, 0)) is x
    plain, coloured = ResizedCrop(8), ResizedCrop(8, colours=Colour(0.4, lighting=0.1))
    both = coloured.draw(1, 2, 20)
    assert np.array_equal(plain.draw(1, 2, 20), both[:, :-8]), "colours do not change what is drawn for the geometry"


def test_hue_by_hand() -> None:
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    third = torch.full((1, 1, 1, 1), 1 / 3)
    assert hue(red, third).flatten().tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    assert hue(red, -third).flatten().tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert hue(red, third / 2).flatten().tolist() == pytest.approx([1, 1, 0], abs=1e-6)


def test_cutout_is_a_square_of_the_mean_colour() -> None:
    fill = (0.5, 0.25, 0.75)
    cutout, count = Cutout(2, True, cutout=4, fill=fill), 400
    rows, x = drawn(cutout, count), torch.ones(count, 3, 9, 11)
    y = cutout.colour(x, rows)
    cut = (y != x).all(1)
    assert torch.equal(
        y[cut[:, None].expand_as(y)],
        x.new_tensor(fill)[None, :, None].expand(count, 3, 99)[cut.flatten(1)[:, None].expand(count, 3, 99)],
    )
    heights, widths = cut.any(2).sum(1), cut.any(1).sum(1)
    assert torch.equal(cut.sum((1, 2)), heights * widths), "a rectangle"
    assert (heights.min(), heights.max(), widths.max()) == (2, 4, 4), "cut off at the border"
    assert cut.any(0).all(), "its middle can be any pixel"
    plain = Augmentation(2, True)
    assert torch.equal(plain.apply(images(count, 9, 11), drawn(plain, count)), cutout.apply(images(count, 9, 11), rows))


def test_the_ramp_of_cutout() -> None:
    """Linear from 0 in the first epoch to 1 in the last: R-DARTS' rule, epoch / (epochs - 1)."""
    cutout = Cutout(cutout=4, ramp=5)
    shares = [float(drawn(cutout, 4000, epoch=epoch)[:, 5].float().mean()) for epoch in range(7)]
    assert shares == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1], abs=0.03) and shares[0] == 0 and shares[4] == 1
