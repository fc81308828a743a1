"""Data set and transforms of segmentation in mmseg's registries. Importing this module needs mmseg and mmcv."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import require
from ..data.colour import EIGENVALUES, EIGENVECTORS
from .segmentation_data import read_labels, segmentation_data

_mmcv = require("mmcv", "segmentation")
_transforms = require("mmcv.transforms", "segmentation")
_registry = require("mmseg.registry", "segmentation")
_datasets = require("mmseg.datasets", "segmentation")


@_registry.DATASETS.register_module()
class LabelledImages(_datasets.BaseSegDataset):  # type: ignore[misc, name-defined]
    """The part ``split`` of a folder of images and label images: see
    :func:`nni_plugins.evaluators.mmlab.segmentation_data.segmentation_data`.
    """

    def __init__(self, data_root: str, split: str, **options: Any) -> None:
        self.split = split
        super().__init__(data_root=data_root, data_prefix={}, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        found = segmentation_data(str(Path(self.data_root)), check=False)
        common = {"label_table": found.table, "reduce_zero_label": False, "label_map": None}
        return [
            {"img_path": image, "seg_map_path": label, "seg_fields": [], **common}
            for image, label in found.parts[self.split]
        ]


@_registry.TRANSFORMS.register_module()
class LoadLabelImage(_transforms.BaseTransform):  # type: ignore[misc, name-defined]
    """``gt_seg_map``: (H, W) uint8, the classes of a label image by the data set's table."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if "seg_map_path" not in results:  # mmseg's inference on single images
            return results
        results["gt_seg_map"] = read_labels(results["seg_map_path"], results["label_table"], results["img_path"])
        results["seg_fields"].append("gt_seg_map")
        return results


@_registry.TRANSFORMS.register_module()
class RandomShortSide(_transforms.BaseTransform):  # type: ignore[misc, name-defined]
    """Resize so that the shorter side has ``max(least, nominal * s)`` pixels, s from ``scale``, uniform or with a
    uniform logarithm.

    Args:
        nominal: default: the image's own shorter side.
    """

    def __init__(
        self, scale: tuple[float, float], nominal: int | None = None, log_uniform: bool = False, least: int = 1
    ) -> None:
        self.scale, self.nominal, self.log_uniform, self.least = scale, nominal, log_uniform, least

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        height, width = results["img"].shape[:2]
        low, high = (math.log(value) for value in self.scale) if self.log_uniform else self.scale
        drawn = np.random.uniform(low, high)
        side = max(
            self.least, round((self.nominal or min(height, width)) * (math.exp(drawn) if self.log_uniform else drawn))
        )
        factor = side / min(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        results["img"] = _mmcv.imresize(results["img"], size, interpolation="bilinear")
        for key in results["seg_fields"]:
            results[key] = _mmcv.imresize(results[key], size, interpolation="nearest")
        results.update(img_shape=results["img"].shape[:2], scale=size, scale_factor=(factor, factor), keep_ratio=True)
        return results


@_registry.TRANSFORMS.register_module()
class Lighting(_transforms.BaseTransform):  # type: ignore[misc, name-defined]
    """Noise along the principal components of ImageNet's colours (Krizhevsky et al., NIPS 2012, section 4.1). ``img``:
    (H, W, BGR) in 0..255.
    """

    def __init__(self, strength: float = 0.1) -> None:
        self.strength = strength

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        noise = np.asarray(EIGENVECTORS) @ (np.random.normal(0, self.strength, 3) * np.asarray(EIGENVALUES))
        results["img"] = results["img"].astype(np.float32) + 255 * noise[::-1].astype(np.float32)
        return results
