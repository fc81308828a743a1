"""The dominant eigenvalue against closed forms and full Hessians, and what computing it must leave alone."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.nn import functional

from nni_plugins.evaluators.data import Augmentation
from nni_plugins.evaluators.errors import ConfigError, TrainingError
from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.randomness import generator
from nni_plugins.evaluators.training.bilevel import BilevelTraining
from nni_plugins.evaluators.training.hessian import Eigenvalue, dominant_eigenvalue, lanczos
from nni_plugins.evaluators.training.second_order import require_gradients
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.cells import RobustDARTS
from nni_plugins.spaces.mixed import MixedOptions, MixedSupernet

from .test_bilevel import Smooth, Toy, bilevel, settings
from .tiny import CLASSES, images


def symmetric(values: list[float], seed: int = 0) -> np.ndarray:
    """A matrix with these eigenvalues."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return q @ np.diag(values) @ q.T


# Closed forms


@pytest.mark.parametrize(
    ("values", "largest"),
    [
        ([3.0], 3.0),
        ([-2.0], -2.0),
        ([1.0, -9.0, 0.5, 0.25], 1.0),  # the largest is not the one of the largest magnitude
        ([-5.0, -4.0, -3.0, -1.5, -1.0], -1.0),
        ([2.0] * 6, 2.0),
        ([0.0] * 4, 0.0),
        ([7.0, 7.0, 1.0, -7.0], 7.0),
        ([1.0, 0.999999, 0.5, 0.0], 1.0),
    ],
)
def test_matrices_with_known_eigenvalues(values: list[float], largest: float) -> None:
    matrix = symmetric(values)
    found = lanczos(lambda v: matrix @ v, len(values))
    assert found.value == pytest.approx(largest, abs=2e-6) and found.products <= len(set(values))


def test_limit_and_tolerance() -> None:
    values = np.linspace(-1, 1, 100).tolist()
    matrix = symmetric(values)
    rough, fine = (lanczos(lambda v: matrix @ v, 100, products, 1e-12) for products in (20, 100))
    assert rough.products == 20 and 0.95 < rough.value < 1 and rough.residual < 0.1
    assert fine.value == pytest.approx(1, abs=1e-9) and fine.products > 40, "a spectrum without gaps takes long"
    outlier = symmetric([*values, 1.5])
    found = lanczos(lambda v: outlier @ v, 101)
    assert found.value == pytest.approx(1.5, rel=1e-5) and found.products < 20 and found.residual <= 1.5e-3
    assert found == lanczos(lambda v: outlier @ v, 101), "a function of the matrix alone"


def test_quadratic_form_over_several_parameters_with_decay() -> None:
    matrix = torch.from_numpy(symmetric([4.0, 2.0, -6.0, 1.0, 0.5, 0.1]))
    a, b = nn.Parameter(torch.ones(2, 2, dtype=torch.float64)), nn.Parameter(torch.ones(2, dtype=torch.float64))

    def loss() -> torch.Tensor:
        v = torch.cat([a.flatten(), b])
        return v @ matrix @ v / 2

    assert dominant_eigenvalue(loss, [a, b]).value == pytest.approx(4, rel=1e-9)
    assert dominant_eigenvalue(loss, [a, b], weight_decay=0.25).value == pytest.approx(4.25, rel=1e-9)
    doubled = dominant_eigenvalue(loss, [a, b], weight_decay=0.25, average=lambda gradients: [2 * g for g in gradients])
    assert doubled.value == pytest.approx(8.25, rel=1e-9), (
        "products are averaged over processes, the decay is everyone's"
    )
    assert a.grad is None and b.grad is None


def test_cross_entropy_of_logits() -> None:
    """Its Hessian is diag(p) - p p^T, which has the eigenvalue zero for a shift of all logits."""
    logits = nn.Parameter(torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64))
    p = logits.detach().softmax(0).numpy()
    expected = np.linalg.eigvalsh(np.diag(p) - np.outer(p, p))
    assert expected[0] == pytest.approx(0, abs=1e-12)
    found = dominant_eigenvalue(lambda: functional.cross_entropy(logits, torch.tensor(1)), [logits])
    assert found.value == pytest.approx(expected[-1], rel=1e-9)


def test_parameters_without_curvature_are_zero_rows() -> None:
    a, b, unused = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(3))
    assert dominant_eigenvalue(lambda: (3 * a).sum() + b.sum(), [a, b, unused], weight_decay=0.5) == Eigenvalue(
        pytest.approx(0.5), pytest.approx(0), 1
    )
    assert dominant_eigenvalue(lambda: (a**2).sum() + b.sum(), [unused, a, b]).value == pytest.approx(2)
    assert dominant_eigenvalue(lambda: b.sum() - (a**2).sum(), [a, b, unused]).value == pytest.approx(0, abs=1e-12)


def test_what_is_not_finite() -> None:
    a = nn.Parameter(torch.zeros(2))
    with pytest.raises(TrainingError, match="Hessian of the validation loss is infinite or NaN"):
        dominant_eigenvalue(lambda: (a.abs() ** 1.5).sum(), [a])


# Against full Hessians


def full(
    model: nn.Module, names: list[str], x: torch.Tensor, y: torch.Tensor, how: Any = torch.autograd.functional.hessian
) -> torch.Tensor:
    parameters = [model.get_parameter(name).detach() for name in names]
    sizes = [p.numel() for p in parameters]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        given = {n: part.view_as(p) for n, part, p in zip(names, flat.split(sizes), parameters, strict=True)}
        return functional.cross_entropy(functional_call(model, given, (x,)), y)

    flat = torch.cat([p.flatten() for p in parameters])
    matrix: torch.Tensor = how(loss, flat) if how is not hessian else hessian(loss)(flat)
    return matrix


def test_toy_network() -> None:
    class Pure(Smooth):  # torch.func allows no counting of calls
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            share = self.alphas.softmax(0)
            x = torch.tanh(self.frozen(x))
            return self.out(share[0] * torch.tanh(self.a(x)) + share[1] * torch.sigmoid(self.b(x)) + share[2] * x)  # type: ignore[no-any-return]

    model, x = Pure(), torch.randn(8, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.arange(8) % 5
    matrix = full(model, ["alphas"], x, y, hessian)
    found = dominant_eigenvalue(lambda: functional.cross_entropy(model(x), y), [model.alphas], weight_decay=1e-3)
    assert (
        found.value == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1].detach()) + 1e-3, rel=1e-9)
        and found.products <= 3
    )


SPACES = {
    "S1": RobustDARTS("S1", channels=4, cells=3, classes=CLASSES),
    "S4": RobustDARTS("S4", channels=4, cells=3, classes=CLASSES),
    "nasbench201": NASBench201(nodes=4, channels=4, cells_per_stage=1, classes=CLASSES),
}


@pytest.mark.parametrize(
    ("space", "option", "k"),
    [pytest.param("S1", "C", 1, marks=pytest.mark.slow), ("S4", "B", 1), ("nasbench201", "C", 2)],
)
def test_mixed_supernets(space: str, option: str, k: int) -> None:
    """The fast form's custom functions, against the plain form's full matrix; where one of them broke the graph, it
    would show here.
    """
    searched: SearchSpace = SPACES[space]
    options = MixedOptions(option=option, partial_channels=k, edge_normalization=k > 1)
    torch.manual_seed(0)
    model, plain = MixedSupernet(searched, options).double(), MixedSupernet(searched, options.plain()).double()
    names = list(model.architecture_parameters())
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).copy_(torch.randn_like(model.get_parameter(name)) / 2)
    plain.load_state_dict(model.state_dict())
    x, y = torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.arange(6) % CLASSES
    parameters = [model.get_parameter(name) for name in names]
    require_gradients(parameters, [p for name, p in model.named_parameters() if name not in names])

    def loss(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():  # S4 draws noise
            torch.manual_seed(1)
            return functional.cross_entropy(network(x), y)

    class Seeded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = (
                model if space == "S4" else plain
            )  # the two forms draw the noise of their edges in different orders

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.manual_seed(1)
            return self.inner(x)  # type: ignore[no-any-return]

    values = torch.linalg.eigvalsh(full(Seeded(), [f"inner.{name}" for name in names], x, y))
    found = dominant_eigenvalue(lambda: loss(model, x), parameters)
    assert found.value == pytest.approx(float(values[-1]), rel=1e-4) and 2 < found.products <= 20
    if space == "S4":  # noise in float32 is other noise
        return
    single = copy.deepcopy(model).float()
    again = dominant_eigenvalue(lambda: loss(single, x.float()), [single.get_parameter(name) for name in names])
    assert again.value == pytest.approx(float(values[-1]), rel=1e-3)


# In a training


@pytest.mark.parametrize("order", [1, 2])
def test_a_training_with_it_has_the_same_bits(order: int) -> None:
    data = images(24, augmentation=Augmentation(1, True))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    plain, watched = (bilevel(data=data, drop=0.5, order=order, hessian_every=every).run() for every in (0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert plain.final.keys() == watched.final.keys() and all(
        map(torch.equal, plain.final.values(), watched.final.values())
    )
    assert plain.history == [
        {key: value for key, value in row.items() if key != "eigenvalue"} for row in watched.history
    ]
    assert plain.genotypes == watched.genotypes and not plain.eigenvalues and list(watched.eigenvalues) == [1, 2, 3]


def test_which_batch_and_which_epochs() -> None:
    """The first architecture batch of epoch 0, at the weights of each epoch's end; Adam's decay is on the diagonal."""
    expected = {}
    data = images(24)
    mean, deviation = (v[:, None, None] for v in data.statistics())
    index = 12 + generator(0, "architecture data order", 0).permutation(12)[:4]
    x = data.images.float().div(255).sub(mean).div(deviation)[index].double()
    y = RandomLabels(CLASSES).epoch_targets(data, 0)[index]

    def note(row: dict[str, float]) -> None:
        model = copy.deepcopy(job.model).double()
        values = torch.linalg.eigvalsh(full(model, ["alphas", "betas"], x, y))
        expected[int(row["epoch"])] = float(values[-1]) + 1e-3

    job = bilevel(data=data, epochs=6, hessian_every=2, learning_rate=0.5)
    job.report = note
    found = job.run().eigenvalues
    assert list(found) == [1, 3, 5, 6], "every second one, and the last"
    assert found == pytest.approx({epoch: expected[epoch] for epoch in found}, rel=1e-4)
    assert len({round(value, 6) for value in found.values()}) == 4


def test_the_report_always_has_the_newest_one() -> None:
    rows: list[dict[str, float]] = []
    trained = BilevelTraining(
        Toy(), RandomLabels(CLASSES), images(24), settings(epochs=5, hessian_every=3), 0, report=rows.append
    ).run()
    values = list(trained.eigenvalues.values())
    assert list(trained.eigenvalues) == [1, 4, 5]
    assert [row["eigenvalue"] for row in rows] == [values[0]] * 3 + values[1:]


def test_a_second_derivative_that_is_not_finite_ends_the_training() -> None:
    class Kinked(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.kink = nn.Parameter(torch.zeros(1))

        def architecture_parameters(self) -> dict[str, nn.Parameter]:
            return {**super().architecture_parameters(), "kink": self.kink}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (1 + self.kink.abs() ** 1.5)

    def job(**changes: Any) -> BilevelTraining:
        return BilevelTraining(Kinked(), RandomLabels(CLASSES), images(24), settings(epochs=2, **changes), 0)

    assert len(job().run().history) == 2
    with pytest.raises(TrainingError, match=r"epoch 1: a product with the Hessian .* NaN\.\nLower learning_rate"):
        job(hessian_every=2).run()


def test_it_is_refused_with_mixed_precision() -> None:
    with pytest.raises(
        ConfigError,
        match="hessian_every needs second derivatives, which bf16-mixed rounds away; use precision 32-true or 64-true",
    ):
        settings(hessian_every=1, precision="bf16-mixed")
