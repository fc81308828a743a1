"""Jigsaw: sets of permutations against their definition, tiles of hand-made images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations as enumerated
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from nni_plugins.evaluators.data import Augmentation
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Crops, Head, Jigsaw
from nni_plugins.evaluators.objectives.base import RESOLUTION
from nni_plugins.evaluators.objectives.permutations import permutations
from nni_plugins.spaces import heads

from .tiny import images

ZERO, ONE = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)


def drawn(objective: Jigsaw, label: int, offsets: Any = 0.0, grey: float = 1.0) -> torch.Tensor:
    """One row; offsets and grey as fractions."""
    rest = np.broadcast_to(np.asarray(offsets, dtype=float), (2 * objective.tiles,))
    return torch.tensor([[label, *(int(f * (1 << RESOLUTION)) for f in (grey, *rest))]], dtype=torch.int32)


def prepared(objective: Jigsaw, pixels: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return objective.prepare(Crops(pixels, None, None, rows, ZERO, ONE))


# Permutations


def test_two_by_two_takes_all_in_lexicographic_order() -> None:
    assert permutations(2, 24, 0).tolist() == [list(p) for p in enumerated(range(4))]


@pytest.mark.parametrize(("grid", "count", "steps"), [(2, 23, range(1, 23)), (3, 1000, (1, 8, 9, 10, 500, 999))])
def test_each_permutation_is_the_furthest_from_those_before_it(grid: int, count: int, steps: Sequence[int]) -> None:
    """By the definition: among all that are left the greatest sum of distances to the chosen ones, the
    lexicographically first of equals.
    """
    chosen = permutations(grid, count, 3)
    table = np.array(list(enumerated(range(grid**2))), dtype=np.int64)
    assert len(np.unique(chosen, axis=0)) == count and (np.sort(chosen, 1) == np.arange(grid**2)).all()
    place = {tuple(p): i for i, p in enumerate(table.tolist())}
    for k in steps:
        agreeing = np.stack([(chosen[:k] == value).sum(0) for value in range(grid**2)])  # (values, places)
        distance = grid**2 * k - sum(agreeing[table[:, s], s] for s in range(grid**2))
        distance[[place[tuple(p)] for p in chosen[:k].tolist()]] = -1
        assert (table[distance.argmax()] == chosen[k]).all(), k


def test_the_set_is_like_the_published_one() -> None:
    """UnNAS' 1000 permutations: mean pairwise Hamming distance 8.008, least 2, blocks of nine without agreement."""
    chosen = permutations(3, 1000, 0)
    pairs = (chosen[:, None] != chosen).sum(2)[np.triu_indices(1000, 1)]
    assert round(pairs.mean(), 3) == 8.008 and pairs.min() == 2
    assert all(len(set(chosen[:9, k].tolist())) == 9 for k in range(9))


def test_the_seed_draws_the_first_permutation() -> None:
    first, again, other = permutations(3, 5, 0), permutations.__wrapped__(3, 5, 0), permutations(3, 5, 1)
    assert np.array_equal(first, again) and not np.array_equal(first[0], other[0])


# Tiles


def test_tiles_of_a_hand_made_image() -> None:
    """12 x 12 in four cells of 6: tiles of 4. Rows and columns say where a number came from."""
    objective = Jigsaw(2)
    pixels = (torch.arange(12)[:, None] * 20 + torch.arange(12)).to(torch.uint8).expand(1, 3, 12, 12).contiguous()
    label = 9
    assert permutations(2, 24, 0)[label].tolist() == [1, 2, 3, 0]
    offsets = [0.0, 0.99, 0.34, 0.0, 0.67, 0.67, 0.99, 0.34]  # row and column of each tile, in thirds: 0, 1 or 2 pixels
    x, targets = prepared(objective, pixels, drawn(objective, label, offsets))
    assert x.shape == (1, 4, 3, 4, 4) and targets.tolist() == [label]
    corners = [(0, 0 + 2), (0 + 1, 6), (6 + 2, 0 + 2), (6 + 2, 6 + 1)]
    for tile, (top, left) in enumerate(corners):
        part = pixels[0, :, top : top + 4, left : left + 4].float()
        slot = [1, 2, 3, 0][tile]
        assert torch.allclose(x[0, slot], (part - part.mean()) / part.std(correction=0), atol=1e-5), tile


def test_tiles_have_no_mean_and_unit_deviation_and_flat_ones_are_zero() -> None:
    pixels = images(6, size=33).images.clone()
    pixels[0] = 77
    pixels[1, :, :11, :11] = 3
    objective = Jigsaw(3, 50)
    rows = torch.from_numpy(objective.draw(0, 0, 6))
    x, _ = prepared(objective, pixels, rows)
    assert x.shape == (6, 9, 3, 8, 8) and torch.isfinite(x).all() and not x[0].any()
    deviations = x.std((2, 3, 4), correction=0)
    assert (
        (x.mean((2, 3, 4)).abs() < 1e-5).all()
        and ((deviations - 1).abs() < 1e-4)[2:].all()
        and int((deviations[1] < 1e-6).sum()) == 1
    )


def test_greying() -> None:
    """As the official code: scikit-image's ``rgb2gray`` (ITU-R BT.709), not rounded to bytes."""
    objective = Jigsaw(2, gray=0.3)
    pixels = images(1, size=12).images
    plain, grey = (prepared(objective, pixels, drawn(objective, 0, grey=g))[0] for g in (0.31, 0.29))
    assert (
        not torch.allclose(plain[:, :, 0], plain[:, :, 1])
        and torch.equal(grey[:, :, 0], grey[:, :, 1])
        and torch.equal(grey[:, :, 0], grey[:, :, 2])
    )
    luma = (pixels.float() * torch.tensor([0.2125, 0.7154, 0.0721])[:, None, None]).sum(1)[:, :4, :4]
    expected = (luma - luma.mean()) / luma.std(correction=0)
    assert torch.allclose(grey[0, 0, 0], expected[0], atol=1e-4)


# Randomness


def test_what_is_drawn_is_uniform_and_a_function_of_seed_and_epoch() -> None:
    objective = Jigsaw(2, 20)
    rows = objective.draw(1, 2, 20_000)
    assert np.array_equal(rows, objective.draw(1, 2, 20_000)) and rows.shape == (20_000, 10)
    assert not np.array_equal(rows, objective.draw(1, 3, 20_000)) and not np.array_equal(
        rows, objective.draw(2, 2, 20_000)
    )
    assert chisquare(np.bincount(rows[:, 0], minlength=20)).pvalue > 1e-3
    offsets = (rows[:, 2:].astype(np.int64) * 5) >> RESOLUTION
    assert all(chisquare(np.bincount(column, minlength=5)).pvalue > 1e-4 for column in offsets.T)
    assert abs((rows[:, 1] < 0.3 * (1 << RESOLUTION)).mean() - 0.3) < 0.02


def test_an_evaluation_is_deterministic_and_never_grey() -> None:
    objective = Jigsaw(2, gray=1.0)
    pixels = images(8, size=12).images
    rows = torch.from_numpy(objective.draw_evaluation(5, 8))
    x, _ = prepared(objective, pixels, rows)
    assert np.array_equal(rows, objective.draw_evaluation(5, 8)) and not torch.equal(x[:, :, 0], x[:, :, 1])


# Head and refusals


def test_head_and_defaults() -> None:
    data = images(2, size=32)
    assert Jigsaw(2).head(data) == Head(24, heads.Head("jigsaw", tiles=4)) and Jigsaw().head(data) == Head(
        1000, heads.Head("jigsaw", tiles=9)
    )
    assert vars(Jigsaw(2, seed=3)) == {"grid": 2, "permutations": 24, "seed": 3, "gray": 0.3}
    assert [Jigsaw(g).tile((s, s))[1][0] for g, s in ((2, 32), (3, 255), (3, 321))] == [12, 64, 81], "UnNAS' tiles"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": 4}, "grid must be 2 or 3, but got grid=4"),
        ({"grid": True}, "grid must be 2 or 3"),
        ({"grid": 2, "permutations": 25}, "permutations <= 24 must hold for a 2 x 2 grid, but got permutations=25"),
        ({"permutations": 1}, "permutations >= 2 must hold"),
        ({"permutations": 2.5}, "permutations >= 2 must hold, but got permutations=2.5"),
        ({"seed": -1}, "seed >= 0 must hold"),
        ({"gray": 1.5}, "gray must be a probability, but got gray=1.5"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Jigsaw(**arguments)


def test_images_that_are_too_small() -> None:
    with pytest.raises(
        ConfigError, match=r"noise: a jigsaw of 3 x 3 tiles needs images of at least 9 x 9 pixels, but these are 8 x 8"
    ):
        Jigsaw(3).check(images(2, size=8))
    Jigsaw(3).check(images(2, size=9, augmentation=Augmentation(1)))
