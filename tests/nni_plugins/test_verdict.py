"""What a search's trainings allow to say, for results made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.statistics.differences import pooled_t
from nni_plugins.experiment.verdict import verdicts, warnings_of


def result(
    found: list[tuple[str, float]], unit: str = "%", larger: bool = True, **others: list[tuple[str, float]]
) -> dict[str, Any]:
    """``found``: of one search each, (network, value); ``others``: by source."""
    rows = [("found", seed, *one) for seed, one in enumerate(found)]
    rows += [(source, i, *one) for source, several in others.items() for i, one in enumerate(several)]
    architectures = [
        {
            "source": source,
            "seed": seed,
            "rank": 1,
            "architecture": network,
            "evaluations": {"digits": {"value": value}},
        }
        for source, seed, network, value in rows
    ]
    evaluation = {"unit": unit, "larger_is_better": larger}
    return {"architectures": architectures, "evaluations": {"digits": evaluation}, "searches": []}


RANDOM = [("r0", 60.0), ("r1", 61.0), ("r2", 62.0)]


def test_several_searches_against_random_networks_and_the_largest() -> None:
    # Welch: difference 20, standard error sqrt(1/3 + 1/3), 4 degrees of freedom, t = 2.776
    # Student, one against three of deviation 1: 1 * sqrt(1/3 + 1) * t(2) = 1.1547 * 4.3027 = 4.968
    one = result([("a", 80.0), ("b", 81.0), ("c", 82.0)], random=RANDOM, largest_parameters=[("l", 80.0)])
    assert verdicts(one) == [
        "digits: what 3 searches found is better than random networks (+20.00 points, 95 % interval +17.73 to +22.27; "
        "3 and 3 trained) and is not told from the largest network within the limit (+1.00 points, 95 % interval -3.97 to "
        "+5.97; 3 and 1 trained)."
    ]


def test_one_search_is_told_by_the_deviation_of_random_networks() -> None:
    (said,) = verdicts(result([("a", 66.0)], random=RANDOM, largest_parameters=[("l", 67.0)]))
    assert said == (
        "digits: what the search found is better than random networks (+5.00 points, 95 % interval +0.03 to +9.97; "
        "1 and 3 trained) and cannot be told from the largest network within the limit by one training of each "
        "(-1.00 points)."
    )
    (said,) = verdicts(result([("a", 65.0)], random=RANDOM))
    assert "is not told from random networks (+4.00 points, 95 % interval -0.97" in said


@pytest.mark.parametrize(("found", "word"), [(50.0, "better"), (70.0, "worse")])
def test_where_smaller_is_better(found: float, word: str) -> None:
    (said,) = verdicts(result([("a", found)], unit="", larger=False, random=RANDOM))
    assert f"is {word} than random networks ({found - 61:+.2f}, 95 % interval" in said


def test_searches_that_all_found_one_network_are_one_measurement() -> None:
    (said,) = verdicts(result([("a", 66.0)] * 3, random=RANDOM, largest_parameters=[("a", 66.0)]))
    assert said.startswith("digits: the one network that all 3 searches found (one measurement) is better than random")
    assert "; 1 and 3 trained) and is the largest network within the limit itself." in said
    (said,) = verdicts(result([("a", 66.0), ("a", 66.5)], random=RANDOM))
    assert "(which varies by its training alone)" in said and "2 and 3 trained" in said


def test_the_best_of_each_search_counts() -> None:
    one = result([("a", 66.0)], random=RANDOM)
    second = {**one["architectures"][0], "rank": 2, "architecture": "b", "evaluations": {"digits": {"value": 99.0}}}
    assert verdicts({**one, "architectures": [*one["architectures"], second]}) == verdicts(one)


def test_nothing_beside_and_nothing_found() -> None:
    assert verdicts(result([("a", 66.0)])) == [
        "digits: nothing was trained beside what was found, so nothing says whether it is better than chance."
    ]
    assert verdicts(result([], random=RANDOM)) == []


def test_networks_that_do_not_vary() -> None:
    (said,) = verdicts(result([("a", 66.0)], random=[("r0", 66.0), ("r1", 66.0)]))
    assert "is not told from random networks (+0.00 points, without an interval, for nothing varies" in said


def test_no_difference_of_percentages_is_beyond_one_hundred() -> None:
    (said,) = verdicts(result([("a", 90.0)], random=[("r0", 10.0), ("r1", 60.0)]))
    assert "(+55.00 points, 95 % interval -100.00 to +100.00; 1 and 2 trained)" in said
    (said,) = verdicts(result([("a", 90.0)], unit="", random=[("r0", 10.0), ("r1", 60.0)]))
    assert "95 % interval -495.19 to +605.19" in said


def test_warnings_name_their_search() -> None:
    searches = [{"seed": 3, "result": {"warnings": ["it decided nothing"]}}, {"seed": 4}]
    assert list(warnings_of({"searches": searches})) == ["search with seed 3: it decided nothing"]


def test_student_with_one_deviation() -> None:
    x, y = np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0])
    variance = (2 * x.var(ddof=1) + y.var(ddof=1)) / 3
    test = pooled_t(x, y)
    assert test.t == pytest.approx(2.5 / np.sqrt(variance * (1 / 3 + 1 / 2))) and test.degrees == 3
    with pytest.raises(ConfigError, match="at least 3 numbers"):
        pooled_t([1.0], [2.0])
