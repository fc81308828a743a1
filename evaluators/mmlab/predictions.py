"""Pictures of what a trained detector or segmentation network sees, beside the truth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..files import atomic_write
from ..reports.figures import literal
from .installation import require_mm

SHOWN, LEAST = 4, 0.3
"""Images, and the least score of a box that is drawn."""
Colours = npt.NDArray[np.float64]


def draw(runner: Any, path: Path, count: int = SHOWN) -> Path:
    """``count`` test images, evenly spread: the truth on the left, the prediction on the right. ``runner``: mmengine's,
    after its test.
    """
    import matplotlib
    from matplotlib.figure import Figure

    dataset = runner.test_dataloader.dataset
    index = [round(i * (len(dataset) - 1) / max(1, count - 1)) for i in range(min(count, len(dataset)))]
    model, detector = (
        runner.model.module if hasattr(runner.model, "module") else runner.model,
        runner.cfg.default_scope == "mmdet",
    )
    names = tuple(dataset.metainfo["classes"])
    palette: Colours = np.array(
        matplotlib.colormaps["tab20" if len(names) > 10 else "tab10"](np.arange(len(names)) % 20)
    )[:, :3]
    side = 4 if detector else 3
    figure = Figure(figsize=(2 * side + 1.5, 0.75 * side * len(index) + 0.6), layout="constrained")
    axes = figure.subplots(len(index), 2, squeeze=False)
    model.eval()
    for row, i in enumerate(index):
        item = dataset[i]
        with torch.no_grad():
            (sample,) = model.test_step(require_mm("mmengine.dataset").pseudo_collate([item]))
        image = dataset.pipeline.transforms[0](dataset.get_data_info(i))["img"][:, :, ::-1]  # as the network read it
        for axis in axes[row]:
            axis.imshow(image)
            axis.set_axis_off()
        if detector:
            truth = dataset.get_data_info(i)["instances"]
            _boxes(
                axes[row, 0], [one["bbox"] for one in truth], [one["bbox_label"] for one in truth], None, names, palette
            )
            found = sample.pred_instances.cpu()
            kept = found.scores >= LEAST
            _boxes(
                axes[row, 1],
                found.bboxes[kept].tolist(),
                found.labels[kept].tolist(),
                found.scores[kept].tolist(),
                names,
                palette,
            )
        else:
            for axis, labels in ((axes[row, 0], sample.gt_sem_seg), (axes[row, 1], sample.pred_sem_seg)):
                _labels(axis, labels.data.squeeze().cpu().numpy(), palette)
    axes[0, 0].set_title("truth", fontsize=9)
    axes[0, 1].set_title(f"predicted (scores of at least {LEAST:g})" if detector else "predicted", fontsize=9)
    patches = [matplotlib.patches.Patch(color=palette[i], label=str(i)) for i in range(len(names[:20]))]
    legend = figure.legend(handles=patches, loc="outside right upper", fontsize=7, frameon=False)
    for words, name in zip(legend.get_texts(), names, strict=False):  # a label that begins with _ would be left out
        words.set_text(name)
    literal(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    atomic_write(path, buffer.getvalue())
    return path


def _boxes(
    axis: Any,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    scores: Sequence[float] | None,
    names: tuple[str, ...],
    palette: Colours,
) -> None:
    from matplotlib.patches import Rectangle

    for i, ((left, top, right, bottom), label) in enumerate(zip(boxes, labels, strict=True)):
        axis.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=1.2, edgecolor=palette[label])
        )
        words = names[label] if scores is None else f"{names[label]} {scores[i]:.2f}"
        axis.text(
            left,
            top - 2,
            words,
            fontsize=4.5,
            color="white",
            bbox={"facecolor": palette[label], "pad": 0.6, "linewidth": 0},
        )


def _labels(axis: Any, labels: npt.NDArray[np.int64], palette: Colours) -> None:
    """Classes as colours over the photograph; what has no class stays uncovered."""
    known = labels < len(palette)
    cover = np.zeros((*labels.shape, 4))
    cover[known, :3] = palette[labels[known]]
    cover[known, 3] = 0.65
    axis.imshow(cover)
