"""Run a configuration file of mmdet or mmseg with mmengine's Runner: resume, several devices, metrics as they come."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from nni_plugins.spaces.errors import NNIPluginsError, shown

from ..errors import ConfigError
from ..processes import started_by_torchrun
from .installation import check, cpu_only, for_cuda, require_mm
from .watch import METRICS, Report, percent, watch

UNASKED = (
    "faster_coco_eval is not installed",
    "Default ``avg_non_ignore`` is False",
    "For binary segmentation, we suggest",
    "`torch.jit",
)
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
) -> dict[str, Any]:
    """Train and test what ``config`` says.

    Rows of ``metrics.jsonl`` in the working folder:
    ``{"evaluation" (from 1), "epoch", "iteration", "loss", "learning_rate", metrics in percent}``.

    Args:
        config: any configuration file of mmdet or mmseg.
        resume: auto: from the last checkpoint in its ``work_dir``, if there is one. never: refuse a folder that has
            one.
        amp: mixed precision, on GPUs only.
        device: cpu: even where there is a GPU.
        report: gets every row, those of an earlier run first.
        progress: gets ``{"iteration", "iterations", "loss", "seconds_left"}`` after every update.
        log: file for what OpenMMLab's packages print; standard output by default.
        finish: gets the runner at the end, with the trained model, on the first process.

    Returns:
        ``{"metrics": of the test part, "history": rows, "parameters": {"backbone", "model"}, "iterations", "seconds", "resumed_from",
        "checkpoint"}``; ``seconds`` are this run's.

    Raises:
        ConfigError: a file that mmengine cannot read, a working folder that is not to be resumed.
        TrainingError: a loss that is not finite.
        MissingBackend: OpenMMLab's packages are missing.
    """
    with printed_to(log):
        content, scope = _read(Path(config))
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
    folder = Path(content.work_dir)
    last = last_checkpoint(folder)
    if last is not None and resume == "never":
        raise ConfigError(
            f"{folder} holds the checkpoint {last.name} of another run.", "Choose another folder, or resume."
        )
    if last is not None:
        content.load_from, content.resume = str(last), True
    with printed_to(log), _on_cpu(not cuda):
        if content.launcher == "pytorch" and not cuda:
            _join(content)
        runner = require_mm("mmengine.runner").Runner.from_cfg(content)
        hook = watch(require_mm("mmengine.hooks").Hook, scope, folder / "metrics.jsonl", report, progress)
        runner.register_hook(hook, priority="VERY_LOW")
        began = time.monotonic()
        runner.train()
        tested = runner.test() if content.get("test_cfg") is not None else None
        if finish is not None and runner.rank == 0:
            finish(runner)
    whole = runner.model.module if hasattr(runner.model, "module") else runner.model
    return {
        "metrics": {} if tested is None else percent(tested, scope),
        "history": hook.rows,
        "parameters": {"backbone": _count(whole.backbone), "model": _count(whole)},
        "iterations": runner.iter,
        "seconds": round(time.monotonic() - began, 1),
        "resumed_from": None if last is None else last.name,
        "checkpoint": str(last_checkpoint(folder)),
    }


def _read(config: Path) -> tuple[Any, str]:
    """The configuration and its default scope."""
    check("mmcv", "mmengine")
    try:
        content = require_mm("mmengine.config").Config.fromfile(str(config), format_python_code=False)
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


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that mmengine says is the last, if it exists; else the newest that has been written, which a kill
    may have cut short.
    """
    pointer = folder / "last_checkpoint"
    named = Path(pointer.read_text().strip()) if pointer.is_file() else None
    if named is not None and str(named) != "." and (folder / named.name).is_file():
        return folder / named.name
    found = [path for path in folder.glob("*_*.pth") if path.stem.split("_")[-1].isdigit()]
    return max(found, key=lambda path: int(path.stem.split("_")[-1]), default=None) if named is not None else None


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
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(log, "a"))))
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
