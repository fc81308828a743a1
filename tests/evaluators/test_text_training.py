"""Stand-alone training of language models: closed-form numbers, averaged SGD, resume."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.text import training as module
from nni_plugins.evaluators.text.corpus import Corpus
from nni_plugins.evaluators.text.loop import mean_nats, perplexity
from nni_plugins.evaluators.text.settings import LanguageModelSettings
from nni_plugins.evaluators.text.stand_alone import StandAloneText
from nni_plugins.evaluators.text.streams import batchify
from nni_plugins.evaluators.text.training import Average, LanguageResult, LanguageTraining, non_monotone
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.testing.training import TrainingContract

WORDS = 7
SPACE = RecurrentCell(nodes=2, hidden=6, classes=WORDS)
CELL = SPACE.decode(SPACE.enumerate()[13:14])[0]
TINY: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 4,
    "bptt": 8,
    "learning_rate": 2.0,
    "evaluation_batch": 2,
    "precision": "64-true",
    "accelerator": "cpu",
}


def text(length: int, seed: int) -> Any:
    """Words each of which is mostly the one before it plus one: something that can be learnt."""
    rng = np.random.default_rng(seed)
    return np.cumsum(np.where(rng.random(length) < 0.9, 1, rng.integers(0, WORDS, length))) % WORDS


CORPUS = Corpus("tiny", tuple("abcdefg"), text(260, 0), text(90, 1), text(70, 2))


def network(**dropouts: float) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SPACE.network(CELL, **dropouts)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    model = network().double()
    for p in model.parameters():
        nn.init.zeros_(p)
    for batch in (1, 2, 7):
        assert math.isclose(perplexity(mean_nats(model, CORPUS.test, batch, 8, "test text")), WORDS, rel_tol=1e-12)
    with pytest.raises(TrainingError, match="the loss of a word is 701 nats"):
        perplexity(701)
    with pytest.raises(TrainingError, match="the loss of a word is nan"):
        perplexity(math.nan)


def test_pieces_do_not_change_the_loss_of_a_text() -> None:
    model = network(dropout=0.5, dropouth=0.5).double()
    model.embedding.weight.data.mul_(30)
    stream = batchify(CORPUS.valid, 3, "valid")
    with torch.no_grad():
        whole = F.cross_entropy(model.eval()(stream[:-1]).flatten(0, 1), stream[1:].flatten())
    for bptt in (1, 4, 29, 1000):
        assert math.isclose(mean_nats(model.train(), CORPUS.valid, 3, bptt, "valid"), float(whole), rel_tol=1e-12)


@pytest.mark.parametrize(
    ("losses", "nonmono", "switches"),
    [
        ([5, 4, 3, 2, 1, 0.5, 0.4], 2, None),
        ([5, 4, 3, 3.5, 3.4, 3.3, 1], 2, 6),  # 3.3 is above 3, the smallest but for the last two; 3.4 was not above 4
        ([5, 6, 7], 0, 2),
        ([3, 3, 3, 3], 1, None),  # equal is not above
        ([1, 9, 9, 9, 9, 9], 5, None),
        ([1, 9, 9, 9, 9, 9, 9], 5, 7),  # with nonmono 5 six values must come first
    ],
)
def test_when_averaging_begins(losses: list[float], nonmono: int, switches: int | None) -> None:
    found = [n for n, loss in enumerate(losses, start=1) if non_monotone(losses[: n - 1], loss, nonmono)]
    assert (found[0] if found else None) == switches


def test_averages_are_means_and_swap_without_a_trace() -> None:
    p = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    average = Average({"p": p})
    with average.in_place():
        assert not p.detach().any()
    rows = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for row in rows:
        p.data.copy_(row)
        average.add()
    with average.in_place():
        assert torch.allclose(p.detach(), rows.mean(0), rtol=1e-14)
    assert torch.equal(p.detach(), rows[-1])


class Recorded(LanguageTraining):
    """Keeps the weights after every step, by epoch."""

    kept: dict[int, list[dict[str, torch.Tensor]]]

    def _step(self, epoch: int, step: int, piece: tuple[int, int]) -> None:
        super()._step(epoch, step, piece)
        self.kept.setdefault(epoch + 1, []).append({n: p.detach().clone() for n, p in self.model.named_parameters()})


def test_averaged_sgd_on_planted_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: Iterator[float] = iter([3.0, 2.0, 2.5, 1.5, 1.8, 0.9])  # the last is that of the test text
    seen = []

    def planted(model: nn.Module, *_: Any) -> float:
        seen.append({n: p.detach().clone() for n, p in model.named_parameters()})
        return next(losses)

    monkeypatch.setattr(module, "mean_nats", planted)
    training = Recorded(network(), CORPUS, LanguageModelSettings(**{**TINY, "epochs": 5, "nonmono": 1}), 0)
    training.kept = {}
    result = training.run()
    # after epoch 3, 2.5 > min(3.0) fails; after epoch 4, 1.5 > min(3, 2) fails; with nonmono=1 only epoch 5's 1.8 is
    # above min(3, 2, 2.5) - no
    assert result.averaged_from is None and result.best_epoch == 4
    assert math.isclose(result.valid, math.exp(1.5)) and math.isclose(result.test, math.exp(0.9))
    losses, seen = iter([3.0, 2.0, 4.0, 1.5, 1.2, 1.3, 0.9]), []
    training = Recorded(network(), CORPUS, LanguageModelSettings(**{**TINY, "epochs": 6, "nonmono": 1}), 0)
    training.kept = {}
    result = training.run()
    assert (
        result.averaged_from == 4
        and [row["averaged"] for row in result.history] == [0, 0, 0, 1, 1, 1]
        and result.best_epoch == 5
    )
    steps = [*training.kept[4], *training.kept[5]]
    wanted = {name: torch.stack([weights[name] for weights in steps]).mean(0) for name in steps[0]}
    for name, mean in wanted.items():
        assert torch.allclose(
            seen[4][name], mean, rtol=1e-10, atol=1e-13
        )  # what epoch 5 was measured with, and what is tested
        assert torch.equal(seen[6][name], seen[4][name])
        assert torch.equal(seen[2][name], training.kept[3][-1][name])  # not yet averaged
    moved = [not torch.equal(training.kept[5][0][name], mean) for name, mean in wanted.items()]
    assert all(moved)  # SGD goes on from its own weights


def test_one_step_by_hand() -> None:
    settings = LanguageModelSettings(
        **{**TINY, "epochs": 1, "bptt": 64, "length_deviation": 0, "short_share": 0, "alpha": 2.0, "beta": 1.0}
    )
    model, copy = network().double(), network().double()
    for m in (model, copy):
        m.load_state_dict({n: 30 * p for n, p in m.state_dict().items()})  # so that the clip is reached
    LanguageTraining(model, CORPUS, settings, 0).run()
    stream = batchify(CORPUS.train, 4, "train")  # 65 steps: one piece of 64
    hidden = copy.hidden_of(stream[:64])
    loss = F.cross_entropy(copy.logits(hidden).flatten(0, 1), stream[1:].flatten())
    loss = loss + 2 * hidden.pow(2).mean() + (hidden[1:] - hidden[:-1]).pow(2).mean()
    loss.backward()
    norm = torch.sqrt(sum(p.grad.pow(2).sum() for p in copy.parameters()))  # type: ignore[arg-type]
    assert norm > 0.25
    for (name, p), trained in zip(copy.named_parameters(), model.parameters(), strict=True):
        wanted = p - 2.0 * (p.grad * 0.25 / (norm + 1e-6) + 8e-7 * p)
        assert torch.allclose(trained, wanted, rtol=1e-12, atol=1e-15), name


class TestLanguageTraining(TrainingContract):
    def settings(self) -> LanguageModelSettings:
        """With a rate that is too large, so that averaging begins; 65 words in pieces of about 32."""
        changes = {"learning_rate": 25.0, "bptt": 32, "precision": "32-true", "nonmono": 0, "checkpoint_seconds": 0}
        return LanguageModelSettings(**{**TINY, **changes})

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> LanguageResult:
        model = network(dropout=0.3, dropouth=0.2, dropoutx=0.1, dropoute=0.1)
        return LanguageTraining(model, CORPUS, settings, seed + 3, folder=folder, report=report).run()

    def test_the_undisturbed_one_is_averaged(self) -> None:
        assert self._whole().numbers["averaged_from"] == 4


def test_training_learns_and_reports() -> None:
    rows: list[dict[str, float]] = []
    result = StandAloneText(
        CORPUS,
        {**TINY, "dropout": 0, "dropoutx": 0, "epochs": 10, "learning_rate": 20},
        space=SPACE,
        report=rows.append,
    ).train(CELL)
    assert rows == result.history and [row["epoch"] for row in rows] == list(range(1, 11))
    assert result.valid == min(row["valid_perplexity"] for row in rows) < 4 and result.test < 4
    assert math.isclose(rows[0]["perplexity"], math.exp(rows[0]["loss"]))


def test_divergence_is_an_error() -> None:
    with pytest.raises(
        TrainingError,
        match=r"(loss|weights) became infinite or NaN in epoch 1.*\n.*Lower learning_rate \(it is 1e\+30\)",
    ):
        LanguageTraining(
            network(), CORPUS, LanguageModelSettings(**{**TINY, "learning_rate": 1e30, "gradient_clip": None}), 0
        ).run()


def test_memory_that_runs_out_is_named_as_on_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    training = LanguageTraining(network(), CORPUS, LanguageModelSettings(**TINY), 0)
    monkeypatch.setattr(F, "cross_entropy", refuse)
    with pytest.raises(TrainingError, match=r"memory ran out with batch_size=4: .*can't allocate memory") as caught:
        training.run()
    assert caught.value.remedy == "Use shorter pieces (bptt), a smaller batch_size, or a smaller network."


def test_the_evaluator() -> None:
    evaluator = StandAloneText(CORPUS, {**TINY, "epochs": 1}, space=RecurrentCell(nodes=2, hidden=6), seed=4)
    assert evaluator.train(CELL).valid == evaluator.train(CELL).valid  # the same seed gives the same numbers
    with pytest.raises(ConfigError, match="needs its space"):
        StandAloneText(CORPUS, TINY).train(CELL)
    with pytest.raises(ConfigError, match="the network has 8 words, but tiny has 7"):
        StandAloneText(CORPUS, TINY).train(SPACE.with_classes(8).network(CELL))
    with pytest.raises(ConfigError, match="Linear is not a recurrent language model"):
        StandAloneText(CORPUS, TINY).train(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="tiny, validation text: 90 words in 40 sequences are 2 steps each"):
        StandAloneText(CORPUS, {**TINY, "evaluation_batch": 40}).train(network())
    with pytest.raises(ConfigError, match=r"settings.epochs"):
        StandAloneText(CORPUS, {"epochs": 0})
