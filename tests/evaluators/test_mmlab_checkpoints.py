"""Checkpoints of transfers that are damaged, of another schema, or half written; the curve in them. Without mmengine."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nni_plugins.evaluators.errors import CheckpointError
from nni_plugins.evaluators.files import writing
from nni_plugins.evaluators.locks import FolderLock
from nni_plugins.evaluators.mmlab.checkpoints import newest, seal, sweep
from nni_plugins.evaluators.mmlab.watch import Curve, rows_in


def sealed(folder: Path, *numbers: int, kind: str = "epoch") -> None:
    for number in numbers:
        (folder / f"{kind}_{number}.pth").write_bytes(bytes([number]) * 1000)
        seal(folder / f"{kind}_{number}.pth")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def flip(path: Path) -> None:
    path.write_bytes(b"\xff" + path.read_bytes()[1:])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_manifest(path: Path) -> None:
    path.with_suffix(".json").write_text("{")


def list_manifest(path: Path) -> None:
    path.with_suffix(".json").write_text("[]")


@pytest.mark.parametrize("damage", [truncate, flip, empty, Path.unlink, damage_manifest, list_manifest])
def test_a_damaged_newest_falls_back(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    sealed(tmp_path, 8, 9, 10)
    assert newest(tmp_path) == tmp_path / "epoch_10.pth" and not caplog.records, "numbers, not letters, are compared"
    damage(tmp_path / "epoch_10.pth")
    with caplog.at_level(logging.WARNING):
        assert newest(tmp_path) == tmp_path / "epoch_9.pth"
    assert "continuing from epoch_9.pth, 1 epochs are repeated" in caplog.text and "epoch_10" in caplog.text


def test_all_damaged(tmp_path: Path) -> None:
    sealed(tmp_path, 1, 2)
    truncate(tmp_path / "epoch_1.pth")
    flip(tmp_path / "epoch_2.pth")
    with pytest.raises(
        CheckpointError, match=r"no intact checkpoint: .*epoch_2\.pth is damaged[\s\S]*Delete .* to start over"
    ):
        newest(tmp_path)


def test_a_newer_schema_is_not_passed_over(tmp_path: Path) -> None:
    sealed(tmp_path, 1, 2)
    manifest = tmp_path / "epoch_2.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": 2}))
    with pytest.raises(CheckpointError, match=r"has schema 2; this version reads up to 1\.[\s\S]*Upgrade"):
        newest(tmp_path)


def test_a_write_that_a_kill_cut_short_never_was(tmp_path: Path) -> None:
    sealed(tmp_path, 3)
    (tmp_path / "epoch_4.pth").write_bytes(b"half")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_4.pth"))
    (tmp_path / ".epoch_4.json.77.tmp").write_text("{")
    assert newest(tmp_path) == tmp_path / "epoch_3.pth"
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"epoch_3.pth", "epoch_3.json", "last_checkpoint"}


def test_what_mmengine_deleted_is_forgotten(tmp_path: Path) -> None:
    sealed(tmp_path, 1, 2)
    (tmp_path / "epoch_1.pth").unlink()
    sealed(tmp_path, 3)
    assert not (tmp_path / "epoch_1.json").exists() and newest(tmp_path) == tmp_path / "epoch_3.pth"


def test_a_folder_that_mmengine_alone_has_written(tmp_path: Path) -> None:
    assert newest(tmp_path) is None and newest(tmp_path / "absent") is None
    (tmp_path / "iter_9.pth").touch()
    assert newest(tmp_path) is None, "nothing says that it is whole"
    for said in ("iter_9.pth", f"{tmp_path}/iter_9.pth\n", "/moved/elsewhere/iter_9.pth"):
        (tmp_path / "last_checkpoint").write_text(said)
        assert newest(tmp_path) == tmp_path / "iter_9.pth"
    for said in ("", ".", "../iter_9.txt", "iter_8.pth", "\0"):
        (tmp_path / "last_checkpoint").write_text(said)
        assert newest(tmp_path) is None
    sweep(tmp_path)
    assert (tmp_path / "iter_9.pth").exists()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the disk is read-only")]
)
def test_full_and_read_only_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    fired = []

    def fsync(descriptor: int) -> None:
        fired.append(descriptor)
        raise OSError(number, os.strerror(number))

    sealed(tmp_path, 1)
    (tmp_path / "epoch_2.pth").write_bytes(b"x")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match=rf"cannot write .*epoch_2\.pth: {words}"):
        seal(tmp_path / "epoch_2.pth")
    assert fired and newest(tmp_path) == tmp_path / "epoch_1.pth"
    with pytest.raises(CheckpointError, match=rf"cannot write {tmp_path}: {words}"), writing(tmp_path):
        raise OSError(number, os.strerror(number))
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path / "absent").read_bytes()


def test_one_process_a_folder(tmp_path: Path) -> None:
    with (
        FolderLock(tmp_path),
        pytest.raises(CheckpointError, match="is in use by another process"),
        FolderLock(tmp_path),
    ):
        pass
    with FolderLock(tmp_path):
        pass


def row(evaluation: int, iteration: int, loss: float) -> dict[str, float]:
    return {"evaluation": evaluation, "iteration": iteration, "loss": loss}


def test_the_curve_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """Losses before the checkpoint, and rows since, are those of the run that was stopped."""
    curve = Curve(tmp_path / "metrics.jsonl")
    curve.losses = [1.0, 2.0]
    block = curve.described()
    again = Curve(curve.file)
    again.take_up(json.loads(json.dumps(block)), 2)
    again.losses.append(6.0)
    assert again.evaluated({"iteration": 3}, {}) == row(1, 3, 3.0)
    block, written = again.described(), curve.file.read_text()
    again.losses = [5.0]
    assert again.evaluated({"iteration": 4}, {}) == row(2, 4, 5.0)
    curve.file.write_text(f'{curve.file.read_text()}\n[1]\n{{"evaluation": 3, "iter')
    assert [one["iteration"] for one in rows_in(curve.file)] == [3, 4]
    last = Curve(curve.file)
    last.take_up(block, 3)
    assert last.rows == [row(1, 3, 3.0)], "what came after the checkpoint is measured again"
    last.write()
    assert curve.file.read_text() == written


def test_the_evaluation_of_a_checkpoint_is_not_repeated(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "metrics.jsonl")
    curve.losses = [4.0]
    block = curve.described()
    curve.evaluated({"iteration": 1}, {})
    again = Curve(curve.file)
    again.take_up(block, 1)
    assert again.rows == [row(1, 1, 4.0)] and again.losses == []


def test_a_checkpoint_of_mmengine_alone_knows_no_losses(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "metrics.jsonl")
    curve.take_up(None, 7)
    curve.losses.append(1.0)
    assert curve.evaluated({"iteration": 8}, {}) == {"evaluation": 1, "iteration": 8}, "half a mean is none"
    curve.losses.append(1.0)
    assert curve.evaluated({"iteration": 9}, {}) == row(2, 9, 1.0)
