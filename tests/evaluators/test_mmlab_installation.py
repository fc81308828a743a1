"""Installing OpenMMLab's packages, and what is said where they do not work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nni_plugins.evaluators.errors import MissingBackend
from nni_plugins.evaluators.mmlab import install
from nni_plugins.evaluators.mmlab.installation import diagnosis, remedy


def stub(folder: Path, ops: str) -> str:
    """A package mmcv whose operators end like this; what ``check`` then says."""
    (folder / "mmcv" / "ops").mkdir(parents=True)
    (folder / "mmcv" / "__init__.py").write_text("__version__ = '2.3.6'\n")
    (folder / "mmcv" / "ops" / "__init__.py").write_text(ops)
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\nfrom nni_plugins.evaluators.mmlab.installation import check\ntry:\n    check()\n"
    code += "except Exception as e:\n    print(type(e).__name__, e)\nelse:\n    print('fine')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_mmcv_without_operators(tmp_path: Path) -> None:
    said = stub(tmp_path, "import importlib\nimportlib.import_module('mmcv._ext')\n")
    assert (
        said.startswith("MissingOperators")
        and "has no compiled operators (mmcv._ext is missing).\nType: " in said
        and remedy() in said
    )


def test_mmcv_of_another_torch(tmp_path: Path) -> None:
    symbol = "_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN3c106detail14torchCheckFailE"
    said = stub(tmp_path, f"raise ImportError({symbol!r})\n")
    assert (
        said.startswith("WrongBuild")
        and "not compiled for torch" in said
        and "undefined symbol" in said
        and remedy() in said
    )


def test_mmcv_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['mmcv'] = None\nfrom nni_plugins.evaluators.mmlab.installation import check\ncheck()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 1 and "MissingBackend: mmcv is not installed.\nType: " in answer.stderr


def test_other_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    said = diagnosis(
        "mmdet", AssertionError("MMCV==2.3.6 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0.")
    )
    assert "cannot be imported: AssertionError: MMCV==2.3.6 is used but incompatible" in said.problem
    lost = diagnosis("mmseg.models", ModuleNotFoundError("No module named 'ftfy'", name="ftfy"))
    assert lost.problem.endswith("cannot be imported: ftfy is not installed.")
    desktop = diagnosis("mmcv", ImportError("libGL.so.1: cannot open shared object file: No such file or directory"))
    assert (
        "OpenCV needs a library that this machine lacks (libGL.so.1" in desktop.problem
        and type(desktop) is MissingBackend
    )
    clone = Path(__file__).resolve().parents[2]
    monkeypatch.setattr(sys, "prefix", str(clone / ".venv"))
    assert remedy() == f"make -C {clone} install-mmlab"
    monkeypatch.setattr(sys, "prefix", "/opt/conda")
    monkeypatch.setattr(sys, "executable", "/opt/my conda/bin/python")
    assert remedy() == "'/opt/my conda/bin/python' -m nni_plugins.evaluators.mmlab.install", (
        "the environment that is in use, not the clone's"
    )


class Shell:
    """pip and Python's imports, played: ``works`` are the statements that run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path, *works: str) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.works, self.desktop = set(works), True
        monkeypatch.setattr(install, "_cuda", lambda: False)
        monkeypatch.setattr(install, "_works", lambda statement, show=False: statement in self.works)
        monkeypatch.setattr(install, "_pip", self.pip)
        monkeypatch.setattr(install, "shared", lambda package: home / package)
        for package in install.FILES:
            (home / package).mkdir(exist_ok=True)

    def pip(self, *words: str, env: dict[str, str] | None = None) -> None:
        self.ran.append(words)
        if words[0] == "wheel":
            assert (
                env is not None
                and env["MMCV_WITH_OPS"] == "1"
                and int(env["MAX_JOBS"]) >= 1
                and "--no-cache-dir" in words
            )
            Path(words[words.index("--wheel-dir") + 1], "onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl").write_bytes(
                b"wheel"
            )
        if install.MMCV in words and words[0] == "install":
            self.works |= {f"{install.OPERATORS}; {install.CHECK}", *(["import cv2"] if self.desktop else [])}
        if install.HEADLESS in words:
            self.works.add("import cv2")


def test_installation_is_done_once_for_each_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", sys.executable)  # any program that exists
    first = Shell(monkeypatch, tmp_path)
    install.install(tmp_path / "wheels", Path("constraints.txt"))
    assert [words[0] for words in first.ran] == [
        "install",
        "wheel",
        "install",
        "install",
    ] and "setuptools>=80,<81" in first.ran[0]
    folder = install.wheel_folder(tmp_path / "wheels")
    assert torch.__version__ in folder.name and [path.name for path in folder.iterdir()] == [
        "onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl"
    ]
    assert "--force-reinstall" in first.ran[2] and "--no-index" in first.ran[2] and str(folder) in first.ran[2][-1]
    assert first.ran[3][1:3] == ("--constraint", "constraints.txt")
    again = Shell(monkeypatch, tmp_path, f"{install.OPERATORS}; {install.CHECK}")
    install.install(tmp_path / "wheels")
    assert again.ran == []
    fresh = Shell(monkeypatch, tmp_path)  # a new environment finds the wheel
    install.install(tmp_path / "wheels")
    assert [words[0] for words in fresh.ran] == ["install", "install"]
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    assert not install.wheel_folder(tmp_path / "wheels").exists()


def test_installation_without_the_libraries_of_a_desktop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", sys.executable)
    server = Shell(monkeypatch, tmp_path)
    server.desktop = False
    install.install(tmp_path / "wheels")
    assert [words[0] for words in server.ran] == ["install", "wheel", "install", "install", "uninstall", "install"]
    assert (
        server.ran[-2][-1] == "opencv-python"
        and server.ran[-1][-1] == install.HEADLESS
        and "import cv2" in server.works
    )


def test_installation_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Shell(monkeypatch, tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingBackend, match=r"a C\+\+ compiler is needed[\s\S]*apt-get install g\+\+"):
        install.install(tmp_path / "wheels")
