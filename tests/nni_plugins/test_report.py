"""What a person sees of a result: short architectures in the table, long ones below it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nni_plugins.cli.progress import Bars
from nni_plugins.cli.report import LONGEST, draw_best, result_table
from nni_plugins.experiment.jobs import Plan
from nni_plugins.spaces import DARTS, NASBench201, SearchSpace

from .small import experiment, value_of

SMALL = NASBench201(nodes=3, channels=4, cells_per_stage=1)
ACCURACY = {"evaluator": "stand_alone", "metric": "accuracy", "unit": "%", "larger_is_better": True, "validated": True}


def result(architectures: list[str], **changes: Any) -> dict[str, Any]:
    """Of a search that found all but the last, which is random."""
    rows = [
        {
            "source": "found",
            "seed": 0,
            "rank": i + 1,
            "network": None,
            "architecture": text,
            "choices": None,
            "score": 1.5 - i / 10,
            "true_rank": None,
            "parameters": 1234 + i,
            "macs": 99_000 + i,
            "evaluations": {
                "mine": {
                    "value": 80.0 - i,
                    "validation": 90.0 - i,
                    "status": "done",
                    "job": "",
                    "metrics": {},
                    "reused": False,
                }
            },
        }
        for i, text in enumerate(architectures)
    ]
    rows[-1]["source"] = "random"
    mean = {"found": 79.5, "random": 78.0}
    return {
        "strategy": "RLNAS",
        "settings": {
            "space": {"name": "nasbench201", "nodes": 3, "channels": 4, "cells_per_stage": 1},
            "truth": {"table": "digits", "metric": "accuracy", "also": []},
        },
        "score": {"key": "angle", "name": "angle", "unit": "rad"},
        "searches": [{"seed": 0, "result": {}}],
        "architectures": rows,
        "architectures_in_table": None,
        "evaluations": {"mine": {**ACCURACY, "mean": mean, "baselines": {}, "kendall_tau": 0.5}},
        "kendall_tau": [None],
        "failed": [],
        **changes,
    }


def printed(value: dict[str, Any], width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(result_table(value))
    return capture.get().splitlines()


def texts(space: SearchSpace, n: int) -> list[str]:
    return [space.to_string(a) for a in space.decode(space.sample(np.random.default_rng(0), n))]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│┃ ").split("│")]


@pytest.mark.parametrize("width", [40, 80, 250])
def test_genotypes_stand_below_the_table(width: int) -> None:
    space = DARTS(channels=4, cells=3)
    given = texts(space, 3)
    assert all(len(text) > 300 for text in given)
    lines = printed(result(given), width)
    end = next(i for i, line in enumerate(lines) if line.startswith("└"))
    listed = "\n".join(lines[end + 1 :])
    found = re.findall(r"^(\d) (Genotype\(.*?\]\))\s*$", listed, re.MULTILINE | re.DOTALL)
    assert [number for number, _ in found] == ["1", "2", "3"]
    for (_, folded), text in zip(found, given, strict=True):
        assert " ".join(folded.split()) == text
        assert space.parse(folded) == space.parse(text), "it can be copied as it stands"
    assert "Genotype" not in "\n".join(lines[:end]) and max(map(len, lines)) <= width
    assert listed.index("Kendall") > listed.rindex("Genotype")


def test_the_table_has_the_numbers() -> None:
    first, second = texts(DARTS(), 2)
    lines = printed(result([first, second, first]), 100)
    rows = [cells(line) for line in lines if line.startswith("│")]
    assert rows == [
        ["1", "found", "1.5000", "90.00", "80.00", "1,234"],
        ["2", "found", "1.4000", "89.00", "79.00", "1,235"],
        ["1", "random", "1.3000", "88.00", "78.00", "1,236"],
    ]
    assert "\n".join(lines).count("Genotype") == 2, "one that was also drawn at random is listed once"


def test_seeds_are_shown_where_there_are_several() -> None:
    two = result(
        texts(SMALL, 2), searches=[{"seed": 0, "result": {}}, {"seed": 3, "result": {}}], kendall_tau=[0.5, None]
    )
    two["architectures_in_table"] = 125
    lines = printed(two, 250)
    assert "seed" in "\n".join(lines) and cells(next(line for line in lines if line.startswith("│")))[2] == "0"
    assert "Kendall tau-b of angle against the table of truth: 0.500 over all 125 architectures." in lines


def test_short_architectures_stay_in_the_table() -> None:
    given = texts(SMALL, 3)
    assert all(len(text) <= LONGEST for text in given)
    lines = printed(result(given), 150)
    assert [cells(line)[0] for line in lines if line.startswith("│")] == given
    assert lines[-2:] == [
        "mine, accuracy: mean of found 79.50 %, mean of random 78.00 %.",
        "Kendall tau-b of angle against mine: 0.500 over the found and random architectures.",
    ]
    assert lines[-3] == "The best is chosen by the validation of mine."
    assert lines[-4].startswith(
        "mine: what the search found cannot be told from random networks by one training of each"
    )
    assert lines[-5].startswith("└")


@pytest.mark.parametrize(("length", "listed"), [(LONGEST, False), (LONGEST + 1, True)])
def test_the_limit(length: int, listed: bool) -> None:
    lines = printed(result(["[red]" + "x" * (length - 5)]), 150)  # what looks like markup is printed as it is
    assert ("1 [red]xxx" in "\n".join(lines[lines.index(next(x for x in lines if x.startswith("└"))) :])) == listed
    assert "[red]xxx" in "\n".join(lines)


def test_a_long_text_without_spaces_is_folded() -> None:
    (text,) = texts(NASBench201(nodes=4), 1)
    lines = printed(result([text]), 40)
    assert len(text) > LONGEST and text in "".join(line[2:].strip() for line in lines if line.startswith(("1 ", "  ")))


def test_what_is_unknown_is_a_dash() -> None:
    """An architecture whose training failed, of a search without scores."""
    value = result(texts(SMALL, 1), failed=["mine-random-1"])
    value["architectures"][0] |= {"score": None, "parameters": None}
    value["architectures"][0]["evaluations"]["mine"] |= {"value": None, "validation": None, "status": "failed"}
    lines = printed(value, 150)
    (row,) = [cells(line) for line in lines if line.startswith("│")]
    assert row[1:] == ["random", "-", "-", "failed", "-"] and lines[-1] == "failed: mine-random-1"
    value["architectures"][0]["evaluations"] = {}
    (row,) = [cells(line) for line in printed(value, 150) if line.startswith("│")]
    assert row[3] == "-", "no evaluation took it"


def test_baselines_stand_beside_the_others() -> None:
    value = result(texts(SMALL, 2))
    value["architectures"][1]["source"] = "largest_parameters"
    value["evaluations"]["mine"]["baselines"] = {"largest_parameters": 79.0}
    lines = printed(value, 150)
    assert "largest parameters" in [cells(line) for line in lines if line.startswith("│")][1]
    assert any("largest parameters 79.00 %." in line for line in lines)


def test_the_picture_of_the_best(tmp_path: Any) -> None:
    value = result(texts(SMALL, 2))
    assert draw_best(value, tmp_path) is None, "a name has no cell"
    value["architectures"][0]["choices"] = SMALL.parse(value["architectures"][0]["architecture"]).as_dict()
    picture = draw_best(value, tmp_path)
    assert picture == tmp_path / "best.png" and picture.read_bytes().startswith(b"\x89PNG")
    value["architectures"] = []
    assert draw_best(value, tmp_path) is None


# -- bars --------------------------------------------------------------------------------------------------------------
def test_a_line_for_all_jobs_and_one_for_the_job_at_work() -> None:
    searched = experiment(seeds=[0, 1])
    plan, bars = Plan(searched), Bars(Console(quiet=True), quiet=False)
    jobs, epochs = bars.progress.tasks
    assert not jobs.visible, "before anything is known nothing is shown"
    search = plan.next()
    assert search is not None
    bars(search, {"epoch": 1.0, "loss": 2.25}, plan)
    assert (epochs.visible, epochs.description, epochs.completed, epochs.fields["note"]) == (
        True,
        "search-0",
        1,
        "loss 2.250",
    )
    bars(search, {"epoch": 2.0}, plan)
    assert (epochs.completed, epochs.fields["note"], jobs.total) == (2, "", 5) and jobs.visible, (
        "two searches, one found each, one random"
    )
    plan.done("search-0", value_of(searched, plan, "search-0"))
    bars(search, None, plan)
    assert (jobs.completed, jobs.total, epochs.visible) == (1, 5, False)
    assert jobs.fields["note"] == "search-0: largest angle 1.5000 rad"
    while (job := plan.next()) is not None:
        plan.done(job.name, value_of(searched, plan, job.name))
        bars(job, None, plan)
    assert (jobs.completed, jobs.total) == (5, 5)
