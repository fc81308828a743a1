"""Any evaluator as one of NNI's: what it reports, where it keeps things, what it is sent as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nni
import pytest
from nni.nas.space import SimplifiedModelSpace

from nni_plugins.evaluators.base import digest
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError, DataError
from nni_plugins.evaluators.nni_evaluator import PluginEvaluator
from nni_plugins.spaces import NASBench201
from nni_plugins.spaces.recurrent import RecurrentCell

SPACE = NASBench201(nodes=3, channels=2, cells_per_stage=1)
CELL, OTHER = SPACE.decode(SPACE.enumerate()[[60, 70]])
SETTINGS: dict[str, Any] = {"training": {"epochs": 1, "batch_size": 32, "accelerator": "cpu"}}


@pytest.fixture(autouse=True)
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strategies that were run in this process leave theirs behind."""
    monkeypatch.setattr(nni, "get_current_parameter", lambda: None)


def test_a_trial_reports_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(nni, "report_final_result", reported.append)
    evaluator = PluginEvaluator("table", space=NASBench201(nodes=3, channels=8, cells_per_stage=1))
    value = evaluator.evaluate(CELL)
    assert not reported, "there is no trial"
    monkeypatch.setattr(nni, "get_current_parameter", lambda: {"e_0_1": "none"})
    assert evaluator.evaluate(CELL) == value and reported == [value]


def test_data_is_the_default_of_evaluators_that_name_none(tmp_path: Path) -> None:
    for data in ({"limit": 48}, DataSettings(limit=48)):
        evaluator = PluginEvaluator("stand_alone", SETTINGS, space=SPACE, data=data)
        assert evaluator.plugin.identity()["data"]["limit"] == 48
    with pytest.raises(ConfigError, match=r"data\.limits: no such key; did you mean 'limit'"):
        PluginEvaluator("stand_alone", space=SPACE, data={"limits": 48})
    cells = RecurrentCell(nodes=2, hidden=4)
    with pytest.raises(DataError, match="no train text"):
        PluginEvaluator("language_model", space=cells, data={"path": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"text: which\? The experiment has none itself"):
        PluginEvaluator("language_model", space=cells)
    with pytest.raises(ConfigError, match="networks of recurrent take no images"):
        PluginEvaluator("stand_alone", space=cells)


def test_every_network_has_a_folder_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    evaluator = PluginEvaluator(
        "stand_alone", {**SETTINGS, "seed": 4}, space=SPACE, data={"limit": 48}, folder=tmp_path
    )
    values = [evaluator.evaluate(network) for network in (CELL, OTHER, "resnet10t")]
    assert {path.name for path in tmp_path.iterdir()} == {digest(CELL), digest(OTHER), "resnet10t"}
    assert evaluator.seed == 4 and [evaluator.evaluate(network) for network in (CELL, OTHER, "resnet10t")] == values
    seeds = [PluginEvaluator("stand_alone", {"seed": 4}, space=SPACE, seed=seed).seed for seed in (None, 0, 5)]
    assert seeds == [4, 0, 5]


def test_smaller_values_are_turned_round(tmp_path: Path) -> None:
    for part, count in (("train", 20), ("valid", 8), ("test", 6)):
        (tmp_path / f"{part}.txt").write_text("a b c d e f g\n" * count)
    training = {"epochs": 1, "batch_size": 4, "bptt": 8, "evaluation_batch": 2, "accelerator": "cpu"}
    space = RecurrentCell(nodes=2, hidden=4)
    evaluator = PluginEvaluator("language_model", {"training": training}, space=space, data={"path": str(tmp_path)})
    cell = space.decode(space.enumerate()[:1])[0]
    value = evaluator.evaluate(cell)
    assert value == -evaluator.plugin.evaluate(cell, 0, None, None).value < -1
    again = nni.load(nni.dump(evaluator))
    assert again.evaluate(space.to_string(cell)) == value


def test_what_nni_sends_to_a_trial_of_its_own() -> None:
    """A frozen model space with its evaluator, as NNI's engine writes it down for another process."""
    evaluator = PluginEvaluator("table", space=NASBench201(nodes=3, channels=8, cells_per_stage=1))
    frozen = SimplifiedModelSpace.from_model(SPACE.supernet(), evaluator).freeze(CELL.as_dict())
    sent = nni.load(nni.dump(frozen))
    assert type(sent.evaluator) is PluginEvaluator and sent.execute() == evaluator.evaluate(CELL)
