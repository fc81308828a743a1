"""The stop rule on hand-made sequences; early stopping and adaptive decay against trainings that never went the wrong
way.
"""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nni_plugins.evaluators.data import Augmentation, ImageSet
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training import bilevel as module
from nni_plugins.evaluators.training.bilevel import Bilevel, BilevelTraining
from nni_plugins.evaluators.training.loop import to_cpu
from nni_plugins.evaluators.training.settings import BilevelSettings, StabilitySettings
from nni_plugins.evaluators.training.stability import Stop, local_averages, raised, unstable

from .resume_job import hold
from .test_bilevel import Toy, lines, same, settings
from .test_resume import FORKS, step, wait
from .tiny import Interrupted, Interrupting, at, images

OFFICIAL = StabilitySettings(method="adaptive")

# The rule


def test_local_averages() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 16.0]
    assert local_averages(values, 5) == [2.0, 2.5, 3.0, 6.0]
    assert local_averages(values[:3], 5) == [2.0] and local_averages(values[:2], 5) == [] == local_averages([], 5)
    assert local_averages(values, 3) == [1.5, 2.0, 3.0, 4.0, 25 / 3]
    assert local_averages(values, 1) == values


def first_stop(values: list[float], every: int = 2, rule: StabilitySettings = OFFICIAL) -> tuple[int, Stop] | None:
    """Epoch (from 0) and decision of the first prefix that is unstable."""
    found = ((every * (n - 1), unstable(values[:n], every, rule)) for n in range(1, len(values) + 1))
    return next(((epoch, stop) for epoch, stop in found if stop is not None), None)


def test_official_numbers() -> None:
    """A step from 1 to 2 at epoch 20: the average centred at epoch c has passed 1.3 when two of its five values have,
    at c = 18 (1.4).
    """
    values = [1.0] * 10 + [2.0] * 15
    assert first_stop(values) == (22, Stop(10, pytest.approx(1.4)))
    later = [1.0] * 14 + [2.0] * 11
    assert first_stop(later) == (30, Stop(18, pytest.approx(1.4)))


def test_the_first_decision_is_in_epoch_22() -> None:
    steep = [2.0**i for i in range(25)]
    found = first_stop(steep)
    assert found is not None and found[0] == 22 and found[1].epoch == 10 and found[1].ratio == pytest.approx(16)
    assert unstable(steep[:11], 2, OFFICIAL) is None, "its stop epoch would be 8"
    assert first_stop(steep, rule=OFFICIAL.model_copy(update={"start_epoch": 0})) == (
        12,
        Stop(0, pytest.approx(16 * (31 / 5) / (7 / 3) / 4)),
    )
    found = first_stop(steep, every=1)
    assert found is not None and (found[0], found[1].epoch) == (16, 10)


@pytest.mark.parametrize(
    "values",
    [
        [0.5] * 25,
        [2.0 - 0.05 * i for i in range(25)],
        [1.06**i for i in range(25)],  # 1.06^4 = 1.26
        [1.0] * 15 + [2.4] + [1.0] * 9,  # one peak moves an average to 1.28
        [9.0] * 6 + [1.0] * 19,  # what is high only at the start
        [1.0, 50.0] * 2 + [1.0] * 21,
    ],
)
def test_sequences_that_must_not_stop(values: list[float]) -> None:
    assert first_stop(values) is None


def test_exactly_the_factor_does_not_stop() -> None:
    rule = OFFICIAL.model_copy(update={"factor": 2.0, "window": 1, "delta": 1, "start_epoch": 0})
    assert unstable([1.0, 2.0], 1, rule) is None and unstable([1.0, math.nextafter(2.0, 3.0)], 1, rule) is not None


def test_averages_that_are_not_positive_stop_nothing() -> None:
    assert (
        first_stop([0.0] * 12 + [1.0] * 13, rule=OFFICIAL.model_copy(update={"window": 1, "start_epoch": 24})) is None
    )
    assert first_stop([-1.0] * 12 + [-3.0] * 13) is None


def test_raised() -> None:
    assert [raised(w, OFFICIAL) for w in (3e-4, 3e-3, 0.03)] == [3e-3, 0.03, None], (
        "3e-4 * 10 is a little less than 3e-3"
    )
    assert [raised(w, OFFICIAL) for w in (9e-4, 9e-3, 0.1)] == [9e-3, 0.03, None], "never above the maximum"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hessian_every": 0}, r"stability needs eigenvalues; set hessian_every \(R-DARTS: 2\)"),
        ({"epochs": 23}, "stability first compares averages in epoch 23 and not in the last one, but epochs is 23"),
        (
            {"weight_decay": 0.03},
            "0 < weight_decay < stability.max_weight_decay must hold, or nothing can be raised, but got 0.03 and 0.03",
        ),
        ({"weight_decay": 0}, "0 < weight_decay"),
        ({"stability": {"method": "adaptive", "window": 4}}, "stability: window must be odd, but got 4"),
        ({"stability": {"method": "adaptative"}}, "stability.method: input should be 'early_stop' or 'adaptive'"),
        ({"stability": {}}, "stability.method: field required"),
        ({"stability": {"method": "adaptive", "faktor": 2}}, "stability.faktor: no such key; did you mean 'factor'"),
        ({"stability": {"method": "adaptive", "factor": 1}}, "stability.factor: input should be greater than 1"),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(BilevelSettings, {"hessian_every": 2, "stability": {"method": "adaptive"}, **changes})


def test_the_defaults_are_robust_darts() -> None:
    s = read(BilevelSettings, {"hessian_every": 2, "epochs": 24, "stability": {"method": "adaptive"}}).stability
    assert s is not None and (s.window, s.start_epoch, s.delta, s.factor, s.max_weight_decay, s.multiplier) == (
        5,
        10,
        4,
        1.3,
        0.03,
        10,
    )
    assert (
        s.lag(2) == 12
        and read(
            BilevelSettings, {"weight_decay": 0.1, "hessian_every": 2, "stability": {"method": "early_stop"}}
        ).weight_decay
        == 0.1
    )
    assert BilevelSettings().stability is None and BilevelSettings().hessian_every == 0


# Trainings whose eigenvalues are made up: they rise from a certain epoch on, as long as the decay is small

RULE = {"window": 3, "start_epoch": 2, "delta": 1, "max_weight_decay": 0.03}
"""An eigenvalue an epoch: what epoch e shows, from 0, is about epoch e - 2."""


class Mixing(Toy):
    """``Toy`` that says what its mixture is."""

    def numbers(self) -> tuple[dict[str, list[list[float]]], dict[str, list[float]]]:
        return {"normal": [self.alphas.softmax(0).tolist()]}, {}


class Scripted(BilevelTraining):
    """Its eigenvalue is 1, and from epoch 5 (decay 3e-4) or 8 (decay 3e-3), counted from 0, ten times as large at every
    epoch.
    """

    def _eigenvalue(self) -> float:
        epoch = len(self.history) - 1
        rises = {3e-4: 5, 3e-3: 8}.get(self.weight_decay, 99)
        return 10.0 ** max(0, epoch - rises + 1)


def scripted(
    method: str | None,
    folder: Path | None = None,
    hook: Callable[[int], None] = lambda call: None,
    kind: type[BilevelTraining] = Scripted,
    **changes: Any,
) -> BilevelTraining:
    """12 epochs of 3 iterations."""
    rule = None if method is None else {**RULE, "method": method}
    s = settings(
        **{"epochs": 12, "hessian_every": 1, "stability": rule, "weight_decay": 3e-4, "learning_rate": 0.2, **changes}
    )
    return kind(Mixing(drop=0.3), Interrupting(hook), data(), s, 0, folder=folder)


def data() -> ImageSet:
    return images(24, augmentation=Augmentation(1, True))


def state(job: BilevelTraining) -> dict[str, Any]:
    """All that training moves, copied."""
    adam = {name: to_cpu(job.adam.state[p]) for name, p in job.architecture.items()}
    momenta = {name: job.optimizer.state[p]["momentum_buffer"].clone() for name, p in job.weights.items()}
    curve = copy.deepcopy([job.history, job.genotypes, job.mixtures])
    return {"model": to_cpu(job.model.state_dict()), "adam": adam, "momenta": momenta, "curve": curve}


def states(job: BilevelTraining) -> dict[int, dict[str, Any]]:
    """Epoch (from 1) -> state at its end, filled while the training runs; of the last time where it came more than
    once.
    """
    found: dict[int, dict[str, Any]] = {}
    job.report = lambda row: found.update({int(row["epoch"]): state(job)})
    return found


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def everything(a: Bilevel, b: Bilevel) -> bool:
    return same(a, b) and a.mixtures == b.mixtures and a.rollbacks == b.rollbacks


def test_early_stopping(tmp_path: Path) -> None:
    """The first value of 10 is of epoch 5; in it LA_4 = 4 against LA_3 = 1, so that the stop epoch is 3: four epochs."""
    job = scripted("early_stop", tmp_path)
    seen = states(job)
    trained = job.run()
    assert trained.stopped_epoch == 4 and list(seen) == [1, 2, 3, 4, 5, 6]
    assert (
        equal(trained.final, seen[4]["model"])
        and trained.history == seen[4]["curve"][0]
        and list(trained.eigenvalues) == [1, 2, 3, 4]
    )
    assert len(trained.genotypes) == len(trained.mixtures) == 4 and trained.genotypes[-1] == job.model.genotype()  # type: ignore[operator]
    (record,) = trained.rollbacks
    assert {key: record[key] for key in ("method", "epoch", "found", "weight_decay")} == {
        "method": "early_stop", "epoch": 4, "found": 6, "weight_decay": 3e-4
    }  # fmt: skip
    assert record["ratio"] == pytest.approx(4) and [row["epoch"] for row in record["abandoned"]] == [5, 6]
    assert [row["eigenvalue"] for row in record["abandoned"]] == [1, 10] and all(
        "genotype" in row for row in record["abandoned"]
    )
    assert lines(tmp_path) == [
        {**row, "genotype": g} for row, g in zip(trained.history, trained.genotypes, strict=True)
    ]

    again = scripted("early_stop", tmp_path, at(1)).run()
    assert everything(again, trained), "nothing is trained any more"
    assert everything(scripted("early_stop").run(), Bilevel(**{**vars(trained), "initial_sha256": None}))


def test_a_training_that_stays_stable_is_not_touched() -> None:
    class Calm(Scripted):
        def _eigenvalue(self) -> float:
            return 1.0

    plain, watched = scripted(None, kind=Calm).run(), scripted("adaptive", kind=Calm).run()
    assert (
        everything(plain, watched)
        and not watched.rollbacks
        and watched.stopped_epoch is None
        and len(watched.eigenvalues) == 12
    )


class Raised(Scripted):
    """No rule, but a hand that raises the decay at the ends of epochs 4 and 7: what adaptive decay should come to."""

    @property
    def weight_decay(self) -> float:
        return {0: 3e-4, 1: 3e-3, 2: 0.03}[sum(len(self.history) >= epoch for epoch in (4, 7))]

    def _finish(self, epoch: int) -> None:
        super()._finish(epoch)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = self.weight_decay


@pytest.mark.parametrize("order", [1, 2])
def test_adaptive_decay_equals_a_training_that_never_went_wrong(order: int) -> None:
    job = scripted("adaptive", order=order)
    trained = job.run()
    assert [(r["epoch"], r["found"], r["weight_decay"]) for r in trained.rollbacks] == [(4, 6, 0.003), (7, 9, 0.03)]
    assert (
        all(r["method"] == "adaptive" and r["ratio"] == pytest.approx(4) for r in trained.rollbacks)
        and trained.stopped_epoch is None
    )
    assert [row["epoch"] for row in trained.history] == list(range(1, 13)) and len(trained.genotypes) == len(
        trained.mixtures
    ) == 12
    assert set(trained.eigenvalues.values()) == {1.0}, "the abandoned ones are not part of the history"
    assert same(trained, scripted(None, kind=Raised, order=order).run()) and not job.past
    other = scripted(None, order=order).run()
    assert not torch.equal(trained.final["head.weight"], other.final["head.weight"])


def test_a_roll_back_restores_the_very_state_of_the_stop_epoch() -> None:
    """Weights, buffers, momenta, Adam's moments and the curve, both times: the state that is kept stays what it was
    while training goes on.
    """
    job = scripted("adaptive")
    seen, whole, compared = states(job), job._roll_back, []

    def roll_back(epoch: int, stop: Stop) -> None:
        moved = equal(state(job), seen[stop.epoch + 1])
        whole(epoch, stop)
        compared.append(
            (
                moved,
                equal(state(job), seen[stop.epoch + 1]),
                [group["weight_decay"] for group in job.optimizer.param_groups],
            )
        )

    job._roll_back = roll_back  # type: ignore[method-assign]
    job.run()
    assert compared == [(False, True, [0.003]), (False, True, [0.03])]


class Stubborn(Scripted):
    """The middle decay does not help: the search is rolled back to the same epoch once more."""

    def _eigenvalue(self) -> float:
        return 10.0 ** max(0, len(self.history) - 5) if self.weight_decay < 0.03 else 1.0


class RaisedAtOnce(Raised):
    """What that should come to."""

    @property
    def weight_decay(self) -> float:
        return 3e-4 if len(self.history) < 4 else 0.03


def test_the_state_of_a_stop_epoch_survives_the_training_that_goes_on_from_it() -> None:
    trained = scripted("adaptive", kind=Stubborn).run()
    assert [(r["epoch"], r["found"], r["weight_decay"]) for r in trained.rollbacks] == [(4, 6, 0.003), (4, 6, 0.03)]
    assert same(trained, scripted(None, kind=RaisedAtOnce).run())


def test_the_unrolled_step_takes_the_new_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    whole = module.unrolled_gradients

    def noting(*arguments: Any, **more: Any) -> Any:
        seen.append(more["weight_decay"])
        return whole(*arguments, **more)

    monkeypatch.setattr(module, "unrolled_gradients", noting)
    scripted("adaptive", order=2).run()
    assert seen == pytest.approx([3e-4] * 18 + [3e-3] * 15 + [0.03] * 15)


# Resuming


@pytest.mark.parametrize("seconds", [0, 1000])
@pytest.mark.parametrize("method", ["early_stop", "adaptive"])
def test_an_interrupted_run_ends_like_an_undisturbed_one(tmp_path: Path, method: str, seconds: float) -> None:
    """Interrupted before, in and after roll-backs, again and again; with rare checkpoints nearly all is done again."""
    whole, interrupted = scripted(method).run(), 0
    for call in (20, 16, 1, 9, 30, 7):
        try:
            scripted(method, tmp_path, at(call), checkpoint_seconds=seconds).run()
        except Interrupted:
            interrupted += 1
    assert interrupted >= 3
    resumed = scripted(method, tmp_path).run()
    assert everything(resumed, whole)
    assert lines(tmp_path) == [{**row, "genotype": g} for row, g in zip(whole.history, whole.genotypes, strict=True)]
    assert [json.loads(line) for line in (tmp_path / "mixtures.jsonl").read_text().splitlines()] == whole.mixtures
    assert everything(scripted(method, tmp_path, at(1)).run(), whole), "what is finished is not trained again"


def test_interrupted_at_every_step_once(tmp_path: Path) -> None:
    whole, count = scripted("adaptive").run(), 0
    for _ in range(200):
        try:
            resumed = scripted("adaptive", tmp_path, at(4)).run()
            break
        except Interrupted:
            count += 1
    assert count > 20 and everything(resumed, whole)


def test_interrupted_while_a_roll_back_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the roll-back and before its checkpoint, and after that and before the old ones are gone."""
    whole = scripted("adaptive").run()

    class Torn(Scripted):
        def _roll_back(self, epoch: int, stop: Stop) -> None:
            super()._roll_back(epoch, stop)
            raise Interrupted

    for _ in range(2):
        with pytest.raises(Interrupted):
            scripted("adaptive", tmp_path, kind=Torn).run()
    monkeypatch.setattr(Path, "unlink", interrupted_unlink(Path.unlink))
    with pytest.raises(Interrupted):
        scripted("adaptive", tmp_path).run()
    monkeypatch.undo()
    assert step(tmp_path) > 4 * 3
    assert everything(scripted("adaptive", tmp_path).run(), whole)


def interrupted_unlink(unlink: Callable[..., None]) -> Callable[..., None]:
    """Interrupts when the checkpoint of a later epoch than the newest one is removed, which only a roll-back's save
    does.
    """

    def wrapped(path: Path, missing_ok: bool = False) -> None:
        others = [int(p.stem.removeprefix("step-")) for p in path.parent.glob("step-*.json")]
        if (
            path.name.startswith("step-")
            and others
            and int(path.stem.removeprefix("step-")) == max(others)
            and path.suffix == ".json"
        ):
            raise Interrupted
        unlink(path, missing_ok=missing_ok)

    return wrapped


def job(folder: Path | None) -> Bilevel:
    torch.set_num_threads(1)
    return scripted("adaptive", folder, order=2).run()


def child(folder: Path, until: int) -> None:
    hold(until)
    job(folder)


def test_sigkill_in_the_middle_of_an_adaptive_run(tmp_path: Path) -> None:
    """At step 25 of 36, which the training only reaches after both roll-backs, with real eigenvalue decisions behind
    it.
    """
    process = FORKS.Process(target=child, args=(tmp_path, 28))
    process.start()
    try:
        wait(process, lambda: step(tmp_path) >= 28)
        time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    finally:
        process.kill()
    found = torch.load(max(tmp_path.glob("step-*.pt")), weights_only=True)
    assert len(json.loads(found["stability"]["rollbacks"])) == 2
    assert everything(job(tmp_path), Bilevel(**{**vars(job(None)), "initial_sha256": None}))


def test_real_eigenvalues_can_stop_a_search(tmp_path: Path) -> None:
    """A rule so strict that noise is enough: the eigenvalue, the decision and the resume together."""
    rule = {**RULE, "method": "adaptive", "window": 1, "start_epoch": 0, "factor": 1.0001, "max_weight_decay": 3e-3}

    def run(folder: Path | None, hook: Callable[[int], None] = lambda call: None) -> Bilevel:
        return scripted(
            None, folder, hook, kind=BilevelTraining, stability=rule, epochs=8, order=2, architecture_learning_rate=0.3
        ).run()

    whole = run(None)
    assert len(whole.rollbacks) == 1 and len(whole.history) == 8 and whole.rollbacks[0]["abandoned"]
    for call in (60, 25, 9):
        with pytest.raises(Interrupted):
            run(tmp_path, at(call))
    assert everything(run(tmp_path), whole)
