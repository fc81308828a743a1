"""What a check is, and how one is run: within its time, and without harm to the others."""

from __future__ import annotations

import math
import operator
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from nni_plugins.evaluators.training.memory import shortage

PASS, FAIL, MEASURED, NOT_RUN, ERROR = "pass", "fail", "measured", "not run", "error"
OUTCOMES = (PASS, FAIL, MEASURED, NOT_RUN, ERROR)
"""``measured``: a number without a bar."""
RELATIONS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}
LAST = 12
"""Lines of a traceback that are kept."""


class NotRun(Exception):
    """A check that this machine, or what was given, does not allow; says why."""


class TimeUp(BaseException):
    """A check took more than its section's time. Nothing between here and the check may catch it."""


@dataclass(frozen=True)
class Bar:
    """What a value must be."""

    relation: str
    limit: float
    source: str = ""

    def met(self, value: float) -> bool:
        return math.isfinite(value) and RELATIONS[self.relation](value, self.limit)


@dataclass(frozen=True)
class Found:
    """What a check measured. ``bar``: None: it is only told. ``numbers``: all that belongs to it, as JSON."""

    value: float
    unit: str = ""
    bar: Bar | None = None
    note: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """``device``: what is proven. ``quick``: small sizes. ``scratch``: a folder for what is not kept."""

    device: str
    quick: bool
    scratch: Path
    detection: str | None = None
    segmentation: str | None = None

    @property
    def cuda(self) -> bool:
        return torch.device(self.device).type == "cuda"

    def sized(self, whole: int, quick: int) -> int:
        """A size that ``--quick`` reduces."""
        return quick if self.quick else whole

    def bar(self, bar: Bar) -> Bar | None:
        """``bar``, if it is about a GPU: speeds of a CPU are only told here."""
        return bar if self.cuda else None

    def need_cuda(self) -> None:
        if not self.cuda:
            raise NotRun("needs CUDA")


class Section:
    """Runs the checks of one section and keeps their records.

    Args:
        only: of the command: names of sections, or of checks as ``section.check``, or their beginnings.
        deadline: in ``time.monotonic()``: later no check begins, and one that runs is stopped.
    """

    def __init__(self, name: str, about: str, given: Given, only: Sequence[str], deadline: float) -> None:
        self.name, self.about, self.given, self.only, self.deadline = name, about, given, only, deadline
        self.checks: list[dict[str, Any]] = []
        self.error: str | None = None
        self.seconds = 0.0

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def wanted(self, check: str) -> bool:
        """Whether ``--only`` names it, or names nothing."""
        full = f"{self.name}.{check}"
        return not self.only or any(full.startswith(name) for name in self.only)

    def check(self, name: str, about: str, function: Callable[[], Found]) -> Found | None:
        """Run ``function`` as the check ``name`` and record what comes of it; None where it found nothing."""
        if not self.wanted(name):
            return None
        record: dict[str, Any] = {"check": name, "about": about, "value": None, "unit": "", "bar": None, "note": ""}
        began, found = time.monotonic(), None
        try:
            with limited(self.left):
                found = function()
            bar = found.bar
            outcome = MEASURED if bar is None else PASS if bar.met(found.value) else FAIL
            record |= {"value": found.value, "unit": found.unit, "note": found.note, "numbers": dict(found.numbers)}
            record["bar"] = None if bar is None else asdict(bar)
            if not math.isfinite(found.value):
                record |= {"value": None, "note": f"the value is {found.value}. {found.note}".strip()}
        except NotRun as reason:
            outcome, record["note"] = NOT_RUN, str(reason)
        except TimeUp:
            outcome, record["note"] = NOT_RUN, "the section's time was up"
        except Exception as error:
            lack = shortage(error)
            outcome = ERROR if lack is None else NOT_RUN
            record["note"] = last_line(error) if lack is None else f"memory ran out: {lack}"[:300]
            if lack is None:
                record["traceback"] = last_lines(error)
        if self.given.cuda:
            torch.cuda.empty_cache()
        self.checks.append({**record, "outcome": outcome, "seconds": time.monotonic() - began})
        print(f"  {outcome:9} {name}: {shown(self.checks[-1])}", flush=True)
        return found

    def run(self, body: Callable[[Section], None]) -> None:
        """``body`` makes the checks; what it raises between them is this section's error."""
        began = time.monotonic()
        try:
            body(self)
        except Exception as error:
            self.error = "\n".join(last_lines(error))
            print(f"  error     {last_line(error)}", flush=True)
        self.seconds = time.monotonic() - began

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "section": self.name,
            "about": self.about,
            "seconds": self.seconds,
            "error": self.error,
            "checks": self.checks,
        }


def shown(record: Mapping[str, Any]) -> str:
    """The value of a check with its bar, or the note of one that has none."""
    if record["value"] is None:
        return str(record["note"])
    bar = record["bar"]
    limit = "" if bar is None else f" (bar {bar['relation']} {number(bar['limit'])})"
    return f"{number(record['value'])} {record['unit']}".strip() + limit


def number(value: float) -> str:
    """Four digits; whole numbers from 1,000 on."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.4g}"


def last_lines(error: BaseException) -> list[str]:
    """The end of its traceback."""
    return "".join(traceback.format_exception(error)).rstrip().splitlines()[-LAST:]


def last_line(error: BaseException) -> str:
    """What it is, in a line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Inside, :class:`TimeUp` comes after so many seconds, as soon as Python has its turn."""
    if seconds <= 0:
        raise TimeUp

    def ring(*_: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)  # again and again: a library may swallow one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
