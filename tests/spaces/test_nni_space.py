"""NNI's model spaces as search spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nni.nas.nn.pytorch import ModelSpace

from nni_plugins.spaces import NNISpace, SearchSpace, SpaceError
from nni_plugins.spaces.base import CostTable, Decision
from nni_plugins.spaces.nni_space.choices import choices_of
from nni_plugins.spaces.nni_space.costs import CountedCosts
from nni_plugins.spaces.nni_space.model import _model
from nni_plugins.spaces.nni_space.space import _described, _walked
from nni_plugins.spaces.testing import SpaceContract
from nni_plugins.strategies.rlnas.angle import VARIANTS, AngleTable
from tests.spaces.nni_models import Toy

HUB = "nni.nas.hub.pytorch."
TOY = "tests.spaces.nni_models.Toy"


class AdapterContract(SpaceContract):
    """What every model space of NNI's must do; its networks name no stages, and its supernet has no mixture."""

    model: str
    arguments: dict[str, Any] = {}
    compared = 3
    additive = True

    def space(self) -> SearchSpace:
        return NNISpace(self.model, self.arguments)

    def test_a_mixture_of_one_architecture_is_its_path(self) -> None:
        with pytest.raises(SpaceError, match="sums over edges"):
            self.space().supernet().forward_mixed(torch.zeros(1, 3, 8, 8), [])  # type: ignore[operator]

    def test_features(self) -> None:
        space, indices = self._sample(1)
        with pytest.raises(SpaceError, match="name no stages"):
            space.features(space.decode(indices)[0])  # type: ignore[attr-defined]

    def test_every_weight_is_in_one_block(self) -> None:
        """In at least one: values share slices, and in a cell both inputs of a node may use the same operation."""
        space = self.space()
        supernet: Any = space.supernet()
        blocks = supernet.weight_blocks()
        assert [len(row) for row in blocks.choices] == [len(p.values) for p in space.parts]
        names = {name for b in (blocks.fixed, *(b for row in blocks.choices for b in row)) for name in b.names}
        assert names == {name for name, _ in supernet.named_parameters()} <= set(supernet.state_dict())

    def test_costs_are_a_table(self) -> None:
        model = self.space().cost_table(self.image_size)
        assert isinstance(model, CostTable if self.additive else CountedCosts)

    def test_a_path_has_the_weights_of_its_network(self) -> None:
        """Their shapes, counted through the blocks that the path's parts name, are those of NNI's own network."""
        space, indices = self._sample(5)
        supernet: Any = space.supernet()
        blocks, weights = supernet.weight_blocks(), dict(supernet.named_parameters())
        for row, architecture in zip(space.structure(indices), space.decode(indices), strict=True):
            chosen = [blocks.fixed, *(blocks.choices[s][v] for s, v in enumerate(row))]
            count = sum(weights[name].numel() for b in chosen for name, _ in b.parameters)
            count += sum(int(np.prod([b - a for a, b in box])) for b in chosen for _, _, box in b.regions)
            assert count == sum(p.numel() for p in space.network(architecture).parameters())


class TestToy(AdapterContract):
    model = TOY


class TestHubNASBench201(AdapterContract):
    model = f"{HUB}NasBench201"
    arguments = {"stem_out_channels": 4, "num_modules_per_stack": 1}


MOBILENET = {
    "base_widths": [8] * 9,
    "width_multipliers": [1.0, 2.0],
    "expand_ratios": [1.0, 2.0],
    "depth_range": [1, 2],
    "stride": [1, 1, 2, 1, 1, 1, 2, 1, 1],
}


@pytest.mark.slow
class TestHubMobileNetV3(AdapterContract):
    model, arguments = f"{HUB}MobileNetV3Space", MOBILENET


@pytest.mark.slow
class TestHubProxylessNAS(AdapterContract):
    model, arguments, image_size = f"{HUB}ProxylessNAS", {"width_mult": 0.25}, 32


@pytest.mark.slow
class TestHubShuffleNet(AdapterContract):
    model, image_size = f"{HUB}ShuffleNetSpace", 32


@pytest.mark.slow
class TestHubDARTS(AdapterContract):
    model, arguments = f"{HUB}DARTS", {"width": 4, "num_cells": 3}


@pytest.mark.slow
class TestHubAutoFormer(AdapterContract):
    model, image_size = f"{HUB}AutoFormer", 32
    arguments = {
        "img_size": 32,
        "patch_size": 8,
        "search_embed_dim": [16, 24],
        "search_mlp_ratio": [1.0, 2.0],
        "search_num_heads": [1, 2],
        "search_depth": [1, 2],
    }


def toy(**arguments: Any) -> NNISpace:
    return NNISpace(TOY, arguments)


def row_of(space: NNISpace, **choices: str) -> Any:
    first = {d.label: d.values[0] for d in space.decisions}
    return space.encode([space.architecture({**first, **choices})])


def test_decisions_are_nnis() -> None:
    decisions = {d.label: d.values for d in toy().decisions}
    assert decisions["net_width"] == ("4", "8") and decisions["layer_0"] == ("conv3", "nested", "skip")
    assert decisions["depth"] == ("1", "2", "3") and decisions["inner_2"] == ("0", "1")
    assert decisions["two"] == ("0+1", "0+2", "1+2") and len(decisions["any"]) == 7
    assert toy().size == 2 * 2 * 3 * 6**3 * 3 * 7


def test_names_that_modules_cannot_have() -> None:
    from nni.mutable import Categorical, CategoricalMultiple, Numerical

    from nni_plugins.spaces.nni_space.model import RESERVED

    labels = [
        Categorical([0.5, 1.0, "1.0", "key"], label="values"),
        CategoricalMultiple(["a b", "c"], label="of two"),
    ]
    (first, second), constrained = choices_of({m.label: m for m in labels}, "Toy", RESERVED)
    assert first.decision == Decision("values_1", ("0_5", "1", "1_0", "key_1")) and first.values[2] == "1.0"
    assert second.decision == Decision("of_two", ("a_b", "c", "a_b+c")) and not constrained
    with pytest.raises(SpaceError, match="no finite list"):
        choices_of({"x": Numerical(0, 1, label="x")}, "Toy")
    with pytest.raises(SpaceError, match="at most 127"):
        choices_of({"x": Categorical(range(128), label="x")}, "Toy")
    with pytest.raises(SpaceError, match="nothing to choose"):
        choices_of({}, "Toy")


def test_what_nothing_reads_makes_no_difference() -> None:
    space = toy()
    one = row_of(space, layer_1="skip", inner_0="1", layer_0="conv3", net_width="8")
    plain = row_of(space, net_width="8")
    assert np.array_equal(space.simplified(one), plain)  # depth 1 has no layer_1, and conv3 no inner layer
    assert space.canonical(space.decode(one)[0]) == space.canonical(space.decode(plain)[0])
    deep = row_of(space, layer_1="skip", depth="2", net_width="8")
    assert np.array_equal(space.simplified(deep), deep)


def test_a_slice_is_what_nni_takes() -> None:
    """Width 4 and kernel 3 take the first four filters and the middle of the 8 x 3 x 5 x 5 weights."""
    space = toy()
    supernet = space.supernet()
    stem = dict(supernet.named_parameters())["model.stem.0.weight"]
    assert stem.shape == (8, 3, 5, 5)
    boxes = {
        box
        for row in supernet.weight_blocks().choices
        for block in row
        for name, role, box in block.regions
        if name == "model.stem.0.weight" and role == "conv"
    }
    middles = {3: (1, 4), 5: (0, 5)}
    assert boxes == {((0, width), (0, 3), middles[k], middles[k]) for width in (4, 8) for k in (3, 5)}


def test_the_constants_of_batch_norms_are_the_models() -> None:
    space = toy()
    supernet: Any = space.supernet()
    supernet.forward_path(torch.zeros(2, 3, 8, 8), row_of(space))
    assert supernet.model.stem[1].forward_argument("momentum") == 0.3


def test_the_angle_is_that_of_the_slices() -> None:
    space = toy()
    torch.manual_seed(0)
    supernet = space.supernet()
    initial = {name: value.clone() for name, value in supernet.state_dict().items()}
    final = {name: value + torch.randn_like(value.float()) for name, value in initial.items()}
    table = AngleTable.build(space, supernet.weight_blocks(), initial, final, VARIANTS["weights"])
    row = row_of(space, layer_0="skip")

    def vector(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        stem, head = weights["model.stem.0.weight"][:4, :, 1:4, 1:4], weights["model.head.1.weight"][:, :4]
        return torch.cat([stem.flatten(), head.flatten()]).double()

    before, after = vector(initial), vector(final)
    expected = torch.arccos(before @ after / before.norm() / after.norm())
    assert table(row)[0] == pytest.approx(float(expected), abs=1e-9)


def test_a_path_without_searched_weights_is_its_network() -> None:
    """With the path's slices as weights, NNI's network answers as the supernet does."""
    space = toy()
    torch.manual_seed(0)
    supernet: Any = space.supernet().eval()
    row = row_of(space, layer_0="skip", net_width="8", net_kernel="5", two="1+2", any="0+1+2")
    network = space.network(space.decode(row)[0]).eval()
    weights = supernet.state_dict()
    renamed = {
        k: weights[k.replace("body.", "model.").replace("classifier.", "model.head.1.")] for k in network.state_dict()
    }
    network.load_state_dict(renamed)
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(network(x), supernet.forward_path(x, row), atol=1e-6)


def test_zero_operations_cut() -> None:
    space = NNISpace(f"{HUB}NasBench201", {"stem_out_channels": 4, "num_modules_per_stack": 1})
    labels = space.labels
    everything = space.encode([space.architecture(dict.fromkeys(labels, value)) for value in ("none", "skip_connect")])
    assert space.path_counts(everything).max(axis=1).tolist() == [0, 1]


def test_an_instance_is_taken() -> None:
    assert NNISpace.of(Toy((4, 6), num_classes=3)) == NNISpace(TOY, {"widths": [4, 6]}, classes=3)

    class Local(ModelSpace):
        pass

    with pytest.raises(SpaceError, match="within a function"):
        NNISpace.of(Local())


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        ("Toy", {}, "import path"),
        ("os; print", {}, "import path"),
        ("no_such_package.Toy", {}, "cannot be imported"),
        ("tests.spaces.nni_models.Toi", {}, "'Toy'"),
        ("tests.spaces.nni_models.nn", {}, "no nni.nas.nn.pytorch.ModelSpace"),
        (TOY, {"width": 3}, "'widths'"),
        (TOY, {"num_classes": 3}, "follows from the data"),
        (TOY, {"widths": "four"}, "Toy"),
    ],
)
def test_what_is_no_model_space(model: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        NNISpace(model, arguments).supernet()


def test_numbers_that_json_does_not_tell_apart() -> None:
    """NNI's manager makes 1 of 1.0: the space is the same, and a constructor of floats gets floats."""
    given, handed_on = (NNISpace(f"{HUB}ProxylessNAS", {"width_mult": one}) for one in (1.0, 1))
    assert given == handed_on and given.config() == handed_on.config()
    assert isinstance(given.model_space.keywords["width_mult"], float)


def test_initial_weights_do_not_depend_on_what_is_known_already() -> None:
    def weights() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return toy().supernet().state_dict()

    for known in (_described, _walked, _model):
        known.cache_clear()
    cold, warm = weights(), weights()
    assert all(torch.equal(value, warm[name]) for name, value in cold.items())


def test_other_heads_are_refused() -> None:
    with pytest.raises(SpaceError, match="linear layer"):
        toy().with_head("pixels", 5)


def test_spaces_with_constraints() -> None:
    """NAS-Bench-101's cells: NNI's own rules say what is valid; its weights cannot be shared by NNI."""
    space = NNISpace(f"{HUB}NasBench101", {"stem_out_channels": 8, "num_stacks": 1, "num_modules_per_stack": 1})
    rng = np.random.default_rng(0)
    rows = space.sample(rng, 20)
    assert space.valid(rows).all() and space.valid(space.mutate(rng, rows, 0.2)).all()
    assert space.valid(space.crossover(rng, rows, rows[::-1])).all()
    assert space.refusal is not None and "NasBench101Cell" in space.refusal
    with pytest.raises(SpaceError, match="cannot share weights"):
        space.supernet()
    costs = space.cost_table(8)(rows[:2])
    for row, architecture in enumerate(space.decode(rows[:2])):
        network = space.network(architecture)
        assert costs.parameters[row] == sum(p.numel() for p in network.parameters())
        assert network.eval()(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
