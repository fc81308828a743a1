"""Trainings on images on the simulated accelerator: the numbers of the CPU, and no wait for the device in a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nni_plugins.evaluators.data import Augmentation, ImageSet, load
from nni_plugins.evaluators.data.augmentation import ImageAugmentation
from nni_plugins.evaluators.data.colour import Colour
from nni_plugins.evaluators.data.crops import ResizedCrop, ScaledCrop
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.objectives import (
    Colorization,
    Head,
    Jigsaw,
    Objective,
    RandomLabels,
    Rotation,
    Segmentation,
    Supervised,
    fitted,
)
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.supernets.one_shot import one_shot_measures
from nni_plugins.evaluators.training import CheckpointStore, Training
from nni_plugins.evaluators.training.bilevel import BilevelTraining
from nni_plugins.evaluators.training.evaluation import evaluate
from nni_plugins.evaluators.training.layout import laid_out, lay_out
from nni_plugins.evaluators.training.settings import BilevelSettings, StandAloneSettings, SupernetSettings
from nni_plugins.evaluators.training.stored import stored_weights
from nni_plugins.spaces import (
    DARTS,
    NAO,
    MobileNetLike,
    NASBench101,
    NASBench201,
    NASNet,
    RobustDARTS,
    SearchSpace,
    head_modules,
)
from nni_plugins.spaces.mixed import (
    GumbelOptions,
    GumbelSupernet,
    MixedOptions,
    MixedSupernet,
    SampledOptions,
    UniformSupernet,
)
from nni_plugins.strategies.rlnas.angle import AngleTable

from .device import DEVICE, waits
from .fabric import simulated
from .measuring import assert_as_on_cpu, assert_same, both, waits_a_step

pytestmark = pytest.mark.usefixtures("plain_convolutions")
SPACE = NASBench201(nodes=3, channels=4, cells_per_stage=1)
COLOURS = Colour(0.4, 0.4, 0.4, 0.1, 0.1)
PADDED, RESIZED, SCALED = Augmentation(1, True), ResizedCrop(8, True, COLOURS), ScaledCrop(8, True, COLOURS, nominal=9)
OBJECTIVES: dict[str, tuple[Objective, ImageAugmentation]] = {
    "random labels": (RandomLabels(4), PADDED),
    "random labels, drawn anew": (RandomLabels(4, "resample"), RESIZED),
    "supervised": (Supervised(), SCALED),
    "rotation": (Rotation(), RESIZED),
    "colorization": (Colorization(), RESIZED),
    "jigsaw": (Jigsaw(2, 5), PADDED),
    "segmentation": (Segmentation(channels=4, rates=[1]), SCALED),
}
BATCH = 4
VALUES = {"epochs": 2, "batch_size": BATCH, "checkpoint_seconds": 1e9, "memory_format": "contiguous"}


def coloured(count: int, augmentation: ImageAugmentation = PADDED) -> ImageSet:
    """Images of noise with labels and label maps."""
    random = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (count, 3, 12, 12), generator=random, dtype=torch.uint8)
    maps = torch.randint(0, 4, (count, 12, 12), generator=random, dtype=torch.uint8)
    maps[maps == 3] = 255
    return ImageSet("noise", pixels, torch.arange(count) % 4, augmentation=augmentation, maps=maps)


def single_path(
    accelerator: str, objective: Objective, images: ImageSet, folder: Path | None = None, **changes: Any
) -> tuple[Any, Any]:
    """A supernet, trained by single paths, and what its training gave."""
    space = cast(NASBench201, fitted(SPACE, objective, images))
    with torch_fork(0, "test"):
        supernet: Any = space.supernet()

    def paths(epoch: int, steps: int) -> Any:
        return space.sample_paths(np.random.default_rng(epoch), steps, False)

    settings = read(SupernetSettings, {**VALUES, "accelerator": accelerator, **changes})
    every = settings.update == "all"
    run = Training(supernet, objective, images, settings, 0, folder=folder, paths=paths, update_all=every)
    return supernet, run.run()


def numbers(trained: Any) -> dict[str, Any]:
    """All of them."""
    return {"initial": trained.initial, "final": trained.final, "history": trained.history}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_supernet_step_is_that_of_the_cpu_and_waits_for_nothing(name: str) -> None:
    objective, augmentation = OBJECTIVES[name]

    def run(where: str, steps: int) -> dict[str, Any]:
        images = coloured(BATCH * steps, augmentation)
        supernet, trained = single_path(where, objective, images, epochs=1, gradient_clip=1.0)
        assert next(supernet.parameters()).device.type == {"cpu": "cpu", "auto": DEVICE.type}[where]
        return numbers(trained)

    assert_as_on_cpu(run)


# -- alone -------------------------------------------------------------------------------------------------------------
def alone(accelerator: str, images: ImageSet, folder: Path | None = None, **changes: Any) -> Any:
    """A network of a convolution at every edge, trained alone."""
    with torch_fork(0, "test"):
        network: Any = SPACE.with_classes(4).network(SPACE.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|"))
    settings = read(StandAloneSettings, {**VALUES, "accelerator": accelerator, "learning_rate": 0.05, **changes})
    return Training(network, Supervised(), images, settings, 0, folder=folder).run()


@pytest.mark.parametrize(
    ("precision", "memory_format"),
    [
        ("32-true", "contiguous"),
        ("64-true", "channels_last"),
        ("bf16-mixed", "contiguous"),
        ("32-true", "channels_last"),
    ],
)
def test_a_step_alone_is_that_of_the_cpu_and_waits_for_nothing(precision: str, memory_format: str) -> None:
    def run(where: str, steps: int) -> dict[str, Any]:
        images = coloured(BATCH * steps)
        return numbers(alone(where, images, epochs=1, precision=precision, memory_format=memory_format))

    assert_as_on_cpu(run)


def test_half_precision_scales_the_loss(tmp_path: Path) -> None:
    """The scale falls from 2^16 until no gradient overflows; a resumed training goes on with it."""
    with simulated():
        trained = alone("cuda", coloured(10), tmp_path, precision="16-mixed")
        state = CheckpointStore(tmp_path, {}).load()
    assert state is not None and 0 < state[1]["precision"]["scale"] <= 2.0**16
    assert any(not torch.equal(trained.initial[name], value) for name, value in trained.final.items())


def test_a_step_in_half_precision_reads_whether_a_gradient_has_overflowed() -> None:
    """As torch's scaler does it, for an optimizer that does not do it itself."""
    found = waits_a_step(lambda steps: alone("auto", coloured(BATCH * steps), epochs=1, precision="16-mixed"))
    assert list(found.values()) == [1], found


# -- differentiable search ---------------------------------------------------------------------------------------------
SEARCHES = {"DARTS": MixedOptions("B"), "RF-DARTS": MixedOptions("C", pool_affine=True)}
Kind = type[MixedSupernet] | type[UniformSupernet] | type[GumbelSupernet]


def differentiable(
    accelerator: str, images: ImageSet, options: Any, kind: Kind = MixedSupernet, **changes: Any
) -> dict[str, Any]:
    """The numbers of a search by ``options``."""
    with torch_fork(0, "test"):
        model = kind(SPACE.with_classes(4), options)
    settings = read(BilevelSettings, {**VALUES, "epochs": 1, "accelerator": accelerator, **changes})
    found = BilevelTraining(model, RandomLabels(4), images, settings, 0).run()
    return {**numbers(found), "genotypes": found.genotypes}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", SEARCHES)
def test_an_iteration_of_a_differentiable_search_is_that_of_the_cpu_and_waits_for_nothing(
    name: str, order: int
) -> None:
    """Up to rounding: a CPU takes averages in a way of its own."""

    def run(where: str, steps: int) -> dict[str, Any]:
        images = coloured(2 * BATCH * steps)
        options = {"order": order, "precision": "64-true", "architecture_clip": 1.0}
        return differentiable(where, images, SEARCHES[name], **options)

    assert_as_on_cpu(run, 1e-8)


def test_an_iteration_of_setn_is_that_of_the_cpu_and_waits_for_nothing() -> None:
    """Its paths are drawn by the CPU."""

    def run(where: str, steps: int) -> dict[str, Any]:
        images = coloured(2 * BATCH * steps)
        return differentiable(where, images, SampledOptions("B"), UniformSupernet, precision="64-true")

    assert_as_on_cpu(run, 1e-8)


def test_an_iteration_of_gdas_waits_for_its_two_draws() -> None:
    """Which operations a pass runs follows from architecture parameters and noise of the device: one wait for each of
    the two passes. The noise is not that of the CPU, so neither are the numbers.
    """
    found = waits_a_step(
        lambda steps: differentiable("auto", coloured(2 * BATCH * steps), GumbelOptions("B"), GumbelSupernet)
    )
    assert sum(found.values()) == 2 and all("sampled.py" in place for place in found), found


def test_an_eigenvalue_is_that_of_the_cpu() -> None:
    plain, ours = both(
        lambda where: differentiable(where, coloured(8), SEARCHES["DARTS"], precision="64-true", hessian_every=1)
    )
    assert plain["history"][0]["eigenvalue"] > 0
    assert_same(plain, ours, 1e-8)


TRAININGS: dict[str, Any] = {
    "single path": lambda images, **changes: single_path("auto", RandomLabels(4), images, epochs=1, **changes),
    "alone": lambda images, **changes: alone("auto", images, epochs=1, **changes),
    "differentiable": lambda images, **changes: differentiable("auto", images, SEARCHES["RF-DARTS"], **changes),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_mixed_precision_is_that_of_every_convolution(name: str) -> None:
    types: set[torch.dtype] = set()

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            types.add(output.dtype)

    hook = nn.modules.module.register_module_forward_hook(note)
    try:
        with simulated():
            TRAININGS[name](coloured(8), precision="bf16-mixed")
    finally:
        hook.remove()
    assert types == {torch.bfloat16}


# -- afterwards --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["supervised", "jigsaw", "segmentation"])
def test_one_shot_evaluation_has_the_numbers_of_the_cpu(name: str) -> None:
    objective, augmentation = OBJECTIVES[name]
    images = coloured(12, augmentation)

    def run(where: str) -> dict[str, Any]:
        supernet, trained = single_path(where, objective, images, epochs=1)
        rows = SPACE.sample(np.random.default_rng(0), 3)
        table = AngleTable.build(SPACE, supernet.weight_blocks(), trained.initial, trained.final)
        found = one_shot_measures(supernet, rows, images, objective, count=10, batch_size=5)
        measures = {key: torch.from_numpy(values) for key, values in found.items()}
        return {"one-shot": measures, "angles": torch.from_numpy(table(rows))}

    assert_same(*both(run), 1e-6)


def test_a_one_shot_evaluation_waits_for_nothing_but_the_sums() -> None:
    """Of architectures and of batches."""
    images = coloured(12)
    with torch_fork(0, "test"):
        supernet = fitted(SPACE, Supervised(), images).supernet().to(DEVICE)

    def run(steps: int) -> None:
        rows = SPACE.sample(np.random.default_rng(0), steps)
        one_shot_measures(supernet, rows, images, Supervised(), count=None, batch_size=12 // steps)

    assert waits_a_step(run) == {}


class Outputs(nn.Module):
    """What an objective wants of features of 4 channels."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        with torch_fork(0, "test"):
            self.features = nn.Conv2d(head.input_channels, 4, 1)
            self.head = head_modules.build(head.form, 4, head.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.head(self.features(x), (x.shape[2], x.shape[3])))


@pytest.mark.parametrize("name", ["supervised", "rotation", "colorization", "segmentation"])
def test_an_evaluation_has_the_numbers_of_the_cpu_and_waits_for_nothing_but_the_sums(name: str) -> None:
    objective, augmentation = OBJECTIVES[name]
    network = Outputs(objective.head(coloured(8, augmentation)))

    def run(where: str, steps: int) -> dict[str, float]:
        images = coloured(4 * steps, augmentation)
        network.to("cpu" if where == "cpu" else DEVICE)
        return evaluate(network, images, objective, images.statistics(), batch_size=4)

    assert_as_on_cpu(run, 1e-6)


# -- interrupted -------------------------------------------------------------------------------------------------------
class Interrupting(RandomLabels):
    """Raises before the loss of step ``last``, counted from 1."""

    calls, last = 0, 10**9

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        Interrupting.calls += 1
        if Interrupting.calls == Interrupting.last:
            raise KeyboardInterrupt
        return super().loss(outputs, targets)


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_resumed_supernet_has_the_bits_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """And what its folder holds lies on the CPU: the simulated device's tensors refuse to be written."""
    changes = {"checkpoint_seconds": 0, "precision": precision}

    def run(folder: str) -> Any:
        return single_path("cuda", Interrupting(4), coloured(8), tmp_path / folder, **changes)[1]

    with simulated():
        whole = run("whole")
        monkeypatch.setattr(Interrupting, "calls", 0)
        monkeypatch.setattr(Interrupting, "last", 4)  # in the middle of the second epoch
        with pytest.raises(KeyboardInterrupt):
            run("broken")
        step, _ = cast(Any, CheckpointStore(tmp_path / "broken", {}).load())
        assert step == 3
        monkeypatch.setattr(Interrupting, "last", 10**9)
        resumed = run("broken")
    assert_same(numbers(whole), numbers(resumed))
    stored = stored_weights(tmp_path / "broken")
    assert_same(dict(stored.final), whole.final)
    assert {value.device.type for value in (*stored.initial.values(), *stored.final.values())} == {"cpu"}


# -- files, and every space --------------------------------------------------------------------------------------------
def test_streamed_images_are_pinned_and_nobody_waits_for_them(tmp_path: Path) -> None:
    """Files are decoded into pinned memory, from which the device reads them."""
    rng = np.random.default_rng(0)
    for i in range(20):
        pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / str(i % 2) / f"{i}.png")
    images = load(DataSettings(source="folder", path=str(tmp_path), image_size=8, resident=False)).train
    assert images.streamed

    def run(where: str, steps: int) -> dict[str, Any]:
        return numbers(single_path(where, RandomLabels(4), images.subset(np.arange(BATCH * steps)), epochs=1)[1])

    assert_as_on_cpu(run)


SPACES: list[SearchSpace] = [
    NASBench201(channels=4, cells_per_stage=1),
    NASBench101(channels=8),
    DARTS(channels=4, cells=3),
    RobustDARTS("S4", channels=4, cells=3),
    NASNet(nodes=2, channels=4, cells=3),
    NAO(channels=4, cells=3),
    MobileNetLike(stem_channels=4, first_channels=4, last_channels=8, stages=((4, 2, 1), (8, 2, 2))),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_passes_of_every_space_wait_for_nothing(space: SearchSpace) -> None:
    """Of a network alone, of a single path and of DARTS' mixture, there and back, in the layout of the fast kernels."""
    with torch_fork(0, "test"):
        row = space.sample(np.random.default_rng(1), 1)
        supernet: Any = space.supernet()
        network: Any = space.network(space.decode(row)[0])
        mixed = MixedSupernet(space, SEARCHES["RF-DARTS"]) if isinstance(space, DARTS) else None
    x, path = (
        laid_out(torch.rand(2, 3, 16, 16), "channels_last"),
        space.sample_paths(np.random.default_rng(2), 1, False)[0],
    )
    alone = [(model, model.__call__) for model in (network, mixed) if model is not None]
    for model, run in (*alone, (supernet, lambda x: supernet.forward_path(x, path))):
        lay_out(model, "channels_last")  # in which noise is drawn in another order
        with torch.no_grad(), torch_fork(0, "pass"):  # a graph would hold on to the parameters that move
            on_cpu = run(x)
        model.to(DEVICE)
        on_device = x.to(DEVICE)
        with waits() as found, torch_fork(0, "pass"):
            output = run(on_device)
            output.square().sum().backward()
        assert not found
        assert torch.allclose(output.detach().cpu(), on_cpu, rtol=1e-3, atol=1e-4)
