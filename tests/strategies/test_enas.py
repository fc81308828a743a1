"""ENAS: the policy's probabilities, REINFORCE against the exact gradient, what the controller finds, resume, and real
runs on digits.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nni.nas.experiment import NasExperiment

from nni_plugins.evaluators import ConfigChanged, ImageSet, RandomLabels, SupernetTraining, Supervised, load
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.supernets.shared_weights import Companion, Cycle, Draw, SharedWeights
from nni_plugins.evaluators.text.corpus import Corpus
from nni_plugins.evaluators.text.shared import SharedText
from nni_plugins.evaluators.training.schedule import cosine
from nni_plugins.spaces import DARTS as DARTSSpace
from nni_plugins.spaces import NAO, NASBench101, NASBench201, RecurrentCell, SearchSpace
from nni_plugins.spaces.base import Indices
from nni_plugins.strategies.enas import search as enas
from nni_plugins.strategies.enas.candidates import candidates, log_probabilities
from nni_plugins.strategies.enas.controller import Policy, build
from nni_plugins.strategies.enas.reinforce import ControllerTraining, Values, advantages, rewards_of
from nni_plugins.strategies.enas.settings import ENASSettings, ENASTraining, PolicySettings, RecurrentENASSettings
from tests.evaluators.tiny import Interrupted

SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
CELLS = RecurrentCell(nodes=2)
FREE = PolicySettings(hidden=16, tanh_constant=None, op_tanh_reduce=1, entropy_weight=0)
"""A policy without bounds."""


def planted(row: Any) -> float:
    """A percentage, best for one architecture, [3, 1, 4] of the three-node space."""
    return float(40 + 10 * (row[0] == 3) + 15 * (row[1] == 1) + 20 * (row[2] == 4) + row.sum())


class Fake:
    """:class:`SharedWeights` without weights: scores are ``table`` of a row, and a training calls what it must."""

    def __init__(self, space: SearchSpace = SPACE, table: Callable[[Any], float] = planted, seed: int = 0) -> None:
        self.seed, self._space, self.table = seed, space, table
        self.drawn: list[Indices] = []
        self.rewarded: list[int] = []

    @property
    def space(self) -> SearchSpace:
        return self._space

    def train(self, draw: Draw, cycle: Cycle, companion: Companion | None = None) -> list[dict[str, float]]:
        assert companion is not None
        rows = []
        for epoch in range(cycle.epochs):
            self.drawn.append(draw(epoch, 7))
            rows.append({"epoch": epoch + 1, "loss": 1.0, **companion.after_epoch(epoch)})
        return rows

    def scores(self, indices: Indices) -> Values:
        return np.array([self.table(row) for row in indices], dtype=np.float64)

    def reward(self, indices: Indices, step: int) -> Values:
        self.rewarded.append(step)
        return self.scores(indices)


def shaken(space: SearchSpace, settings: PolicySettings, seed: int = 0) -> Policy:
    """A policy far from uniform, in double precision."""
    policy = build(space, settings, seed).double()
    with torch.no_grad():
        for number, parameter in enumerate(policy.parameters()):
            parameter.mul_(20).add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return policy


def everything(space: SearchSpace) -> torch.Tensor:
    return torch.from_numpy(space.enumerate().astype(np.int64))


# -- the policy --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "space", [SPACE, RecurrentCell(nodes=3), NASBench101(nodes=2, max_edges=4)], ids=lambda space: space.name
)
@pytest.mark.parametrize("bound", [None, 2.5])
def test_probabilities_are_those_of_a_distribution(space: SearchSpace, bound: float | None) -> None:
    rows = everything(space)
    drawn = shaken(space, PolicySettings(hidden=8, layers=2, tanh_constant=bound)).evaluate(rows)
    p = drawn.log_prob.exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-9) and p.max() > 3 / len(rows)
    assert (p * drawn.entropy).sum().item() == pytest.approx(-(p * drawn.log_prob).sum().item()), (
        "the chain rule of entropy"
    )


@pytest.mark.parametrize("space", [NAO(), DARTSSpace(), NASBench101(), RecurrentCell()], ids=lambda space: space.name)
def test_one_call_equals_one_choice_after_the_other_and_all_are_architectures(space: SearchSpace) -> None:
    policy = shaken(space, PolicySettings(hidden=8))
    stepwise = policy.sample(200, torch.Generator().manual_seed(1))
    whole = policy.evaluate(stepwise.rows)
    torch.testing.assert_close(whole.log_prob, stepwise.log_prob)
    torch.testing.assert_close(whole.entropy, stepwise.entropy)
    assert torch.equal(stepwise.rows, policy.sample(200, torch.Generator().manual_seed(1)).rows), (
        "of the generator alone"
    )
    for architecture in space.decode(stepwise.rows.numpy().astype(np.int8)):
        space.architecture(architecture.as_dict())


def test_samples_have_the_probabilities_of_the_policy() -> None:
    policy = shaken(CELLS, PolicySettings(hidden=8))
    rows = everything(CELLS)
    p = policy.evaluate(rows).log_prob.exp().detach().numpy()
    drawn = policy.sample(20_000, torch.Generator().manual_seed(0)).rows
    counts = (drawn[:, None] == rows[None]).all(dim=2).sum(dim=0).numpy()
    expected = 20_000 * p
    chi = ((counts - expected) ** 2 / expected).sum()
    assert counts.sum() == 20_000 and chi < 61.1, "0.1 percent of chi-square with 31 degrees of freedom"


def test_what_cannot_follow_has_probability_zero() -> None:
    space = NASBench101(nodes=2, max_edges=3)
    policy = build(space, PolicySettings(), 0)
    every = torch.tensor(list(itertools.product(*(range(len(d.values)) for d in space.decisions))))
    possible = policy.evaluate(every).log_prob > -math.inf
    assert np.array_equal(possible.numpy(), space.valid(every.numpy().astype(np.int8))) and 0 < possible.sum() < len(
        every
    )
    parameters = torch.autograd.grad(policy.evaluate(every[possible]).log_prob.sum(), list(policy.parameters()))
    assert all(torch.isfinite(g).all() for g in parameters)


def test_logits_are_bounded_by_kind_of_decision() -> None:
    """c tanh(z / t) within +-c: of k values none has more than e^2c / (e^2c + k - 1)."""
    policy = shaken(NAO(), PolicySettings())
    with torch.no_grad():
        policy.output.weight.mul_(1e3)
    rows = policy.sample(300, torch.Generator().manual_seed(0)).rows
    hidden, _ = policy.lstm(
        policy.embedding(torch.cat([torch.zeros(300, 1, dtype=torch.int64), (rows + policy.offsets)[:, :-1]], 1))
    )
    for d, (k, c) in enumerate([(2, 1.1), (5, 0.44), (2, 1.1), (5, 0.44), (3, 1.1)]):
        p, most = policy._log_probs(hidden[:, d], rows, d).exp(), math.exp(2 * c) / (math.exp(2 * c) + k - 1)
        assert p.max().item() <= most + 1e-6 and (
            p.max(dim=1).values / p[:, :k].min(dim=1).values
        ).max().item() == pytest.approx(math.exp(2 * c))
    assert policy.scale.tolist()[20:24] == pytest.approx([1.1, 0.44, 1.1, 0.44])
    assert build(DARTSSpace(), PolicySettings(), 0).scale[:5].tolist() == pytest.approx([0.44, 0.44, 1.1, 0.44, 0.44])
    cold = build(SPACE, PolicySettings(temperature=5, tanh_constant=None), 0)
    warm = build(SPACE, PolicySettings(tanh_constant=None), 0)
    warm.output.weight.data /= 5
    rows = everything(SPACE)
    torch.testing.assert_close(cold.evaluate(rows).log_prob, warm.evaluate(rows).log_prob)


def test_a_fresh_policy_is_nearly_uniform() -> None:
    policy = build(SPACE, PolicySettings(), 0)
    assert all(p.abs().max() <= 0.1 for p in policy.parameters())
    assert policy.evaluate(everything(SPACE)).log_prob.exp().detach() == pytest.approx(np.full(125, 1 / 125), rel=0.1)
    assert not torch.equal(policy.output.weight, build(SPACE, PolicySettings(), 1).output.weight)


# -- REINFORCE ---------------------------------------------------------------------------------------------------------
def test_the_expected_update_is_the_gradient_of_expected_reward_and_entropy() -> None:
    """Over all 32 cells: sum of p (r - w log p - b) grad log p = grad (sum of p r + w H), whatever the baseline b."""
    policy = shaken(CELLS, PolicySettings(hidden=6))
    rows, rewards, weight = everything(CELLS), torch.rand(32, generator=torch.Generator().manual_seed(0)).double(), 0.3
    parameters = list(policy.parameters())
    drawn = policy.evaluate(rows)
    p = drawn.log_prob.exp()
    exact = torch.autograd.grad((p * rewards).sum() + weight * -(p * drawn.log_prob).sum(), parameters)
    for baseline in (0.0, 0.7):
        drawn = policy.evaluate(rows)
        joint = rewards - weight * drawn.log_prob.detach() - baseline
        ours = torch.autograd.grad((drawn.log_prob.exp().detach() * joint * drawn.log_prob).sum(), parameters)
        for a, b in zip(exact, ours, strict=True):
            torch.testing.assert_close(a, b)


def test_one_update_is_adam_on_the_hand_computed_gradient() -> None:
    settings = FREE.model_copy(
        update={"samples": 4, "controller_steps": 1, "entropy_weight": 0.2, "learning_rate": 0.1}
    )
    ours, by_hand = ControllerTraining(Fake(), settings), ControllerTraining(Fake(), settings)
    row = ours.after_epoch(0)
    rows = by_hand.policy.sample(4, by_hand._generator("enas rewards", 0, 0)).rows
    log_prob = by_hand.policy.evaluate(rows).log_prob
    r = [planted(a) / 100 - 0.2 * lp for a, lp in zip(rows.numpy(), log_prob.tolist(), strict=True)]
    b, loss = sum(r) / 4, torch.zeros(())
    for i in range(4):
        b = 0.99 * b + 0.01 * r[i]
        loss = loss - (r[i] - b) * log_prob[i] / 4
    gradients = torch.autograd.grad(loss, list(by_hand.policy.parameters()))
    for moved, p, g in zip(ours.policy.parameters(), by_hand.policy.parameters(), gradients, strict=True):
        # the first step of Adam without momentum: corrected moments are g and g squared
        torch.testing.assert_close(moved, p - 0.1 * g / (g.abs() + 1e-3))
    assert row["baseline"] == pytest.approx(b) and row["reward"] == pytest.approx(
        np.mean([planted(a) for a in rows.numpy()]) / 100
    )


def test_the_baseline_by_hand() -> None:
    found, last = advantages(np.array([1.0, 3.0]), None, 0.5)
    assert found.tolist() == [-0.5, 0.75] and last == 2.25, "from their mean, 2: 1.5, then 2.25"
    found, last = advantages(np.array([1.0]), 0.0, 0.99)
    assert found == pytest.approx([0.99]) and last == pytest.approx(0.01), "the code's first"


def test_rewards() -> None:
    assert rewards_of(np.array([50.0, 100.0]), PolicySettings()).tolist() == [0.5, 1]
    assert rewards_of(np.array([-160.0, -80.0]), RecurrentENASSettings()).tolist() == [0.5, 1]
    with pytest.raises(TrainingError, match="a score is nan"):
        rewards_of(np.array([1.0, math.nan]), PolicySettings())
    with pytest.raises(TrainingError, match="needs accuracies in percent, but a score is -80"):
        rewards_of(np.array([-80.0]), PolicySettings())
    with pytest.raises(TrainingError, match="needs perplexities with a minus, but a score is 0"):
        rewards_of(np.array([0.0]), RecurrentENASSettings())


# -- the search --------------------------------------------------------------------------------------------------------
QUICK: dict[str, Any] = {
    "hidden": 16,
    "tanh_constant": 2.5,
    "op_tanh_reduce": 1,
    "learning_rate": 0.01,
    "epsilon": 1e-8,
    "controller_steps": 25,
    "restart_epochs": None,
}


@pytest.fixture(scope="module")
def found() -> tuple[Fake, enas.ENASResult]:
    shared = Fake()
    assert isinstance(ControllerTraining(shared, PolicySettings()).state_dict(), dict)
    return shared, enas.enas(
        shared, read(PolicySettings, {**QUICK, "candidates": 12, "warmup_epochs": 1}), epochs=7, top_k=5
    )


def test_the_planted_architecture_becomes_the_most_probable(found: tuple[Fake, enas.ENASResult]) -> None:
    shared, result = found
    every = SPACE.enumerate()
    log_prob = log_probabilities(result.policy, every)
    assert every[log_prob.argmax()].tolist() == [3, 1, 4] and math.exp(log_prob.max()) > 0.2 > 10 / 125
    before = log_probabilities(build(SPACE, read(PolicySettings, QUICK), 0), every)
    truth = shared.scores(every)
    assert np.exp(log_prob) @ truth > np.exp(before) @ truth + 20, "percent, of a typical sample"
    assert SPACE.encode([result.ranked[0].architecture]).tolist() == [[3, 1, 4]] and result.ranked[0].score == planted(
        np.array([3, 1, 4])
    )
    rewards, entropies = ([row[key] for row in result.history[1:]] for key in ("reward", "entropy"))
    assert rewards[-1] > rewards[0] + 0.1 and entropies[-1] < entropies[0]
    assert "reward" not in result.history[0] and shared.rewarded == list(range(25, 175)), (
        "the warm-up trains no controller"
    )
    assert [rows.shape for rows in shared.drawn] == [(7, 3)] * 7 and not np.array_equal(
        shared.drawn[0], shared.drawn[1]
    )


def test_candidates_are_ranked_by_the_shared_weights(found: tuple[Fake, enas.ENASResult]) -> None:
    _, result = found
    assert len(result.candidates.indices) == len(result.scores) == 12 and len(result.ranked) == 5
    assert [r.score for r in result.ranked] == sorted(result.scores.tolist(), reverse=True)[:5]
    assert len({SPACE.canonical(a) for a in SPACE.decode(result.candidates.indices)}) == 12, (
        "symmetric twins are left out"
    )
    assert np.array_equal(result.score(result.candidates.indices), result.scores) and result.candidates.heat == 1
    again = enas.enas(Fake(), read(PolicySettings, {**QUICK, "candidates": 12, "warmup_epochs": 1}), epochs=7, top_k=5)
    assert again.ranked == result.ranked and again.history == result.history
    other = enas.enas(
        Fake(seed=1), read(PolicySettings, {**QUICK, "candidates": 12, "controller_steps": 1}), epochs=1, top_k=5
    )
    assert not np.array_equal(other.candidates.indices, result.candidates.indices)


def test_candidates_of_small_spaces_are_draws_without_repetition() -> None:
    """The first of them has the policy's probabilities."""
    policy = shaken(CELLS, PolicySettings(hidden=8))
    every = everything(CELLS)
    forms = [CELLS.canonical(a) for a in CELLS.decode(CELLS.enumerate())]
    most = int(policy.evaluate(every).log_prob.argmax())
    p = sum(
        lp
        for lp, form in zip(policy.evaluate(every).log_prob.exp().tolist(), forms, strict=True)
        if form == forms[most]
    )
    firsts = [candidates(policy, CELLS, 1, seed).indices[0] for seed in range(300)]
    share = np.mean([CELLS.canonical(CELLS.decode(row[None])[0]) == forms[most] for row in firsts])
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 300)
    assert len(candidates(policy, CELLS, 99, 0).indices) == len(set(forms)) == 26, "all that there are"


def test_a_collapsed_policy_still_gives_as_many_as_are_wanted() -> None:
    policy = build(NAO(), FREE, 0)
    with torch.no_grad():
        policy.output.weight.mul_(1e4)
    drawn = policy.sample(200, torch.Generator().manual_seed(0)).rows
    assert len(torch.unique(drawn, dim=0)) < 40
    result = candidates(policy, NAO(), 60, 0)
    assert (
        len(result.indices) == len({NAO().canonical(a) for a in NAO().decode(result.indices)}) == 60 and result.heat > 1
    )
    assert result.log_prob[:3].mean() > result.log_prob[-3:].mean()


def test_the_learning_rate_restarts() -> None:
    """Cosines of 10, 20, 40 and 80 epochs: 150 in all."""
    cycle = enas.ENASCycle.of(ENASSettings(), 150)
    rates = [cosine(ENASTraining(), *cycle.schedule(epoch)) for epoch in range(150)]
    assert [epoch for epoch, rate in enumerate(rates) if rate == 0.05] == [0, 10, 30, 70]
    assert rates[20] == pytest.approx((0.05 + 0.0005) / 2) and rates[149] < 0.00052
    assert enas.ENASCycle.of(RecurrentENASSettings(), 40).schedule(30) == (30, 40)
    quick = PolicySettings(hidden=4, controller_steps=1)
    with pytest.warns(UserWarning, match="cut off after 2 of its 20 epochs, .* 10 or 30 epochs end with a whole one"):
        enas.enas(Fake(), quick, epochs=12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enas.enas(Fake(), quick, epochs=30)


def test_batches_of_one_architecture() -> None:
    controller = ControllerTraining(Fake(), PolicySettings(batches_per_architecture=10))
    rows = controller.draw(3, 25)
    assert rows.shape == (25, 3) and rows.dtype == np.int8
    assert all(len(np.unique(part, axis=0)) == 1 for part in np.split(rows, [10, 20]))
    assert np.array_equal(rows, controller.draw(3, 25)) and not np.array_equal(rows, controller.draw(4, 25))


def test_a_resumed_controller_computes_the_same_numbers() -> None:
    settings = read(PolicySettings, {**QUICK, "beta1": 0.9, "controller_steps": 3})
    whole = ControllerTraining(Fake(), settings)
    empty = whole.state_dict()
    whole.after_epoch(0)
    state = whole.state_dict()
    rows = [whole.after_epoch(epoch) for epoch in (1, 2)]
    resumed = ControllerTraining(Fake(), settings)
    resumed.load_state_dict(state)
    assert [resumed.after_epoch(epoch) for epoch in (1, 2)] == rows
    assert (
        np.array_equal(resumed.draw(3, 9), whole.draw(3, 9)) and state["baseline"] != resumed.state_dict()["baseline"]
    )
    resumed.load_state_dict(empty)
    assert resumed.baseline is None and resumed.after_epoch(0) and resumed.state_dict()["baseline"] == state["baseline"]


# -- on digits ---------------------------------------------------------------------------------------------------------
TINY = {"epochs": 2, "batch_size": 40, "accelerator": "cpu"}
LITTLE = read(
    ENASSettings,
    {
        "controller_steps": 2,
        "samples": 4,
        "candidates": 12,
        "evaluation_images": None,
        "portion": 0.8,
        "restart_epochs": 2,
    },
)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """200 real digits."""
    return load(DataSettings(limit=200)).train


@pytest.fixture(scope="module")
def whole(images: ImageSet) -> enas.ENASResult:
    return enas.search(SPACE, images, Supervised(), LITTLE, read(ENASTraining, TINY), 0, 5)


def test_a_search_on_digits(images: ImageSet, whole: enas.ENASResult) -> None:
    assert len(whole.scores) == 12 and len(whole.ranked) == 5 and 0 < whole.ranked[0].score <= 100
    assert [r.score for r in whole.ranked] == sorted(whole.scores.tolist(), reverse=True)[:5]
    assert np.array_equal(whole.score(whole.candidates.indices[:2]), whole.scores[:2])
    assert [row["epoch"] for row in whole.history] == [1, 2] and all(
        row["learning_rate"] == 0.05 for row in whole.history[:1]
    )
    assert all(
        0 < row["reward"] < 1 and row["baseline"] > 0 and row["entropy"] == pytest.approx(3 * math.log(5), rel=0.02)
        for row in whole.history
    )
    begins = build(whole.policy.space, LITTLE, 0).state_dict()
    assert all(not torch.equal(value, begins[name]) for name, value in whole.policy.state_dict().items())


def test_a_search_that_is_killed_ends_like_an_undisturbed_one(
    images: ImageSet, whole: enas.ENASResult, tmp_path: Path
) -> None:
    """In the middle of the second of two epochs of four steps, the controller trained once; then again when all is
    trained.
    """
    training, calls = read(ENASTraining, {**TINY, "checkpoint_seconds": 0}), 0

    class Killed(Supervised):
        def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += torch.is_grad_enabled()  # steps, not rewards
            if calls == 7:
                raise Interrupted
            return super().loss(outputs, targets)

    Killed.__name__ = "Supervised"  # a run is known by it
    with pytest.raises(Interrupted):
        enas.search(SPACE, images, Killed(), LITTLE, training, 0, 5, folder=tmp_path)
    for left in (2, 0):
        calls = 10
        resumed = enas.search(SPACE, images, Killed(), LITTLE, training, 0, 5, folder=tmp_path)
        assert calls - 10 == left, "steps, not from the beginning"
        assert resumed.ranked == whole.ranked and resumed.history == whole.history
        assert np.array_equal(resumed.candidates.log_prob, whole.candidates.log_prob)
        assert all(
            torch.equal(value, resumed.policy.state_dict()[name]) for name, value in whole.policy.state_dict().items()
        )
    other = LITTLE.model_copy(update={"entropy_weight": 0.5})
    with pytest.raises(ConfigChanged, match=r"cycle\.controller\.entropy_weight: 0\.0001 -> 0\.5"):
        enas.search(SPACE, images, Supervised(), other, training, 0, 5, folder=tmp_path)


def test_nni_runs_it_and_exports_several(
    images: ImageSet, whole: enas.ENASResult, run: Callable[..., NasExperiment]
) -> None:
    strategy = enas.ENAS(LITTLE, top_k=5)
    experiment = run(SPACE.supernet(), SupernetTraining(images, Supervised(), read(ENASTraining, TINY)), strategy)
    assert strategy.result is not None and strategy.result.ranked == whole.ranked
    assert [SPACE.parse(s) for s in experiment.export_top_models(9, formatter="dict")] == [
        r.architecture for r in whole.ranked
    ]


def test_random_labels_are_refused(images: ImageSet) -> None:
    with pytest.raises(
        ConfigError, match="random labels of held-out images cannot be predicted, and ENAS ranks by accuracy"
    ):
        enas.search(SPACE, images, RandomLabels(10), LITTLE, read(ENASTraining, TINY), 0, 5)
    with pytest.raises(ConfigError, match="top_k <= candidates"):
        enas.ENAS(LITTLE, top_k=13)


# -- on text -----------------------------------------------------------------------------------------------------------
def test_a_search_on_text_and_its_resume(tmp_path: Path) -> None:
    words = [
        np.asarray(np.cumsum(np.random.default_rng(part).integers(0, 3, size=170)) % 7, dtype=np.int64)
        for part in range(3)
    ]
    sizes = {
        "batch_size": 4,
        "learning_rate": 2.0,
        "bptt": 8,
        "evaluation_batch": 3,
        "reward_batch": 2,
        "accelerator": "cpu",
        "checkpoint_seconds": 0,
    }
    settings = RecurrentENASSettings(controller_steps=3, batches_per_architecture=2)

    def one(folder: Path | None = None, report: Any = None) -> enas.ENASResult:
        shared = SharedText(
            RecurrentCell(nodes=2, hidden=5),
            Corpus("tiny", tuple("abcdefg"), *words),
            sizes,
            folder=folder,
            report=report,
        )
        return enas.enas(shared, settings, epochs=2, top_k=4)

    def die(row: dict[str, float]) -> None:
        raise Interrupted

    whole = one()
    assert len(whole.scores) == 26 and -12 < whole.ranked[0].score < 0 and len(whole.ranked) == 4
    assert [row["epoch"] for row in whole.history] == [1, 2] and all(
        80 / 12 < row["reward"] < 80 for row in whole.history
    )
    with pytest.raises(Interrupted):
        one(tmp_path, die)
    resumed = one(tmp_path)
    assert resumed.ranked == whole.ranked and resumed.history == whole.history


# -- settings and refusals ---------------------------------------------------------------------------------------------
def test_the_values_of_the_authors_code() -> None:
    s, r, t = ENASSettings(), RecurrentENASSettings(), ENASTraining()
    assert (s.hidden, s.layers, s.temperature, s.tanh_constant, s.op_tanh_reduce) == (64, 1, 1, 1.1, 2.5)
    assert (s.learning_rate, s.beta1, s.epsilon, s.entropy_weight, s.baseline_decay) == (0.0035, 0, 1e-3, 1e-4, 0.99)
    assert (s.controller_steps, s.samples, s.restart_epochs, s.restart_factor, s.portion) == (30, 10, 10, 2, 0.9)
    assert (r.hidden, r.temperature, r.tanh_constant, r.learning_rate, r.entropy_weight) == (100, 5, 2.5, 1e-3, 1e-3)
    assert (r.controller_steps, r.samples, r.reward, r.reward_scale) == (100, 10, "inverse_perplexity", 80)
    assert (t.epochs, t.batch_size, t.learning_rate, t.final_learning_rate, t.weight_decay) == (
        150,
        160,
        0.05,
        0.0005,
        2e-4,
    )
    assert (t.momentum, t.nesterov, t.gradient_clip, t.share_cells, t.update) == (0.9, True, 5, True, "all")


def test_refusals() -> None:
    endless = PolicySettings(restart_epochs=None)
    with pytest.raises(ConfigError, match="reward: accuracy cannot be computed on recurrent"):
        enas.enas(Fake(CELLS), PolicySettings(), epochs=3)
    with pytest.raises(ConfigError, match="top_k <= candidates must hold, but got 10 and 3"):
        enas.enas(Fake(), PolicySettings(candidates=3), epochs=3)
    with pytest.raises(ConfigError, match="the controller is never trained, but got 3 and 3"):
        enas.enas(Fake(), PolicySettings(warmup_epochs=3), epochs=3)
    with pytest.raises(TrainingError, match="a score is nan"):
        enas.enas(Fake(table=lambda row: math.nan), endless, epochs=1)
    with pytest.raises(TrainingError, match="parameters became infinite or NaN in epoch 1"):
        enas.enas(Fake(), PolicySettings(reward_scale=1e300, restart_epochs=None), epochs=1)

    class Broken(Fake):
        def reward(self, indices: Indices, step: int) -> Values:
            return np.full(len(indices), 50.0)

    with pytest.raises(TrainingError, match=r"of 60 scores are not finite: \|"):
        enas.enas(Broken(table=lambda row: math.inf), endless, epochs=1)

    class Odd(NASBench201):
        def valid(self, indices: Indices) -> Any:
            return indices[:, 0] > 0

    with pytest.raises(ConfigError, match="not every combination of its decisions is an architecture"):
        build(Odd(nodes=3), PolicySettings(), 0)


def test_the_fake_is_one() -> None:
    shared: SharedWeights = Fake()
    assert shared.seed == 0
