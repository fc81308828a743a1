"""The mixed recurrent cell against an explicit loop, at one-hot mixtures, and what is derived from it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from nni_plugins.spaces.errors import SpaceError
from nni_plugins.spaces.recurrent import RecurrentCell
from nni_plugins.spaces.recurrent.codec import OPERATIONS
from nni_plugins.spaces.recurrent.mixed import MIXED, MixedRecurrent, derived, edge, ranked
from nni_plugins.spaces.recurrent.network import RecurrentNetwork

FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda x: x}


def mixed(
    nodes: int = 3, sharing: str = "node", batch_norm: bool = True, seed: int = 0, **dropouts: float
) -> MixedRecurrent:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MixedRecurrent(
            RecurrentCell(nodes=nodes, hidden=5, classes=11, sharing=sharing), batch_norm, **dropouts
        ).double()
        torch.nn.init.normal_(model.alphas)
        for p in model.parameters():  # away from the linear part of the activations
            if p is not model.alphas:
                p.data.mul_(20)
    return model


def tokens(steps: int = 4, batch: int = 6) -> torch.Tensor:
    return torch.randint(0, 11, (steps, batch), generator=torch.Generator().manual_seed(1))


def normalised(s: torch.Tensor) -> torch.Tensor:
    return (s - s.mean(0)) / torch.sqrt(((s - s.mean(0)) ** 2).mean(0) + 1e-5)


def matrix(model: MixedRecurrent, source: int, node: int, k: int) -> torch.Tensor:
    sharing, stored = model.search_space.sharing, model.matrices[node - 1]
    return stored[0 if sharing == "node" else source, k if sharing == "edge_op" else 0]


def explicit(model: MixedRecurrent, x: torch.Tensor) -> torch.Tensor:
    """The formula of the search, one edge and one activation at a time."""
    probabilities = torch.tensor(model.numbers(), dtype=torch.float64)
    h, outputs = torch.zeros(x.shape[1], 5, dtype=torch.float64), []
    for word in x:
        y = torch.cat([model.embedding.weight[word], h], 1) @ model.w0.t()
        s0 = h + torch.sigmoid(y[:, :5]) * (torch.tanh(y[:, 5:]) - h)
        states = [normalised(s0) if model.batch_norm else s0]
        for j in range(1, model.search_space.nodes + 1):
            s = torch.zeros_like(h)
            for i in range(j):
                for k, name in enumerate(OPERATIONS):
                    c, g = (states[i] @ matrix(model, i, j, k).t()).chunk(2, 1)
                    s = s + probabilities[j * (j - 1) // 2 + i, 1 + k] * (
                        states[i] + torch.sigmoid(c) * (FUNCTIONS[name](g) - states[i])
                    )
            states.append(normalised(s) if model.batch_norm else s)
        h = sum(states[1:], torch.zeros_like(h)) / model.search_space.nodes
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize("sharing", ["node", "edge", "edge_op"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_cell_is_the_formula(sharing: str, batch_norm: bool) -> None:
    model = mixed(sharing=sharing, batch_norm=batch_norm)
    with torch.no_grad():
        hidden, wanted = model.hidden_of(tokens()), explicit(model, tokens())
    assert hidden.abs().max() > 0.3 and (hidden - wanted).abs().max() < 1e-12
    continued = model.hidden_of(tokens()[2:], model.hidden_of(tokens()[:2])[-1])
    assert torch.allclose(continued, hidden[2:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("sharing", ["node", "edge", "edge_op"])
def test_a_mixture_of_one_cell_is_its_network(sharing: str) -> None:
    """Exactly so without the search's batch norm, which the stand-alone cell does not have; the test above has it."""
    model = mixed(nodes=4, sharing=sharing, batch_norm=False, dropouth=0.3, dropout=0.2, dropouti=0.1)
    cell = [("relu", 0), ("tanh", 1), ("identity", 0), ("sigmoid", 2)]
    with torch.no_grad():
        model.alphas.fill_(0)
        model.alphas[:, 0] = 1e4  # none
        for j, (name, source) in enumerate(cell, start=1):
            model.alphas[edge(source, j)] = torch.tensor([1e4 * (name == other) for other in MIXED])
    space = model.search_space
    (architecture,) = [space.from_string(model.genotype())]
    assert space.cell(architecture) == cell
    network = space.network(architecture, dropouth=0.3, dropout=0.2, dropouti=0.1).double()
    assert isinstance(network, RecurrentNetwork)
    own = {name: p for name, p in model.state_dict().items() if not name.startswith(("alphas", "matrices"))}
    chosen = [matrix(model, source, j, OPERATIONS.index(name)) for j, (name, source) in enumerate(cell, start=1)]
    network.load_state_dict({**own, "nodes": torch.stack(chosen)})
    for mode in (False, True):  # in training the same masks are drawn
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(5)
            a = model.train(mode)(tokens())
            torch.manual_seed(5)
            assert (network.train(mode)(tokens()) - a).abs().max() < 1e-12


def test_masks_are_one_a_sequence_and_reach_only_the_matrices() -> None:
    model = mixed(nodes=1, batch_norm=False, dropouth=0.5).train()
    with torch.no_grad():
        model.w0.zero_()  # then state 0 is half of the previous output
        model.alphas.copy_(torch.tensor([[0.0, 0, 0, 0, 1e4]]))
        model.matrices[0].zero_()[0, 0, 5:] = torch.eye(5)  # c = 0, g = s: the node is s + (m s - s) / 2
        torch.manual_seed(0)
        hidden = model.hidden_of(tokens(), torch.ones(6, 5, dtype=torch.float64))
    factor = hidden[0]  # 0.5 * (1 + m) / 2 with m in {0, 2}
    assert set(factor.flatten().tolist()) == {0.25, 0.75}
    assert torch.allclose(hidden, torch.stack([factor**t for t in range(1, 5)]), atol=1e-15)


def test_shapes_and_initial_values() -> None:
    model = MixedRecurrent(RecurrentCell(hidden=4, classes=9))  # eight nodes: 36 edges, as in the official code
    assert model.alphas.shape == (36, 5) and 2e-4 < float(model.alphas.detach().std()) < 2e-3
    assert list(model.architecture_parameters()) == ["alphas"] and "alphas" in dict(model.named_parameters())
    assert np.allclose(np.sum(model.numbers(), 1), 1) and len(model.matrices) == 8
    assert (
        sum(
            p.numel()
            for p in MixedRecurrent(
                RecurrentCell(nodes=3, hidden=4, classes=9, sharing="edge_op")
            ).matrices.parameters()
        )
        == 6 * 4 * 32
    )
    assert model(torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 9)
    with pytest.raises(SpaceError, match="at least 2 sequences, but got 1"):
        model(torch.zeros(2, 1, dtype=torch.int64))


def test_gradients_reach_every_parameter() -> None:
    model = mixed()
    torch.autograd.gradcheck(
        lambda a: torch.func.functional_call(model, {"alphas": a}, (tokens(2, 3),)), (model.alphas,), atol=1e-5
    )
    model(tokens()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_derivation_by_hand() -> None:
    space = RecurrentCell(nodes=2)
    #                none tanh relu sigm iden
    probabilities = [[0.9, 0.01, 0.04, 0.03, 0.02], [0.0, 0.3, 0.2, 0.25, 0.25], [0.6, 0.05, 0.31, 0.02, 0.02]]
    assert space.cell(derived(space, probabilities)) == [("relu", 0), ("relu", 1)]  # none is strong, and never taken
    rows, scores = ranked(space, probabilities, 3)
    assert [space.cell(a) for a in space.decode(rows)] == [
        [("relu", 0), ("relu", 1)],
        [("relu", 0), ("tanh", 0)],
        [("relu", 0), ("sigmoid", 0)],
    ]
    assert np.allclose(np.exp(scores), [0.04 * 0.31, 0.04 * 0.3, 0.04 * 0.25])
    ties = [[0.2] * 5] * 3
    assert space.cell(derived(space, ties)) == [
        ("tanh", 0),
        ("tanh", 0),
    ]  # the earlier edge, then the earlier activation


def test_all_cells_are_ranked_as_by_brute_force() -> None:
    model = mixed(nodes=3)
    space, p = model.search_space, np.array(model.numbers())
    rows, scores = ranked(space, model.numbers(), 10_000)
    assert len(rows) == math.factorial(3) * 4**3 == len({tuple(r) for r in rows.tolist()})
    options = [
        [(name, i, p[edge(i, j), 1 + k]) for i in range(j) for k, name in enumerate(OPERATIONS)] for j in (1, 2, 3)
    ]
    wanted = sorted((sum(math.log(o[2]) for o in choice) for choice in itertools.product(*options)), reverse=True)
    assert np.allclose(scores, wanted)
    best = max(itertools.product(*options), key=lambda choice: sum(math.log(o[2]) for o in choice))
    assert space.cell(space.decode(rows[:1])[0]) == [o[:2] for o in best]
