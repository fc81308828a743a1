"""What strategies share that train a single-path supernet and judge architectures on held-out images, as NNI
strategies.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, cast

from nni.nas.evaluator import Evaluator
from nni.nas.evaluator.pytorch import Classification
from nni.nas.space import RawFormatModelSpace
from torch import nn

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.objectives import check_fitted
from nni_plugins.evaluators.settings import Settings, read
from nni_plugins.evaluators.supernets.training import SupernetTraining
from nni_plugins.evaluators.training.settings import BilevelSettings, SupernetSettings
from nni_plugins.spaces.base import SearchSpace

from .differentiable.evaluators import from_classification
from .limits import Limits
from .nni_base import RankedStrategy
from .one_shot_ranking import check_objective

S = TypeVar("S", bound=Settings)


def training_of(
    evaluator: Evaluator | None, method: str, settings: S, defaults: SupernetSettings, seed: int
) -> tuple[SupernetTraining, S]:
    """How the supernet is trained, and ``settings``, which have ``portion`` and ``shuffle_split``, with the split that
    ``evaluator`` asks for.

    A ``SupernetTraining`` is taken as it is. Of NNI's ``Classification`` the training images train the weights and the
    validation images evaluate (without them the training images are split as ``settings`` say); batch size, epochs,
    learning rate and weight decay are taken over, the rest is ``defaults``.

    Raises:
        ConfigError: another evaluator, or values that cannot be used. DataError: as ``from_classification``.
    """
    if isinstance(evaluator, SupernetTraining):
        return evaluator, settings
    if not isinstance(evaluator, Classification):
        raise ConfigError(
            f"{method} trains with SupernetTraining or NNI's Classification, but got {type(evaluator).__name__}.",
            f"Pass nni_plugins.evaluators.SupernetTraining(images, Supervised(), strategies.{type(defaults).__name__}()).",
        )
    split = cast(Any, settings)
    shared = set(BilevelSettings.model_fields) & set(type(defaults).model_fields)
    bilevel = BilevelSettings(**defaults.model_dump(include=shared), portion=split.portion)
    taken = from_classification(evaluator, method, bilevel, seed)
    assert taken.settings is not None
    values = {**defaults.model_dump(), **taken.settings.model_dump(include=shared)}
    given = evaluator.val_dataloaders is not None  # then the two parts are given, one behind the other
    update = {"portion": taken.settings.portion, "shuffle_split": split.shuffle_split and not given}
    training = SupernetTraining(taken.images, taken.objective, read(type(defaults), values), seed=seed)
    return training, settings.model_copy(update=update)


class SinglePathStrategy(RankedStrategy):
    """``NasExperiment(space.supernet(), evaluator, strategy).run()``; subclasses say how the training is made of the
    evaluator.

    Args:
        top_k: how many architectures are kept, best first.
        seed: used with NNI's ``Classification``; a ``SupernetTraining`` brings its own.
        limits: what every architecture meets that is judged.
    """

    method: ClassVar[str]
    training: SupernetTraining

    def __init__(self, top_k: int, seed: int, limits: Limits | None) -> None:
        super().__init__()
        if top_k < 1:
            raise ConfigError(f"top_k >= 1 must hold, but got top_k={top_k}.")
        self.top_k, self.seed, self.limits = top_k, seed, limits or Limits()

    def _take(self, evaluator: Evaluator | None) -> SupernetTraining:
        """How the supernet is trained; errors of the settings."""
        raise NotImplementedError

    @property
    def supernet(self) -> nn.Module:
        """The experiment's."""
        return cast(nn.Module, cast(Any, self.model_space).model_space)

    def _initialize(self, model_space: Any, engine: Any) -> Any:
        space = getattr(getattr(model_space, "model_space", None), "search_space", None)
        if not isinstance(model_space, RawFormatModelSpace) or not isinstance(space, SearchSpace):
            raise ConfigError(
                f"{self.method} needs a supernet of this package, but got {type(getattr(model_space, 'model_space', model_space)).__name__}.",
                "Pass space.supernet(), such as NASBench201().supernet().",
            )
        self.training = self._take(model_space.evaluator)
        check_objective(self.method, self.training.objective)
        check_fitted(space, self.training.objective, self.training.images)
        return model_space
