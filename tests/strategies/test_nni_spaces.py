"""Every strategy on a model space of NNI's: it searches, or says why not."""

from __future__ import annotations

import pytest
import torch

from benchmarks.nni_spaces import STRATEGIES, images, search, verdict
from nni_plugins.evaluators import RandomLabels, SupernetSettings, SupernetTraining
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces import NNISpace
from nni_plugins.strategies.rlnas.search import initialise

TOY = NNISpace("tests.spaces.nni_models.Toy")
MIXED = ("DARTS", "PCDARTS", "GDAS", "SETN")
FAST = ("RLNAS", "NASWOT", "EvolutionSearch", "Parameters")


@pytest.mark.parametrize(
    "name",
    [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in STRATEGIES if n not in MIXED],
)
def test_a_single_path_or_no_supernet(name: str) -> None:
    assert verdict(TOY, name, images(8)) == "yes"


@pytest.mark.parametrize("name", MIXED)
def test_mixtures_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="nni has no mixture over edges"):
        search(TOY, name, images(8))


def test_a_supernet_that_nni_cannot_make_is_refused() -> None:
    cells = {"stem_out_channels": 8, "num_stacks": 1, "num_modules_per_stack": 1}
    said = verdict(NNISpace("nni.nas.hub.pytorch.NasBench101", cells), "RandomNAS", images(8))
    assert "NNI cannot share weights" in said


def test_what_a_model_drops_is_a_function_of_the_seed() -> None:
    """Its dropout reads torch's global generator."""

    def trained(state: int) -> dict[str, torch.Tensor]:
        space = TOY.with_classes(4)
        supernet = initialise(space, 0)
        torch.manual_seed(state)
        settings = SupernetSettings(epochs=1, batch_size=16, accelerator="cpu")
        return dict(SupernetTraining(images(8), RandomLabels(classes=4), settings).evaluate(supernet).final)

    first, second = trained(1), trained(2)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
