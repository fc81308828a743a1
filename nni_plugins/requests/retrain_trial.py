"""``nni-plugins retrain`` as NNI's trialCommand: the tuner's parameters in, the curve and the accuracy out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .retrain import Request, first_process

if TYPE_CHECKING:
    from nni_plugins.evaluators.retraining.evaluator import RetrainResult

FOLDER = "retrain"
"""Of a trial's checkpoints and files, below its own output folder, so that the same trial started again goes on."""
NOT_OF_THE_CURVE = ("images_per_second",)
"""Not in ``metrics.jsonl``, so epochs that are reported late could not have it."""


def in_trial() -> bool:
    """Whether NNI started this process as a trial."""
    return os.environ.get("NNI_PLATFORM") not in (None, "unittest")


def curve_point(row: Mapping[str, Any]) -> dict[str, Any]:
    """``default``: top-1 accuracy of the test images after the epoch, in percent."""
    return {"default": row["top1"], **{key: value for key, value in row.items() if key not in NOT_OF_THE_CURVE}}


def final_value(result: RetrainResult) -> dict[str, float]:
    """What the portal shows of a finished trial; ``default`` is that of the last epoch, which nothing was chosen by."""
    numbers = {key: value for key, value in result.metrics.items() if value is not None}
    return {"default": result.top1, **numbers}


def run_trial(request: Request, tensorboard: bool = False) -> RetrainResult:
    """Train what the tuner and the command line ask for, and report it to NNI.

    Raises:
        ConfigError: a parameter that is no key; and what :meth:`Request.train` raises.
    """
    import nni
    from nni.runtime.env_vars import trial_env_vars

    from ..trial import Reporter, own_parameters

    request = request.with_parameters(own_parameters())
    output = Path(trial_env_vars.NNI_OUTPUT_DIR or ".").resolve()
    folder = output / FOLDER
    report = Reporter(output / "reported", folder / "training" / "metrics.jsonl", curve_point)
    result = request.train(folder, report=report, tensorboard=tensorboard)
    if first_process():
        report.catch_up()
        nni.report_final_result(final_value(result))
    return result
