"""Settings of the strategies. Free of torch, so that NNI's tuner process can check them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nni_plugins.evaluators.settings import Settings

from ..evolution import EvolutionSettings


class RLNASSettings(Settings):
    """How RLNAS searches its trained supernet."""

    angle: Literal["rlnas", "rlnas-eye", "abs", "weights"] = Field(
        "rlnas", description="see nni_plugins.strategies.rlnas.angle.VARIANTS"
    )
    evolution: EvolutionSettings | None = Field(
        None, description="None: exhaustive where the space has at most 10 million architectures"
    )
