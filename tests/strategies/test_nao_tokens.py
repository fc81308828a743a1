"""NAO's sequences: what the tokens are, that nothing is lost, and what has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces import DARTS, NAO, NASBench101, NASBench201, NASNet, RecurrentCell, SearchSpace
from nni_plugins.spaces.registry import named_space
from nni_plugins.strategies.nao import ParameterCodec, SpaceCodec, Tokens
from nni_plugins.strategies.nao.codecs import finite_values
from nni_plugins.strategies.nao.tokens import kinds

SPACES: dict[str, tuple[SearchSpace, int]] = {
    "digits": (NASBench201(nodes=3), 125),
    "nasbench201": (NASBench201(), 2000),
    "nao": (NAO(), 500),
    "nao-middle": (NAO(operations="middle"), 100),
    "nasnet": (NASNet(), 100),
    "recurrent": (RecurrentCell(nodes=2), 32),
    "recurrent-8": (RecurrentCell(), 500),
    "darts": (DARTS(), 500),
    "nasbench101": (NASBench101(nodes=3), 500),
    "mobilenetlike": (named_space("mobilenetlike"), 200),
}


@pytest.mark.parametrize("name", SPACES)
def test_decoding_an_encoding_gives_the_architecture_back(name: str) -> None:
    space, n = SPACES[name]
    codec, rng = SpaceCodec(space), np.random.default_rng(0)
    rows = space.enumerate() if space.size == n else space.sample(rng, n)
    architectures = space.decode(rows)
    tokens = codec.tokens.encode(codec.rows(architectures))
    assert codec.architectures(codec.tokens.decode(tokens)) == architectures
    assert codec.tokens.mask[np.arange(codec.tokens.sequence), tokens].all() and not codec.tokens.mask[:, 0].any()
    assert (
        codec.tokens.mask.sum(axis=1)[len(codec.tokens.lead) :] == codec.tokens.counts
    ).all() and tokens.max() < codec.tokens.vocabulary
    mutated = codec.mutate(rng, codec.rows(architectures))
    assert codec.valid(mutated).all() and (mutated != codec.rows(architectures)).any(axis=1).all()
    assert codec.valid(codec.sample(rng, 50)).all()


def test_naos_forty_tokens() -> None:
    """Inputs are 1 to 6, operations 7 to 11, 0 starts: NAO-V2's vocabulary of 12."""
    codec = SpaceCodec(NAO())
    assert (codec.tokens.length, codec.tokens.vocabulary, codec.tokens.group) == (40, 12, 2)
    text = "1 1 0 1 2 4 0 0 0 0 2 1 0 0 0 2 0 3 0 0 0 2 0 2 2 2 1 0 0 0 0 1 0 0 0 3 0 0 0 1"
    numbers = np.array([int(word) for word in text.split()])
    (tokens,) = codec.tokens.encode(codec.rows([NAO().from_string(text)]))
    np.testing.assert_array_equal(tokens[::2], numbers[::2] + 1)
    np.testing.assert_array_equal(tokens[1::2], numbers[1::2] + 7)
    allowed = [set(np.flatnonzero(row).tolist()) for row in codec.tokens.mask]
    assert allowed[0] == {1, 2} and allowed[16] == {1, 2, 3, 4, 5, 6} == allowed[38] and allowed[1] == {7, 8, 9, 10, 11}


def test_naos_recurrent_cells_have_two_tokens_a_step() -> None:
    """As NAO's code for text, whose eleven nodes are 22 tokens of 16: inputs 1 to 11, activations 12 to 15, read two by
    two; the first node's only input is one of them."""
    space = RecurrentCell(nodes=11)
    codec = SpaceCodec(space)
    tokens = codec.tokens
    assert (tokens.sequence, tokens.vocabulary, tokens.group, tokens.length) == (22, 16, 2, 21)
    text = "0 1 1 1 2 2 1 2 4 1 4 1 4 1 7 1 8 2 1 0 4 1"
    numbers = np.array([int(word) for word in text.split()])
    rows = codec.rows([space.from_integers(text)])
    (sequence,) = tokens.encode(rows)
    assert sequence.tolist() == (numbers + np.where(np.arange(22) % 2, 12, 1)).tolist()
    assert np.array_equal(tokens.decode(sequence[None]), rows)
    assert set(np.flatnonzero(tokens.mask[0]).tolist()) == {1} and tokens.mask[20].sum() == 11
    with pytest.raises(ConfigError, match="token 2 may not stand at position 0 of sequence 0"):
        tokens.decode(np.array([[2, *sequence[1:]]]))


def test_decisions_share_tokens_where_one_begins_with_the_other() -> None:
    assert kinds([("0", "1"), ("a", "b"), ("0", "1", "2"), ("b", "a")]) == [
        ("0", "1", "2"),
        ("a", "b"),
        ("0", "1", "2"),
        ("b", "a"),
    ]
    tokens = Tokens((("0", "1"), ("a", "b"), ("0", "1", "2"), ("b", "a")))
    assert tokens.offsets.tolist() == [1, 4, 1, 6] and tokens.vocabulary == 8
    assert SpaceCodec(NASBench201()).tokens.vocabulary == 6, "six edges, one list of operations"


def test_what_tokens_refuse() -> None:
    with pytest.raises(ConfigError, match="at least one decision"):
        Tokens(())
    with pytest.raises(ConfigError, match="group=2 must divide the number of tokens, 3"):
        Tokens((("a",),) * 3, group=2)
    with pytest.raises(ConfigError, match="too many"):
        Tokens((tuple(map(str, range(10_001))),))
    with pytest.raises(ConfigError, match="token 3 may not stand at position 1 of sequence 0"):
        Tokens((("a", "b", "c"), ("a", "b"))).decode(np.array([[1, 3]]))


@pytest.mark.parametrize("name", ["nao", "nasnet"])
def test_twins_swap_one_node_of_each_cell(name: str) -> None:
    space, _ = SPACES[name]
    codec, rng = SpaceCodec(space), np.random.default_rng(1)
    rows = codec.sample(rng, 200)
    twins = codec.tokens.twins(rows, rng)
    assert codec.keys(twins) == codec.keys(rows), "the same function"
    changed = (twins != rows).reshape(len(rows), 2, -1, 4).any(axis=3).sum(axis=2)
    assert changed.max() == 1 and (changed.sum(axis=1) > 0).mean() > 0.9
    first = np.arange(40).reshape(1, -1) % 7
    assert codec.tokens.twins(first, rng).reshape(-1, 4).tolist() != first.reshape(-1, 4).tolist()


def test_spaces_without_twins() -> None:
    codec = SpaceCodec(NASBench201())
    rows = codec.sample(np.random.default_rng(0), 5)
    assert codec.tokens.swaps == () and (codec.tokens.twins(rows, np.random.default_rng(0)) == rows).all()


# -- NNI's search-space JSON -------------------------------------------------------------------------------------------
def test_a_search_space_of_nni() -> None:
    codec = ParameterCodec(
        {
            "op": {"_type": "choice", "_value": ["a", True, None, 1.5, [1, 2]]},
            "depth": {"_type": "randint", "_value": [2, 5]},
            "rate": {"_type": "quniform", "_value": [0.1, 0.5, 0.2]},
            "batch": {"_type": "qloguniform", "_value": [16, 64, 16]},
        }
    )
    assert codec.values == {
        "op": ["a", True, None, 1.5, [1, 2]],
        "depth": [2, 3, 4],
        "rate": [0.1, 0.2, 0.4],
        "batch": [16, 32, 48, 64],
    }
    assert codec.size == 5 * 3 * 3 * 4 and not codec.tokens.swaps
    rows = codec.sample(np.random.default_rng(0), 300)
    assert len(set(codec.keys(rows))) > 120
    for row in rows:
        found = codec.row(codec.parameters(row))
        assert found is not None and (found == row).all()
    parameters = codec.parameters(rows[0])
    assert codec.row({**parameters, "batch": float(parameters["batch"]), "more": 1}) is not None, (
        "JSON turns 16.0 into 16"
    )
    assert codec.row({**parameters, "op": "z"}) is None and codec.row({}) is None and codec.row(None) is None
    assert codec.row({**parameters, "op": 1}) is None, "true is not 1"


@pytest.mark.parametrize("space", [NASBench201(nodes=3), NAO(), RecurrentCell(nodes=3)])
def test_an_exported_space(space: SearchSpace) -> None:
    codec, known = ParameterCodec(space.nni_search_space()), ParameterCodec(space.nni_search_space(), space)
    assert (codec.size, known.size) == (space.size, space.size)
    assert known.tokens == SpaceCodec(space).tokens, "the same vocabulary, groups and twins"
    rows = codec.sample(np.random.default_rng(0), 50)
    for row, architecture in zip(rows, SpaceCodec(space).architectures(rows), strict=True):
        assert codec.parameters(row) == architecture.as_dict()


def test_a_known_space_tries_twins_once_whatever_the_order_of_its_keys() -> None:
    space = NASBench201(nodes=3)
    turned = dict(reversed(space.nni_search_space().items()))
    codec, inner = ParameterCodec(turned, space), SpaceCodec(space)
    rows = codec.sample(np.random.default_rng(0), 125)
    assert [codec.parameters(row) for row in rows] == [
        dict(reversed(a.as_dict().items())) for a in inner.architectures(rows[:, ::-1])
    ]
    assert (
        codec.keys(rows) == inner.keys(rows[:, ::-1])
        and codec.valid(codec.mutate(np.random.default_rng(0), rows)).all()
    )
    assert len(set(codec.keys(space.enumerate().astype(np.int64)))) < 125
    with pytest.raises(ConfigError, match="is not the one of NASBench201"):
        ParameterCodec(turned, NASBench201())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"_type": "uniform", "_value": [0, 1]}, "searchSpace.lr: uniform has no finite list of values"),
        ({"_type": "loguniform", "_value": [1e-4, 1]}, "searchSpace.lr: loguniform has no finite"),
        ({"_type": "qnormal", "_value": [0, 1, 0.5]}, "searchSpace.lr: qnormal has no finite"),
        ({"_type": "choice", "_value": [{"_name": "a"}, {"_name": "b"}]}, "searchSpace.lr: nested choices"),
        ({"_type": "choice", "_value": []}, "searchSpace.lr: 1 to 10,000 values are needed, but got 0"),
        ({"_type": "choice", "_value": ["a", "a"]}, "searchSpace.lr: a value stands in it twice"),
        ({"_type": "choice", "_value": [float("nan")]}, "searchSpace.lr: values must be plain JSON"),
        ({"_type": "randint", "_value": [5, 2]}, "searchSpace.lr: randint needs .* low < high"),
        (
            {"_type": "randint", "_value": [0, 10**9]},
            "searchSpace.lr: 1 to 10,000 values are needed, but got 1,000,000,000",
        ),
        ({"_type": "quniform", "_value": [0, 1]}, "searchSpace.lr: quniform needs"),
        ({"_type": "quniform", "_value": [0, 1, 1e-9]}, "searchSpace.lr: quniform needs q > 0, and at most"),
        ({"_value": [1]}, "searchSpace.lr: must be {_type"),
        (["a"], "searchSpace.lr: must be {_type"),
    ],
)
def test_what_cannot_be_encoded_is_refused_by_name(entry: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ParameterCodec({"fine": {"_type": "choice", "_value": [1, 2]}, "lr": entry})


def test_an_empty_search_space() -> None:
    with pytest.raises(ConfigError, match="a mapping with at least one parameter"):
        ParameterCodec({})


def test_ranges_are_what_nni_draws() -> None:
    """Every value that NNI's own random tuner draws has a token."""
    from nni.algorithms.hpo.random_tuner import RandomTuner

    for entry in (
        {"_type": "quniform", "_value": [0.15, 1, 0.1]},
        {"_type": "qloguniform", "_value": [1, 9, 2]},
        {"_type": "randint", "_value": [-2, 3]},
    ):
        tuner = RandomTuner(seed=0)
        tuner.update_search_space({"x": entry, "y": {"_type": "uniform", "_value": [0, 1]}})
        drawn = {tuner.generate_parameters(i)["x"] for i in range(300)}
        assert drawn <= set(finite_values("x", entry))
