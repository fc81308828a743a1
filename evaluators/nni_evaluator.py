"""Any registered evaluator as one of NNI's, for its strategies and ``NasExperiment``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nni
from nni.nas.evaluator import Evaluator
from nni.nas.space import ExecutableModelSpace

from nni_plugins.spaces.architecture import Architecture
from nni_plugins.spaces.base import SearchSpace
from nni_plugins.spaces.registry import build_space, space_settings

from .base import EvaluatorPlugin, Network, digest, network_of
from .data.settings import DataSettings
from .errors import ConfigError
from .plugins import evaluator_plugin, read_evaluation
from .settings import Settings, read
from .text.settings import TextSettings

NAME = re.compile(r"[A-Za-z][\w.-]*")
"""Of a network; native texts and JSON have other characters."""


class PluginEvaluator(Evaluator):
    """The evaluator that is registered as ``name``: an architecture in, a number out, of which larger is better.

    Within a trial of NNI's it reports that number as the final result. It can be sent to NNI's trials: what is written
    down are settings, never images or text.

    Args:
        name: such as ``stand_alone``, ``retrain``, ``detection``, ``segmentation``, ``language_model``, ``table``.
        settings: the evaluator's own, as an experiment file has them.
        space: of the architectures; also as an experiment file has it: its name and arguments.
        data: settings of images or text, for evaluators whose own settings name none.
        seed: of every training; default: that of the settings.
        folder: for checkpoints, one folder a network below it; None keeps nothing.

    Raises:
        ConfigError: no such evaluator, or settings that do not suit the space or the data.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any] | None = None,
        *,
        space: SearchSpace | Mapping[str, Any],
        data: Settings | Mapping[str, Any] | None = None,
        seed: int | None = None,
        folder: Path | str | None = None,
    ) -> None:
        self.space = space if isinstance(space, SearchSpace) else build_space(space)
        own = read_evaluation({**(settings or {}), "evaluator": name}, "settings.")
        if isinstance(data, Mapping):
            data = read(DataSettings if self.space.takes_images else TextSettings, data, "data.")
        self.seed = own.seed if seed is None else seed
        self.folder = None if folder is None else Path(folder)
        self.plugin: EvaluatorPlugin = evaluator_plugin(name)(own, self.space, data)
        self.plugin.check()
        self.plugin.check_files()
        self._prepared = False

    def evaluate(self, model: Any) -> float:
        """Of one network; a final result to NNI inside a trial.

        Args:
            model: an :class:`Architecture`, NNI's sample dictionary, a frozen model space of NNI's, a native text or
                JSON; a published architecture's name; and, where the evaluator takes names, any other network's.

        Raises:
            NNIPluginsError: it cannot be measured.
        """
        network = self._network(model)
        names = [network] if isinstance(network, str) else []
        if names or not self._prepared:
            self.plugin.prepare(names)
            self._prepared = True
        folder = None if self.folder is None else self.folder / digest(network)
        value = self.plugin.metric.oriented(self.plugin.evaluate(network, self.seed, folder, None).value)
        if nni.get_current_parameter() is not None:
            nni.report_final_result(value)
        return value

    def _execute(self, model: Any) -> float:
        """NNI's hook that receives the frozen model space: the network that is trained is the space's own."""
        return self.evaluate(model)

    def _network(self, model: Any) -> Network:
        if isinstance(model, ExecutableModelSpace):
            if model.sample is None:
                raise ConfigError("a frozen model space is needed, but this one was not frozen.")
            return self.space.parse(model.sample)
        if isinstance(model, str) and NAME.fullmatch(model.strip()):
            found = network_of(self.space, model.strip())
            if isinstance(found, str) and not self.plugin.takes_names:
                raise ConfigError(
                    f"{found} is no architecture of {self.space.name}, and {self.plugin.name} takes no other networks."
                )
            return found
        if isinstance(model, Architecture):
            return self.space.check(model)
        if isinstance(model, str | Mapping):
            return self.space.parse(model)
        raise ConfigError(
            f"an architecture or a frozen model space is needed, but got {type(model).__name__}.",
            "Train networks of your own from Python: StandAlone, TimmRetrain, StandAloneText.",
        )

    def extra_repr(self) -> str:
        """For NNI's log."""
        return f"{self.plugin.name}, space={self.space!r}, seed={self.seed}"

    def _dump(self) -> dict[str, Any]:
        """What NNI sends to a trial process."""
        data = self.plugin.data
        return {
            "name": self.plugin.name,
            "settings": self.plugin.settings.model_dump(mode="json"),
            "space": space_settings(self.space),
            "data": None if data is None else data.model_dump(mode="json"),
            "seed": self.seed,
            "folder": None if self.folder is None else str(self.folder),
        }

    @staticmethod
    def _load(**dumped: Any) -> PluginEvaluator:
        return PluginEvaluator(**dumped)
