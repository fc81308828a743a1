"""Recurrent cells: published numbers and cells, a naive oracle of the language model, weight sharing, and the NNI side
of the supernet.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.evaluator.pytorch import DataLoader, Lightning, LightningModule, Trainer
from nni.nas.execution import SequentialExecutionEngine
from nni.nas.space import RawFormatModelSpace
from nni.nas.strategy import DARTS, Random
from torch.utils.data import TensorDataset

from nni_plugins.spaces import Architecture, SearchSpace, SpaceError
from nni_plugins.spaces.path_supernet import PathSupernet
from nni_plugins.spaces.recurrent import RecurrentCell, codec
from nni_plugins.spaces.recurrent.network import ACTIVATIONS, Dropouts, LanguageModel, RecurrentNetwork
from nni_plugins.spaces.testing import SpaceContract

TWO = RecurrentCell(nodes=2, hidden=5, classes=11)
BEST_OF_32 = "Genotype(recurrent=[('tanh', 0), ('sigmoid', 0)], concat=range(1, 3))"
RANKED = [
    2,
    16,
    12,
    15,
    6,
    20,
    26,
    30,
    23,
    19,
    8,
    25,
    1,
    13,
    11,
    5,
    21,
    29,
    14,
    22,
    0,
    17,
    10,
    18,
    3,
    24,
    28,
    9,
    4,
    7,
    27,
    31,
]
"""Numbers of the 32 two-node cells from best to worst on Penn Treebank (eval-nas, ``best_configs.py``).
"""


class Tokens(torch.Tensor):
    """Word numbers that stay what they are where the suite turns images into another type. Operations on them give
    plain tensors.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def float(self) -> Tokens:  # type: ignore[override]
        return self


class Contract(SpaceContract):
    """The conformance suite on word numbers (T, n) instead of images; one word where one architecture's multiply-adds
    are counted.
    """

    def _images(self, n: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 7, (5 if n > 1 else 1, n), generator=generator).as_subclass(Tokens)

    def test_classes_change_nothing_but_the_head(self) -> None:
        space, indices = self._sample(1)
        other = space.with_classes(7)
        assert (
            type(other) is type(space)
            and other.decisions == space.decisions
            and other.with_classes(3) == space.with_classes(3)
        )
        with torch.no_grad():
            assert other.network(space.decode(indices)[0]).eval()(self._images(2)).shape == (5, 2, 7)

    def test_a_mixture_of_one_architecture_is_its_path(self) -> None:
        space, indices = self._sample(10)
        supernet = space.supernet()
        assert isinstance(supernet, PathSupernet)
        supernet.double().eval()
        x = self._images(2)
        for row in indices:
            weights = [
                torch.eye(len(d.values), dtype=torch.float64)[int(v)] for d, v in zip(space.decisions, row, strict=True)
            ]
            with torch.no_grad():
                assert torch.allclose(
                    supernet.forward_mixed(x, weights), supernet.forward_path(x, row[None]), rtol=0, atol=1e-12
                )
        soft = [
            torch.full((len(d.values),), 1 / len(d.values), dtype=torch.float64, requires_grad=True)
            for d in space.decisions
        ]
        outputs = supernet.forward_mixed(x, soft)
        outputs.square().sum().backward()  # type: ignore[no-untyped-call]
        assert bool(torch.isfinite(outputs).all()) and all(
            w.grad is not None and bool(w.grad.isfinite().all() and w.grad.any()) for w in soft
        )


class TestSharedByNode(Contract):
    def space(self) -> SearchSpace:
        return RecurrentCell(nodes=3, hidden=8, classes=12)


class TestSharedByEdge(Contract):
    def space(self) -> SearchSpace:
        return RecurrentCell(nodes=3, hidden=8, classes=12, sharing="edge")


class TestSharedByEdgeAndOperation(Contract):
    def space(self) -> SearchSpace:
        return RecurrentCell(nodes=3, hidden=8, embedding=6, classes=12, sharing="edge_op")


class TestOneNode(Contract):
    compared = 4  # the space has no more

    def space(self) -> SearchSpace:
        return RecurrentCell(nodes=1, hidden=4, classes=12)


class TestTooLargeToEnumerate(Contract):
    def space(self) -> SearchSpace:
        return RecurrentCell(nodes=8, hidden=4, embedding=5, classes=12)


# Golden numbers


@pytest.mark.parametrize(
    ("nodes", "size"), [(1, 4), (2, 32), (3, 384), (8, 2_642_411_520), (11, math.factorial(11) * 4**11)]
)
def test_sizes(nodes: int, size: int) -> None:
    """n! 4^n; 32 and 2,642,411,520 for two and eight nodes."""
    assert RecurrentCell(nodes=nodes).size == size


def trees(nodes: int, colours: int) -> int:
    """Rooted trees of ``nodes`` coloured nodes below an uncoloured root, by Euler's transform of the trees that hang
    from it.
    """
    forests, hanging = [1], [0]
    for n in range(1, nodes + 1):
        hanging.append(colours * forests[n - 1])
        divided = [sum(d * hanging[d] for d in range(1, k + 1) if k % d == 0) for k in range(1, n + 1)]
        forests.append(sum(divided[k - 1] * forests[n - k] for k in range(1, n + 1)) // n)
    return forests[nodes]


@pytest.mark.parametrize(("nodes", "functions"), [(1, 4), (2, 26), (3, 188), (4, 1499)])
def test_cells_that_differ(nodes: int, functions: int) -> None:
    """26 of 32."""
    space = RecurrentCell(nodes=nodes)
    assert len({space.canonical(a) for a in space.decode(space.enumerate())}) == trees(nodes, 4) == functions


@pytest.mark.parametrize("nodes", [2, 3])
def test_cells_are_equal_if_and_only_if_their_canonical_forms_are(nodes: int) -> None:
    """Two cells are the same function if some renaming of node matrices makes their outputs equal, on random weights."""
    space = RecurrentCell(nodes=nodes, hidden=6, classes=4)
    torch.manual_seed(0)
    network = space.network(space.decode(space.enumerate()[:1])[0]).double()
    weights = torch.randn(nodes, 12, 6, dtype=torch.float64)
    torch.nn.init.normal_(network.w0)
    words = torch.tensor([[0, 2], [1, 3]])
    functions: dict[str, set[tuple[float, ...]]] = {}
    for architecture in space.decode(space.enumerate()):
        network.cell = tuple(space.cell(architecture))
        outputs = set()
        for order in itertools.permutations(range(nodes)):
            network.nodes.data = weights[list(order)]
            with torch.no_grad():
                outputs.add(tuple(round(v, 8) for v in network.hidden_of(words).flatten().tolist()))
        form = space.canonical(architecture)
        assert functions.setdefault(form, outputs) == outputs, form
    everything = list(itertools.chain.from_iterable(functions.values()))
    assert len(set(everything)) == len(everything), "different forms, different functions"


def test_rows_are_eval_nas_numbers() -> None:
    rows = TWO.enumerate()
    assert TWO.labels == ("op_1", "input_2", "op_2") and np.array_equal(rows @ np.array([8, 4, 1]), np.arange(32))
    assert [TWO.identifier(a) for a in TWO.decode(rows)] == list(range(32))
    assert TWO.to_string(TWO.decode(rows[RANKED[:1]])[0]) == BEST_OF_32
    large = RecurrentCell()
    last = large.architecture({d.label: d.values[-1] for d in large.decisions})
    assert large.identifier(last) == large.size - 1


def test_ranks_of_twins() -> None:
    """1/2, 7/10, 11/13, 12/15, 22/23 and 25/26."""
    ranks: dict[str, list[int]] = {}
    for rank, architecture in enumerate(TWO.decode(TWO.enumerate()[RANKED]), start=1):
        ranks.setdefault(TWO.canonical(architecture), []).append(rank)
    twins = sorted(pair for pair in ranks.values() if len(pair) > 1)
    assert twins == [[1, 2], [7, 10], [11, 13], [12, 15], [22, 23], [25, 26]]


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 10_000 * 850 + 10_000 + 1700 * 1700 + 8 * 1700 * 850),
        ({"nodes": 2, "hidden": 5, "classes": 11}, 55 + 11 + 100 + 100),
        ({"nodes": 2, "hidden": 5, "embedding": 3, "classes": 11}, 33 + 11 + 10 * 8 + 15 + 100),
    ],
)
def test_parameters(arguments: dict[str, Any], parameters: int) -> None:
    """The default is the model that DARTS reports with 23 million parameters."""
    space = RecurrentCell(**arguments)
    costs = space.cost_table()(space.sample(np.random.default_rng(0), 50))
    assert set(costs.parameters.tolist()) == {parameters} and set(costs.macs.tolist()) == {parameters - space.classes}
    assert np.array_equal(space.cost_table((7, 9)).macs, space.cost_table(32).macs)


# Paths


@pytest.mark.parametrize("sharing", ["node", "edge", "edge_op"])
def test_path_counts_equal_brute_force(sharing: str) -> None:
    space = RecurrentCell(nodes=5, sharing=sharing)
    indices = space.sample(np.random.default_rng(0), 200)
    for architecture, row in zip(space.decode(indices), space.path_counts(indices), strict=True):
        paths = []
        for last in range(1, 6):  # the node that the output reads
            path, node = [], last
            while node:
                path.append(node)
                node = space.cell(architecture)[node - 1][1]
            paths.append(path)
        assert row.tolist() == [sum(j in path for path in paths) for j in range(1, 6)]
    assert (space.complete_paths(indices) == 5).all()


@pytest.mark.parametrize(
    ("sharing", "values"), [("node", ["sigmoid@0", "identity@1", "tanh@1"]), ("edge", ["0", "1", "1"])]
)
def test_parts(sharing: str, values: list[str]) -> None:
    space = RecurrentCell(nodes=3, sharing=sharing)
    indices = space.encode([space.parse("[('sigmoid', 0), ('identity', 1), ('tanh', 1)]")])
    assert [part.values[v] for part, v in zip(space.parts, space.structure(indices)[0], strict=True)] == values
    assert space.path_counts(indices).tolist() == [[3, 1, 1]]


def test_the_largest_cell_fits_its_rows() -> None:
    space = RecurrentCell(nodes=32)
    (architecture,) = space.decode(np.array([[len(d.values) - 1 for d in space.decisions]], dtype=np.int8))
    row = space.encode([architecture])
    assert space.structure(row)[0].tolist() == [4 * j - 1 for j in range(1, 33)] and space.path_counts(row)[
        0
    ].tolist() == list(range(32, 0, -1))


# Strings


@pytest.mark.parametrize(
    "text",
    [
        "[('tanh', 0), ('sigmoid', 0)]",
        "[(0, 'tanh'), (0, 'sigmoid')]",
        '[["tanh", 0], (0, "sigmoid"),]',
        "Genotype(recurrent=[('tanh', 0), ('sigmoid', 0)], concat=[2, 1])",
        "Genotype( recurrent = [\n ('tanh', 0),\n ('sigmoid', 0),\n], concat = range(1, 3), )",
        "Genotype(concat=range(1,3), recurrent=(('tanh', 0), (0, 'sigmoid')))",
        "Genotype([('tanh', 0), ('sigmoid', 0)], range(1, 3))",
        "Genotype(recurrent=[('tanh', 0), ('sigmoid', 0)])",
        "0 0 0 2",
        "0, 0, 0, 2",
    ],
)
def test_forms_of_one_cell(text: str) -> None:
    assert TWO.to_string(TWO.parse(text)) == BEST_OF_32


NAO = "0 1 0 1 1 1 3 0 4 1 4 1 5 1 1 1 7 1 1 1 1 2"
NAO_WS = "0 1 1 1 2 2 1 2 4 1 4 1 4 1 7 1 8 2 1 0 4 1"


def test_published_cells() -> None:
    """Eleven nodes. NAO's code without weight sharing means identity by 2, its code with weight sharing
    sigmoid.
    """
    space = RecurrentCell(nodes=11)
    with_sharing = space.parse(NAO_WS)
    assert space.cell(with_sharing)[:4] == [("relu", 0), ("relu", 1), ("sigmoid", 2), ("sigmoid", 1)]
    assert space.from_integers(NAO_WS) == with_sharing != space.from_integers(NAO_WS, "nao")
    assert space.cell(space.from_integers(NAO, "nao"))[-1] == ("identity", 1) and space.cell(space.parse(NAO))[-1] == (
        "sigmoid",
        1,
    )
    assert [i for _, i in space.cell(space.parse(NAO))] == [0, 0, 1, 3, 4, 4, 5, 1, 7, 1, 1]
    darts = (
        "Genotype(recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1), ('relu', 5), ('relu', 1)], "
        "concat=range(1, 9))"
    )
    assert RecurrentCell().to_string(RecurrentCell().parse(darts)) == darts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[('tanh', 0), ('swish', 1)]", r"recurrent\[1\].operation: unknown operation 'swish'"),
        ("[('tanh', 0), ('Relu', 1)]", r"recurrent\[1\].operation: unknown operation 'Relu'; did you mean 'relu'"),
        ("[('tanh', 1), ('relu', 1)]", r"recurrent\[0\].input: node 1 reads state 0, but got 1"),
        ("[('tanh', 0), ('relu', 2)]", r"recurrent\[1\].input: node 2 reads one of the states 0 to 1, but got 2"),
        ("[('tanh', 0), ('relu', -1)]", r"recurrent\[1\].input: .* but got -1"),
        ("[('tanh', 0)]", "recurrent: 2 pairs are needed for 2 nodes, but got 1"),
        ("[('tanh', 0), ('relu', 1), ('relu', 1)]", "2 pairs are needed for 2 nodes, but got 3"),
        ("[('tanh', 0), ('relu', 1, 1)]", r"recurrent\[1\]: must be a pair"),
        ("[('tanh', 0), ('relu', 'tanh')]", r"recurrent\[1\]: must be a pair"),
        ("[(0, 0), (0, 1)]", r"recurrent\[0\]: must be a pair"),
        ("[('tanh', 0), 1]", r"recurrent\[1\]: must be a pair"),
        ("[('tanh', 0), ('relu', [1])]", r"recurrent\[1\]: must be a pair"),
        ("[('tanh', 0), ('relu', [[1]])]", r"recurrent\[1\]\[1\]\[0\]: lists within lists, more than 3 deep"),
        ("5x", "character 2|expected 'end of text'"),
        ("'tanh'", "recurrent: must be a list of pairs, but got 'tanh'"),
        ("[('tanh', 0), ('relu', 1)", "expected ']', but got 'end of text'"),
        ("[('tanh', 0), ('relu', 1)]]", "expected 'end of text', but got ']'"),
        ("[('tanh', 0), ('relu' 1)]", r"expected '\)', but got 1"),
        ("[('tanh', 0), ('relu', 1.5)]", r"character 25: '.5\)\]' cannot be read"),
        ("[('tanh', 0), ('relu', 1", "expected"),
        (
            "[('tanh', 0), ('relu', ",
            r"recurrent\[1\]\[1\]: expected a list, a pair, a whole number or a quoted name, but got 'end of text'",
        ),
        ("[('tanh', 0), (relu, 1)]", r"recurrent\[1\]\[0\]: expected .* but got 'relu'"),
        ("[('tanh', 0), ('relu', 12345678901)]", "character 23"),
        ("[('tanh', 0), ('relu', __import__('os'))]", r"recurrent\[1\]\[1\]: expected .* but got '__import__'"),
        (
            "Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=range(0, 3))",
            r"concat: the output .* nodes, 1 to 2, but got range\(0, 3\)",
        ),
        ("Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=[2])", r"concat: .* but got \[2\]"),
        ("Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=[1, 1])", r"concat: .* but got \[1, 1\]"),
        (
            "Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=range('1'))",
            "concat: range takes one or two whole numbers",
        ),
        ("Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=range(0, 999999999))", "concat: the output"),
        (
            "Genotype(normal=[('tanh', 0), ('relu', 1)])",
            "the fields are recurrent and concat, each once, but got 'normal'",
        ),
        ("Genotype(recurrent=[], recurrent=[])", "each once, but got 'recurrent'"),
        ("Genotype(concat=[1, 2])", "recurrent is missing"),
        ("Genotype", r"expected '\('"),
        ("0 1 1", "4 integers, an input and an activation for each of 2 nodes, are needed, but got 3"),
        ("0 1 2 1", r"recurrent\[1\].input: node 2 reads one of the states 0 to 1, but got 2"),
        ("0 1 -1 1", r"recurrent\[1\].input: .* but got -1"),
        ("0 1 1--1 1", r"recurrent\[1\].input: .* but got '1--1'"),
        (
            "0 1 0 4",
            r"recurrent\[1\].operation: must be one of 0 \(tanh\), 1 \(relu\), 2 \(sigmoid\), 3 \(identity\), but got '4'",
        ),
        ("0 1 0 ٣", "cannot be read|expected"),
        ("0 1 0 " + "3" * 19_000, r"recurrent\[1\].operation: must be one of"),
        ("0 1 " + "1" * 19_000 + " 1", r"recurrent\[1\].input"),
        ("[" * 19_999, "more than 3 deep"),
        ("range(" * 3_000, "lists within lists, more than 3 deep"),
        ("[" + "('tanh', 0)," * 1_600 + "]", "2 pairs are needed for 2 nodes, but got 1600"),
        ("('tanh', 0)" * 10_000_000, "110,000,000 characters; at most 20,000"),
    ],
)
def test_strings_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        TWO.parse(text)
    assert len(str(caught.value)) < 400


def test_codes_that_are_refused() -> None:
    with pytest.raises(SpaceError, match="code: unknown code 'nao_ws'; did you mean 'nao-ws'"):
        TWO.from_integers("0 0 0 0", "nao_ws")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 0}, "nodes >= 1 must hold, but got nodes=0"),
        ({"nodes": 33}, "nodes <= 32 must hold, but got nodes=33"),
        ({"hidden": 1.5}, r"hidden=1\.5"),
        ({"embedding": 0}, "embedding >= 1"),
        ({"classes": True}, "classes=True"),
        ({"sharing": "edges"}, "sharing: unknown granularity 'edges'; did you mean 'edge'"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        RecurrentCell(**arguments)


# The language model


def naive(
    network: RecurrentNetwork, tokens: torch.Tensor, state: torch.Tensor, masks: dict[float, torch.Tensor]
) -> torch.Tensor:
    """DARTS' formulas, one word, sequence and node at a time; ``masks`` by their rates (see
    ``RATES``).
    """
    rates, outputs = network.rates, torch.empty(*tokens.shape, network.embedding.num_embeddings, dtype=torch.float64)

    def mask(rate: float, index: int) -> torch.Tensor | float:
        return masks[rate][index] if masks else 1.0

    for b in range(tokens.shape[1]):
        h = state[b]
        for t, word in enumerate(tokens[:, b].tolist()):
            x = (
                network.embedding.weight[word]
                * mask(rates.dropoute, word)
                * mask(rates.dropouti, b)
                * mask(rates.dropoutx, b)
            )
            c0, h0 = (network.w0 @ torch.cat([x, h * mask(rates.dropouth, b)])).chunk(2)
            states = [h + torch.sigmoid(c0) * (torch.tanh(h0) - h)]
            for (operation, source), weights in zip(network.cell, network.nodes, strict=True):
                s = states[source]
                c, g = (weights @ (s * mask(rates.dropouth, b))).chunk(2)
                states.append(s + torch.sigmoid(c) * (ACTIVATIONS[operation](g) - s))
            h = torch.stack(states[1:]).mean(0)
            y = h * mask(rates.dropout, b)
            if isinstance(network.projection, torch.nn.Linear):
                y = network.projection.weight @ y
            outputs[t, b] = network.embedding.weight @ y + network.bias
    return outputs


RATES = {"dropout": 0.5, "dropouth": 0.25, "dropoutx": 0.4, "dropouti": 0.2, "dropoute": 0.3}


def example(embedding: int | None = None, **dropouts: float) -> tuple[RecurrentNetwork, torch.Tensor, torch.Tensor]:
    """A network with weights of order one, words (6, 3) and a state (3, 5)."""
    torch.manual_seed(0)
    space = RecurrentCell(nodes=4, hidden=5, embedding=embedding, classes=9)
    architecture = space.parse("[('tanh', 0), ('relu', 1), ('identity', 1), ('sigmoid', 0)]")
    network = space.network(architecture, **dropouts).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network, torch.randint(0, 9, (6, 3)), torch.randn(3, 5, dtype=torch.float64)


@pytest.mark.parametrize("embedding", [5, 3])
def test_a_naive_loop_gives_the_same(embedding: int) -> None:
    network, tokens, state = example(embedding, **RATES)
    network.eval()
    with torch.no_grad():
        logits, after = network.forward_with_state(tokens, state)
        assert torch.allclose(logits, naive(network, tokens, state, {}), rtol=0, atol=1e-10)
        assert torch.equal(network(tokens, state), logits) and torch.equal(
            network(tokens), network(tokens, torch.zeros_like(state))
        )
        first, between = network.forward_with_state(tokens[:2], state)
        second, last = network.forward_with_state(tokens[2:], between)
        assert torch.allclose(torch.cat([first, second]), logits) and torch.allclose(last, after)
        single = network.float()(tokens, state.float())
    assert (single - logits).abs().max() < 1e-4 and single.dtype == torch.float32


def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[float, torch.Tensor]:
    masks: dict[float, torch.Tensor] = {}
    draw = LanguageModel._mask

    def draw_and_keep(self: LanguageModel, x: torch.Tensor, rate: float, shape: tuple[int, ...]) -> torch.Tensor | None:
        assert rate not in masks, "one mask a sequence"
        mask = draw(self, x, rate, shape)
        if mask is not None:
            masks[rate] = mask
        return mask

    monkeypatch.setattr(LanguageModel, "_mask", draw_and_keep)
    return masks


@pytest.mark.parametrize("embedding", [5, 3])
def test_dropouts(embedding: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, tokens, state = example(embedding, **RATES)
    masks = recorded(monkeypatch)
    with torch.no_grad():
        logits = network(tokens, state)
        assert torch.allclose(logits, naive(network, tokens, state, masks), rtol=0, atol=1e-10)
    shapes = {0.5: (3, 5), 0.25: (3, 5), 0.4: (3, embedding), 0.2: (3, embedding), 0.3: (9, 1)}
    assert {rate: tuple(mask.shape) for rate, mask in masks.items()} == shapes


def test_masks_keep_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _, _ = example(**RATES)
    for rate in RATES.values():
        mask = network._mask(network.bias, rate, (200, 200))
        assert mask is not None and torch.allclose(
            mask.unique(), torch.tensor([0, 1 / (1 - rate)], dtype=torch.float64)
        )
        assert abs(float(mask.mean()) - 1) < 0.03


@pytest.mark.parametrize("name", list(RATES))
def test_each_dropout_acts_in_training_only(name: str) -> None:
    network, tokens, state = example(**{name: 0.5})
    plain, _, _ = example()
    with torch.no_grad():
        assert not torch.equal(network(tokens, state), network(tokens, state))
        assert torch.equal(network.eval()(tokens, state), plain.train()(tokens, state))


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"dropout": 1.0}, "0 <= dropout < 1 must hold, but got dropout=1.0"),
        ({"droputh": 0.1}, "'droputh': no such dropout; did you mean 'dropouth'"),
    ],
)
def test_dropouts_that_are_refused(rates: dict[str, float], message: str) -> None:
    for build in (lambda: TWO.network(TWO.parse(BEST_OF_32), **rates), lambda: TWO.supernet(**rates)):
        with pytest.raises(SpaceError, match=message):
            build()


def test_inputs_that_are_refused() -> None:
    network, tokens, state = example()
    for wrong in (tokens[0], tokens.float(), tokens[:0]):
        with pytest.raises(SpaceError, match=r"tokens of shape \(T, B\) and type int64"):
            network(wrong)
    with pytest.raises(SpaceError, match=r"a state of shape \(B, hidden\) = \(3, 5\) is needed, but got \(2, 5\)"):
        network(tokens, state[:2])


def test_initial_weights_and_a_gradient_for_each() -> None:
    torch.manual_seed(0)
    network = TWO.network(TWO.parse(BEST_OF_32))
    assert not network.bias.any() and all(
        0.02 < p.abs().max().item() <= 0.04 for name, p in network.named_parameters() if name != "bias"
    )
    tokens = torch.randint(0, 11, (6, 3))
    F.cross_entropy(network(tokens[:-1]).flatten(0, 1), tokens[1:].flatten()).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.isfinite().all() and p.grad.any()) for p in network.parameters())


def test_a_text_is_learnt() -> None:
    """A period of four words needs a state: the same word is followed by two others."""
    torch.manual_seed(0)
    network = RecurrentCell(nodes=2, hidden=16, classes=3).network(TWO.parse(BEST_OF_32))
    tokens = torch.tensor([0, 1, 0, 2] * 8)[:, None]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(150):
        loss = F.cross_entropy(network(tokens[:-1]).flatten(0, 1), tokens[1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss.item() < 0.1


def test_autocast() -> None:
    network, tokens, state = example()
    network.float()
    supernet = RecurrentCell(nodes=3, hidden=5, classes=9).supernet()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert (
            bool(network(tokens, state.float()).isfinite().all()) and network.hidden_of(tokens).dtype == torch.float32
        )
        assert bool(
            supernet.forward_mixed(
                tokens, [torch.full((len(d.values),), 0.25) for d in supernet.search_space.decisions]
            )
            .isfinite()
            .all()
        )


# Weight sharing


@pytest.mark.parametrize(("sharing", "matrices"), [("node", 3), ("edge", 6), ("edge_op", 24)])
def test_the_supernet_holds_all_networks(sharing: str, matrices: int) -> None:
    """Equal weights, equal outputs; and the weights that are listed for an architecture are those that get a gradient
    from it.
    """
    space = RecurrentCell(nodes=3, hidden=4, classes=9, sharing=sharing)
    supernet = space.supernet().double()
    assert len(supernet.matrices) == matrices
    blocks = supernet.weight_blocks()
    indices, tokens = space.enumerate()[::7], torch.randint(0, 9, (4, 2))
    for row, structure, architecture in zip(indices, space.structure(indices), space.decode(indices), strict=True):
        network = space.network(architecture).double()
        network.load_state_dict({**supernet.body.state_dict(), "nodes": network.nodes.data})
        for j, (operation, source) in enumerate(network.cell, start=1):
            network.nodes.data[j - 1] = supernet.matrices[supernet.key(j, source, operation)].data
        supernet.zero_grad()
        outputs = supernet.forward_path(tokens, row[None])
        assert torch.allclose(outputs, network(tokens), rtol=0, atol=1e-12)
        outputs.square().sum().backward()  # type: ignore[no-untyped-call]
        listed = [
            *blocks.fixed.parameters,
            *(p for s, v in enumerate(structure) for p in blocks.choices[s][v].parameters),
        ]
        assert sorted(name for name, _ in listed) == sorted(
            name for name, p in supernet.named_parameters() if p.grad is not None
        )
    assert ("body.embedding.weight", "classifier_weight") in listed and ("body.bias", "classifier_bias") in listed


def test_twins_have_different_weights_in_the_supernet() -> None:
    supernet = TWO.supernet().double()
    tokens = torch.randint(0, 11, (4, 2))
    first, second = TWO.encode([TWO.parse(t) for t in ("[('tanh', 0), ('relu', 0)]", "[('relu', 0), ('tanh', 0)]")])
    with torch.no_grad():
        one, other = supernet.forward_path(tokens, first[None]), supernet.forward_path(tokens, second[None])
        assert not torch.allclose(one, other)
        supernet.matrices["1"].data, supernet.matrices["2"].data = (
            supernet.matrices["2"].data,
            supernet.matrices["1"].data,
        )
        assert torch.allclose(supernet.forward_path(tokens, second[None]), one)


@pytest.mark.parametrize("sharing", ["node", "edge", "edge_op"])
def test_a_mixture_is_the_sum_over_inputs_and_operations(sharing: str) -> None:
    """Of a two-node cell, for one word, by hand: node 1 mixes operations, node 2 inputs and operations."""
    space = RecurrentCell(nodes=2, hidden=3, classes=4, sharing=sharing)
    supernet = space.supernet().double()
    torch.manual_seed(0)
    first, inputs, second = (torch.rand(n, dtype=torch.float64) for n in (4, 2, 4))
    state = torch.randn(1, 3, dtype=torch.float64)

    def reads(node: int, s: torch.Tensor, i: int, k: int) -> torch.Tensor:
        operation = codec.OPERATIONS[k]
        c, g = (supernet.matrices[supernet.key(node, i, operation)] @ s[0]).chunk(2)
        return (s[0] + torch.sigmoid(c) * (ACTIVATIONS[operation](g) - s[0]))[None]

    one = sum((first[k] * reads(1, state, 0, k) for k in range(4)), torch.zeros(1, 3))
    two = sum(
        (inputs[i] * second[k] * reads(2, s, i, k) for i, s in enumerate((state, one)) for k in range(4)),
        torch.zeros(1, 3),
    )
    assert torch.allclose(supernet._mixed_cell([first, inputs, second])(state, None), (one + two) / 2)


def test_supernets_keep_their_dropouts() -> None:
    supernet = TWO.supernet(**RATES)
    assert supernet.fresh().body.rates == supernet.body.rates == Dropouts(**RATES)
    tokens, path = torch.randint(0, 11, (4, 2)), TWO.encode([TWO.parse(BEST_OF_32)])
    assert not torch.equal(supernet.forward_path(tokens, path), supernet.forward_path(tokens, path))
    supernet.eval()
    hidden = supernet.hidden_of_path(tokens[:2], path)
    both = torch.cat([hidden, supernet.hidden_of_path(tokens[2:], path, hidden[-1])])
    assert torch.allclose(supernet.body.logits(both), supernet.forward_path(tokens, path), atol=1e-6)


# NNI


def nodes_that_read_nodes(model: torch.nn.Module) -> float:
    """A score: how many nodes do not read the initial state."""
    assert model(torch.zeros(3, 2, dtype=torch.int64)).shape == (3, 2, 11)
    score = float(sum(source > 0 for _, source in model.cell))
    nni.report_final_result(score)
    return score


def test_nni_random_search() -> None:
    space = RecurrentCell(nodes=3, hidden=5, classes=11)
    engine = SequentialExecutionEngine(max_model_count=10)
    strategy = Random(seed=0)
    strategy(RawFormatModelSpace.from_model(space.supernet(), FunctionalEvaluator(nodes_that_read_nodes)), engine)
    models = list(engine.list_models())
    architectures: list[Architecture] = [space.parse(model.sample) for model in models]
    assert len(set(architectures)) == 10
    assert [m.metric for m in models] == [float(sum(i > 0 for _, i in space.cell(a))) for a in architectures]


@nni.trace
class NextWord(LightningModule):
    """Sequences (B, T) of words; the loss is that of each next word."""

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        words = batch[0].t()
        return F.cross_entropy(self.model(words[:-1]).flatten(0, 1), words[1:].flatten())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.1)


def test_nni_darts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    space = RecurrentCell(nodes=3, hidden=5, classes=11)
    data = TensorDataset(torch.randint(0, 11, (16, 6)))
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        default_root_dir=str(tmp_path),
    )  # fmt: skip
    evaluator = Lightning(
        NextWord(),
        trainer,
        train_dataloaders=DataLoader(data, batch_size=8),
        val_dataloaders=DataLoader(data, batch_size=8),
    )
    strategy = DARTS()
    strategy(RawFormatModelSpace.from_model(space.supernet(), evaluator), SequentialExecutionEngine())
    (found,) = strategy.list_models(limit=1)
    assert space.check(space.parse(found.sample)) in space.decode(space.enumerate())
