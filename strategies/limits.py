"""Upper bounds of what is searched. Free of torch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from typing_extensions import Self

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.evaluators.latency import checksum, latency_of
from nni_plugins.evaluators.settings import Settings
from nni_plugins.spaces.base import CostModel, Indices, SearchSpace


class Limits(Settings):
    """Upper bounds that every architecture meets which is found, drawn or taken as the largest one."""

    max_parameters: int | None = Field(None, ge=1)
    max_macs: int | None = Field(None, ge=1, description="multiply-adds for one image of image_size pixels a side")
    image_size: int = Field(32, ge=1)
    max_latency: float | None = Field(None, gt=0, description="milliseconds, as latency_table says")
    latency_table: str | None = Field(
        None, description="a CSV file with the columns architecture and latency_ms; nni-plugins latency measures one"
    )

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.max_latency is None) != (self.latency_table is None):
            raise ValueError("max_latency and latency_table say nothing without each other; give both, or neither")
        return self

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return any(limit is not None for limit in (self.max_parameters, self.max_macs, self.max_latency))

    def mask(self, space: SearchSpace, indices: Indices) -> npt.NDArray[np.bool_]:
        """Which of ``indices: (n, D)`` meet the limits: (n,) bool.

        Raises:
            ConfigError, TableError: as :func:`nni_plugins.evaluators.latency.latency_of`.
        """
        mask: npt.NDArray[np.bool_] = np.ones(len(indices), dtype=bool)
        if (self.max_parameters is not None or self.max_macs is not None) and len(indices):
            costs = cost_model(space, self.image_size)(indices)
            mask &= costs.parameters <= (self.max_parameters or np.inf)
            mask &= costs.macs <= (self.max_macs or np.inf)
        if self.latency_table is not None and self.max_latency is not None and mask.any():
            mask[mask] = latency_of(self.latency_table, space)(indices[mask]) <= self.max_latency
        return mask

    def check_files(self, space: SearchSpace) -> None:
        """Read the table of latencies.

        Raises:
            ConfigError, TableError: as :func:`nni_plugins.evaluators.latency.latency_of`.
        """
        if self.latency_table is not None:
            latency_of(self.latency_table, space)

    def unmet(self, space: SearchSpace) -> ConfigError:
        """What to raise where no architecture of ``space`` meets them."""
        return ConfigError(f"no architecture of {space!r} meets the limits {self!r}.", "Raise the limits.")

    def identity(self) -> dict[str, Any]:
        """All that a search depends on, as JSON; empty where no limit is given."""
        return {**self.model_dump(mode="json"), **self.contents()} if self.given else {}

    def contents(self) -> dict[str, int]:
        """Checksums of the files that they name: what is searched depends on what stands in them."""
        return {} if self.latency_table is None else {"limits.latency_table": checksum(self.latency_table)}


@lru_cache(maxsize=8)
def cost_model(space: SearchSpace, image_size: int) -> CostModel:
    """``space.cost_table(image_size)``, built once: searches ask for it in every step."""
    return space.cost_table(image_size)
