"""Settings of RLNAS, and what its official code does in each space. Free of torch, so that NNI's tuner process can check
them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.base import SearchSpace

from ..evolution import EvolutionSettings

Variant = Literal["rlnas", "rlnas-eye", "rlnas-mobilenet", "abs-darts", "weights"]

OFFICIAL: dict[str, Variant] = {
    "nasbench201": "rlnas",
    "darts": "rlnas-eye",
    "robustdarts": "rlnas-eye",
    "nasnet": "rlnas-eye",
    "nao": "rlnas-eye",
    "mobilenetlike": "rlnas-mobilenet",
}
"""The variant of RLNAS' official code for each space, and for spaces that it does not know that of the nearest: NASNet's
and NAO's cells, like DARTS', have skip connections and pools among few inputs a node. Others get ``rlnas``.
"""


class RLNASSettings(Settings):
    """How RLNAS searches its trained supernet."""

    angle: Variant | None = Field(
        None, description="one of nni_plugins.strategies.rlnas.angle.VARIANTS; None: the official one for the space"
    )
    evolution: EvolutionSettings | None = Field(
        None, description="None: exhaustive where the space has at most 10 million architectures"
    )

    def variant(self, space: SearchSpace) -> Variant:
        """The angle's variant for ``space``.

        Raises:
            ConfigError: ``abs-darts`` for a space whose cells have no last node.
        """
        name = self.angle or OFFICIAL.get(space.name, "rlnas")
        if name == "abs-darts" and not hasattr(space, "last_node_path_counts"):
            raise ConfigError(
                f"search.angle: abs-darts counts the paths to the last node of DARTS' cells, and {space.name} has none.",
                "Leave angle out: then it is the official one for the space.",
            )
        return name
