"""The text and tables of a report."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ...statistics.differences import POWER, Interval
from ...versions import versions as versions_of
from ..closing import closing
from ..document import PLAIN, Block, Bullets, Heading, Paragraph, Picture, Table
from .analysis import Analysis
from .difference import Difference
from .figures import named
from .record import Comparison, Run
from .sentences import p_text
from .single_networks import Stability, pooled, stability

VERSIONS = ("nni-plugins", "nni", "torch", "numpy", "scipy")
"""What trainings and tests depend on."""
REAL_BEST = "real best"
"""The row of the architecture that is the best of all."""
RANDOM = "random"
"""The policy that draws at random."""
QUALITY = ("valid", "test", "accuracy", "perplexity", "loss", "error", "iou")
"""Measures whose names contain one of these stand beside the metric; the others among sizes and costs."""
SIZES = {"parameters": "parameters", "macs": "multiply-adds"}
"""Measures of a network's size, and how they are called."""
QUESTION = (
    "The question is whether a policy chooses better architectures than {baseline} does: all networks must go through the same training.",
    "The question is whether a search chooses better architectures than a draw: the random policy's networks must go through the same training, "
    "and its deviation is what chance alone does (Yu et al., ICLR 2020).",
)
"""Where the baseline is another policy, and where it is the random one."""
MOST_COLUMNS, MOST_ROWS = 10, 12
CAPTIONS = {
    "distribution.svg": "Every seed is a mark; the box is from quartile to quartile with the median, the whiskers end at the extremes; "
    "below each, the mean with its 95 % t interval, which may leave the picture where there are few seeds. Upright lines are baselines.",
    "differences.svg": "Mean improvement over {baseline} with its 95 % interval, not corrected for the number of comparisons; the p value "
    "beside it is. Filled marks: the evidence separates the policy from {baseline}.",
    "curves.svg": "Stand-alone training of the first choices: mean over seeds with a band of one sample deviation, and the seed with the best value. "
    "The first quarter may be cut off.",
    "search_curves.svg": "The searches themselves, in the same form. What is measured in a search need not be comparable between policies.",
}
READING = (
    "{question}",
    "± is the sample deviation over seeds (divided by n - 1) of single searches, not the uncertainty of the mean; the interval is that of the mean.",
    "p: if policy and {baseline} were equally good, how often so large a difference would come by chance. {test} By permutation: without assuming normal "
    "values, from all ways to deal them out, or a seeded draw of such ways. Corrected: by Holm's method, for the "
    "number of policies; a policy counts as better or worse only if that is below 0.05 and a permutation test agrees.",
    "Not separated does not mean equal. Detectable is the true difference that this many seeds with these deviations find with a probability "
    f"of {POWER:g} (one comparison, level 0.05); smaller ones are usually missed.",
    "Hedges' g is the difference in units of {unit}; P(better) is the share of {pairs}, ties counting half; Cliff's delta is 2 P(better) - 1.",
    "Best-of-n grows with n and says what luck can reach, not what one search gives.",
    "Everything holds for this space, this training and what the seeds vary; another training may order the policies otherwise.",
)


def document(analysis: Analysis, pictures: Collection[str]) -> list[Block]:
    """The report in blocks; ``pictures``: file names of those there are."""
    comparison = analysis.comparison
    blocks: list[Block] = [
        Heading(comparison.title, 1),
        Paragraph(_opening(analysis)),
        Heading("What the runs say"),
        Bullets(analysis.sentences),
    ]
    if analysis.warnings:
        blocks += [Paragraph("Mind:"), Bullets(analysis.warnings, warning=True)]
    blocks += [
        Heading("Results"),
        results_table(analysis),
        spread_table(analysis),
        *_real_best(analysis),
        *_pictures(["distribution.svg"], pictures),
        *_baselines(analysis),
    ]
    for baseline in (comparison.baseline, *comparison.also):
        picture = differences_picture(comparison, baseline)
        caption = CAPTIONS["differences.svg"].format(baseline=baseline)
        blocks += [
            Heading(f"Differences to {baseline}"),
            differences_table(analysis, baseline),
            effects_table(analysis, baseline),
            *([Picture(picture, f"differences to {baseline}", caption)] if picture in pictures else []),
        ]
    if {"curves.svg", "search_curves.svg"} & set(pictures):
        blocks += [Heading("Learning curves"), *_pictures(["curves.svg", "search_curves.svg"], pictures)]
    blocks += _individual(analysis) + _sizes(analysis) + _best(comparison)
    test = (
        "A t test of the differences between runs of the same seed."
        if analysis.paired
        else "Welch's t test, which lets deviations differ."
    )
    words = {
        "test": test,
        "unit": "the deviation of the differences" if analysis.paired else "the pooled deviation",
        "pairs": "seeds where the policy is better"
        if analysis.paired
        else f"pairs of a run of the policy and one of {comparison.baseline} where the former is better",
        "baseline": comparison.baseline,
        "question": QUESTION[comparison.baseline == RANDOM].format(baseline=comparison.baseline),
    }
    blocks += [Heading("How to read this"), Bullets([line.format(**words) for line in READING])]
    if comparison.setting:
        blocks += closing(comparison.setting, versions_of(*VERSIONS))
    return blocks


def differences_picture(comparison: Comparison, baseline: str) -> str:
    """The name of the picture of the differences to ``baseline``: its own, where that is the plain name of a file, or its
    place among several.
    """
    if baseline == comparison.baseline:
        return "differences.svg"
    own = baseline if set(baseline) <= PLAIN else str(comparison.also.index(baseline) + 2)
    return f"differences-{own}.svg"


def _opening(analysis: Analysis) -> str:
    comparison = analysis.comparison
    counts = {found.n for found in analysis.summaries.values()}
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    direction = "larger" if comparison.larger_is_better else "smaller"
    how = (
        "runs of the same seed are compared with each other" if analysis.paired else "runs are compared as independent"
    )
    metric = named(comparison.metric, comparison.unit)
    return f"{len(comparison.policies)} policies, {seeds} seeds each, judged by {metric}: {direction} is better; {how}."


def _pictures(names: Sequence[str], there: Collection[str]) -> list[Block]:
    return [Picture(name, _words(name.removesuffix(".svg")), CAPTIONS[name]) for name in names if name in there]


def _real_best(analysis: Analysis) -> list[Block]:
    """What the row of the real best is."""
    return [Paragraph(analysis.real_best_sentence)] if analysis.real_best_sentence else []


def _baselines(analysis: Analysis) -> list[Block]:
    """Single networks beside the policies: is what they choose better than the largest network of its size?"""
    if not analysis.standings:
        return []
    text = (
        "Networks that nobody searched or drew, measured once as all others were. How much such a value would vary from one "
        "training to another is not known: seeds are counted, and nothing is tested."
    )
    return [Heading("Baselines"), Paragraph(text), baselines_table(analysis), Bullets(analysis.standing_sentences)]


def baselines_table(analysis: Analysis) -> Table:
    """The value and the size of each baseline network, and the means of the policies' first choices."""
    comparison, d = analysis.comparison, analysis.decimals
    rows = [
        [one.name, f"{one.value:.{d}f}", *(_mean([one.measures], name) for name in SIZES), one.label]
        for one in comparison.baselines
    ]
    for policy, found in analysis.summaries.items():
        measures = [run.measures for run in comparison.first_choices(policy)]
        sizes = [_mean(measures, name, 0) for name in SIZES]
        rows.append([f"{policy} (mean)", f"{found.mean:.{d}f} ± {found.std:.{d}f}", *sizes, "–"])
    return Table(["network", named(comparison.metric, comparison.unit), *SIZES.values(), "architecture"], rows)


def results_table(analysis: Analysis) -> Table:
    """As the paper's tables 1 and 2: mean ± deviation of the metric and of other measures of quality, then both of the
    run with the best metric; the last row is the real best, whose seeds are those of its trainings.
    """
    comparison, d = analysis.comparison, analysis.decimals
    others = [name for name in _measures(comparison) if _is_quality(name) and not _is_metric(comparison, name)]
    header = [
        "policy",
        "seeds",
        f"mean {named(comparison.metric, comparison.unit)}",
        *(f"mean {_words(n)}" for n in others),
    ]
    header += [f"best {comparison.metric}", *(f"its {_words(n)}" for n in others)]
    rows, shown = [], {policy: comparison.first_choices(policy) for policy in comparison.policies}
    summaries = dict(analysis.summaries)
    if comparison.real_best is not None and analysis.real_best is not None:
        shown[REAL_BEST], summaries[REAL_BEST] = comparison.real_best.runs, analysis.real_best
    for policy, found in summaries.items():
        runs = shown[policy]
        best = (max if comparison.larger_is_better else min)(runs, key=lambda run: run.value)
        row = [
            policy,
            str(found.n),
            f"{found.mean:.{d}f} ± {found.std:.{d}f}",
            *(_mean([r.measures for r in runs], n, d) for n in others),
        ]
        rows.append(
            [*row, f"{best.value:.{d}f}", *(f"{best.measures[n]:.{d}f}" if n in best.measures else "–" for n in others)]
        )
    return Table(header, rows)


def spread_table(analysis: Analysis) -> Table:
    """How sure the means are, and how far single searches lie apart."""
    d, rows = analysis.decimals, list[list[str]]()
    for policy, s in analysis.summaries.items():
        intervals = [_interval(s.t_interval, d), _interval(s.bootstrap_interval, d)]
        rows.append([policy, *intervals, *(f"{v:.{d}f}" for v in (s.median, s.best, s.worst, s.std, s.population_std))])
    header = [
        "policy",
        "95 % interval of the mean (t)",
        "by bootstrap",
        "median",
        "best",
        "worst",
        "deviation (n - 1)",
        "deviation (n)",
    ]
    return Table(header, rows)


def differences_table(analysis: Analysis, baseline: str) -> Table:
    """Each policy against ``baseline``: size, tests, verdict."""
    header = ["policy", "improvement", "95 % interval", "p", "p corrected", "p by permutation", "verdict"]
    return Table(header, [_tests(d, analysis.decimals) for d in analysis.against(baseline)])


def effects_table(analysis: Analysis, baseline: str) -> Table:
    """The same differences in other units."""
    header = ["policy", "t (degrees of freedom)", "Hedges' g", "Cliff's delta", "P(better)", "detectable"]
    return Table(header, [_effects(d, analysis.decimals) for d in analysis.against(baseline)])


def _tests(d: Difference, decimals: int) -> list[str]:
    undefined = math.isnan(d.t_test.p)
    permuted = f"{_p(d.permutation.p)} ({'all' if d.permutation.exact else 'of'} {d.permutation.permutations:,})"
    size = [
        f"{d.improvement:+.{decimals}f}",
        _interval(d.t_test.interval, decimals),
        "–" if undefined else _p(d.t_test.p),
    ]
    return [d.policy, *size, _p(d.p_holm), permuted, d.verdict]


def _effects(d: Difference, decimals: int) -> list[str]:
    t, g = d.t_test, d.effect
    undefined = math.isnan(t.p)
    sizes = [
        "–" if math.isnan(g.g) else f"{g.g:.2f} {_interval(g.g_interval, 2)}",
        f"{g.cliffs_delta:+.2f}",
        f"{g.superiority:.2f}",
    ]
    return [
        d.policy,
        "–" if undefined else f"{t.t:.2f} ({t.degrees:.1f})",
        *sizes,
        "–" if undefined else f"{t.detectable:.{decimals}f}",
    ]


def _p(p: float) -> str:
    return p_text(p).removeprefix("p = ").removeprefix("p ")


def _interval(interval: Interval, decimals: int) -> str:
    return "–" if math.isnan(interval.low) else f"[{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def _individual(analysis: Analysis) -> list[Block]:
    comparison, blocks = analysis.comparison, list[Block]()
    ranked = any(run.rank > 0 for run in comparison.runs)
    if max(found.n for found in analysis.summaries.values()) <= MOST_COLUMNS:
        text = f"{comparison.metric[:1].upper()}{comparison.metric[1:]} of the first choice of every search, by seed."
        table = stability_table(stability(_ordered(comparison), by="seed"), analysis.decimals, population=False)
        blocks += [Heading("Single networks"), Paragraph(text), table]
    if ranked:
        found, text = (
            stability(_ordered(comparison), by="rank"),
            "How alike the architectures of one search are: its first, second, ... choice.",
        )
        if len(found.rows) > MOST_ROWS:
            found, text = (
                pooled(found),
                f"{text} Means over the searches of a policy, and the deviation within a search (root mean square).",
            )
        blocks += [Heading("Stability"), Paragraph(text), stability_table(found, analysis.decimals)]
    return blocks


def _ordered(comparison: Comparison) -> list[Run]:
    return [run for policy in comparison.policies for run in comparison.runs if run.policy == policy]


def stability_table(found: Stability, decimals: int = 2, population: bool = True) -> Table:
    """The individual networks, their mean, and the deviation by n - 1 and, with ``population``, by n."""
    header = ["policy", *found.columns, "mean", "deviation (n - 1)", *["deviation (n)"] * population]
    rows = []
    for row in found.rows:
        cells = [f"{v:.{decimals}f}" for v in row.values] + ["–"] * (len(found.columns) - len(row.values))
        statistics = [row.mean, row.std, *[row.population_std] * population]
        rows.append([row.name, *cells, *(f"{v:.{decimals}f}" for v in statistics)])
    return Table(header, rows)


def _sizes(analysis: Analysis) -> list[Block]:
    comparison = analysis.comparison
    measures = [name for name in _measures(comparison) if not _is_quality(name)]
    costs = list(dict.fromkeys(name for run in comparison.runs if run.rank == 0 for name in run.cost))
    if not measures and not costs:
        return []
    rows = []
    for policy in comparison.policies:
        runs = comparison.first_choices(policy)
        cells = [_mean([r.measures for r in runs], name) for name in measures] + [
            _mean([r.cost for r in runs], name) for name in costs
        ]
        rows.append([policy, *cells])
    header = ["policy", *map(_words, measures), *(f"budget: {_words(name)}" for name in costs)]
    return [Heading("Sizes and costs"), Paragraph("Mean over seeds ± sample deviation."), Table(header, rows)]


def _best(comparison: Comparison) -> list[Block]:
    best = [
        (max if comparison.larger_is_better else min)(comparison.first_choices(p), key=lambda run: run.value)
        for p in comparison.policies
    ]
    if not any(run.label or run.architecture for run in best):
        return []
    rows = [[run.policy, str(run.seed), run.label or json.dumps(run.architecture)] for run in best]
    text = "Of the best first choice of each policy; runs.csv has all."
    return [Heading("Architectures"), Paragraph(text), Table(["policy", "seed", "architecture"], rows)]


def _measures(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(name for run in comparison.runs if run.rank == 0 for name in run.measures))


def _is_quality(name: str) -> bool:
    return any(part in name.lower() for part in QUALITY)


def _is_metric(comparison: Comparison, name: str) -> bool:
    return all(run.measures.get(name) == run.value for run in comparison.runs if run.rank == 0)


def _mean(mappings: Sequence[Mapping[str, float]], name: str, decimals: int | None = None) -> str:
    """``mean ± deviation`` of those that have it; a mean alone where all are equal or there is one; – where none has
    it.
    """
    x = np.array([m[name] for m in mappings if name in m])
    if len(x) == 0:
        return "–"
    if decimals is None:
        decimals = 0 if float(np.abs(x).max()) >= 1000 or bool((x == np.round(x)).all()) else 2
    text = f"{x.mean():,.{decimals}f}"
    if len(x) > 1 and np.ptp(x) > 0:
        text += f" ± {x.std(ddof=1):,.{decimals}f}"
    return text if len(x) == len(mappings) else f"{text} ({len(x)} of {len(mappings)})"


def _words(name: str) -> str:
    return name.replace("_", " ")
