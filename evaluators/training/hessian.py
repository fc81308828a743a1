"""The dominant eigenvalue of the Hessian of the validation loss with respect to the architecture parameters.

Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020, section 4: architectures
that generalise badly come with a large one. As in the official code, the matrix is H = d2 L_val(w, alpha) / d alpha2 +
decay I at the current weights, with the architecture's weight decay, and what is taken is its algebraically largest
eigenvalue. The official code fills the whole matrix, one backward pass an entry of alpha (56 in S1, 224 in DARTS'
space); Lanczos finds the same number from at most 20 products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..errors import TrainingError
from ..randomness import generator
from .second_order import Gradients, Loss

PRODUCTS = 20
"""Largest number of Hessian-vector products; each costs as much as two to four first-order architecture gradients."""

TOLERANCE = 1e-3
"""Of the residual, relative to the largest absolute value among the Ritz values. The error of the value is of the order
of its square.
"""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Eigenvalue:
    """``value``: the eigenvalue. ``residual``: |H v - value v| of its unit vector v, decay included. ``products``: how
    many were taken.
    """

    value: float
    residual: float
    products: int


def lanczos(
    product: Callable[[Array], Array], size: int, products: int = PRODUCTS, tolerance: float = TOLERANCE
) -> Eigenvalue:
    """The algebraically largest eigenvalue of a symmetric matrix, by Lanczos' method with full orthogonalisation.

    The value is never above the true one (in exact arithmetic) and an eigenvalue lies within ``residual`` of it; its
    error is of the order of residual^2 over the gap to the next eigenvalue. The first vector is drawn from a stream of
    its own.

    Args:
        product: the matrix times a vector: (size,) -> (size,).
        products: of the iterations; ``size`` of them are exact.
        tolerance: see :data:`TOLERANCE`.

    Raises:
        TrainingError: a product is infinite or NaN.
    """
    drawn = generator(0, "lanczos").standard_normal(size)
    basis: list[Array] = [drawn / np.linalg.norm(drawn)]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        y = product(basis[-1])
        if not np.isfinite(y).all():
            raise TrainingError("a product with the Hessian of the validation loss is infinite or NaN.")
        diagonal.append(float(basis[-1] @ y))
        for _ in range(2):  # once is not enough where much cancels
            for vector in basis:
                y = y - (vector @ y) * vector
        norm = float(np.linalg.norm(y))
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        residual, scale = norm * abs(float(vectors[-1, -1])), float(np.abs(values).max())
        exhausted = len(diagonal) in (products, size) or norm <= 1e-12 * scale  # the last: nothing new can come
        if exhausted or residual <= tolerance * scale:
            return Eigenvalue(float(values[-1]), residual, len(diagonal))
        beside.append(norm)
        basis.append(y / norm)


def dominant_eigenvalue(
    loss: Loss,
    parameters: Sequence[nn.Parameter],
    *,
    weight_decay: float = 0.0,
    products: int = PRODUCTS,
    tolerance: float = TOLERANCE,
    average: Callable[[Gradients], Gradients] = lambda gradients: gradients,
) -> Eigenvalue:
    """The algebraically largest eigenvalue of d2 loss / d parameters2 + weight_decay I. No ``grad`` field is touched.

    One forward pass with a graph of its gradient, then products by double backward: exact second derivatives in the
    precision of the network, through batch norms in training mode and the mixed supernet's own functions too, whose
    backward passes are differentiable. (Central differences of gradients are no substitute: they jump where a step
    crosses the kink of a ReLU.) Against full Hessians of mixed supernets the tests find a relative error below 1e-4 in
    float64 and below 1e-3 in float32. The graph takes about three times the memory of a first-order architecture
    gradient. Buffers that a forward pass moves are the caller's affair.

    Args:
        loss: called once.
        parameters: require gradients; together n numbers. Those that the loss does not depend on count as zero rows.
        weight_decay: of the architecture parameters.
        products, tolerance: of :func:`lanczos`.
        average: of a product, over processes.

    Raises:
        TrainingError: a second derivative is infinite or NaN.
    """
    sizes = [p.numel() for p in parameters]
    found = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True)
    curved = [(i, g) for i, g in enumerate(found) if g is not None and g.requires_grad]  # the others' rows are zero

    def product(vector: Array) -> Array:
        parts = torch.split(torch.from_numpy(vector), sizes)
        sides = [part.view_as(p).to(p.device, p.dtype) for part, p in zip(parts, parameters, strict=True)]
        rows: Sequence[torch.Tensor | None] = [None] * len(sizes)
        if curved:
            chosen = [sides[i] for i, _ in curved]
            rows = torch.autograd.grad([g for _, g in curved], parameters, chosen, retain_graph=True, allow_unused=True)
        filled = average([torch.zeros_like(p) if row is None else row for row, p in zip(rows, parameters, strict=True)])
        result: Array = (
            torch.cat([row.detach().flatten().double().cpu() for row in filled]).numpy() + weight_decay * vector
        )
        return result

    return lanczos(product, sum(sizes), products, tolerance)
