"""Install OpenMMLab's packages: ``python -m nni_plugins.evaluators.mmlab.install``. Again does nothing that is done
already.

mmcv's operators are compiled once for each torch, Python and platform; the wheel is kept in a folder named after them,
so that one made for another torch is never used. The forks' packages come without configuration files and tools, which
the originals' wheels contain: those are unpacked beside the environment's other shared files (:func:`shared`), none of
their code is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from ..errors import MissingBackend
from ..processes import cores

MMCV = "onedl-mmcv==2.3.6"
OTHERS = ("onedl-mmengine>=0.10.12", "onedl-mmdetection>=3.5.1", "onedl-mmsegmentation>=1.4.2")
BUILD = ("setuptools>=80,<81", "wheel", "ninja", "psutil")
FILES = {"mmdet": "mmdet==3.3.0", "mmseg": "mmsegmentation==1.2.2"}
"""The last originals, for their configuration files."""
HEADLESS = "opencv-python-headless<4.13"
"""As mmdet's own requirements have it."""
OPERATORS = "import mmcv.ops"
FOR_CUDA = "assert mmcv.ops.get_compiling_cuda_version() != 'not available'"
CHECK = "import mmengine, mmdet.registry, mmseg.registry"
GIGABYTES_A_JOB = 2


def shared(package: str) -> Path:
    """Where the configuration files (``configs``) and programs (``tools``) of mmdet or mmseg lie after the
    installation.
    """
    return Path(sys.prefix) / "share" / "nni-plugins" / package


def wheel_folder(root: Path) -> Path:
    """The folder for wheels that fit this torch, Python and platform, and are compiled with or without CUDA."""
    import torch

    name = f"torch-{torch.__version__}-py{sys.version_info.major}.{sys.version_info.minor}-{sysconfig.get_platform()}"
    return root / f"{name}-{'cuda' if _cuda() else 'cpu'}"


def install(root: Path, constraint: Path | None = None) -> None:
    """Bring this environment into a state in which :data:`OPERATORS` and :data:`CHECK` work; ``root``: of the wheel
    folders.

    Raises:
        MissingBackend: no compiler, or a step that failed; what it printed stands above.
    """
    limits = [] if constraint is None else ["--constraint", str(constraint)]
    operators = f"{OPERATORS}; {FOR_CUDA}" if _cuda() else OPERATORS
    if not _works(f"{operators}; {CHECK}"):
        folder = wheel_folder(root)
        if not _works(operators):
            found = sorted(folder.glob(f"onedl_mmcv-{MMCV.partition('==')[2]}-*.whl"))
            wheel = found[0] if found else _compile(folder, limits)
            _pip("install", "--no-index", "--no-deps", "--force-reinstall", str(wheel))
        _pip(
            "install",
            *limits,
            "--prefer-binary",
            "--only-binary",
            "onedl-mmcv",
            "--find-links",
            str(folder),
            MMCV,
            *OTHERS,
        )
        if not _works("import cv2"):  # OpenCV with windows needs libraries of a desktop; mmcv needs no windows
            _pip("uninstall", "--yes", "opencv-python")
            _pip("install", *limits, "--force-reinstall", "--no-deps", HEADLESS)
        if not _works(f"{operators}; {CHECK}", show=True):
            problem = "everything was installed, but cannot be imported; the error stands above."
            raise MissingBackend(problem, "Remove the environment and install again.")
    for package, requirement in FILES.items():
        if not shared(package).is_dir():
            _unpack(package, requirement)


def _cuda() -> bool:
    """Whether operators for CUDA can be compiled: a device, and the compiler."""
    import torch

    if not torch.cuda.is_available():
        return False
    from torch.utils.cpp_extension import CUDA_HOME

    return CUDA_HOME is not None


def _compile(folder: Path, limits: list[str]) -> Path:
    """Compile mmcv with operators; the wheel appears in ``folder`` when it is whole."""
    import torch

    compiler = os.environ.get("CXX") or next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if compiler is None or shutil.which(compiler.split()[0]) is None:
        raise MissingBackend(
            "a C++ compiler is needed for mmcv's operators, but none is on the PATH.",
            "On Debian and Ubuntu: apt-get install g++",
        )
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise MissingBackend(
            "Python's headers are needed for mmcv's operators, but they are missing.",
            "On Debian and Ubuntu: apt-get install python3-dev",
        )
    _pip("install", *limits, *BUILD)
    folder.mkdir(parents=True, exist_ok=True)
    jobs = os.environ.get("MAX_JOBS") or str(_jobs())
    environment = {
        **os.environ,
        "MMCV_WITH_OPS": "1",
        "MAX_JOBS": jobs,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if torch.cuda.is_available() and not _cuda():
        print(
            "There is a GPU, but no CUDA compiler (nvcc): operators are compiled for the CPU only. Detectors then run on the CPU only."
        )
        environment["CUDA_VISIBLE_DEVICES"] = ""
    print(
        f"Compiling {MMCV} for torch {torch.__version__} into {folder}: half an hour on one core, {jobs} at work.",
        flush=True,
    )
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # pip's own cache does not know for which torch a wheel was compiled
        _pip(
            "wheel",
            "--no-cache-dir",
            "--no-build-isolation",
            "--no-deps",
            "--no-binary",
            "onedl-mmcv",
            "--wheel-dir",
            scratch,
            MMCV,
            env=environment,
        )
        (wheel,) = Path(scratch).glob("*.whl")
        return wheel.rename(folder / wheel.name)


def _jobs() -> int:
    """As many compilers as there are cores and memory for."""
    import psutil

    return max(1, min(cores(), int(psutil.virtual_memory().available / 1e9 / GIGABYTES_A_JOB)))


def _unpack(package: str, requirement: str) -> None:
    """Take configuration files and tools out of an original's wheel."""
    target = shared(package)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", scratch, requirement)
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(
                scratch,
                [name for name in archive.namelist() if name.startswith(f"{package}/.mim/") or "LICENSE" in name],
            )
        for path in Path(scratch).glob("*.dist-info/**/LICENSE*"):
            path.rename(Path(scratch, package, ".mim", "LICENSE"))
        Path(scratch, package, ".mim").rename(target)


def _works(statement: str, show: bool = False) -> bool:
    return (
        subprocess.run([sys.executable, "-c", statement], stderr=None if show else subprocess.DEVNULL).returncode == 0
    )


def _pip(command: str, *words: str, env: dict[str, str] | None = None) -> None:
    quiet = [] if command == "wheel" else ["--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", command, "--disable-pip-version-check", "--no-input", *quiet, *words], env=env
    )
    if done.returncode:
        raise MissingBackend(
            f"pip {command} {' '.join(words)} failed with status {done.returncode}; what it printed stands above."
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Install mmcv with compiled operators, mmengine, mmdet and mmseg into this environment."
    )
    parser.add_argument(
        "--wheels",
        type=Path,
        default=Path.home() / ".cache" / "nni-plugins" / "wheels",
        help="folder of the folders of wheels",
    )
    parser.add_argument("--constraint", type=Path, help="a file of versions, as pip's --constraint")
    options = parser.parse_args()
    try:
        install(options.wheels, options.constraint)
    except MissingBackend as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
