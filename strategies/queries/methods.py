"""Methods that suggest what to ask: uniform draws, NNI's TPE tuner and its RegularizedEvolution, and NAO.

Each is a function of (space, limits, seed, answers), so a search that was killed asks the same questions again, which
are then answered from memory. NNI is imported when a method runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from nni_plugins.evaluators.randomness import generator

from .questions import Questions
from .settings import EvolutionSearchSettings, NAOSearchSettings, TPESearchSettings


@contextmanager
def quiet_nni() -> Iterator[None]:
    """Within the block NNI's tuners and strategies keep their progress to themselves: a line for every question."""
    import nni  # which sets its logger's level

    logger = logging.getLogger(nni.__name__)
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def ask_at_random(questions: Questions, seed: int) -> None:
    """Uniform draws from the architectures within the limits, none twice."""
    rng = generator(seed, "questions at random")
    while questions.open and (architecture := questions.drawn(rng)) is not None:
        questions.ask(architecture)


def ask_by_tpe(questions: Questions, settings: TPESearchSettings, seed: int) -> None:
    """NNI's TPE without NNI's replacement of repeated suggestions.

    NNI's tuner never suggests anything twice: from the first repeated suggestion on the next point of a grid over the
    space takes its place, which makes most of a long search a grid search. Here what TPE suggests again is asked again,
    and answered from memory.

    Once it estimates (after ``n_startup_jobs`` answers) it is told of what was refused, as if that had the worst value
    of all, and so learns to keep away; before, draws are refused until one may be asked for.
    """
    from nni.algorithms.hpo.tpe_tuner import TpeTuner

    arguments = settings.model_dump(exclude={"queries"})
    tuner = TpeTuner(optimize_mode="maximize", seed=seed, tpe_args=arguments)
    tuner.update_search_space(questions.problem.space.nni_search_space())
    tuner.dedup = _Unchanged()
    _drive(tuner, questions, told_after=settings.n_startup_jobs)


class _Unchanged:
    """In place of NNI's ``Deduplicator``: lets suggestions be repeated."""

    def __call__(self, parameters: Any) -> Any:
        return parameters

    def add_history(self, parameters: Any) -> None:
        """Nothing is remembered."""


def _drive(tuner: Any, questions: Questions, told_after: int | None) -> None:
    """What NNI's dispatcher does, one trial at a time; refused suggestions are told once there are so many answers."""
    for number in count():
        if not questions.open:
            return
        given = tuner.generate_multiple_parameters([number])
        if not given:  # every architecture has been suggested
            return
        architecture, value = questions.admitted(given[0]), None
        replaced = architecture is not None and architecture.as_dict() != given[0]
        if architecture is not None and not replaced:
            value = questions.ask(architecture)
        elif told_after is not None and len(questions.curve) >= told_after:
            value = questions.worst
        if value is not None:
            tuner.receive_trial_result(number, given[0], value)
        tuner.trial_end(number, value is not None)
        if architecture is not None and replaced:
            tuner.import_data([{"parameter": architecture.as_dict(), "value": questions.ask(architecture)}])


def ask_by_nao(questions: Questions, settings: NAOSearchSettings, seed: int) -> None:
    """NAO, which suggests neither twins nor what is beyond the limits; it ends early where it finds nothing new."""
    import numpy as np

    from ..nao.ask_tell import AskTell, work
    from ..nao.codecs import SpaceCodec

    codec = SpaceCodec(questions.problem.space, questions.problem.limits)
    state = AskTell(codec, settings.initial, None, settings.controller, settings.proposals, seed)
    while questions.open:
        number = state.ask()
        if number is not None:
            (architecture,) = codec.architectures(np.array([state.trials[number].row]))
            state.tell(number, questions.ask(architecture))
        elif state.due:
            state.extend(work(codec, state.job(), settings.controller, settings.proposals, seed))
        else:
            return


def ask_by_evolution(questions: Questions, settings: EvolutionSearchSettings, seed: int) -> None:
    """NNI's RegularizedEvolution on a space that is a dictionary and an engine that asks.

    NNI draws a refused individual again, and gives up after 500 times in which every mutation was refused or known: then
    the search ends early.
    """
    from nni.mutable import Categorical, MutableDict, SampleValidationError
    from nni.nas.execution.engine import ExecutionEngine
    from nni.nas.execution.event import TrainingEndEvent
    from nni.nas.space import ModelStatus
    from nni.nas.strategy import RegularizedEvolution

    axes = questions.problem.space.nni_search_space()

    class Model:
        def __init__(self, sample: dict[str, str]) -> None:
            self.sample = dict(sample)
            self.metric: float | None = None

    class Space:
        inner = MutableDict({key: Categorical(axis["_value"], label=key) for key, axis in axes.items()})

        def random(self, memo: dict[str, str], random_state: Any) -> Model:
            self.inner.random(memo=memo, random_state=random_state)
            model = self.freeze(memo)
            memo.update(model.sample)
            return model

        def simplify(self) -> Any:
            return self.inner.simplify()

        def freeze(self, sample: dict[str, str]) -> Model:
            self.inner.validate(sample)
            architecture = questions.admitted(sample)
            if architecture is None:
                raise SampleValidationError("not an architecture of the space, or beyond the limits")
            return Model(architecture.as_dict())

    class Engine(ExecutionEngine):
        def submit_models(self, *models: Any) -> None:
            for model in models:
                model.metric = questions.ask(questions.problem.space.architecture(model.sample))
                self.dispatch_model_event(TrainingEndEvent(model, ModelStatus.Trained))

        def list_models(self, status: Any = None) -> Iterator[Any]:
            return iter(())

        def idle_worker_available(self) -> bool:
            return True

        def budget_available(self) -> bool:
            return questions.open

    arguments = settings.model_dump(exclude={"queries"})
    RegularizedEvolution(seed=seed, **arguments)(Space(), Engine())
