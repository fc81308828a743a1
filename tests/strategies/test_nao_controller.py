"""NAO's controller: its sizes, its loss by hand, its decoders, its training, and what it proposes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.spaces import NAO, NASBench101, NASBench201, RecurrentCell, SearchSpace
from nni_plugins.strategies.nao import (
    Controller,
    ControllerSettings,
    ProposalSettings,
    SpaceCodec,
    min_max,
    propose,
    train,
)
from nni_plugins.strategies.nao.proposals import random_rows
from nni_plugins.strategies.nao.training import NoDirection, build, predicted, ranks

SMALL = ControllerSettings(embedding=8, hidden=16, epochs=30)


def random_tokens(space: SearchSpace, n: int, seed: int = 0) -> tuple[SpaceCodec, torch.Tensor]:
    codec = SpaceCodec(space)
    return codec, torch.from_numpy(codec.tokens.encode(codec.sample(np.random.default_rng(seed), n)))


def test_the_number_of_parameters() -> None:
    """80,845 in NAO-V2's official code, with two tokens a step of the encoder."""
    controller = Controller(SpaceCodec(NAO()).tokens, ControllerSettings())
    assert sum(p.numel() for p in controller.parameters()) == 80_845
    wide = Controller(SpaceCodec(NAO()).tokens, ControllerSettings(predictor=(200, 200, 200)))
    assert sum(p.numel() for p in wide.predictor.parameters()) == 64 * 200 + 200 + 2 * (200 * 200 + 200) + 201


@pytest.mark.parametrize("space", [NAO(), NASBench201(), RecurrentCell(nodes=4)])
def test_shapes_and_lengths(space: SearchSpace) -> None:
    codec, tokens = random_tokens(space, 7)
    controller = build(codec, ControllerSettings(), 0)
    encoded = controller.encode(tokens)
    steps = codec.tokens.sequence // codec.tokens.group
    assert (
        encoded.outputs.shape == (7, steps, 64) and encoded.embedding.shape == (7, 64) and encoded.value.shape == (7,)
    )
    torch.testing.assert_close(encoded.outputs.norm(dim=-1), torch.ones(7, steps))
    torch.testing.assert_close(encoded.embedding, torch.nn.functional.normalize(encoded.outputs.mean(dim=1), dim=-1))
    assert ((encoded.value > 0) & (encoded.value < 1)).all()


@pytest.mark.parametrize("space", [NAO(), NASBench201(), RecurrentCell(nodes=4)])
def test_one_call_of_the_decoder_equals_one_token_after_the_other(space: SearchSpace) -> None:
    codec, tokens = random_tokens(space, 9)
    controller = build(codec, ControllerSettings(), 0).double()
    encoded = controller.encode(tokens)
    whole = controller.decode(encoded.outputs, encoded.embedding, tokens)
    stepwise, given = controller.decode_stepwise(encoded.outputs, encoded.embedding, tokens)
    assert (given == tokens).all() and (whole - stepwise).abs().max() < 1e-6
    _, greedy = controller.decode_stepwise(encoded.outputs, encoded.embedding)
    again, _ = controller.decode_stepwise(encoded.outputs, encoded.embedding, greedy)
    best = again.masked_fill(~controller.allowed, -math.inf).argmax(dim=-1)
    assert (best == greedy).all(), "greedy is the likeliest allowed token after the greedy ones"


@pytest.mark.parametrize("space", [NAO(), NASBench201(), RecurrentCell(nodes=8)])
@pytest.mark.parametrize("size", [1e6, math.inf, math.nan])
def test_whatever_the_latent_is_an_architecture_is_decoded(space: SearchSpace, size: float) -> None:
    codec, tokens = random_tokens(space, 64)
    controller = build(codec, ControllerSettings(), 0)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.mul_(20)
    outputs, gradient = controller.gradient(tokens)
    moved = controller.moved(outputs, torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0)), size)
    for architecture in codec.architectures(codec.tokens.decode(moved.numpy())):
        assert space.check(architecture) == architecture


def test_the_gradient_is_that_of_the_predicted_value() -> None:
    codec, tokens = random_tokens(NASBench201(), 3)
    controller = build(codec, SMALL, 1).double()
    outputs, gradient = controller.gradient(tokens)
    rng = torch.Generator().manual_seed(0)
    direction = torch.randn(outputs.shape, dtype=torch.float64, generator=rng)
    with torch.no_grad():
        rise = controller.predict(outputs + 1e-6 * direction)[1] - controller.predict(outputs - 1e-6 * direction)[1]
    torch.testing.assert_close(rise / 2e-6, (gradient * direction).sum(dim=(1, 2)), rtol=1e-5, atol=1e-8)


def test_the_joint_loss_by_hand() -> None:
    codec, tokens = random_tokens(NASBench201(nodes=3), 2)
    controller = build(codec, SMALL, 0)
    targets = torch.tensor([0.25, 1.0])
    with torch.no_grad():
        encoded = controller.encode(tokens)
        logits = controller.decode(encoded.outputs, encoded.embedding, tokens).tolist()
        loss, error, likelihood = controller.loss(tokens, targets)
    values = encoded.value.tolist()
    by_hand = ((values[0] - 0.25) ** 2 + (values[1] - 1.0) ** 2) / 2
    negative = [
        math.log(sum(map(math.exp, row))) - row[token]
        for rows, own in zip(logits, tokens.tolist(), strict=True)
        for row, token in zip(rows, own, strict=True)
    ]
    assert len(negative) == 2 * 3
    assert error.item() == pytest.approx(by_hand, rel=1e-5) and likelihood.item() == pytest.approx(
        sum(negative) / 6, rel=1e-5
    )
    assert loss.item() == pytest.approx(0.8 * by_hand + 0.2 * sum(negative) / 6, rel=1e-5)


# -- targets and training ----------------------------------------------------------------------------------------------
def test_targets() -> None:
    np.testing.assert_allclose(min_max(np.array([90.0, 80.0, 85.0])), [1, 0, 0.5])
    np.testing.assert_allclose(ranks(np.array([90.0, 10.0, 89.0, 89.0, 91.0])), [0.75, 0, 0.375, 0.375, 1])


@pytest.mark.parametrize("function", [min_max, ranks])
@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([1.0, math.nan], TrainingError, "value 1 is nan[\\s\\S]*Leave failed"),
        ([math.inf, 1.0], TrainingError, "value 0 is inf"),
        ([], TrainingError, "there is none"),
        ([2.0, 2.0, 2.0], NoDirection, "all 3 values are 2.0, so none is better"),
        ([2.0], NoDirection, "all 1 values"),
    ],
)
def test_values_without_targets(
    function: object, values: list[float], error: type[TrainingError], message: str
) -> None:
    with pytest.raises(error, match=message):
        function(np.array(values))  # type: ignore[operator]


def pool(n: int = 60) -> tuple[SpaceCodec, np.ndarray, np.ndarray]:
    """Cells whose value is how many 3x3 convolutions they have, and a little for the first edge."""
    codec = SpaceCodec(NASBench201())
    rows = random_rows(codec, (), n, np.random.default_rng(3)).rows
    return codec, rows, (rows == 3).sum(axis=1) + 0.1 * (rows[:, 0] == 3)


def test_training_learns_and_repeats_itself() -> None:
    codec, rows, values = pool()
    settings = ControllerSettings(epochs=40, batch_size=20, learning_rate=1e-2)
    before = torch.random.get_rng_state()
    first, second = train(codec, rows, values, settings, 7), train(codec, rows, values, settings, 7)
    assert torch.equal(before, torch.random.get_rng_state()), "no global generator is touched"
    assert first.history == second.history and len(first.history) == 40
    assert first.history[-1]["loss"] < 0.1 * first.history[0]["loss"]
    brief = settings.model_copy(update={"epochs": 1})
    assert (
        train(codec, rows, values, brief, 8).history[0]
        != first.history[0]
        != train(codec, rows, values, brief, 7, step=1).history[0]
    )
    unseen = codec.sample(np.random.default_rng(9), 200)
    guesses = predicted(codec, first.controller, unseen)
    assert np.corrcoef(guesses, (unseen == 3).sum(axis=1))[0, 1] > 0.6
    tokens = torch.from_numpy(codec.tokens.encode(rows))
    encoded = first.controller.encode(tokens)
    written = first.controller.decode_stepwise(encoded.outputs, encoded.embedding)[1]
    assert (written == tokens).float().mean() > 0.95, "the decoder has learned to write what the encoder read"


def test_a_controller_may_be_kept() -> None:
    codec, rows, values = pool(30)
    first = train(codec, rows, values, SMALL, 0)
    loss = first.history[-1]["loss"]
    again = train(codec, rows, values, SMALL, 0, step=1, controller=first.controller)
    assert again.controller is first.controller and again.history[0]["loss"] < 1.1 * loss


def test_patience() -> None:
    codec, rows, values = pool(30)
    settings = ControllerSettings(epochs=200, learning_rate=1e-12, patience=3, embedding=8, hidden=16)
    assert len(train(codec, rows, values, settings, 0).history) == 4, "one epoch is the best, three do not lower it"


def test_copies_are_twins() -> None:
    codec, rng = SpaceCodec(NAO()), np.random.default_rng(0)
    rows, values = codec.sample(rng, 6), np.arange(6.0)
    settings = ControllerSettings(epochs=1, batch_size=10, copies=4, embedding=8, hidden=16)
    seen: list[torch.Tensor] = []
    controller = build(codec, settings, 0)
    inner = controller.loss
    controller.loss = lambda tokens, targets: (
        seen.append(torch.cat([tokens, targets[:, None] * 5], 1)),
        inner(tokens, targets),
    )[1]  # type: ignore[method-assign, assignment]
    train(codec, rows, values, settings, 0, controller=controller)
    assert [len(batch) for batch in seen] == [10, 10, 4]
    data = torch.cat(seen).numpy()
    known = dict(zip(codec.keys(rows), values, strict=True))
    keys = codec.keys(codec.tokens.decode(data[:, :40].astype(np.int64)))
    assert sorted(keys) == sorted([*known] * 4)
    np.testing.assert_allclose(data[:, 40], [known[key] for key in keys], atol=1e-5)


def test_rows_and_values_must_match() -> None:
    codec, rows, values = pool(10)
    with pytest.raises(ConfigError, match="10 architectures need as many values, but got 9"):
        train(codec, rows, values[:9], SMALL, 0)


# -- proposals ---------------------------------------------------------------------------------------------------------
def test_proposals_are_new_and_counted() -> None:
    codec, rows, values = pool()
    trained = train(codec, rows, values, ControllerSettings(epochs=40, learning_rate=5e-3), 0)
    seeds = rows[np.argsort(-values)[:20]]
    known = codec.keys(rows)
    settings = ProposalSettings(seeds=20, new=15)
    found = propose(codec, trained.controller, seeds, known, settings, 0)
    keys = codec.keys(found.rows)
    assert len(found.rows) == 15 == len(set(keys)) and not set(keys) & set(known)
    assert (
        found.counts() == {"gradient": 15, "mutation": 0, "random": 0}
        and found.decoded >= 20 * found.largest_step >= 20
    )
    assert (found.rows == 3).sum(axis=1).mean() > (rows == 3).sum(axis=1).mean() + 0.5, "uphill"
    again = propose(codec, trained.controller, seeds, known, settings, 0)
    assert (again.rows == found.rows).all() and again.origins == found.origins


@pytest.mark.parametrize(("fill", "origins"), [("none", set()), ("mutation", {"mutation"}), ("random", {"random"})])
def test_what_fills_a_round_is_said(fill: str, origins: set[str]) -> None:
    codec, rows, _ = pool()
    controller = build(codec, SMALL, 0)
    settings = ProposalSettings.model_validate({"new": 30, "last_step": 1, "fill": fill})
    found = propose(codec, controller, rows[:1], codec.keys(rows), settings, 0)
    assert found.largest_step == 1 and found.decoded == 1
    assert set(found.origins) - {"gradient"} == origins and found.origins.count("gradient") <= 1
    assert len(found.rows) == (30 if origins else len(found.origins))


@pytest.mark.parametrize(("last_step", "moves"), [(0.3, 3), (0.29, 2), (0.39, 3)])
def test_the_last_step_is_taken_though_steps_add_up_to_a_little_more(last_step: float, moves: int) -> None:
    assert 0.1 + 0.1 + 0.1 > 0.3
    codec, rows, _ = pool()
    sizes = {"first_step": 0.1, "step": 0.1, "last_step": last_step}
    settings = ProposalSettings.model_validate({"new": 10_000, "fill": "none", **sizes})
    found = propose(codec, build(codec, SMALL, 0), rows[:4], (), settings, 0)
    assert found.largest_step == pytest.approx(0.1 * moves) and found.decoded == 4 * moves


def test_a_space_that_is_used_up() -> None:
    codec = SpaceCodec(NASBench201(nodes=3))
    everything = codec.space.enumerate().astype(np.int64)
    distinct = set(codec.keys(everything))
    first = random_rows(codec, (), 500, np.random.default_rng(0))
    assert set(codec.keys(first.rows)) == distinct and len(first.rows) == len(distinct)
    found = propose(codec, build(codec, SMALL, 0), first.rows[:5], distinct, ProposalSettings(new=5, last_step=3), 0)
    assert (
        len(found.rows) == 0
        and found.counts() == {"gradient": 0, "mutation": 0, "random": 0}
        and found.duplicates == found.decoded == 15
    )


def test_what_a_space_forbids_is_dropped_and_counted() -> None:
    """NAS-Bench-101's matrices exclude one another, so the mask alone cannot tell."""
    space = NASBench101(nodes=3)
    codec = SpaceCodec(space)
    controller = build(codec, ControllerSettings(), 0)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.mul_(20)
    seeds = codec.sample(np.random.default_rng(0), 50)
    found = propose(codec, controller, seeds, codec.keys(seeds), ProposalSettings(new=40, last_step=5), 0)
    assert found.invalid > 0 and codec.valid(found.rows).all() and len(found.rows) == 40
    with pytest.raises(ConfigError, match="at least one architecture"):
        propose(codec, controller, seeds[:0], (), ProposalSettings(), 0)
