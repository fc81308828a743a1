"""What a person sees of a result: short architectures in the table, long ones below it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nni_plugins.cli.report import LONGEST, result_table
from nni_plugins.spaces import DARTS, NASBench201, SearchSpace

SMALL = NASBench201(nodes=3, channels=4, cells_per_stage=1)


def result(architectures: list[str], **changes: Any) -> dict[str, Any]:
    """Of a search that found all but the last, which is random."""
    rows = [
        {
            "source": "found",
            "architecture": text,
            "score": 1.5 - i / 10,
            "accuracy": 80.0 - i,
            "true_rank": None,
            "parameters": 1234 + i,
        }
        for i, text in enumerate(architectures)
    ]
    rows[-1]["source"] = "random"
    tau = {"trained": 0.5, "table": []}
    whole = {
        "strategy": "RLNAS",
        "settings": {"stand_alone": {}},
        "architectures": rows,
        "architectures_in_table": None,
        "kendall_tau": tau,
    }
    return {**whole, "mean_accuracy": {"found": 79.5, "random": 78.0}, "failed": [], **changes}


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
    assert [row[:4] for row in rows] == [
        ["1", "found", "1.5000", "80.00"],
        ["2", "found", "1.4000", "79.00"],
        ["1", "random", "1.3000", "78.00"],
    ]
    assert "\n".join(lines).count("Genotype") == 2, "one that was also drawn at random is listed once"


def test_short_architectures_stay_in_the_table() -> None:
    given = texts(SMALL, 3)
    assert all(len(text) <= LONGEST for text in given)
    lines = printed(result(given), 150)
    assert [cells(line)[0] for line in lines if line.startswith("│")] == given
    assert lines[-2:] == [
        "mean accuracy: found 79.50 %, random 78.00 %",
        "Kendall tau-b of angle against accuracy: 0.500 over the architectures above",
    ]
    assert lines[-3].startswith("└")


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
    value = result(texts(SMALL, 1))
    value["architectures"][0] |= {"score": None, "accuracy": None, "parameters": None}
    (row,) = [cells(line) for line in printed(value, 150) if line.startswith("│")]
    assert row[1:] == ["random", "-", "-", "-", "-"]
