"""Whether OpenMMLab's packages can be used, and the line that mends it if not.

mmcv's operators are compiled for one version of torch. Its package on the index is a source distribution, which leaves
them out, or a wheel for some other torch, so they are compiled here: ``make install-mmlab`` in a clone,
``python -m nni_plugins.evaluators.mmlab.install`` anywhere.
"""

from __future__ import annotations

import importlib
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import MissingBackend

PACKAGES = {
    "mmcv": "onedl-mmcv",
    "mmengine": "onedl-mmengine",
    "mmdet": "onedl-mmdetection",
    "mmseg": "onedl-mmsegmentation",
}
"""Import name -> the maintained fork; the originals have the same import names."""
ORIGINALS = {
    "mmcv": ("mmcv", "mmcv-lite"),
    "mmengine": ("mmengine",),
    "mmdet": ("mmdet",),
    "mmseg": ("mmsegmentation",),
}


class MissingOperators(MissingBackend):
    """mmcv was installed without its compiled operators."""


class WrongBuild(MissingBackend):
    """mmcv's operators were compiled for another torch, or need a library that this machine does not have."""


def remedy() -> str:
    """What to type: in the environment of a clone ``make install-mmlab``, in others the module that it calls."""
    makefile = Path(__file__).resolve().parents[2] / "Makefile"
    inside = makefile.is_file() and Path(sys.prefix).resolve() == (makefile.parent / ".venv").resolve()
    return (
        f"make -C {makefile.parent} install-mmlab"
        if inside
        else f"{shlex.quote(sys.executable)} -m nni_plugins.evaluators.mmlab.install"
    )


def installed(package: str) -> str | None:
    """``distribution version`` of an import name of :data:`PACKAGES`; None if it is not installed."""
    for name in (PACKAGES[package], *ORIGINALS[package]):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return None


def for_cuda() -> bool:
    """Whether mmcv's operators, which work, were compiled for CUDA, too."""
    return str(require_mm("mmcv.ops").get_compiling_cuda_version()) != "not available"


def cpu_only() -> MissingOperators:
    """There is a GPU, and operators for it are missing."""
    words = f"Install CUDA's compiler (nvcc) and type: {remedy()}; or keep the GPU out: CUDA_VISIBLE_DEVICES= nni-plugins ..."
    return MissingOperators("mmcv's operators were compiled for the CPU only, but there is a GPU.", words)


def compiled() -> str:
    """For what mmcv's operators were compiled, where they work: this torch, and CUDA or the CPU only."""
    cuda = str(require_mm("mmcv.ops").get_compiling_cuda_version())
    return f"operators for torch {version('torch')} and {'the CPU only' if cuda == 'not available' else f'CUDA {cuda}'}"


def check(*packages: str) -> None:
    """Import ``packages`` of :data:`PACKAGES`, by default all of them, and mmcv's operators.

    Raises:
        MissingBackend: the first that cannot be used; :class:`MissingOperators`, :class:`WrongBuild` for mmcv's
            operators.
    """
    for name in packages or PACKAGES:
        require_mm(name)
        if name == "mmcv":
            require_mm("mmcv.ops")


def require_mm(module: str) -> Any:
    """The imported ``module`` of one of OpenMMLab's packages.

    Raises:
        MissingBackend: as :func:`check`.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, AssertionError, AttributeError, RuntimeError, OSError) as error:
        raise diagnosis(module, error) from None


def diagnosis(module: str, error: Exception) -> MissingBackend:
    """What an error at the import of ``module`` means."""
    package, text = module.partition(".")[0], (str(error).strip().splitlines() or [""])[0]
    known = installed(package) if package in PACKAGES else None
    line = f"Type: {remedy()}"
    if isinstance(error, ModuleNotFoundError):
        lost = error.name or ""
        if lost == "mmcv._ext":
            return MissingOperators(
                f"{installed('mmcv') or 'mmcv'} has no compiled operators (mmcv._ext is missing).", line
            )
        if lost.partition(".")[0] == package and (lost == package or known is None):
            return MissingBackend(f"{package} is not installed.", line)
        return MissingBackend(f"{known or package} cannot be imported: {lost} is not installed.", line)
    if isinstance(error, ImportError) and text.startswith(("libGL", "libgthread", "libglib")):
        return MissingBackend(
            f"{known or package} cannot be imported: OpenCV needs a library that this machine lacks ({text[:200]}).",
            line,
        )
    if isinstance(error, ImportError) and ("undefined symbol" in text or "_ext" in text or "shared object" in text):
        torch = version("torch")
        return WrongBuild(
            f"{installed('mmcv') or 'mmcv'}: its operators were not compiled for torch {torch} of this environment ({text[:200]}).",
            line,
        )
    return MissingBackend(f"{known or package} cannot be imported: {type(error).__name__}: {text[:200]}", line)
