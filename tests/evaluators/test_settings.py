"""Settings: the papers' numbers as defaults, and every mistake named at once."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.evaluators.training.settings import StandAloneSettings, SupernetSettings, TrainingSettings


class Inner(Settings):
    depth: int = 3


class Outer(Settings):
    inner: Inner = Inner()
    maybe: Inner | None = None
    name: str


def problem(model: type[BaseModel], values: Any, where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        read(model, values, where)
    return caught.value.problem


def test_defaults_are_the_papers() -> None:
    s = SupernetSettings()
    assert (s.epochs, s.batch_size, s.learning_rate, s.final_learning_rate) == (250, 64, 0.025, 0.001)
    assert (s.momentum, s.nesterov, s.weight_decay, s.update, s.share_cells) == (0.9, True, 5e-4, "all", None)
    a = StandAloneSettings()
    assert (a.epochs, a.batch_size, a.learning_rate, a.final_learning_rate) == (200, 256, 0.1, 0.0)
    assert (a.momentum, a.nesterov, a.weight_decay) == (0.9, True, 5e-4)
    assert DataSettings().source == "digits"


def test_all_problems_at_once() -> None:
    message = problem(
        SupernetSettings, {"epoch": 3, "batch_size": "many", "momentum": 1, "update": "none", "learning_rate": -0.5}
    )
    assert message.count("; ") >= 4
    assert "epoch: no such key; did you mean 'epochs'?" in message
    assert "batch_size: input should be a valid integer" in message and "but got 'many'" in message
    assert "momentum: input should be less than 1, but got 1" in message
    assert "update: input should be 'all' or 'active', but got 'none'" in message
    assert "learning_rate: input should be greater than 0, but got -0.5" in message


def test_a_key_without_a_close_match_shows_the_known_ones() -> None:
    assert "x1: no such key; known: augmentation, flip, held_out, image_size, limit" in problem(DataSettings, {"x1": 1})


def test_nested_keys() -> None:
    message = problem(Outer, {"inner": {"dept": 1}, "maybe": {"deepth": 1, "depth": "x"}, "name": "n"})
    assert "inner.dept: no such key; did you mean 'depth'?" in message
    assert "maybe.deepth: no such key; did you mean 'depth'?" in message
    assert "maybe.depth: input should be a valid integer" in message and "but got 'x'" in message


def test_where_stands_before_every_key() -> None:
    message = problem(Outer, {"inner": {"dept": 1}}, "tuner.classArgs.")
    assert "tuner.classArgs.inner.dept: no such key" in message and "tuner.classArgs.name: field required" in message


@pytest.mark.parametrize("values", [None, [], "digits", 3])
def test_what_is_no_mapping(values: Any) -> None:
    assert problem(DataSettings, values) == f"configuration: must be a mapping, but got {type(values).__name__}."
    assert problem(DataSettings, values, "data.") == f"data: must be a mapping, but got {type(values).__name__}."


def test_path_goes_with_every_source_but_digits() -> None:
    for source in ("folder", "cifar10", "cifar100", "npz"):
        assert problem(DataSettings, {"source": source}) == "configuration: path must be given, except for digits"
        assert read(DataSettings, {"source": source, "path": "x"}).path == "x"
    assert problem(DataSettings, {"path": "x"}, "data.") == "data: digits takes no path"
    assert problem(DataSettings, {"source": "npz", "path": "x", "image_size": 16}).endswith(
        "npz images keep their size"
    )
    assert read(DataSettings, {"source": "folder", "path": "x", "image_size": 16}).image_size == 16
    assert "source: input should be 'digits', 'folder'" in problem(DataSettings, {"source": "imagenet"})


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        (TrainingSettings, "epochs", 0),
        (TrainingSettings, "batch_size", 1),
        (TrainingSettings, "final_learning_rate", -1e-9),
        (TrainingSettings, "weight_decay", -1),
        (TrainingSettings, "gradient_clip", 0),
        (TrainingSettings, "learning_rate", float("nan")),
        (TrainingSettings, "precision", "8-bit"),
        (TrainingSettings, "devices", 0),
        (TrainingSettings, "checkpoint_seconds", -1),
        (TrainingSettings, "epochs", 2.5),
        (TrainingSettings, "nesterov", "perhaps"),
        (DataSettings, "limit", 1),
        (DataSettings, "padding", -1),
        (DataSettings, "limit_seed", -1),
    ],
)
def test_values_out_of_range(model: type[BaseModel], key: str, value: Any) -> None:
    message = problem(model, {key: value})
    assert message.startswith(f"{key}: ") and message.endswith(f"but got {value!r}")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        TrainingSettings().epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"epochs": 10**400}, "x.epochs"),
        ({"betas": [0, -(2**63)]}, "x.betas.1"),
        ({"a": {"b": [{"c": 2**63}]}}, "x.a.b.0.c"),
    ],
)
def test_numbers_that_nothing_can_hold(values: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(SupernetSettings, values, "x.")
    assert (
        caught.value.problem.startswith(f"{place}: whole numbers must lie between -2^63 and 2^63")
        and len(caught.value.problem) < 120
    )


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        read(SupernetSettings, {"epochs": "e" * 10_000})
    assert "epochs: input should be a valid integer" in caught.value.problem and len(caught.value.problem) < 200


class Numbers(Settings):
    """A list that needs an entry, each of them positive."""

    numbers: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)


def test_a_list_with_a_wrong_entry_is_not_called_too_short() -> None:
    with pytest.raises(ConfigError) as caught:
        read(Numbers, {"numbers": [0]})
    assert caught.value.problem == "numbers.0: input should be greater than or equal to 1, but got 0"
    with pytest.raises(ConfigError, match="numbers: tuple should have at least 1 item"):
        read(Numbers, {"numbers": []})
