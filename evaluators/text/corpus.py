"""Word-level text in three files, as Penn Treebank is distributed: every line is a sentence and ends with ``<eos>``.

The vocabulary is that of the training text alone. (DARTS' and AWD-LSTM's readers also enter words that only the
validation or test text has, whose vectors are never trained; on Penn Treebank there are none.) Free of torch.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .settings import TextSettings

Tokens = npt.NDArray[np.int64]
"""Numbers of words: (n,)."""

END, UNKNOWN = "<eos>", "<unk>"
PARTS = ("train", "valid", "test")

_SPLIT = re.compile(r"<unk>|[^\W_]+(?:['’-][^\W_]+)*|\S")
"""``<unk>``, runs of letters and digits with apostrophes and hyphens inside, or one character of any other kind."""


@dataclass(frozen=True)
class Corpus:
    """``words``: the vocabulary, by number; the three texts as numbers of words, sentences joined by ``<eos>``."""

    name: str
    words: tuple[str, ...]
    train: Tokens
    valid: Tokens
    test: Tokens

    def identity(self) -> dict[str, object]:
        """What tells this text from others when a training is resumed: name, sizes and checksums."""
        checksums = [zlib.crc32(np.ascontiguousarray(getattr(self, part)).data) for part in PARTS]
        vocabulary = zlib.crc32("\n".join(self.words).encode())
        return {
            "name": self.name,
            "tokens": [len(getattr(self, part)) for part in PARTS],
            "crc32": [*checksums, vocabulary],
        }

    def unknown_share(self, part: str) -> float:
        """Share of ``<unk>`` among the words of ``part``: what a low perplexity owes to them should be known."""
        if UNKNOWN not in self.words:
            return 0.0
        return float(np.mean(getattr(self, part) == self.words.index(UNKNOWN)))


@dataclass(frozen=True)
class _Part:
    """Lines of a file, the first of which has the number ``first``; at most ``limit`` words of them."""

    file: Path
    lines: Sequence[str]
    first: int
    limit: int | None
    tokens: str

    def words(self) -> Iterator[tuple[int, str]]:
        """(number of the line, word), each line with its ``<eos>``, as far as the limit."""
        count = 0
        for number, line in enumerate(self.lines, start=self.first):
            words = line.split() if self.tokens == "words" else _SPLIT.findall(line.lower())
            for word in (*words, END):
                if count == self.limit:
                    return
                count += 1
                yield number, word


def read_corpus(settings: TextSettings) -> Corpus:
    """Read the three texts.

    Raises:
        DataError: a file is missing, ambiguous, empty or no text; or a word is unknown and there is nothing to map it
            to.
    """
    folder, files = text_files(settings)
    name = folder.name if Path(settings.path).is_dir() else Path(settings.path).name
    limits = {
        "train": settings.limit_tokens,
        "valid": settings.limit_evaluation_tokens,
        "test": settings.limit_evaluation_tokens,
    }
    lines = {part: _lines(file) for part, file in files.items()}
    firsts = dict.fromkeys(PARTS, 1)
    if settings.hold_out is not None:
        kept = len(lines["train"]) - max(1, round(settings.hold_out * len(lines["train"])))
        if not kept:
            raise DataError(
                f"{files['train']}: hold_out={settings.hold_out} leaves none of its {len(lines['train'])} lines for training."
            )
        files["valid"], firsts["valid"] = files["train"], kept + 1
        lines |= {"valid": lines["train"][kept:], "train": lines["train"][:kept]}
    parts = {part: _Part(files[part], lines[part], firsts[part], limits[part], settings.tokens) for part in PARTS}
    words = _vocabulary(parts["train"], settings)
    index = {word: number for number, word in enumerate(words)}
    train, valid, test = (_encode(parts[part], index, parts["train"].file) for part in PARTS)
    return Corpus(name, tuple(words), train, valid, test)


def text_files(settings: TextSettings) -> tuple[Path, dict[str, Path]]:
    """The folder, and the file of each part; with ``hold_out`` the validation text has none.

    Raises:
        DataError: one of them is missing, or it is not clear which is meant.
    """
    path = Path(settings.path).expanduser()
    folder, prefix = (path, "") if path.is_dir() else (path.parent, path.name)
    if not folder.is_dir():
        raise DataError(
            f"path: there is no folder {path}.", "Give the folder that holds the training, validation and test text."
        )
    files: dict[str, Path] = {}
    for part in PARTS:
        given = getattr(settings, f"{part}_file")
        if given is not None:
            files[part] = folder / given
            if not files[part].is_file():
                raise DataError(f"{part}_file: there is no file {files[part]}.")
        elif part != "valid" or settings.hold_out is None:
            files[part] = _only(folder, prefix, part)
    if len({file.resolve() for file in files.values()}) < len(files):
        same = ", ".join(f"{part}: {file.name}" for part, file in files.items())
        raise DataError(
            f"{folder}: the texts must be different files, but are {same}.",
            "Name three files, or set hold_out for a validation text.",
        )
    return folder, files


def _only(folder: Path, prefix: str, part: str) -> Path:
    names = sorted(
        file.name
        for file in folder.iterdir()
        if file.is_file() and file.name.startswith(prefix) and file.name.endswith(".txt")
    )
    found = [name for name in names if part in name[len(prefix) :]]
    wanted = str(folder / f"{prefix}*{part}*.txt")
    if not found:
        remedy = f"Name it with {part}_file" + (
            ", or set hold_out to take it from the training text." if part == "valid" else "."
        )
        raise DataError(f"no {part} text: there is no file {wanted}.", remedy)
    if len(found) > 1:
        raise DataError(
            f"{len(found)} files match {wanted}: {', '.join(found[:5])}.", f"Name one of them with {part}_file."
        )
    return folder / found[0]


def _lines(file: Path) -> list[str]:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from None
    if b"\0" in content:
        raise DataError(f"{file} is no text: byte {content.index(0):,} is zero.", "Give plain text in UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is no text in UTF-8: byte {error.start:,} is {content[error.start]:#04x}.", "Convert it to UTF-8."
        ) from None
    if not text.strip():
        raise DataError(f"{file} is empty.", "Give a file with at least one word.")
    lines = text.removesuffix("\n").split(
        "\n"
    )  # splitlines() would also split at characters that may stand within a sentence
    return [line.removesuffix("\r") for line in lines]


def _vocabulary(part: _Part, settings: TextSettings) -> list[str]:
    """Words in the order of their first occurrence; where there are too many, the most frequent ones, ties to the
    earlier word.
    """
    counts = Counter(word for _, word in part.words())
    limit = settings.max_words
    if limit is not None and len(counts) > limit:
        others = [word for word, _ in counts.most_common() if word not in (END, UNKNOWN)]
        kept = {END, UNKNOWN, *others[: limit - 2]}
        return [word for word in counts if word in kept] + ([] if UNKNOWN in counts else [UNKNOWN])
    return [*counts] + ([UNKNOWN] if settings.unknown == "map" and UNKNOWN not in counts else [])


def _encode(part: _Part, index: dict[str, int], train: Path) -> Tokens:
    unknown = index.get(UNKNOWN)
    numbers = []
    for line, word in part.words():
        number = index.get(word, unknown)
        if number is None:
            raise DataError(
                f"{part.file}, line {line}: {word!r} is not in the training text {train.name}, which has no {UNKNOWN} either.",
                f"Set unknown: map to read such words as {UNKNOWN}, or max_words, which makes the training text have some.",
            )
        numbers.append(number)
    tokens: Tokens = np.array(numbers, dtype=np.int64)
    return tokens
