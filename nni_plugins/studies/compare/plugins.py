"""Running a registered strategy with a registered evaluator by NNI's ``NasExperiment``, in this process."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.randomness import torch_fork
from nni_plugins.evaluators.settings import read

from ... import registry
from .evaluation_settings import LanguageEvaluation, StandAloneEvaluation, TableEvaluation
from .measure import Report, corpus_of, open_table, split
from .policy_settings import StrategyPolicy
from .settings import CompareSettings

Offers = dict[str, Callable[[], Any]]


def run_strategy(
    settings: CompareSettings, name: str, seed: int, folder: Path | None, report: Report | None
) -> list[tuple[dict[str, str], float | None]]:
    """(choices, score) of the strategy's best models, best first; scores where it is a ranked strategy of ours, for NNI
    has no place for them.
    """
    from nni.nas.experiment import NasExperiment
    from nni.nas.experiment.config import NasExperimentConfig

    from nni_plugins.strategies.nni_base import RankedStrategy

    policy = settings.policies[name]
    assert isinstance(policy, StrategyPolicy)
    offers = _offers(settings, seed, folder, report)
    evaluator = build("evaluators", policy.evaluator.name, policy.evaluator.arguments, offers)
    strategy = build(
        "strategies", policy.name, policy.arguments, {key: offers[key] for key in ("seed", "top_k") if key in offers}
    )
    with torch_fork(seed, "initialisation"):
        model_space = _fitted(settings, evaluator).supernet()
    config = NasExperimentConfig.default(model_space, evaluator, strategy)
    if config.execution_engine.name != "sequential":  # NNI would send the models to trials of its own
        config = NasExperimentConfig("sequential", "simplified")
    config.max_trial_number = policy.max_trials
    if folder is not None:
        config.experiment_working_directory = str(folder / "nni")
    experiment = NasExperiment(model_space, evaluator, strategy, config)
    with _no_trial():
        try:
            experiment.run()
            models = list(strategy.list_models(limit=settings.per_search))
        finally:
            experiment.stop()
    choices = [settings.search_space.architecture(dict(model.sample)).as_dict() for model in models]
    ranking = list(strategy.ranking() or ()) if isinstance(strategy, RankedStrategy) else []
    scores = {ranked.architecture: ranked.score for ranked in ranking}
    return [(chosen, scores.get(settings.search_space.architecture(chosen))) for chosen in choices]


def _fitted(settings: CompareSettings, evaluator: Any) -> Any:
    """The space that is searched, with the head that the evaluator's objective and images need."""
    from nni_plugins.evaluators.objectives import Objective, fitted

    space, objective, images = (
        settings.search_space,
        getattr(evaluator, "objective", None),
        getattr(evaluator, "images", None),
    )
    return fitted(space, objective, images) if isinstance(objective, Objective) and images is not None else space


def _offers(settings: CompareSettings, seed: int, folder: Path | None, report: Report | None) -> Offers:
    """What a constructor gets without being told, by the names of its arguments."""
    evaluation = settings.evaluation
    offers: Offers = {
        "seed": lambda: seed,
        "space": lambda: settings.search_space,
        "top_k": lambda: settings.per_search,
    }
    offers |= {"folder": lambda: folder, "report": lambda: report}
    if isinstance(evaluation, TableEvaluation):
        offers |= {"table": lambda: open_table(settings), "metric": lambda: evaluation.metric}
    elif isinstance(evaluation, StandAloneEvaluation):
        from ...experiment.objectives import build_objective

        # never the test images: a strategy that selects on what it is measured by would look better than it is
        offers |= {
            "data": lambda: split(evaluation),
            "images": lambda: split(evaluation).train,
            "objective": lambda: build_objective(evaluation.target),
        }
    elif isinstance(evaluation, LanguageEvaluation):
        offers |= {"corpus": lambda: corpus_of(evaluation)}
    if not isinstance(evaluation, TableEvaluation):
        offers["settings"] = lambda: evaluation.settings
    return offers


def build(kind: str, name: str, arguments: Mapping[str, Any], offers: Offers) -> Any:
    """The plugin ``name`` with ``arguments``; those of its parameters that are not given are taken from ``offers``
    where it has them.

    Dictionaries become what a parameter's annotation asks for: settings of ours, images, objectives; a string, a table
    or a path.

    Raises:
        ConfigError: arguments that it does not take.
    """
    factory = registry.get(kind, name)
    parameters, hints = inspect.signature(factory).parameters, _hints(factory)
    given = {key: _converted(key, value, hints.get(key), f"{kind} {name}: ") for key, value in arguments.items()}
    for key, offer in offers.items():
        if key in parameters and key not in given and (key != "settings" or _takes(hints.get(key), offer())):
            given[key] = offer()
    try:
        return factory(**given)
    except TypeError as error:
        raise ConfigError(f"{kind} {name}: {error}.", f"It takes {', '.join(parameters) or 'no arguments'}.") from None


def _hints(factory: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except NameError:  # annotations that only a type checker can see
        return {}


def _classes(hint: Any) -> list[type]:
    return [option for option in (typing.get_args(hint) or (hint,)) if inspect.isclass(option)]


def _takes(hint: Any, value: Any) -> bool:
    return any(isinstance(value, option) for option in _classes(hint))


def _converted(key: str, value: Any, hint: Any, where: str) -> Any:
    from nni_plugins.evaluators.data import ImageSet, load
    from nni_plugins.evaluators.objectives import Objective
    from nni_plugins.evaluators.tables.table import Table, digits_table

    for option in _classes(hint):
        if isinstance(value, Mapping) and issubclass(option, BaseModel):
            return read(option, value, f"{where}{key}.")
        if isinstance(value, Mapping) and issubclass(option, Objective):
            from ...experiment.objectives import build_objective

            return build_objective(dict(value))
        if isinstance(value, Mapping) and issubclass(option, ImageSet):
            return load(read(DataSettings, value, f"{where}{key}.")).train
        if value == "digits" and issubclass(option, Table):
            return digits_table()
        if isinstance(value, str) and issubclass(option, Path):
            return Path(value)
    return value


@contextmanager
def _no_trial() -> Iterator[None]:
    """Within the block evaluators see no NNI trial: what they report would be taken for the result of the whole search."""
    import nni.trial

    parameters = nni.trial._params
    nni.trial._params = None
    try:
        yield
    finally:
        nni.trial._params = parameters
