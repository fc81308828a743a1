"""Settings of UnNAS' search phase. Free of torch, so that NNI's tuner process can check them.

Facts: Liu et al., "Are Labels Necessary for Neural Architecture Search?", ECCV 2020, section 4; for hyper-parameters
the official configurations of the search phase on ImageNet.
"""

from __future__ import annotations

from pydantic import Field

from nni_plugins.evaluators.training.settings import BilevelSettings


class UnNASTraining(BilevelSettings):
    """First-order DARTS as UnNAS trains it on ImageNet-1K with labels or by colorization; two epochs, the first without
    the architecture.

    Rotation and jigsaw take half of ``batch_size``, ``learning_rate`` and ``architecture_learning_rate``; the presets
    name every value.
    """

    epochs: int = Field(2, ge=1)
    learning_rate: float = Field(0.1, gt=0)
    final_learning_rate: float = Field(
        0.0, ge=0, description="what the cosine of the learning rate, stepped by epoch, ends near"
    )
    weight_decay: float = Field(3e-5, ge=0)
    warmup_epochs: int = Field(1, ge=0, description="the architecture parameters are not trained in the first N epochs")
    shuffle_split: bool = Field(
        True, description="draw the two halves by the seed; otherwise the first images train the weights, as in DARTS"
    )
