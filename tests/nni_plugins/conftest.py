"""Nothing here touches the user's NNI: its configuration, its experiments and the home folder are temporary."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nni_plugins import cli
from nni_plugins.cli import console as terminal
from nni_plugins.experiment import runner

from .small import Answer, Cli


@pytest.fixture(autouse=True, scope="package")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary home, NNI configuration and matplotlib cache, for this process and its children."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        import matplotlib

        patch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())  # not built anew in every process
        patch.setenv("HOME", str(home))
        patch.setenv("NNI_CONFIG_DIR", str(home / "nni"))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("NNI_TUNER_COMMAND_CHANNEL", "NNI_TRIAL_COMMAND_CHANNEL", "NNI_CHECKPOINT_DIRECTORY"):
            patch.delenv(name, raising=False)
        yield home


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """``nni-plugins`` with these words, in this process, jobs included unless ``--processes`` says otherwise."""
    monkeypatch.setattr(terminal.console, "_width", 250)
    monkeypatch.setattr(runner, "cores", lambda: 1)

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["nni-plugins", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Answer(int(caught.value.code or 0), out, err)

    return call
