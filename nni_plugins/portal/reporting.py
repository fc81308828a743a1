"""What a trial says to NNI: its curve, each point once, and which parameters are its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Point = Callable[[Mapping[str, Any]], dict[str, Any]]


def own_parameters() -> Any:
    """The parameters under which NNI shows this trial.

    NNI 3.0 hands parameters to whichever trial asks first, so of two trials that start together each may be given the
    other's, and the portal then shows the metrics of one beside the choices of the other. The manager is asked which are
    this trial's.
    """
    import nni

    from .manager import Manager

    given = nni.get_next_parameter()
    manager, trial = Manager.of_trial(), nni.get_trial_id()
    if manager is None:
        return given
    nni.trial._params = manager.record(trial)
    return nni.trial._params["parameters"]


def _count(mark: Path) -> int:
    """How many rows were reported; none where the mark is missing or damaged, for NNI forgets those that come twice."""
    try:
        return int(mark.read_text())
    except (OSError, ValueError):
        return 0


def _row(line: str) -> dict[str, Any] | None:
    """None of a line that a kill has cut short."""
    from nni_plugins.evaluators.files import parse_json

    try:
        row = parse_json(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("epoch"), int | float) else None


class Reporter:
    """Sends each row of a curve to NNI once, also across restarts: the portal's curve has no gap and no double points.

    Args:
        mark: file that remembers how many rows this trial has reported.
        metrics: the training's rows as JSON lines, which an earlier attempt may have written; None: it keeps none.
        point: makes what NNI gets out of a row.
    """

    def __init__(self, mark: Path, metrics: Path | None, point: Point) -> None:
        self.mark, self.metrics, self.point = mark, metrics, point
        self.reported = _count(mark)

    def __call__(self, row: dict[str, float]) -> None:
        if row["epoch"] > self.reported + 1:
            self.catch_up(before=row["epoch"])
        if row["epoch"] > self.reported:
            self._send(row)

    def catch_up(self, before: float = float("inf")) -> None:
        """Send the rows that an earlier attempt wrote and this trial has not reported."""
        if self.metrics is not None and self.metrics.exists():
            for row in map(_row, self.metrics.read_text(errors="replace").splitlines()):
                if row is not None and self.reported < row["epoch"] < before:
                    self._send(row)

    def _send(self, row: dict[str, Any]) -> None:
        import nni

        from nni_plugins.evaluators.files import atomic_write

        nni.trial.overwrite_intermediate_seq(int(row["epoch"]) - 1)
        nni.report_intermediate_result(self.point(row))
        self.reported = int(row["epoch"])
        atomic_write(self.mark, str(self.reported).encode())
