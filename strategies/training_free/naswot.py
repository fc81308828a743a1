r"""NASWOT: how differently a network's rectified linear units answer to different images.

Mellor, Turner, Storkey & Crowley, "Neural Architecture Search without Training", ICML 2021. Of a batch of N
images, image i has the binary code :math:`c_i`, one bit for each rectified linear unit: whether it is active. With
:math:`N_A` units and the Hamming distance :math:`d_H`,

.. math:: K_H = \left(N_A - d_H(c_i, c_j)\right)_{ij}, \qquad s = \log |\det K_H| .

Every operation's unit counts for itself, though cells compute the ReLU of a state once for all operations that read it.
Units that lie on no path from input to output are none of the network's and do not count, as in the official code.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from nni_plugins.evaluators.errors import ConfigError
from nni_plugins.spaces.operations import own_relus

from .networks import Inputs, NetworkScore

RECTIFIERS = frozenset(
    {
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        functional.relu,
        functional.relu_,
        functional.relu6,
        functional.hardtanh,
    }
)
"""Functions of which a unit is active where the result is positive; ``hardtanh`` with minimum 0 is ReLU6."""


class Agreements(TorchFunctionMode):
    """Within the block adds up, over all rectified units, in how many of them two inputs agree: ``kernel: (N, N)``.

    A ReLU of a tensor that has been rectified before is not computed again, but counts again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernel: torch.Tensor | None = None
        self._known: Any = WeakIdKeyDictionary()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in RECTIFIERS or (func is functional.hardtanh and not _from_zero(args, kwargs)):
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        known = self._known.get(x)
        if known is None:
            result = func(*args, **kwargs)
            known = result, agreement(result)
            if result is not x:
                self._known[x] = known
        self.kernel = known[1] if self.kernel is None else self.kernel + known[1]
        return known[0]


def _from_zero(args: Any, kwargs: Any) -> bool:
    return bool((args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)) == 0)


def agreement(activations: torch.Tensor) -> torch.Tensor:
    """Of the units ``activations: (N, ...)``, in how many two inputs are both active or both not: (N, N) float64.

    The signs' products add up to agreements minus disagreements, whole numbers that float32 holds exactly up to 2^24
    units.
    """
    signs = (activations.flatten(1) > 0).float().mul_(2).sub_(1)
    units = signs.shape[1]
    return ((signs @ signs.T).double() + units) / 2


class NASWOT(NetworkScore):
    """``naswot``: larger where codes of different images differ more."""

    columns = ("naswot",)

    @property
    def images(self) -> int:
        """One batch."""
        return cast(int, self.settings.batch_size)

    def require(self, network: nn.Module, inputs: Inputs) -> None:
        """Any ReLU."""
        if self._kernel(network, inputs.x[:2]) is None:
            raise ConfigError(
                f"naswot counts rectified linear units, and {type(network).__name__} computes no ReLU.",
                "Choose another score, such as synflow or jacobian.",
            )

    def __call__(self, network: nn.Module, inputs: Inputs) -> tuple[float]:
        """The logarithm of the determinant."""
        kernel = self._kernel(network, inputs.x)
        if kernel is None:
            return (float("nan"),)
        sign, logarithm = np.linalg.slogdet(kernel.cpu().numpy())
        return (float(logarithm) if sign else float("nan"),)

    def _kernel(self, network: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
        with torch.no_grad(), own_relus(), Agreements() as counted:
            network(x)
        return cast("torch.Tensor | None", counted.kernel)
