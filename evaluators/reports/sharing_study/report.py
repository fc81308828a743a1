"""What a weight-sharing study leaves: ``study.json``, ``cells.csv``, ``runs.csv``, ``report.md`` and pictures. Free of
torch.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...files import atomic_write, write_json
from ...statistics.ranking_metrics import null_deviations
from .amount import amounts
from .measures import Study, ceiling, key_agreement, positions, run_agreements, twin_gaps

SCHEMA_VERSION = 1


def content(
    study: Study, about: dict[str, Any], resamples: int = 1000, permutations: int = 2000, seed: int = 0
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
    value: dict[str, Any] = _plain(
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


def write(
    study: Study, folder: Path, about: dict[str, Any], *, pictures: str = "png", **options: int
) -> dict[str, Any]:
    """Write everything into ``folder``; returns what ``study.json`` says. ``options``: of :func:`content`."""
    names = [
        f"{name}.{pictures}"
        for name in ("rank_changes", "rank_lines", "truth", *(["amounts"] if study.cells.groups is not None else []))
    ]
    value = {**content(study, about, **options), "pictures": names}
    atomic_write(folder / "cells.csv", _cells_csv(value).encode())
    atomic_write(folder / "runs.csv", _runs_csv(value).encode())
    atomic_write(folder / "report.md", markdown(value).encode())
    write_json(folder / "study.json", value)
    _draw(study, folder, names)
    return value


def _draw(study: Study, folder: Path, names: Sequence[str]) -> None:
    from ...diagnostics.figures import save
    from .figures import amount_figure, line_figure, rank_change_figure, truth_figure

    agreements = [key_agreement(study, key, 0) for key in study.shared]
    for name, draw in zip(names, (rank_change_figure, line_figure, truth_figure), strict=False):
        save(draw(study, agreements), folder / name)
    if study.cells.groups is not None:
        save(amount_figure(study, [amounts(study, key, 2) for key in study.shared]), folder / names[3])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- tables ------------------------------------------------------------------------------------------------------------
def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return buffer.getvalue()


def _cells_csv(value: dict[str, Any]) -> str:
    first = value["cells"][0]
    alone = [f"stand_alone_{s}" for s in range(len(first["stand_alone"]))]
    shared = [f"{key}_{run}" for key in first["shared"] for run in value["run_seeds"]]
    plain = ("cell", "number", "group", "mean", "deviation", "position")
    rows = [
        [*(c[name] for name in plain), *c["stand_alone"], *(x for column in c["shared"].values() for x in column)]
        for c in value["cells"]
    ]
    return _csv([*plain, *alone, *shared], rows)


def _runs_csv(value: dict[str, Any]) -> str:
    measures, plain = (
        ("kendall", "spearman", "pairwise"),
        ("kendall_pooled", "chosen", "percentile", "regret", "id_sequence"),
    )
    tops = list(next(iter(value["runs"].values()))[0]["overlap"])
    header = [
        "sharing",
        "seed",
        *(m + end for m in measures for end in ("", "_low", "_high", "_p")),
        *plain,
        *(f"overlap_{k}" for k in tops),
    ]
    rows = [
        [
            key,
            run["seed"],
            *(run[m][part] for m in measures for part in ("value", "low", "high", "p")),
            *(run[name] for name in plain),
            *(run["overlap"][k] for k in tops),
        ]
        for key, runs in value["runs"].items()
        for run in runs
    ]
    return _csv(header, rows)


def shown(number: float | None, digits: int = 3) -> str:
    """A number of ``study.json``, or a dash."""
    return "-" if number is None else f"{number:.{digits}f}"


def _interval(found: dict[str, float | None]) -> str:
    return f"{shown(found['value'])} [{shown(found['low'])}, {shown(found['high'])}], p = {shown(found['p'])}"


def markdown(value: dict[str, Any]) -> str:
    """The report, from what ``study.json`` says."""
    cells, keys = value["cells"], value["keys"]
    lines = [
        f"# {value['title']}",
        "",
        f"{len(cells)} cells. Stand-alone: {len(cells[0]['stand_alone'])} seeds, ranked by mean validation",
    ]
    lines[-1] += f" perplexity. Shared weights: {len(value['run_seeds'])} runs a sharing key."
    lines += ["", "## Rank agreement of shared weights with stand-alone training", ""]
    lines += [
        "Kendall's tau-b over cells. p: of the mean over the runs, by permuting the cells. The interval is over runs.",
        "",
    ]
    lines += [
        "| sharing | runs | mean | 95 % interval | std | p | best run | average run | worst run |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for k in keys:
        taus = [value["runs"][k["key"]][k[which]]["kendall"]["value"] for which in ("best", "average", "worst")]
        middle = f"{shown(k['mean'])} | [{shown(k['low'])}, {shown(k['high'])}] | {shown(k['deviation'])} | {shown(k['p'], 4)}"
        lines.append(f"| {k['key']} | {k['runs']} | {middle} | {' | '.join(map(shown, taus))} |")
    lines += ["", f"By chance one run's tau has a standard deviation of {value['chance']['kendall']:.3f}."]
    if value["ceiling"]:
        values = value["ceiling"]
        lines.append(
            f"One stand-alone seed against the mean of the others: {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})."
        )
    lines += ["", *_means(value), "", *_twins(value["twins"]), *_amounts(value["amounts"]), "## Pictures", ""]
    lines += [f"![{name}]({name})" for name in value["pictures"]]
    ties = "Ties: tau-b, mean ranks; in pairs in order a tie counts half. The sequence value is that of the released code, not a rank correlation."
    return "\n".join([*lines, "", ties, ""])


def _means(value: dict[str, Any]) -> list[str]:
    tops = list(next(iter(value["runs"].values()))[0]["overlap"])
    lines = [
        f"| mean over runs | tau | tau, twins pooled | rho | pairs in order | {' | '.join(f'top {k}' for k in tops)} | percentile of the chosen "
    ]
    lines[0] += "| perplexity above the best | tau of id sequences |"
    lines.append("|---|" + "---|" * (7 + len(tops)))
    for key, runs in value["runs"].items():
        found = [_mean(run[name]["value"] for run in runs) for name in ("kendall",)] + [
            _mean(run["kendall_pooled"] for run in runs)
        ]
        found += [_mean(run[name]["value"] for run in runs) for name in ("spearman", "pairwise")]
        found += [_mean(run["overlap"][k] for run in runs) for k in tops]
        found += [_mean(run[name] for run in runs) for name in ("percentile", "regret", "id_sequence")]
        lines.append(f"| {key} | {' | '.join(map(shown, found))} |")
    return lines


def _mean(values: Iterable[float | None]) -> float | None:
    found = [x for x in values if x is not None]
    return float(np.mean(found)) if found else None


def _twins(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    lines = [
        "## Twins: the noise floor",
        "",
        f"{found['pairs']} pairs of cells are one function each. Mean difference of position within a pair:",
    ]
    lines += [
        "",
        "| chance | stand-alone | " + " | ".join(found["shared"]) + " |",
        "|---|---|" + "---|" * len(found["shared"]),
    ]
    numbers = [found["chance"], found["stand_alone"], *found["shared"].values()]
    lines.append(f"| {' | '.join(shown(x, 2) for x in numbers)} |")
    return [*lines, "", f"Their mean stand-alone perplexities differ by {shown(found['perplexity'])} on average.", ""]


def _amounts(found: list[dict[str, Any]] | None) -> list[str]:
    if found is None:
        return []
    lines = [
        "## By the number of shared matrices",
        "",
        "Positions: 1 is best. Change: shared minus stand-alone, positive where shared weights rank too",
    ]
    lines[-1] += " low; ± standard deviation over runs."
    for one in found:
        lines += [
            "",
            f"Sharing: {one['key']}",
            "",
            "| shared matrices | cells | perplexity alone | shared | position alone | shared | change |",
        ]
        lines.append("|---|---|---|---|---|---|---|")
        for g in one["groups"]:
            numbers = (
                shown(g[name], 2)
                for name in ("stand_alone_perplexity", "shared_perplexity", "stand_alone_position", "shared_position")
            )
            change = f"{g['change']:+.2f} ± {shown(g['deviation'], 2)}"
            lines.append(f"| {g['matrices']} | {g['cells']} | {' | '.join(numbers)} | {change} |")
        lines += ["", "tau-b of the number of shared matrices with a cell's position"]
        lines[-1] += (
            f" alone (depth): {_interval(one['depth'])}; shared: {_interval(one['shared'])}; with its change: {_interval(one['change'])}."
        )
    return [*lines, ""]
