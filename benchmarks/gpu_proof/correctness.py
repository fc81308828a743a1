"""The same numbers on the device as on the CPU, in every precision and layout, compiled, and after a resume."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from pathlib import Path

import torch

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
    "plain run: the largest relative difference. A plain run is float32 without TF32, contiguous, eager; the CPU is "
    "the reference of the first checks, the device itself of the others."
)
FLOAT32, FLOAT64 = Bar("<=", 1e-3), Bar("<=", 1e-9)
HALF = {True: Bar("<=", 0.03), False: Bar("<=", 0.15)}
"""Of mixed precision, at the first step, where the weights are equal, and at all of them; chosen before any run on a
GPU.
"""
EQUAL, USED = Bar("==", 0), Bar(">=", 1)


def correctness(section: Section) -> None:
    given = section.given
    sizes = Sizes.of(given.quick)

    @cache
    def on(subject: Subject, way: Way) -> torch.Tensor:
        return losses(subject, way, sizes)

    for subject in SUBJECTS:
        plain = partial(_against_cpu, on, subject, given)
        section.check(f"{subject.name}.float32", f"{subject.about}, float32, against the CPU", partial(plain, FLOAT32))
        double = partial(plain, FLOAT64, "64-true")
        section.check(f"{subject.name}.float64", f"{subject.about}, float64, against the CPU", double)
    for name, objective in objectives().items():
        train = partial(single_path, objective=objective)
        subject = Subject(name, f"objective {name} on the single-path supernet", train)
        plain = partial(_against_cpu, on, subject, given, FLOAT32)
        section.check(f"objective.{name}", f"{subject.about}, float32, against the CPU", plain)
    for subject in SUBJECTS:
        _resumed(section, subject, sizes)
    for subject in (subject for subject in SUBJECTS if subject.mixes):
        for precision in ("bf16-mixed", "16-mixed"):
            for first, steps in ((True, "first step"), (False, "all steps")):
                check = partial(_half, on, subject, given, precision, first)
                name = f"{subject.name}.{precision}.{steps.split()[0]}"
                section.check(name, f"{subject.about}, {precision} against float32, {steps}", check)
            check = partial(_used, on, subject, given, precision)
            about = f"{subject.about}, {precision}: steps whose loss is not float32's"
            section.check(f"{subject.name}.{precision}.used", about, check)
        check = partial(_otherwise, on, subject, Way(given.device, channels_last=True), given)
        section.check(f"{subject.name}.channels_last", f"{subject.about}, channels_last against contiguous", check)
    small = NASBench201(3, 4, 1) if given.quick else NASBench201(4, 16, 1)
    for option, method in (("B", "DARTS"), ("C", "RF-DARTS")):
        subject = Subject(method, method, partial(mixed, space=small, option=option))
        about = f"{method} on NAS-Bench-201 with one cell a stage, torch.compile against eager"
        section.check(f"compile.{method.replace('-', '').lower()}", about, partial(_compiled, subject, sizes, given))


Losses = Callable[[Subject, Way], torch.Tensor]


def _against_cpu(on: Losses, subject: Subject, given: Given, bar: Bar, precision: str = "32-true") -> Found:
    with inputs_of_the_cpu() if precision == "64-true" else nullcontext():
        reference = on(subject, Way("cpu", precision))
        found = on(subject, Way(given.device, precision)) if given.cuda else losses_again(subject, precision, given)
    note = "" if given.cuda else "the CPU twice: there is no other device"
    return Found(difference(found, reference), "", bar, note, {"steps": len(found), "last": found[-1].tolist()[:4]})


def losses_again(subject: Subject, precision: str, given: Given) -> torch.Tensor:
    """Of a second run on the CPU."""
    return losses(subject, Way("cpu", precision), Sizes.of(given.quick))


def _both(on: Losses, subject: Subject, given: Given, precision: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses in ``precision``, and in float32."""
    if precision == "16-mixed":
        given.need_cuda()
    elif given.cuda and not torch.cuda.is_bf16_supported():
        raise NotRun("this GPU has no bfloat16")
    return on(subject, Way(given.device, precision)), on(subject, Way(given.device))


def _half(on: Losses, subject: Subject, given: Given, precision: str, first: bool) -> Found:
    found, reference = _both(on, subject, given, precision)
    return Found(difference(found[:1], reference[:1]) if first else difference(found, reference), "", HALF[first])


def _used(on: Losses, subject: Subject, given: Given, precision: str) -> Found:
    """Equal losses would mean that nothing was computed in half precision."""
    found, reference = _both(on, subject, given, precision)
    return Found(int((found != reference).any(1).sum()), f"of {len(found)}", USED)


def _otherwise(on: Losses, subject: Subject, way: Way, given: Given) -> Found:
    reference, found = on(subject, Way(given.device)), on(subject, way)
    return Found(difference(found, reference), "", FLOAT32)


def _compiled(subject: Subject, sizes: Sizes, given: Given) -> Found:
    """Of few cells: to compile takes time in proportion."""
    reference = losses(subject, Way(given.device), sizes)
    return Found(difference(losses(subject, Way(given.device, compile=True), sizes), reference), "", FLOAT32)


# -- resuming ------------------------------------------------------------------------------------------------------------
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
