"""The contract of training loops notices loops that are wrong; ours inherit it beside their other tests."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.data import Augmentation
from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.training import CheckpointStore, Trained, Training
from nni_plugins.evaluators.training.checkpoint import State
from nni_plugins.evaluators.training.settings import MAY_CHANGE, TrainingSettings
from nni_plugins.testing.changes import changed, leaves, with_another_value
from nni_plugins.testing.training import TrainingContract, plain, same

from .test_bilevel import settings as bilevel_settings
from .tiny import CLASSES, images, linear, settings


class ForgetsAKey(Training):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        if self.store is not None:
            self.store.config["settings"].pop("momentum")


class LosesMomentum(Training):
    def _restore_optimizer(self, state: State) -> None: ...


class LosesTheCurve(Training):
    def _restore(self, state: State) -> tuple[int, int]:
        place = super()._restore(state)
        self.history.clear()
        return place


class DrawsFromAGlobalGenerator(Training):
    def _prepared(self, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor, float | torch.Tensor]:
        x, *rest = super()._prepared(*arguments)
        return x + 0.1 * float(np.random.standard_normal()), *rest


class SeedsAGlobalGenerator(Training):
    def _begin_epoch(self, epoch: int) -> None:
        super()._begin_epoch(epoch)
        np.random.seed(epoch)


class IgnoresTheSeed(Training):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        *first, _ = arguments
        super().__init__(*first, 0, **more)


class TakesNoLock(Training):
    """Nor does it look at the configuration, or name what its memory lacks."""

    def run(self) -> Trained:
        return self._run()


class TrainsAgain(Training):
    def _save(self, epoch: int, step: int) -> None:
        if (epoch, step) != (self.epochs, 0):
            super()._save(epoch, step)


class GoesOnWithNaN(Training):
    def _check_finite(self, epoch: int, meters: torch.Tensor) -> None: ...


class SavesAtTheEndOnly(Training):
    def _due(self) -> bool:
        return False


class TakesDamagedCheckpoints(CheckpointStore):
    def _read(self, name: str) -> State:
        try:
            return super()._read(name)
        except Exception:
            return super()._read(sorted(self._names())[0])


class FallsBackInSilence(Training):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        if self.store is not None:
            self.store.__class__ = TakesDamagedCheckpoints


class Contract(TrainingContract):
    kind: ClassVar[type[Training]] = Training

    def settings(self) -> TrainingSettings:
        return settings(epochs=3)

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> Trained:
        data = images(14, augmentation=Augmentation(1, True))
        return self.kind(linear(), RandomLabels(CLASSES), data, settings, seed, folder=folder, report=report).run()


EPOCHS, WITHIN = "killed_at_the_end_of_every_epoch_and_resumed", "killed_within_epochs_again_and_again"


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (ForgetsAKey, "every_key_is_part_of_the_configuration_or_harmless"),
        (LosesMomentum, EPOCHS),
        (LosesMomentum, WITHIN),
        (LosesTheCurve, EPOCHS),
        (SavesAtTheEndOnly, EPOCHS),
        (DrawsFromAGlobalGenerator, "neither_a_folder_nor_a_global_generator_changes_a_number"),
        (SeedsAGlobalGenerator, "neither_a_folder_nor_a_global_generator_changes_a_number"),
        (IgnoresTheSeed, "another_seed_gives_other_numbers"),
        (TakesNoLock, "a_folder_in_use_is_refused"),
        (TakesNoLock, "a_changed_configuration_is_refused_with_its_difference"),
        (TakesNoLock, "memory_that_runs_out_is_named"),
        (TrainsAgain, "a_finished_training_is_not_trained_again"),
        (GoesOnWithNaN, "what_is_not_finite_stops_the_training"),
        (FallsBackInSilence, "damaged_checkpoints"),
    ],
)
def test_a_wrong_loop_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wrong: type[Training], test: str
) -> None:
    class Wrong(Contract):
        kind = wrong
        folder = tmp_path / "whole"

    test_of_it = getattr(Wrong(), f"test_{test}")
    given = {"tmp_path": tmp_path / "test", "monkeypatch": monkeypatch, "caplog": caplog}
    with pytest.raises((AssertionError, pytest.fail.Exception, torch.OutOfMemoryError)):
        test_of_it(**{name: given[name] for name in inspect.signature(test_of_it).parameters})


def test_a_key_that_is_called_harmless_and_is_not(tmp_path: Path) -> None:
    class Wrong(Contract):
        harmless = MAY_CHANGE | {"momentum"}
        folder = tmp_path

    with pytest.raises(AssertionError):
        Wrong().test_harmless_keys_change_no_number()


# -- settings that differ in one key -----------------------------------------------------------------------------------
def test_every_key_gets_another_possible_value() -> None:
    given = bilevel_settings(
        epochs=9, hessian_every=1, stability={"method": "early_stop", "window": 1, "start_epoch": 0, "delta": 1}
    )
    keys = list(leaves(given))
    assert {"epochs", "architecture_betas", "stability.factor", "accelerator"} <= set(keys) and "stability" not in keys
    for key in keys:
        other = with_another_value(given, key)
        differing = [k for k in keys if _at(other, k) != _at(given, k)]
        assert differing == [key] and type(other).model_validate(other.model_dump()) == other


def _at(value: Any, key: str) -> Any:
    for name in key.split("."):
        value = getattr(value, name)
    return value


def test_a_key_for_which_nothing_can_be_guessed() -> None:
    with pytest.raises(LookupError, match="stability is None, and no other value could be guessed"):
        with_another_value(bilevel_settings(), "stability")
    with pytest.raises(ValueError, match="epochs"):
        changed(bilevel_settings(), "epochs", 0)


def test_results_are_compared_bit_for_bit() -> None:
    one = Trained({}, {"w": torch.ones(2)}, [{"loss": 1.0}], "a")
    assert same(plain(one), plain(Trained({}, {"w": torch.ones(2)}, [{"loss": 1.0}], None)))
    for other in (
        Trained({}, {"w": torch.tensor([1.0, 1 + 1e-7])}, [{"loss": 1.0}], "a"),
        Trained({}, {"w": torch.ones(2).double()}, [{"loss": 1.0}], "a"),
        Trained({}, {"v": torch.ones(2)}, [{"loss": 1.0}], "a"),
        Trained({}, {"w": torch.ones(2)}, [{"loss": np.nextafter(1, 2)}], "a"),
    ):
        assert not same(plain(one), plain(other))
    kept = plain(one)
    one.final["w"].add_(1)
    assert torch.equal(kept["final"]["w"], torch.ones(2))
