"""What a training says when memory runs out."""

from __future__ import annotations

import pytest
import torch

from nni_plugins.evaluators.data.crops import ResizedCrop
from nni_plugins.evaluators.errors import TrainingError
from nni_plugins.evaluators.training.loop import Training
from nni_plugins.evaluators.training.memory import named_shortage

from .tiny import Interrupting, images, linear, settings


@pytest.mark.slow
def test_crops_that_no_memory_holds() -> None:
    huge = images(14, augmentation=ResizedCrop(10**7))
    with pytest.raises(
        TrainingError, match=r"memory ran out with batch_size=\d+: .*can't allocate memory[\s\S]*smaller batch_size"
    ):
        Training(linear(), Interrupting(lambda call: None), huge, settings(), 0).run()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nTried"), MemoryError()])
def test_types_of_shortage(error: Exception) -> None:
    with (
        pytest.raises(TrainingError, match=r"batch_size=8: (CUDA out of memory\.|MemoryError)") as caught,
        named_shortage(8),
    ):
        raise error
    assert caught.value.exit_status == 3


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a shape"), named_shortage(8):
        raise RuntimeError("a shape")
