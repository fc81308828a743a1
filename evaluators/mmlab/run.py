"""Run a configuration file of mmdet or mmseg with mmengine's Runner: resume, several devices, metrics as they come."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from nni_plugins.spaces.errors import NNIPluginsError, shown

from ..errors import CheckpointError, ConfigError, DataError, TrainingError
from ..files import writing
from ..locks import FolderLock
from ..processes import first_process, started_by_torchrun
from . import checkpoints
from .config_text import without_templates
from .installation import check, cpu_only, for_cuda, require_mm
from .watch import METRICS, Report, percent, watch

UNASKED = (
    "Multi-processing start method",
    "faster_coco_eval is not installed",
    "Default ``avg_non_ignore`` is False",
    "For binary segmentation, we suggest",
    "`torch.jit",
)
OTHERS = ("cv2", "mmcv", "mmengine", "mmdet", "mmseg", "pycocotools", "faster_coco_eval", "PIL", "numpy", "torch")
"""Packages whose exceptions nobody but their authors understands."""
SYNCHRONISED = ("SyncBN", "MMSyncBN")


def run(
    config: Path | str,
    *,
    resume: Literal["auto", "never"] = "auto",
    amp: bool = False,
    device: Literal["auto", "cpu"] = "auto",
    report: Report | None = None,
    progress: Report | None = None,
    log: Path | None = None,
    finish: Callable[[Any], object] | None = None,
    substitute: bool = True,
) -> dict[str, Any]:
    """Train and test what ``config`` says.

    Rows of ``metrics.jsonl`` in the working folder:
    ``{"evaluation" (from 1), "epoch", "iteration", "loss", "learning_rate", metrics in percent}``; ``loss`` is the mean
    since the evaluation before, and is left out where a checkpoint that mmengine alone wrote does not tell it.

    Args:
        config: any configuration file of mmdet or mmseg. It is Python code, and is run: open only what you trust.
        resume: auto: from the last checkpoint in its ``work_dir``, if there is one. never: refuse a folder that has
            one.
        amp: mixed precision, on GPUs only.
        device: cpu: even where there is a GPU.
        report: gets every row, those of an earlier run first.
        progress: gets ``{"iteration", "iterations", "loss", "seconds_left"}`` after every update.
        log: file for what OpenMMLab's packages print; standard output by default.
        finish: gets the runner at the end, with the trained model, on the first process.
        substitute: fill in what the file has in ``{{ ... }}``, as mmengine does.

    Returns:
        ``{"metrics": of the test part, "history": rows, "parameters": {"backbone", "model"}, "iterations", "seconds", "resumed_from",
        "checkpoint"}``; ``seconds`` are this run's.

    Raises:
        ConfigError: a file that mmengine cannot read, a working folder that is not to be resumed.
        CheckpointError: weights that are damaged or more than weights, a folder that another process uses, a disk that
            is full or read-only.
        DataError: an image that turns out broken when it is decoded.
        TrainingError: a loss that is not finite, or what OpenMMLab's packages raise.
        MissingBackend: OpenMMLab's packages are missing.
    """
    with printed_to(log):
        content, scope = _read(Path(config), substitute)
    cuda = device == "auto" and torch.cuda.is_available()
    if cuda and scope == "mmdet" and not for_cuda():
        raise cpu_only()
    content.launcher = "pytorch" if started_by_torchrun() else "none"
    if content.launcher == "none" or not cuda:
        plain_norms(content)
    if amp or content.get("optim_wrapper", {}).get("type") == "AmpOptimWrapper":
        if not cuda:
            raise ConfigError(f"{config}: mmengine's mixed precision needs a GPU.", "Leave it out.")
        content.optim_wrapper.type = "AmpOptimWrapper"
    _seal_checkpoints(content)
    given = content.get("load_from")
    if given is not None and "://" not in str(given) and not Path(str(given)).expanduser().is_file():
        raise CheckpointError(f"{config}: load_from: there is no file {shown(str(given))}.", "Check the path.")
    folder = Path(content.work_dir)
    with writing(folder), FolderLock(folder) if first_process() else contextlib.nullcontext():
        if first_process():
            checkpoints.sweep(folder)
        last = checkpoints.newest(folder)
        if last is not None and resume == "never":
            raise ConfigError(
                f"{folder} holds the checkpoint {last.name} of another run.", "Choose another folder, or resume."
            )
        if last is not None:
            content.load_from, content.resume = str(last), True
        with printed_to(log), _on_cpu(not cuda):
            if content.launcher == "pytorch" and not cuda:
                _join(content)
            with _in_words(log):
                runner = require_mm("mmengine.runner").Runner.from_cfg(content)
            hooks = watch(require_mm("mmengine.hooks").Hook, scope, folder / "metrics.jsonl", report, progress)
            for hook, priority in zip(hooks, ("LOW", "VERY_LOW"), strict=True):
                runner.register_hook(hook, priority=priority)
            began = time.monotonic()
            with _in_words(log):
                runner.train()
                tested = runner.test() if content.get("test_cfg") is not None else None
                if finish is not None and runner.rank == 0:
                    finish(runner)
        final = checkpoints.newest(folder)
    whole = runner.model.module if hasattr(runner.model, "module") else runner.model
    return {
        "metrics": {} if tested is None else percent(tested, scope),
        "history": hooks[1].rows,
        "parameters": {"backbone": _count(whole.backbone), "model": _count(whole)},
        "iterations": runner.iter,
        "seconds": round(time.monotonic() - began, 1),
        "resumed_from": None if last is None else last.name,
        "checkpoint": None if final is None else final.name,
    }


def _read(config: Path, substitute: bool) -> tuple[Any, str]:
    """The configuration and its default scope; from here on no checkpoint that mmengine reads can run code.

    mmengine writes the configuration into its checkpoints and into files in the working folder, which others open as
    Python, so there it is written as we write ours.
    """
    check("mmcv", "mmengine")
    require_mm("nni_plugins.evaluators.mmlab.hooks")
    module = require_mm("mmengine.config")

    class Guarded(module.Config):  # type: ignore[misc, name-defined]
        @property
        def pretty_text(self) -> str:
            return without_templates(super().pretty_text)

    try:
        content = module.Config.fromfile(
            str(config),
            format_python_code=False,
            use_predefined_variables=substitute,
            use_environment_variables=substitute,
        )
        object.__setattr__(content, "__class__", Guarded)
    except NNIPluginsError:
        raise
    except Exception as error:  # whatever Python code raises
        reason = (str(error).splitlines() or [""])[0]
        raise ConfigError(f"{config}: mmengine cannot read it ({type(error).__name__}: {reason}).") from None
    scope = content.get("default_scope")
    if scope not in METRICS:
        raise ConfigError(f"{config}: default_scope must be mmdet or mmseg, but is {shown(scope)}.")
    check(scope)
    return content, str(scope)


def _join(content: Any) -> None:
    """Several processes on CPUs, which mmengine takes for GPUs unless it is told."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    unused = content.get("find_unused_parameters", False)
    wrapper = {
        "type": "MMDistributedDataParallel",
        "device_ids": None,
        "broadcast_buffers": False,
        "find_unused_parameters": unused,
    }
    content.setdefault("model_wrapper_cfg", wrapper)


def _seal_checkpoints(content: Any) -> None:
    """mmengine's hook of checkpoints is replaced by ours, which takes the same arguments."""
    hooks = content.setdefault("default_hooks", {})
    hook = hooks.setdefault("checkpoint", {"type": "CheckpointHook", "interval": 1})
    if hook is not None and hook.get("type") == "CheckpointHook":
        hook["type"] = "SealedCheckpointHook"


def plain_norms(content: Any) -> None:
    """Batch norm for synchronised batch norm, everywhere in a configuration: the latter needs several GPUs."""
    if isinstance(content, dict) or hasattr(content, "_cfg_dict"):
        for key, value in content.items():
            if key == "type" and value in SYNCHRONISED:
                content["type"] = "BN"
            else:
                plain_norms(value)
    elif isinstance(content, list | tuple):
        for value in content:
            plain_norms(value)


@contextlib.contextmanager
def _in_words(log: Path | None) -> Iterator[None]:
    """An exception of a package of others becomes a sentence; all of it stands in the log.

    Raises:
        DataError: a worker process could not read an image.
        TrainingError: any other exception of such a package.
    """
    try:
        yield
    except DataError as error:
        if error.remedy:
            raise
        words = error.problem.rpartition("DataError: ")[2].strip()  # torch puts the traceback of a worker before them
        raise DataError(*words.split("\n", 1)) from None
    except NNIPluginsError:
        raise
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        module = "" if place is None else str(place.tb_frame.f_globals.get("__name__", ""))
        packages = [name.partition(".")[0] for name in (module, type(error).__module__)]
        package = next((name for name in packages if name in OTHERS), None)
        if package is None:
            raise
        traceback.print_exc(file=sys.stdout)
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise TrainingError(
            f"{package} ended with {type(error).__name__}: {reason}.", f"See {log}." if log is not None else ""
        ) from error


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@contextlib.contextmanager
def printed_to(log: Path | None) -> Iterator[None]:
    """Standard output goes to the file ``log``; OpenMMLab's packages print as soon as they are imported, and warn of
    what nobody asked for.
    """
    with contextlib.ExitStack() as stack:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(log, "a", errors="replace"))))
            stack.enter_context(warnings.catch_warnings())
            for message in UNASKED:
                warnings.filterwarnings("ignore", message=message)
        yield


@contextlib.contextmanager
def _on_cpu(wanted: bool) -> Iterator[None]:
    """mmengine looks for a device when it is imported; there is no argument."""
    utils = require_mm("mmengine.device.utils")
    before = utils.DEVICE
    utils.DEVICE = "cpu" if wanted else before
    try:
        yield
    finally:
        utils.DEVICE = before


def main() -> None:
    """``python -m nni_plugins.evaluators.mmlab.run CONFIG``: train, test and print the result."""
    print(json.dumps(run(sys.argv[1]), indent=2))


if __name__ == "__main__":
    main()
