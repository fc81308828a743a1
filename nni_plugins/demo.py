"""``make demo``: the whole path once, on real images, in a few minutes.

Registers the tuners, runs ``nnictl create`` on the preset ``rlnas_digits``, shows progress, and ends with what was found
beside random architectures and the largest one. Stops the experiment and every process it started, also on Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.errors import NNIPluginsError

from .doctor import OPEN
from .experiment.base import Experiment
from .experiment.file import read_experiment
from .experiment.jobs import Job
from .portal.launch import Launched
from .portal.registration import register_tuners
from .presets import render_preset

PRESET = "rlnas_digits"


class Progress:
    """Prints a line whenever a trial starts, ends, or has trained ten more epochs."""

    def __init__(self, console: Console, experiment: Experiment, launched: Launched) -> None:
        self.console, self.experiment, self.launched = console, experiment, launched
        self.seen: dict[str, str] = {}
        self.started = time.monotonic()

    def __call__(self) -> None:
        for trial in self.launched.manager.trials():
            described = trial["parameters"].get("trial", {}).get("described")
            if described is None:  # submitted by hand in the portal
                continue
            job, note = Job(**described), str(trial["status"])
            if note == "RUNNING":
                curve = self.launched.manager.intermediates(trial["id"])
                if curve and job.phase == "search":
                    epoch = int(curve[-1]["epoch"]) // 10 * 10
                    note = f"RUNNING, {epoch} epochs, loss {curve[-1]['loss']:.4f}" if epoch else note
            elif trial["final"] is not None:
                job.value = trial["final"]
                note += f", {self.experiment.outcome(job)}"
            if self.seen.get(trial["id"]) != note:
                self.seen[trial["id"]] = note
                self.console.print(f"[{time.monotonic() - self.started:5.0f} s] {job.name:30} {note}", highlight=False)


def wait_for(path: Path, seconds: float) -> Path:
    """``path``, once it exists.

    Raises:
        ConfigError: it does not appear.
    """
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise ConfigError(
                f"the experiment is done, but {path} is missing.",
                "Read log/dispatcher.log in the experiment's folder.",
            )
        time.sleep(0.5)
    return path


def demo(config: Path | None, output: Path, port: int | None, minutes: float, console: Console) -> dict[str, Any]:
    """Run the experiment of ``config``, by default of :data:`PRESET`, under NNI; returns its result.

    ``output`` gets ``result.json``, ``report.html`` and ``best.png``, and the experiment's file if it is the preset's.
    """
    output.mkdir(parents=True, exist_ok=True)
    if config is None:
        config = output / f"{PRESET}.yml"
        config.write_text(render_preset(PRESET))
    experiment = read_experiment(config)
    console.print(f"registered tuners: {', '.join(register_tuners())}")
    with Launched(config, port) as launched:
        console.print(
            f"portal: [bold]{launched.url}[/]   (experiment {launched.id}; it stays open until this command ends)"
        )
        console.print(OPEN, soft_wrap=True)
        launched.wait(Progress(console, experiment, launched), 2, minutes)
        shutil.copyfile(wait_for(launched.folder / "run" / "report" / "report.html", 30), output / "report.html")
        shutil.copyfile(launched.folder / "run" / "result.json", output / "result.json")
    result: dict[str, Any] = json.loads((output / "result.json").read_text())
    from .cli.report import draw_best, result_table

    picture = draw_best(result, output)
    console.print(result_table(result))
    console.print(f"report: {output / 'report.html'}   picture of the best found cell: {picture}", soft_wrap=True)
    return result


def main() -> int:
    """Entry point of ``python -m nni_plugins.demo``."""
    parser = argparse.ArgumentParser(prog="python -m nni_plugins.demo", description=__doc__)
    parser.add_argument("--config", type=Path, help=f"an experiment file of a search; default: the preset {PRESET}")
    parser.add_argument("--output", type=Path, default=Path("runs/demo"))
    parser.add_argument("--port", type=int, default=None, help="of the portal; default: a free one")
    parser.add_argument("--minutes", type=float, default=30, help="give up after this long")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the experiment is stopped on the way out
    try:
        demo(arguments.config, arguments.output.resolve(), arguments.port, arguments.minutes, Console())
    except NNIPluginsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("stopped; no process is left behind.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
