"""What a data set holds, what of it is used, and what was left out and why: said before every training, and kept with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nni_plugins.spaces.errors import printable

from ..files import write_json, writing
from ..processes import first_process
from .names import few

FILE = "data.json"
UNREADABLE = "cannot be read"
LISTED = 8
"""Of so many classes each is named with its count; of more the smallest and the largest."""


@dataclass(frozen=True)
class PartReport:
    """``images`` that are used; ``classes``: how many ``unit`` there are of each."""

    images: int
    classes: Mapping[str, int] = field(default_factory=dict)
    unit: Literal["images", "boxes", "pixels"] = "images"

    def sentence(self, name: str) -> str:
        """Of the part called ``name``."""
        text = f"{name}: {self.images:,} image{'' if self.images == 1 else 's'}"
        if not self.classes:
            return f"{text}."
        shown = {_short(one): count for one, count in self.classes.items()}
        if len(shown) <= LISTED:
            return (
                f"{text}; {self.unit} of {_number(len(shown))}: "
                + ", ".join(f"{k} {n:,}" for k, n in shown.items())
                + "."
            )
        least, most = min(shown, key=shown.__getitem__), max(shown, key=shown.__getitem__)
        return f"{text}; {self.unit} of {_number(len(self.classes))}, from {shown[least]:,} ({least}) to {shown[most]:,} ({most})."


@dataclass(frozen=True)
class LeftOut:
    """``count`` of ``what`` ("images", "boxes"), ``why``, and the names of some of them."""

    count: int
    what: str
    why: str
    names: tuple[str, ...] = ()

    def sentence(self) -> str:
        """In words."""
        what = (
            self.what
            if self.count != 1
            else {"images": "image", "boxes": "box", "files": "file"}.get(self.what, self.what)
        )
        more = f": {few(self.names)}" if self.names else ""
        return f"Left out: {self.count:,} {what}, {self.why}{more}."


@dataclass(frozen=True)
class DataReport:
    """``path``: of the data set; ``parts``: by name, ``train`` first; ``remarks``: what else must be known.

    The images of the parts and those that are left out are all that there are.
    """

    path: str
    parts: Mapping[str, PartReport]
    left_out: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """That are there, used or not."""
        unused = sum(one.count for one in self.left_out if one.what == "images")
        return unused + sum(part.images for part in self.parts.values())

    def without(self, *more: LeftOut) -> DataReport:
        """The same with ``more`` left out, of which the parts know already."""
        return replace(self, left_out=(*self.left_out, *(one for one in more if one.count)))

    def limited(self, part: str, count: int, why: str) -> DataReport:
        """The same where ``count`` images of ``part`` are used, with labels that nobody looks at."""
        unused = self.parts[part].images - count
        fewer = self.parts if unused <= 0 else {**self.parts, part: PartReport(count)}
        return replace(self, parts=fewer).without(LeftOut(max(0, unused), "images", why))

    def sentences(self) -> list[str]:
        """For people, one a line."""
        given = f"Data: {Path(self.path).name or self.path}, {self.images:,} images." if self.path else "Data."
        lines = [given, *(f"  {part.sentence(name)}" for name, part in self.parts.items())]
        return [
            printable(line).replace("\n", r"\n")  # names of folders may hold line breaks
            for line in [*lines, *(f"  {one.sentence()}" for one in self.left_out), *(f"  {r}" for r in self.remarks)]
        ]

    def described(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": Path(self.path).name or self.path,
            "images": self.images,
            "parts": {
                name: {"images": part.images, **({part.unit: dict(part.classes)} if part.classes else {})}
                for name, part in self.parts.items()
            },
            "left_out": [
                {
                    "count": one.count,
                    "what": one.what,
                    "why": one.why,
                    "names": [few([name]) for name in one.names[:10]],
                }
                for one in self.left_out
            ],
            "remarks": list(self.remarks),
        }


_told: set[str] = set()


def tell(report: DataReport | None, folder: Path | None) -> None:
    """Write ``data.json`` into ``folder``, and say it on standard error, once in a process. A training that has begun
    there keeps its own: it goes on with the same images or not at all.

    Raises:
        CheckpointError: the folder cannot be written into.
    """
    if report is None or not first_process():
        return
    begun = folder is not None and any((folder / name).exists() for name in ("run.json", "training/run.json"))
    if folder is not None and not (begun and (folder / FILE).exists()):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / FILE, report.described())
    text = "\n".join(report.sentences())
    if text not in _told:
        _told.add(text)
        print(text, file=sys.stderr)


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."


def _number(classes: int) -> str:
    return f"{classes:,} class{'' if classes == 1 else 'es'}"
