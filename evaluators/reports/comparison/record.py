"""What a comparison of search policies measured: one :class:`Run` an architecture that a policy chose, the
:class:`Baseline` networks, and the :class:`Comparison` of all of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from nni_plugins.spaces.errors import closest, shown

from ...errors import ConfigError
from ...files import parse_json

T = TypeVar("T")
SCHEMA_VERSION = 1
Rows = list[dict[str, float]]
"""A curve: one dictionary an epoch or step; numbers that are not finite are null in JSON and NaN when read back."""


@dataclass(frozen=True)
class Run:
    """One architecture that ``policy`` chose with ``seed``, trained from scratch.

    ``value``: the measure that policies are compared on; ``measures``: others by name (such as valid, test, parameters,
    search_seconds); ``curve``, ``search_curve``: rows of the stand-alone training and of the search; ``cost``: the
    budget by name (such as search_epochs, queries); ``rank``: 0 for the first choice of a search, 1, 2, ... for its
    next ones, which statistics of policies leave out.
    """

    policy: str
    seed: int
    architecture: dict[str, str] | None
    label: str
    value: float
    measures: dict[str, float] = field(default_factory=dict)
    curve: Rows = field(default_factory=list)
    search_curve: Rows = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    rank: int = 0


@dataclass(frozen=True)
class Baseline:
    """A network that nobody searched or drew, such as the largest one of the space, trained as the others were.

    ``label``: its architecture, or its name; ``measures``: as of a :class:`Run`.
    """

    name: str
    label: str
    value: float
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RealBest:
    """The architecture that is best when all ``trained`` ones of a space are trained alone with several seeds, by its own
    average on held-out data (Yu et al., ICLR 2020: REAL BEST, the optimum that policies could reach).

    ``runs``: one a training seed, all of the same architecture.
    """

    runs: tuple[Run, ...]
    trained: int

    @property
    def label(self) -> str:
        """Of the architecture."""
        return self.runs[0].label


@dataclass(frozen=True)
class Comparison:
    """``metric``: what ``Run.value`` is; ``unit``: of it, "" if none; ``baseline``: the policy that the others are
    compared with, usually the one that draws at random; ``setting``: what was run; ``baselines``: single networks that
    are shown beside the policies; ``also``: more policies that all others are compared with; ``real_best``: what they
    could have found, if it is known.

    Raises:
        ConfigError: no such policy, a policy with fewer than two seeds, values that are not finite, two runs of one
            (policy, seed, rank), two policies or baselines of one name, or a real best with fewer than two runs or with
            runs of several architectures.
    """

    title: str
    metric: str
    unit: str
    larger_is_better: bool
    baseline: str
    runs: tuple[Run, ...]
    setting: dict[str, Any] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    also: tuple[str, ...] = ()
    real_best: RealBest | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "also", tuple(self.also))
        object.__setattr__(self, "runs", tuple(self.runs))
        object.__setattr__(self, "baselines", tuple(self.baselines))
        problems = _problems(self)
        if problems:
            raise ConfigError(
                "this is no comparison: " + "; ".join(problems) + ".", "Run the missing seeds, or leave the policy out."
            )

    @property
    def policies(self) -> tuple[str, ...]:
        """Names in the order of their first run, the baseline last."""
        names = dict.fromkeys(run.policy for run in self.runs)
        return (*(name for name in names if name != self.baseline), self.baseline)

    def first_choices(self, policy: str) -> tuple[Run, ...]:
        """The runs of rank 0, by seed."""
        return tuple(sorted((r for r in self.runs if r.policy == policy and r.rank == 0), key=lambda r: r.seed))

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for ``json.dumps``."""
        value = {
            "schema_version": SCHEMA_VERSION,
            **{f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("runs", "baselines", "real_best")},
        }
        runs, baselines = [_nulls(asdict(run)) for run in self.runs], [asdict(one) for one in self.baselines]
        real = self.real_best
        best = None if real is None else {"runs": [_nulls(asdict(run)) for run in real.runs], "trained": real.trained}
        return {**value, "runs": runs, "baselines": baselines, "real_best": best}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Comparison:
        """The comparison that :meth:`to_json` wrote.

        Raises:
            ConfigError: another schema version, missing or unknown entries, or what the class itself refuses.
        """
        version = value.get("schema_version") if isinstance(value, Mapping) else None
        if version != SCHEMA_VERSION:
            raise ConfigError(
                f"a comparison has schema_version {SCHEMA_VERSION}, but got {shown(version)}.",
                "Read it with the version that wrote it.",
            )
        given = {name: entry for name, entry in value.items() if name != "schema_version"}
        _check_names("comparison", given, cls, optional={"setting", "baselines", "also", "real_best"})
        given |= {"runs": _listed_in(given, "runs", _run), "baselines": _listed_in(given, "baselines", _baseline)}
        return cls(**{**given, "real_best": _real_best(given.get("real_best"))})


def read_comparison(path: Path) -> Comparison:
    """The comparison in a JSON file.

    Raises:
        ConfigError: it cannot be read, is no JSON, or no comparison.
    """
    try:
        value = parse_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON file: {error}.") from None
    return Comparison.from_json(value)


def _problems(comparison: Comparison) -> list[str]:
    runs, problems = comparison.runs, []
    seeds = Counter(run.policy for run in runs if run.rank == 0)
    names = list(dict.fromkeys(run.policy for run in runs))
    if comparison.baseline not in names:
        problems.append(
            f"no run of the baseline {comparison.baseline!r} ({closest(comparison.baseline, names) if names else 'there are no runs'})"
        )
    elif len({comparison.baseline, *comparison.also}) <= len(comparison.also):
        problems.append(
            f"also: {', '.join(comparison.also)} must differ from one another and from {comparison.baseline}"
        )
    elif not set(comparison.also) <= set(names):
        problems.append(
            f"no run of {', '.join(sorted(set(comparison.also) - set(names)))}, which others are compared with"
        )
    elif len(names) < 2:
        problems.append(f"only the baseline {comparison.baseline!r} has runs")
    few = [f"{name} {seeds[name]}" for name in names if seeds[name] < 2]
    if few:
        problems.append(
            f"every policy needs first choices of at least 2 seeds, or there is no deviation, but these have fewer: {', '.join(few)}"
        )
    twice = [key for key, count in Counter((r.policy, r.seed, r.rank) for r in runs).items() if count > 1]
    if twice:
        problems.append(f"more than one run of (policy, seed, rank): {_listed(twice)}")
    if comparison.real_best is not None and (
        len(comparison.real_best.runs) < 2 or len({run.label for run in comparison.real_best.runs}) > 1
    ):
        problems.append("the real best needs at least 2 runs of one architecture")
    names += [one.name for one in comparison.baselines]
    if len(set(names)) < len(names):
        problems.append(f"every policy and baseline needs a name of its own, but got {', '.join(names)}")
    broken = [f"{what} = {number}" for what, number in _numbers(comparison) if not math.isfinite(number)]
    if broken:
        problems.append(f"values, measures and costs must be finite: {_listed(broken)}")
    if any(run.rank < 0 for run in runs):
        problems.append(f"rank >= 0 must hold, but got {min(run.rank for run in runs)}")
    return problems


def _numbers(comparison: Comparison) -> Iterable[tuple[str, float]]:
    """All numbers that are compared or shown, each after whose and what it is."""
    for run in comparison.runs:
        for name, number in (("value", run.value), *run.measures.items(), *run.cost.items()):
            yield f"{run.policy} seed {run.seed} {name}", number
    for one in comparison.baselines:
        for name, number in (("value", one.value), *one.measures.items()):
            yield f"{one.name} {name}", number
    for run in comparison.real_best.runs if comparison.real_best is not None else ():
        for name, number in (("value", run.value), *run.measures.items()):
            yield f"real best seed {run.seed} {name}", number


def _listed(entries: list[Any], most: int = 4) -> str:
    return ", ".join(map(str, entries[:most])) + (f" and {len(entries) - most} more" if len(entries) > most else "")


def _check_names(what: str, given: Mapping[str, Any], of: type, optional: set[str]) -> None:
    known = {f.name for f in fields(of)}
    missing, unknown = sorted(known - optional - set(given)), sorted(set(given) - known)
    problems = [f"without {', '.join(missing)}"] * bool(missing) + [
        f"with unknown {', '.join(map(str, unknown))}"
    ] * bool(unknown)
    if problems:
        raise ConfigError(
            f"a {what} {' and '.join(problems)}.", "The file is damaged or was written by something else."
        )


def _listed_in(given: Mapping[str, Any], name: str, read: Callable[[Any], T]) -> tuple[T, ...]:
    entries = given.get(name, [])
    if not isinstance(entries, list):
        raise ConfigError(f"{name} must be a list, but got {shown(entries)}.")
    return tuple(read(entry) for entry in entries)


def _run(value: Any) -> Run:
    if not isinstance(value, Mapping):
        raise ConfigError(f"a run must be a mapping, but got {shown(value)}.")
    _check_names("run", value, Run, optional={"measures", "curve", "search_curve", "cost", "rank"})
    try:
        curves = {
            name: [{k: _number(v) for k, v in row.items()} for row in value.get(name, [])]
            for name in ("curve", "search_curve")
        }
        numbers = {name: {k: float(v) for k, v in value.get(name, {}).items()} for name in ("measures", "cost")}
        return Run(**{**value, "seed": int(value["seed"]), "value": float(value["value"]), **numbers, **curves})
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"a run that cannot be read: {error}; got {shown(dict(value))}.") from None


def _baseline(value: Any) -> Baseline:
    if not isinstance(value, Mapping):
        raise ConfigError(f"a baseline must be a mapping, but got {shown(value)}.")
    _check_names("baseline", value, Baseline, optional={"measures"})
    try:
        measures = {name: float(number) for name, number in value.get("measures", {}).items()}
        return Baseline(str(value["name"]), str(value["label"]), float(value["value"]), measures)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"a baseline that cannot be read: {error}; got {shown(dict(value))}.") from None


def _real_best(value: Any) -> RealBest | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ConfigError(f"real_best must be a mapping, but got {shown(value)}.")
    _check_names("real_best", value, RealBest, optional=set())
    try:
        return RealBest(_listed_in(value, "runs", _run), int(value["trained"]))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"real_best cannot be read: {error}.") from None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _nulls(run: dict[str, Any]) -> dict[str, Any]:
    for name in ("curve", "search_curve"):
        run[name] = [{k: v if math.isfinite(v) else None for k, v in row.items()} for row in run[name]]
    return run
