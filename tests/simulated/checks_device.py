"""The simulated accelerator itself: what it refuses, what it counts, and that its numbers are those of the CPU."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nni_plugins.evaluators.devices import constant, moved
from nni_plugins.evaluators.randomness import torch_fork

from .device import BACKEND, DEVICE, SimulatedTensor, waits
from .fabric import simulated
from .measuring import assert_same, both, waits_a_step


def here() -> torch.Tensor:
    return torch.arange(6.0).view(2, 3).to(DEVICE)


REFUSED: dict[str, Callable[[], Any]] = {
    "a sum": lambda: here() + torch.ones(2, 3),
    "in place": lambda: torch.ones(2, 3).add_(here()),
    "a product": lambda: here() @ torch.ones(3, 2),
    "a list of both": lambda: torch.cat([here(), torch.ones(2, 3)]),
    "indices of a gather": lambda: here().gather(1, torch.zeros(2, 1, dtype=torch.int64)),
    "a scalar where CUDA takes none": lambda: torch._foreach_mul([here()], torch.tensor(2.0)),
    "an optimizer": lambda: torch._foreach_add([here()], [torch.ones(2, 3)]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tensors_of_two_devices_are_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        REFUSED[name]()


def test_scalars_and_indices_of_the_cpu_are_taken_where_cuda_takes_them() -> None:
    assert_same((here() * torch.tensor(2.0)).cpu(), 2 * torch.arange(6.0).view(2, 3))
    with waits() as found:
        row = here()[torch.tensor([1])]
    assert row.device == DEVICE and {what for what, _ in found} == {
        "an index is copied to the device",
        "numbers are copied to the device",
    }


def test_what_must_not_leave_is_refused() -> None:
    with pytest.raises(TypeError, match="to numpy"):
        here().numpy()
    with pytest.raises(TypeError, match="to numpy"):
        np.asarray(here())
    with pytest.raises(RuntimeError, match="must lie on the CPU"):
        torch.save({"weights": here()}, io.BytesIO())
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, device=DEVICE, generator=torch.Generator())


COUNTED: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "item": (lambda x: x[0, 0].item(), "a number is read"),
    "float": (lambda x: float(x[0, 0]), "a number is read"),
    "bool": (lambda x: bool((x > 0).all()), "a number is read"),
    "equal": (lambda x: torch.equal(x, x), "a number is read"),
    "tolist": (lambda x: x.tolist(), "numbers are copied to the host"),
    "cpu": (lambda x: x.cpu(), "numbers are copied to the host"),
    "copy_": (lambda x: torch.zeros(2, 3).copy_(x), "numbers are copied to the host"),
    "tensor": (lambda x: torch.tensor([1.0], device=DEVICE), "numbers are copied to the device"),
    "new_tensor": (lambda x: x.new_tensor([1.0]), "numbers are copied to the device"),
    "to": (lambda x: torch.ones(2).to(DEVICE), "numbers are copied to the device"),
    "pageable": (lambda x: torch.ones(2).to(DEVICE, non_blocking=True), "numbers are copied to the device"),
    "a mask": (lambda x: x[x > 2], "a mask is an index"),
    "a list": (lambda x: x[[0]], "an index is copied to the device"),
    "nonzero": (lambda x: x.nonzero(), "nonzero looks at numbers"),
    "bincount": (lambda x: x.long().flatten().bincount(), "bincount looks at numbers"),
}


@pytest.mark.parametrize("name", COUNTED)
def test_waits_are_counted_with_their_place(name: str) -> None:
    run, what = COUNTED[name]
    x = here()
    with waits() as found:
        run(x)
    ((kind, where),) = found
    assert (kind, found[kind, where]) == (what, 1) and where.startswith("tests/simulated/checks_device.py:")


FREE: dict[str, Callable[[torch.Tensor], Any]] = {
    "arithmetic": lambda x: (x * 2 + 1).relu_().mean(),
    "made there": lambda x: torch.full((2,), 3.0, device=DEVICE) + torch.arange(2, device=DEVICE) + x.new_zeros(2),
    "slices": lambda x: x[:1, 1:].copy_(x[1:, :2]),
    "indices of the device": lambda x: x[torch.zeros(3, dtype=torch.int64, device=DEVICE)],
    "from pinned memory": lambda x: moved(torch.ones(3), DEVICE),
    "a number of Python": lambda x: x[0].fill_(1.5),
    "its own random numbers": lambda x: torch.empty_like(x).bernoulli_(0.5),
}


@pytest.mark.parametrize("name", FREE)
def test_what_does_not_wait_is_not_counted(name: str) -> None:
    x = here()
    with simulated(), waits() as found:
        FREE[name](x)
    assert not found


def test_a_wait_in_every_step_is_found() -> None:
    """Of a training that reads its loss; the one before its first step is not among them."""

    def train(steps: int) -> None:
        x = here()
        for _ in range(steps):
            x = x * 2
            float(x.sum())

    ((where, count),) = waits_a_step(train).items()
    assert where.endswith("float(x.sum())") and count == 1


def test_constants_are_copied_once() -> None:
    first = constant(((1, 2), (3, 4)), here())
    with waits() as found:
        again = constant(((1, 2), (3, 4)), here() * 2)
    assert again is first and {what for what, _ in found} == {"numbers are copied to the device"}, "that of here()"
    assert_same(first.cpu(), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_its_random_numbers_are_its_own() -> None:
    """As on CUDA: ``torch.manual_seed`` seeds them, and nothing that the CPU draws moves them."""
    torch.manual_seed(5)
    first = torch.rand(3, device=DEVICE).cpu()
    torch.manual_seed(5)
    torch.rand(7)
    assert torch.equal(torch.rand(3, device=DEVICE).cpu(), first)
    before = BACKEND.get_rng_state()
    with simulated(), torch_fork(0, "test"):
        torch.rand(3, device=DEVICE)
    assert torch.equal(BACKEND.get_rng_state(), before)


def network() -> nn.Module:
    with torch_fork(0, "test"):
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)]
        return nn.Sequential(*layers)


@pytest.mark.usefixtures("plain_convolutions")
def test_a_module_moves_as_it_does_to_cuda() -> None:
    """Parameters stay the same objects, so an optimizer that was made before knows them; copies stay on the device."""
    model = network()
    parameters = list(model.parameters())
    model.to(DEVICE)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(isinstance(p, SimulatedTensor) and isinstance(p, nn.Parameter) and p.is_leaf for p in parameters)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert parameters[0].is_contiguous(memory_format=torch.channels_last) and parameters[0].stride() == (27, 1, 9, 3)
    assert {p.device for p in copy.deepcopy(model).parameters()} == {DEVICE}
    model.cpu()
    assert {type(p) for p in model.parameters()} == {nn.Parameter}


@pytest.mark.usefixtures("plain_convolutions")
def test_steps_have_the_bits_of_the_cpu() -> None:
    def run(where: str) -> Any:
        device = torch.device("cpu") if where == "cpu" else DEVICE
        model = network().to(device)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, foreach=True)
        x, y = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(device), torch.arange(4)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y.to(device)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return {name: value.cpu() for name, value in model.state_dict().items()}

    assert_same(*both(run))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_has_the_types_of_cuda(dtype: torch.dtype) -> None:
    x = here()
    with torch.autocast(DEVICE.type, dtype=dtype):
        product, weights = x @ x.t(), (x @ x.t()).softmax(1)
        assert (product.dtype, weights.dtype, (product + weights).dtype) == (dtype, torch.float32, torch.float32)
        assert (x.double() @ x.double().t()).dtype == torch.float64
    assert (x @ x.t()).dtype == torch.float32
