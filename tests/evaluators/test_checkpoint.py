"""Checkpoints: what is written, what is kept, and everything that can go wrong with them."""

from __future__ import annotations

import builtins
import errno
import hashlib
import json
import logging
import os
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from nni_plugins.evaluators import files, locks
from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged
from nni_plugins.evaluators.training import checkpoint
from nni_plugins.evaluators.training.checkpoint import CheckpointStore, load_weights

CONFIG = {"seed": 0, "settings": {"epochs": 3, "learning_rate": 0.1}}


def state(value: float) -> dict[str, Any]:
    return {"weight": torch.full((50,), value), "step": int(value)}


@contextmanager
def opened(folder: Path, config: dict[str, Any] = CONFIG, initial: float = -1) -> Iterator[CheckpointStore]:
    with CheckpointStore(folder, config) as store:
        store.keep_initial(state(initial))
        yield store


def saved(folder: Path, *steps: int) -> Path:
    """A folder with W0 and the checkpoints of ``steps``."""
    with opened(folder) as store:
        for step in steps:
            store.save(step, state(step))
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"lock", "run.json", "initial.pt", "initial.json"}


def step_names(*steps: int) -> set[str]:
    return {f"step-{step:010d}{suffix}" for step in steps for suffix in (".pt", ".json")}


def newest(folder: Path, suffix: str = ".pt") -> Path:
    return max(folder.glob(f"step-*{suffix}"))


def loaded(folder: Path) -> tuple[int, dict[str, Any]] | None:
    with opened(folder) as store:
        return store.load()


def change_manifest(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# What is written and kept


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 10)
    assert names(tmp_path) == step_names(3, 10)
    found = loaded(tmp_path)
    assert (
        found is not None
        and found[0] == 10
        and torch.equal(found[1]["weight"], state(10)["weight"])
        and found[1]["step"] == 10
    )


def test_a_new_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert loaded(tmp_path / "a" / "b") is None


def test_manifest_describes_the_file(tmp_path: Path) -> None:
    saved(tmp_path, 4)
    manifest, content = json.loads(newest(tmp_path, ".json").read_text()), newest(tmp_path).read_bytes()
    assert manifest["schema"] == 1 and manifest["step"] == 4 and manifest["bytes"] == len(content)
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["initial_sha256"] == hashlib.sha256((tmp_path / "initial.pt").read_bytes()).hexdigest()


def test_initial_weights_are_written_once(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    before = (
        [(tmp_path / name).stat() for name in ("initial.pt", "initial.json")],
        (tmp_path / "initial.pt").read_bytes(),
    )
    with CheckpointStore(tmp_path, CONFIG) as store:
        sha = store.initial_sha256
        assert torch.equal(store.keep_initial(state(99))["weight"], state(-1)["weight"])
        store.save(2, state(2))
        assert store.initial_sha256 == sha == hashlib.sha256(before[1]).hexdigest()
    after = (
        [(tmp_path / name).stat() for name in ("initial.pt", "initial.json")],
        (tmp_path / "initial.pt").read_bytes(),
    )
    assert [(s.st_ino, s.st_mtime_ns) for s in before[0]] == [(s.st_ino, s.st_mtime_ns) for s in after[0]] and before[
        1
    ] == after[1]


def test_initial_weights_are_not_made_up_for_old_checkpoints(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "initial.json").unlink()
    before = (tmp_path / "initial.pt").read_bytes()
    with (
        pytest.raises(CheckpointError, match=r"initial.json is missing, but checkpoints were measured from it"),
        opened(tmp_path, initial=5),
    ):
        pass
    assert (tmp_path / "initial.pt").read_bytes() == before


def test_damaged_initial_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "initial.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"initial.pt is damaged \(0 of [\d,]+ bytes\)"), opened(tmp_path):
        pass


# Damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nest(path: Path) -> None:
    path.write_text("[" * 100_000)


def leave_out_the_origin(path: Path) -> None:
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "initial_sha256"}))


@pytest.mark.parametrize(
    ("damage", "suffix"),
    [
        (truncate, ".pt"),
        (flip_a_bit, ".pt"),
        (empty, ".pt"),
        (Path.unlink, ".pt"),
        (empty, ".json"),
        (nest, ".json"),
        (leave_out_the_origin, ".json"),
    ],
)
def test_a_damaged_newest_one_falls_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], suffix: str
) -> None:
    victim = newest(saved(tmp_path, 5, 12), suffix)
    damage(victim)
    with caplog.at_level(logging.WARNING):
        found = loaded(tmp_path)
    assert found is not None and found[0] == 5 and torch.equal(found[1]["weight"], state(5)["weight"])
    assert victim.stem in caplog.text and "continuing from step 5, 7 steps are repeated" in caplog.text


def test_intact_checkpoints_log_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path, 5, 12)
    with caplog.at_level(logging.WARNING):
        loaded(tmp_path)
    assert not caplog.text


def test_a_damaged_one_does_not_count_as_kept(tmp_path: Path) -> None:
    flip_a_bit(newest(saved(tmp_path, 5, 12)))
    with opened(tmp_path) as store:
        assert store.load() is not None
        store.save(7, state(7))
    assert names(tmp_path) == step_names(5, 7)


def test_all_damaged(tmp_path: Path) -> None:
    for path in saved(tmp_path, 5, 12).glob("step-*.pt"):
        truncate(path)
    with pytest.raises(
        CheckpointError,
        match=r"no intact checkpoint: .*step-0000000012.pt is damaged.*step-0000000005.pt is damaged[\s\S]*Delete",
    ):
        loaded(tmp_path)


def test_other_initial_weights_are_refused(tmp_path: Path) -> None:
    foreign = newest(saved(tmp_path / "foreign", 12), ".json").read_text()
    with opened(tmp_path / "ours", initial=3) as store:
        store.save(12, state(12))
    newest(tmp_path / "ours", ".json").write_text(foreign)
    newest(tmp_path / "ours").write_bytes(newest(tmp_path / "foreign").read_bytes())
    with pytest.raises(CheckpointError, match="step-0000000012 belongs to other initial weights"):
        loaded(tmp_path / "ours")


def test_a_newer_schema_is_no_reason_to_fall_back(tmp_path: Path) -> None:
    change_manifest(newest(saved(tmp_path, 5, 12), ".json"), schema=2)
    with pytest.raises(
        CheckpointError, match=r"step-0000000012.json has schema 2; this version reads up to 1[\s\S]*Upgrade"
    ):
        loaded(tmp_path)
    change_manifest(tmp_path / "initial.json", schema=3)
    with pytest.raises(CheckpointError, match=r"initial.json has schema 3"):
        loaded(tmp_path)


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    foreign = ["step-mine.json", "notes.txt", "result.json"]
    for name in foreign:
        (tmp_path / name).write_text("x")
    assert loaded(tmp_path) is not None
    assert names(tmp_path) == step_names(1) | set(foreign)


# Hostile and broken weights


class Payload:
    """Unpickling it touches a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_hostile_checkpoint_is_refused(tmp_path: Path, form: str) -> None:
    marker, path = tmp_path / "executed", newest(saved(tmp_path / "run", 1))
    if form == "pickle":
        path.write_bytes(pickle.dumps({"weight": Payload(marker)}))
        pickle.loads(path.read_bytes())
    else:
        torch.save({"weight": Payload(marker)}, path)
        torch.load(path, weights_only=False)
    assert marker.exists(), "the payload works"
    marker.unlink()
    content = path.read_bytes()
    change_manifest(path.with_suffix(".json"), sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    with pytest.raises(CheckpointError, match=r"refused, it is not a file of plain weights"):
        loaded(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"offered.pt: refused[\s\S]*Only files of weights are loaded"):
        load_weights(content, "offered.pt")
    assert not marker.exists()


def torch_bytes(value: Any, path: Path) -> bytes:
    torch.save(value, path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_load_weights_refuses_garbage(tmp_path: Path) -> None:
    rng = random.Random(0)
    good = torch_bytes({"a": torch.arange(20.0), "b": {"c": torch.ones(3)}}, tmp_path / "good")
    assert torch.equal(load_weights(good, "good")["a"], torch.arange(20.0))
    plain = pickle.dumps({"a": [1, 2, {"x": (1, 2)}]}, protocol=2)
    garbage = [
        b"",
        b"\0",
        b"PK\x03\x04",
        b"not a checkpoint",
        plain[:-1],
        *(rng.randbytes(rng.randrange(200)) for _ in range(100)),
    ]
    garbage += [good[:n] for n in range(0, len(good), 41)]
    for content in garbage:
        with pytest.raises(CheckpointError, match=r"^f.pt: refused"):
            load_weights(content, "f.pt")
    for _ in range(300):  # changed bytes may do no harm, but never raise anything else
        for changed in map(bytearray, (good, plain)):
            for _ in range(rng.randint(1, 6)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            try:
                load_weights(bytes(changed), "f.pt")
            except CheckpointError as error:
                assert "refused" in error.problem
    with pytest.raises(CheckpointError, match="it holds a list instead of a dictionary"):
        load_weights(torch_bytes([torch.ones(2)], tmp_path / "list"), "f.pt")


# Another configuration, another process


def test_a_changed_configuration_is_refused_with_its_differences(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    other = {"settings": {"epochs": 5, "learning_rate": 0.1}, "objective": "x", "seed": 0}
    with (
        pytest.raises(
            ConfigChanged, match=r"another configuration: objective: None -> 'x'; settings.epochs: 3 -> 5\.\n"
        ),
        opened(tmp_path, other),
    ):
        pass
    assert loaded(tmp_path) is not None, "the lock is free again and nothing is lost"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "[" * 100_000])
def test_a_damaged_configuration(tmp_path: Path, content: str) -> None:
    (saved(tmp_path, 1) / "run.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"run.json is damaged"), opened(tmp_path):
        pass


def test_one_store_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path):
        with (
            pytest.raises(CheckpointError, match=r"in use by another process[\s\S]*choose another folder"),
            opened(tmp_path),
        ):
            pass
        with opened(tmp_path / "other"):
            pass
    with pytest.raises(KeyError), opened(tmp_path):
        raise KeyError
    with opened(tmp_path):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(CheckpointError, match=r"cannot lock .*: No locks available[\s\S]*local disk"), opened(tmp_path):
        pass


# Full and read-only disks, crashes


def fail_at_fsync(patch: pytest.MonkeyPatch, fired: list[str]) -> None:
    def fsync(descriptor: int) -> None:
        fired.append("fsync")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "fsync", fsync)


def fail_at_write(patch: pytest.MonkeyPatch, fired: list[str]) -> None:
    def open_full(*arguments: Any) -> Any:
        file = builtins.open(*arguments)

        class Full:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, content: bytes) -> None:
                fired.append("write")
                file.write(content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return Full()

    patch.setattr(files, "open", open_full, raising=False)


def fail_at_open(patch: pytest.MonkeyPatch, fired: list[str]) -> None:
    def open_read_only(*arguments: Any) -> Any:
        fired.append("open")
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    patch.setattr(files, "open", open_read_only, raising=False)


@pytest.mark.parametrize(
    ("fail", "message"),
    [(fail_at_fsync, "the disk is full"), (fail_at_write, "the disk is full"), (fail_at_open, "the disk is read-only")],
)
def test_a_full_or_read_only_disk_leaves_the_old_checkpoints(
    tmp_path: Path, fail: Callable[..., None], message: str
) -> None:
    saved(tmp_path, 5, 12)
    fired: list[str] = []
    with opened(tmp_path) as store, pytest.MonkeyPatch.context() as patch:
        fail(patch, fired)
        with pytest.raises(
            CheckpointError, match=rf"cannot write .*step-0000000020.pt: {message}[\s\S]*run the same command again"
        ):
            store.save(20, state(20))
    assert fired and names(tmp_path) == step_names(5, 12)
    found = loaded(tmp_path)
    assert found is not None and found[0] == 12


def test_a_disk_that_fills_up_between_weights_and_manifest(tmp_path: Path) -> None:
    saved(tmp_path, 5, 12)
    with opened(tmp_path) as store, pytest.MonkeyPatch.context() as patch:

        def write_json(path: Path, value: Any) -> None:
            raise CheckpointError(f"cannot write {path}: the disk is full.")

        patch.setattr(checkpoint, "write_json", write_json)
        with pytest.raises(CheckpointError, match=r"step-0000000020\.json"):
            store.save(20, state(20))
    assert names(tmp_path) == step_names(5, 12) | {"step-0000000020.pt"}, "as a crash at this instant leaves it"
    found = loaded(tmp_path)
    assert found is not None and found[0] == 12
    assert names(tmp_path) == step_names(5, 12), "the next run swept up"


@pytest.mark.parametrize("function", ["mkdir", "open"])
def test_a_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    if function == "mkdir":
        monkeypatch.setattr(Path, "mkdir", refuse)
    else:
        monkeypatch.setattr(locks, "open", refuse, raising=False)
    with (
        pytest.raises(
            CheckpointError, match=r"cannot use .*: Read-only file system[\s\S]*Choose a folder that can be written"
        ),
        opened(tmp_path / "x"),
    ):
        pass


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot use"), opened(tmp_path / "file"):
        pass


def test_temporary_files_of_a_killed_process_are_ignored_and_removed(tmp_path: Path) -> None:
    saved(tmp_path, 5, 12)
    for name in (".step-0000000013.pt.77.tmp", ".step-0000000013.json.77.tmp", ".run.json.77.tmp"):
        (tmp_path / name).write_bytes(b"half")
    found = loaded(tmp_path)
    assert found is not None and found[0] == 12
    assert names(tmp_path) == step_names(5, 12)
