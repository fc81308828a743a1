"""What tests of strategies share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nni.nas.experiment import NasExperiment
from nni.nas.experiment import experiment as nni_experiment
from nni.tools.nnictl.config_utils import Experiments


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., NasExperiment]:
    """Runs an experiment that writes only below ``tmp_path``."""
    monkeypatch.setattr(nni_experiment, "Experiments", functools.partial(Experiments, home_dir=str(tmp_path)))

    def start(model_space: Any, evaluator: Any, strategy: Any) -> NasExperiment:
        experiment = NasExperiment(model_space, evaluator, strategy)
        experiment.config.experiment_working_directory = str(tmp_path)
        try:
            experiment.run()
        finally:
            experiment.stop()
        return experiment

    return start
