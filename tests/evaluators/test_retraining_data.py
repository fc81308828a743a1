"""Augmentation and batches of a retraining: what was asked is composed, and batches resume and share exactly."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("timm")
pytest.importorskip("sklearn.datasets")  # draws from a global generator when it is first imported

from nni_plugins.evaluators.data import digits
from nni_plugins.evaluators.data.colour import EIGENVALUES, EIGENVECTORS, Colour
from nni_plugins.evaluators.errors import ConfigError, DataError, TrainingError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.retraining import augmented, recipes, transforms
from nni_plugins.evaluators.retraining.batches import TrainingBatches, normalisation, share
from nni_plugins.evaluators.retraining.batches import test_batches as batches_of_tests
from nni_plugins.evaluators.retraining.pictures import Pictures

from .retraining_images import (
    HALF,
    NONE,
    _generators_stay_untouched,  # noqa: F401 (for every test)
    arrays,
    flat,
    recipe,
    same,
    some,
)

# Cutout, lighting


def drawn(step: Any, x: Any, seed: int) -> torch.Tensor:
    return many(step, x, 1, seed)[0]


def many(step: Any, x: Any, draws: int, first: int = 0) -> torch.Tensor:
    """``step`` of copies of ``x`` with the seeds ``first`` and so on."""
    results = []
    with augmented.global_fork():
        for seed in range(first, first + draws):
            augmented.seed_everything(seed, "test")
            results.append(step(x.clone() if isinstance(x, torch.Tensor) else x.copy()))
    return torch.stack(results)


@pytest.mark.parametrize("side", [1, 4, 5, 16])
def test_cutout_is_a_square_around_a_uniform_pixel(side: int) -> None:
    size, draws = 8, 3000
    cut = many(transforms.Cutout(side), torch.ones(2, size, size), draws) == 0
    assert torch.equal(cut[:, 0], cut[:, 1])
    above = side // 2
    expected: Counter[tuple[int, int, int, int]] = (
        Counter()
    )  # of the 64 equally probable pixels, by what is left of their square
    for y in range(size):
        for x in range(size):
            expected[
                max(0, y - above), min(size, y - above + side), max(0, x - above), min(size, x - above + side)
            ] += 1
    seen: Counter[tuple[int, int, int, int]] = Counter()
    for mask in cut[:, 0]:
        rows, columns = (mask.any(axis).nonzero()[:, 0] for axis in (1, 0))
        box = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        assert int(mask.sum()) == (box[1] - box[0]) * (box[3] - box[2])
        seen[box] += 1
    assert set(seen) == set(expected)
    chi2 = sum((seen[box] - draws * n / 64) ** 2 / (draws * n / 64) for box, n in expected.items())
    assert chi2 < len(expected) + 4 * np.sqrt(2 * len(expected)), "places are not uniform"


def test_cutout_of_darts_keeps_the_zeros_it_should() -> None:
    """16 of 32 pixels: in one dimension 8 + 8 ... 15 + 16 * 17 + 15 ... 9 of 32 * 32, mean 14.0; the square of that on
    average.
    """
    sides = [min(32, y + 8) - max(0, y - 8) for y in range(32)]
    assert sum(sides) / 32 == 14.0
    zeros = (many(transforms.Cutout(16), torch.ones(1, 32, 32), 2000) == 0).sum((1, 2, 3)).tolist()
    assert min(zeros) >= 64 and max(zeros) == 256 and np.mean(zeros) == pytest.approx(14.0**2, rel=0.02)


def test_lighting_is_that_of_the_searches() -> None:
    x = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    result = drawn(transforms.Lighting(0.1), x, 5)
    shift = (result - x).mean((1, 2))
    assert torch.allclose(result, x + shift[:, None, None], atol=1e-6)
    a = 0.1 * drawn(lambda _: torch.randn(3), x, 5)
    assert torch.allclose(Colour(lighting=0.1).apply(x[None], a[None])[0], result, atol=1e-6)
    shifts = many(transforms.Lighting(0.5), torch.zeros(3, 1, 1), 2000)[:, :, 0, 0]
    vectors, values = torch.tensor(EIGENVECTORS), torch.tensor(EIGENVALUES)
    covariance = 0.25 * vectors @ torch.diag(values**2) @ vectors.T
    assert torch.allclose(shifts.T.cov(correction=0), covariance, atol=0.002)


# The composed transforms


def steps(transform: Any) -> list[str]:
    return [" ".join(str(step).split()) for step in transform.transforms]


def test_padded_crop_is_composed_as_asked() -> None:
    chosen = {"kind": "padded_crop", "padding": 4, "cutout": 16, "auto_augment": "rand-m9-mstd0.5", "erase": 0.25}
    made = steps(transforms.training_transform(recipe(32, augmentation=chosen), *HALF))
    assert [step.split("(")[0] for step in made] == [
        "ResizeKeepRatio", "RandomCrop", "RandomHorizontalFlip", "RandAugment", "MaybeToTensor", "Normalize", "Cutout", "RandomErasing"
    ]  # fmt: skip
    assert (
        made[0].startswith("ResizeKeepRatio(size=(32, 32), interpolation=bilinear")
        and made[1] == "RandomCrop(size=(32, 32), padding=4)"
    )
    assert made[3].startswith("RandAugment(n=2") and "m=9, mstd=0.5" in made[3]
    assert made[5] == "Normalize(mean=tensor([0.5000, 0.5000, 0.5000]), std=tensor([0.2500, 0.2500, 0.2500]))"
    assert made[6] == "Cutout(side=16)" and made[7] == "RandomErasing(p=0.25, mode=const, count=(1, 1))"
    bare = steps(transforms.training_transform(recipe(32, augmentation=NONE), *HALF))
    assert [step.split("(")[0] for step in bare] == ["ResizeKeepRatio", "RandomCrop", "MaybeToTensor", "Normalize"]
    assert bare[1] == "RandomCrop(size=(32, 32), padding=None)"


def test_timms_augmentation_is_composed_as_asked() -> None:
    chosen = {
        "kind": "timm",
        "scale": [0.3, 1.0],
        "flip": 0.25,
        "colour_jitter": [0.4, 0.3, 0.2, 0.1],
        "lighting": 0.1,
        "erase": 0.5,
        "erase_mode": "pixel",
        "erase_count": 2,
    }
    settings = {"size": 224, "interpolation": "random"}
    made = steps(transforms.training_transform(recipe(augmentation=chosen, input=settings), *HALF))
    assert made[:3] == [
        "RandomResizedCropAndInterpolation(size=(224, 224), scale=(0.3, 1.0), ratio=(0.75, 1.3333), interpolation=bilinear bicubic)",
        "RandomHorizontalFlip(p=0.25)",
        "ColorJitter(brightness=(0.6, 1.4), contrast=(0.7, 1.3), saturation=(0.8, 1.2), hue=(-0.1, 0.1))",
    ]
    assert [step.split("(")[0] for step in made[3:]] == ["MaybeToTensor", "Lighting", "Normalize", "RandomErasing"]
    assert made[4] == "Lighting(std=0.1)" and made[6] == "RandomErasing(p=0.5, mode=pixel, count=(1, 2))"
    plain = steps(
        transforms.training_transform(
            recipe(augmentation={"kind": "timm", "auto_augment": "original-mstd0.5", "flip": 0.0}), *HALF
        )
    )
    assert [step.split("(")[0] for step in plain] == [
        "RandomResizedCropAndInterpolation",
        "AutoAugment",
        "MaybeToTensor",
        "Normalize",
    ]


@pytest.mark.parametrize(
    ("settings", "resized", "interpolation"),
    [
        ({"size": 224, "crop_pct": 0.875}, 256, "bilinear"),
        ({"size": 299, "crop_pct": 0.95, "interpolation": "bicubic"}, 314, "bicubic"),  # timm rounds down
        ({"size": 32, "interpolation": "random"}, 32, "bicubic"),
    ],
)
def test_transform_of_tests(settings: dict[str, Any], resized: int, interpolation: str) -> None:
    chosen, size = recipe(input=settings), settings["size"]
    made = transforms.test_transform(chosen, *HALF)
    names = steps(made)
    assert (
        names[0].startswith(f"Resize(size={resized}, interpolation={interpolation}")
        and names[1] == f"CenterCrop(size=({size}, {size}))"
    )
    assert [name.split("(")[0] for name in names[2:]] == ["MaybeToTensor", "Normalize"]
    wide = Image.fromarray(arrays(1, 40, 60)[0])
    seen = np.asarray(transforms.test_view(chosen)(wide))
    assert seen.shape == (size, size, 3) and torch.allclose(
        made(wide), torch.from_numpy((seen / 255 - 0.5) / 0.25).permute(2, 0, 1).float(), atol=1e-6
    )


def test_padded_crops_resize_the_shorter_side_and_crop_the_whole() -> None:
    """A picture 16x8 whose columns tell where they come from."""
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, :, None] * 10, (8, 16, 3))
    step = transforms.training_transform(recipe(8, augmentation=NONE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    wide = Image.fromarray(np.ascontiguousarray(ramp))
    lefts = set((many(step, wide, 200)[:, 0, 0, 0] * 25.5).round().int().tolist())
    assert lefts == set(range(9)), "each of the nine places of the crop, no pixel interpolated"
    assert drawn(
        transforms.training_transform(recipe(4, augmentation=NONE), (0.0,) * 3, (1.0,) * 3), wide, 0
    ).shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ({"kind": "padded_crop", "auto_augment": "random-m9"}, "timm cannot make the augmentation of"),
        ({"kind": "padded_crop", "auto_augment": "rand-m9.5"}, "timm cannot make the augmentation of"),
        ({"kind": "padded_crop", "auto_augment": "rand-m9-mstd"}, "parts that timm does not know: mstd"),
        ({"kind": "padded_crop", "auto_augment": "rand-m9-twrong"}, "parts that timm does not know: twrong"),
        ({"kind": "timm", "colour_jitter": [0.4]}, "colour_jitter needs three or four numbers, but got 1"),
        ({"kind": "timm", "colour_jitter": [0.4, 0.4, 0.4], "auto_augment": "rand-m9"}, r"colour_jitter must be \(\)"),
        ({"kind": "timm", "colour_jitter": [0.4, 0.4, 0.4, 0.6]}, "timm cannot make the augmentation of.*hue"),
        (
            {"kind": "timm", "scale": [0.5, 0.1]},
            "scale must be two numbers above 0, the smaller one first, but got 0.5 and 0.1",
        ),
    ],
)
def test_augmentation_that_timm_cannot_make(augmentation: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        transforms.training_transform(recipe(augmentation=augmentation), *HALF)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_has_an_augmentation(name: str) -> None:
    chosen = recipes.recipe(name)
    image = Image.fromarray(arrays(1, 40, 50)[0])
    for step in (transforms.training_transform(chosen, *HALF), transforms.test_transform(chosen, *HALF)):
        seen = drawn(step, image, 0)
        assert (
            seen.shape == (3, chosen.input.size, chosen.input.size)
            and seen.dtype == torch.float32
            and bool(seen.isfinite().all())
        )


def test_mix_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixup, cutmix or both must be above 0"):
        recipe(mix={"mixup": 0.0})


# Order, shares, weights


@pytest.mark.parametrize(
    ("images", "parts", "symmetric", "expected"),
    [
        (8, 1, True, [[0, 1, 2, 3, 4, 5, 6, 7]]),
        (8, 2, True, [[0, 1, 6, 7], [2, 3, 4, 5]]),
        (9, 2, True, [[0, 1, 7, 8], [2, 3, 4, 5, 6]]),
        (10, 2, True, [[0, 1, 8, 9], [2, 3, 4, 5, 6, 7]]),
        (10, 2, False, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]),
        (7, 3, False, [[0, 1], [2, 3], [4, 5, 6]]),
    ],
)
def test_shares_of_a_batch(images: int, parts: int, symmetric: bool, expected: list[list[int]]) -> None:
    assert [share(images, part, parts, symmetric).tolist() for part in range(parts)] == expected


def test_every_share_holds_two_images_and_every_image_once() -> None:
    for symmetric in (False, True):
        for parts in range(1, 7):
            for images in range(2 * parts, 5 * parts):
                shares = [share(images, part, parts, symmetric) for part in range(parts)]
                assert sorted(np.concatenate(shares)) == list(range(images)) and min(map(len, shares)) >= 2
                if symmetric and images % 2 == 0:
                    assert all(np.array_equal(s + s[::-1], np.full(len(s), images - 1)) for s in shares)


def test_order_is_golden() -> None:
    order = generator(7, "data order", 1).permutation(30)
    assert order[:8].tolist() == [17, 5, 2, 8, 22, 27, 13, 29]
    made = flat(TrainingBatches(some(), recipe(augmentation=NONE), HALF, 7), 1)
    assert torch.cat([part.labels for part in made]).tolist() == (order % 3).tolist()
    pixels = torch.from_numpy(arrays(30))[order[:8]].permute(0, 3, 1, 2)
    assert (
        torch.allclose(made[0].images, (pixels / 255 - 0.5) / 0.25, atol=1e-6) and made[0].targets.dtype == torch.int64
    )


@pytest.mark.parametrize(
    ("count", "changes", "world", "sizes"),
    [
        (30, {}, 1, [8, 8, 8, 6]),
        (30, {"drop_last": True}, 1, [8, 8, 8]),
        (25, {}, 1, [8, 8, 8]),  # one image has no batch statistics
        (26, {"accumulate": 2}, 1, [4] * 6),  # so have two parts of one image
        (28, {"accumulate": 2}, 1, [4] * 6 + [2, 2]),
        (29, {"accumulate": 2}, 1, [4] * 6 + [2, 3]),
        (27, {}, 2, [4] * 3),
        (29, {}, 2, [4] * 3 + [2]),
        (31, {"mix": {"mixup": 0.2}}, 1, [8, 8, 8, 6]),
        (31, {"mix": {"mixup": 0.2, "epochs": 1}}, 1, [8, 8, 8, 6]),
        (29, {"mix": {"mixup": 0.2}}, 2, [4] * 3 + [2]),
    ],
)
def test_sizes_of_parts(count: int, changes: dict[str, Any], world: int, sizes: list[int]) -> None:
    batches = TrainingBatches(some(count), recipe(augmentation=NONE, **changes), HALF, 0, world=world)
    assert [len(part.images) for part in flat(batches)] == sizes
    assert batches.updates * changes.get("accumulate", 1) == len(sizes)


@pytest.mark.parametrize(
    ("count", "changes", "least"), [(5, {"drop_last": True}, 8), (1, {}, 2), (3, {"accumulate": 2}, 4)]
)
def test_too_few_images(count: int, changes: dict[str, Any], least: int) -> None:
    with pytest.raises(DataError, match=f"{count} images do not fill one batch: at least {least} are needed"):
        TrainingBatches(some(count), recipe(**changes), HALF, 0)


@pytest.mark.parametrize("mix", [None, {"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
@pytest.mark.parametrize(("world", "accumulate"), [(1, 4), (2, 1), (2, 2)])
def test_parts_are_the_joint_batch(mix: dict[str, Any] | None, world: int, accumulate: int) -> None:
    pictures = some(30)
    whole = list(TrainingBatches(pictures, recipe(mix=mix), HALF, 3).epoch(2))
    updates = 4 if world * accumulate < 4 else 3  # a rest of six images are too few for four parts
    sharing = recipe(mix=mix, accumulate=accumulate)
    ranks = [list(TrainingBatches(pictures, sharing, HALF, 3, rank, world).epoch(2)) for rank in range(world)]
    parts = world * accumulate
    assert len(whole) == 4 and all(len(mine) == updates for mine in ranks)
    for update, (joint,) in enumerate(whole[:updates]):
        mean, seen = 0.0, 0
        for rank, mine in enumerate(ranks):
            assert len(mine[update]) == accumulate
            for k, part in enumerate(mine[update]):
                places = share(len(joint.images), k * world + rank, parts, mix is not None)
                assert torch.equal(part.images, joint.images[places]) and torch.equal(
                    part.targets, joint.targets[places]
                )
                assert torch.equal(part.labels, joint.labels[places])
                mean, seen = mean + part.weight * float(part.images.double().mean()) / world, seen + len(places)
        assert seen == len(joint.images) and joint.weight == 1.0
        assert mean == pytest.approx(float(joint.images.double().mean()), rel=1e-12)
        assert sum(part.weight for mine in ranks for part in mine[update]) == pytest.approx(world)


# Mixing


def test_mixup_is_timms_on_the_whole_batch() -> None:
    pictures, mix = some(16), {"mixup": 0.8}
    (plain,), (mixed,) = (next(TrainingBatches(pictures, recipe(mix=m), HALF, 3).epoch(1)) for m in (None, mix))
    with augmented.global_fork():
        augmented.seed_everything(3, "mix", 1, 0)
        np.random.rand()
        lam = np.random.beta(0.8, 0.8)
    assert 0 < lam < 1 and torch.equal(plain.labels, mixed.labels)
    assert torch.allclose(mixed.images, lam * plain.images + (1 - lam) * plain.images.flip(0), atol=1e-6)
    hot = torch.nn.functional.one_hot(plain.labels, 3).float()
    assert mixed.targets.dtype == torch.float32 and torch.allclose(mixed.targets, lam * hot + (1 - lam) * hot.flip(0))


def test_cutmix_targets_are_the_shares_of_the_pixels() -> None:
    pictures = some(16)
    for epoch in range(4):
        (plain,), (mixed,) = (
            next(TrainingBatches(pictures, recipe(mix=m), HALF, 3).epoch(epoch)) for m in (None, {"cutmix": 1.0})
        )
        foreign = (mixed.images != plain.images).any(0).any(0).double()
        rows, columns = foreign.any(1).sum(), foreign.any(0).sum()
        lam = 1 - float(rows * columns) / 64
        hot = torch.nn.functional.one_hot(plain.labels, 3).float()
        assert torch.allclose(mixed.targets, lam * hot + (1 - lam) * hot.flip(0), atol=1e-6)


def test_mixing_ends_after_its_epochs_and_has_its_probability() -> None:
    batches = TrainingBatches(some(30), recipe(mix={"mixup": 0.2, "epochs": 2}), HALF, 0)
    assert [next(batches.epoch(epoch))[0].targets.dtype for epoch in range(4)] == [
        torch.float32,
        torch.float32,
        torch.int64,
        torch.int64,
    ]
    assert batches.updates == len(list(batches.epoch(0))) == len(list(batches.epoch(3)))
    half = TrainingBatches(some(64), recipe(batch=2, mix={"mixup": 0.2, "probability": 0.5}), HALF, 0)
    hard = [
        bool(((part.targets == 0) | (part.targets == 1)).all() and part.targets.argmax(1).equal(part.labels))
        for part in flat(half)
    ]
    assert 8 <= sum(hard) <= 26  # of 32, and a pair of one class looks unmixed


# Workers, resuming


def test_workers_resuming_and_other_processes_change_nothing() -> None:
    pictures = some(30)
    chosen = {
        "kind": "timm",
        "colour_jitter": [0.4, 0.4, 0.4, 0.1],
        "lighting": 0.1,
        "erase": 0.5,
        "erase_mode": "pixel",
        "scale": [0.2, 1.0],
    }
    ours = TrainingBatches(pictures, recipe(augmentation=chosen, mix={"mixup": 0.3, "cutmix": 1.0}), HALF, 5)
    whole = flat(ours, 1)
    workers = TrainingBatches(
        pictures, recipe(augmentation=chosen, mix={"mixup": 0.3, "cutmix": 1.0}, workers=2), HALF, 5
    )
    assert same(flat(workers, 1), whole)
    processes = {process.pid for process in workers._loader._loader._iterator._workers}
    begun = workers.epoch(0)
    next(begun)  # and given up
    assert same(flat(workers, 1, 2), whole[2:]) and processes == {
        process.pid for process in workers._loader._loader._iterator._workers
    }
    workers.close()
    assert not {process.pid for process in multiprocessing.active_children()} & processes
    assert same(flat(workers, 1, 3), whole[3:]), "with new processes"
    for first in range(5):
        assert same(flat(ours, 1, first), whole[first:])
    assert not same(flat(ours, 2), whole)
    assert not same(
        flat(TrainingBatches(pictures, recipe(augmentation=chosen, mix={"mixup": 0.3, "cutmix": 1.0}), HALF, 6), 1),
        whole,
    )


def test_every_image_and_every_epoch_is_augmented_by_itself() -> None:
    """The same pixels 40 times: other images get other crops, other epochs too."""
    pixels = torch.from_numpy(arrays(1)).permute(0, 3, 1, 2).expand(40, -1, -1, -1)
    pictures = Pictures("one/train", pixels, torch.arange(40) % 2, ("a", "b"))
    batches = TrainingBatches(pictures, recipe(batch=40, augmentation={"kind": "padded_crop", "padding": 4}), HALF, 0)
    (first,), (second,) = next(batches.epoch(0)), next(batches.epoch(1))
    assert len({image.numpy().tobytes() for image in first.images}) > 30
    order = [generator(0, "data order", epoch).permutation(40) for epoch in range(2)]
    equal = [bool(torch.equal(first.images[order[0] == i], second.images[order[1] == i])) for i in range(40)]
    assert sum(equal) < 5


def test_auto_augment_and_augmix_are_reproducible() -> None:
    for text in ("rand-m9-mstd0.5-inc1", "augmix-m5-w2-d2", "3a", "v0"):
        batches = TrainingBatches(some(8), recipe(augmentation={"kind": "padded_crop", "auto_augment": text}), HALF, 0)
        again = TrainingBatches(some(8), recipe(augmentation={"kind": "padded_crop", "auto_augment": text}), HALF, 0)
        assert same(flat(batches, 3), flat(again, 3))
        pickle.loads(pickle.dumps(batches._loader._loader.dataset))  # what a spawned worker is sent


def test_worker_that_dies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(self: Pictures, i: int) -> Image.Image:
        os.kill(os.getpid(), 9)
        raise AssertionError

    monkeypatch.setattr(Pictures, "image", die)
    with pytest.raises(TrainingError, match=r"process that reads images died \(DataLoader worker[\s\S]*workers=0"):
        flat(TrainingBatches(some(), recipe(workers=1), HALF, 0))


# Tests


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_tests_hold_every_image_once(world: int, workers: int) -> None:
    pictures = some(10)
    chosen = recipe(batch=6, workers=workers if world == 1 else 0)
    ranks = [list(batches_of_tests(pictures, chosen, HALF, "cpu", rank, world)) for rank in range(world)]
    assert [[len(x) for x, _ in batches] for batches in ranks] == ([[6, 4]] if world == 1 else [[4], [3], [3]])
    plain = (pictures._images / 255 - 0.5) / 0.25  # type: ignore[operator]
    for rank, batches in enumerate(ranks):
        assert torch.allclose(torch.cat([x for x, _ in batches]), plain[rank::world], atol=1e-6)
        assert torch.equal(torch.cat([y for _, y in batches]), pictures.labels[rank::world])


def test_normalisation_is_the_images_own_as_tests_see_them() -> None:
    images = digits.load().train
    mean, std = (x.tolist() for x in images.statistics())
    pictures = Pictures("digits/train", images.images, images.labels, images.classes)
    found = normalisation(recipe(), pictures)
    assert found == (pytest.approx(mean, abs=1e-6), pytest.approx(std, abs=1e-6))
    given = {"size": 8, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    assert normalisation(recipe(input=given), pictures) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    black_edges = torch.full((2, 3, 8, 24), 255, dtype=torch.uint8)
    black_edges[:, :, :, :8] = black_edges[:, :, :, 16:] = 0
    wide = Pictures("wide/train", black_edges, torch.tensor([0, 1]), ("a", "b"))
    assert normalisation(recipe(), wide) == ((1.0, 1.0, 1.0), (0.001, 0.001, 0.001)), "the centre is white"
