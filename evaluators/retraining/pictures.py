"""Labelled images at their own size: files stay files, arrays stay arrays."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ..data import cifar, digits, folder, imagenet16, npz, svhn
from ..data.decoding import open_rgb
from ..data.images import ImageData, ImageSet, keep_classes
from ..data.names import few
from ..data.reading import measured
from ..data.report import DataReport, LeftOut, PartReport
from ..errors import DataError, LabelError
from ..randomness import generator
from .settings import PictureSettings

LAYOUTS = (
    "Expected 'digits'; a folder with one folder of image files a class, or with train and val (or test) that hold such folders; torchvision's "
    "CIFAR-10, CIFAR-100 or SVHN; or a file of numpy.savez(path, images=..., labels=...). See nni-plugins docs retraining_data."
)
MAX_SMALL = 0.05
"""A data set may have this share of images whose shorter side is less than half of what the network sees; they are
enlarged.
"""


@dataclass(frozen=True)
class ImageFiles:
    """Files by their headers. Names are kept as an array, because a list of them would be copied by every process that
    reads.

    Args:
        root: what the names are relative to.
        names: (N,) bytes.
        lengths: (N,) bytes of each file.
        sizes: (N, 2) height and width in pixels.
    """

    root: str
    names: npt.NDArray[np.bytes_]
    lengths: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def path(self, i: int) -> str:
        return os.path.join(self.root, os.fsdecode(self.names[i].item()))

    def take(self, index: npt.NDArray[Any]) -> ImageFiles:
        return ImageFiles(self.root, self.names[index], self.lengths[index], self.sizes[index])


class Pictures:
    """N labelled images.

    Args:
        name: for messages, such as ``"cifar10/train"``.
        images: (N, 3, H, W) uint8, or files.
        labels: (N,) int64.
        classes: their names, in the order of the labels.
    """

    def __init__(
        self, name: str, images: torch.Tensor | ImageFiles, labels: torch.Tensor, classes: tuple[str, ...]
    ) -> None:
        if len(images) == 0:
            raise DataError(f"{name}: there are no images.", "Check the path.")
        if len(images) != len(labels) or int(labels.min()) < 0 or int(labels.max()) >= len(classes):
            found = f"{len(labels)} labels in {int(labels.min())} ... {int(labels.max())}"
            raise DataError(
                f"{name}: {len(images)} images of {len(classes)} classes need as many labels below that, but there are {found}."
            )
        self.name, self.labels, self.classes, self._images = name, labels, classes, images

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, i: int) -> Image.Image:
        """RGB at its own size, upright.

        Raises:
            DataError: the file cannot be decoded, though its header was in order.
        """
        if isinstance(self._images, torch.Tensor):
            return Image.fromarray(np.ascontiguousarray(self._images[i].numpy().transpose(1, 2, 0)))
        path = self._images.path(i)
        opened = open_rgb(path)
        if isinstance(opened, str):
            raise DataError(
                f"{path}: cannot be read ({opened}).", "Repair or remove it, then run the same command again."
            )
        return opened

    def subset(self, index: npt.NDArray[Any]) -> Pictures:
        """The images at ``index``, in that order."""
        chosen = torch.from_numpy(np.ascontiguousarray(index))
        images = self._images[chosen] if isinstance(self._images, torch.Tensor) else self._images.take(index)
        return Pictures(self.name, images, self.labels[chosen], self.classes)

    def named(self, name: str) -> Pictures:
        """The same images under another name."""
        return Pictures(name, self._images, self.labels, self.classes)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(N, 2): height and width in pixels."""
        if isinstance(self._images, ImageFiles):
            return self._images.sizes
        same: npt.NDArray[np.int64] = np.broadcast_to(np.array(self._images.shape[2:], dtype=np.int64), (len(self), 2))
        return same

    def check_size(self, size: int) -> None:
        """Refuse images that a network of ``size`` by ``size`` pixels would see blown up to more than twice their size.

        Raises:
            DataError: more than 5 % of them are so small.
        """
        shorter: npt.NDArray[np.int64] = self.sizes.min(axis=1)
        small, least = int((2 * shorter < size).sum()), int(shorter.argmin())
        if small > MAX_SMALL * len(self):
            height, width = (int(side) for side in self.sizes[least])
            which = f" ({self._images.path(least)})" if isinstance(self._images, ImageFiles) else ""
            raise DataError(
                f"{self.name}: {small:,} of {len(self):,} images have a shorter side of less than half of input.size, which is {size}; "
                f"the smallest is {width}x{height} pixels{which}.",
                f"Train at the size of the images: --set input.size={int(np.median(shorter))}",
            )

    def identity(self) -> dict[str, object]:
        """What tells these images from others when a training is resumed: their number, and checksums of the labels,
        the classes' names, and the pixels, or, of files, their names and lengths. JSON-able.
        """
        labels = zlib.crc32(np.ascontiguousarray(self.labels.numpy()).tobytes())
        known: dict[str, object] = {
            "name": self.name,
            "images": len(self),
            "labels": labels,
            "classes": zlib.crc32("\0".join(self.classes).encode()),
        }
        if isinstance(self._images, ImageFiles):
            names = zlib.crc32(b"\0".join(self._images.names.tolist()))
            return {**known, "files": zlib.crc32(np.ascontiguousarray(self._images.lengths).tobytes(), names)}
        return {**known, "pixels": zlib.crc32(np.ascontiguousarray(self._images.numpy()).data)}


@dataclass(frozen=True)
class PictureData:
    """What a network is trained on, what its accuracy is measured on, and, where some are held out, the images by which
    the best epoch is chosen. ``report``: what is there, and what of it is used.

    Raises:
        DataError: their classes differ, or there is only one.
    """

    train: Pictures
    test: Pictures
    validation: Pictures | None = None
    report: DataReport | None = None

    @property
    def parts(self) -> dict[str, Pictures]:
        """Those that there are, by name."""
        held_out = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **held_out, "test": self.test}

    def __post_init__(self) -> None:
        train = self.train.classes
        for part in self.parts.values():
            if train != part.classes:
                raise DataError(
                    f"{self.train.name} has the classes {', '.join(train[:5])} ({len(train)}), but {part.name} "
                    f"{', '.join(part.classes[:5])} ({len(part.classes)}).",
                    "Make them the same, in the same order.",
                )
        if len(train) < 2:
            raise DataError(
                f"{self.train.name}: there is only one class, {train[0]}.",
                f"If it is the folder of the data set, give its path. {LAYOUTS}",
            )


def open_pictures(settings: PictureSettings) -> PictureData:
    """The images that ``settings`` name; ``limit``, ``test_limit`` and a share that is held out are uniform draws with
    ``limit_seed``, the last of the images that ``limit`` leaves.

    Raises:
        DataError: nothing there, a layout that is none of ours, a damaged file; the message says what was found. Or no
            image is left to train on.
        LabelError: images without labels.
    """
    source = recognised(settings.path) if settings.source == "auto" else settings.source
    share, seed, own = settings.validation, settings.limit_seed, settings.validation == "own"
    if own and source != "folder":
        raise DataError(
            f"{settings.path}: images of {source} have no validation part of their own.",
            "Hold out a share of the training images, such as 0.1.",
        )
    data = _from_folder(settings.path, own) if source == "folder" else _from_arrays(_arrays(settings.path, source))
    train, held_out = _limited(data.train, settings.limit, seed, "data limit"), data.validation
    if share != "own" and share:
        train, held_out = _split(train, share, seed)
    used = PictureData(train, _limited(data.test, settings.test_limit, seed, "test limit"), held_out)
    return replace(used, report=_reported(settings, data, used))


def _reported(settings: PictureSettings, data: PictureData, used: PictureData) -> DataReport:
    """What there was, as far as a folder was looked through, and the images of each part that are used."""

    def part(pictures: Pictures) -> PartReport:
        counted = np.bincount(pictures.labels.numpy(), minlength=len(pictures.classes)).tolist()
        return PartReport(len(pictures), dict(zip(pictures.classes, counted, strict=True)))

    parts = {name: part(pictures) for name, pictures in used.parts.items()}
    known = data.report or DataReport(settings.path, {})
    drawn = sum(map(len, data.parts.values())) - sum(map(len, used.parts.values()))
    unseen = [name for name, count in parts["train"].classes.items() if not count]
    remarks = (f"No image to train on of {few(unseen)}.",) if unseen else ()
    report = DataReport(known.path, parts, known.left_out, (*known.remarks, *remarks))
    return report.without(LeftOut(drawn, "images", "not drawn (limit, test_limit)"))


def recognised(path: str) -> str:
    """The source that lies at ``path``.

    Raises:
        DataError: none of ours, or several.
    """
    if path == "digits":
        return "digits"
    place = Path(os.path.expanduser(path))
    if not place.exists():
        raise DataError(f"{place}: no such file or folder.", LAYOUTS)
    if not place.is_dir():
        if place.suffix.lower() == ".npz":
            return "npz"
        packed = place.suffix.lower() in (".tar", ".gz", ".tgz", ".xz", ".bz2", ".zip")
        raise DataError(
            f"{place}: is a file{', an archive' if packed else ''}.",
            ("Unpack it and give the folder. " if packed else "") + LAYOUTS,
        )
    signs = {
        "cifar10": (place / cifar.FORMATS["cifar10"].folder).is_dir() or (place / "data_batch_1").is_file(),
        "cifar100": (place / cifar.FORMATS["cifar100"].folder).is_dir()
        or ((place / "train").is_file() and (place / "test").is_file()),
        imagenet16.NAME: (place / imagenet16.TRAIN[0]).is_file(),
        "svhn": any((place / name).is_file() for name in svhn.FILES.values()),
    }
    found = [source for source, there in signs.items() if there]
    if len(found) > 1:
        raise DataError(f"{place}: holds {' and '.join(found)}.", f"Say which one: source {' or '.join(found)}.")
    return found[0] if found else "folder"


def _arrays(path: str, source: str) -> ImageData:
    if source == "digits":
        return digits.load()
    if source == "svhn":
        return svhn.load(path)
    if source == imagenet16.NAME:
        return imagenet16.load(path)
    return npz.load(path) if source == "npz" else cifar.load(path, source)


def _from_arrays(data: ImageData) -> PictureData:
    def pictures(images: ImageSet) -> Pictures:
        return Pictures(images.name, images.images, images.labels, images.classes)

    train = pictures(data.train)  # a LabelError where there are no labels; with labels there is a test part
    return PictureData(train, pictures(data.test or data.train))


def _from_folder(path: str, validation: bool) -> PictureData:
    listing = folder.listed(path, validation)
    root, parts = listing.root, listing.parts
    if "test" not in parts and parts["train"].labels is not None:
        raise DataError(
            f"{root}: has no test part, and of {len(parts['train'].files)} images none can be held out: every class has one.",
            "Add images of each class, or a folder test.",
        )
    if any(part.labels is None for part in parts.values()):
        raise LabelError(
            f"{root}: holds {len(parts['train'].files):,} images without class folders; retraining needs labels.",
            LAYOUTS,
        )
    if len(parts["train"].classes) < 2:
        only = parts["train"].classes[0]
        raise DataError(
            f"{root}: holds one folder of images only, {only}; retraining needs two classes.",
            f"If it is the data set, give its path. {LAYOUTS}",
        )
    headers = measured(root, {name: part.files for name, part in parts.items()})

    def pictures(name: str) -> Pictures:
        part, (kept, lengths, sizes) = parts[name], headers[name]
        assert part.labels is not None
        names = np.array([os.fsencode(os.path.relpath(part.files[i], root)) for i in kept], dtype=np.bytes_)
        files = ImageFiles(str(root.absolute()), names, lengths, sizes)
        return Pictures(f"{root.absolute().name}/{name}", files, torch.from_numpy(part.labels[kept]), part.classes)

    report = listing.report({name: kept for name, (kept, _, _) in headers.items()})
    return PictureData(pictures("train"), pictures("test"), pictures("validation") if validation else None, report)


def _split(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """Those that train, and the ``share`` of them that is held out; at least one of each, both in their order."""
    order = generator(seed, "validation").permutation(len(pictures))
    count = max(1, round(share * len(pictures)))
    if count >= len(pictures):
        raise DataError(
            f"{pictures.name}: of {len(pictures)} images none is left to train on.", "Lower data.validation."
        )
    kept, held_out = keep_classes(np.sort(order[count:]), np.sort(order[:count]), pictures.labels.numpy())
    return pictures.subset(kept), pictures.subset(held_out).named(f"{pictures.name}, held out")


def _limited(pictures: Pictures, limit: int | None, seed: int, purpose: str) -> Pictures:
    if limit is None or limit >= len(pictures):
        return pictures
    return pictures.subset(np.sort(generator(seed, purpose).permutation(len(pictures))[:limit]))
