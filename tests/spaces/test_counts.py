"""fvcore's count of the real network equals the additive tables: 50 random architectures of every space (slow)."""

from __future__ import annotations

import pytest

from nni_plugins.spaces import DARTS, NAO, MobileNetLike, NASBench101, NASBench201, NASNet, RobustDARTS, SearchSpace
from nni_plugins.spaces.testing import SpaceContract

SPACES = [
    (DARTS(), 32),
    (DARTS(channels=8, cells=14, classes=1000, stem="imagenet"), 64),
    (RobustDARTS("S1", channels=8), 32),
    (RobustDARTS("S2", channels=8), 32),
    (NASNet(channels=8), 32),
    (NAO(), 32),
    (NAO("middle", channels=8), 32),
    (NASBench101(channels=16), 32),
    (NASBench201(), 32),
    (MobileNetLike(), 64),
]


@pytest.mark.slow
@pytest.mark.parametrize(("space", "side"), SPACES, ids=[f"{s.name}-{i}" for i, (s, _) in enumerate(SPACES)])
def test_fifty_random_architectures(space: SearchSpace, side: int) -> None:
    class Fifty(SpaceContract):
        compared = 50
        image_size = side

        def space(self) -> SearchSpace:
            return space

    Fifty().test_cost_table_equals_an_independent_count()
