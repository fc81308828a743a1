"""Methods that ask for values: NNI's Random and TPE tuners and its RegularizedEvolution, unchanged, and NAO; driven one
query at a time.

Each is a function of (seed, answers). Answers that cost a training are kept in a file, so a killed search asks the same
questions again and is answered at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nni_plugins.evaluators.errors import CheckpointError, ConfigError
from nni_plugins.evaluators.files import write_json
from nni_plugins.evaluators.settings import read
from nni_plugins.spaces.base import SearchSpace

Choices = dict[str, str]
Answer = Callable[[Choices], float]


class Asked:
    """Answers questions, counts them, and knows the best one.

    Args:
        answer: the value of an architecture; larger is better.
        path: where answers are kept; None where they cost nothing.
        report: called after every query with ``epoch`` (its number, from 1), ``value``, ``best`` and ``loss``, which is
            minus the best.
    """

    def __init__(
        self, space: SearchSpace, answer: Answer, path: Path | None, report: Callable[[dict[str, float]], None] | None
    ) -> None:
        self.space, self._answer, self._path, self._report = space, answer, path, report
        self.values: dict[str, float] = {}
        self.choices: dict[str, Choices] = {}
        self.curve: list[dict[str, float]] = []
        self._kept: dict[str, float] = {}
        if path is not None and path.exists():
            try:
                self._kept = {str(key): float(value) for key, value in json.loads(path.read_text()).items()}
            except (OSError, ValueError, AttributeError, TypeError):
                raise CheckpointError(
                    f"{path} is damaged.", f"Delete {path.parent} to start this search over."
                ) from None

    def __call__(self, parameters: Choices) -> float:
        choices = self.space.architecture(parameters).as_dict()
        key = digest(choices)
        if key not in self.values:
            if key not in self._kept:
                self._kept[key] = self._answer(choices)
                if self._path is not None:
                    write_json(self._path, self._kept)
            self.values[key], self.choices[key] = self._kept[key], choices
        best = max(self.values.values())
        row = {"query": float(len(self.curve) + 1), "value": self.values[key], "best": best}
        self.curve.append(row)
        if self._report is not None:  # in the words of trainings, which a progress bar understands
            self._report({"epoch": row["query"], "value": row["value"], "best": best, "loss": -best})
        return self.values[key]

    def best(self, k: int) -> list[tuple[Choices, float]]:
        """The ``k`` different architectures with the largest values, the first asked of equal ones first."""
        order = sorted(self.values, key=lambda key: -self.values[key])
        return [(self.choices[key], self.values[key]) for key in order[:k]]


def digest(choices: Choices) -> str:
    """A short name of an architecture, for files and folders."""
    return hashlib.sha256(json.dumps(sorted(choices.items())).encode()).hexdigest()[:16]


def search(method: str, space: SearchSpace, asked: Asked, queries: int, seed: int, arguments: dict[str, Any]) -> None:
    """Ask ``queries`` times, by ``method``; fewer times only where NAO has seen every architecture."""
    METHODS[method](space, asked, queries, seed, arguments)


def _drive(tuner: Any, space: SearchSpace, asked: Asked, queries: int) -> None:
    """What NNI's dispatcher does, one trial at a time."""
    tuner.update_search_space(space.nni_search_space())
    for number in range(queries):
        given = tuner.generate_multiple_parameters([number])
        if not given:  # every architecture has been tried
            return
        tuner.receive_trial_result(number, given[0], asked(given[0]))
        tuner.trial_end(number, True)


def _random(space: SearchSpace, asked: Asked, queries: int, seed: int, arguments: dict[str, Any]) -> None:
    from nni.algorithms.hpo.random_tuner import RandomTuner

    _drive(RandomTuner(seed=seed), space, asked, queries)


def _tpe(space: SearchSpace, asked: Asked, queries: int, seed: int, arguments: dict[str, Any]) -> None:
    from nni.algorithms.hpo.tpe_tuner import TpeTuner

    _drive(TpeTuner(optimize_mode="maximize", seed=seed, tpe_args=arguments), space, asked, queries)


def _nao(space: SearchSpace, asked: Asked, queries: int, seed: int, arguments: dict[str, Any]) -> None:
    from nni_plugins.strategies.nao.ask_tell import AskTell, work
    from nni_plugins.strategies.nao.codecs import ParameterCodec

    from ...portal.nao_tuner import NAOTunerSettings

    settings = read(NAOTunerSettings, arguments, "arguments.")
    codec = ParameterCodec(space.nni_search_space(), space)
    state = AskTell(codec, settings.initial, None, settings.controller, settings.proposals, seed)
    while len(asked.curve) < queries:
        number = state.ask()
        if number is not None:
            state.tell(number, asked(codec.parameters(np.array(state.trials[number].row))))
        elif state.due:
            state.extend(work(codec, state.job(), settings.controller, settings.proposals, seed))
        else:
            return


def evolution(space: SearchSpace, asked: Asked, queries: int, seed: int, arguments: dict[str, Any]) -> None:
    """NNI's RegularizedEvolution, unchanged, on a space that is a dictionary and an engine that asks."""
    from nni.mutable import Categorical, MutableDict
    from nni.nas.execution.engine import ExecutionEngine
    from nni.nas.execution.event import TrainingEndEvent
    from nni.nas.space import ModelStatus
    from nni.nas.strategy import RegularizedEvolution

    class Model:
        def __init__(self, sample: Choices) -> None:
            self.sample: Choices = dict(sample)
            self.metric: float | None = None

    class Space:
        inner = MutableDict(
            {key: Categorical(entry["_value"], label=key) for key, entry in space.nni_search_space().items()}
        )

        def random(self, memo: Choices, random_state: Any) -> Model:
            self.inner.random(memo=memo, random_state=random_state)
            return Model(memo)

        def simplify(self) -> Any:
            return self.inner.simplify()

        def freeze(self, sample: Choices) -> Model:
            self.inner.validate(sample)
            return Model(sample)

    class Engine(ExecutionEngine):
        def submit_models(self, *models: Any) -> None:
            for model in models:
                model.metric = asked(model.sample)
                self.dispatch_model_event(TrainingEndEvent(model, ModelStatus.Trained))

        def list_models(self, status: Any = None) -> Iterator[Any]:
            return iter(())

        def idle_worker_available(self) -> bool:
            return True

        def budget_available(self) -> bool:
            return len(asked.curve) < queries

    try:
        RegularizedEvolution(seed=seed, **arguments)(Space(), Engine())
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"NNI's RegularizedEvolution refuses its arguments: {error}.", "Correct policies.*.arguments."
        ) from None


METHODS: dict[str, Callable[[SearchSpace, Asked, int, int, dict[str, Any]], None]] = {
    "Random": _random,
    "TPE": _tpe,
    "RegularizedEvolution": evolution,
    "NAO": _nao,
}
