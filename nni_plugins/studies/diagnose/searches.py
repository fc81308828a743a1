"""Pictures of differentiable searches that have run. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nni_plugins.evaluators.diagnostics.report import write_diagnosis
from nni_plugins.evaluators.diagnostics.search_record import Rollback, SearchRecord, read_search
from nni_plugins.evaluators.errors import ConfigError, DataError
from nni_plugins.evaluators.files import parse_json
from nni_plugins.spaces import registry
from nni_plugins.spaces.base import SearchSpace

from ...experiment.result import RESULT, versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "alphas, skip connections, entropies and eigenvalues of a search that has run"


def _space_of(folder: Path) -> SearchSpace:
    """The space that the search in ``folder`` searched, from its ``run.json``."""
    path = folder / "run.json"
    try:
        name, config = parse_json(path.read_bytes())["config"]["space"]
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
    path = folder / RESULT
    if not path.exists():
        return {}
    try:
        searches = parse_json(path.read_bytes())["searches"]
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


def diagnose_search(folder: Path, output: Path) -> dict[str, Any]:
    """Write what the searches in ``folder`` left, with pictures, into ``output``; returns the content of
    ``diagnosis.json``.

    Raises:
        DataError: see :func:`read_searches`; ConfigError: they are of different spaces.
    """
    records = read_searches(folder)
    if len({tuple(record.derived) for record in records}) > 1:
        raise ConfigError(f"{folder} holds searches of different spaces.", "Pass the folders one by one.")
    parts = [_part(record) for record in records]
    about = {
        "study": "search",
        "title": f"Diagnosis: {ABOUT}",
        "settings": {"folder": str(folder)},
        "parts": parts,
        "reading": _reading(records),
        "failed": [],
        "versions": versions(),
    }
    rows = [
        {
            **{key: part[key] for key in ("search", "epochs", "result_epoch")},
            "skips": part["skips"][record.epochs.index(record.result_epoch)],
            "collapsed": ", ".join(part["collapsed"]) or "no cell",
            "architecture": part["architecture"],
        }
        for part, record in zip(parts, records, strict=True)
    ]
    return write_diagnosis(output, about, rows, lambda: _figures(records))


def _part(record: SearchRecord) -> dict[str, Any]:
    return {
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


def _reading(records: Sequence[SearchRecord]) -> list[str]:
    sentences = [record.reading() for record in records]
    if not any(record.eigenvalues for record in records):
        sentences.append("no eigenvalue was computed (training.hessian_every: 0), so there is no picture of it.")
    sentences += [
        f"{record.name} wrote no mixtures.jsonl, so there are no pictures of its probabilities."
        for record in records
        if not record.edges
    ]
    return sentences


def _figures(records: Sequence[SearchRecord]) -> dict[str, Figure]:
    from nni_plugins.evaluators.diagnostics.search_figures import (
        eigenvalue_figure,
        entropy_figure,
        mixture_figure,
        skip_figure,
    )

    figures = {"skips": skip_figure(records)}
    if any(record.eigenvalues for record in records):
        figures["eigenvalue"] = eigenvalue_figure(records)
    for record in (record for record in records if record.edges):
        figures |= {f"alphas-{record.name}": mixture_figure(record), f"entropy-{record.name}": entropy_figure(record)}
    return figures
