"""Peak memory of differentiable searches."""

from __future__ import annotations

from functools import partial

import torch
from mixed import Iteration

from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.training import BilevelTraining
from nni_plugins.evaluators.training.settings import BilevelSettings
from nni_plugins.spaces import DARTS
from nni_plugins.spaces.mixed import MixedOptions, MixedSupernet

from .record import Bar, Found, Given, Section
from .subjects import CLASSES, NEVER, noise

ABOUT = (
    "The largest sum of tensors on the device (`torch.cuda.max_memory_allocated`) during three iterations of our "
    "bilevel training, images included: DARTS' CIFAR supernet of 16 channels and 8 cells, batch 64, float32. What "
    "autograd keeps for the weight step can be told of a CPU, too."
)
BAR = Bar("<=", 3200, "RF-DARTS")
BATCH, STEPS = 64, 3


def memory(section: Section) -> None:
    given = section.given
    for option, method, bar in (("C", "RF-DARTS", BAR), ("B", "DARTS", None)):
        name = method.replace("-", "").lower()
        section.check(f"{name}.peak", f"{method}: peak of a training", partial(_peak, option, bar, given))
        section.check(f"{name}.kept", f"{method}: kept for backward in a weight step", partial(_kept, option, given))


def _peak(option: str, bar: Bar | None, given: Given) -> Found:
    given.need_cuda()
    images = noise(2 * BATCH * STEPS, 32)
    settings = BilevelSettings(epochs=1, batch_size=BATCH, accelerator="cuda", checkpoint_seconds=NEVER)
    model = MixedSupernet(DARTS(classes=CLASSES), MixedOptions(option))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(given.device)
    before = torch.cuda.memory_allocated(given.device)  # of what other sections left, such as compiled code
    BilevelTraining(model, RandomLabels(CLASSES), images, settings, 0).run()
    peak = torch.cuda.max_memory_allocated(given.device) - before
    reserved = torch.cuda.max_memory_reserved(given.device)
    return Found(
        peak / 2**20,
        "MiB",
        None if given.quick else bar,
        f"the allocator reserved {reserved / 2**20:,.0f} MiB",
        {"allocated": peak, "reserved": reserved},
    )


def _kept(option: str, given: Given) -> Found:
    batch = given.sized(BATCH, 2)
    return Found(Iteration(DARTS(), option, False, batch, given.device).kept(), "MiB", None, f"batch {batch}")
