"""Supernets that run one operation of each edge: what is drawn, what comes out, and which gradients flow."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from nni_plugins.spaces import DARTS, NASBench201, RobustDARTS, SearchSpace, SpaceError
from nni_plugins.spaces.mixed import (
    GumbelOptions,
    GumbelSupernet,
    MixedSupernet,
    SampledOptions,
    SampledSupernet,
    UniformSupernet,
)
from nni_plugins.spaces.mixed.cell import MixedCell
from nni_plugins.spaces.mixed.edge import MixedEdge
from nni_plugins.spaces.mixed.sampled import ABSENT, SampledCell, gumbel_softmax
from nni_plugins.spaces.nasbench201 import codec

NB201 = NASBench201(nodes=3, channels=4, cells_per_stage=2)
CELLS = DARTS(channels=4, cells=3)
SPACES: list[SearchSpace] = [NB201, CELLS, *(RobustDARTS(v, channels=4, cells=3) for v in ("S1", "S2", "S3"))]
IDS = ["nasbench201", "darts", "S1", "S2", "S3"]


def spread(supernet: Any) -> Any:
    """In float64 with weights and architecture parameters moved away from where they begin."""
    supernet.double()
    with torch.no_grad():
        for p in supernet.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return supernet


def built(kind: type[SampledSupernet], space: SearchSpace, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return spread(kind(space, (GumbelOptions if kind is GumbelSupernet else SampledOptions)(**options)))


def side(space: SearchSpace) -> torch.Tensor:
    torch.manual_seed(5)
    return torch.randn(3, 3, 8, 8, dtype=torch.float64)


# -- the draw ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("temperature", [10.0, 0.1])
def test_operations_are_drawn_with_the_probabilities_of_the_softmax(temperature: float) -> None:
    alphas, draws = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0]), 20_000
    torch.manual_seed(1)
    hard, chosen = gumbel_softmax(alphas.expand(draws, -1).contiguous(), temperature)
    counts = torch.bincount(chosen, minlength=5).numpy()
    expected = (alphas.double().softmax(0) * draws).numpy()
    assert chisquare(counts, expected).pvalue > 0.01 and chisquare(counts, np.full(5, draws / 5)).pvalue < 1e-9
    assert torch.equal(hard, nn.functional.one_hot(chosen, 5).float()), "exactly one-hot"


@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1])
def test_the_gradient_of_a_draw_by_hand(temperature: float) -> None:
    """d(c . h)/d alpha = p (c - c . p) / temperature, with p the relaxed sample; the inner log-softmax drops out, as
    its shift does.
    """
    alphas = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    torch.manual_seed(3)
    hard, chosen = gumbel_softmax(alphas, temperature)
    (hard * c).sum().backward()
    torch.manual_seed(3)
    noise = -torch.empty(1, 3, dtype=torch.float64).exponential_().log()
    p = ((alphas.detach() + noise) / temperature).softmax(-1)
    assert torch.allclose(cast(torch.Tensor, alphas.grad), p * (c - (c * p).sum()) / temperature, atol=1e-14)
    assert chosen.item() == p.argmax().item() and alphas.grad is not None and alphas.grad.abs().max() > 0


def test_the_temperature_falls_linearly() -> None:
    supernet = GumbelSupernet(NB201)
    seen = []
    for epoch in range(5):
        supernet.begin_epoch(epoch, 5)
        seen.append(supernet.temperature)
    assert seen == pytest.approx([10, 7.525, 5.05, 2.575, 0.1])
    supernet.begin_epoch(0, 1)
    assert supernet.temperature == 10


# -- what comes out ----------------------------------------------------------------------------------------------------
def test_names_and_initial_weights_are_those_of_a_mixed_supernet() -> None:
    for space in (NB201, CELLS):
        states = []
        for kind in (MixedSupernet, GumbelSupernet, UniformSupernet):
            torch.manual_seed(7)
            states.append(kind(space).state_dict())
        assert states[0].keys() == states[1].keys() == states[2].keys()
        assert all(torch.equal(states[0][name], state[name]) for state in states[1:] for name in states[0])


def by_hand(supernet: SampledSupernet, x: torch.Tensor, row: list[int]) -> torch.Tensor:
    """NAS-Bench-201's network, module by module, with the operations in ``row`` and no weights."""
    x = supernet.stem(x)
    for module in supernet.cells:
        if not isinstance(module, MixedCell):
            x = module(x)
            continue
        states = [x]
        for j in range(1, module.nodes):
            total = torch.zeros_like(x)
            for e, (i, target) in enumerate(module.edge_list):
                name = module.names[e][row[e]]
                if target != j or name == "none":
                    continue
                if "pool" in name:
                    pool, bn = cast(Any, module.pools[str(i)])[name]
                    total = total + bn(pool(states[i]))
                else:
                    total = total + cast(MixedEdge, module.edges[e]).operations[name](states[i])
            states.append(total)
        x = states[-1]
    size = (8, 8)
    return cast(torch.Tensor, supernet.classifier(supernet.lastact(x), size))


@pytest.mark.parametrize("training", [True, False])
def test_a_path_is_the_stand_alone_network_of_the_same_modules(training: bool) -> None:
    supernet, x = built(UniformSupernet, NB201).train(training), side(NB201)
    for row in [[3, 1, 2], [4, 4, 3], [2, 0, 3], [0, 0, 0]]:
        path = np.broadcast_to(np.array(row, dtype=np.int8), (NB201.repeats, 3))
        assert torch.allclose(supernet.forward_path(x, path), by_hand(supernet, x, row), atol=1e-12)
    rows = np.array([[3, 1, 2]] * 5 + [[2, 4, 1]], dtype=np.int8)
    mixed = supernet.forward_path(x, rows)
    assert not torch.allclose(mixed, supernet.forward_path(x, rows[:1].repeat(6, 0))), "every cell has a row of its own"


@pytest.mark.parametrize(
    "options", [{}, {"option": "C"}, {"option": "A", "pool_affine": True}, {"shared": False}], ids=str
)
@pytest.mark.parametrize("space", SPACES, ids=IDS)
def test_a_draw_equals_the_mixture_with_one_hot_weights(space: SearchSpace, options: dict[str, Any]) -> None:
    """Outputs, and gradients of all weights and of the chosen operations' weights; the mixture runs every operation."""
    supernet, x = built(GumbelSupernet, space, **options).train(), side(space)
    twin = spread(MixedSupernet(space, supernet.options.plain()))
    twin.load_state_dict(supernet.state_dict())
    torch.manual_seed(11)
    y = supernet(x)
    torch.manual_seed(11)
    drawn = {kind: gumbel_softmax(alpha, supernet.temperature) for kind, alpha in supernet.alphas.items()}
    hard = {kind: h.detach().requires_grad_() for kind, (h, _) in drawn.items()}
    expected = twin.forward_weights(x, {kind: h.unbind() for kind, h in hard.items()}, {})
    assert torch.allclose(y, expected, atol=1e-12)
    c = torch.randn_like(y)
    (y * c).sum().backward()
    (expected * c).sum().backward()
    others, ran = dict(twin.named_parameters()), 0
    for name, p in supernet.named_parameters():
        if name.startswith("alphas."):
            continue
        theirs = others[name].grad
        if p.grad is None:
            assert theirs is None or theirs.abs().max() == 0, f"{name} was not run"
        else:
            assert torch.allclose(p.grad, cast(torch.Tensor, theirs), atol=1e-9), name
            ran += 1
    assert ran > 5
    torch.manual_seed(11)
    for kind, alpha in supernet.alphas.items():
        only = nn.functional.one_hot(drawn[kind][1], alpha.shape[1]) * cast(
            torch.Tensor, hard[kind].grad
        )  # the others were not run
        copy = alpha.detach().clone().requires_grad_()
        (gumbel_softmax(copy, supernet.temperature)[0] * only).sum().backward()
        assert torch.allclose(cast(torch.Tensor, alpha.grad), cast(torch.Tensor, copy.grad), atol=1e-9)
        assert cast(torch.Tensor, alpha.grad).abs().max() > 0


def test_only_what_was_drawn_moves_statistics() -> None:
    supernet, x = GumbelSupernet(NB201).train(), torch.randn(4, 3, 8, 8)
    torch.manual_seed(2)
    supernet(x)
    torch.manual_seed(2)
    chosen = gumbel_softmax(supernet.alphas["cell"], supernet.temperature)[1].tolist()
    moved = {
        name
        for name, b in supernet.named_buffers()
        if name.startswith("cells.0.edges.") and name.endswith("running_mean") and b.abs().max() > 0
    }
    ran = {f"cells.0.edges.{e}.operations.{supernet.names['cell'][e][o]}" for e, o in enumerate(chosen)}
    assert {name.rsplit(".", 2)[0] for name in moved} == {name for name in ran if "conv" in name}


def test_a_network_of_nothing_still_has_a_gradient() -> None:
    """All edges draw ``none``: with frozen weights the loss depends on the architecture alone, whose gradient is then
    zero.
    """
    supernet = GumbelSupernet(NB201).train()
    with torch.no_grad():
        supernet.alphas["cell"][:, 0] = 100.0
    for name, p in supernet.named_parameters():
        p.requires_grad_(name.startswith("alphas."))
    supernet(torch.randn(2, 3, 8, 8)).sum().backward()
    assert torch.equal(cast(torch.Tensor, supernet.alphas["cell"].grad), torch.zeros(3, 5))


def test_partial_channels_and_shares_with_gumbel_draws() -> None:
    supernet = built(GumbelSupernet, CELLS, partial_channels=2, edge_normalization=True).train()
    plain = spread(MixedSupernet(CELLS, supernet.options.plain()))
    plain.load_state_dict(supernet.state_dict())
    x = side(CELLS)
    torch.manual_seed(4)
    y = supernet(x)
    torch.manual_seed(4)
    hard = {kind: gumbel_softmax(alpha, supernet.temperature)[0].unbind() for kind, alpha in supernet.alphas.items()}
    assert torch.allclose(y, plain.forward_weights(x, hard, plain.probabilities()[1]), atol=1e-12)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in supernet.betas.values())


# -- SETN --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", SPACES, ids=IDS)
def test_a_path_of_setn_equals_that_of_the_single_path_supernet(space: SearchSpace) -> None:
    """DARTS' edges that are not taken are absent. Weights are carried over by edge and operation."""
    supernet, x = built(UniformSupernet, space).train(), side(space)
    single = cast(
        Any,
        space.supernet(affine=False)
        if isinstance(space, NASBench201)
        else space.supernet(affine=False, pool_affine=False),
    ).double()
    theirs = {}
    for name in single.state_dict():
        parts = name.split(".")
        if parts[0] == "cells" and parts[2] == "edges":
            kind, e = int(parts[1]), parts[3]
            if isinstance(space, NASBench201):
                e = str([f"{i}_{j}" for i, j in space.edges].index(parts[3]))
                operation = parts[4]
            else:
                listed = [n for n in supernet.names[supernet.kinds[kind]][int(e)] if n != "none"]
                operation = listed[int(parts[4])]
            if "pool" in operation:
                continue
            theirs[name] = f"cells.{kind}.edges.{e}.operations.{operation}.{'.'.join(parts[5:])}"
        elif parts[0] == "cells" and parts[2] == "calibrations":
            theirs[name] = f"calibrations.{parts[1]}.{'.'.join(parts[3:])}"
        else:
            theirs[name] = name
    ours = supernet.state_dict()
    missing = single.load_state_dict(
        {name: ours[other] for name, other in theirs.items() if other in ours}, strict=False
    )
    assert not missing.unexpected_keys and all(
        "num_batches" in name or "running" in name for name in missing.missing_keys
    )
    for row in space.sample(np.random.default_rng(0), 4):
        path = np.broadcast_to(row, (space.repeats, len(row)))
        assert torch.allclose(supernet.forward_path(x, path), single.train().forward_path(x, path), atol=1e-11)
    rows = space.sample(np.random.default_rng(1), space.repeats)
    assert torch.allclose(supernet.forward_path(x, rows), single.forward_path(x, rows), atol=1e-11), (
        "a path of its own for each cell"
    )


def test_the_picks_of_darts_cells() -> None:
    supernet = UniformSupernet(CELLS)
    picks = supernet.picks(np.broadcast_to(CELLS.sample(np.random.default_rng(0), 1), (3, len(CELLS.decisions))))
    assert len(picks) == 3 and picks[0] != picks[1], "a normal and a reduction cell"
    for cell in picks:
        for node, edges in enumerate([cell[:2], cell[2:5], cell[5:9], cell[9:]]):
            assert sum(pick != ABSENT for pick in edges) == 2 and 0 not in edges, (
                f"two inputs at node {node}, and never none"
            )


def test_the_two_steps_of_setn() -> None:
    supernet, x = built(UniformSupernet, NB201, update="active").train(), side(NB201)
    supernet.begin_step("weights")
    torch.manual_seed(9)
    y = supernet(x)
    torch.manual_seed(9)
    path = supernet.draw()
    assert path.shape == (6, 3) and (path == path[0]).all() and torch.allclose(y, supernet.forward_path(x, path))
    assert y.grad_fn is not None and torch.autograd.grad(
        y.sum(), list(supernet.alphas.values()), allow_unused=True
    ) == (None,)
    supernet.begin_step("architecture")
    twin = spread(MixedSupernet(NB201, supernet.options))
    twin.load_state_dict(supernet.state_dict())
    assert torch.equal(supernet(x), twin(x)), "the whole mixture"


def test_setn_draws_uniformly() -> None:
    supernet = UniformSupernet(NB201)
    torch.manual_seed(0)
    rows = np.stack([supernet.draw()[0] for _ in range(2000)])
    counts = np.bincount(rows.astype(np.int64) @ np.array([25, 5, 1]), minlength=125)
    assert chisquare(counts).pvalue > 0.01


def test_all_weights_can_decay() -> None:
    for update in ("all", "active"):
        supernet = UniformSupernet(NB201, SampledOptions(update=update))
        supernet.alphas["cell"].requires_grad_(False)
        supernet.begin_step("architecture")
        assert all(p.grad is None for p in supernet.parameters())
        supernet.begin_step("weights")
        zero = [p.grad is not None and not p.grad.any() for p in supernet.parameters() if p.requires_grad]
        assert all(zero) if update == "all" else not any(zero)
        assert supernet.alphas["cell"].grad is None


def test_what_is_refused() -> None:
    for make, message in (
        (lambda: SampledOptions(update="some"), r"update: must be one of all, active, but got 'some'"),
        (lambda: GumbelOptions(first_temperature=0.0), "first_temperature > 0 must hold"),
        (lambda: GumbelOptions(last_temperature=float("inf")), "last_temperature > 0 must hold"),
        (lambda: UniformSupernet(CELLS, SampledOptions(partial_channels=2)), "no meaning for single architectures"),
    ):
        with pytest.raises(SpaceError, match=message):
            make()
    supernet, failing = GumbelSupernet(NB201), torch.randn(2, 4, 8, 8)
    with pytest.raises(SpaceError):
        supernet(failing)
    assert all(cell.picks is None for cell in supernet.cells if isinstance(cell, MixedCell)), (
        "an error leaves the mixture behind"
    )


@pytest.mark.parametrize("pick", [0, 1, 3])
def test_the_gradient_of_gdas_authors(pick: int) -> None:
    """Weights of operations that are not run are added as numbers: each has the gradient of ones everywhere."""
    torch.manual_seed(2)
    cell = SampledCell([(0, 1)], [codec.OPERATIONS], 4, False, SampledOptions(), 1, pool_norms=False).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    ones = torch.linspace(-1, 2, x.numel(), dtype=torch.float64).view_as(x)
    found = {}
    for adds in (False, True):
        cell.picks, cell.adds_others = [pick], adds
        weights = nn.functional.one_hot(torch.tensor(pick), 5).double().requires_grad_()
        y = cell.states([x], [weights], None)[-1]
        found[adds] = y, torch.autograd.grad((y * ones).sum(), weights)[0]
    (y, paper), (same, authors) = found[False], found[True]
    assert torch.allclose(y, same)
    others = torch.arange(5) != pick
    assert torch.equal(paper[others], torch.zeros(4, dtype=torch.float64))
    assert torch.allclose(authors[others], ones.sum().expand(4)) and torch.allclose(authors[pick], paper[pick])


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SpaceError, match="gradient: must be one of paper, authors, but got 'both'"):
        GumbelOptions(gradient="both")
    with pytest.raises(SpaceError, match="auxiliary_skip belongs to the whole mixture"):
        SampledOptions(auxiliary_skip=1.0)
