"""A simulated accelerator, ``sim:0``: its tensors lie on the CPU, but code that would fail or wait on a GPU does so here.

Importing this registers a backend with torch for the rest of the process, so only processes that end with it should.

As CUDA does, it refuses operations on tensors of two devices (but for CPU scalars where CUDA takes them), generators of
the CPU, ``.numpy()``, and tensors in files; random numbers come from a generator of its own, which ``torch.manual_seed``
seeds. CPU kernels run behind it, so numbers are those of the CPU to the bit, wherever torch takes the same path for
both. What the host would have to wait for is counted in :data:`WAITS`:

- numbers that it asks for: ``.item()``, ``float()``, ``bool()``, ``.tolist()``, ``.cpu()`` and other copies;
- shapes that depend on numbers: masks as indices, ``nonzero``, ``unique``, ``bincount`` and their like;
- copies to the device unless they are ``non_blocking`` and from pinned memory: ``torch.tensor(..., device=...)`` and
  lists as indices, too.
"""

from __future__ import annotations

import functools
import linecache
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
_tensor, _as_tensor, _empty, _fork_rng = torch.tensor, torch.as_tensor, torch.empty, torch.random.fork_rng
ROOT = f"{Path(__file__).resolve().parents[2]}/"
MIXED = "Expected all tensors to be on the same device, but found at least two devices, sim:0 and cpu!"

WAITS: Counter[tuple[str, str]] = Counter()
"""(what, where in this project) -> how often the host had to wait for the device since the process began."""

SHAPED_BY_NUMBERS = {
    getattr(aten, name)
    for name in (
        "nonzero",
        "masked_select",
        "_unique",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "bincount",
        "multinomial",
    )
}
"""Operations whose output, or whose check of the input, the host must wait for on CUDA."""
READS = {aten._local_scalar_dense, aten.item, aten.equal}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
SCALARS = {aten.fill_, aten.fill, aten.masked_fill, aten.masked_fill_, aten.where, aten.clamp, *INDEXING}
"""Besides elementwise ones, operations that take a scalar of the CPU."""


# -- the backend -------------------------------------------------------------------------------------------------------
class _Module:
    """What torch asks ``torch.sim`` for."""

    generator = torch.Generator()

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_rng_state(self, device: object = 0) -> torch.Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: torch.Tensor, device: object = 0) -> None:
        self.generator.set_state(state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


BACKEND = _Module()
_setup_privateuseone_for_python_backend("sim", backend_module=BACKEND)
DEVICE = torch.device("sim:0")


class Generator(torch.Generator):
    """``torch.Generator``, which must not be asked for one of a Python backend, with one of the simulated device."""

    simulated: bool

    def __new__(cls, device: Any = "cpu") -> Generator:
        self = super().__new__(cls)
        self.simulated = _on_device(device)
        return self


def _on_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


# -- its tensors -------------------------------------------------------------------------------------------------------
class SimulatedTensor(torch.Tensor):
    """A tensor on ``sim:0``. ``host``: its numbers, a tensor of the CPU with the same strides."""

    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> SimulatedTensor:
        self: SimulatedTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=DEVICE,
        )
        self.host = host
        return self

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """With this, ``module.to(device)`` keeps its parameters' identities, as it does on CUDA."""
        return ["host"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], _: None, size: object, stride: object) -> SimulatedTensor:
        return SimulatedTensor(inner["host"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"{self.host!r} on {DEVICE}"

    def cpu(self, *_: Any) -> torch.Tensor:
        return self.to("cpu")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert sim:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host memory.")

    __array__ = numpy  # type: ignore[assignment]

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> torch.Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device, **options)

    def __getitem__(self, index: Any) -> torch.Tensor:
        """A list as an index becomes a tensor of the CPU, and is copied to the device."""
        whole = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(tuple(_tensor(part) if isinstance(part, list) else part for part in whole))

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("a tensor of the device would go to a file; what is saved must lie on the CPU.")


def _host(value: Any) -> Any:
    kind = type(value)
    if kind is SimulatedTensor:
        return value.host
    return kind([_host(part) for part in value]) if kind is list or kind is tuple else value


def _wrapped(value: Any) -> Any:
    kind = type(value)
    if kind is torch.Tensor:
        return SimulatedTensor(value)
    return kind([_wrapped(part) for part in value]) if kind is list or kind is tuple else value


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


# -- what is counted ---------------------------------------------------------------------------------------------------
def wait(what: str) -> None:
    """Count one wait of the host, under the innermost line of this project outside this file."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(ROOT) and "/.venv/" not in name and name != __file__:
            line = linecache.getline(name, frame.f_lineno).strip()
            WAITS[what, f"{name.removeprefix(ROOT)}:{frame.f_lineno} {line}"] += 1
            return
        frame = frame.f_back
    WAITS[what, "outside"] += 1


@contextmanager
def waits() -> Iterator[Counter[tuple[str, str]]]:
    """Those within the block, complete when it has ended."""
    before, found = WAITS.copy(), Counter[tuple[str, str]]()
    yield found
    found.update(WAITS - before)


def _count(of: Operation, args: Sequence[Any]) -> None:
    if of.waits:
        wait(of.waits)
    elif of.indexing:
        for index in args[1]:
            if isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8):
                wait("a mask is an index")
            elif isinstance(index, torch.Tensor) and not isinstance(index, SimulatedTensor):
                wait("an index is copied to the device")


# -- running operations ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Operation:
    """What is known of an operation from its schema.

    ``written``: (place, name) of the arguments that it writes to; ``returned``: which of these each return is, if any.
    ``waits``: what the host waits for on CUDA, if anything. ``scalars``: it takes scalars of the CPU.
    """

    written: tuple[tuple[int, str], ...]
    returned: tuple[int | None, ...]
    waits: str
    scalars: bool
    indexing: bool
    draws: bool

    @classmethod
    @functools.cache
    def of(cls, func: Any) -> Operation:
        packet, arguments = func.overloadpacket, list(enumerate(func._schema.arguments))
        written = [(i, a) for i, a in arguments if a.alias_info is not None and a.alias_info.is_write]
        names = [a.alias_info.before_set for _, a in written]
        aliases = [
            r.alias_info.before_set if r.alias_info is not None and r.alias_info.is_write else set()
            for r in func._schema.returns
        ]
        numbers = packet in SHAPED_BY_NUMBERS or func is aten.repeat_interleave.Tensor
        elementwise = torch.Tag.pointwise in func.tags and "foreach" not in packet.__name__
        return cls(
            tuple((i, a.name) for i, a in written),
            tuple(next((i for i, name in enumerate(names) if name & alias), None) for alias in aliases),
            f"{packet.__name__} looks at numbers" if numbers else "a number is read" if packet in READS else "",
            elementwise or packet in SCALARS,
            packet in INDEXING,
            torch.Tag.nondeterministic_seeded in func.tags,
        )


def _check_devices(func: Any, of: Operation, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Refuse what CUDA refuses of an operation with a tensor of the device among its arguments."""
    given = [args[0], *args[2:]] if of.indexing else args  # indices may lie on the CPU
    for tensor in _tensors((*given, *kwargs.values())):
        if not isinstance(tensor, SimulatedTensor) and not (of.scalars and tensor.dim() == 0):
            raise RuntimeError(f"{MIXED} ({func}, with a tensor {tuple(tensor.shape)} of the CPU)")


def _drawn(func: Any, args: Any, options: dict[str, Any]) -> Any:
    """The result of an operation that draws, with the generator of the device in place of that of the CPU."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(BACKEND.generator.get_state())
    try:
        return func(*args, **options)
    finally:
        BACKEND.generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


def _copied(source: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
    """``source.to(...)``, of whichever device, on whichever device ``kwargs`` names."""
    options = dict(kwargs)
    device, free = options.pop("device", None), options.pop("non_blocking", False)
    options.pop("pin_memory", None)
    here = isinstance(source, SimulatedTensor)
    there = here if device is None else _on_device(device)
    if here and not there:
        wait("numbers are copied to the host")
    if there and not here and not (free and source.is_pinned()):
        wait("numbers are copied to the device")
    host = aten._to_copy.default(_host(source), **options)
    return SimulatedTensor(host) if there else host


def _written_over(to: torch.Tensor, source: torch.Tensor, free: bool) -> torch.Tensor:
    """``to.copy_(source)``, of whichever devices."""
    here, there = isinstance(source, SimulatedTensor), isinstance(to, SimulatedTensor)
    if here and not there:
        wait("numbers are copied to the host")
    if there and not here and not (free and source.is_pinned()):
        wait("numbers are copied to the device")
    _host(to).copy_(_host(source))
    return to


def run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """An operation with a tensor of the device among its arguments, or one that makes such a tensor."""
    if func is aten._to_copy.default:
        return _copied(args[0], kwargs)
    if func is aten.copy_.default:
        return _written_over(args[0], args[1], args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
    if func is aten._copy_from.default or func is aten._copy_from_and_resize.default:
        return _written_over(args[1], args[0], False)
    of, generator, device = Operation.of(func), kwargs.get("generator"), kwargs.get("device")
    made = device is None or _on_device(device)
    if any(isinstance(tensor, SimulatedTensor) for tensor in _tensors((*args, *kwargs.values()))):
        _check_devices(func, of, args, kwargs)
        _count(of, args)
    if made and generator is not None and not getattr(generator, "simulated", False):
        raise RuntimeError(f"Expected a 'sim' device type for generator but found 'cpu' ({func})")
    options = {name: _host(value) for name, value in kwargs.items()}
    if device is not None:
        options["device"] = torch.device("cpu")
    draws = of.draws and generator is None
    result = _drawn(func, _host(args), options) if draws else func(*_host(args), **options)
    targets = [args[place] if place < len(args) else kwargs.get(name) for place, name in of.written]
    for target in _tensors(targets):
        host = _host(target)
        if target.shape != host.shape or target.stride() != host.stride():
            raise NotImplementedError(f"{func} changes the shape of a tensor in place")
    if not made:
        return result
    if len(of.returned) == 1:
        return _wrapped(result) if of.returned[0] is None else targets[of.returned[0]]
    if not of.returned:
        return None
    return tuple(_wrapped(r) if i is None else targets[i] for r, i in zip(result, of.returned, strict=True))


# -- what makes such tensors -------------------------------------------------------------------------------------------
_ALL = torch.library.Library("_", "IMPL")
_ALL.fallback(lambda func, *args, **kwargs: run(func, args, kwargs), "PrivateUse1")
_ATEN = torch.library.Library("aten", "IMPL")


def _register_factory(name: str) -> None:
    """Of an operation that torch would let resize an empty tensor in place."""
    packet, _, overload = name.partition(".")
    func = getattr(getattr(aten, packet), overload or "default")
    _ATEN.impl(name, lambda *args, **kwargs: run(func, args, {**kwargs, "device": DEVICE}), "PrivateUse1")


for _name in ("arange", "arange.start", "arange.start_step", "eye", "eye.m", "range", "range.step"):
    _register_factory(_name)


def tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
    """``torch.tensor``, which makes a tensor on the CPU and copies it, as it does for CUDA."""
    if not _on_device(device):
        return _tensor(data, device=device, **options)
    wanted = options.pop("requires_grad", False)
    return _tensor(data, **options).to(DEVICE).requires_grad_(wanted)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> torch.Tensor:
    """``torch.as_tensor``, likewise."""
    if not _on_device(device):
        return _as_tensor(data, dtype=dtype, device=device)
    return (data if isinstance(data, torch.Tensor) else _tensor(data)).to(DEVICE, dtype)


def pin_memory(self: torch.Tensor, device: object = None) -> torch.Tensor:
    """``Tensor.pin_memory``: a copy that :func:`is_pinned`."""
    copy = self.clone()
    copy.pinned = True  # type: ignore[attr-defined]
    return copy


def is_pinned(self: torch.Tensor, device: object = None) -> bool:
    """``Tensor.is_pinned``."""
    return getattr(self, "pinned", False)


def empty(*size: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
    """``torch.empty``, whose memory may be pinned."""
    return _empty(*size, **options).pin_memory() if pin_memory else _empty(*size, **options)


@contextmanager
def fork_rng(*args: Any, **options: Any) -> Iterator[None]:
    """``torch.random.fork_rng``, which keeps the generator of this device, as it keeps those of CUDA."""
    state = BACKEND.get_rng_state()
    try:
        with _fork_rng(*args, **options):
            yield
    finally:
        BACKEND.set_rng_state(state)


for _owner, _function in (
    (torch, tensor),
    (torch, as_tensor),
    (torch, empty),
    (torch, Generator),
    (torch.random, fork_rng),
    (torch.Tensor, pin_memory),
    (torch.Tensor, is_pinned),
):
    setattr(_owner, _function.__name__, _function)
