"""One job of a comparison, wherever it runs, and the file that it leaves when it is finished."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, cast

import yaml

from nni_plugins.evaluators.errors import CheckpointError, ConfigChanged
from nni_plugins.evaluators.files import atomic_write, write_json
from nni_plugins.evaluators.training.settings import MAY_CHANGE

from .evaluation_settings import TableEvaluation
from .plan import CompareJob
from .policy_settings import ExperimentPolicy, PrecomputedPolicy, QueriesPolicy
from .settings import CompareSettings

SCHEMA_VERSION = 1
CONFIG = "config.yml"
Value = dict[str, Any]


def run_job(
    settings: CompareSettings, job: CompareJob, folder: Path | None, report: Any = None, known: Value | None = None
) -> Value:
    """Search, or measure; returns what a trial reports: ``default``, numbers, and ``result`` with everything that is
    none.

    ``folder``: of the comparison, below which the job has one for checkpoints. ``known``: the value of the same
    architecture, which is then not measured again; ``result.reused`` says so.
    """
    if job.phase == "search":
        from .policies import search

        own = None if folder is None else folder / "searches" / f"{job.policy}-{job.seed}"
        found = search(settings, job.policy, job.seed, own, report)
        score = found["found"][0]["score"]
        return {"default": 0.0 if score is None else score, "seconds": found.pop("seconds"), "result": found}
    if known is not None:
        return {**known, "result": {**known["result"], "reused": True}}
    from .measure import measure
    from .queries import digest

    assert job.choices is not None
    measured = measure(
        settings, job.choices, None if folder is None else folder / "trained" / digest(job.choices), report
    )
    numbers = {**measured["measures"], "seconds": measured["seconds"]}
    return {
        "default": measured["value"],
        **numbers,
        "result": {"measures": measured["measures"], "curve": measured["curve"], "reused": False},
    }


# -- files -------------------------------------------------------------------------------------------------------------
def save_config(settings: CompareSettings, folder: Path) -> None:
    """Write down the settings, complete."""
    atomic_write(folder / CONFIG, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, width=130).encode())


def path_of(folder: Path, job: CompareJob) -> Path:
    """The file of a finished job."""
    return folder / "runs" / f"{job.name}.json"


def save(settings: CompareSettings, job: CompareJob, folder: Path) -> None:
    """Write down what a finished job found."""
    write_json(
        path_of(folder, job), {"schema": SCHEMA_VERSION, "identity": identity(settings, job), "value": job.value}
    )


def load(settings: CompareSettings, job: CompareJob, folder: Path) -> Value | None:
    """The value of a job that has been finished in ``folder``, or None.

    Raises:
        ConfigChanged: it was done with other settings; the message names them.
        CheckpointError: the file is damaged.
    """
    path = path_of(folder, job)
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        stored, value = content["identity"], cast(Value, content["value"])
        _ = value["default"], value["result"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path} is damaged.", "Delete it to run this job again.") from None
    from nni_plugins.evaluators.training.checkpoint import diff

    changes = diff(stored, json.loads(json.dumps(identity(settings, job))))
    if changes:
        raise ConfigChanged(
            f"{path} was made with other settings: {'; '.join(changes)}.",
            "Restore them to go on (policies and seeds may be added), or choose another folder to start over.",
        )
    return value


def identity(settings: CompareSettings, job: CompareJob) -> dict[str, Any]:
    """Everything that a job's value depends on."""
    whole = settings.model_dump(mode="json")
    evaluation, policy = _lasting(whole["evaluation"]), settings.policies.get(job.policy)
    if isinstance(settings.evaluation, TableEvaluation):
        evaluation["content"] = _content(settings)
    if job.phase != "search":
        return {"space": whole["space"], "evaluation": evaluation, "choices": job.choices}
    described: dict[str, Any] = {"space": whole["space"], "per_search": settings.per_search, "seed": job.seed}
    if isinstance(policy, ExperimentPolicy):
        experiment = settings.experiment(job.policy, job.seed).model_dump(
            mode="json", include={"strategy", "data", "objective", "training", "search"}
        )
        return {
            **described,
            "policy": {"kind": policy.kind, "strategy": policy.strategy.lower(), **_lasting(experiment)},
        }
    described["policy"] = _lasting(whole["policies"][job.policy])
    if isinstance(policy, QueriesPolicy):
        return {**described, "evaluation": evaluation}
    if not isinstance(
        policy, PrecomputedPolicy
    ):  # recurrent searches read the text; strategies may be given anything of the evaluation
        described["evaluation"] = evaluation
    return described


def _content(settings: CompareSettings) -> list[int]:
    """Checksums of the metrics of the table, which may have been replaced by another of the same name."""
    from .measure import open_table

    assert isinstance(settings.evaluation, TableEvaluation)
    table = open_table(settings)
    return [
        zlib.crc32(table.metric(name).tobytes())
        for name in (settings.evaluation.metric, settings.evaluation.metric_name)
    ]


def _lasting(part: Any) -> Any:
    """Without what may change between the runs of one training."""
    return (
        {key: _lasting(value) for key, value in part.items() if key not in MAY_CHANGE}
        if isinstance(part, dict)
        else part
    )
