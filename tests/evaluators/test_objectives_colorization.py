"""Colorization: bins, Lab and labels in closed form and against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.errors import DataError
from nni_plugins.evaluators.objectives import Colorization, Crops, Head, lab
from nni_plugins.spaces import heads

from .objectives_job import coloured

ROWS = {
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100), -20: (-50, 100),
    -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90), 50: (-100, 80), 60: (-110, 80),
    70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}  # fmt: skip
"""a -> smallest and largest b of the 313 bins that ship with Zhang et al.'s code."""


def lattice(side: int) -> np.ndarray:
    """(side ** 3, 3) uint8, evenly spaced colours from black to white."""
    return np.array(list(product(np.linspace(0, 255, side).round(), repeat=3)), dtype=np.uint8)


def as_images(colours: np.ndarray) -> torch.Tensor:
    """(1, 3, 1, n)."""
    return torch.from_numpy(np.ascontiguousarray(colours.T))[None, :, None]


def test_the_bins_are_those_of_the_papers_in_their_order() -> None:
    expected = [(a, b) for a, (low, high) in ROWS.items() for b in range(low, high + 1, 10)]
    assert len(expected) == 313 and [tuple(row) for row in lab.bins().tolist()] == expected


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
        ((255, 0, 0), (53.241, 80.093, 67.203)),
        ((0, 255, 0), (87.735, -86.183, 83.179)),
        ((0, 0, 255), (32.297, 79.188, -107.860)),
    ],
)
def test_lab_of_known_colours(colour: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    """Values of the sRGB primaries under D65 to three decimals (Bruce Lindbloom's calculator agrees to 0.01)."""
    ours = [float(channel) for channel in lab.lab(torch.tensor(colour, dtype=torch.uint8)[None, :, None, None])]
    assert ours == pytest.approx(expected, abs=0.02)
    assert lab.reference(np.array([colour], dtype=np.uint8))[0] == pytest.approx(expected, abs=0.02)


def test_labels_are_the_nearest_bins_of_every_colour_of_a_lattice() -> None:
    colours = lattice(16)
    exact = lab.reference(colours)
    brute = ((exact[:, None, 1:] - lab.bins()) ** 2).sum(2).argmin(1)
    lightness, a, b = lab.lab(as_images(colours))
    assert np.abs(torch.stack([lightness, a, b], -1)[0, 0].numpy() - exact).max() < 7e-5
    assert np.array_equal(lab.labels(a, b)[0, 0].numpy(), brute)


@pytest.mark.slow
def test_float32_moves_no_label_but_at_a_border() -> None:
    """All 2^24 colours: 261 of the bins occur, and labels differ from those of float64 only within 5e-5 of a border."""
    used, moved = set[int](), 0
    rest = np.array(list(product(range(256), repeat=2)), dtype=np.uint8)
    for red in range(256):
        colours = np.concatenate([np.full((len(rest), 1), red, dtype=np.uint8), rest], axis=1)
        tens = lab.reference(colours)[:, 1:] / 10
        _, a, b = lab.lab(as_images(colours))
        labels = lab.labels(a, b)[0, 0].numpy()
        used.update(np.unique(labels).tolist())
        wrong = (lab.bins()[labels] != 10 * np.rint(tens)).any(1)
        moved += int(wrong.sum())
        assert (10 * np.abs(tens[wrong] - np.floor(tens[wrong]) - 0.5).min(1, initial=1) < 5e-5).all()
    assert len(used) == 261 and moved < 100


def test_a_batch_by_hand() -> None:
    images = coloured(5, size=4).images
    mean, std = torch.tensor([0.5, 0.4, 0.3])[:, None, None], torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    x, targets = Colorization().prepare(
        Crops(images, None, None, torch.zeros(5, 0), mean, std, lambda x, drawn: 0 * x, torch.zeros(5, 1))
    )
    exact = lab.reference(images.permute(0, 2, 3, 1).reshape(-1, 3).numpy()).reshape(5, 4, 4, 3)
    assert x.shape == (5, 1, 4, 4) and np.allclose(x[:, 0].numpy(), (exact[..., 0] / 100 - 0.4) / 0.25, atol=1e-5), (
        "colours are left alone"
    )
    assert targets.dtype == torch.int64 and np.array_equal(
        lab.bins()[targets.numpy()], 10 * np.rint(exact[..., 1:] / 10)
    )


def test_parts_of_a_batch_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    images = coloured(7, size=8).images
    crops = Crops(images, None, None, torch.zeros(7, 0), torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    whole = Colorization().prepare(crops)
    monkeypatch.setattr("nni_plugins.evaluators.objectives.base.CACHED", 130)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(whole, Colorization().prepare(crops), strict=True))


def test_head_loss_and_metric_count_pixels() -> None:
    objective, data = Colorization(), coloured(3)
    assert objective.label_free and objective.head(data) == Head(313, heads.Head("pixels"), 1)
    outputs, targets = torch.zeros(2, 313, 2, 2), torch.tensor([[[0, 5], [5, 5]], [[7, 7], [0, 0]]])
    assert float(objective.loss(outputs, targets)) == pytest.approx(np.log(313)) and int(objective.count(targets)) == 8
    assert int(objective.correct(outputs, targets)) == 3, "of equal outputs the first is taken"


def test_grey_images_are_refused() -> None:
    grey = coloured(300).images[:, :1].expand(-1, 3, -1, -1).contiguous()
    with pytest.raises(
        DataError, match=r"noise: colorization needs colours, but all 150 images that were looked at are grey"
    ):
        Colorization().check(ImageSet("noise", grey, None))
    grey[2, 0, 0, 0] ^= 1
    Colorization().check(ImageSet("noise", grey, None))
