"""What a trial of a comparison does: one search, or one measurement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.settings import read

from ...experiment.plan import Phase
from ...trial import Reporter
from .jobs import Value, run_job
from .measure import prepare
from .plan import CompareJob
from .queries import digest
from .settings import CompareSettings


def run_trial(parameters: Mapping[str, Any], output: Path) -> Value:
    """Run the job that ``parameters`` name; ``output``: the trial's own folder. Returns what it reports, after its
    curve has been sent.
    """
    trial = parameters["trial"]
    settings = read(CompareSettings, trial["settings"], "settings.")
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    prepare(settings)
    phase: Phase = parameters["phase"]
    choices = None if phase == "search" else {label: parameters[label] for label in settings.search_space.labels}
    job = CompareJob(str(trial["job"]), phase, int(trial["seed"]), choices, policy=str(parameters["policy"]))
    shared = settings.run_folder
    folder = Path(shared) if shared is not None and Path(shared).is_dir() else output / "run"
    below = folder / ("searches" if choices is None else "trained")
    own = below / (f"{job.policy}-{job.seed}" if choices is None else digest(choices))
    report = Reporter(output / "reported", own / "metrics.jsonl", point)
    value = run_job(settings, job, folder, report, trial["known"])
    report.catch_up()
    return value


def point(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the portal gets of an epoch or query: ``default``, and every other number.

    Searches and trainings of all kinds share the portal's graph; ``default`` is the best value of a query so far, else
    an accuracy, else the loss.
    """
    numbers = {key: value for key, value in row.items() if not isinstance(value, str)}
    default = next((numbers[key] for key in ("best", "valid_perplexity", "accuracy", "loss") if key in numbers), 0.0)
    return {"default": default, **numbers}
