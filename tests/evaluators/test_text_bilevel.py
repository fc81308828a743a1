"""The search's loop on text: who moves when, second order with clipping, resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.text.bilevel import TextBilevel, TextBilevelTraining
from nni_plugins.evaluators.text.corpus import Corpus
from nni_plugins.evaluators.text.settings import LanguageSearchSettings
from nni_plugins.evaluators.text.streams import batchify
from nni_plugins.evaluators.training import second_order
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.mixed import MixedRecurrent
from nni_plugins.testing.training import TrainingContract

from .test_text_training import CORPUS, WORDS

TINY: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 4,
    "bptt": 8,
    "learning_rate": 2.0,
    "precision": "64-true",
    "accelerator": "cpu",
    "dropout": 0.2,
    "dropoutx": 0.1,
}


def mixed(**options: Any) -> MixedRecurrent:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MixedRecurrent(RecurrentCell(nodes=2, hidden=5, classes=WORDS), **options)


def run(folder: Path | None = None, model: MixedRecurrent | None = None, **changes: Any) -> TextBilevel:
    model = model or mixed(dropout=0.2, dropouth=0.2, dropoutx=0.1)
    return TextBilevelTraining(model, CORPUS, LanguageSearchSettings(**{**TINY, **changes}), 3, folder=folder).run()


@pytest.mark.parametrize("order", [1, 2])
def test_each_step_moves_its_own_parameters(monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    model, alphas, weights = mixed(), [], []
    alone = TextBilevelTraining._architecture_step

    def watched(self: TextBilevelTraining, epoch: int, step: int, piece: tuple[int, int]) -> None:
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        alone(self, epoch, step, piece)
        alphas.append(not torch.equal(before.pop("alphas"), model.alphas))
        weights.append(all(torch.equal(p, dict(model.named_parameters())[name]) for name, p in before.items()))

    monkeypatch.setattr(TextBilevelTraining, "_architecture_step", watched)
    start = model.alphas.detach().clone()
    trained = run(model=model, epochs=3, warmup_epochs=1, order=order)
    assert all(alphas) and all(weights) and len(alphas) > 8
    assert "architecture_loss" not in trained.history[0] and "architecture_perplexity" in trained.history[1]
    assert trained.genotypes[0] == MixedRecurrent.genotype(_with(model, start)) and len(trained.genotypes) == 3
    assert all(p.requires_grad for p in model.parameters())


def _with(model: MixedRecurrent, alphas: torch.Tensor) -> MixedRecurrent:
    model.alphas.data.copy_(alphas)
    return model


def gradients_by_hand(model: MixedRecurrent, rate: float, clip: float, decay: float) -> torch.Tensor:
    """DARTS' second order with clipping, with the exact product of second derivatives and direction instead of a
    difference.
    """
    t, v = batchify(CORPUS.train, 4, "train"), batchify(CORPUS.valid, 4, "valid")
    names = [name for name, _ in sorted(model.named_parameters()) if name != "alphas"]
    weights = [dict(model.named_parameters())[name] for name in names]

    def loss(parameters: dict[str, torch.Tensor], stream: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(model, parameters, (stream[:8],))
        return F.cross_entropy(logits.flatten(0, 1), stream[1:9].flatten())

    def clipped(gradients: Any) -> list[torch.Tensor]:
        norm = torch.sqrt(sum(g.pow(2).sum() for g in gradients))
        assert norm > clip
        return [g * clip / (norm + 1e-6) for g in gradients]

    step = clipped(torch.autograd.grad(loss({}, t), weights))
    ahead = {
        name: (w - rate * (g + decay * w)).detach().requires_grad_()
        for name, w, g in zip(names, weights, step, strict=True)
    }
    *direction, d = torch.autograd.grad(loss(ahead, v), [*ahead.values(), model.alphas])
    first = torch.autograd.grad(loss({}, t), weights, create_graph=True)
    (h,) = torch.autograd.grad(sum((g * u).sum() for g, u in zip(first, clipped(direction), strict=True)), model.alphas)
    return d - rate * h


def test_second_order_with_clipping_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = mixed().double(), []
    for p in model.parameters():
        p.data.mul_(5)
    monkeypatch.setattr(second_order, "EPSILON", 1e-5)  # the difference's own error is then below that of rounding
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: found.append(model.alphas.grad))
    settings = LanguageSearchSettings(
        **{**TINY, "epochs": 1, "order": 2, "short_share": 0, "gradient_clip": 0.05, "learning_rate": 5.0}
    )
    wanted = gradients_by_hand(model, 5.0, 0.05, 5e-7)
    training = TextBilevelTraining(model, CORPUS, settings, 0)
    training._setup()
    training.meters = torch.zeros(training.meter_count, dtype=torch.float64)
    training._architecture_step(0, 0, (0, 8))
    assert len(found) == 1 and (found[0] - wanted).abs().max() < 1e-6 * wanted.abs().max()
    training.settings = settings.model_copy(update={"order": 1})
    training._architecture_step(0, 0, (0, 8))
    assert (found[1] - wanted).abs().max() > 0.01 * wanted.abs().max()  # the two orders differ by far more than that


def test_the_validation_text_is_read_on_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, bool]] = []
    whole = MixedRecurrent.hidden_of

    def recorded(self: MixedRecurrent, tokens: torch.Tensor, state: torch.Tensor | None = None) -> torch.Tensor:
        read.append((len(tokens), state is None))
        return whole(self, tokens, state)

    monkeypatch.setattr(MixedRecurrent, "hidden_of", recorded)
    run(epochs=2, short_share=0)
    # 90 words by 4 are 22 steps: pieces of 8, 8 and 5. 260 words by 4 are 65 steps: 8 pieces of 8.
    assert read[::2] == [(n, n == 8 and k % 3 == 0) for k, n in enumerate([8, 8, 5, 8, 8, 5, 8, 8])] * 2
    assert read[1::2] == [(8, k == 0) for k in range(8)] * 2


class TestTextBilevel(TrainingContract):
    """15 words an epoch, in pieces of about 5."""

    def settings(self) -> LanguageSearchSettings:
        changes = {"epochs": 3, "bptt": 5, "length_deviation": 1.0, "order": 2, "checkpoint_seconds": 0}
        return LanguageSearchSettings(**{**TINY, **changes})

    def run(self, settings: Any, seed: int, folder: Path | None, report: Any) -> TextBilevel:
        with torch_fork(0, "test"):
            model = MixedRecurrent(RecurrentCell(nodes=1, hidden=4, classes=WORDS), dropout=0.2, dropouth=0.2)
        corpus = Corpus("tiny", CORPUS.words, CORPUS.train[:60], CORPUS.valid[:40], CORPUS.test)
        return TextBilevelTraining(model, corpus, settings, seed, folder=folder, report=report).run()


def test_the_curve_in_the_folder_has_genotypes(tmp_path: Path) -> None:
    trained = run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{**row, "genotype": g} for row, g in zip(trained.history, trained.genotypes, strict=True)]


def test_what_cannot_be_searched() -> None:
    with pytest.raises(ConfigError, match="tiny, validation text: 90 words in 40 sequences"):
        run(batch_size=40)
    with pytest.raises(TrainingError, match="infinite or NaN in epoch 1"):
        run(learning_rate=1e30, gradient_clip=None)
