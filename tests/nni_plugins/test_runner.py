"""An experiment in this process: what a resumed run accepts and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged, DataError
from nni_plugins.experiment.run import run_experiment

from .small import settings


def test_a_finished_experiment_is_not_run_again_and_harmless_settings_may_change(tmp_path: Path) -> None:
    jobs: list[str] = []
    first = run_experiment(
        settings(found=1, random=1), tmp_path, lambda job, row: jobs.append(job.name) if row is None else None
    )
    assert jobs == ["search-0", "found-0-1", "random-1"]
    training = {**settings().training.model_dump(), "checkpoint_seconds": 1.5}
    again = run_experiment(
        settings(found=1, random=1, training=training), tmp_path, lambda job, row: jobs.append(job.name)
    )
    assert len(jobs) == 3, "nothing was trained"
    assert again["architectures"] == first["architectures"]
    with pytest.raises(ConfigChanged, match=r"random: 1 -> 2"):
        run_experiment(settings(found=1, random=2), tmp_path)


def test_settings_may_be_corrected_until_a_job_has_begun(tmp_path: Path) -> None:
    broken = settings(found=1, random=1, data={"source": "folder", "path": str(tmp_path / "nowhere")})
    for _ in range(2):
        with pytest.raises(DataError, match="no such folder"):
            run_experiment(broken, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    corrected = settings(found=1, random=1)
    assert len(run_experiment(corrected, tmp_path / "run")["architectures"]) == 2
    with pytest.raises(ConfigChanged, match="random: 1 -> 2"):
        run_experiment(settings(found=1, random=2), tmp_path / "run")


@pytest.mark.parametrize("name", ["config.json", "plan.json"])
def test_damaged_files_are_said_to_be_damaged(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings().model_dump(mode="json")))
    (tmp_path / name).write_text('{"jobs": [')
    with pytest.raises(CheckpointError, match=rf"{name} is damaged \(JSONDecodeError\)"):
        run_experiment(settings(), tmp_path)
