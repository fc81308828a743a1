"""Architectures in the results of searches, comparisons, retrainings and transfers. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.base import Metric
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.files import read_json
from nni_plugins.evaluators.subjects.files import described_subject
from nni_plugins.evaluators.subjects.resolver import subject
from nni_plugins.evaluators.subjects.subject import Subject

from ..experiment.kinds import load_experiment
from ..experiment.names import RUN
from ..experiment.result import RESULT, SCHEMA_VERSION
from ..experiment.store import CONFIG, JOBS, read_settings
from .rows import Row, Rows

NOTHING: dict[str, Any] = {"value": None, "validation": None}
"""Of an architecture that the first evaluation did not take."""
Meant = tuple[Subject, dict[str, Any]]
"""A network, and where it comes from, as JSON."""


def result_file(path: Path) -> Path:
    """``path``, or the ``result.json`` in the folder ``path``.

    Raises:
        ConfigError: the folder has none.
    """
    if not path.is_dir():
        return path
    for inside in (path / RESULT, path / "run" / RESULT):
        if inside.exists():
            return inside
    if (path / CONFIG).exists():
        raise ConfigError(
            f"{path} has no {RESULT}: it is not finished, or is a study that chooses no architecture.",
            "Run the same command again, it continues where it stopped; or pass an architecture's text.",
        )
    raise ConfigError(f"{path} has no {RESULT}.", "Pass the --output folder of a run, or a file.")


def subject_of_result(
    content: Any, file: Path, space: str | None, arguments: Mapping[str, Any], rank: int, job: str | None
) -> Meant | None:
    """What ``content``, that of ``file``, is the result of; None if it is no result.

    Raises:
        ConfigError: it is damaged, of an older version, or has no such rank or job.
    """
    if not isinstance(content, Mapping):
        return None
    kind = next((kind for kind, keys in KEYS.items() if keys <= set(content)), None)
    if kind is None and file.name == RESULT and (file.parent / CONFIG).exists():
        raise ConfigError(f"{file} is of a study, which chooses no architecture.", "Pass an architecture's text.")
    if kind is None:
        return None
    try:
        rows = ROWS[kind](content, file) if kind in ROWS else None
        if rows is None:
            only_one(str(file), rank, job)
            return ONE[kind](content, file, space, dict(arguments))
        if space not in (None, rows.space["name"]):
            raise ConfigError(
                f"{file} is of the space {rows.space['name']!r}, but the space given is {space!r}.",
                "Leave the space out.",
            )
        row, place = rows.chosen(rank, job)
        return rows.subject(row, arguments), {"kind": kind, **_searched(content), **rows.about(row, place)}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{file} is damaged: {type(error).__name__} {error}.", "Write it again with the command that made it."
        ) from None


def only_one(what: str, rank: int, job: str | None) -> None:
    """Refuse a choice where there is nothing to choose.

    Raises:
        ConfigError: there is a choice.
    """
    if rank != 1 or job is not None:
        raise ConfigError(
            f"{what[:80]} is one architecture, but got {f'--job {job}' if job is not None else f'--rank {rank}'}.",
            "--rank and --job choose from a search or a comparison.",
        )


def _searched(content: Mapping[str, Any]) -> dict[str, Any]:
    """By which strategy, and how often; nothing of comparisons, whose policies say it."""
    return {"strategy": content["strategy"], "searches": len(content["searches"])} if "strategy" in content else {}


# -- runs with many architectures --------------------------------------------------------------------------------------
def _rows_of_search(content: Mapping[str, Any], file: Path) -> Rows:
    if content["schema"] != SCHEMA_VERSION:
        raise ConfigError(
            f"{file} has schema {content['schema']}; this version reads {SCHEMA_VERSION}.", "Run the search again."
        )
    evaluations = content["evaluations"]
    first = next(iter(evaluations), None)
    metric = None
    if first is not None:
        one = evaluations[first]
        metric = Metric(str(one["metric"]), str(one["unit"]), bool(one["larger_is_better"]))
    rows = []
    for row in content["architectures"]:
        own = {name: row["evaluations"][name] for name in evaluations if name in row["evaluations"]}
        jobs = tuple(str(one["job"]) for one in own.values())
        one = own.get(first, NOTHING)
        value, validation = one["value"], one["validation"]
        named = (row["choices"], row["network"])
        rows.append(Row(row["source"], row["source"], jobs, *named, value, validation, row["score"]))
    return Rows(str(file), content["settings"]["space"], metric, rows)


def _rows_of_comparison(content: Mapping[str, Any], file: Path) -> Rows:
    """``result.json`` names no architectures; the folder's finished jobs do."""
    folder = file.parent
    experiment = load_experiment(*read_settings(folder), f"{folder / CONFIG}: ")
    first, metric = next(((name, one.metric) for name, one in experiment.evaluators.items()), ("", None))
    values: dict[tuple[str, int, int], dict[str, dict[str, Any]]] = {}
    for path in sorted((folder / JOBS).glob("*.json")):
        done = read_json(path, "Delete it, and run the comparison again: it repeats this job only.")
        job = done["job"]
        if job["phase"] in experiment.evaluators:
            key = (job["policy"] or job["source"], job["seed"], job["rank"])
            values.setdefault(key, {})[job["phase"]] = done
    rows = []
    for (name, _, _), phases in values.items():
        group = name.partition(RUN)[0]  # of several runs of a policy all are there, the best by validation first
        ordered = [phases[name] for name in experiment.evaluators if name in phases]
        job = ordered[0]["job"]
        one = phases[first]["value"]["result"] if first in phases else NOTHING
        value, validation = one["value"], one["validation"]
        jobs = tuple(str(one["job"]["name"]) for one in ordered)
        rows.append(Row(group, job["source"], jobs, job["choices"], job["network"], value, validation, job["score"]))
    return Rows(str(file), experiment.settings.space, metric, rows)


# -- runs with one -----------------------------------------------------------------------------------------------------
def _of_retraining(content: Mapping[str, Any], file: Path, space: str | None, arguments: dict[str, Any]) -> Meant:
    """In the size that it was trained in, with the weights that its result was measured with."""
    weights = file.parent / Path(content["weights"]).name
    trained = described_subject(content["network"], file, space, arguments, weights if weights.exists() else None)
    return trained, {"kind": "retraining", "file": str(file), "recipe": content["recipe"], "top1": content["top1"]}


def _of_transfer(content: Mapping[str, Any], file: Path, space: str | None, arguments: dict[str, Any]) -> Meant:
    """The backbone, in the size that it was trained in."""
    backbone = content["backbone"]
    one = subject(content["architecture"], backbone["space"] or space, {**backbone["arguments"], **arguments})
    metric = content["metric"]
    about = {"kind": "transfer", "file": str(file), "task": content["task"], "recipe": content["recipe"]}
    return one, {**about, metric: content["metrics"][metric]}


KEYS = {
    "search": {"strategy", "architectures", "settings"},
    "comparison": {"statistics", "missing", "folder"},
    "retraining": {"network", "recipe", "history"},
    "transfer": {"task", "backbone", "architecture"},
}
"""By which keys results are told apart."""
ROWS: dict[str, Callable[[Mapping[str, Any], Path], Rows]] = {
    "search": _rows_of_search,
    "comparison": _rows_of_comparison,
}
ONE: dict[str, Callable[[Mapping[str, Any], Path, str | None, dict[str, Any]], Meant]] = {
    "retraining": _of_retraining,
    "transfer": _of_transfer,
}
