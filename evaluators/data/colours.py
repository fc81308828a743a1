"""Tables of the colours that label images are painted with. Free of torch."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from nni_plugins.spaces.errors import shown

from ..errors import DataError
from .augmentation import IGNORED
from .names import counts

FILE = re.compile(r"(?:.*colou?r.*|class_?dict.*|label_?map|classes)", re.IGNORECASE)
SUFFIXES = (".txt", ".csv", ".json")
NO_CLASS = {"void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown"}
"""Names of what is no class, besides those that end in ``(ignore)``."""
COLUMNS = {"name": "name", "class": "name", "class_name": "name", "label": "name"}
COLUMNS |= {"r": "r", "red": "r", "g": "g", "green": "g", "b": "b", "blue": "b"}
"""Words of a table's first line."""
FORMS = (
    "Expected lines like '128 128 128 Sky' (CamVid), 'Sky,128,128,128' (class_dict.csv) or 'Sky:128,128,128::' (CVAT), or JSON "
    'like {"Sky": [128, 128, 128]}.'
)


class LabelsError(DataError):
    """There are label images, and what their colours mean is not known."""


@dataclass(frozen=True, eq=False)
class ColourTable:
    """``colours``: (K,) int32, sorted, red * 65536 + green * 256 + blue; ``classes``: (K,) int16 of each, 255 for none."""

    colours: npt.NDArray[np.int32]
    classes: npt.NDArray[np.int16]

    def look_up(self, image: Image.Image) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """(H, W) each: the classes of an opened image's pixels, -1 where a colour is not in the table; and the colours."""
        pixels = np.asarray(image.convert("RGB")).astype(np.int32)
        packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
        place = np.minimum(np.searchsorted(self.colours, packed), len(self.colours) - 1)
        return np.where(self.colours[place] == packed, self.classes[place], np.int16(-1)), packed


def unpacked(colour: int) -> tuple[int, int, int]:
    """(red, green, blue)."""
    return colour >> 16, colour >> 8 & 255, colour & 255


def colour_file(root: Path) -> Path | None:
    """The file in ``root`` that is a table of colours by its name and by what its first line holds.

    Raises:
        LabelsError: there are several.
    """
    found = [file for file in called_so(root) if next(_entries(file, quiet=True), None) is not None]
    if len(found) > 1:
        raise LabelsError(
            f"{root}: {' and '.join(file.name for file in found)} are both tables of colours.", "Remove one."
        )
    return found[0] if found else None


def called_so(root: Path) -> list[Path]:
    """Files in ``root`` whose names are those of tables of colours."""
    return sorted(
        file
        for file in root.iterdir()
        if counts(file.name) and file.suffix.lower() in SUFFIXES and FILE.fullmatch(file.stem) and file.is_file()
    )


def read_colours(file: Path) -> tuple[tuple[str, ...], ColourTable]:
    """Classes in the order of the file, without those that are none, and the table.

    Raises:
        LabelsError: a line is something else; a name or a colour stands there twice; no class is left.
    """
    entries = list(_entries(file))
    names = [name for name, _ in entries]
    packed = [(r << 16) | (g << 8) | b for _, (r, g, b) in entries]
    for what, values in (("name", names), ("colour", [colour for _, colour in entries])):
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if twice is not None:
            raise LabelsError(f"{file}: the {what} {shown(twice)} stands there twice.", "Each class has one colour.")
    classes = [bare for name in names if (bare := _class(name)) is not None]
    if not classes or len(classes) > IGNORED:
        raise LabelsError(f"{file}: holds {len(classes)} classes, but 1 to {IGNORED} are possible.", FORMS)
    numbers = {name: number for number, name in enumerate(classes)}
    order = np.argsort(packed)
    of = [IGNORED if (bare := _class(name)) is None else numbers[bare] for name in names]
    return tuple(classes), ColourTable(np.array(packed, dtype=np.int32)[order], np.array(of, dtype=np.int16)[order])


def _class(name: str) -> str | None:
    bare = name.removesuffix("(ignore)").strip()
    return None if bare != name or name.lower() in NO_CLASS else name


def _entries(file: Path, quiet: bool = False) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """(name, colour) of each line; ``quiet``: end where there is something else."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        is_json = file.suffix.lower() == ".json"
        rows = _json(json.loads(text, object_pairs_hook=partial(_once, file))) if is_json else _rows(text)
        for line, entry in rows:
            if entry is None:
                if quiet:
                    return
                raise LabelsError(f"{file}: {shown(line)} is no class with its colour.", FORMS)
            yield entry
    except (OSError, ValueError, RecursionError, csv.Error):
        if not quiet:
            raise LabelsError(f"cannot read {file}: it is no text, or damaged.", FORMS) from None


Entry = tuple[str, tuple[int, int, int]]


def _rows(text: str) -> Iterator[tuple[str, Entry | None]]:
    order, first = None, True
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith(("#", "//")):
            continue
        header, first = (_header(line) if first else None), False
        if header is not None:
            order = header
        elif order is None:
            yield line, _row(line)
        else:
            cells = _cells(line)
            yield line, _entry(cells[order[0]], [cells[i] for i in order[1:]]) if len(cells) > max(order) else None


def _header(line: str) -> tuple[int, ...] | None:
    """Columns of name, red, green and blue, if that is what the line is."""
    cells = [COLUMNS.get(cell.strip().lower(), "") for cell in _cells(line)]
    wanted = ("name", "r", "g", "b")
    return tuple(map(cells.index, wanted)) if all(cells.count(column) == 1 for column in wanted) else None


def _cells(line: str) -> list[str]:
    mark = next((mark for mark in ";\t" if mark in line), ",")
    return [cell.strip() for cell in next(csv.reader([line], delimiter=mark, skipinitialspace=True))]


def _once(file: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that stands twice JSON's reader takes the last, and does not say so."""
    twice = next((key for key, count in Counter(key for key, _ in pairs).items() if count > 1), None)
    if twice is not None:
        raise LabelsError(f"{file}: {shown(twice)} stands there twice.", "Each class has one colour.")
    return dict(pairs)


def _row(line: str) -> Entry | None:
    numbers = r"(\d{1,3})"
    spaced = re.fullmatch(rf"{numbers}\s+{numbers}\s+{numbers}\s+(\S.*)", line)
    if spaced is not None:
        return _entry(spaced[4], spaced.groups()[:3])
    cvat = re.fullmatch(rf"([^:]+):{numbers},{numbers},{numbers}:[^:]*:[^:]*", line)
    if cvat is not None:
        return _entry(cvat[1], cvat.groups()[1:])
    cells = _cells(line)
    if len(cells) == 4:
        return _entry(cells[0], cells[1:]) or _entry(cells[3], cells[:3])
    return None


def _json(content: Any) -> Iterator[tuple[str, Entry | None]]:
    if isinstance(content, dict):
        for name, colour in content.items():
            yield f"{name}: {colour}", _entry(name, colour)
    elif isinstance(content, list):
        for one in content:
            colour = one.get("color", one.get("colour")) if isinstance(one, dict) else None
            yield str(one), _entry(one.get("name") if isinstance(one, dict) else None, colour)
    else:
        yield str(content), None


def _entry(name: Any, colour: Any) -> Entry | None:
    if (
        not isinstance(name, str)
        or not name.strip()
        or not name.strip().isprintable()
        or len(name) > 200
        or not isinstance(colour, list | tuple)
    ):
        return None
    try:
        numbers = [int(part) for part in colour if isinstance(part, str) or type(part) is int]
    except (TypeError, ValueError):
        return None
    if len(numbers) != 3 or len(colour) != 3 or not all(0 <= number <= 255 for number in numbers):
        return None
    return name.strip(), (numbers[0], numbers[1], numbers[2])
