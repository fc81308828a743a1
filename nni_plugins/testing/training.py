"""The conformance suite of training loops: one that passes it can be killed at any moment, and its folders trusted.

For a loop of your own that keeps its state in a :class:`nni_plugins.evaluators.training.CheckpointStore`, in your own
tests::

    from nni_plugins.testing import TrainingContract

    class TestMyTraining(TrainingContract):
        def settings(self) -> MySettings:
            return MySettings(epochs=3, checkpoint_seconds=0)

        def run(self, settings, seed, folder, report) -> Any:
            return MyTraining(network(), data(), settings, seed, folder=folder, report=report).run()

Choose the smallest training of at least three epochs of several steps that has everything with a state or with chance
in it, and that saves at every step: it is run about eight times.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel
from torch.overrides import TorchFunctionMode

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, TrainingError
from nni_plugins.evaluators.training.checkpoint import CheckpointStore, load_weights
from nni_plugins.evaluators.training.settings import MAY_CHANGE
from nni_plugins.spaces.errors import NNIPluginsError

from .changes import changed, leaves, with_another_value

Row = dict[str, float]
Report = Callable[[Row], None]


class Killed(BaseException):
    """Stands for whatever ends a process: nothing may catch it."""


class _Opened(BaseException):
    """The training came to the point where it opens its store."""


class _Starving(TorchFunctionMode):
    """Inside, what torch does first when :attr:`hungry` was set finds no memory."""

    hungry = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.hungry:
            self.hungry = False
            raise torch.OutOfMemoryError("the contract's allocator is out of memory")
        return function(*args, **(kwargs or {}))


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """``numbers``: all that was computed; ``rows``: reported; ``curves``: the ``metrics.jsonl`` by their places;
    ``saves``: how often a checkpoint was written.
    """

    numbers: Any
    rows: list[Row]
    curves: dict[str, str]
    saves: int


class TrainingContract:
    """Inherit, define :meth:`settings` and :meth:`run`, and let pytest collect the tests."""

    harmless: ClassVar[frozenset[str]] = MAY_CHANGE
    """Keys that a resumed run may change, for no number depends on them."""
    other_values: ClassVar[Mapping[str, Any]] = {}
    """By dotted keys: other values of settings for which none can be guessed."""
    folder: ClassVar[Path]
    """Of this class of tests: that of the undisturbed training."""
    _undisturbed: ClassVar[Undisturbed]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _own_folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("training")

    # -- what is tested ------------------------------------------------------------------------------------------------
    def settings(self) -> Any:
        """A pydantic model with ``checkpoint_seconds`` of 0."""
        raise NotImplementedError

    def run(self, settings: Any, seed: int, folder: Path | None, report: Report | None) -> Any:
        """Make everything anew and train, resuming from ``folder``; returns all that the training computes: a data
        class, a dictionary or a list of tensors, arrays, numbers and texts.
        """
        raise NotImplementedError

    def diverging(self) -> Any:
        """Settings with which the loss or the weights stop being finite."""
        settings = self.settings()
        fields = type(settings).model_fields
        given = {"learning_rate": 1e30, "gradient_clip": None}
        return settings.model_copy(update={key: value for key, value in given.items() if key in fields})

    # -- resuming ------------------------------------------------------------------------------------------------------
    def test_killed_at_the_end_of_every_epoch_and_resumed(self, tmp_path: Path) -> None:
        def kill(row: Row) -> None:
            reported.append(row)
            raise Killed

        whole, reported = self._whole(), list[Row]()
        for _ in whole.rows:
            with pytest.raises(Killed):
                self._numbers(tmp_path, report=kill)
        assert reported == whole.rows, "what was trained is trained again, or reported differently"
        self._assert_undisturbed(tmp_path)

    def test_killed_within_epochs_again_and_again(self, tmp_path: Path) -> None:
        """After a seventh of all checkpoints, and after another."""
        steps, kills = max(1, self._whole().saves // 7), 0
        while True:
            try:
                with _killed_when(lambda count, _: count == steps):
                    self._numbers(tmp_path)
                break
            except Killed:
                kills += 1
        assert kills >= 3, "save at every step: checkpoint_seconds is 0"
        self._assert_undisturbed(tmp_path)

    def test_a_finished_training_is_not_trained_again(self) -> None:
        whole, rows = self._whole(), list[Row]()
        before = {path: path.stat().st_mtime_ns for path in self.folder.rglob("*.pt")}
        assert before and same(self._numbers(self.folder, report=rows.append), whole.numbers) and not rows
        assert {path: path.stat().st_mtime_ns for path in self.folder.rglob("*.pt")} == before

    def test_damaged_checkpoints(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The one before the newest is taken where that is damaged, and none where all are."""
        half = self._whole().saves // 2
        with pytest.raises(Killed), _killed_when(lambda count, kept: count >= half and kept >= 2):
            self._numbers(tmp_path)
        newest = max(tmp_path.rglob("step-*.pt"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        newest.write_bytes(newest.read_bytes()[:-100])
        with caplog.at_level(logging.WARNING):
            assert same(self._numbers(tmp_path), self._whole().numbers)
        assert newest.stem in caplog.text and "continuing from step" in caplog.text
        for path in tmp_path.rglob("step-*.pt"):
            path.write_bytes(b"")
        with pytest.raises(CheckpointError, match="no intact checkpoint") as caught:
            self._numbers(tmp_path)
        assert caught.value.remedy

    def test_a_folder_in_use_is_refused(self, tmp_path: Path) -> None:
        def start_another(row: Row) -> None:
            with pytest.raises(CheckpointError, match="in use by another process") as caught:
                self._numbers(tmp_path)
            assert caught.value.remedy
            raise Killed

        with pytest.raises(Killed):
            self._numbers(tmp_path, report=start_another)
        self._assert_undisturbed(tmp_path)

    # -- what numbers depend on ----------------------------------------------------------------------------------------
    def test_neither_a_folder_nor_a_global_generator_changes_a_number(self) -> None:
        whole, rows = self._whole(), list[Row]()  # by now everything is imported: some modules draw from them then
        seed_generators(1)
        before = generator_states()
        assert same(self._numbers(None, report=rows.append), whole.numbers) and rows == whole.rows
        assert generator_states() == before, "a global generator was moved"

    def test_another_seed_gives_other_numbers(self) -> None:
        whole = self._whole()
        assert not same(self._numbers(None, seed=1), whole.numbers)
        try:
            assert not same(self._numbers(self.folder, seed=1), whole.numbers), "the folder is that of another seed"
        except ConfigChanged as error:
            assert "seed" in error.problem

    def test_every_key_is_part_of_the_configuration_or_harmless(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = self._configuration(self.settings(), tmp_path, monkeypatch)
        for key, other in self._variants():
            after = self._configuration(other, tmp_path, monkeypatch)
            if key in self.harmless:
                assert after == before, f"{key} is harmless, but changes the configuration"
            else:
                assert after != before, f"{key} does not change the configuration"

    def test_harmless_keys_change_no_number(self) -> None:
        settings = self.settings()
        for key, other in self._variants():
            if key in self.harmless and key != "accelerator":  # another device rounds differently
                settings = changed(settings, key, getattr(other, key))
        assert same(self._numbers(None, settings=settings), self._whole().numbers)

    def test_a_changed_configuration_is_refused_with_its_difference(self) -> None:
        whole = self._whole()
        key, other = next((key, other) for key, other in self._variants() if key not in self.harmless)
        with pytest.raises(ConfigChanged) as caught:
            self._numbers(self.folder, settings=other)
        assert f"{key}: " in caught.value.problem and " -> " in caught.value.problem and caught.value.remedy
        assert same(self._numbers(self.folder), whole.numbers), "what was refused changed the folder"

    # -- failures ------------------------------------------------------------------------------------------------------
    def test_what_is_not_finite_stops_the_training(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError) as caught:
            self._numbers(tmp_path, settings=self.diverging())
        assert caught.value.remedy
        for path in tmp_path.rglob("step-*.pt"):
            assert all(
                torch.isfinite(value).all() for value in tensors(load_weights(path.read_bytes(), path.name)["model"])
            )

    def test_memory_that_runs_out_is_named(self) -> None:
        whole = self._whole()

        def starve(row: Row) -> None:
            mode.hungry = row == whole.rows[0]

        with pytest.raises(TrainingError, match="out of memory") as caught, _Starving() as mode:
            self._numbers(None, report=starve)
        assert caught.value.remedy

    # -- helpers -------------------------------------------------------------------------------------------------------
    def _numbers(
        self, folder: Path | None, *, settings: Any = None, seed: int = 0, report: Report | None = None
    ) -> Any:
        return plain(self.run(self.settings() if settings is None else settings, seed, folder, report))

    def _whole(self) -> Undisturbed:
        """The undisturbed training, in :attr:`folder`; done once."""
        cls = type(self)
        if "_undisturbed" not in vars(cls):
            rows, saves = list[Row](), list[int]()
            with _watched_saves(lambda count, _: saves.append(count)):
                numbers = self._numbers(self.folder, report=rows.append)
            cls._undisturbed = Undisturbed(numbers, rows, curves(self.folder), len(saves))
            assert len(rows) >= 3 and json.dumps(rows)
        return cls._undisturbed

    def _assert_undisturbed(self, folder: Path) -> None:
        """A run in ``folder``, where the last process died while it wrote a row, computes the undisturbed numbers and
        leaves the undisturbed curve.
        """
        for path in folder.rglob("metrics.jsonl"):
            path.write_text(path.read_text() + '{"epoch": 2, "lo')
        assert same(self._numbers(folder), self._whole().numbers)
        assert curves(folder) == self._whole().curves

    def _variants(self) -> Iterator[tuple[str, Any]]:
        """Every key, and settings with another value of it."""
        settings: BaseModel = self.settings()
        for key in leaves(settings):
            if key in self.other_values:
                yield key, changed(settings, key, self.other_values[key])
            else:
                yield key, with_another_value(settings, key)

    def _configuration(self, settings: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """What a training with ``settings`` would be resumed by. Nothing is trained, and no process started."""
        made: list[CheckpointStore] = []
        whole = CheckpointStore.__init__

        def note(store: CheckpointStore, *arguments: Any, **more: Any) -> None:
            whole(store, *arguments, **more)
            made.append(store)

        def enter(store: CheckpointStore) -> CheckpointStore:
            raise _Opened

        with monkeypatch.context() as patch:
            patch.setattr(CheckpointStore, "__init__", note)
            patch.setattr(CheckpointStore, "__enter__", enter)
            patch.setattr(Fabric, "launch", lambda *_, **__: None)
            with suppress(_Opened, NNIPluginsError):  # such as a device that is not there
                self.run(settings, 0, folder, None)
        assert made, "the training made no CheckpointStore"
        return made[-1].config


@contextmanager
def _killed_when(due: Callable[[int, int], bool]) -> Iterator[None]:
    """Inside, the process ends when a checkpoint was written and it is ``due``, given the number of checkpoints that it
    has written and of those that are in the folder of the last one.
    """

    def kill(count: int, kept: int) -> None:
        if due(count, kept):
            raise Killed

    with _watched_saves(kill):
        yield


@contextmanager
def _watched_saves(watch: Callable[[int, int], None]) -> Iterator[None]:
    """``watch`` is called after every checkpoint, with the same numbers."""
    count, save = 0, CheckpointStore.save

    def save_and_tell(store: CheckpointStore, *arguments: Any) -> None:
        nonlocal count
        save(store, *arguments)
        count += 1
        watch(count, len([*store.folder.glob("step-*.json")]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "save", save_and_tell)
        yield


def curves(folder: Path) -> dict[str, str]:
    """Contents of each ``metrics.jsonl`` below ``folder``."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("metrics.jsonl"))}


def plain(value: Any) -> Any:
    """A copy of ``value`` that later training cannot change. Data classes become dictionaries, without the hash of a
    file, and without ``folder``.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
            if field.name not in ("initial_sha256", "folder")
        }
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    return value.copy() if isinstance(value, np.ndarray) else value


def same(a: Any, b: Any) -> bool:
    """Whether two results of :func:`plain` are equal bit for bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """All in ``value``."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors(part)


def seed_generators(seed: int) -> None:
    """The global ones of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_states() -> list[Any]:
    """Of the same."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return [random.getstate(), [kind, keys.tolist(), *rest], torch.get_rng_state().tolist()]  # type: ignore[union-attr]
