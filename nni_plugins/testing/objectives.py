"""The conformance suite of objectives: one that passes it works in every search and training.

For an objective of your own, in your own tests::

    from nni_plugins.testing import ObjectiveContract

    class TestMyObjective(ObjectiveContract):
        def objective(self) -> Objective:
            return MyObjective(pieces=4)

        def images(self) -> ImageSet:
            return ImageSet("noise", torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8), None)
"""

from __future__ import annotations

import json
import math

import numpy as np
import torch

from nni_plugins.evaluators.data import ImageSet
from nni_plugins.evaluators.objectives import Crops, Objective, fitted
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training.settings import SupernetSettings
from nni_plugins.spaces import NASBench201, registry

from .strategies import Unlabelled
from .training import seed_generators


class ObjectiveContract:
    """Inherit, define :meth:`objective` and :meth:`images`, and let pytest collect the tests."""

    def objective(self) -> Objective:
        """The objective under test; called anew by every test."""
        raise NotImplementedError

    def images(self) -> ImageSet:
        """A few images that can serve, in memory, with labels or label maps if it needs them."""
        raise NotImplementedError

    # -- what it is ----------------------------------------------------------------------------------------------------
    def test_its_attributes_are_its_arguments(self) -> None:
        objective = self.objective()
        arguments = json.loads(json.dumps(vars(objective)))
        assert vars(type(objective)(**arguments)) == vars(objective)

    def test_it_is_registered(self) -> None:
        objective = self.objective()
        names = [name for name in registry.found("objectives") if registry.get("objectives", name) is type(objective)]
        assert names and vars(build_objective({"name": names[0], **vars(objective)})) == vars(objective)

    # -- what it draws -------------------------------------------------------------------------------------------------
    def test_what_it_draws_is_a_function_of_the_arguments(self) -> None:
        objective, images = self.objective(), self.images()
        seed_generators(1)
        drawn = objective.draw(3, 1, 20)
        assert drawn.shape[0] == 20 and drawn.ndim == 2 and drawn.dtype == np.int32
        seed_generators(2)
        assert np.array_equal(self.objective().draw(3, 1, 20), drawn)
        assert np.array_equal(objective.draw_evaluation(3, 20), self.objective().draw_evaluation(3, 20))
        if drawn.shape[1]:
            assert not np.array_equal(objective.draw(4, 1, 20), drawn), "the seed decides nothing"
            assert not np.array_equal(objective.draw(3, 2, 20), drawn), "all epochs are the same"
        targets, again = (objective.epoch_targets(images, 1) for objective in (objective, self.objective()))
        assert (targets is None) == (again is None)
        if targets is not None and again is not None:
            assert torch.equal(targets, again) and targets.dtype == torch.int64 and targets.shape == (len(images),)

    # -- what it makes of images -----------------------------------------------------------------------------------------
    def test_inputs_and_targets(self) -> None:
        objective, images = self.objective(), self.images()
        objective.check(images)
        head = objective.head(images)
        x, targets = _prepared(objective, images)
        assert x.dtype == torch.float32 and x.ndim >= 4  # more where an input is several images, such as tiles
        assert x.shape[-3] == head.input_channels == objective.input_channels
        assert head.form == objective.form and len(x) % len(images) == 0 and len(x) == len(targets)
        assert torch.isfinite(x).all() and targets.dtype == torch.int64

    def test_an_image_has_the_same_targets_in_any_batch(self) -> None:
        objective, images = self.objective(), self.images()
        x, targets = _prepared(objective, images)
        each = len(x) // len(images)
        for k in range(len(images)):
            alone, target = _prepared(objective, images, slice(k, k + 1))
            assert torch.allclose(alone, x[k * each : (k + 1) * each], atol=1e-5)
            assert torch.equal(target, targets[k * each : (k + 1) * each])

    def test_perfect_and_wrong_outputs(self) -> None:
        objective, images = self.objective(), self.images()
        classes = objective.head(images).classes
        _, targets = _prepared(objective, images)
        counted = (targets >= 0) & (targets < classes)
        assert int(objective.count(targets)) == int(counted.sum()) > 0
        safe = torch.where(counted, targets, 0)
        perfect = 50.0 * torch.nn.functional.one_hot(safe, classes).movedim(-1, 1).float()
        assert (
            int(objective.correct(perfect, targets)) == int(counted.sum()) and objective.loss(perfect, targets) < 1e-6
        )
        wrong = perfect.roll(1, dims=1).requires_grad_()
        loss = objective.loss(wrong, targets)
        loss.backward()
        assert int(objective.correct(wrong, targets)) == 0 and loss > 1 and wrong.grad is not None
        assert torch.isfinite(wrong.grad).all() and wrong.grad.abs().sum() > 0

    def test_numbers_of_an_evaluation(self) -> None:
        objective, images = self.objective(), self.images()
        classes = objective.head(images).classes
        _, targets = _prepared(objective, images)
        safe = torch.where((targets >= 0) & (targets < classes), targets, 0)
        perfect = 50.0 * torch.nn.functional.one_hot(safe, classes).movedim(-1, 1).float()
        tally = objective.tally(perfect, targets)
        summary = objective.summary(tally + tally)
        assert (
            tally.dtype == torch.float64 and tally.ndim == 1 and {"loss", "accuracy", objective.metric} <= set(summary)
        )
        assert summary[objective.metric] == 100 and summary["loss"] < 1e-6

    def test_labels_are_asked_for_only_if_it_needs_them(self) -> None:
        """A whole training."""
        objective, images = self.objective(), self.images()
        if objective.label_free:
            images = Unlabelled(images)
        space = fitted(NASBench201(nodes=3, channels=4, cells_per_stage=1), objective, images)
        settings = SupernetSettings(epochs=1, batch_size=2, accelerator="cpu")
        trained = SupernetTraining(images, objective, settings).evaluate(space.supernet())
        assert math.isfinite(trained.history[0]["loss"])


def _prepared(objective: Objective, images: ImageSet, part: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of a part of the images, without augmentation."""
    drawn = torch.from_numpy(objective.draw(0, 0, len(images)))[part]
    targets = objective.epoch_targets(images, 0)
    maps = images.maps[part] if objective.wants_maps else None
    mean, std = (statistic[:, None, None] for statistic in images.statistics())
    labels = None if targets is None else targets[part]
    prepared: tuple[torch.Tensor, torch.Tensor] = objective.prepare(
        Crops(images.images[part], labels, maps, drawn, mean, std)
    )
    return prepared
