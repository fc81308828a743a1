"""The reader of images in mmcv's registry: the one that searches and retrainings have. Importing this module needs mmcv."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import require
from ..data.decoding import header, open_rgb
from ..errors import DataError

_transforms = require("mmcv.transforms", "detection")


@_transforms.TRANSFORMS.register_module()
class ReadImage(_transforms.BaseTransform):  # type: ignore[misc, name-defined]
    """``img``: (H, W, BGR) uint8 of ``img_path``, upright as a camera's rotation mark says.

    Args:
        stored: boxes are of pixels as they are stored; then these are read, unless the annotation file tells the size of
            the upright image.
    """

    def __init__(self, stored: bool = False) -> None:
        self.stored = stored

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        file = results["img_path"]
        told = (results["height"], results["width"]) if {"height", "width"} <= set(results) else None
        read = open_rgb(file, is_upright(file, told, self.stored))
        if isinstance(read, str):
            raise DataError(
                f"{file}: cannot be read ({read}).", "Repair or remove it, then run the same command again."
            )
        results["img"] = np.ascontiguousarray(np.asarray(read)[:, :, ::-1])
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


def is_upright(file: str, told: tuple[int, int] | None, stored: bool = False) -> bool:
    """Whether (height, width) as they are ``told`` are those of the upright image; where both are equal, ``stored``
    decides.
    """
    one = header(file)
    if told is None or one.mark == 1:
        return True
    return not stored if one.size == one.stored else tuple(told) != one.stored
