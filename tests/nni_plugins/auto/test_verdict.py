"""The sentence with which a page begins, for results made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from nni_plugins.auto.verdict import verdict


def result(found: list[float], random: list[float], largest: list[float], same: bool = False) -> dict[str, Any]:
    """``found`` and ``largest``: of one network each, trained from several seeds; ``random``: of one network each."""

    def row(source: str, rank: int, choices: str, values: dict[str, float]) -> dict[str, Any]:
        evaluations = {name: {"value": value} for name, value in values.items()}
        return {"source": source, "rank": rank, "choices": {"a": choices}, "evaluations": evaluations}

    rows = [row("found", 1, "x", {f"seed{i}": value for i, value in enumerate(found)})]
    rows += [row("random", i + 1, f"r{i}", {"seed0": value}) for i, value in enumerate(random)]
    rows += [  # a row a seed, as baselines have it
        row("largest_parameters", 1, "x" if same else "y", {f"seed{i}": value}) for i, value in enumerate(largest)
    ]
    return {"architectures": rows}


def test_better_than_both() -> None:
    said = verdict(result([80.0, 81.0, 82.0], [60.0, 61.0, 62.0], [70.0, 71.0, 72.0]), "accuracy")
    # Welch: difference 20, standard error sqrt(1/3 + 1/3), 4 degrees of freedom, t = 2.776
    assert said.sentence == (
        "The network that was found is better than random networks (+20.00 points, 95 % interval +17.73 to +22.27) and "
        "is better than the largest network within the limit (+10.00 points, 95 % interval +7.73 to +12.27)."
    )
    assert [one.separated for one in said.comparisons] == [True, True] and said.taken == "found"


def test_worse_and_not_told() -> None:
    said = verdict(result([60.0, 61.0, 62.0], [59.0, 61.0, 63.0], [70.0, 71.0, 72.0]), "accuracy")
    assert "is not told from random networks (+0.00 points" in said.sentence
    assert "is worse than the largest network within the limit (-10.00 points" in said.sentence
    assert "more --minutes find smaller ones" in said.details[0]
    assert "more --minutes" not in said.details[1]
    assert said.taken == "largest_parameters" and "take that one" in said.details[2]


def test_the_largest_itself() -> None:
    said = verdict(result([80.0, 81.0, 82.0], [60.0, 61.0, 62.0], [80.0, 81.0, 82.0], same=True), "accuracy")
    assert said.sentence.endswith("and is the largest network within the limit itself.")
    assert said.details[1].endswith("Taking the largest would have done as well.")


def test_nothing_varies() -> None:
    said = verdict(result([80.0] * 3, [70.0] * 3, [80.0] * 3), "accuracy")
    assert "without an interval, for nothing varies" in said.sentence
    assert said.details[0] == "Against random networks: 80.00 % (mean of 3 trainings) and 70.00 % (3)."


@pytest.mark.parametrize("random", [[100.0] * 3, [99.5, 100.0, 99.9]])
def test_a_task_that_every_network_solves_tells_none_from_another(random: list[float]) -> None:
    said = verdict(result([100.0] * 3, random, [100.0] * 3), "how often", harder="Ask for more.")
    assert said.sentence == (
        "These trainings tell no network from another: all of them, random ones too, reach "
        f"{min(random):.2f} to 100.00 %, judged by how often."
    )
    assert said.details[0] == "Ask for more." and not any("nan" in line for line in said.details)
    assert said.taken == "found"


def test_a_difference_that_is_sure_is_told_at_any_height() -> None:
    said = verdict(result([99.98, 99.99, 100.0], [99.50, 99.51, 99.52], [99.98, 99.99, 100.0]), "accuracy")
    assert said.sentence.startswith("The network that was found is better than random networks (+0.48 points")


def test_networks_by_name() -> None:
    content = result([80.0, 81.0, 82.0], [60.0, 61.0, 62.0], [70.0, 71.0, 72.0])
    values = {f"seed{i}": {"value": 90.0 + i} for i in range(3)}
    content["architectures"].append({"source": "resnet18", "rank": 1, "choices": None, "evaluations": values})
    said = verdict(content, "accuracy", ("resnet18",))
    assert "is worse than resnet18 (-10.00 points" in said.sentence
    assert pytest.approx(-10) == said.comparisons[-1].test.difference  # type: ignore[union-attr]
