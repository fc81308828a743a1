"""``make demo``: the whole path once, on real images, in a few minutes.

Registers the tuners, runs ``nnictl create`` on ``examples/rlnas_digits.yml``, shows progress, and ends with what was
found beside random architectures. Stops the experiment and every process it started, also on Ctrl-C.
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

from .experiment.file import from_yaml
from .experiment.scores import outcome
from .portal.launch import Launched
from .portal.registration import register

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "rlnas_digits.yml"


class Progress:
    """Prints a line whenever a trial starts, ends, or has trained ten more epochs."""

    def __init__(self, console: Console, experiment: Launched) -> None:
        self.console, self.experiment = console, experiment
        self.seen: dict[str, str] = {}
        self.started = time.monotonic()

    def __call__(self) -> None:
        for trial in self.experiment.manager.trials():
            job = trial["parameters"].get("trial", {}).get("job", trial["id"])
            note = str(trial["status"])
            if note == "RUNNING":
                curve = self.experiment.manager.intermediates(trial["id"])
                if curve and job.startswith("search"):
                    epoch = int(curve[-1]["epoch"]) // 10 * 10
                    note = f"RUNNING, {epoch} epochs, loss {curve[-1]['loss']:.4f}" if epoch else note
            elif trial["final"] is not None:
                note += f", {'' if 'accuracy' in trial['final'] else 'largest '}{outcome(trial['final'])}"
            if self.seen.get(trial["id"]) != note:
                self.seen[trial["id"]] = note
                self.console.print(f"[{time.monotonic() - self.started:5.0f} s] {job:10} {note}", highlight=False)


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
                f"Read {path.parent.parent / 'log' / 'dispatcher.log'}.",
            )
        time.sleep(0.5)
    return path


def demo(config: Path, output: Path, port: int | None, minutes: float, console: Console) -> dict[str, Any]:
    """Run the experiment of ``config`` under NNI and leave ``result.json`` and ``best.png`` in ``output``; returns the
    result.
    """
    from_yaml(config)
    console.print(f"registered tuners: {', '.join(register())}")
    with Launched(config, port) as experiment:
        console.print(
            f"portal: [bold]{experiment.url}[/]   (experiment {experiment.id}; it stays open until this command ends)"
        )
        experiment.wait(Progress(console, experiment), 2, minutes)
        result_file = wait_for(experiment.folder / "run" / "result.json", 15)
        output.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(result_file, output / "result.json")
    result: dict[str, Any] = json.loads((output / "result.json").read_text())
    from .cli.report import draw_best, result_table

    picture = draw_best(result, output)
    console.print(result_table(result))
    console.print(f"result: {output / 'result.json'}   picture of the best found cell: {picture}", soft_wrap=True)
    return result


def main() -> int:
    """Entry point of ``python -m nni_plugins.demo``."""
    parser = argparse.ArgumentParser(prog="python -m nni_plugins.demo", description=__doc__)
    parser.add_argument("--config", type=Path, default=EXAMPLE, help="an experiment file of this package")
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
