"""Which files and folders count, and which part of a data set a name stands for: one rule for every reader."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from nni_plugins.spaces.errors import printable

from ..errors import DataError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

SYSTEM = {
    *("@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "lost+found", "__macosx"),
    *("$recycle.bin", "recycler", "system volume information", "network trash folder", "temporary items"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__pycache__"),
}
"""What file servers and operating systems leave among people's files, in small letters."""
WORDS: dict[Split, set[str]] = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation", "dev", "development", "eval", "evaluation"},
    "test": {"test", "testing"},
}
FILLERS = r"(?:data ?sets?|data|sets?|images?|imgs?|photos?|pictures?|splits?|parts?|folder)"
"""Words that may stand beside the one that counts, as in ``training_set`` and ``images-val``."""

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".webp", ".tif",
    ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip
"""Files of these are images, or damaged ones; of any other file the first bytes decide."""
OTHERS = {
    ".txt", ".json", ".xml", ".csv", ".tsv", ".md", ".rst", ".html", ".yml", ".yaml", ".ini", ".log", ".py",
    ".ipynb", ".npy", ".npz", ".mat", ".pkl", ".pth", ".pt", ".h5", ".hdf5", ".tfrecord", ".zip", ".gz", ".tar",
    ".tgz", ".7z", ".mp4", ".avi", ".mov", ".mkv", ".wav", ".mp3", ".pdf", ".doc", ".docx", ".xls", ".xlsx",
}  # fmt: skip
"""Of these nobody expects images."""
UNREAD = {
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".tga", ".dcm", ".dicom", ".psd", ".svg", ".eps",
    ".exr", ".hdr", ".pcx", ".ico", ".raw", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".xcf",
    ".pfm", ".nii",
}  # fmt: skip
"""Images in formats that no reader of ours knows: they are counted, never forgotten."""
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


def counts(name: str) -> bool:
    """Whether a file or folder of this name is a person's: neither hidden nor left by a system."""
    return not name.startswith(".") and name.lower() not in SYSTEM


def is_image(file: str | Path) -> bool:
    """By its suffix, or, where that says nothing, by its first bytes. Hidden files are none."""
    name = os.path.basename(file)
    if not counts(name):
        return False
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SUFFIXES or suffix in OTHERS or suffix in UNREAD:
        return suffix in SUFFIXES
    try:
        if not os.path.isfile(file):
            return False
        with open(file, "rb") as opened:
            start = opened.read(12)
    except OSError:
        return False
    return start.startswith(MAGIC) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def is_unread(name: str) -> bool:
    """Whether it is an image in a format that is not read."""
    return counts(name) and os.path.splitext(name)[1].lower() in UNREAD


def part_of(name: str) -> Split | None:
    """The part that a folder or the stem of a file is called after: ``Training``, ``training_set``, ``train2017``,
    ``images-train`` are train; ``dev`` and ``valid`` are val; ``Test images`` is test.
    """
    words = re.sub(r"[\s_.\-]+", " ", name.lower()).strip()
    words = re.sub(r" ?(?:19|20)\d\d$", "", words)
    bare = re.sub(rf"^{FILLERS} | ?{FILLERS}$", "", words).strip()
    return next((split for split in SPLITS if words in WORDS[split] or bare in WORDS[split]), None)


def parts_in(places: Iterable[Path]) -> dict[Split, Path]:
    """The folders among ``places`` that are called after a part.

    Raises:
        DataError: two of them after the same one.
    """
    found: dict[Split, Path] = {}
    for place in places:
        split = part_of(place.name)
        if split is None:
            continue
        if split in found:
            both = " and ".join(sorted((found[split].name, place.name)))
            raise DataError(
                f"{place.parent}: {both} are both names of the part {split}.", "Merge them, or rename one of the two."
            )
        found[split] = place
    return found


def folders_in(folder: Path) -> list[Path]:
    """Sub-folders, sorted, without hidden ones, those of systems, and links back to where we come from."""
    higher = above(folder)
    places = (place for place in folder.iterdir() if counts(place.name) and place.is_dir())
    return sorted(place for place in places if identity(place) not in higher)


def above(folder: Path) -> set[tuple[int, int]]:
    """Identities of a folder and those around it."""
    real = Path(os.path.realpath(folder))
    return {identity(place) for place in (real, *real.parents)}


def walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Image files in ``folder`` and below, in a fixed order. Folders in ``seen``, which grows, are not entered: that
    ends loops of links.
    """

    def stop(error: OSError) -> None:
        raise error

    def enter(place: str) -> bool:
        one = identity(place)
        if one in seen:
            return False
        seen.add(one)
        return True

    for current, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        folders[:] = [f for f in sorted(folders) if counts(f) and enter(os.path.join(current, f))]
        yield from (path for file in sorted(files) if is_image(path := os.path.join(current, file)))


def identity(place: str | Path) -> tuple[int, int]:
    """Of a file or folder, whatever link leads to it."""
    status = os.stat(place)
    return status.st_dev, status.st_ino


def images_below(folder: Path) -> list[str]:
    """Image files in ``folder`` and below, sorted, those of a folder before those below it."""
    return list(walk(folder, above(folder)))


def readable(name: str) -> str:
    """A name of a folder as text: what is no UTF-8 is taken for Latin-1, and composed letters are one letter each, as
    the same name looks different on other systems.
    """
    raw = os.fsencode(name)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return unicodedata.normalize("NFC", text)


def few(names: Iterable[str], most: int = 3) -> str:
    """The first three, and how many more."""
    listed = [printable(readable(name)) for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def by_suffix(counted: Mapping[str, int]) -> str:
    """Such as ``3 .txt, 1 .json``, the most frequent first."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(counted.items(), key=lambda one: -one[1])[:4])
