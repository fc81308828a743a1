"""NNI's own strategies search every space of image networks: Random, RegularizedEvolution and the one-shot DARTS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nni
import numpy as np
import pytest
import torch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.evaluator.pytorch import Classification, DataLoader
from nni.nas.execution import SequentialExecutionEngine
from nni.nas.nn.pytorch import ModelSpace
from nni.nas.space import RawFormatModelSpace, SimplifiedModelSpace, model_context
from nni.nas.strategy import DARTS as NNIDARTS
from nni.nas.strategy import Random, RegularizedEvolution
from torch.utils.data import TensorDataset

from nni_plugins.spaces import DARTS, NAO, ImageSpace, MobileNetLike, NASBench101, NASBench201, NASNet, RobustDARTS
from nni_plugins.spaces.path_supernet import PathSupernet

MOBILE = MobileNetLike(
    stem_channels=4,
    first_channels=4,
    stages=((4, 2, 2), (6, 2, 2), (8, 2, 2), (8, 2, 1), (12, 2, 2), (16, 1, 1)),
    last_channels=20,
    classes=10,
)
SPACES: list[tuple[ImageSpace, int]] = [
    (NASBench201(nodes=3, channels=2, cells_per_stage=1), 8),
    (DARTS(channels=2, cells=3), 8),
    (RobustDARTS("S1", channels=2, cells=3), 8),
    (RobustDARTS("S4", channels=2, cells=3), 8),
    (NAO(channels=2, cells=3), 8),
    (NASNet(nodes=2, channels=2, cells=3), 8),
    (NASBench101(nodes=2, max_edges=6, channels=4, stacks=2, cells_per_stack=1), 8),
    (MOBILE, 32),
]
IDS = [f"{space.name}-{getattr(space, 'variant', '')}" for space, _ in SPACES]


def score(model: torch.nn.Module, space: ImageSpace, side: int) -> float:
    """Fewer parameters are better; the model is an ordinary network."""
    assert not isinstance(model, ModelSpace) or not model.simplify()
    with torch.no_grad():
        assert model.eval()(torch.zeros(2, 3, side, side)).shape == (2, space.classes)
    result = -float(sum(p.numel() for p in model.parameters()))
    nni.report_final_result(result)
    return result


@pytest.mark.parametrize(("space", "side"), SPACES, ids=IDS)
@pytest.mark.parametrize(
    ("make", "form"),
    [
        (lambda: Random(seed=0), RawFormatModelSpace),
        (
            lambda: RegularizedEvolution(population_size=4, sample_size=2, mutation_prob=0.3, seed=0),
            SimplifiedModelSpace,
        ),
        pytest.param(
            lambda: RegularizedEvolution(population_size=4, sample_size=2, mutation_prob=0.1, crossover=True, seed=0),
            RawFormatModelSpace,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["random", "evolution", "crossover"],
)
def test_multi_trial(make: Any, form: type[RawFormatModelSpace], space: ImageSpace, side: int) -> None:
    engine = SequentialExecutionEngine(max_model_count=8)
    strategy = make()
    supernet = space.supernet()
    strategy(form.from_model(supernet, FunctionalEvaluator(score, space=space, side=side)), engine)
    models = list(engine.list_models())
    architectures = [space.parse(model.sample) for model in models]
    assert len(models) == 8 == len(set(architectures))
    if isinstance(supernet, PathSupernet):  # NNI is given the stand-alone network, not a path of the supernet
        assert [-m.metric for m in models] == space.cost_table(side)(space.encode(architectures)).parameters.tolist()
    assert next(iter(strategy.list_models(limit=1))).metric == max(m.metric for m in models)


@pytest.mark.parametrize(("space", "side"), SPACES, ids=IDS)
def test_a_fixed_context_builds_the_network(space: ImageSpace, side: int) -> None:
    (architecture,) = space.decode(space.sample(np.random.default_rng(3), 1))
    with model_context(architecture.as_dict()):
        inside = space.supernet()
    if not isinstance(space, NASBench201):
        assert [p.shape for p in inside.parameters()] == [p.shape for p in space.network(architecture).parameters()]
    assert inside.eval()(torch.zeros(1, 3, side, side)).shape == (1, space.classes)


@pytest.mark.parametrize(("space", "side"), SPACES, ids=IDS)
def test_one_shot_darts(space: ImageSpace, side: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(8, 3, side, side), torch.randint(0, 10, (8,)))
    options: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary"), False
    )
    evaluator = Classification(
        train_dataloaders=DataLoader(data, batch_size=4), val_dataloaders=DataLoader(data, batch_size=4), num_classes=10, max_epochs=1,
        accelerator="cpu", default_root_dir=str(tmp_path), **options,
    )  # fmt: skip
    supernet = space.supernet()
    before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    strategy = NNIDARTS()
    strategy(RawFormatModelSpace.from_model(supernet, evaluator), SequentialExecutionEngine())
    (found,) = strategy.list_models(limit=1)
    architecture = space.parse(found.sample)
    assert space.check(architecture) == architecture
    alphas = {name: p for name, p in supernet.named_parameters() if "alpha" in name}
    assert alphas and any(float(a.detach().std()) > 1e-4 for a in alphas.values() if a.numel() > 1), (
        "architecture weights were trained"
    )
    assert any(not torch.equal(p, before[name]) for name, p in supernet.named_parameters() if name in before)
