"""``nni-plugins diagnose`` as functions: run or read a study, write ``diagnosis.json`` and its pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from nni_plugins.evaluators.data import ImageData, load
from nni_plugins.evaluators.diagnostics.depth import DepthErrors, depth_errors
from nni_plugins.evaluators.diagnostics.figures import (
    TITLES,
    depth_figure,
    eta_figure,
    lambda_figure,
    option_figure,
    save,
)
from nni_plugins.evaluators.diagnostics.lambdas import lambda_curve
from nni_plugins.evaluators.diagnostics.search_figures import (
    eigenvalue_figure,
    entropy_figure,
    mixture_figure,
    skip_figure,
)
from nni_plugins.evaluators.diagnostics.search_record import Rollback, SearchRecord, read_search
from nni_plugins.evaluators.diagnostics.settings import Trainable
from nni_plugins.evaluators.diagnostics.variance import eta_curve
from nni_plugins.evaluators.errors import ConfigError, DataError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.objectives import Objective
from nni_plugins.evaluators.stand_alone.training import StandAlone
from nni_plugins.evaluators.statistics.ranking import kendall_tau
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.strategies.differentiable.option_study import run_option, summarise

from ... import registry
from ...experiment.objectives import build_objective
from ...experiment.phases import use_threads
from ...experiment.result import truth_table, versions
from ...experiment.settings import StudySettings
from .settings import DepthDiagnosis, Diagnosis, EtaDiagnosis, LambdaDiagnosis, OptionsDiagnosis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
SCHEMA_VERSION = 1
Progress = Callable[[str, "dict[str, float] | None"], None]
"""Called with the name of a training and the epoch that it has just finished, or None when the training itself is
finished.
"""
Study = tuple[list[dict[str, Any]], list[str], "dict[str, Figure]"]
"""The parts of a study as JSON-able dictionaries, what they say in sentences, and its figures by name."""


class _Parts:
    """Gives every training of a study its name, folder and report."""

    def __init__(self, folder: Path, progress: Progress | None) -> None:
        self.folder, self.progress = folder, progress

    def run(self, name: str, work: Callable[..., T]) -> T:
        """``work(folder=..., report=...)``."""

        def report(row: dict[str, float]) -> None:
            if self.progress is not None:
                self.progress(name, row)

        result = work(folder=self.folder / name, report=report)
        if self.progress is not None:
            self.progress(name, None)
        return result


def diagnose(
    settings: Diagnosis, folder: Path, progress: Progress | None = None, suffix: str = "png"
) -> dict[str, Any]:
    """Run or resume a study in ``folder``; returns the content of ``diagnosis.json``. Every training has its own folder
    of checkpoints.

    Raises:
        ConfigChanged: ``folder`` holds trainings with other settings.
    """
    use_threads(cast(StudySettings, settings))
    objective, data = build_objective(settings.objective), load(settings.data)
    function: Any = {LambdaDiagnosis: _lambda, EtaDiagnosis: _eta, DepthDiagnosis: _depth, OptionsDiagnosis: _options}[
        type(settings)
    ]
    parts, reading, figures = function(settings, data, objective, _Parts(folder, progress))
    study = str(cast(Any, settings).study)
    return _write(folder, study, settings.model_dump(mode="json"), parts, reading, figures, suffix)


def _write(
    folder: Path,
    study: str,
    settings: dict[str, Any],
    parts: list[dict[str, Any]],
    reading: list[str],
    figures: dict[str, Figure],
    suffix: str,
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [save(figure, folder / f"{name}.{suffix}").name for name, figure in figures.items()]
    about = {"schema": SCHEMA_VERSION, "study": study, "settings": settings}
    value = {**about, "parts": parts, "reading": reading, "pictures": pictures, "versions": versions()}
    write_json(folder / "diagnosis.json", value)
    return value


def _lambda(settings: LambdaDiagnosis, data: ImageData, objective: Objective, parts: _Parts) -> Study:
    curves = []
    for kind in settings.trainable:
        for initial in settings.initial:
            work = partial(
                lambda_curve,
                data.train,
                objective,
                settings.network,
                settings.training,
                kind,
                initial,
                settings.seed,
                skips=settings.skips,
            )
            curves.append(parts.run(f"{kind}-from-{initial:g}", work))
    reading = []
    for kind in settings.trainable:
        group = [curve for curve in curves if curve.trainable == kind]
        means, middle = [float(curve.values[-1].mean()) for curve in group], settings.training.epochs // 2
        moved = max(float(np.abs(curve.values[-1] - curve.values[middle]).mean()) for curve in group)
        ends = ", ".join(f"{mean:.2f} (from {curve.initial:g})" for mean, curve in zip(means, group, strict=True))
        reading.append(
            f"{TITLES[kind]}: mean lambda after {settings.training.epochs} epochs {ends}; the ends differ by {max(means) - min(means):.2f}, "
            f"and a lambda moved by {moved:.2f} on average since epoch {middle} where it moved most."
        )
    rows = [{**asdict(curve), "values": curve.values.tolist()} for curve in curves]
    return rows, reading, {"lambda": lambda_figure(curves)}


def _eta(settings: EtaDiagnosis, data: ImageData, objective: Objective, parts: _Parts) -> Study:
    curves = []
    for kind in settings.trainable:
        work = partial(eta_curve, data.train, objective, settings.network, settings.training, kind, settings.seed)
        curves.append(parts.run(kind, work))
    reading = []
    for curve in curves:
        first, last = (float(np.exp(np.log(np.maximum(eta, 1e-12)).mean())) for eta in (curve.eta[0], curve.eta[-1]))
        low, high = curve.eta[-1].min(), curve.eta[-1].max()
        reading.append(
            f"{TITLES[curve.trainable]}: mean eta of {len(curve.layers)} layers {first:.2f} at the start and {last:.3g} after "
            f"{settings.training.epochs} epochs ({low:.3g} to {high:.3g})."
        )
    rows = [{**asdict(curve), "eta": curve.eta.tolist(), "condition": curve.condition.tolist()} for curve in curves]
    return rows, reading, {"eta": eta_figure(curves)}


def _depth(settings: DepthDiagnosis, data: ImageData, objective: Objective, parts: _Parts) -> Study:
    found: dict[tuple[Trainable, str], list[DepthErrors]] = {}
    rows = []
    for kind in settings.trainable:
        for name, network in settings.networks.items():
            for seed in settings.seeds:
                work = partial(
                    depth_errors, data, objective, network, settings.training, kind, seed, skips=settings.skips
                )
                errors = parts.run(f"{kind}-{name.replace(' ', '_')}-{seed}", work)
                found.setdefault((kind, name), []).append(errors)
                rows.append({"network": name, "seed": seed, **asdict(errors)})
    reading: list[str] = []
    bars: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for (kind, name), several in found.items():
        train, test = [e.train_error for e in several], [e.test_error for e in several if e.test_error is not None]
        bars[kind, name] = train, test
        tested = f", test error {np.mean(test):.1f} %" if test else ""
        reading.append(
            f"{TITLES[kind]}, {name}: training error {np.mean(train):.1f} %{tested} (mean of {len(several)})."
        )
    return rows, reading, {"depth": depth_figure(bars)}


def _truth(
    settings: OptionsDiagnosis, data: ImageData, space: SearchSpace
) -> Callable[[Architecture, Path | None], float]:
    table = truth_table(cast(StudySettings, settings))  # reads its table and space, no more
    if table is not None and settings.truth is not None:
        metric = settings.truth.metric
        return lambda architecture, folder: table.value(architecture, metric)

    def trained(architecture: Architecture, folder: Path | None) -> float:
        return (
            StandAlone(data, settings.stand_alone, space=space, seed=settings.stand_alone_seed, folder=folder)
            .train(architecture)
            .accuracy
        )

    if data.test is None:
        raise DataError(
            f"{data.train.name}: stand-alone training needs labelled test images.", "Set truth, or add a test folder."
        )
    _ = data.train.labels, data.test.labels  # those that lack them are refused now, not after the searches
    return trained


def _options(settings: OptionsDiagnosis, data: ImageData, objective: Objective, parts: _Parts) -> Study:
    space = settings.search_space
    truth = _truth(settings, data, space)
    rows = []
    for option in settings.options:
        for seed in settings.seeds:
            work = partial(
                run_option, space, data.train, objective, settings.search, settings.training, option, seed, truth
            )
            rows.append(parts.run(f"{option}-{seed}", work))
    summaries = summarise(rows)
    reading = [
        f"option {s.option}: supernet {s.supernet[0]:.2f} ± {s.supernet[1]:.2f} %, found {s.found[0]:.2f} ± {s.found[1]:.2f} %, "
        f"{s.skips:.1f} skip connections (mean of {len(settings.seeds)})."
        for s in summaries
    ]
    if len(rows) > 1:
        tau = kendall_tau([row.supernet_accuracy for row in rows], [row.accuracy for row in rows])
        agreement = f"{tau:.2f}" if np.isfinite(tau) else "undefined, for one of the two never varies"
        reading.append(f"Kendall's tau-b of the two accuracies over {len(rows)} searches: {agreement}.")
    pairs: dict[str, list[tuple[float, float]]] = {
        s.option: [(row.supernet_accuracy, row.accuracy) for row in rows if row.option == s.option] for s in summaries
    }
    judged = "looked up" if settings.truth is not None else "trained stand-alone"
    title = f"{space.name}, {len(settings.seeds)} seed{'s'[: len(settings.seeds) > 1]}; found architectures {judged}"
    return [asdict(row) for row in rows], reading, {"options": option_figure(pairs, title)}


# -- a search that has run ---------------------------------------------------------------------------------------------
def _space_of(folder: Path) -> SearchSpace:
    """The space that the search in ``folder`` searched, from its ``run.json``."""
    path = folder / "run.json"
    try:
        name, config = json.loads(path.read_text())["config"]["space"]
        return cast(SearchSpace, registry.get("spaces", name)(**config))
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}.", "Pass the folder of a search, with its run.json."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path} names no space, so this is not the folder of a search.", "Pass the folder of a search."
        ) from None


def _rollbacks(folder: Path) -> dict[str, list[Rollback]]:
    """Name of a search -> what R-DARTS did in it, from the experiment's ``result.json``, where there is one."""
    path = folder / "result.json"
    if not path.exists():
        return {}
    try:
        searches = json.loads(path.read_text())["searches"]
        return {
            f"search-{s['seed']}": [Rollback.of(back) for back in (s.get("result") or {}).get("rollbacks") or []]
            for s in searches
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is damaged.", "Run the search again in this folder; it rewrites the file.") from None


def read_searches(folder: Path) -> list[SearchRecord]:
    """The searches of a run's folder (``search-0``, ``search-1``, ...), or the one search whose checkpoints are in
    ``folder``.

    Raises:
        DataError: there is none, or one is not differentiable.
    """
    folder = folder.resolve()
    if (folder / "metrics.jsonl").exists():
        return [read_search(folder, _space_of(folder), _rollbacks(folder.parent).get(folder.name, ()))]
    found = sorted(folder.glob("search-*/metrics.jsonl"), key=lambda path: (len(path.parent.name), path.parent.name))
    if not found:
        raise DataError(
            f"{folder} holds no search: neither metrics.jsonl nor search-*/metrics.jsonl.",
            "Pass the folder of nni-plugins search.",
        )
    rollbacks = _rollbacks(folder)
    return [read_search(path.parent, _space_of(path.parent), rollbacks.get(path.parent.name, ())) for path in found]


def diagnose_search(folder: Path, output: Path, suffix: str = "png") -> dict[str, Any]:
    """Draw what the searches in ``folder`` left into ``output``; returns the content of ``diagnosis.json``."""
    records = read_searches(folder)
    if len({tuple(record.derived) for record in records}) > 1:
        raise ConfigError(f"{folder} holds searches of different spaces.", "Pass the folders one by one.")
    figures = {"skips": skip_figure(records)}
    reading = [record.reading() for record in records]
    if any(record.eigenvalues for record in records):
        figures["eigenvalue"] = eigenvalue_figure(records)
    else:
        reading.append("no eigenvalue was computed (training.hessian_every: 0), so there is no picture of it.")
    for record in records:
        if record.edges:
            figures |= {
                f"alphas-{record.name}": mixture_figure(record),
                f"entropy-{record.name}": entropy_figure(record),
            }
        else:
            reading.append(f"{record.name} wrote no mixtures.jsonl, so there are no pictures of its probabilities.")
    parts = [
        {
            "search": record.name,
            "epochs": len(record.epochs),
            "result_epoch": record.result_epoch,
            "rollbacks": [{"method": back.method, "epoch": back.epoch} for back in record.rollbacks],
            "architecture": record.genotypes[record.epochs.index(record.result_epoch)],
            "collapsed": record.collapsed,
            "skips": record.skips.tolist(),
            "derived": {cell: counts.tolist() for cell, counts in record.derived.items()},
            "eigenvalues": {str(epoch): value for epoch, value in record.eigenvalues.items()},
            "entropy": {f"{edge.cell} {edge.name}": edge.entropy.tolist() for edge in record.edges},
        }
        for record in records
    ]
    return _write(output, "search", {"folder": str(folder)}, parts, reading, figures, suffix)
