"""NAO as a state that is asked for architectures and told their values: what a tuner needs, whose trials end in any
order. Free of torch.

Rounds are synchronous, as in the papers: a round's architectures are all handed out, and the next round's are computed
when all of them have ended. What a round proposes is a function of the trials with values, in the order in which they
were proposed, and of (seed, round).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import generator

from .codecs import Codec
from .proposals import random_rows
from .settings import ControllerSettings, ProposalSettings
from .tokens import Rows

Status = Literal["waiting", "running", "done", "failed"]


@dataclass
class Trial:
    """One architecture: ``row``, where it came from (``initial``, ``imported``, or as in ``proposals.ORIGINS``), its
    round and its value.
    """

    row: list[int]
    origin: str
    round: int
    status: Status = "waiting"
    value: float | None = None


@dataclass(frozen=True)
class Job:
    """What the proposals of round ``step`` follow from: all trials with a value, ``rows: (n, D)`` and ``values: (n,)``,
    and known keys.
    """

    step: int
    rows: Rows
    values: npt.NDArray[np.float64]
    known: tuple[str, ...]


@dataclass(frozen=True)
class Proposed:
    """What :func:`work` answers: rows with their origins, and numbers to report."""

    step: int
    rows: list[list[int]]
    origins: list[str]
    numbers: dict[str, Any] = field(default_factory=dict)


class AskTell:
    """``initial`` random architectures, then rounds without end or ``rounds`` of them.

    Life: :meth:`ask` until it is None; :meth:`tell` or :meth:`fail` each; when :attr:`due`, pass :meth:`job` to
    :func:`work` and its answer to :meth:`extend`; and so on until :attr:`finished`.
    """

    def __init__(
        self,
        codec: Codec,
        initial: int,
        rounds: int | None,
        controller: ControllerSettings,
        proposals: ProposalSettings,
        seed: int,
    ) -> None:
        self.codec, self.rounds, self.controller, self.proposals, self.seed = codec, rounds, controller, proposals, seed
        first = random_rows(codec, (), initial, generator(seed, "nao initial")).rows
        self.trials = [Trial(row, "initial", 0) for row in first.tolist()]
        self.reports: list[dict[str, Any]] = []
        self.exhausted = False

    @property
    def step(self) -> int:
        """How many rounds have been proposed."""
        return len(self.reports)

    @property
    def _open(self) -> bool:
        return any(trial.status in ("waiting", "running") for trial in self.trials)

    @property
    def finished(self) -> bool:
        """Nothing more will be proposed, and everything has ended."""
        return not self._open and (self.exhausted or (self.rounds is not None and self.step >= self.rounds))

    @property
    def due(self) -> bool:
        """The next round can be proposed."""
        return not self._open and not self.finished

    def ask(self) -> int | None:
        """The number of the next trial, now running; None while there is none."""
        for number, trial in enumerate(self.trials):
            if trial.status == "waiting":
                trial.status = "running"
                return number
        return None

    def tell(self, number: int, value: float) -> None:
        """The value of a trial, larger is better; one that is not finite is a failure."""
        trial = self.trials[number]
        if not math.isfinite(value):
            return self.fail(number)
        if trial.value is None:
            trial.status, trial.value = "done", float(value)
        return None

    def fail(self, number: int) -> None:
        """A trial ended without a value: it takes no part, and is not proposed again."""
        if self.trials[number].value is None:
            self.trials[number].status = "failed"

    def release(self, number: int) -> None:
        """A running trial was lost before it started: it is asked for again."""
        if self.trials[number].status == "running":
            self.trials[number].status = "waiting"

    def find(self, row: Rows) -> int | None:
        """The number of the trial with ``row: (D,)``."""
        wanted = row.tolist()
        return next((number for number, trial in enumerate(self.trials) if trial.row == wanted), None)

    def add(self, row: Rows, value: float) -> None:
        """A value from elsewhere, for an architecture that was not proposed."""
        if math.isfinite(value):
            self.trials.append(Trial(row.tolist(), "imported", self.step, "done", float(value)))

    # -- rounds --------------------------------------------------------------------------------------------------------
    def _array(self, trials: list[Trial]) -> Rows:
        rows: Rows = np.array([trial.row for trial in trials], dtype=np.int64).reshape(-1, self.codec.tokens.length)
        return rows

    def job(self) -> Job:
        """What :func:`work` needs for the next round."""
        done = [trial for trial in self.trials if trial.status == "done"]
        known = self.codec.keys(self._array(self.trials))
        return Job(
            self.step, self._array(done), np.array([trial.value for trial in done], dtype=np.float64), tuple(known)
        )

    def extend(self, proposed: Proposed) -> None:
        """Take the next round's architectures.

        Raises:
            ConfigError: they are of another round.
        """
        if proposed.step != self.step:
            raise ConfigError(f"round {self.step} is due, but got proposals of round {proposed.step}.")
        self.reports.append(proposed.numbers)
        self.exhausted = not proposed.rows
        self.trials += [
            Trial(row, origin, self.step) for row, origin in zip(proposed.rows, proposed.origins, strict=True)
        ]

    # -- files ---------------------------------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "trials": [asdict(trial) for trial in self.trials],
            "reports": self.reports,
            "exhausted": self.exhausted,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`; running trials are running."""
        self.trials = [Trial(**trial) for trial in state["trials"]]
        self.reports, self.exhausted = list(state["reports"]), bool(state["exhausted"])


def work(codec: Codec, job: Job, controller: ControllerSettings, proposals: ProposalSettings, seed: int) -> Proposed:
    """Train a controller and propose a round: seconds to minutes. Imports torch.

    Where no trial has a value, architectures are drawn at random; where fewer have one than ``proposals.seeds``, all of
    them are seeds. The numbers say so: ``seeds``, ``gradient``, ``mutation``, ``random``, ``largest_step``,
    ``decoded``, ``duplicates``, ``invalid``, and where a controller was trained ``epochs`` and ``loss``.
    """
    from .search import next_rows

    seeds = min(proposals.seeds, len(job.rows))
    if seeds == 0:
        found, trained = random_rows(codec, job.known, proposals.new, generator(seed, "nao fill", job.step)), None
    else:
        settings = proposals.model_copy(update={"seeds": seeds})
        found, trained = next_rows(codec, job.rows, job.values, job.known, controller, settings, seed, job.step)
    numbers: dict[str, Any] = {
        "seeds": seeds,
        **found.counts(),
        "largest_step": found.largest_step,
        "decoded": found.decoded,
    }
    numbers |= {"duplicates": found.duplicates, "invalid": found.invalid}
    if trained is not None:
        numbers |= {"epochs": len(trained.history), "loss": trained.history[-1]["loss"]}
    return Proposed(job.step, found.rows.tolist(), list(found.origins), numbers)
