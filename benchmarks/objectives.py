"""Images a second that each pretext objective prepares: ours, in batches, against one image after the other. In one
process.

    python benchmarks/objectives.py                          # 32 x 32 and 224 x 224 (jigsaw: 255 x 255) on one CPU thread
    python benchmarks/objectives.py --device cuda --batch 256

The plain form is what a data loader's worker does: NumPy on one image, from bytes to the network's input and targets.
Colours get their bin by a nearest-neighbour search, as in UnNAS' official code, or (``rounded``) by the two roundings
that give the same bins. Images are smooth random fields with noise, so that they have as many colours as photographs
have.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common import Spread, seconds
from torch.nn import functional

from nni_plugins.evaluators.objectives import Colorization, Crops, Jigsaw, Objective, Rotation, lab
from nni_plugins.evaluators.objectives.jigsaw import GREY, TILE
from nni_plugins.evaluators.objectives.permutations import permutations

Image = npt.NDArray[np.uint8]
MEAN, STD = np.array([0.485, 0.456, 0.406], dtype=np.float32), np.array([0.229, 0.224, 0.225], dtype=np.float32)


def rotated(image: Image) -> Any:
    x = (image.astype(np.float32) / 255 - MEAN) / STD
    return np.stack([np.rot90(x, turn).transpose(2, 0, 1) for turn in range(4)]), np.arange(4)


def coloured(image: Image, search: Any) -> Any:
    colours = lab.reference(image.reshape(-1, 3))
    x = (colours[:, 0].reshape(image.shape[:2]) / 100 - MEAN.mean()) / STD.mean()
    if search is not None:
        return x[None].astype(np.float32), search.kneighbors(colours[:, 1:], return_distance=False).reshape(
            image.shape[:2]
        )
    tens = np.rint(colours[:, 1:] / lab.BIN).astype(np.int64)
    return x[None].astype(np.float32), TABLE[tens[:, 0], tens[:, 1]].reshape(image.shape[:2])


TABLE = np.zeros((23, 23), dtype=np.int64)  # negative indices count from the end
TABLE[tuple((lab.bins() // lab.BIN).T)] = np.arange(len(lab.bins()))


def cut(image: Image, grid: int, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> Any:
    if rng.random() < 0.3:
        image = np.repeat((image @ np.array(GREY))[:, :, None], 3, axis=2)
    x = (image.astype(np.float32) / 255 - MEAN) / STD
    cell = len(image) // grid
    tile, label = int(TILE * cell), int(rng.integers(len(chosen)))
    tiles = np.empty((grid * grid, 3, tile, tile), dtype=np.float32)
    for k, place in enumerate(chosen[label]):
        top, left = (cell * i + rng.integers(cell - tile + 1) for i in divmod(k, grid))
        part = x[top : top + tile, left : left + tile].transpose(2, 0, 1)
        tiles[place] = (part - part.mean()) / max(part.std(), 1e-3)
    return tiles, label


def pictures(count: int, size: int) -> torch.Tensor:
    """(count, 3, size, size) uint8."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=random) * 255
    smooth = functional.interpolate(coarse, size, mode="bicubic", align_corners=False)
    return (smooth + 8 * torch.randn(smooth.shape, generator=random)).clamp(0, 255).to(torch.uint8)


def rate(work: Callable[[], None], images: int, runs: int, device: torch.device) -> float:
    """Images a second: the median of ``runs``, after one that is not counted."""
    return images / Spread.of(seconds(work, runs, device)).median


def ours(objective: Objective, images: torch.Tensor, device: torch.device) -> Callable[[], None]:
    drawn = torch.from_numpy(objective.draw(0, 0, len(images))).to(device)
    mean, std = (torch.from_numpy(s).to(device)[:, None, None] for s in (MEAN, STD))
    on_device = images.to(device)
    return lambda: void(objective.prepare(Crops(on_device, None, None, drawn, mean, std)))


def void(result: Any) -> None:
    del result


def plain(function: Callable[[Image], Any], images: torch.Tensor) -> Callable[[], None]:
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]

    def work() -> None:
        results = [function(array) for array in arrays]
        void(
            [np.stack(part) for part in zip(*results, strict=True)]
        )  # a batch, as a loader's collate function makes it

    return work


def main() -> None:
    from sklearn.neighbors import NearestNeighbors

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    search = NearestNeighbors(n_neighbors=1).fit(lab.bins())
    rng = np.random.default_rng(0)
    print(
        f"{options.device}, batch {options.batch}, {options.threads} thread(s), median of {options.runs} runs; images a second"
    )
    print(f"{'objective':<24}{'size':>5}{'plain':>10}{'ours':>12}{'ratio':>9}")
    for size in (32, 224):
        grid, side = (2, 32) if size == 32 else (3, 255)
        jigsaw = Jigsaw(grid)
        cases: list[tuple[str, int, Objective, Callable[[Image], Any]]] = [
            ("rotation", size, Rotation(), rotated),
            ("colorization", size, Colorization(), partial(coloured, search=search)),
            ("colorization, rounded", size, Colorization(), partial(coloured, search=None)),
            (
                f"jigsaw {grid} x {grid}",
                side,
                jigsaw,
                partial(cut, grid=grid, chosen=permutations(grid, jigsaw.permutations, 0), rng=rng),
            ),
        ]
        for name, wide, objective, function in cases:
            images = pictures(options.batch, wide)
            few = images if size == 32 else images[: options.batch // 4]  # the plain form takes seconds
            slow, fast = (
                rate(plain(function, few), len(few), options.runs, device),
                rate(ours(objective, images, device), len(images), options.runs, device),
            )
            print(f"{name:<24}{wide:>5}{slow:>10,.0f}{fast:>12,.0f}{fast / slow:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
