"""Strategies that ask: what they are told, what they may ask, how they end, and architectures that were found elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.tables.table import digits_table
from nni_plugins.spaces import NASBench101, SearchSpace
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.strategies import drawing
from nni_plugins.strategies.base import Problem, SearchResult, Setup
from nni_plugins.strategies.limits import Limits
from nni_plugins.strategies.plugins import strategy_plugin
from nni_plugins.strategies.queries import questions
from nni_plugins.strategies.queries.methods import _drive
from nni_plugins.strategies.queries.questions import Questions

TABLE = digits_table()
SPACE = TABLE.space
METHODS: dict[str, dict[str, Any]] = {
    "bestofrandom": {},
    "tpesearch": {"n_startup_jobs": 5},
    "evolutionsearch": {"population_size": 10, "sample_size": 3, "mutation_prob": 0.3},
    "naosearch": {
        "initial": 10,
        "controller": {"epochs": 10, "embedding": 8, "hidden": 16},
        "proposals": {"seeds": 5, "new": 5},
    },
}

SMALLEST = Limits(max_parameters=int(SPACE.cost_table()(SPACE.enumerate()).parameters.min()))
"""The 27 cells without a convolution."""


def accuracy(architecture: Architecture) -> float:
    return TABLE.value(architecture, "accuracy")


def problem(name: str, queries: int = 20, space: SearchSpace = SPACE, found: int = 3, **more: Any) -> Problem:
    settings = strategy_plugin(name).search_settings.model_validate({"queries": queries, **METHODS[name]})
    return Problem(space, settings, None, None, more.pop("limits", Limits()), found, **{"ask": accuracy, **more})


def search(name: str, *given: Any, **more: Any) -> SearchResult:
    return strategy_plugin(name).search(problem(name, *given, **more))


@pytest.mark.parametrize("name", METHODS)
def test_every_question_is_counted_and_the_best_answers_are_listed(name: str) -> None:
    asked: list[Architecture] = []
    reported: list[dict[str, float]] = []

    def ask(architecture: Architecture) -> float:
        asked.append(architecture)
        return accuracy(architecture)

    result = search(name, 30, ask=ask, report=reported.append, seed=1)
    values = [accuracy(one) for one in asked]
    assert len(set(asked)) == len(asked) and result.cost == {"queries": 30.0, "search_epochs": 0.0}
    assert len(asked) + result.details["repeated_questions"] == len(result.curve) == 30
    if name == "tpesearch":  # which may suggest the same again
        values = [row["value"] for row in result.curve]
    assert [row["value"] for row in result.curve] == values
    assert [row["best"] for row in result.curve] == np.maximum.accumulate(values).tolist()
    assert reported == [
        {"epoch": row["query"], "value": row["value"], "best": row["best"], "loss": -row["best"]}
        for row in result.curve
    ]
    assert result.ranked[0].score == max(values) == accuracy(result.ranked[0].architecture)
    assert strategy_plugin(name).curve_point(reported[3])["default"] == reported[3]["best"]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("bestofrandom", [9.4403, 89.457, 91.2448, 95.6725, 94.9875, 96.0234]),
        ("tpesearch", [96.3576, 96.3576, 96.3576, 96.3576, 91.8797, 96.3576]),
        ("evolutionsearch", [95.4386, 96.0902, 94.3024, 90.9774, 96.1905, 96.4244]),
        ("naosearch", [91.2448, 94.4862, 9.4069, 91.8797, 94.1186, 96.1404]),
    ],
)
def test_what_is_asked(name: str, first: list[float]) -> None:
    """The 19th to 24th answer, once written down: neither another process nor another version asks for others."""
    assert [row["value"] for row in search(name, 24).curve[18:]] == first


@pytest.mark.parametrize("name", METHODS)
def test_nothing_beyond_the_limits_is_asked_for_and_it_costs_no_query(name: str) -> None:
    costs = SPACE.cost_table()(SPACE.enumerate()).parameters
    limits = Limits(max_parameters=int(np.quantile(costs, 0.3)))

    def ask(architecture: Architecture) -> float:
        assert limits.mask(SPACE, SPACE.encode([architecture]))[0]
        return accuracy(architecture)

    result = search(name, 20, limits=limits, ask=ask)
    distinct = {SPACE.canonical(one) for one in SPACE.decode(SPACE.enumerate()[limits.mask(SPACE, SPACE.enumerate())])}
    assert len(result.curve) == (min(20, len(distinct)) if name == "naosearch" else 20)
    assert (result.details["refused_suggestions"] > 0) == (name in ("tpesearch", "evolutionsearch"))


@pytest.mark.parametrize("name", METHODS)
def test_decisions_that_exclude_one_another_end_no_search(name: str) -> None:
    space = NASBench101(nodes=3, channels=4, stacks=1, cells_per_stack=1)
    result = search(name, 25, space, ask=lambda a: float(sum(value == "1" for _, value in a.choices)))
    assert len(result.curve) == 25
    assert len({space.canonical(one.architecture) for one in result.ranked}) == 3


@pytest.mark.parametrize("name", METHODS)
def test_a_search_ends_where_all_that_meet_the_limits_were_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "PATIENCE", 5)
    asked: list[Architecture] = []

    def ask(architecture: Architecture) -> float:
        asked.append(architecture)
        return accuracy(architecture)

    result = search(name, 125, limits=SMALLEST, ask=ask)
    cells = SPACE.decode(SPACE.enumerate()[SMALLEST.mask(SPACE, SPACE.enumerate())])
    assert len(asked) == len(set(asked)) and set(asked) <= set(cells) and len(result.ranked) == 3
    if name == "naosearch":
        assert len(asked) == len({SPACE.canonical(one) for one in cells})
    elif name == "bestofrandom":  # evolution is ended by NNI when 500 mutations in a row are refused or known
        assert len(asked) == len(result.curve) == 27
    elif name == "tpesearch":  # which asks for what it likes again
        assert len(result.curve) == 125 and result.details["repeated_questions"] == 125 - len(asked)


@pytest.mark.parametrize("name", METHODS)
def test_limits_that_nothing_meets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "PATIENCE", 5)
    with pytest.raises(ConfigError, match=r"no architecture of NASBench201.* meets the limits"):
        search(name, limits=Limits(max_parameters=1))


class InTurn:
    """Suggests all cells in turn, and writes down what it is told."""

    def __init__(self) -> None:
        self.waiting = [one.as_dict() for one in SPACE.decode(SPACE.enumerate())]
        self.told: list[tuple[str, float]] = []
        self.imported: list[tuple[str, float]] = []
        self.ended: list[bool] = []

    def generate_multiple_parameters(self, numbers: list[int]) -> list[dict[str, str]]:
        return [self.waiting.pop(0)] if self.waiting else []

    def receive_trial_result(self, number: int, parameters: dict[str, str], value: float) -> None:
        self.told.append((SPACE.to_string(SPACE.architecture(parameters)), value))

    def trial_end(self, number: int, success: bool) -> None:
        self.ended.append(success)

    def import_data(self, data: list[dict[str, Any]]) -> None:
        self.imported += [(SPACE.to_string(SPACE.architecture(one["parameter"])), one["value"]) for one in data]


def test_a_tuner_is_told_the_worst_value_of_what_was_refused_once_it_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "PATIENCE", 1000)
    tuner, limits = InTurn(), SMALLEST
    asked = Questions(problem("tpesearch", 125, limits=limits), 125)
    _drive(tuner, asked, told_after=4)
    cells = SPACE.decode(SPACE.enumerate())
    within = limits.mask(SPACE, SPACE.enumerate())
    answers: list[float] = []
    expected = []
    for cell, admitted in zip(cells, within, strict=True):
        if admitted:
            answers.append(accuracy(cell))
        if admitted or len(answers) >= 4:
            expected.append((SPACE.to_string(cell), answers[-1] if admitted else min(answers)))
    assert tuner.told == expected and len(tuner.ended) == 125 and sum(tuner.ended) == len(expected)
    assert len(asked.curve) == 27 and asked.refused == 98 and not tuner.imported


def test_a_random_architecture_takes_the_place_of_what_is_refused_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "PATIENCE", 2)
    monkeypatch.setattr(drawing, "PATIENCE", 5)
    tuner = InTurn()
    asked = Questions(problem("tpesearch", 125, limits=SMALLEST), 125)
    _drive(tuner, asked, told_after=None)
    assert len(asked.answers) == 27 and asked.replaced == len(tuner.imported) > 0
    assert [row["value"] for row in asked.curve if row["value"] not in {value for _, value in tuner.told}]
    assert all(value == accuracy(SPACE.parse(cell)) for cell, value in [*tuner.told, *tuner.imported])
    assert SMALLEST.mask(SPACE, SPACE.encode([SPACE.parse(cell) for cell, _ in tuner.imported])).all()
    assert len({cell for cell, _ in tuner.imported}) == len(tuner.imported)


def test_tpe_is_no_grid_search() -> None:
    """NNI's own tuner replaces every repeated suggestion by the next point of a grid: in 125 cells all would be asked."""
    result = search("tpesearch", 125)
    different = 125 - result.details["repeated_questions"]
    assert 20 <= different < 100 and result.details["replaced_suggestions"] == 0


def test_the_last_queries_are_kept_for_new_architectures_where_too_few_would_be_found() -> None:
    cell = SPACE.decode(SPACE.enumerate()[:1])[0]
    asked = Questions(problem("tpesearch", 4, found=3), 4)
    while asked.open:
        architecture = asked.admitted(cell.as_dict())
        assert architecture is not None
        asked.ask(architecture)
    assert len(asked.answers) == len(asked.ranked()) == 3
    assert asked.counts == {"refused_suggestions": 0, "replaced_suggestions": 2, "repeated_questions": 1}


def test_a_repeated_question_costs_a_query_and_is_answered_from_memory() -> None:
    calls: list[Architecture] = []

    def ask(architecture: Architecture) -> float:
        calls.append(architecture)
        return float(len(calls))

    asked = Questions(problem("bestofrandom", 5, ask=ask), 5)
    first, second = SPACE.decode(SPACE.enumerate()[:2])
    assert [asked.ask(first), asked.ask(second), asked.ask(first)] == [1.0, 2.0, 1.0] and calls == [first, second]
    assert asked.open and [row["query"] for row in asked.curve] == [1.0, 2.0, 3.0] and asked.worst == 1.0


def test_twins_are_listed_only_where_there_would_be_too_few_without_them() -> None:
    twins = [SPACE.parse(f"|none~0|+|{a}~0|none~1|") for a in ("nor_conv_3x3", "nor_conv_1x1")]
    dead = [SPACE.parse(f"|{a}~0|+|nor_conv_3x3~0|none~1|") for a in ("nor_conv_1x1", "avg_pool_3x3")]
    assert len({SPACE.canonical(one) for one in (twins[0], *dead)}) == 1
    order = [*dead, twins[0], twins[1]]
    asked = Questions(problem("bestofrandom", 5, ask=lambda one: -float(order.index(one)), found=2), 5)
    for one in order:
        asked.ask(one)
    assert [one.architecture for one in asked.ranked()] == [dead[0], twins[1]]
    asked.problem = replace(asked.problem, found=3)
    assert [one.architecture for one in asked.ranked()] == [dead[0], dead[1], twins[1]]


def test_a_killed_search_asks_the_same_again() -> None:
    memory: dict[Architecture, float] = {}

    def ask(architecture: Architecture) -> float:
        if architecture not in memory:
            if len(memory) == 7:
                raise KeyboardInterrupt
            memory[architecture] = accuracy(architecture)
        return memory[architecture]

    with pytest.raises(KeyboardInterrupt):
        search("tpesearch", 12, ask=ask)
    known = dict(memory)
    memory.update({one: accuracy(one) for one in SPACE.decode(SPACE.enumerate())})
    result = search("tpesearch", 12, ask=ask)
    assert [row["value"] for row in result.curve[:7]] == list(known.values())
    assert result == replace(search("tpesearch", 12), score=None)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("tpesearch", {"queries": 0}, "queries"),
        ("tpesearch", {"startup": 3}, "startup"),
        ("evolutionsearch", {"population_size": 4}, "sample_size <= population_size must hold, but got 25 and 4"),
        ("naosearch", {"controller": {"epochs": 0}}, "epochs"),
    ],
)
def test_wrong_settings(name: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        strategy_plugin(name).search_settings.model_validate(values)


def test_too_few_queries() -> None:
    with pytest.raises(ConfigError, match=r"search.queries: 2 give no 3 different architectures \(found\)"):
        strategy_plugin("bestofrandom").check(problem("bestofrandom", 2))


def test_somebody_must_answer() -> None:
    with pytest.raises(ConfigError, match="needs somebody who answers"):
        search("bestofrandom", ask=None)


# -- architectures from elsewhere --------------------------------------------------------------------------------------
CELLS = [SPACE.to_string(one) for one in SPACE.decode(SPACE.enumerate())[60:66]]
Given = Callable[..., Setup]


@pytest.fixture
def given(tmp_path: Path) -> Given:
    """The setup of a file with ``content``."""

    def make(content: Any, found: int = 2, seeds: tuple[int, ...] = (0, 1), **limits: int) -> Setup:
        file = tmp_path / "given.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        settings = strategy_plugin("precomputed").search_settings.model_validate({"file": str(file)})
        return Setup(SPACE, settings, None, None, Limits.model_validate(limits), found, seeds)

    return make


def precomputed(setup: Setup, seed: int) -> list[str]:
    plugin = strategy_plugin("precomputed")
    plugin.check_files(setup)
    result = plugin.search(Problem(**vars(setup), seed=seed))
    assert [one.score for one in result.ranked] == [-1.0, -2.0] and result.cost == {"queries": 0, "search_epochs": 0}
    return [SPACE.to_string(one.architecture) for one in result.ranked]


def test_architectures_of_a_result(given: Given) -> None:
    searches: list[dict[str, Any]] = [
        {"seed": seed, "result": {"found": [{"choices": SPACE.parse(cell).as_dict(), "score": None} for cell in cells]}}
        for seed, cells in ((0, CELLS[:3]), (1, CELLS[3:]))
    ]
    setup = given({"schema": 2, "searches": [*searches, {"seed": 2, "status": "failed"}]})
    assert precomputed(setup, 0) == CELLS[:2] and precomputed(setup, 1) == CELLS[3:5]


def test_architectures_by_seed_in_any_form(given: Given) -> None:
    setup = given({"0": CELLS[:2], "1": [SPACE.parse(CELLS[4]).as_dict(), SPACE.parse(CELLS[5]).to_json()]})
    assert precomputed(setup, 0) == CELLS[:2] and precomputed(setup, 1) == CELLS[4:]
    one = given({"0": CELLS[0]}, 1, (0,))
    strategy_plugin("precomputed").check_files(one)


def test_what_stands_in_the_file_is_part_of_the_identity(given: Given) -> None:
    plugin = strategy_plugin("precomputed")
    before = plugin.contents(given({"0": CELLS[:2]}))
    assert plugin.contents(given({"0": CELLS[:2]})) == before != plugin.contents(given({"0": CELLS[1:3]}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON file"),
        ("[]", "is neither a search's result.json nor"),
        ({"searches": [{"seed": 0, "result": {}}]}, "is neither a search's result.json nor"),
        ({"0": CELLS[:2]}, "lacks 2 architectures of seed 1; it has seeds 0"),
        ({"0": CELLS[:2], "1": CELLS[:1]}, "lacks 2 architectures of seed 1; it has seeds 0, 1"),
        ({"0": CELLS[:2], "1": [3, 4]}, "an architecture is a string or a mapping, but got 3"),
        ({"0": CELLS[:2], "1": [CELLS[0], "|non~0|+|none~0|none~1|"]}, "did you mean 'none'"),
        ({"0": CELLS[:2], "1": [CELLS[0], CELLS[0]]}, "stands there twice"),
    ],
)
def test_files_that_hold_no_architectures(given: Given, content: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        strategy_plugin("precomputed").check_files(given(content))
    assert said in str(caught.value)


def test_architectures_beyond_the_limits(given: Given) -> None:
    with pytest.raises(ConfigError, match="is beyond the limits"):
        strategy_plugin("precomputed").check_files(given({"0": CELLS[:2]}, seeds=(0,), max_parameters=1))


def test_files_that_are_not_there(given: Given, tmp_path: Path) -> None:
    setup, model = given({}), strategy_plugin("precomputed").search_settings
    for file, said in ((str(tmp_path / "x.json"), "cannot read"), ("x.json", "must be an absolute path")):
        with pytest.raises(ConfigError, match=f"search.file: {said}"):
            strategy_plugin("precomputed").check_files(replace(setup, search=model.model_validate({"file": file})))
