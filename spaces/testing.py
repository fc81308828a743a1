"""The conformance suite of search spaces: a space that passes it works with every strategy, evaluator and tuner of this
package.

For a space of your own, in your own tests::

    from nni_plugins.spaces.testing import SpaceContract

    class TestMySpace(SpaceContract):
        def space(self) -> SearchSpace:
            return MySpace(channels=4)

Choose a small network: every test builds a few of them on the CPU. Counting multiply-adds needs ``fvcore`` and is
skipped without it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from .architecture import Architecture
from .base import ENUMERATION_LIMIT, CostTable, Indices, SearchSpace
from .errors import SpaceError

if TYPE_CHECKING:
    import torch

    from .supernet import Supernet

SMALL = 20_000
"""Spaces of at most this many architectures are enumerated."""


class SpaceContract:
    """Inherit, define :meth:`space`, and let pytest collect the tests."""

    image_size: ClassVar[int] = 8
    """Pixels a side of the images that networks are run on."""

    def space(self) -> SearchSpace:
        """The space under test; called anew by every test."""
        raise NotImplementedError

    # -- helpers -------------------------------------------------------------------------------------------------------
    def _sample(self, n: int, seed: int = 0) -> tuple[SearchSpace, Indices]:
        import torch

        torch.manual_seed(seed)  # the networks that a test builds next
        space = self.space()
        return space, space.sample(np.random.default_rng(seed), n)

    def _images(self, n: int, seed: int = 0) -> torch.Tensor:
        import torch

        return torch.randn(
            n, 3, self.image_size, self.image_size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )

    def _assert_valid(self, space: SearchSpace, indices: npt.NDArray[np.int8]) -> None:
        """Right type, within bounds, and architectures of the space: of its enumeration where that is small."""
        assert indices.dtype == np.int8 and indices.shape[-1] == len(space.decisions)
        rows = indices.reshape(-1, len(space.decisions))
        assert (rows >= 0).all() and (rows < [len(d.values) for d in space.decisions]).all()
        for architecture in space.decode(rows[:50]):
            assert space.check(architecture) == architecture
        if space.size <= SMALL:
            assert {row.tobytes() for row in rows} <= {row.tobytes() for row in space.enumerate()}

    def _frequencies(self, space: SearchSpace, indices: npt.NDArray[np.int8]) -> list[npt.NDArray[np.float64]]:
        """Relative frequency of each value of each decision."""
        return [
            np.bincount(indices[:, d], minlength=len(decision.values)) / len(indices)
            for d, decision in enumerate(space.decisions)
        ]

    # -- identity ------------------------------------------------------------------------------------------------------
    def test_config_builds_an_equal_space(self) -> None:
        space = self.space()
        again = type(space)(**json.loads(json.dumps(space.config())))
        assert again == space and hash(again) == hash(space) and repr(again) == repr(space)
        assert again.decisions == space.decisions and again.size == space.size and again.repeats == space.repeats
        indices = space.sample(np.random.default_rng(0), 20)
        first, second = again.cost_table(self.image_size)(indices), space.cost_table(self.image_size)(indices)
        assert np.array_equal(first.parameters, second.parameters) and np.array_equal(first.macs, second.macs)

    def test_classes_change_nothing_but_the_head(self) -> None:
        import torch

        space, indices = self._sample(1)
        other = space.with_classes(7)
        assert (
            type(other) is type(space)
            and other.decisions == space.decisions
            and other.with_classes(3) == space.with_classes(3)
        )
        with torch.no_grad():
            outputs = other.network(space.decode(indices)[0]).double().eval()(self._images(2))
        assert outputs.shape == (2, 7)

    def test_decisions_are_distinct_and_have_values(self) -> None:
        space = self.space()
        assert space.name and space.labels == tuple(d.label for d in space.decisions)
        assert len(set(space.labels)) == len(space.labels) > 0
        for decision in space.decisions:
            assert len(set(decision.values)) == len(decision.values) > 0, decision

    # -- codecs --------------------------------------------------------------------------------------------------------
    def test_decode_is_the_inverse_of_encode(self) -> None:
        space, indices = self._sample(100)
        architectures = space.decode(indices)
        assert np.array_equal(space.encode(architectures), indices) and space.encode(architectures).dtype == np.int8
        assert space.encode([]).shape == (0, len(space.decisions)) and space.decode(indices[:0]) == []
        assert all(a.space == space.name and tuple(a.as_dict()) == space.labels for a in architectures)

    def test_json_round_trip(self) -> None:
        space, indices = self._sample(20)
        for architecture in space.decode(indices):
            text = architecture.to_json()
            assert "\n" not in text and Architecture.from_json(text) == space.check(architecture) == architecture

    def test_native_string_round_trip(self) -> None:
        space, indices = self._sample(100)
        architectures = space.decode(indices)
        texts = [space.to_string(a) for a in architectures]
        assert [space.from_string(t) for t in texts] == architectures
        assert len(set(texts)) == len(set(architectures)) and not any("\n" in t for t in texts)

    def test_every_form_is_parsed(self) -> None:
        space, indices = self._sample(5)
        for architecture in space.decode(indices):
            choices = architecture.as_dict()
            shuffled = dict(reversed(choices.items()))
            native, ours = space.to_string(architecture), architecture.to_json()
            forms = [ours, json.loads(ours), choices, shuffled, json.dumps(shuffled), native]
            for form in forms:
                assert space.parse(form) == architecture, form
                if isinstance(form, str):
                    assert space.parse(f"  {form}\n") == architecture

    def test_bad_choices_are_named(self) -> None:
        space, indices = self._sample(1)
        (architecture,) = space.decode(indices)
        good = architecture.as_dict()
        label, value = architecture.choices[-1]
        for bad, named in (
            ({**good, f"{label}x": value}, ["no such decision", "did you mean", repr(label)]),
            ({k: v for k, v in good.items() if k != label}, ["missing", label]),
            ({**good, label: f"{value}x"}, [label, "unknown value", "did you mean", repr(value)]),
            ({}, list(space.labels)),
        ):
            for form in (bad, json.dumps(bad)):
                with pytest.raises(SpaceError) as caught:
                    space.parse(form)
                assert all(part in str(caught.value) for part in named), str(caught.value)

    def test_foreign_and_malformed_architectures_are_refused(self) -> None:
        space, indices = self._sample(1)
        (architecture,) = space.decode(indices)
        label = space.labels[0]
        with pytest.raises(SpaceError, match="another space"):
            space.check(Architecture("another space", architecture.choices))
        for strange in (5, None, ["x"], {"a": 1}):
            with pytest.raises(SpaceError):
                space.architecture({**architecture.as_dict(), label: strange})  # type: ignore[dict-item]
        for text in ("", "nonsense", "{", "{}", "[]", "null", 2 * space.to_string(architecture)):
            with pytest.raises(SpaceError):
                space.parse(text)

    def test_canonical_form(self) -> None:
        space, indices = self._sample(50)
        for architecture in space.decode(indices):
            assert space.canonical(architecture) == space.canonical(space.parse(space.to_string(architecture)))

    def test_graphs_can_be_drawn(self) -> None:
        space, indices = self._sample(20)
        counts = space.path_counts(indices)
        for architecture, row in zip(space.decode(indices), counts, strict=True):
            graphs = space.graph(architecture)
            assert graphs and all(isinstance(title, str) for title in graphs)
            edges = [edge for graph in graphs.values() for edge in graph]
            assert all(isinstance(part, str) for e in edges for part in (e.source, e.target, e.operation))
            assert any(e.live for e in edges) == (row.max() > 0), space.to_string(architecture)

    # -- drawing at random ---------------------------------------------------------------------------------------------
    def test_sampling_is_uniform(self) -> None:
        space, indices = self._sample(4000)
        self._assert_valid(space, indices)
        free = int(np.prod([len(d.values) for d in space.decisions], dtype=object))
        if space.size == free:
            expected: list[npt.NDArray[np.float64]] = [
                np.full(len(d.values), 1 / len(d.values)) for d in space.decisions
            ]
        elif space.size <= SMALL:
            expected = self._frequencies(space, space.enumerate())
        else:
            pytest.skip("frequencies are unknown for a large space with constraints")
        for drawn, wanted in zip(self._frequencies(space, indices), expected, strict=True):
            assert np.abs(drawn - wanted).max() < 0.05  # more than six standard deviations of 4,000 draws

    def test_drawing_is_a_function_of_the_generator(self) -> None:
        space, parents = self._sample(50)
        other = space.sample(np.random.default_rng(1), 50)

        def everything(seed: int) -> bytes:
            rng = np.random.default_rng(seed)
            drawn = [space.sample(rng, 20), space.mutate(rng, parents, 0.3), space.crossover(rng, parents, other)]
            drawn += [space.sample_paths(rng, 20, shared) for shared in (False, True)]
            return b"".join(d.tobytes() for d in drawn)

        before = parents.copy()
        assert everything(3) == everything(3) != everything(4)
        assert np.array_equal(parents, before)

    @pytest.mark.parametrize("shared", [False, True])
    def test_paths_for_training(self, shared: bool) -> None:
        space = self.space()
        paths = space.sample_paths(np.random.default_rng(0), 40, shared)
        assert paths.shape == (40, space.repeats, len(space.decisions))
        self._assert_valid(space, paths)
        if shared:
            assert (paths == paths[:, :1]).all()

    @pytest.mark.parametrize("probability", [1e-9, 0.1, 1.0])
    def test_mutation_changes_something(self, probability: float) -> None:
        space, parents = self._sample(300)
        children = space.mutate(np.random.default_rng(1), parents, probability)
        assert children.shape == parents.shape and (children != parents).any(axis=1).all()
        self._assert_valid(space, children)

    def test_crossover_takes_only_from_the_parents(self) -> None:
        space, first = self._sample(300)
        second = space.sample(np.random.default_rng(1), 300)
        children = space.crossover(np.random.default_rng(2), first, second)
        self._assert_valid(space, children)
        assert ((children == first) | (children == second)).all()
        differ = first != second
        assert (children[differ] == first[differ]).any() and (children[differ] == second[differ]).any()
        assert np.array_equal(space.crossover(np.random.default_rng(2), first, first), first)

    def test_enumeration_is_complete(self) -> None:
        space = self.space()
        if space.size > ENUMERATION_LIMIT:
            with pytest.raises(SpaceError, match="evolution"):
                space.enumerate()
        elif space.size > SMALL:
            pytest.skip(f"{space.size:,} architectures")
        else:
            everything = space.enumerate()
            assert everything.shape == (space.size, len(space.decisions)) and everything.dtype == np.int8
            rows = [tuple(row) for row in everything.tolist()]
            assert rows == sorted(set(rows)), "unique, the last decision running fastest"

    # -- structure and cost --------------------------------------------------------------------------------------------
    def test_path_counts_tell_whether_the_output_depends_on_the_input(self) -> None:
        import torch

        space, indices = self._sample(2000)
        counts = space.path_counts(indices)
        structure = space.structure(indices)
        assert counts.shape == structure.shape == (len(indices), len(space.parts))
        assert structure.dtype in (np.int8, np.int16)
        assert counts.dtype == np.int64 and (counts >= 0).all()
        assert (structure >= 0).all() and (structure < [len(p.values) for p in space.parts]).all()
        assert np.array_equal(space.structure(indices[::-1]), structure[::-1]), "a row's parts depend on that row alone"
        alive = np.asarray(counts.any(axis=1))
        connected, cut = np.argsort((counts > 0).sum(axis=1), kind="stable"), np.flatnonzero(~alive)
        connected = connected[alive[connected]]  # those with the fewest live choices first: where a wrong count shows
        for row in [*connected[:4], *connected[-2:], *cut[:4]]:
            (architecture,) = space.decode(indices[row : row + 1])
            network = space.network(architecture).double().eval()
            with torch.no_grad():
                same = torch.equal(network(self._images(4, seed=1)), network(self._images(4, seed=2)))
            assert same != alive[row], f"{space.to_string(architecture)}: path_counts are {counts[row].tolist()}"

    def test_cost_table_equals_real_networks(self) -> None:
        space, indices = self._sample(5)
        table = space.cost_table(self.image_size)
        if isinstance(table, CostTable):
            values = max(len(p.values) for p in space.parts)
            assert table.parameters.shape == table.macs.shape == (len(space.parts), values)
        costs = table(indices)
        for row, architecture in enumerate(space.decode(indices)):
            assert costs.parameters[row] == sum(p.numel() for p in space.network(architecture).parameters()), (
                space.to_string(architecture)
            )

    compared: ClassVar[int] = 5
    """Architectures whose multiply-adds are counted independently."""

    def test_cost_table_equals_an_independent_count(self) -> None:
        nn = pytest.importorskip("fvcore.nn", reason="fvcore is not installed")
        space, indices = self._sample(2000, seed=1)
        # fvcore counts a trace, and tracing drops operations whose result is not used: only architectures without any
        # are compared.
        indices = indices[~self._has_dead_weight(space, indices)][: self.compared]
        assert len(indices) == self.compared or (space.size < 100 and len(indices) > 0), (
            "too few architectures without dead operations among 2,000"
        )
        costs = space.cost_table(self.image_size)(indices)
        for row, architecture in enumerate(space.decode(indices)):
            analysis = nn.FlopCountAnalysis(space.network(architecture).double().eval(), self._images(1))
            counted = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
            assert costs.macs[row] == sum(counted[kind] for kind in ("conv", "linear", "addmm")), space.to_string(
                architecture
            )

    def _has_dead_weight(self, space: SearchSpace, indices: Indices) -> npt.NDArray[np.bool_]:
        """(n,): whether an architecture has parts that cost something and lie on no path."""
        table = space.cost_table(self.image_size)
        if not isinstance(table, CostTable):
            return np.zeros(len(indices), dtype=np.bool_)
        structure = space.structure(indices)
        costly = table.macs[np.arange(structure.shape[1]), structure] > 0
        dead: npt.NDArray[np.bool_] = ((space.path_counts(indices) == 0) & costly).any(axis=1)
        return dead

    def test_nni_search_space(self) -> None:
        space = self.space()
        described = json.loads(json.dumps(space.nni_search_space()))
        assert tuple(described) == space.labels
        for decision in space.decisions:
            assert "/" not in decision.label and described[decision.label] == {
                "_type": "choice",
                "_value": list(decision.values),
            }
            assert all(isinstance(value, str) and value for value in decision.values)

    # -- networks ------------------------------------------------------------------------------------------------------
    def test_supernet_runs_single_paths(self) -> None:
        import torch

        space, indices = self._sample(3)
        supernet: Supernet = space.supernet()  # type: ignore[assignment]
        assert supernet.search_space == space
        paths = space.sample_paths(np.random.default_rng(0), 3, False)
        for path, architecture in zip(paths, space.decode(indices), strict=True):
            wanted = space.network(architecture)(self._images(2).float()).shape
            outputs = supernet.forward_path(self._images(2).float(), path)
            assert outputs.shape == wanted and bool(torch.isfinite(outputs).all())
            outputs.sum().backward()  # type: ignore[no-untyped-call]

    def test_a_fresh_supernet_has_new_weights_of_the_same_shapes(self) -> None:
        import torch

        supernet: Supernet = self.space().supernet()  # type: ignore[assignment]
        old, new = supernet.state_dict(), supernet.fresh().state_dict()
        assert {name: value.shape for name, value in old.items()} == {name: value.shape for name, value in new.items()}
        assert any(not torch.equal(value, new[name]) for name, value in old.items())

    def test_nni_sees_the_same_space_and_freezes_it(self) -> None:
        import torch
        from nni.nas.nn.pytorch import ModelSpace

        space, indices = self._sample(2)
        supernet = space.supernet()
        assert isinstance(supernet, ModelSpace)
        assert callable(getattr(supernet, "set_drop_path", None)) == space.drops_paths
        assert {label: tuple(choice.values) for label, choice in supernet.simplify().items()} == {
            d.label: d.values for d in space.decisions
        }
        supernet.eval()
        for architecture in space.decode(indices):
            frozen = supernet.freeze(architecture.as_dict()).eval()
            assert not isinstance(frozen, ModelSpace) or not frozen.simplify()
            shapes = {name: value.shape for name, value in space.network(architecture).state_dict().items()}
            assert {name: value.shape for name, value in frozen.state_dict().items()} == shapes
            with torch.no_grad():
                path = np.broadcast_to(space.encode([architecture]), (space.repeats, len(space.decisions)))
                one = supernet.forward_path(self._images(2).float(), path)
                assert (
                    frozen(self._images(2).float()).shape
                    == one.shape
                    == space.network(architecture)(self._images(2).float()).shape
                )

    def test_a_mixture_of_one_architecture_is_its_path(self) -> None:
        import torch

        from .path_supernet import PathSupernet

        space, indices = self._sample(3)
        supernet = space.supernet()
        if not isinstance(supernet, PathSupernet):
            pytest.skip("NNI mixes this supernet's operations itself")
        supernet.double().eval()
        x = self._images(2)
        for row in indices:
            weights = [
                torch.eye(len(d.values), dtype=x.dtype)[int(v)] for d, v in zip(space.decisions, row, strict=True)
            ]
            with torch.no_grad():
                path = np.broadcast_to(row, (space.repeats, len(row)))
                assert torch.allclose(
                    supernet.forward_mixed(x, weights), supernet.forward_path(x, path), rtol=0, atol=1e-9
                )
        soft = [
            torch.full((len(d.values),), 1 / len(d.values), dtype=x.dtype, requires_grad=True) for d in space.decisions
        ]
        outputs = supernet.forward_mixed(x, soft)
        outputs.square().sum().backward()  # type: ignore[no-untyped-call]
        assert bool(torch.isfinite(outputs).all()) and all(
            w.grad is not None and bool(torch.isfinite(w.grad).all()) for w in soft if len(w) > 1
        )

    def test_features(self) -> None:
        import torch

        from .images import ImageSpace

        space, indices = self._sample(2)
        if not isinstance(space, ImageSpace):
            pytest.skip("not a space of image networks")
        for architecture in space.decode(indices):
            network = space.network(architecture).eval()
            weights = network.state_dict()
            strides = [stage.stride for stage in network.all_stages]
            x = torch.randn(1, space.input_channels, max(strides) * 4, max(strides) * 8)
            for output_stride in (None, *sorted(set(strides))):
                pyramid = space.features(architecture, None, output_stride).eval()
                missing = pyramid.load_state_dict(weights, strict=False)
                assert not missing.missing_keys and all(
                    key.startswith("classifier.") for key in missing.unexpected_keys
                )
                with torch.no_grad():
                    maps = pyramid(x)
                assert len(maps) == len(pyramid.stage_info) == len(strides)
                for y, stage, natural in zip(maps, pyramid.stage_info, strides, strict=True):
                    assert stage.stride == min(natural, output_stride or natural)
                    assert y.shape == (1, stage.channels, x.shape[2] // stage.stride, x.shape[3] // stage.stride)
            with torch.no_grad():
                (last,) = space.features(architecture, [-1]).eval()(x)
                full = space.features(architecture).eval()
                full.load_state_dict(weights, strict=False)
                assert torch.allclose(
                    network.forward_head(full(x)[-1], (x.shape[2], x.shape[3])), network(x), atol=1e-5
                )
            assert last.shape[1] == network.all_stages[-1].channels
        with pytest.raises(SpaceError, match="out_indices"):
            space.features(architecture, [len(strides)])
        with pytest.raises(SpaceError, match="output_stride"):
            space.features(architecture, None, 3)

    def test_every_weight_is_in_one_block(self) -> None:
        space = self.space()
        supernet: Supernet = space.supernet()  # type: ignore[assignment]
        blocks = supernet.weight_blocks()
        assert [len(row) for row in blocks.choices] == [len(p.values) for p in space.parts]
        names = [
            name
            for block in (blocks.fixed, *(b for row in blocks.choices for b in row))
            for name, _ in block.parameters
        ]
        assert sorted(names) == sorted(name for name, _ in supernet.named_parameters())
        assert set(names) <= set(supernet.state_dict())  # type: ignore[attr-defined]
