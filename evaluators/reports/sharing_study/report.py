"""What a weight-sharing study leaves: ``study.json``, ``cells.csv``, ``runs.csv`` and the report. Free of torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...files import json_able, write_csv, write_shareable
from ...statistics.ranking_metrics import null_deviations
from ..closing import closing
from ..document import Block, Bullets, Heading, Paragraph, Picture, Table, write_document
from ..figures import svg
from .amount import amounts
from .measures import Study, ceiling, key_agreement, positions, run_agreements, twin_gaps

SCHEMA_VERSION = 1
CAPTIONS = {
    "rank_changes.svg": "The truly best cells, in their order, in the best, the average and the worst run of each "
    "sharing key; colour and number: by how many positions the shared weights misplace them.",
    "rank_lines.svg": "Positions of the same cells over the epochs of the same runs; the last column is the truth.",
    "truth.svg": "Bars: stand-alone perplexity, mean and one standard deviation over seeds, the truly best cell "
    "first. Lines: mean perplexity with shared weights.",
    "amounts.svg": "Position alone and mean position with shared weights of every cell, by the number of shared "
    "matrices.",
}
READING = (
    "Tau is Kendall's tau-b over cells. p: of the mean over the runs, by permuting the cells. The interval is over "
    "runs, which share one truth, whose noise is not in it.",
    "Ties: tau-b, mean ranks; in pairs in order a tie counts half. The tau of id sequences is that of the released "
    "code, not a rank correlation.",
)


def content(
    study: Study, about: Mapping[str, Any], resamples: int = 1000, permutations: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """The content of ``study.json``; ``about``: what else it says. Undefined numbers are null."""
    keys, seeds = list(study.shared), study.stand_alone.shape[1]
    true = positions(study.truth)
    spread = study.stand_alone.std(1, ddof=1) if seeds > 1 else np.full(len(true), np.nan)
    cells = [
        {
            "cell": name,
            "number": number,
            "group": None if study.cells.groups is None else int(study.cells.groups[i]),
            "stand_alone": study.stand_alone[i].tolist(),
            "mean": float(study.truth[i]),
            "deviation": float(spread[i]),
            "position": float(true[i]),
            "shared": {key: study.shared[key][:, i].tolist() for key in keys},
        }
        for i, (name, number) in enumerate(zip(study.cells.names, study.cells.numbers, strict=True))
    ]
    twins = twin_gaps(study)
    value: dict[str, Any] = json_able(
        {
            "schema": SCHEMA_VERSION,
            **about,
            "cells": cells,
            "twins": None if twins is None else {**asdict(twins), "cells": [list(pair) for pair in study.cells.twins]},
            "chance": asdict(null_deviations(len(true))),
            "ceiling": ceiling(study.stand_alone).tolist() if seeds > 1 else None,
            "keys": [asdict(key_agreement(study, key, permutations, seed)) for key in keys],
            "runs": {key: [asdict(run) for run in run_agreements(study, key, resamples, seed)] for key in keys},
            "amounts": None
            if study.cells.groups is None
            else [asdict(amounts(study, key, resamples, seed)) for key in keys],
            "epochs": list(study.epochs),
            "run_seeds": list(study.run_seeds),
        }
    )
    return value


def write_sharing_study(
    study: Study,
    folder: Path,
    about: Mapping[str, Any],
    resamples: int = 1000,
    permutations: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Write everything into ``folder``, the numbers before a figure is drawn, and the report into ``report`` below it;
    returns the content of ``study.json``, see :func:`content`. ``about`` has ``title``, ``settings``, ``failed`` and
    ``versions``.
    """
    value = content(study, about, resamples, permutations, seed)
    write_csv(folder / "cells.csv", _cells(value))
    write_csv(folder / "runs.csv", _runs(value))
    write_shareable(folder / "study.json", value)
    pictures = _pictures(study)
    write_document(folder / "report", value["title"], report_blocks(value, pictures), pictures)
    return value


def _pictures(study: Study) -> dict[str, bytes]:
    from .figures import amount_figure, line_figure, rank_change_figure, truth_figure

    agreements = [key_agreement(study, key, 0) for key in study.shared]
    pictures = {
        "rank_changes.svg": svg(rank_change_figure(study, agreements)),
        "rank_lines.svg": svg(line_figure(study, agreements)),
        "truth.svg": svg(truth_figure(study, agreements)),
    }
    if study.cells.groups is not None:
        grouped = [amounts(study, key, 2) for key in study.shared]
        pictures["amounts.svg"] = svg(amount_figure(study, grouped))
    return pictures


# -- tables ------------------------------------------------------------------------------------------------------------
def _cells(value: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Rows of ``cells.csv``, from the content of ``study.json``."""
    for cell in value["cells"]:
        row = {name: cell[name] for name in ("cell", "number", "group", "mean", "deviation", "position")}
        row |= {f"stand_alone_{s}": number for s, number in enumerate(cell["stand_alone"])}
        for key, column in cell["shared"].items():
            row |= {f"{key}_{run}": number for run, number in zip(value["run_seeds"], column, strict=True)}
        yield row


def _runs(value: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Rows of ``runs.csv``, from the content of ``study.json``."""
    for key, runs in value["runs"].items():
        for run in runs:
            row = {"sharing": key, "seed": run["seed"]}
            for measure in ("kendall", "spearman", "pairwise"):
                ends = {"value": "", "low": "_low", "high": "_high", "p": "_p"}
                row |= {measure + end: run[measure][part] for part, end in ends.items()}
            row |= {name: run[name] for name in ("kendall_pooled", "chosen", "percentile", "regret", "id_sequence")}
            yield row | {f"overlap_{k}": share for k, share in run["overlap"].items()}


def shown(number: float | None, digits: int = 3) -> str:
    """A number of ``study.json``, or a dash."""
    return "-" if number is None else f"{number:.{digits}f}"


def _interval(estimate: Mapping[str, float | None]) -> str:
    value, low, high, p = (shown(estimate[key]) for key in ("value", "low", "high", "p"))
    return f"{value} [{low}, {high}], p = {p}"


def key_table(value: Mapping[str, Any]) -> Table:
    """Agreement of each sharing key's runs with the truth."""
    header = ("sharing", "runs", "mean tau-b", "95 % interval", "std", "p", "best run", "average run", "worst run")
    rows = []
    for k in value["keys"]:
        taus = [value["runs"][k["key"]][k[which]]["kendall"]["value"] for which in ("best", "average", "worst")]
        interval = f"[{shown(k['low'])}, {shown(k['high'])}]"
        middle = [shown(k["mean"]), interval, shown(k["deviation"]), shown(k["p"], 4)]
        rows.append([k["key"], str(k["runs"]), *middle, *map(shown, taus)])
    return Table(header, rows)


def sentences(value: Mapping[str, Any]) -> list[str]:
    """What was compared, and what chance and noise do."""
    seeds = len(value["cells"][0]["stand_alone"])
    lines = [
        f"{len(value['cells'])} cells. Stand-alone: {seeds} seeds, ranked by mean validation perplexity. "
        f"Shared weights: {len(value['run_seeds'])} runs a sharing key.",
        f"By chance one run's tau has a standard deviation of {value['chance']['kendall']:.3f}.",
    ]
    if value["ceiling"]:
        taus = value["ceiling"]
        lines.append(
            f"One stand-alone seed against the mean of the others: {np.mean(taus):.3f} "
            f"({min(taus):.3f} to {max(taus):.3f})."
        )
    return lines


def report_blocks(value: Mapping[str, Any], pictures: Collection[str]) -> list[Block]:
    """The report, from the content of ``study.json``."""
    blocks: list[Block] = [Heading(value["title"], 1), Bullets(sentences(value))]
    if value["failed"]:
        blocks.append(Bullets([f"failed: {', '.join(value['failed'])}"], warning=True))
    blocks += [Heading("Rank agreement of shared weights with stand-alone training"), key_table(value)]
    blocks += [Paragraph("Means over the runs:"), _means(value)]
    blocks += [Picture(name, name.removesuffix(".svg"), CAPTIONS[name]) for name in pictures if name != "amounts.svg"]
    blocks += _twins(value["twins"]) + _amounts(value["amounts"])
    if "amounts.svg" in pictures:
        blocks.append(Picture("amounts.svg", "amounts", CAPTIONS["amounts.svg"]))
    blocks += [Heading("How to read this"), Bullets(READING)]
    return blocks + closing(value["settings"], value["versions"])


def _means(value: Mapping[str, Any]) -> Table:
    tops = list(next(iter(value["runs"].values()))[0]["overlap"])
    header = ["sharing", "tau", "tau, twins pooled", "rho", "pairs in order", *(f"top {k}" for k in tops)]
    header += ["percentile of the chosen", "perplexity above the best", "tau of id sequences"]
    rows = []
    for key, runs in value["runs"].items():
        means = [_mean(run["kendall"]["value"] for run in runs), _mean(run["kendall_pooled"] for run in runs)]
        means += [_mean(run[name]["value"] for run in runs) for name in ("spearman", "pairwise")]
        means += [_mean(run["overlap"][k] for run in runs) for k in tops]
        means += [_mean(run[name] for run in runs) for name in ("percentile", "regret", "id_sequence")]
        rows.append([key, *map(shown, means)])
    return Table(header, rows)


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [x for x in values if x is not None]
    return float(np.mean(defined)) if defined else None


def _twins(twins: Mapping[str, Any] | None) -> list[Block]:
    if twins is None:
        return []
    text = f"{twins['pairs']} pairs of cells are one function each. Mean difference of position within a pair:"
    numbers = [twins["chance"], twins["stand_alone"], *twins["shared"].values()]
    table = Table(["chance", "stand-alone", *twins["shared"]], [[shown(x, 2) for x in numbers]])
    apart = f"Their mean stand-alone perplexities differ by {shown(twins['perplexity'])} on average."
    return [Heading("Twins: the noise floor"), Paragraph(text), table, Paragraph(apart)]


def _amounts(several: Sequence[Mapping[str, Any]] | None) -> list[Block]:
    if several is None:
        return []
    text = (
        "Positions: 1 is best. Change: shared minus stand-alone, positive where shared weights rank too low; ± "
        "standard deviation over runs."
    )
    blocks: list[Block] = [Heading("By the number of shared matrices"), Paragraph(text)]
    for one in several:
        header = ("shared matrices", "cells", "perplexity alone", "shared", "position alone", "shared", "change")
        blocks += [Paragraph(f"Sharing: {one['key']}"), Table(header, [_group(g) for g in one["groups"]])]
        depth, shared, change = (_interval(one[name]) for name in ("depth", "shared", "change"))
        blocks.append(
            Paragraph(
                "tau-b of the number of shared matrices with a cell's position "
                f"alone (depth): {depth}; shared: {shared}; with its change: {change}."
            )
        )
    return blocks


def _group(group: Mapping[str, Any]) -> list[str]:
    names = ("stand_alone_perplexity", "shared_perplexity", "stand_alone_position", "shared_position")
    change = f"{group['change']:+.2f} ± {shown(group['deviation'], 2)}"
    return [str(group["matrices"]), str(group["cells"]), *(shown(group[name], 2) for name in names), change]
