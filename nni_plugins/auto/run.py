"""``nni-plugins auto``: look, propose, search and train, and say what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.files import atomic_write, differences, write_json
from nni_plugins.evaluators.processes import cores

from ..experiment.file import read_experiment, render
from ..experiment.result import RESULT
from ..experiment.runner import Progress, run_experiment
from ..experiment.search import SearchExperiment
from .look import look
from .plan import Proposal, Request, propose
from .verdict import Verdict, verdict

EXPERIMENT, PLAN, LATENCIES, MODEL = "experiment.yml", "auto.json", "latency.csv", "model"
SCHEMA_VERSION = 1
Say = Callable[[str], None]
"""Told every sentence for people as soon as it is known."""
Runner = Callable[[Path, Path], None]
"""Runs an experiment file; its results come into the folder."""


@dataclass(frozen=True)
class Outcome:
    """``verdict``: what the trainings say; ``page``: the report; ``model``: folder of weights; ``files``: what is in it;
    ``result``: of the experiment."""

    verdict: Verdict
    page: Path
    model: Path
    files: dict[str, str]
    result: dict[str, Any]


def auto(
    request: Request,
    output: Path,
    say: Say = lambda sentence: None,
    progress: Progress | None = None,
    run: Runner | None = None,
) -> Outcome:
    """From a folder of images to a trained network and a page that says how good it is. Called again with the same
    ``request`` and ``output``, it goes on where it stopped.

    Args:
        output: gets ``experiment.yml``, the experiment's own files, ``page/report.html`` and ``model/``.
        progress: as of :func:`nni_plugins.experiment.runner.run_experiment`.
        run: runs the experiment instead, such as under NNI.

    Raises:
        DataError: what lies in the folder cannot be used, see :func:`nni_plugins.auto.look.look`.
        ConfigError: limits that nothing meets, too little time, or ``output`` holds something else.
    """
    output = output.resolve()
    planned = _stored(request, output) or _plan(request, output)
    for sentence in (*planned["found"], *planned["reasons"]):
        say(sentence)
    experiment = read_experiment(output / EXPERIMENT)
    if not isinstance(experiment, SearchExperiment):
        raise ConfigError(f"{output / EXPERIMENT} is no search any more.", "Choose another --output.")
    if run is None:
        result = run_experiment(experiment, output, progress, processes=None)
    else:
        run(output / EXPERIMENT, output)
        result = json.loads((output / RESULT).read_text())
    judged = verdict(result, planned["judged"], request.beside, planned["harder"])
    from .page import write_page

    handed = _hand_over(experiment, result, output, judged)
    page = write_page(output, planned, judged, result, experiment.settings.search_space, handed)
    return Outcome(judged, page, output / MODEL, handed.files, result)


def _plan(request: Request, output: Path) -> dict[str, Any]:
    """Look at the images, and write down what will be done."""
    from .speed import seconds_per_image

    if output.exists() and any(output.iterdir()) and {place.name for place in output.iterdir()} != {LATENCIES}:
        raise ConfigError(f"{output} holds other files.", "Choose another --output, or delete it.")
    found = look(request.path)
    proposal = propose(found, request, seconds_per_image, output / LATENCIES)
    planned = {
        "schema": SCHEMA_VERSION,
        "request": request.model_dump(mode="json"),
        "found": found.sentences(),
        "reasons": list(proposal.reasons),
        "judged": proposal.judged,
        "harder": proposal.harder,
        "image": proposal.arguments["limits"]["image_size"],
    }
    output.mkdir(parents=True, exist_ok=True)
    atomic_write(output / EXPERIMENT, _text(request, proposal, planned, output).encode())
    write_json(output / PLAN, planned)
    return planned


def _text(request: Request, proposal: Proposal, planned: dict[str, Any], output: Path) -> str:
    comment = "\n".join(["Written by nni-plugins auto.", *planned["found"], *proposal.reasons])
    hours = max(1, round(4 * request.minutes / 60))
    arguments = {**proposal.arguments, "run_folder": str(output)}
    return render("auto", proposal.tuner, arguments, comment, concurrency=cores(), hours=hours)


def _stored(request: Request, output: Path) -> dict[str, Any] | None:
    """What was planned here before; None: nothing was.

    Raises:
        ConfigError: for other wishes; CheckpointError: the file is damaged.
    """
    path = output / PLAN
    if not path.exists():
        return None
    try:
        planned = json.loads(path.read_text())
        wished, schema = planned["request"], int(planned["schema"])
        _ = [*planned["found"], *planned["reasons"], planned["judged"], planned["harder"], planned["image"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path} is damaged.", f"Delete {output} to start over.") from None
    if schema > SCHEMA_VERSION:
        raise CheckpointError(f"{path} has schema {schema}.", "Upgrade nni-plugins to use it.")
    changes = differences(wished, request.model_dump(mode="json"))
    if changes:
        raise ConfigError(
            f"{output} holds a run with other wishes: {'; '.join(changes)}.",
            "Repeat them to go on, or choose another --output.",
        )
    return dict(planned)


def _hand_over(experiment: SearchExperiment, result: dict[str, Any], output: Path, judged: Verdict) -> Any:
    """Of the trainings of the network that is worth it, the first that left weights."""
    from .handover import hand_over

    taken = next(row["choices"] for row in result["architectures"] if row["source"] == judged.taken)
    network = experiment.settings.search_space.architecture(taken)
    for name, plugin in experiment.evaluators.items():
        for row in result["architectures"]:  # of equal jobs only one has been run
            one = row["evaluations"].get(name)
            if one is not None and row["choices"] == taken and _weights(output / one["job"]):
                seed = int(experiment.settings.evaluations[name].seed)
                lines = [judged.sentence, *judged.details]
                return hand_over(output / MODEL, plugin, network, output / one["job"], seed, lines)
    raise CheckpointError(f"no training in {output} left weights.", "Delete the folder to start over.")


def _weights(folder: Path) -> bool:
    return (folder / "initial.json").exists() or (folder / "mmengine" / "last_checkpoint").exists()


def under_nni(port: int | None, minutes: float, say: Say) -> Runner:
    """Runs an experiment file under NNI, whose portal shows it. Its ``run_folder`` is the folder, where a second run finds
    what the trials of an interrupted one left.
    """

    def run(file: Path, output: Path) -> None:
        from ..demo import wait_for
        from ..portal.launch import Launched
        from ..portal.registration import register_tuners

        if (output / RESULT).exists():
            return
        register_tuners()
        with Launched(file, port) as launched:
            say(f"portal: {launched.url} (experiment {launched.id}; it stays open until this command ends)")
            launched.wait(lambda: None, 2, 4 * minutes)
            wait_for(output / "report" / "report.html", 30)

    return run
