"""What a retraining will take: measured with four images, and refused where it cannot fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("timm")

from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.retraining import foresight
from nni_plugins.evaluators.retraining.foresight import Foreseen, accumulations, check_fits, foresee, sentence
from nni_plugins.evaluators.retraining.network import build, describe
from nni_plugins.evaluators.retraining.recipes import changed, recipe
from nni_plugins.evaluators.subjects.resolver import image_subject
from nni_plugins.evaluators.training import memory
from nni_plugins.evaluators.training.memory import named_shortage, within_free_memory

CPU, MEGABYTE = torch.device("cpu"), 2**20


def convolutions(side: int = 32, **changes: Any) -> tuple[nn.Module, Any]:
    """Two convolutions without padding effects on sizes, at ``side`` pixels."""
    network = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 8, 1, bias=False))
    return network, changed(recipe("digits"), {"input.size": side, **changes})


def foreseen(side: int = 32, **changes: Any) -> Foreseen:
    network, given = convolutions(side, **changes)
    return foresee(network, given, 1000, CPU)


def test_activations_grow_with_pixels_and_weights_do_not() -> None:
    small, large = foreseen(32), foreseen(64)
    assert large.per_image == 4 * small.per_image
    # the input of 3 channels, both convolutions' outputs and the activation's, and a gradient or two
    pixels = 32 * 32 * 4
    assert (3 + 8 + 8) * pixels <= small.per_image <= (3 + 6 * 8) * pixels
    assert small.at_once == recipe("digits").part_size and small.seconds is not None and small.seconds > 0
    assert small.needed == small.fixed + small.at_once * small.per_image


def test_precision_and_what_optimizers_keep() -> None:
    whole, half = foreseen(), foreseen(precision="bf16-mixed")
    assert half.per_image == whole.per_image // 2
    weights = 4 * (3 * 8 + 8 * 8)
    adam = foreseen(**{"optimizer.name": "adamw"})
    assert adam.fixed - whole.fixed == weights


def test_network_and_generators_stay_as_they_are() -> None:
    given = changed(recipe("digits"), {"network.sizes": {"nasbench201": {"channels": 4, "cells_per_stage": 1}}})
    subject = image_subject("nasbench201_rf_darts", None)
    network = build(subject, given, 10, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = foresee(network, given, 1000, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(one.grad is None for one in network.parameters())
    said = sentence(found, describe(subject, given, 10), given, 1000, 10)
    assert f"{given.epochs} epochs of 1,000 images of 10 classes, about" in said and "parameters" in said


def test_what_cannot_fit_is_refused_with_what_does() -> None:
    given = changed(recipe("digits"), {"batch_size": 64})
    one = Foreseen(fixed=10**9, per_image=10**8, at_once=64, processes=1, free=5 * 10**9, seconds=1.0)
    assert one.needed == 74 * 10**8 and one.fitting == 40
    with pytest.raises(
        ConfigError, match=r"needs at least 7\.4 GB of memory with 64 images at once, and 5\.0 GB are free"
    ) as e:
        check_fits(one, given)
    assert e.value.remedy == "Add --set accumulate=2 (the batch stays 64)."
    assert accumulations(given, 15) == [8, 16, 32]  # parts of 8, 4 and 2
    none = Foreseen(fixed=6 * 10**9, per_image=10**8, at_once=64, processes=1, free=5 * 10**9, seconds=1.0)
    with pytest.raises(ConfigError) as e:
        check_fits(none, given)
    assert none.fitting == 0 and "smaller network" in str(e.value.remedy)
    check_fits(Foreseen(1, 1, 64, 1, 65, None), given)


def test_two_processes_share_the_memory_of_a_cpu() -> None:
    one = Foreseen(fixed=10, per_image=1, at_once=5, processes=2, free=100, seconds=None)
    assert one.needed == 30 and one.fitting == 40


@pytest.mark.parametrize(("seconds", "words"), [(3, "1 min"), (120, "2 min"), (7200, "2.0 h"), (500_000, "6 days")])
def test_durations(seconds: float, words: str) -> None:
    assert foresight._duration(seconds) == words


def test_what_exceeds_the_free_memory_fails_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 300 * MEGABYTE)
    with (
        pytest.raises(TrainingError, match="memory ran out with batch_size=7"),
        named_shortage(7),
        within_free_memory(CPU),
    ):
        torch.ones(400 * MEGABYTE // 4)
    with pytest.raises(RuntimeError, match="can't allocate memory"), within_free_memory(CPU, processes=2):
        torch.ones(200 * MEGABYTE // 4)
    assert torch.ones(400 * MEGABYTE // 4)[0] == 1
