"""Which process this is, by what torchrun and Fabric put into the environment."""

from __future__ import annotations

import pytest

from nni_plugins.evaluators.processes import TORCHRUN, first_process, process_counts, started_by_torchrun


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (False, True, (1, 1))),
        ({"LOCAL_RANK": "0", "WORLD_SIZE": "2"}, (False, True, (1, 1))),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, (False, False, (1, 1))),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, (True, True, (4, 2))),
        ({"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, (True, False, (4, 2))),
    ],
)
def test_processes(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: tuple[bool, bool, tuple[int, int]]
) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (started_by_torchrun(), first_process(), process_counts()) == expected
