r"""RLNAS' ranking: the angle between an architecture's weights before and after training.

Zhang et al., "Neural Architecture Search with Random Labels", CVPR 2021, section 3.2. With :math:`V(a, W)` the
concatenation of the fixed weights and, for every complete path of the cell without ``none``, of the weights along it,

.. math:: \theta(a) = \arccos \frac{\langle V(a, W_0), V(a, W_T) \rangle}{|V(a, W_0)| \, |V(a, W_T)|}

in radians, larger is better. An operation on k paths stands k times in V, so the cosine needs only three additive
numbers a block: :math:`S = \sum m \langle w_0, w_T \rangle`, :math:`N_0 = \sum m |w_0|^2`, :math:`N_T = \sum m |w_T|^2`
with m the number of paths. Architectures without a complete path have angle 0, as in the official code. All sums are
float64: in float32 the official angle is unsound below about 0.05 rad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from nni_plugins.evaluators.errors import TrainingError
from nni_plugins.spaces.base import Indices, SearchSpace
from nni_plugins.spaces.supernet import Role, WeightBlock, WeightBlocks

from .settings import Variant

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AngleVariant:
    """Which weights enter the vector; :data:`VARIANTS` are the official ones. Convolutions and the classifier's weight
    always do.

    Args:
        batch_norm: scale and shift of searched operations' batch norms, where they have them.
        last_batch_norm: those after the projection of an inverted residual block.
        fixed_batch_norm: those of stem, reductions, calibrations and last layers.
        classifier_bias: the bias of the classifier; its weight always enters.
        pool: average pooling stands as its constant kernel of 1/k^2 (otherwise it adds nothing).
        identity: a skip connection stands as the C x C identity matrix (otherwise it adds nothing).
        reduced_skip: the convolutions of a skip connection of stride 2.
        last_node_only: of a cell's complete paths only those to its last node count; of spaces that can tell.
    """

    batch_norm: bool = True
    last_batch_norm: bool = True
    fixed_batch_norm: bool = True
    classifier_bias: bool = True
    pool: bool = True
    identity: bool = False
    reduced_skip: bool = True
    last_node_only: bool = False

    def includes(self, role: Role) -> bool:
        """Whether weights of ``role`` enter."""
        switches = {
            "bn": self.batch_norm,
            "last_bn": self.last_batch_norm,
            "fixed_bn": self.fixed_batch_norm,
            "classifier_bias": self.classifier_bias,
            "pool": self.pool,
            "identity": self.identity,
            "skip": self.reduced_skip,
        }
        return switches.get(role, True)


_NO_NORMS = AngleVariant(batch_norm=False, last_batch_norm=False, fixed_batch_norm=False, classifier_bias=False)

VARIANTS: dict[Variant, AngleVariant] = {
    "rlnas": AngleVariant(),
    "rlnas-eye": AngleVariant(identity=True),
    "rlnas-mobilenet": AngleVariant(
        identity=True, last_batch_norm=False, fixed_batch_norm=False, classifier_bias=False
    ),
    "abs-darts": replace(_NO_NORMS, reduced_skip=False, last_node_only=True),
    "weights": replace(_NO_NORMS, pool=False),
}
"""By the official function that each is (Zhang et al., RLNAS, CVPR 2021; Hu et al., AngleNAS, ECCV 2020):

``rlnas``: RLNAS' and AngleNAS' for NAS-Bench-201, which are one function. ``rlnas-eye``: RLNAS' for DARTS' space on
ImageNet; on CIFAR-10 its code leaves out the classifier's bias, and in both it takes the scale of a dilated convolution's
batch norm a second time in place of its shift, which we do not. ``rlnas-mobilenet``: RLNAS' for the MobileNet-like space,
without the third batch norm of a block, those of the fixed parts and the classifier's bias. ``abs-darts``: AngleNAS' for
DARTS' space: convolutions, pools and the classifier's weight along the 16 paths to the last node; skip connections add
nothing. ``weights``: convolutions and the classifier's weight alone, which is AngleNAS' for MobileNet-like spaces.
"""


class RegionSums:
    """(<w0, wT>, |w0|^2, |wT|^2) of boxes of weights: each product is made once, and every box summed once."""

    def __init__(self, initial: Mapping[str, torch.Tensor], final: Mapping[str, torch.Tensor]) -> None:
        self._initial, self._final = initial, final
        self._products: tuple[str, torch.Tensor] | None = None
        self._known: dict[tuple[str, tuple[tuple[int, int], ...]], Floats] = {}

    def __call__(self, name: str, region: tuple[tuple[int, int], ...]) -> Floats:
        """Of the weight ``name`` within ``region``, (start, stop) in each dimension."""
        key = (name, region)
        if key not in self._known:
            if self._products is None or self._products[0] != name:
                before, after = self._initial[name].double(), self._final[name].double()
                self._products = name, before.new_empty((3, *before.shape))
                for place, product in enumerate((before * after, before * before, after * after)):
                    self._products[1][place] = product
            box = self._products[1][(slice(None), *(slice(start, stop) for start, stop in region))]
            self._known[key] = box.flatten(1).sum(1).cpu().numpy()
        return self._known[key]


@dataclass(frozen=True)
class AngleTable:
    """``fixed``: (3,) and ``choices``: (S, V, 3) float64 over the space's parts of (<w0, wT>, |w0|^2, |wT|^2); scores
    any number of architectures. ``last_node_only``: see :class:`AngleVariant`.
    """

    space: SearchSpace
    fixed: Floats
    choices: Floats
    last_node_only: bool = False

    @classmethod
    def build(
        cls,
        space: SearchSpace,
        blocks: WeightBlocks,
        initial: Mapping[str, torch.Tensor],
        final: Mapping[str, torch.Tensor],
        variant: AngleVariant = VARIANTS["rlnas"],
    ) -> AngleTable:
        """From the state dictionaries of a supernet before and after training.

        Raises:
            TrainingError: a weight is not finite.
        """
        dots: dict[str, Floats] = {}
        sums = RegionSums(initial, final)

        def sliced(name: str, region: tuple[tuple[int, int], ...]) -> Floats:
            numbers = sums(name, region)
            dots[name] = dots.get(name, np.zeros(3)) + numbers  # so that what is not finite is noticed
            return numbers

        def triple(block: WeightBlock) -> Floats:
            total = np.zeros(3)
            for name, role in block.parameters:
                if variant.includes(role):
                    if name not in dots:
                        before, after = initial[name].double().flatten(), final[name].double().flatten()
                        dots[name] = np.array([float(before @ after), float(before @ before), float(after @ after)])
                    total += dots[name]
            for name, role, region in block.regions:
                if variant.includes(role):
                    total += sliced(name, region)
            return total + sum(norm for role, norm in block.constants if variant.includes(role))

        values = max(len(v) for v in blocks.choices)
        choices = np.zeros((len(blocks.choices), values, 3))
        for d, row in enumerate(blocks.choices):
            for v, block in enumerate(row):
                choices[d, v] = triple(block)
        table = cls(space, triple(blocks.fixed), choices, variant.last_node_only)
        broken = [name for name, numbers in dots.items() if not np.isfinite(numbers).all()]
        if broken:
            raise TrainingError(
                f"weights that are not finite: {', '.join(broken[:3])}.", "Lower the learning rate and train again."
            )
        return table

    def __call__(self, indices: Indices) -> Floats:
        """Angles in radians, in [0, pi], of ``indices: (n, D)``: (n,) float64."""
        counts = self._path_counts(indices)
        structure = self.space.structure(indices)
        sums = self.fixed + np.einsum("nd,ndk->nk", counts, self.choices[np.arange(structure.shape[1]), structure])
        norm = np.sqrt(sums[:, 1] * sums[:, 2])
        cosine = np.divide(sums[:, 0], norm, out=np.ones(len(sums)), where=norm > 0)
        return np.where(counts.any(axis=1), np.arccos(np.clip(cosine, -1.0, 1.0)), 0.0)

    def _path_counts(self, indices: Indices) -> npt.NDArray[np.int64]:
        """(n, S): on how many of the paths that count each part lies."""
        if self.last_node_only:
            counts: npt.NDArray[np.int64] = cast(Any, self.space).last_node_path_counts(indices)
            return counts
        return self.space.path_counts(indices)
