"""Boxes of one annotation file beside the images that they are of: what cannot be right, and what has to be mended for
mmdet and pycocotools to read it as it is meant. Free of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.names import few
from ..data.report import LeftOut
from ..errors import DataError

SLACK = 1.0
"""So many pixels a box may stick out of its image: annotation tools round."""
MANY = 0.2
"""If a larger share of boxes sticks out further, their numbers mean something else."""
Box = dict[str, Any]


@dataclass
class Checked:
    """``content``: of the file, in COCO's format; ``plain``: mmdet could read the file as it is."""

    file: Path
    content: dict[str, Any]
    plain: bool
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _changes: bool = False

    @cached_property
    def names(self) -> dict[int, str]:
        """File names by the images' ids."""
        return {entry["id"]: entry["file_name"] for entry in self.content["images"]}

    @cached_property
    def sizes(self) -> dict[int, tuple[int, int]]:
        """(width, height) by the images' ids, as the file says."""
        return {entry["id"]: (entry["width"], entry["height"]) for entry in self.content["images"]}

    @property
    def categories(self) -> list[tuple[int, str]]:
        """(id, name)."""
        return [(entry["id"], entry["name"]) for entry in self.content["categories"]]

    def boxes(self) -> list[Box]:
        """Those that are learnt and counted: no crowds."""
        return [box for box in self.content["annotations"] if not box["iscrowd"]]

    def without_boxes(self) -> set[int]:
        """Ids of the images that have none of them."""
        return set(self.names) - {box["image_id"] for box in self.boxes()}

    def check_boxes(self) -> None:
        """Leave out what is smaller than a pixel, cut what sticks out, and number what has no area or the id 0.

        Raises:
            DataError: boxes outside of their images; too many that stick out; none is left.
        """
        given = self.content["annotations"]
        kept = [box for box in given if min(box["bbox"][2:]) >= 1]
        if not any(not box["iscrowd"] for box in kept):
            shares = given and all(0 <= number <= 1 for box in given for number in box["bbox"])
            but = f": all {len(kept)} are crowds" if kept else ""
            raise DataError(
                f"{self.file} holds no box of at least 1x1 pixels{but}.",
                "Boxes are [x, y, width, height] in pixels, not in shares of the image."
                if shares
                else "There is nothing to learn or to measure without boxes.",
            )
        self._cut(kept)
        flat_boxes = sum(box["area"] <= 0 for box in kept)
        changed = [box for box in map(self._mended, kept) if min(box["bbox"][2:]) >= 1]
        if len(changed) < len(given):
            self.left_out.append(
                LeftOut(len(given) - len(changed), "boxes", "of less than a pixel within their images")
            )
        if flat_boxes:
            self.remarks.append(f"{flat_boxes:,} boxes have the area 0; it is taken from width and height.")
        if any(box["id"] <= 0 for box in changed):
            changed = [{**box, "id": number} for number, box in enumerate(changed, start=1)]
            self.remarks.append("boxes are numbered anew, for pycocotools takes the number 0 for no box.")
        crowds = sum(bool(box["iscrowd"]) for box in changed)
        if crowds:
            self.remarks.append(
                f"{crowds:,} boxes are crowds (iscrowd): they are not learnt, and found or not does not count."
            )
        if changed != given:
            self.content = {**self.content, "annotations": changed}
            self._changes = True

    def _cut(self, boxes: Sequence[Box]) -> None:
        """Judge the boxes that stick out.

        Raises:
            DataError: see :meth:`check_boxes`.
        """
        outside, out = [], []
        for box in boxes:
            width, height = self.sizes[box["image_id"]]
            x, y, w, h = box["bbox"]
            if x >= width or y >= height or x + w <= 0 or y + h <= 0:
                outside.append(box)
            elif x < -SLACK or y < -SLACK or x + w > width + SLACK or y + h > height + SLACK:
                out.append(box)
        wrong = outside or (out if len(out) > MANY * len(boxes) else [])
        if wrong:
            first = wrong[0]
            width, height = self.sizes[first["image_id"]]
            how = "lie outside of their images" if outside else "stick out of their images"
            raise DataError(
                f"{self.file}: {len(wrong):,} of {len(boxes):,} boxes {how}, such as {first['bbox']} of "
                f"{few([self.names[first['image_id']]])}, which has {width}x{height} pixels.",
                "Boxes are [x, y, width, height] in pixels, x and y of the upper left corner.",
            )
        if out:
            self.remarks.append(f"{len(out):,} boxes stick out of their images, and are cut at the border.")

    def _mended(self, box: Box) -> Box:
        width, height = self.sizes[box["image_id"]]
        x, y, w, h = box["bbox"]
        left, top, right, bottom = max(0, x), max(0, y), min(width, x + w), min(height, y + h)
        if min(x, y) < -SLACK or x + w > width + SLACK or y + h > height + SLACK:
            share = (right - left) * (bottom - top) / (w * h)
            box = {**box, "bbox": [left, top, right - left, bottom - top], "area": box["area"] * share}
        return box if box["area"] > 0 else {**box, "area": box["bbox"][2] * box["bbox"][3]}

    def check_images(self, folder: Path) -> bool:
        """Open every image; whether the boxes are of pixels as they are stored, not of upright photographs.

        Raises:
            DataError: an image cannot be read, or has another size than the file says.
        """
        from ..data.reading import headers

        seen = headers([str(folder / name) for name in self.names.values()])
        broken = [f"{name} ({one.problem})" for name, one in zip(self.names.values(), seen, strict=True) if one.problem]
        if broken:
            raise DataError(
                f"{self.file}: {len(broken):,} of {len(seen):,} images in {folder} cannot be read: {few(broken)}.",
                "Repair them, or leave them out of the file.",
            )
        wrong, stored, upright = [], 0, 0
        for image, one in zip(self.names, seen, strict=True):
            told, height_width = self.sizes[image], (one.size[1], one.size[0])
            as_stored = (one.stored[1], one.stored[0])
            if told not in (height_width, as_stored):
                wrong.append(
                    f"{few([self.names[image]])} has {height_width[0]}x{height_width[1]} pixels, but {told[0]}x{told[1]} in the file"
                )
            elif height_width != as_stored:
                stored, upright = stored + (told == as_stored), upright + (told == height_width)
        if wrong:
            raise DataError(
                f"{self.file}: {len(wrong):,} of {len(seen):,} images have another size than the file says: {wrong[0]}.",
                "Were the images resized after the boxes were drawn? Resize both, or correct width and height.",
            )
        marked = sum(one.mark != 1 for one in seen)
        if marked:
            as_ = "as they are stored" if stored > upright else "upright"
            self.remarks.append(
                f"{marked:,} photographs have a camera's rotation mark; by their sizes boxes are of the pixels {as_}."
            )
        return stored > upright

    def mended(self) -> dict[str, Any] | None:
        """What mmdet and pycocotools must read instead of the file; None if they can read it."""
        if self.plain and not self._changes:
            return None
        return self.content
