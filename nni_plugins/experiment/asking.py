"""Answers for strategies that ask for the values of architectures, kept so that a killed search asks nothing twice."""

from __future__ import annotations

from pathlib import Path

from nni_plugins.evaluators.base import EvaluatorPlugin, digest
from nni_plugins.evaluators.errors import CheckpointError
from nni_plugins.evaluators.files import parse_json, write_json
from nni_plugins.spaces.architecture import Architecture

ANSWERS = "answers.json"


class Asked:
    """Answers questions by an evaluator's :meth:`~EvaluatorPlugin.ask`; the same question again is answered from memory.

    Args:
        seed: of the trainings.
        folder: where answers and the trainings' checkpoints are kept; None where they cost nothing.
    """

    def __init__(self, evaluator: EvaluatorPlugin, seed: int, folder: Path | None) -> None:
        self.evaluator, self.seed, self.folder = evaluator, seed, folder
        self.answers: dict[str, float] = {}
        if folder is not None and (folder / ANSWERS).exists():
            try:
                content = parse_json((folder / ANSWERS).read_bytes())
                self.answers = {str(key): float(value) for key, value in content.items()}
            except (OSError, ValueError, AttributeError, TypeError):
                remedy = f"Delete {folder} to start this search over."
                raise CheckpointError(f"{folder / ANSWERS} is damaged.", remedy) from None

    @property
    def cost(self) -> dict[str, float]:
        """What all answers took, by name, such as ``search_epochs``."""
        return {name: each * len(self.answers) for name, each in self.evaluator.ask_cost.items()}

    def __call__(self, architecture: Architecture) -> float:
        """Larger is better."""
        key = digest(architecture)
        if key not in self.answers:
            own = None if self.folder is None else self.folder / f"query-{key}"
            self.answers[key] = self.evaluator.ask(architecture, self.seed, own)
            if self.folder is not None:
                write_json(self.folder / ANSWERS, self.answers)
        return self.answers[key]
