"""The second-order architecture gradient of DARTS (Liu et al., ICLR 2019, equations 6 to 8), without a copy of the
network.

With the training loss L_t, the validation loss L_v, weights w, momentum buffer m and the weights' learning rate xi,
momentum mu and decay:

- w' = w - xi (mu m + grad_w L_t(w, alpha) + decay w): one step of SGD ahead, without gradient clipping, as in the
  official code;
- v = grad_w' L_v(w', alpha) and d = grad_alpha L_v(w', alpha);
- h = (grad_alpha L_t(w + e v, alpha) - grad_alpha L_t(w - e v, alpha)) / 2e with e = 0.01 / |v|, near (d2 L_t / d alpha
  dw) v;
- the gradient is d - xi h.

The weights are moved in place and put back from copies, so they end with the very bits that they began with; so do
buffers, because running statistics must not see the extra forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

EPSILON = 0.01
"""Length of the step of the finite difference, of all weights together."""

Loss = Callable[[], torch.Tensor]
"""A forward pass: () with a graph. Calls in the same state draw the same random numbers, or the difference drowns in
their noise.
"""

Parameters = Sequence[nn.Parameter]
Gradients = list[torch.Tensor]


@contextmanager
def kept(tensors: Sequence[torch.Tensor]) -> Iterator[Gradients]:
    """Copies of ``tensors``; after the block, these have their old values again."""
    copies = [tensor.detach().clone() for tensor in tensors]
    try:
        yield copies
    finally:
        if copies:  # an empty list is an error of torch
            place(tensors, copies)


@torch.no_grad()
def place(tensors: Sequence[torch.Tensor], values: Gradients) -> None:
    """Overwrite ``tensors``."""
    torch._foreach_copy_(list(tensors), values)


def require_gradients(wanted: Parameters, others: Parameters) -> None:
    """Gradients of ``wanted`` alone: nothing is stored in the forward pass, nor computed in the backward pass, for the
    ``others``.
    """
    for parameters, flag in ((others, False), (wanted, True)):
        for parameter in parameters:
            parameter.requires_grad_(flag)


def gradients(loss: Loss, wanted: Parameters, others: Parameters = ()) -> Gradients:
    """Of ``loss()`` with respect to ``wanted``; zero for those that it does not depend on."""
    require_gradients(wanted, others)
    found = torch.autograd.grad(loss(), wanted, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found, strict=True)]


def unrolled_gradients(
    training: Loss,
    validation: Loss,
    weights: Parameters,
    architecture: Parameters,
    momenta: Sequence[torch.Tensor | None],
    buffers: Sequence[torch.Tensor] = (),
    *,
    rate: float,
    momentum: float,
    weight_decay: float,
    average: Callable[[Gradients], Gradients] = lambda gradients: gradients,
) -> Gradients:
    """d - xi h, one tensor for each of ``architecture``. ``requires_grad`` is left on for ``architecture`` and off for
    ``weights``.

    Args:
        training, validation: L_t and L_v of this iteration's batches; ``validation`` is called once, at w'.
        weights: the trained ones; frozen ones take no part.
        momenta: their momentum buffers, None before the first step.
        buffers: put back afterwards.
        average: over processes.
    """
    with kept(buffers), kept(weights) as start:
        step = average(gradients(training, weights, architecture))
        step = list(
            torch._foreach_add(step, start, alpha=weight_decay)
        )  # not in place: two weights may share a gradient's tensor
        step = [s if m is None else s + momentum * m for s, m in zip(step, momenta, strict=True)]
        place(weights, list(torch._foreach_add(start, step, alpha=-rate)))
        both = average(gradients(validation, [*weights, *architecture]))
        v, d = both[: len(weights)], both[len(weights) :]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(v)))
        epsilon = EPSILON / norm.clamp_min(
            torch.finfo(norm.dtype).tiny
        )  # v = 0 makes h = 0; on the device, for .item() would wait for it
        shift = list(torch._foreach_mul(v, epsilon))
        sides = []
        for sign in (1, -1):
            place(weights, list(torch._foreach_add(start, shift, alpha=sign)))
            sides.append(average(gradients(training, architecture, weights)))
        return [a - rate * (plus - minus) / (2 * epsilon) for a, plus, minus in zip(d, *sides, strict=True)]
