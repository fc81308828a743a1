"""The same numbers on the device as on the CPU, in every precision and layout, compiled, and after a resume."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from pathlib import Path
from unittest import mock

import torch

from nni_plugins.evaluators.training import bilevel
from nni_plugins.evaluators.training.base import Trained
from nni_plugins.spaces import NASBench201

from .record import Bar, Found, Given, NotRun, Section
from .subjects import (
    SUBJECTS,
    Sizes,
    Stopped,
    Subject,
    Way,
    difference,
    inputs_of_the_cpu,
    losses,
    mixed,
    objectives,
    single_path,
    watched,
)

ABOUT = (
    "Losses of every step of trainings of two short epochs that begin with the same weights, compared with those of a "
    "plain run. A plain run is float32 without TF32, contiguous, eager; the CPU is the reference of the first checks, "
    "the device itself of the others. In float32 the bar is strict at the first step, where the weights are equal; "
    "later a ReLU or a pool that rounding turns the other way grows, so the strict bar over all steps is that of "
    "float64. `first` and `all`: the largest relative difference at the first step and at all; of half precision "
    "`mean` is that of the mean over all steps."
)
FIRST, ALL, DOUBLE = Bar("<=", 1e-5), Bar("<=", 0.05), Bar("<=", 1e-9)
HALF_FIRST, HALF_MEAN = Bar("<=", 0.03), Bar("<=", 0.1)
EQUAL, USED = Bar("==", 0), Bar(">=", 1)
"""All were chosen before any run on a GPU."""

Losses = Callable[[Subject, Way], torch.Tensor]
Pair = Callable[[], tuple[torch.Tensor, torch.Tensor]]
"""Losses as they were found, and those that they should be: (steps, losses a step)."""


def correctness(section: Section) -> None:
    given = section.given
    sizes = Sizes.of(given.quick)

    @cache
    def on(subject: Subject, way: Way) -> torch.Tensor:
        with inputs_of_the_cpu() if way.precision == "64-true" else nullcontext():
            return losses(subject, way, sizes)

    device = given.device if given.cuda else "cpu"
    for subject in SUBJECTS:
        single(section, subject.name, subject, on)
        pair = against(on, subject, Way(device, "64-true", run=1), Way("cpu", "64-true"))
        section.check(
            f"{subject.name}.float64", f"{subject.about}, float64, against the CPU", partial(_all, pair, DOUBLE)
        )
    for name, objective in objectives().items():
        train = partial(single_path, objective=objective)
        single(section, f"objective.{name}", Subject(name, f"objective {name} on the single-path supernet", train), on)
    for subject in SUBJECTS:
        _resumed(section, subject, sizes)
    for subject in (subject for subject in SUBJECTS if subject.mixes):
        for precision in ("bf16-mixed", "16-mixed"):
            name, about = f"{subject.name}.{precision}", f"{subject.about}, {precision} against float32"
            pair = partial(_half, against(on, subject, Way(device, precision), Way(device)), given, precision)
            section.check(f"{name}.first", f"{about}, first step", partial(_first, pair, HALF_FIRST))
            section.check(f"{name}.mean", f"{about}, mean of all steps", partial(_mean, pair, HALF_MEAN))
            section.check(f"{name}.used", f"{subject.about}, {precision}: steps unlike float32's", partial(_used, pair))
        name, about = f"{subject.name}.channels_last", f"{subject.about}, channels_last against contiguous"
        pair = against(on, subject, Way(device, channels_last=True), Way(device))
        section.check(f"{name}.first", f"{about}, first step", partial(_first, pair, FIRST))
        section.check(f"{name}.all", f"{about}, all steps", partial(_all, pair, ALL))
        double = [Way(device, "64-true", channels_last=last, run=1) for last in (True, False)]
        pair = against(on, subject, *double)
        section.check(f"{name}.float64", f"{about}, float64", partial(_all, pair, DOUBLE))
    small = NASBench201(3, 4, 1) if given.quick else NASBench201(4, 16, 1)
    for option, method in (("B", "DARTS"), ("C", "RF-DARTS")):
        subject = Subject(method, method, partial(mixed, space=small, option=option))
        name, about = f"compile.{method.replace('-', '').lower()}", f"{method}, torch.compile against eager"
        pair = partial(_compiled, against(on, subject, Way(device, compile=True), Way(device)), given)
        note = "NAS-Bench-201 with one cell a stage" + ("" if given.cuda else "; on a CPU only the graphs are compiled")
        section.check(f"{name}.first", f"{about}, first step", partial(_first, pair, FIRST, note))
        section.check(f"{name}.all", f"{about}, all steps", partial(_all, pair, ALL, note))


def against(on: Losses, subject: Subject, way: Way, reference: Way) -> Pair:
    """Losses of ``subject`` computed in one way and in another."""
    return lambda: (on(subject, way), on(subject, reference))


def single(section: Section, name: str, subject: Subject, on: Losses) -> None:
    """float32 on the device against the CPU, or where there is only that, against another run."""
    given = section.given
    pair = against(on, subject, Way(given.device, run=0 if given.cuda else 1), Way("cpu"))
    note = "" if given.cuda else "the CPU twice: there is no other device"
    about = f"{subject.about}, float32, against the CPU"
    section.check(f"{name}.float32.first", f"{about}, first step", partial(_first, pair, FIRST, note))
    section.check(f"{name}.float32.all", f"{about}, all steps", partial(_all, pair, ALL, note))


def _first(pair: Pair, bar: Bar, note: str = "") -> Found:
    found, reference = pair()
    return Found(difference(found[:1], reference[:1]), "", bar, note)


def _all(pair: Pair, bar: Bar, note: str = "") -> Found:
    found, reference = pair()
    each = ((found - reference).abs() / reference.abs().clamp_min(1e-12)).amax(1)
    return Found(difference(found, reference), "", bar, note, {"steps": len(found), "differences": each.tolist()})


def _mean(pair: Pair, bar: Bar) -> Found:
    found, reference = pair()
    return Found(difference(found.mean(0), reference.mean(0)), "", bar, f"{len(found)} steps")


def _used(pair: Pair) -> Found:
    """Equal losses would mean that nothing was computed in half precision."""
    found, reference = pair()
    return Found(int((found != reference).any(1).sum()), f"of {len(found)}", USED)


def _half(pair: Pair, given: Given, precision: str) -> tuple[torch.Tensor, torch.Tensor]:
    if precision == "16-mixed":
        given.need_cuda()
    elif given.cuda and not torch.cuda.is_bf16_supported():
        raise NotRun("this GPU has no bfloat16")
    return pair()


def _compiled(pair: Pair, given: Given) -> tuple[torch.Tensor, torch.Tensor]:
    """On a CPU the C++ of Inductor takes many minutes."""
    with mock.patch.object(bilevel, "BACKEND", bilevel.BACKEND if given.cuda else "aot_eager"):
        return pair()


# -- resuming ----------------------------------------------------------------------------------------------------------
@contextmanager
def deterministic() -> Iterator[None]:
    """torch refuses whatever is not."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def _resumed(section: Section, subject: Subject, sizes: Sizes) -> None:
    given = section.given
    check = partial(_different, subject, sizes, given)

    def strictly() -> Found:
        with deterministic():
            return check(EQUAL)

    about = f"{subject.about}: tensors that differ after a stop within the second epoch and a resume"
    section.check(f"{subject.name}.resume", f"{about}, deterministic algorithms", strictly)
    if given.cuda:  # on a CPU there are no others
        section.check(f"{subject.name}.resume.default", f"{about}, torch's default algorithms", partial(check, None))


def _different(subject: Subject, sizes: Sizes, given: Given, bar: Bar | None) -> Found:
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        with watched() as rows:
            whole = subject.train(Way(given.device, folder=Path(folder) / "whole"), sizes)
        torn = Way(given.device, folder=Path(folder) / "torn")
        middle = len(rows) // 2 + 1
        with suppress(Stopped), watched(middle):
            subject.train(torn, sizes)
            raise AssertionError(f"{subject.name} was not stopped after {middle} steps")
        with watched() as rest:
            again = subject.train(torn, sizes)
    if len(rest) != len(rows) - middle:
        raise AssertionError(f"{len(rest)} steps after the resume, where {len(rows) - middle} were left")
    note = f"stopped after step {middle} of {len(rows)}"
    return Found(_unequal(whole, again), f"of {len(whole.final)}", bar, note)


def _unequal(a: Trained, b: Trained) -> int:
    """How many tensors and rows of the curve differ in any bit."""
    tensors = sum(not torch.equal(a.final[name], b.final[name]) for name in a.final)
    return tensors + sum(one != other for one, other in zip(a.history, b.history, strict=True))
