"""Which trial does which job: what NNI says, what trials say, and what must then be so. Free of torch.

NNI 3.0 hands parameters to whichever trial asks first, so the trial that it shows with one job's parameters may do
another job. A trial therefore names its job in everything that it says - in its log as soon as it knows, in every
metric - and that is believed, not what NNI shows. Where a trial ended before it said anything, its job is the one that
none of the others does, as soon as all the others have spoken.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ..experiment.jobs import Value
from .manager import ALIVE, NOT_RESUMED, Manager

_logger = logging.getLogger(__name__)
SAYS = "the job of this trial: "
"""Before the name of its job in a trial's log."""
JOB = "job"
"""The key of its job's name in every metric of a trial."""


def job_in(value: Any) -> str | None:
    """The job that a metric names."""
    name = value.get(JOB) if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


@dataclass
class Handed:
    """Parameters that NNI has got from us, and the trial that it shows with them.

    ``number``: NNI's parameter id. ``job``: whose parameters they are. ``resumed``: an earlier tuner handed them out, and
    NNI runs the trial again. ``trial``: None until it was seen. ``said``: the job that the trial says it does. ``ended``:
    it has, as NNI says.
    """

    number: int
    job: str
    resumed: bool = False
    trial: str | None = None
    said: str | None = None
    ended: bool = False


@dataclass(frozen=True)
class Ending:
    """``trial`` did ``job`` and gave ``value``; None: it ended without a result. ``trial=None``: none ever did it."""

    job: str
    trial: str | None
    value: Value | None


class Ledger:
    """All parameters whose trials have not ended, by their numbers."""

    def __init__(self) -> None:
        self.handed: dict[int, Handed] = {}

    def hand_out(self, number: int, job: str, resumed: bool = False) -> None:
        """NNI gets the parameters of ``job``. A trial that is run again is given its own."""
        self.handed[number] = Handed(number, job, resumed, said=job if resumed else None)

    @property
    def unseen(self) -> int:
        """How many stand in NNI's queue, as far as is known; those that NNI runs again are counted as trials already."""
        return sum(one.trial is None and not one.ended and not one.resumed for one in self.handed.values())

    @property
    def alive(self) -> int:
        """How many have not ended."""
        return sum(not one.ended for one in self.handed.values())

    def see(self, manager: Manager) -> dict[int, str]:
        """Take over which trials there are now: returns their ids by number."""
        alive = {row["number"]: row["id"] for row in manager.alive() if not row["customized"]}
        for number, trial in alive.items():
            if number in self.handed:
                self.handed[number].trial = trial
        return alive

    def end(self, number: int, manager: Manager, local: bool) -> list[Ending]:
        """NNI says that the trial with these parameters has ended without success."""
        one = self.handed[number]
        one.ended = True
        if one.trial is None:
            self._find([one], manager)
        return self._settle(one, manager, local)

    def look(self, manager: Manager, local: bool, running: Collection[str]) -> list[Ending]:
        """Compare with what the manager knows; every trial that has ended is told once.

        Args:
            local: trials ask the manager for their parameters, so each does the job that NNI shows it with.
            running: the jobs that were handed out and have no result.

        Raises:
            ManagerError: the manager does not answer; nothing is lost.
        """
        alive = self.see(manager)
        for one in self.handed.values():
            if one.trial is None or one.ended:
                continue
            if one.number not in alive:
                one.ended = manager.trial_state(one.trial) not in ALIVE
            elif one.said is None:
                one.said = one.job if local else self._said(one.trial, manager)
        hidden = [one for one in self.handed.values() if one.trial is None and (one.ended or one.resumed)]
        if hidden:
            self._find(hidden, manager)
        endings = []
        for one in [one for one in self.handed.values() if one.ended]:
            endings += self._settle(one, manager, local)
        told = {ending.job for ending in endings}
        return [*endings, *self._eliminate([name for name in running if name not in told])]

    def _find(self, hidden: Iterable[Handed], manager: Manager) -> None:
        """Trials that came and went between two looks."""
        newest = {row["number"]: row for row in manager.trials() if not row["customized"]}
        for one in hidden:
            row = newest.get(one.number)
            if row is not None and row["status"] not in NOT_RESUMED:
                one.trial, one.ended = row["id"], one.ended or row["status"] not in ALIVE

    def _settle(self, one: Handed, manager: Manager, local: bool) -> list[Ending]:
        """What a trial that has ended did; nothing if that is not known yet."""
        if one.trial is None:
            return []
        final = None
        for kind, value in manager.metrics(one.trial):
            name = job_in(value)
            if name is not None and not one.resumed:
                one.said = name
            if kind == "FINAL" and name is not None:
                final = Ending(name, one.trial, value)
        if final is None and one.said is None:
            one.said = one.job if local else self._said(one.trial, manager)
        if final is None and one.said is None:
            return []
        del self.handed[one.number]
        return [final or Ending(str(one.said), one.trial, None)]

    def _said(self, trial: str, manager: Manager) -> str | None:
        """What its log says, or its curve where the log cannot be fetched."""
        said = re.findall(rf"{re.escape(SAYS)}(\S+)", manager.log(trial))
        return (
            said[-1] if said else next((name for _, value in manager.metrics(trial) if (name := job_in(value))), None)
        )

    def _eliminate(self, running: Iterable[str]) -> list[Ending]:
        """Jobs that none of the living trials does, once all of them have spoken."""
        if any(not one.ended and one.trial is not None and one.said is None for one in self.handed.values()):
            return []
        done = {one.said or one.job for one in self.handed.values() if not one.ended}
        silent = [one for one in self.handed.values() if one.ended]
        for one in silent:
            del self.handed[one.number]
        trials = [one.trial for one in silent]
        return [Ending(name, trials.pop() if trials else None, None) for name in running if name not in done]
