"""Any registered strategy, ours or another package's, as a strategy of NNI's ``NasExperiment``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Classification
from nni.nas.space import RawFormatModelSpace

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import Objective
from nni_plugins.evaluators.objectives.registered import build_objective
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.spaces import registry
from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace

from .base import Problem, SearchResult, StrategyPlugin
from .limits import Limits
from .nni_base import RankedStrategy
from .nni_evaluators import Taken, taken_from
from .plugins import strategy_plugin
from .ranking import Ranked

Given = Settings | Mapping[str, Any] | None


class PluginStrategy(RankedStrategy):
    """``NasExperiment(space.supernet(), evaluator, PluginStrategy("RLNAS")).run()``; several architectures can be exported.

    What a strategy learns from is the evaluator's: images or text, objective, settings of the training, seed, folder and
    report of a :class:`nni_plugins.evaluators.SupernetTraining`, of a
    :class:`nni_plugins.strategies.DifferentiableTraining` or :class:`nni_plugins.strategies.RecurrentDifferentiable`, or
    of anything else with ``images`` or ``corpus``; or of NNI's ``Classification``, whose images, epochs, batch size,
    learning rate and weight decay are taken over, the final learning rate staying the same share of the first (labels
    are read only if the objective asks for them). A strategy that asks is answered by ``evaluator.evaluate(architecture)``,
    of which larger is better.

    Args:
        name: as experiment files say it; or the strategy itself.
        search: settings of the search, where they are not the defaults.
        training: settings of the training, where they are not the evaluator's, or the defaults.
        objective: in place of the evaluator's, or the strategy's own: one, or its name and arguments.
        limits: what every found architecture meets.
        found: how many architectures are kept, best first.
        seed: of a search that is not given images or text with a seed of their own.

    Raises:
        ConfigError: no such strategy, or settings that it does not have.
    """

    def __init__(
        self,
        name: str | StrategyPlugin,
        *,
        search: Given = None,
        training: Given = None,
        objective: Objective | Mapping[str, Any] | None = None,
        limits: Limits | Mapping[str, Any] | None = None,
        found: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if found < 1:
            raise ConfigError(f"found >= 1 must hold, but got found={found}.")
        self.plugin = name if isinstance(name, StrategyPlugin) else strategy_plugin(name.lower())
        if not self.plugin.searches:
            raise ConfigError(f"{self.plugin.name} has nothing to search.", "Use nni_plugins.strategies.RandomSearch.")
        self.search, self.training, self.objective = _values(search), _values(training), objective
        self.limits, self.found, self.seed = read(Limits, _values(limits), "limits."), found, seed
        if self.search:
            read(self.plugin.search_settings, self.search, "search.")
        if self.training:
            read(self.plugin.training_settings, self.training, "training.")
        self.problem: Problem | None = None
        self.result: SearchResult | None = None

    def _initialize(self, model_space: Any, engine: Any) -> Any:
        space = getattr(getattr(model_space, "model_space", None), "search_space", None)
        if not isinstance(model_space, RawFormatModelSpace) or not isinstance(space, SearchSpace):
            given = type(getattr(model_space, "model_space", model_space)).__name__
            raise ConfigError(
                f"{self.plugin.name} needs a supernet of this package, but got {given}.",
                "Pass space.supernet(), such as NASBench201().supernet().",
            )
        self.problem = self._problem(space, model_space.evaluator)
        self.plugin.check(self.problem)
        self.plugin.check_files(self.problem)
        return model_space

    def _run(self) -> None:
        assert self.problem is not None
        self.result = self.plugin.search(self.problem)

    def ranking(self) -> Sequence[Ranked] | None:
        """Best first."""
        return None if self.result is None else self.result.ranked

    def extra_repr(self) -> str:
        """For NNI's log."""
        return f"{self.plugin.name}, found={self.found}, limits={self.limits!r}"

    # -- what the evaluator says ---------------------------------------------------------------------------------------
    def _problem(self, space: SearchSpace, evaluator: Evaluator | None) -> Problem:
        plugin = self.plugin
        data, training, search, source = None, self.training, self.search, None
        if plugin.data != "none":
            taken, source = self._taken(evaluator), evaluator
            data = taken.images if isinstance(taken, Taken) else taken
            training = {**self._training(evaluator, taken), **self.training}
            search = {**self._split(taken), **self.search}
        task, seed = self._task(source), getattr(source, "seed", self.seed)
        return Problem(
            space,
            read(plugin.search_settings, search, "search."),
            read(plugin.training_settings, training, "training."),
            None if task is None else _described(task),
            self.limits,
            self.found,
            (seed,),
            data=data,
            task=task,
            seed=seed,
            folder=getattr(source, "folder", None),
            report=getattr(source, "report", None),
            ask=_answers(evaluator) if plugin.asks else None,
        )

    def _taken(self, evaluator: Evaluator | None) -> Any:
        """Images or text."""
        wanted = {"images": "images", "text": "corpus"}[self.plugin.data]
        if isinstance(evaluator, Classification) and wanted == "images":
            usual = getattr(_defaults(self.plugin.training_settings), "epochs", 1)
            return taken_from(evaluator, usual)
        data = getattr(evaluator, wanted, None)
        if data is None:
            remedy = {
                "images": "Pass nni_plugins.evaluators.SupernetTraining(images, objective), or NNI's Classification.",
                "text": "Pass nni_plugins.strategies.RecurrentDifferentiable(corpus).",
            }[self.plugin.data]
            raise ConfigError(
                f"{self.plugin.name} searches on {self.plugin.data}, but {type(evaluator).__name__} has none.", remedy
            )
        return data

    def _training(self, evaluator: Evaluator | None, taken: Any) -> dict[str, Any]:
        """The evaluator's settings, where they are of the strategy's kind."""
        model = self.plugin.training_settings
        if isinstance(taken, Taken):
            defaults = _defaults(model)
            values = {
                key: value for key, value in vars(taken).items() if key in model.model_fields and value is not None
            }
            if "final_learning_rate" in model.model_fields:
                share = defaults.final_learning_rate / defaults.learning_rate
                values["final_learning_rate"] = share * taken.learning_rate
            return values
        given = getattr(evaluator, "settings", None)
        if not isinstance(given, Settings) or not (isinstance(given, model) or issubclass(model, type(given))):
            return {}
        return given.model_dump(exclude_unset=not isinstance(given, model))

    def _split(self, taken: Any) -> dict[str, Any]:
        """Where the search splits the images, and ``Classification`` has given two parts, one behind the other."""
        fields = self.plugin.search_settings.model_fields
        if not isinstance(taken, Taken) or taken.portion is None or "portion" not in fields:
            return {}
        return {"portion": taken.portion, **({"shuffle_split": False} if "shuffle_split" in fields else {})}

    def _task(self, source: Any) -> Objective | None:
        if self.plugin.objective is None:
            if self.objective is not None:
                raise ConfigError(f"{self.plugin.name} has no objective; leave it out.")
            return None
        given = self.objective or getattr(source, "objective", None) or self.plugin.objective
        return build_objective(given) if isinstance(given, Mapping) else given


def _values(given: Given) -> dict[str, Any]:
    return given.model_dump(exclude_unset=True) if isinstance(given, Settings) else dict(given or {})


def _defaults(model: type[Settings]) -> Any:
    return model.model_validate({})


def _described(task: Objective) -> dict[str, Any]:
    """Name and arguments, as experiment files have them."""
    classes = {registry.get("objectives", name): name for name in registry.found("objectives")}
    return {"name": classes.get(type(task), type(task).__name__), **vars(task)}


def _answers(evaluator: Evaluator | None) -> Callable[[Architecture], float]:
    """The same question is asked once."""

    @cache
    def answer(architecture: Architecture) -> float:
        value = None if evaluator is None else evaluator.evaluate(architecture)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(
                f"an evaluator that answers a strategy returns a number, but {type(evaluator).__name__} gave {value!r}.",
                "Pass StandAlone(data, space=space), PluginEvaluator, or FunctionalEvaluator of a function of yours.",
            )
        return float(value)

    return answer
