"""Corpora, sequences side by side, and pieces, on hand-made files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.errors import ConfigError, DataError
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.text.corpus import Corpus, read_corpus
from nni_plugins.evaluators.text.settings import LanguageModelSettings, LanguageSearchSettings, TextSettings
from nni_plugins.evaluators.text.streams import batchify, drawn_pieces, even_pieces, read_piece


def write(folder: Path, **texts: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"ptb.{name}.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def corpus(folder: Path, texts: dict[str, str | bytes], **settings: Any) -> Corpus:
    return read_corpus(TextSettings(path=str(write(folder, **texts)), **settings))


PLAIN: dict[str, str | bytes] = {"train": " the cat sat \n the mat\n", "valid": "the mat sat\n", "test": "cat\n\n"}


def said(c: Corpus, part: str) -> str:
    return " ".join(c.words[n] for n in getattr(c, part))


def test_three_files(tmp_path: Path) -> None:
    c = corpus(tmp_path / "penn", PLAIN)
    assert c.name == "penn" and c.words == ("the", "cat", "sat", "<eos>", "mat")
    assert c.train.tolist() == [0, 1, 2, 3, 0, 4, 3] and c.train.dtype == np.int64
    assert c.valid.tolist() == [0, 4, 2, 3] and c.test.tolist() == [1, 3, 3]  # an empty line is an <eos>
    by_prefix = read_corpus(TextSettings(path=str(tmp_path / "penn" / "ptb.")))
    assert by_prefix.name == "ptb." and np.array_equal(by_prefix.train, c.train)
    assert c.identity() == corpus(tmp_path / "again" / "penn", PLAIN).identity()
    assert c.identity() != corpus(tmp_path / "other" / "penn", {**PLAIN, "test": "mat\n\n"}).identity()
    assert c.unknown_share("train") == 0


def test_windows_line_ends_marks_and_separators_within_a_line(tmp_path: Path) -> None:
    c = corpus(tmp_path, {**PLAIN, "train": "\ufeffthe cat\r\nsat\u2028mat"})
    assert said(c, "train") == "the cat <eos> sat mat <eos>"


def test_named_files_and_a_held_out_end(tmp_path: Path) -> None:
    folder = write(tmp_path, valid="a b\nb a\na a\nb b\n", test="b\n")
    c = read_corpus(TextSettings(path=str(folder), train_file="ptb.valid.txt", hold_out=0.5))
    assert (
        said(c, "train") == "a b <eos> b a <eos>"
        and said(c, "valid") == "a a <eos> b b <eos>"
        and said(c, "test") == "b <eos>"
    )
    with pytest.raises(
        DataError, match=r"the texts must be different files, but are train: ptb.valid.txt, valid: ptb.valid.txt"
    ):
        read_corpus(TextSettings(path=str(folder), train_file="ptb.valid.txt"))
    with pytest.raises(DataError, match=r"hold_out=0.99 leaves none of its 4 lines"):
        read_corpus(TextSettings(path=str(folder), train_file="ptb.valid.txt", hold_out=0.99))
    with pytest.raises(DataError, match=r"train_file: there is no file .*nothing.txt"):
        read_corpus(TextSettings(path=str(folder), train_file="nothing.txt"))
    with pytest.raises(ConfigError, match="give hold_out or valid_file"):
        read(TextSettings, {"path": str(folder), "valid_file": "x", "hold_out": 0.1})


def test_unknown_words(tmp_path: Path) -> None:
    texts: dict[str, str | bytes] = {**PLAIN, "valid": "the cat\nthe dog\n"}
    with pytest.raises(
        DataError,
        match=r"ptb.valid.txt, line 2: 'dog' is not in the training text ptb.train.txt, which has no <unk> either",
    ):
        corpus(tmp_path, texts)
    mapped = corpus(tmp_path, texts, unknown="map")
    assert (
        mapped.words[-1] == "<unk>"
        and said(mapped, "valid") == "the cat <eos> the <unk> <eos>"
        and mapped.unknown_share("valid") == 1 / 6
    )
    inside = corpus(tmp_path, {**texts, "train": "the <unk> cat sat mat"})
    assert said(inside, "valid") == "the cat <eos> the <unk> <eos>"
    with pytest.raises(DataError, match="line 4: 'e'"):  # lines of a held-out end keep their numbers
        corpus(tmp_path / "held", {"train": "a\nb\na\ne\n", "test": "a"}, hold_out=0.25)


def test_a_limited_vocabulary_and_limited_texts(tmp_path: Path) -> None:
    texts: dict[str, str | bytes] = {"train": "a b c b c c\nd d a\n", "valid": "a d c e\n", "test": "b\n"}
    c = corpus(
        tmp_path, texts, max_words=4
    )  # c three times, then a, b, d twice each: the earliest of these, and <eos>, <unk>
    assert c.words == ("a", "c", "<eos>", "<unk>")
    assert (
        said(c, "train") == "a <unk> c <unk> c c <eos> <unk> <unk> a <eos>"
        and said(c, "valid") == "a <unk> c <unk> <eos>"
    )
    short = corpus(tmp_path, texts, limit_tokens=4, limit_evaluation_tokens=3, unknown="map")
    assert (
        said(short, "train") == "a b c b" and said(short, "valid") == "a <unk> c" and said(short, "test") == "b <unk>"
    )


def test_splitting(tmp_path: Path) -> None:
    c = corpus(
        tmp_path,
        {"train": "“Well, don’t--Sixty-six <unk> I'm!” said_he\n", "valid": "well\n", "test": "!\n"},
        tokens="split",
    )
    assert said(c, "train") == "“ well , don’t - - sixty-six <unk> i'm ! ” said _ he <eos>"


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        ({**PLAIN, "train": b"the\0cat"}, {}, r"ptb.train.txt is no text: byte 3 is zero"),
        ({**PLAIN, "valid": b"caf\xe9 noir"}, {}, r"ptb.valid.txt is no text in UTF-8: byte 3 is 0xe9"),
        ({**PLAIN, "test": " \n\n"}, {}, r"ptb.test.txt is empty"),
        ({"train": "a", "test": "a"}, {}, r"(?s)no valid text: there is no file .*/\*valid\*.txt.*hold_out"),
        ({**PLAIN, "train.old": "a"}, {}, r"2 files match .*/\*train\*.txt: ptb.train.old.txt, ptb.train.txt"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, texts: dict[str, str | bytes], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        corpus(tmp_path, texts, **settings)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        read_corpus(TextSettings(path=str(tmp_path / "a" / "b")))


def test_batchify_and_pieces_by_hand() -> None:
    stream = batchify(np.arange(11), 2, "eleven")
    assert stream.tolist() == [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]] and stream.dtype == torch.int64
    assert even_pieces(5, 2, single=True) == [(0, 2), (2, 2)] and even_pieces(4, 2, single=True) == [(0, 2), (2, 1)]
    assert even_pieces(4, 2, single=False) == [(0, 2)] and even_pieces(5, 3, single=False) == [(0, 3)]
    assert even_pieces(5, 3, single=True) == [(0, 3), (3, 1)]
    x, y = read_piece(stream, (2, 2))
    assert x.tolist() == [[2, 7], [3, 8]] and y.tolist() == [[3, 8], [4, 9]]
    with pytest.raises(
        ConfigError,
        match=r"eleven: 11 words in 4 sequences are 2 steps each, but 3 are needed.\nUse at most 3 sequences",
    ):
        batchify(np.arange(11), 4, "eleven")


def test_drawn_lengths() -> None:
    settings = LanguageModelSettings()
    pieces = drawn_pieces(200_000, settings, generator(3, "sequence lengths", 0))
    assert pieces == drawn_pieces(200_000, settings, generator(3, "sequence lengths", 0))
    assert pieces != drawn_pieces(200_000, settings, generator(3, "sequence lengths", 1))
    firsts, lengths = np.array(pieces).T
    assert firsts[0] == 0 and np.array_equal(firsts[1:], np.cumsum(lengths)[:-1])  # without gaps
    assert firsts[-1] + lengths[-1] in (200_000 - 1, 200_000 - 2) and lengths[-1] >= 2
    assert lengths[:-1].min() >= 5 and lengths.max() <= 55
    # int() rounds down, so the mean is half a word below 0.95 * 35 + 0.05 * 17.5
    assert abs(lengths[:-1].mean() - (34.125 - 0.5)) < 0.25 and abs(np.mean(lengths[:-1] < 23) - 0.05) < 0.02
    search = drawn_pieces(20_000, LanguageSearchSettings(), generator(3, "sequence lengths", 0))
    assert {length for _, length in search[:-1]} == {35, 17}
    extreme = drawn_pieces(
        50_000, LanguageModelSettings(length_deviation=60, shortest=7), generator(0, "sequence lengths", 0)
    )
    assert {min(length for _, length in extreme[:-1]), max(length for _, length in extreme)} == {7, 55}


def test_settings_that_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match="warmup_epochs < epochs must hold"):
        read(LanguageSearchSettings, {"epochs": 3, "warmup_epochs": 3})
    with pytest.raises(ConfigError, match="dropuot: no such key; did you mean 'dropout'"):
        read(LanguageModelSettings, {"dropuot": 0.1})
