"""A wheel, outside of the clone: every file that the package reads is in it, and what it says leads somewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ..import_graph import ROOT

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
SOURCES = ("nni_plugins", "spaces", "strategies", "evaluators", "docs", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel's files, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / "clone" / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder / "clone" / name)
    command = [sys.executable, "-c", BUILD, str(folder)]
    subprocess.run(command, cwd=folder / "clone", check=True, capture_output=True, text=True)
    with zipfile.ZipFile(next(folder.glob("nni_plugins-*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    shutil.rmtree(folder / "clone")
    return folder / "site"


def ran(site: Path, *words: str) -> str:
    """The output of ``nni-plugins`` of the wheel, in a folder without a clone."""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "nni_plugins.cli", *words]
    done = subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_it_has_every_file_that_the_package_reads(site: Path) -> None:
    def data(folder: Path) -> set[str]:
        """Relative paths of the files that are no source, of the package and of what it links to."""
        found = {
            Path(at, name).relative_to(folder)
            for at, _, names in os.walk(folder, followlinks=True)
            for name in names
            if not name.endswith((".py", ".pyc"))
        }
        return {
            str(path)
            for path in found
            if path.suffix in (".yml", ".json", ".csv", ".md") and "reports" not in path.parts
        }

    assert data(site / "nni_plugins") == {
        path for path in data(ROOT / "nni_plugins") if not path.startswith("docs/reference")
    }
    assert not (site / "tests").exists() and not (site / "spaces").exists()


def test_its_commands(site: Path) -> None:
    """Pages, presets and plugins, without the clone that they were written in."""
    assert ran(site, "docs", "docs/data.md") == (ROOT / "docs" / "data.md").read_text() + "\n"
    ran(site, "init", "search.yml", "--preset", "rlnas_digits")
    assert "nni_plugins.trial" in (site.parent / "search.yml").read_text()


def test_install_lines_name_what_an_index_has(site: Path) -> None:
    program = "from nni_plugins.evaluators.backends import install_line; print(install_line('timm'))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=site.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.split() == ["pip", "install", "'timm>=1.0.15'", "torchvision"]
