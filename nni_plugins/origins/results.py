"""Architectures in the ``result.json`` of searches and comparisons. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces.errors import closest

from ..studies.compare.jobs import CONFIG
from ..studies.compare.settings import CompareSettings


@dataclass(frozen=True)
class Found:
    """``space``: name and arguments; ``choices``: of the architecture; ``about``: where it stands, as JSON."""

    space: dict[str, Any]
    choices: dict[str, str]
    about: dict[str, Any]


def file_in(path: Path) -> Path:
    """``path``, or the ``result.json`` in the folder ``path``.

    Raises:
        ConfigError: the folder has none.
    """
    if not path.is_dir():
        return path
    for inside in ("result.json", "run/result.json"):
        if (path / inside).exists():
            return path / inside
    begun = (path / "config.json").exists() or (path / CONFIG).exists()
    if (path / "study.json").exists():
        raise ConfigError(
            f"{path} is a sample study, which chooses no architecture.", "Pass the text of one of its architectures."
        )
    if begun:
        raise ConfigError(
            f"{path} is not finished: there is no result.json.",
            "Run the same command again; it continues where it stopped.",
        )
    raise ConfigError(
        f"{path} has no result.json.", "Pass the --output folder of nni-plugins search or compare, or a file."
    )


def is_search(content: Any) -> bool:
    """Whether ``content`` is that of a search's ``result.json``."""
    return (
        isinstance(content, Mapping)
        and isinstance(content.get("architectures"), list)
        and isinstance(content.get("settings"), Mapping)
    )


def is_comparison(content: Any) -> bool:
    """Whether ``content`` is that of a comparison's ``result.json``."""
    return isinstance(content, Mapping) and {"statistics", "missing", "folder"} <= set(content)


def is_retraining(content: Any) -> bool:
    """Whether ``content`` is that of a retraining's ``result.json``."""
    return isinstance(content, Mapping) and isinstance(content.get("network"), Mapping) and "recipe" in content


def of_retraining(content: Mapping[str, Any], file: Path) -> Found | str:
    """The architecture that was trained, in the size that it was trained in; of timm's own models the name."""
    network, about = (
        content["network"],
        {"kind": "retraining", "file": str(file), "recipe": content["recipe"], "top1": content.get("top1")},
    )
    if network.get("space") and network.get("architecture"):
        name, arguments = network["space"]
        return Found({"name": name, **arguments}, dict(network["architecture"]), about)
    if not network.get("timm"):
        raise ConfigError(
            f"{file}: a network of {network.get('name')}, which no name makes again.",
            "Train it from Python: TimmRetrain.train(network).",
        )
    return str(network["timm"][0])


def of_search(content: Mapping[str, Any], file: Path, rank: int, job: str | None) -> Found:
    """The architecture of ``job``, or the one at ``rank`` among those found; of random search, among all."""
    try:
        return _of_search(content, file, rank, job)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} is damaged: {type(error).__name__} {error}.", "Write it again with the command that made it."
        ) from None


def _of_search(content: Mapping[str, Any], file: Path, rank: int, job: str | None) -> Found:
    rows: list[Mapping[str, Any]] = content["architectures"]
    metric = content.get("metric", "accuracy")  # absent where an older version wrote it
    found = [row for row in rows if row["source"] == "found"] or list(rows)
    row = _chosen(found, {row["job"]: row for row in rows}, rank, job, file)
    means = {
        source: {"mean": mean, "trained": _trained(rows, source, metric)}
        for source, mean in content.get(f"mean_{metric}", {}).items()
    }
    about = {
        "kind": "search",
        "file": str(file),
        "strategy": content["strategy"],
        "job": row["job"],
        "source": row["source"],
        "rank": next((place for place, one in enumerate(found, 1) if one is row), None),
        "searches": len(content.get("searches", [])),
        "metric": metric,
        metric: row.get(metric),
        "score": row.get("score"),
        "means": means,
    }
    return Found(dict(content["settings"]["space"]), dict(row["choices"]), about)


def _trained(rows: Sequence[Mapping[str, Any]], source: str, metric: str) -> int:
    return sum(row["source"] == source and row.get(metric) is not None for row in rows)


def of_comparison(file: Path, rank: int, job: str | None) -> Found:
    """The best measured architecture of all policies but the random one, of the policy ``job``, or that of the job
    ``job``.
    """
    folder = file.parent
    try:
        settings = read(CompareSettings, yaml.safe_load((folder / CONFIG).read_text()), f"{folder / CONFIG}: ")
    except (OSError, yaml.YAMLError):
        raise ConfigError(
            f"{file}: beside it there is no readable {CONFIG}.",
            "Pass the --output folder of nni-plugins compare as it is.",
        ) from None
    rows = [_measured(path) for path in sorted((folder / "runs").glob("train-*.json"))]
    sign = -1 if settings.evaluation.larger_is_better else 1
    rows.sort(key=lambda row: (sign * row["value"], row["job"]))
    policies = (*settings.policies, settings.baseline)
    of_policy = [row for row in rows if row["policy"] == job]
    candidates = of_policy if job in policies else [row for row in rows if row["policy"] != settings.baseline] or rows
    row = _chosen(candidates, {row["job"]: row for row in rows}, rank, None if job in policies else job, file, policies)
    metric = settings.evaluation.metric_name
    means = {name: _mean([row["value"] for row in rows if row["policy"] == name]) for name in policies}
    about = {
        "kind": "comparison",
        "file": str(file),
        "job": row["job"],
        "policy": row["policy"],
        "baseline": settings.baseline,
        "rank": next((place for place, one in enumerate(candidates, 1) if one is row), None),
        "metric": metric,
        metric: row["value"],
        "means": means,
    }
    return Found(dict(settings.space), row["choices"], about)


def _measured(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        policy = path.stem.removeprefix("train-").rsplit("-", 2)[0]
        return {
            "job": path.stem,
            "policy": policy,
            "choices": dict(content["identity"]["choices"]),
            "value": float(content["value"]["default"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{path} is damaged.", "Delete it, and run the comparison again: it repeats this job only."
        ) from None


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": sum(values) / len(values) if values else None, "trained": len(values)}


def _chosen(
    rows: Sequence[Mapping[str, Any]],
    jobs: Mapping[str, Mapping[str, Any]],
    rank: int,
    job: str | None,
    file: Path,
    policies: Sequence[str] = (),
) -> Mapping[str, Any]:
    """The row of ``job``, or the one at ``rank``, from 1."""
    if job is not None:
        if job not in jobs:
            raise ConfigError(f"--job {job}: {file} has no such job; {closest(job, [*policies, *jobs])}")
        if rank != 1:
            raise ConfigError(f"--job {job} is one architecture, but got --rank {rank}.", "Give one of them.")
        return jobs[job]
    if not rows:
        raise ConfigError(f"{file} has no architecture.", "Run the search to its end first.")
    if not 1 <= rank <= len(rows):
        raise ConfigError(
            f"--rank {rank}: {file} has {len(rows)} to choose from.", f"Pass --rank 1 to {len(rows)}, or --job NAME."
        )
    return rows[rank - 1]
