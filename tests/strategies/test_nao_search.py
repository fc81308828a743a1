"""NAO as a search: rounds, what they report, when they end, and the state that a tuner asks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies.nao import ControllerSettings, NAOResult, NAOSettings, ProposalSettings, SpaceCodec, nao
from nni_plugins.strategies.nao.ask_tell import AskTell, Proposed, work
from nni_plugins.strategies.nao.search import best_rows, pairwise_accuracy

SPACE = NASBench201()
CONTROLLER = ControllerSettings(epochs=10, learning_rate=1e-2, embedding=8, hidden=16)
SETTINGS = NAOSettings(initial=30, rounds=2, controller=CONTROLLER, proposals=ProposalSettings(seeds=10, new=12))


def convolutions(architectures: list[Architecture]) -> list[float]:
    return [float(sum(value == "nor_conv_3x3" for _, value in a.choices)) for a in architectures]


def run(seed: int = 0, settings: NAOSettings = SETTINGS) -> NAOResult:
    return nao(SPACE, convolutions, settings, seed)


def test_a_search() -> None:
    result = run()
    assert len(result.architectures) == 30 + 2 * 12 == len({SPACE.canonical(a) for a in result.architectures})
    assert result.values.tolist() == convolutions(result.architectures)
    assert [r.score for r in result.ranked] == sorted(result.values.tolist(), reverse=True)
    assert [sum(r.proposals.counts().values()) for r in result.rounds] == [12, 12] and all(
        r.epochs == 10 and r.loss for r in result.rounds
    )
    assert result.values[30:].mean() > result.values[:30].mean() + 0.5
    again = run()
    assert again.architectures == result.architectures and run(1).architectures[:30] != result.architectures[:30]


def test_a_pool_of_ones_own() -> None:
    first = SPACE.decode(SPACE.sample(np.random.default_rng(5), 10))
    result = nao(SPACE, convolutions, SETTINGS.model_copy(update={"rounds": 1}), 0, first)
    assert result.architectures[:10] == first and len(result.architectures) == 22
    with pytest.raises(ConfigError, match="10 seeds are wanted, but the first pool has 9 architectures"):
        nao(SPACE, convolutions, SETTINGS, 0, first[:9])


def test_equal_values_are_no_direction_and_nan_is_an_error() -> None:
    result = nao(SPACE, lambda a: [1.0] * len(a), SETTINGS, 0)
    assert [(r.loss, r.pairwise, r.proposals.counts()) for r in result.rounds] == [
        (None, None, {"gradient": 0, "mutation": 12, "random": 0})
    ] * 2
    with pytest.raises(TrainingError, match="value 0 is nan"):
        nao(SPACE, lambda a: [math.nan, *[1.0] * (len(a) - 1)], SETTINGS, 0)


def test_a_space_that_is_used_up_ends_the_search() -> None:
    space = NASBench201(nodes=3)
    distinct = len({space.canonical(a) for a in space.decode(space.enumerate())})
    settings = SETTINGS.model_copy(update={"initial": distinct - 1, "rounds": 9})
    result = nao(space, convolutions, settings, 0)
    assert len(result.architectures) == distinct and [len(r.proposals.rows) for r in result.rounds] == [1, 0]


def test_settings() -> None:
    defaults = NAOSettings()
    assert (
        defaults.initial,
        defaults.rounds,
        defaults.proposals.seeds,
        defaults.proposals.new,
        defaults.proposals.last_step,
    ) == (
        1000,
        3,
        100,
        300,
        51,
    )
    c = defaults.controller
    assert (c.embedding, c.hidden, c.predictor, c.trade_off, c.epochs, c.batch_size, c.learning_rate) == (
        32,
        64,
        (),
        0.8,
        1000,
        100,
        1e-3,
    )
    assert (c.weight_decay, c.gradient_clip, c.copies, c.targets, c.patience) == (0.0, 5.0, 10, "min_max", None)
    with pytest.raises(ValidationError, match=r"proposals.seeds <= initial must hold, but got 100 and 50"):
        NAOSettings(initial=50)
    with pytest.raises(ValidationError, match="first_step <= last_step must hold, but got 10 and 5"):
        ProposalSettings(first_step=10, last_step=5)


def test_the_best_rows_and_pairs() -> None:
    rows = np.arange(8).reshape(4, 2)
    assert best_rows(rows, np.array([1.0, 3.0, 2.0, 3.0]), 3).tolist() == [[2, 3], [6, 7], [4, 5]]
    with pytest.raises(ConfigError, match="the 5 best are wanted as seeds, but there are only 4"):
        best_rows(rows, np.ones(4), 5)
    assert pairwise_accuracy(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])) == pytest.approx(2 / 3)
    assert (
        pairwise_accuracy(np.zeros(3), np.array([1.0, 3.0, 3.0])) == 0.5
        and pairwise_accuracy(np.arange(2.0), np.ones(2)) is None
    )


# -- ask and tell ------------------------------------------------------------------------------------------------------
def asked(rounds: int | None = None) -> AskTell:
    return AskTell(SpaceCodec(SPACE), 5, rounds, CONTROLLER, ProposalSettings(seeds=3, new=4), 0)


def test_asking_and_telling() -> None:
    state = asked(rounds=1)
    assert [state.ask() for _ in range(6)] == [0, 1, 2, 3, 4, None] and not state.due
    for number in range(4):
        state.tell(number, float(number))
    state.fail(4)
    assert state.due and not state.finished
    job = state.job()
    assert job.values.tolist() == [0, 1, 2, 3] and len(job.known) == 5, "a failed one is known too"
    proposed = work(state.codec, job, state.controller, state.proposals, state.seed)
    assert (
        proposed == work(state.codec, job, state.controller, state.proposals, state.seed)
        and proposed.numbers["seeds"] == 3
    )
    with pytest.raises(ConfigError, match="round 0 is due, but got proposals of round 1"):
        state.extend(Proposed(1, [], []))
    state.extend(proposed)
    again = asked(rounds=1)
    again.restore(state.state())
    assert again.trials == state.trials and again.step == 1 and again.ask() == 5
    again.release(5)
    assert again.ask() == 5
    again.tell(4, 2.5)
    again.tell(4, 7.0)
    assert again.trials[4].value == 2.5 and again.trials[4].status == "done", (
        "late is not too late, and the first value counts"
    )
    for number in range(5, 9):
        again.tell(number, math.inf)
    assert again.finished and {t.status for t in again.trials[5:]} == {"failed"} and not again.due


def test_nothing_new_ends_it() -> None:
    state = asked()
    for number in range(5):
        state.tell(number, 1.0)
    state.extend(Proposed(0, [], []))
    assert state.finished and state.exhausted and state.ask() is None
